//! Look-ups against single writes: nothing that stays is missed, nothing half-made is found, whatever a line becomes
//! while a reader stands on it.

use crate::harness::{Model, spawn};
use crate::table::{World, hash};
use crate::verdict::saw;
use nulls::raw::thread_stats;
use nulls::rcu;
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "walk/insert",
        proves: "an entry is found complete or not at all; one that was there before is found",
        floor: 20,
        outcomes: &["found", "not yet"],
        body: insert,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/insert-into-a-new-line",
        proves: "a new line is linked without hiding what is behind it, and what comes into it is complete",
        floor: 20,
        outcomes: &["found", "not yet"],
        kills: &["order:link_load", "order:head_link"],
        body: insert_into_a_new_line,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/seen-stays-seen",
        proves: "an entry that was found once is found again",
        floor: 20,
        outcomes: &["found twice", "found late", "not yet"],
        kills: &["write:set-before-link"],
        body: seen_stays_seen,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/seen-stays-seen-in-a-used-slot",
        proves: "an entry that was found once is found again, though its slot had the same tag before",
        floor: 20,
        outcomes: &["found twice", "found late", "not yet"],
        kills: &["line:handle-before-tag"],
        body: seen_in_a_used_slot,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/gone-stays-gone",
        proves: "an entry that was missed once is not found again, and its neighbour is found",
        floor: 20,
        outcomes: &["there twice", "there, then gone", "gone"],
        body: gone_stays_gone,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/replace",
        proves: "a replaced entry is found as it was or as it is, never missed",
        floor: 5,
        outcomes: &["old", "new"],
        kills: &[
            "order:handle_set",
            "order:handle_load",
            "line:replace-by-remove-and-insert",
        ],
        body: replace,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/line-into-another-chain",
        proves: "a reader on a line that is recycled into another chain notices and misses nothing that stays",
        floor: 50,
        outcomes: &["straight", "restarted"],
        kills: &["order:line_link", "find:skip-nulls-check"],
        body: line_into_another_chain,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/line-into-the-same-chain",
        proves: "a reader on a line that is recycled into its own chain misses nothing that stays",
        floor: 50,
        outcomes: &["found"],
        kills: &["line:tail-insert", "line:overwrite-link-of-unlinked"],
        body: line_into_the_same_chain,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/line-behind-an-unlinked-one",
        proves: "a line that a reader comes to because the one before it was unlinked is initialised for it",
        floor: 50,
        outcomes: &["found", "missed"],
        kills: &["order:unlink"],
        body: line_behind_an_unlinked_one,
        ..Model::DEFAULT
    },
    Model {
        name: "walk/two-inserters",
        proves: "of two inserters of one key exactly one succeeds",
        floor: 20,
        outcomes: &["first", "second"],
        kills: &[
            "order:ticket_load",
            "ticket:take-from-any-version",
            "ticket:leave-without-step",
            "order:ticket_leave",
        ],
        body: two_inserters,
        ..Model::DEFAULT
    },
];

/// All in one bucket, each with a tag of its own.
fn one_bucket(x: u32) -> u64 {
    hash(0, u64::from(x))
}

fn insert() {
    let w = Arc::new(World::new(1, one_bucket, &[1]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            saw(if w.find(&guard, 2) {
                "found"
            } else {
                "not yet"
            });
            assert!(w.find(&guard, 1), "an entry that stays is missed");
        })
    };
    w.insert(&rcu::pin(), 2);
    reader.join().unwrap();
    w.holds(&[1, 2]);
}

fn insert_into_a_new_line() {
    let w = Arc::new(World::new(1, one_bucket, &[1, 2, 3, 4]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            saw(if w.find(&guard, 5) {
                "found"
            } else {
                "not yet"
            });
            assert!(w.find(&guard, 3), "an entry behind the new line is missed");
        })
    };
    w.insert(&rcu::pin(), 5);
    reader.join().unwrap();
    w.holds(&[1, 2, 3, 4, 5]);
}

fn seen_stays_seen() {
    let w = Arc::new(World::new(1, one_bucket, &[1, 2, 3]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            let pair = (w.find(&guard, 4), w.find(&guard, 4));
            saw(match pair {
                (true, true) => "found twice",
                (false, true) => "found late",
                (false, false) => "not yet",
                (true, false) => panic!("found, then missed"),
            });
        })
    };
    let guard = rcu::pin();
    // The line of 3 goes and comes back with 4.
    w.remove(&guard, 3);
    w.insert(&guard, 4);
    drop(guard);
    reader.join().unwrap();
    w.holds(&[1, 2, 4]);
}

fn seen_in_a_used_slot() {
    // 1 and 3 have the same tag.
    let w = Arc::new(World::new(1, |x| hash(0, u64::from(x % 2)), &[1, 2]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            saw(match (w.find(&guard, 3), w.find(&guard, 3)) {
                (true, true) => "found twice",
                (false, true) => "found late",
                (false, false) => "not yet",
                (true, false) => panic!("found, then missed"),
            });
        })
    };
    let guard = rcu::pin();
    w.remove(&guard, 1);
    w.insert(&guard, 3);
    drop(guard);
    reader.join().unwrap();
    w.holds(&[2, 3]);
}

fn gone_stays_gone() {
    let w = Arc::new(World::new(1, one_bucket, &[1, 2]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            let pair = (w.find(&guard, 1), w.find(&guard, 1));
            saw(match pair {
                (true, true) => "there twice",
                (true, false) => "there, then gone",
                (false, false) => "gone",
                (false, true) => panic!("missed, then found"),
            });
            assert!(w.find(&guard, 2), "an entry that stays is missed");
        })
    };
    assert!(w.remove(&rcu::pin(), 1));
    reader.join().unwrap();
    w.holds(&[2]);
}

fn replace() {
    // One key under two handles.
    let w = Arc::new(World::new(1, |_| hash(0, 1), &[1]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            saw(match w.find_any(&guard, hash(0, 1), |_| true) {
                Some(1) => "old",
                Some(2) => "new",
                other => panic!("{other:?} found for a key that stays"),
            });
        })
    };
    w.replace(&rcu::pin(), 1, 2);
    reader.join().unwrap();
    w.holds(&[2]);
}

fn line_into_another_chain() {
    /// 1 to 7 in the first bucket of two, the rest in the second.
    fn two_buckets(x: u32) -> u64 {
        hash(if x < 8 { 0 } else { 6 }, u64::from(x))
    }
    // First chain: [1 2] [5 _] [3 4]. Second: [8 9].
    let w = Arc::new(World::new(2, two_buckets, &[1, 2, 3, 4, 5, 8, 9]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            let before = thread_stats().restarts;
            assert!(w.find(&rcu::pin(), 3), "an entry that stays is missed");
            // Nobody else restarts here: the writer is alone.
            saw(if thread_stats().restarts == before {
                "straight"
            } else {
                "restarted"
            });
        })
    };
    let guard = rcu::pin();
    // The line of 5 goes into the second chain with 10.
    w.remove(&guard, 5);
    w.insert(&guard, 10);
    drop(guard);
    reader.join().unwrap();
    w.holds(&[1, 2, 3, 4, 8, 9, 10]);
}

fn line_into_the_same_chain() {
    // [1 2] [5 _] [3 4]: the middle line goes out and comes back in front.
    let w = Arc::new(World::new(1, one_bucket, &[1, 2, 3, 4, 5]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            assert!(w.find(&rcu::pin(), 3), "an entry that stays is missed");
            saw("found");
        })
    };
    let guard = rcu::pin();
    w.remove(&guard, 5);
    w.insert(&guard, 6);
    drop(guard);
    reader.join().unwrap();
    w.holds(&[1, 2, 3, 4, 6]);
}

fn line_behind_an_unlinked_one() {
    let w = Arc::new(World::new(1, one_bucket, &[1, 2]));
    let reader = {
        let w = w.clone();
        spawn(move || {
            saw(if w.find(&rcu::pin(), 3) {
                "found"
            } else {
                "missed"
            })
        })
    };
    let guard = rcu::pin();
    // [1 2] [5 _] [3 4], then [1 2] [3 4]: the reader may know of the last line from its unlinked predecessor's link only.
    for x in [3, 4, 5] {
        w.insert(&guard, x);
    }
    w.remove(&guard, 5);
    drop(guard);
    reader.join().unwrap();
    w.holds(&[1, 2, 3, 4]);
}

fn two_inserters() {
    // One key under all handles.
    let w = Arc::new(World::new(1, |_| hash(0, 1), &[]));
    let other = {
        let w = w.clone();
        spawn(move || w.insert_unless(&rcu::pin(), 2, |_| true))
    };
    let mine = w.insert_unless(&rcu::pin(), 1, |_| true);
    match (mine, other.join().unwrap()) {
        (true, false) => {
            saw("first");
            w.holds(&[1]);
        }
        (false, true) => {
            saw("second");
            w.holds(&[2]);
        }
        other => panic!("{other:?}: exactly one of two inserters succeeds"),
    }
}
