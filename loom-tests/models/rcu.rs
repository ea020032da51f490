//! Grace periods: what a reader reached is not freed while it reads.
//!
//! The world is a link to one of its nodes, whose contents are loom cells. The writer moves the link from node 0 to node 1
//! and frees node 0, which is writing to its cell: if a reader may still read it, loom reports a race.

use crate::harness::{Model, spawn};
use crate::verdict::saw;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use nulls::checking::Garbage;
use nulls::rcu::{self, OwnedGuard};
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "rcu/read-against-retire",
        proves: "a node that a reader reached is not freed in its section",
        floor: 300,
        outcomes: &["read old", "read new", "freed at once", "kept"],
        kills: &[
            "order:rcu_light",
            "order:rcu_heavy",
            "order:rcu_unpin",
            "order:rcu_scan",
            "order:rcu_registry",
            "order:rcu_register",
            "rcu:no-light-fence",
            "rcu:no-heavy-fence",
            "rcu:epoch-not-bumped",
            "rcu:ignore-active-reader",
            "rcu:newer-or-equal",
        ],
        body: read_against_retire,
        ..Model::DEFAULT
    },
    Model {
        name: "rcu/pin-again-against-retire",
        proves: "a second section on the same record hides the first from no scan",
        floor: 500,
        outcomes: &["read old, old", "read old, new", "read new, new"],
        kills: &["order:rcu_pin"],
        body: pin_again_against_retire,
        ..Model::DEFAULT
    },
    Model {
        name: "rcu/refresh-against-retire",
        proves: "a refreshed guard protects what is read after, and gives up what was read before",
        floor: 500,
        outcomes: &[
            "read old, old",
            "read old, new",
            "read new, new",
            "freed at once",
            "kept",
        ],
        kills: &["order:rcu_pin"],
        body: refresh_against_retire,
        ..Model::DEFAULT
    },
    Model {
        name: "rcu/synchronize",
        proves: "after synchronize nobody reads what was unlinked before",
        floor: 50,
        outcomes: &["read old", "read new"],
        kills: &[
            "order:rcu_light",
            "order:rcu_heavy",
            "order:rcu_unpin",
            "rcu:no-light-fence",
        ],
        body: synchronize,
        ..Model::DEFAULT
    },
    Model {
        name: "rcu/two-reclaimers",
        proves: "a scan frees nothing that was retired after it began, whoever retired it",
        threads: 3,
        full_bound: 2,
        floor: 2_000,
        outcomes: &["read old", "read new"],
        kills: &[
            "rcu:unbounded-scan",
            "order:rcu_stamp",
            "order:rcu_completed",
            "order:lock_take",
            "order:lock_release",
        ],
        body: two_reclaimers,
        ..Model::DEFAULT
    },
    Model {
        name: "rcu/records-change-hands",
        proves: "a returned record announces its new owner: the mark of the old one's end comes before",
        floor: 300,
        outcomes: &[
            "one record, read old",
            "one record, read new",
            "two records, read old",
            "two records, read new",
        ],
        kills: &["order:rcu_claim", "order:rcu_return"],
        body: records_change_hands,
        ..Model::DEFAULT
    },
    Model {
        name: "rcu/owned-guard-travels",
        proves: "what an owned guard's maker reached is not freed while another thread holds the guard",
        floor: 30,
        outcomes: &["read old", "read new", "freed at once", "kept"],
        kills: &[
            "order:rcu_unpin",
            "order:rcu_scan",
            "rcu:ignore-active-reader",
        ],
        body: owned_guard_travels,
        ..Model::DEFAULT
    },
];

const LIVE: usize = 7;
const DEAD: usize = 0;

struct World {
    link: AtomicUsize,
    nodes: [UnsafeCell<usize>; 3],
    garbage: Garbage<usize>,
}

// SAFETY: loom checks every access to the cells.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            link: AtomicUsize::new(0),
            nodes: std::array::from_fn(|_| UnsafeCell::new(LIVE)),
            garbage: Garbage::try_new().expect("memory for two shards"),
        })
    }

    /// A reader's look at the node that is linked: its number.
    fn read(&self) -> usize {
        let i = self.link.load(Acquire);
        // SAFETY: the section protects the node; loom checks it.
        let v = self.nodes[i].with(|p| unsafe { *p });
        assert_eq!(v, LIVE, "a freed node is read");
        i
    }

    fn free(&self, i: usize) {
        // SAFETY: the grace period has ended; loom checks it.
        self.nodes[i].with_mut(|p| unsafe { *p = DEAD });
    }

    /// Unlinks node 0 and retires it.
    fn unlink(&self) -> bool {
        self.link.store(1, Release);
        self.garbage.retire(0, 8)
    }

    fn collect(&self) -> usize {
        let mut freed = 0;
        self.garbage.collect(|i| {
            self.free(i);
            freed += 1;
        });
        freed
    }
}

fn saw_freed(freed: usize) {
    saw(if freed == 0 { "kept" } else { "freed at once" });
}

fn saw_pair(pair: (usize, usize)) {
    saw(match pair {
        (0, 0) => "read old, old",
        (0, 1) => "read old, new",
        (1, 1) => "read new, new",
        _ => panic!("the link went backwards"),
    });
}

fn read_against_retire() {
    let w = World::new();
    let reader = {
        let w = w.clone();
        spawn(move || {
            let _guard = rcu::pin();
            w.read()
        })
    };
    assert!(w.unlink(), "in models one item makes a full bag");
    saw_freed(w.collect());
    saw(if reader.join().unwrap() == 0 {
        "read old"
    } else {
        "read new"
    });
}

fn pin_again_against_retire() {
    let w = World::new();
    let writer = {
        let w = w.clone();
        spawn(move || {
            let _ = w.unlink();
            w.collect();
        })
    };
    // The reader is the first thread, so that two preemptions reach the case of interest: the grace period is stamped
    // between the sections, and the scan reads the second announcement.
    let first = {
        let _guard = rcu::pin();
        w.read()
    };
    let guard = rcu::pin();
    saw_pair((first, w.read()));
    drop(guard);
    writer.join().unwrap();
}

fn refresh_against_retire() {
    let w = World::new();
    let writer = {
        let w = w.clone();
        spawn(move || {
            let _ = w.unlink();
            saw_freed(w.collect());
        })
    };
    let mut guard = rcu::pin();
    let first = w.read();
    guard.refresh();
    saw_pair((first, w.read()));
    drop(guard);
    writer.join().unwrap();
}

fn synchronize() {
    let w = World::new();
    let reader = {
        let w = w.clone();
        spawn(move || {
            let _guard = rcu::pin();
            w.read()
        })
    };
    w.link.store(1, Release);
    rcu::synchronize().expect("not pinned");
    w.free(0);
    saw(if reader.join().unwrap() == 0 {
        "read old"
    } else {
        "read new"
    });
}

fn two_reclaimers() {
    let w = World::new();
    // Something is listed already, so that the second reclaimer has reason to scan before node 0 is retired.
    let _ = w.garbage.retire(2, 8);
    let reader = {
        let w = w.clone();
        spawn(move || {
            let _guard = rcu::pin();
            w.read()
        })
    };
    let other = {
        let w = w.clone();
        spawn(move || w.garbage.flush(|i| w.free(i)))
    };
    let _ = w.unlink();
    w.collect();
    other.join().unwrap();
    saw(if reader.join().unwrap() == 0 {
        "read old"
    } else {
        "read new"
    });
}

/// Were the old owner's idle mark not ordered before the new owner's announcement, a scan could take it for the later
/// of the two.
fn records_change_hands() {
    let w = World::new();
    let old_owner = OwnedGuard::new();
    let reader = {
        let w = w.clone();
        spawn(move || {
            let _guard = OwnedGuard::new();
            w.read()
        })
    };
    drop(old_owner);
    let _ = w.unlink();
    w.collect();
    let read = reader.join().unwrap();
    saw(match (rcu::readers(), read) {
        (1, 0) => "one record, read old",
        (1, _) => "one record, read new",
        (2, 0) => "two records, read old",
        (2, _) => "two records, read new",
        (n, _) => panic!("{n} records for two readers"),
    });
}

/// The guard is made here, goes to another thread, and ends there, after that thread's read through what was reached here.
fn owned_guard_travels() {
    let w = World::new();
    let guard = OwnedGuard::new();
    let reached = w.link.load(Acquire);
    let reader = {
        let w = w.clone();
        spawn(move || {
            // SAFETY: the guard came along and protects the node; loom checks it.
            let v = w.nodes[reached].with(|p| unsafe { *p });
            assert_eq!(v, LIVE, "a freed node is read");
            let now = w.read();
            drop(guard);
            now
        })
    };
    let _ = w.unlink();
    saw_freed(w.collect());
    saw(if reader.join().unwrap() == 0 {
        "read old"
    } else {
        "read new"
    });
}
