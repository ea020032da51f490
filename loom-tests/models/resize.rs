//! Look-ups and writes while buckets move between generations of any lengths.

use crate::harness::{Model, spawn};
use crate::table::{World, hash};
use crate::verdict::saw;
use nulls::rcu;
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "resize/read-beside-move-2-to-3",
        proves: "an entry is found while its bucket moves to shared targets",
        floor: 50,
        outcomes: &["found"],
        kills: &[
            "order:tags_load",
            "order:tag_clear",
            "order:handle_clear",
            "find:skip-moved-check",
            "find:skip-complete",
            "resize:moved-before-placed",
            "resize:wipe-before-moved",
        ],
        body: || read_beside_move(2, 3, &[1, 2, 5]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-beside-move-1-to-2",
        proves: "an entry is found while its bucket moves to targets of its own",
        floor: 50,
        outcomes: &["found"],
        body: || read_beside_move(1, 2, &[1, 2, 5]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-beside-move-2-to-1",
        proves: "an entry is found while its bucket moves to a coarser table",
        floor: 50,
        outcomes: &["found"],
        body: || read_beside_move(2, 1, &[1, 2, 5]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-beside-split",
        proves: "an entry is found while its bucket, one line, is split into two",
        floor: 10,
        outcomes: &["found"],
        kills: &["resize:moved-before-placed"],
        body: || read_beside_move(1, 2, &[5]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-beside-merge",
        proves: "an entry is found while its bucket, one line, goes into one with room",
        floor: 10,
        outcomes: &["found"],
        kills: &["resize:moved-before-placed"],
        body: || read_beside_move(2, 1, &[5]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/line-of-a-moved-bucket",
        proves: "a reader on a line of a bucket that moved, recycled into another chain, misses nothing that stays",
        floor: 50,
        outcomes: &["found"],
        kills: &["order:tag_set"],
        body: line_of_a_moved_bucket,
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-beside-start",
        proves: "a generation that a reader is led to is initialised for it",
        floor: 20,
        outcomes: &["found"],
        body: read_beside_start,
        ..Model::DEFAULT
    },
    Model {
        name: "resize/insert-beside-start",
        proves: "a generation that a writer is led to is initialised for it",
        floor: 20,
        outcomes: &["inserted"],
        kills: &["order:next_load", "order:next_publish"],
        body: insert_beside_start,
        ..Model::DEFAULT
    },
    Model {
        name: "resize/insert-beside-move",
        proves: "an insertion into a bucket that moves is neither lost nor doubled",
        floor: 100,
        outcomes: &["inserted"],
        body: insert_beside_move,
        ..Model::DEFAULT
    },
    Model {
        name: "resize/remove-beside-move",
        proves: "a removal from a bucket that moves takes effect once and for all",
        floor: 100,
        outcomes: &["removed"],
        body: remove_beside_move,
        ..Model::DEFAULT
    },
    Model {
        name: "resize/two-movers-one-target",
        proves: "two old buckets that share a target move into it without losing an entry",
        floor: 100,
        outcomes: &["moved"],
        kills: &["resize:share-without-lock"],
        body: || two_movers_one_target(3, &[5, 6, 7]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/two-movers-merge",
        proves: "two old buckets that become one move into its line without losing an entry",
        floor: 20,
        outcomes: &["moved"],
        kills: &["resize:share-without-lock"],
        body: || two_movers_one_target(1, &[5, 7]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/two-movers-merge-without-room",
        proves: "two old buckets that become one move into it, with an overflow line, without losing an entry",
        floor: 50,
        outcomes: &["moved"],
        body: || two_movers_one_target(1, &[5, 6, 7, 8]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-2-to-3",
        proves: "an entry is found through a whole growth by half, until after the old array is freed",
        floor: 1_000,
        outcomes: &["found"],
        kills: &[
            "order:watermark_load",
            "order:watermark_advance",
            "order:latch_begin",
            "order:latch_read_fence",
            "order:latch_write_fence",
            "order:latch_even",
        ],
        body: || read(2, &[3]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-3-to-2",
        proves: "an entry is found through a whole shrinking",
        floor: 1_000,
        outcomes: &["found"],
        body: || read(3, &[2]),
        ..Model::DEFAULT
    },
    Model {
        name: "resize/read-1-to-2-to-1",
        proves: "an entry is found though the table grows and shrinks back within one look-up",
        full_bound: 2,
        floor: 10_000,
        outcomes: &["found"],
        kills: &["latch:skip-recheck"],
        body: || read(1, &[2, 1]),
        ..Model::DEFAULT
    },
];

/// Handle `x` lies in part `x - 1` of twelve.
fn spread(x: u32) -> u64 {
    hash(u64::from(x - 1), u64::from(x))
}

fn read_beside_move(from: usize, to: usize, entries: &[u32]) {
    // 1, 2 and 5 in the lower half: in the first bucket, with an overflow line if all of them are there.
    let w = Arc::new(World::new(from, spread, entries));
    w.start_resize(to);
    let reader = {
        let w = w.clone();
        spawn(move || {
            assert!(w.find(&rcu::pin(), 5), "an entry that stays is missed");
            saw("found");
        })
    };
    w.move_bucket_of(&rcu::pin(), 5);
    reader.join().unwrap();
    w.holds(entries);
}

fn line_of_a_moved_bucket() {
    // 5 is in the overflow line of the first bucket of two, which 8 needs when it comes to 5 and 7 in the middle one of
    // three. Whoever sees the tag of 8 in that line, though it came there for 5, must see that 5 has moved.
    let w = Arc::new(World::new(2, spread, &[1, 2, 5, 7, 8]));
    w.start_resize(3);
    let reader = {
        let w = w.clone();
        spawn(move || {
            assert!(w.find(&rcu::pin(), 5), "an entry that stays is missed");
            saw("found");
        })
    };
    let guard = rcu::pin();
    w.move_bucket_of(&guard, 5);
    w.move_bucket_of(&guard, 7);
    drop(guard);
    reader.join().unwrap();
    w.holds(&[1, 2, 5, 7, 8]);
}

fn read_beside_start() {
    let w = Arc::new(World::new(1, spread, &[5]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            assert!(w.find(&rcu::pin(), 5), "an entry that stays is missed");
            saw("found");
        })
    };
    w.start_resize(2);
    w.move_bucket_of(&rcu::pin(), 5);
    reader.join().unwrap();
    w.holds(&[5]);
}

fn insert_beside_start() {
    // With an overflow line, so that the writer looks for the next generation whatever the latch said.
    let w = Arc::new(World::new(1, spread, &[1, 2, 5]));
    let writer = {
        let w = w.clone();
        spawn(move || {
            w.insert(&rcu::pin(), 6);
            saw("inserted");
        })
    };
    w.start_resize(2);
    writer.join().unwrap();
    w.holds(&[1, 2, 5, 6]);
}

fn insert_beside_move() {
    let w = Arc::new(World::new(2, spread, &[1, 5]));
    w.start_resize(3);
    let writer = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            w.insert(&guard, 6);
            assert!(w.find(&guard, 6), "an inserted entry is missed");
            saw("inserted");
        })
    };
    w.move_bucket_of(&rcu::pin(), 5);
    writer.join().unwrap();
    w.holds(&[1, 5, 6]);
}

fn remove_beside_move() {
    let w = Arc::new(World::new(2, spread, &[1, 5, 6]));
    w.start_resize(3);
    let writer = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            assert!(w.remove(&guard, 6), "an entry that stays is missed");
            assert!(!w.find(&guard, 6), "a removed entry is found");
            saw("removed");
        })
    };
    w.move_bucket_of(&rcu::pin(), 5);
    writer.join().unwrap();
    w.holds(&[1, 5]);
}

fn two_movers_one_target(to: usize, entries: &[u32]) {
    // 5 and 6 lie in the first of two buckets, 7 and 8 in the second; all of them in the middle one of three.
    let w = Arc::new(World::new(2, spread, entries));
    w.start_resize(to);
    let other = {
        let w = w.clone();
        spawn(move || w.move_bucket_of(&rcu::pin(), 7))
    };
    w.move_bucket_of(&rcu::pin(), 5);
    other.join().unwrap();
    saw("moved");
    w.holds(entries);
}

fn read(from: usize, to: &'static [usize]) {
    // In another bucket for each length, so that lines and length of different generations do not go together by chance.
    let w = Arc::new(World::new(from, spread, &[9]));
    w.start_resize(to[0]);
    let reader = {
        let w = w.clone();
        spawn(move || {
            assert!(w.find(&rcu::pin(), 9), "an entry that stays is missed");
            saw("found");
        })
    };
    for &n in to {
        w.resize(n);
    }
    reader.join().unwrap();
    w.holds(&[9]);
}
