//! The end of a resize: queued wishes, and several helpers at once.

use crate::harness::{Model, spawn};
use crate::table::{World, hash};
use crate::verdict::saw;
use nulls::raw::InsertError;
use nulls::rcu;
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "finish/wish-beside-the-end",
        proves: "a resize that is wanted while another ends is begun by one of the two, or stays with a running one",
        floor: 100,
        outcomes: &["begun", "queued behind the running one"],
        kills: &["order:wanted_fence"],
        body: wish_beside_the_end,
        ..Model::DEFAULT
    },
    Model {
        name: "finish/two-wishes",
        proves: "of two wishes at once one is begun, and the other is begun or queued behind it",
        floor: 50,
        outcomes: &["2, then 3", "3, then 2", "2", "3"],
        body: two_wishes,
        ..Model::DEFAULT
    },
    Model {
        name: "finish/wish-beside-growth",
        proves: "a resize that is wanted beside the table's own growth is fulfilled, whichever begins first",
        floor: 100,
        outcomes: &["3", "2, then 3"],
        body: wish_beside_growth,
        ..Model::DEFAULT
    },
    Model {
        name: "finish/two-helpers",
        proves: "two helpers that end a resize together publish its end once, and lose nothing",
        floor: 100,
        fast_bound: 1,
        full_bound: 2,
        limit: 600,
        outcomes: &["moved"],
        body: two_helpers,
        ..Model::DEFAULT
    },
    Model {
        name: "finish/helper-and-reader",
        proves: "a reader finds what stays while a writer's help ends the resize and the old array goes",
        floor: 500,
        full_bound: 2,
        outcomes: &["found"],
        kills: &["order:latch_even"],
        body: helper_and_reader,
        ..Model::DEFAULT
    },
    Model {
        name: "finish/two-keys-under-a-resize",
        proves: "an entry goes in and out under both keys while their buckets move to shared ones",
        floor: 500,
        full_bound: 2,
        limit: 300,
        outcomes: &["in and out"],
        body: two_keys_under_a_resize,
        ..Model::DEFAULT
    },
];

/// Handle `x` lies in part `x - 1` of twelve.
fn spread(x: u32) -> u64 {
    hash(u64::from(x - 1), u64::from(x))
}

fn wish_beside_the_end() {
    let w = Arc::new(World::new(1, spread, &[]));
    w.start_resize(2);
    let other = {
        let w = w.clone();
        spawn(move || w.start_resize(3))
    };
    // Its share is the last of the running resize, so that it ends it. (`maintain` would do, but repeats its look after a
    // yield, after which a model offers no stale values.)
    insert_and_assist(&w, 2);
    other.join().unwrap();
    let s = w.table.stats();
    // Whoever ends the running resize looks for wishes; without one running nobody does.
    assert!(
        s.resizing_to.is_some() || !w.table.is_resizing(),
        "a wish is forgotten: no resize runs, and one is queued"
    );
    saw(match s.resizing_to {
        Some(3) => "begun",
        _ => "queued behind the running one",
    });
    w.table
        .maintain(&|x| w.rehash(x))
        .expect("memory for a few lines");
    assert_eq!(w.table.buckets(), 3, "the last wish counts");
    assert!(!w.table.is_resizing());
}

fn two_wishes() {
    let w = Arc::new(World::new(1, spread, &[]));
    let other = {
        let w = w.clone();
        spawn(move || w.start_resize(3))
    };
    w.start_resize(2);
    other.join().unwrap();
    let first = w.table.stats().resizing_to;
    assert!(first.is_some(), "a resize runs");
    w.table
        .maintain(&|x| w.rehash(x))
        .expect("memory for a few lines");
    assert!(!w.table.is_resizing());
    saw(match (first, w.table.buckets()) {
        (Some(2), 3) => "2, then 3",
        (Some(3), 2) => "3, then 2",
        // The second wish overwrote the first one before anybody took it.
        (Some(2), 2) => "2",
        (Some(3), 3) => "3",
        other => panic!("{other:?}"),
    });
}

fn wish_beside_growth() {
    let w = Arc::new(World::new(1, spread, &[9]));
    let other = {
        let w = w.clone();
        spawn(move || w.start_resize(3))
    };
    // Two entries in one bucket: the table wants a second one.
    insert_and_assist(&w, 2);
    other.join().unwrap();
    let s = w.table.stats();
    saw(match (s.resizing_to, s.buckets) {
        (Some(3), 2) => "2, then 3",
        _ => "3",
    });
    w.table
        .maintain(&|x| w.rehash(x))
        .expect("memory for a few lines");
    assert_eq!(w.table.buckets(), 3, "the wish is lost");
    assert!(!w.table.is_resizing());
    w.holds(&[2, 9]);
}

/// Inserts `x` and does the writer's share of a resize.
fn insert_and_assist(w: &World, x: u32) {
    let guard = rcu::pin();
    let rehash = |y| w.rehash(y);
    loop {
        let probe = w.table.probe(&guard, w.rehash(x), |y| y == x, &rehash);
        match probe.insert(x) {
            Ok(written) => return written.assist(&guard, &rehash),
            Err(InsertError::Stale) => {}
            Err(e) => panic!("{e:?}"),
        }
    }
}

fn two_helpers() {
    let w = Arc::new(World::new(1, spread, &[8]));
    w.start_resize(2);
    let other = {
        let w = w.clone();
        spawn(move || {
            w.table
                .maintain(&|x| w.rehash(x))
                .expect("memory for a few lines");
        })
    };
    insert_and_assist(&w, 2);
    other.join().unwrap();
    w.table
        .maintain(&|x| w.rehash(x))
        .expect("memory for a few lines");
    assert_eq!(w.table.buckets(), 2);
    saw("moved");
    let guard = rcu::pin();
    for x in [2, 8] {
        assert!(
            w.table
                .find(&guard, w.rehash(x), |y| (y == x).then_some(()))
                .is_some()
        );
    }
    assert_eq!(w.table.len(), 2);
}

fn helper_and_reader() {
    let w = Arc::new(World::new(1, spread, &[9]));
    w.start_resize(3);
    let reader = {
        let w = w.clone();
        spawn(move || {
            assert!(w.find(&rcu::pin(), 9), "an entry that stays is missed");
            saw("found");
        })
    };
    insert_and_assist(&w, 2);
    reader.join().unwrap();
    w.table
        .maintain(&|x| w.rehash(x))
        .expect("memory for a few lines");
    assert!(w.find(&rcu::pin(), 9));
}

fn two_keys_under_a_resize() {
    // 5 and 8 lie in different halves and, of three parts, both in the middle one.
    let w = Arc::new(World::new(2, spread, &[]));
    w.start_resize(3);
    let mover = {
        let w = w.clone();
        spawn(move || w.move_bucket_of(&rcu::pin(), 8))
    };
    let guard = rcu::pin();
    let rehash = |y| w.rehash(y);
    loop {
        let p = w.table.probe(&guard, w.rehash(5), |y| y == 5, &rehash);
        let q = w.table.probe(&guard, w.rehash(8), |y| y == 8, &rehash);
        match w.table.insert2(p, 5, q, 8) {
            Ok(_written) => break,
            Err(InsertError::Stale) => {}
            Err(e) => panic!("{e:?}"),
        }
    }
    for x in [5, 8] {
        assert!(
            w.table
                .find(&guard, w.rehash(x), |y| (y == x).then_some(()))
                .is_some(),
            "an inserted key is missed"
        );
    }
    loop {
        let p = w.table.probe(&guard, w.rehash(5), |y| y == 5, &rehash);
        let q = w.table.probe(&guard, w.rehash(8), |y| y == 8, &rehash);
        if let Ok((handles, _written)) = w.table.remove2(p, q) {
            assert_eq!(handles, (5, 8));
            break;
        }
    }
    drop(guard);
    mover.join().unwrap();
    saw("in and out");
    w.holds(&[]);
}
