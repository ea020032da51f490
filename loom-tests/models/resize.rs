//! Look-ups and writes while buckets move between generations of any lengths.

use crate::harness::{Model, saw, spawn};
use crate::table::{World, hash};
use nulls::rcu;
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "resize/read-2-to-3",
        proves: "an entry that stays is found while the table grows by half",
        floor: 100,
        outcomes: &["found"],
        kills: &[
            "find:skip-moved-check",
            "resize:moved-before-placed",
            "resize:wipe-before-moved",
        ],
        body: || read(2, &[3]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-3-to-2",
        proves: "an entry that stays is found while the table shrinks",
        floor: 100,
        outcomes: &["found"],
        body: || read(3, &[2]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-1-to-2",
        proves: "an entry that stays is found while the table doubles",
        floor: 100,
        outcomes: &["found"],
        body: || read(1, &[2]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-1-to-2-to-1",
        proves: "an entry that stays is found though the table grows and shrinks back within one look-up",
        floor: 200,
        outcomes: &["found"],
        body: || read(1, &[2, 1]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/insert-2-to-3",
        proves: "an insertion beside a mover is neither lost nor doubled",
        floor: 100,
        outcomes: &["inserted"],
        body: || insert(2, 3),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/insert-3-to-2",
        proves: "an insertion beside a shrinking mover is neither lost nor doubled",
        floor: 100,
        outcomes: &["inserted"],
        body: || insert(3, 2),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/remove-1-to-2",
        proves: "a removal beside a mover takes effect once and for all",
        floor: 100,
        outcomes: &["removed"],
        body: remove,
        ..Model::DEFAULT
    },
];

/// Handle `x` lies in part `x - 1` of twelve.
fn spread(x: u32) -> u64 {
    hash(u64::from(x - 1), u64::from(x))
}

fn read(from: usize, to: &'static [usize]) {
    // 1, 2 and 5 in the lower half, with an overflow line where they share a bucket.
    let w = Arc::new(World::new(from, spread, &[1, 2, 5]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            assert!(w.find(&rcu::pin(), 5), "an entry that stays is missed");
            saw("found");
        })
    };
    for &n in to {
        w.resize(n);
    }
    reader.join().unwrap();
    w.holds(&[1, 2, 5]);
}

fn insert(from: usize, to: usize) {
    let w = Arc::new(World::new(from, spread, &[1, 5]));
    let writer = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            w.insert(&guard, 6);
            assert!(w.find(&guard, 6), "an inserted entry is missed");
            saw("inserted");
        })
    };
    w.resize(to);
    writer.join().unwrap();
    w.holds(&[1, 5, 6]);
}

fn remove() {
    let w = Arc::new(World::new(1, spread, &[1, 5, 6]));
    let writer = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            assert!(w.remove(&guard, 6), "an entry that stays is missed");
            assert!(!w.find(&guard, 6), "a removed entry is found");
            saw("removed");
        })
    };
    w.resize(2);
    writer.join().unwrap();
    w.holds(&[1, 5]);
}
