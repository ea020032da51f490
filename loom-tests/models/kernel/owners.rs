//! Who may still use what is being taken away: locks, clashes, unloaded modules, masters (G7, G10, G12, G19, G20).

use super::pair;
use crate::harness::{Model, spawn};
use crate::verdict::saw;
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering::*, fence};
use std::sync::Arc;

pub const MODELS: [&[Model]; 5] = [
    &pair!("g7-one-lock-against-all", "who holds one bucket and who holds all of them are never inside together",
        threads: 2, outcomes: &["one", "all", "neither", "one, then all"], one_against_all),
    &pair!("g10-two-confirm-one-flow", "of two entries of one flow one is linked",
        threads: 2, outcomes: &["first", "second"], two_confirm),
    &pair!("g12-cleanup-beside-resizes", "a cleanup ends though somebody resizes again and again",
        threads: 2, outcomes: &["cleaned"], cleanup),
    &pair!("g19-helper-unloaded-before-confirm", "an entry that was under way while its helper was unloaded does not use it",
        threads: 2, outcomes: &["used", "detached", "dropped"], unloaded),
    &pair!("g20-expectation-without-a-reference", "a child uses its master only with a reference, or not at all",
        threads: 2, outcomes: &["had", "gone"], expectation),
];

/// Something that can be taken away.
struct Thing(UnsafeCell<usize>);

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Thing {}
// SAFETY: as above.
unsafe impl Send for Thing {}

const LIVE: usize = 7;

impl Thing {
    fn new() -> Self {
        Self(UnsafeCell::new(LIVE))
    }

    fn use_it(&self) {
        // SAFETY: the protocol under test says so; loom checks it.
        assert_eq!(
            // SAFETY: as above.
            self.0.with(|p| unsafe { *p }),
            LIVE,
            "used after it was freed"
        );
    }

    fn free(&self) {
        // SAFETY: as above.
        self.0.with_mut(|p| unsafe { *p = 0 });
    }
}

/// Store buffering between a bucket's lock and the flag of whoever wants all of them.
fn one_against_all(fixed: bool) {
    struct World {
        lock: AtomicUsize,
        all: AtomicUsize,
        data: Thing,
    }
    let w = Arc::new(World {
        lock: AtomicUsize::new(0),
        all: AtomicUsize::new(0),
        data: Thing::new(),
    });
    let order = move || {
        if fixed {
            fence(SeqCst);
        }
    };
    let one = {
        let w = w.clone();
        spawn(move || {
            if w.lock.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
                return false;
            }
            order();
            let inside = w.all.load(Acquire) == 0;
            if inside {
                w.data.0.with_mut(|_| ());
            }
            w.lock.store(0, Release);
            inside
        })
    };
    w.all.store(1, Release);
    order();
    // One look stands for the wait: whoever sees the bucket locked goes on waiting.
    let inside = w.lock.load(Acquire) == 0;
    if inside {
        w.data.0.with_mut(|_| ());
    }
    w.all.store(0, Release);
    saw(match (one.join().unwrap(), inside) {
        (true, true) => "one, then all",
        (true, false) => "one",
        (false, true) => "all",
        (false, false) => "neither",
    });
}

/// Both missed the look-up and made an entry; only the look under the lock decides.
fn two_confirm(fixed: bool) {
    fn confirm(linked: &Mutex<Vec<usize>>, mine: usize, fixed: bool) -> bool {
        let found = !linked.lock().unwrap().is_empty();
        let mut linked = linked.lock().unwrap();
        let clash = if fixed { !linked.is_empty() } else { found };
        if !clash {
            linked.push(mine);
        }
        !clash
    }
    let linked = Arc::new(Mutex::new(Vec::new()));
    let other = {
        let linked = linked.clone();
        spawn(move || confirm(&linked, 1, fixed))
    };
    let mine = confirm(&linked, 0, fixed);
    assert_ne!(mine, other.join().unwrap(), "one flow has two entries");
    assert_eq!(linked.lock().unwrap().len(), 1);
    saw(if mine { "first" } else { "second" });
}

/// A namespace goes and removes its entries; a user resizes in a loop.
fn cleanup(fixed: bool) {
    struct World {
        serial: Mutex<()>,
        generation: AtomicUsize,
    }
    let w = Arc::new(World {
        serial: Mutex::new(()),
        generation: AtomicUsize::new(0),
    });
    let resizer = {
        let w = w.clone();
        spawn(move || {
            for _ in 0..2 {
                let _serial = fixed.then(|| w.serial.lock().unwrap());
                w.generation.fetch_add(1, AcqRel);
            }
        })
    };
    {
        let _serial = fixed.then(|| w.serial.lock().unwrap());
        let mut restarts = 0;
        loop {
            let began = w.generation.load(Acquire);
            // The walk over the table would be here.
            if w.generation.load(Acquire) == began {
                break;
            }
            restarts += 1;
            assert!(
                restarts < 2,
                "every resize sends the cleanup back to its start"
            );
        }
    }
    resizer.join().unwrap();
    saw("cleaned");
}

/// An entry waits in a queue, unconfirmed, with a pointer to a helper whose module is unloaded.
fn unloaded(fixed: bool) {
    struct World {
        generation: AtomicUsize,
        /// Whether the entry is in the table, and whether it still has its helper.
        entry: Mutex<(bool, bool)>,
        helper: Thing,
    }
    let w = Arc::new(World {
        generation: AtomicUsize::new(0),
        entry: Mutex::new((false, true)),
        helper: Thing::new(),
    });
    let unload = {
        let w = w.clone();
        spawn(move || {
            w.generation.store(1, Release);
            {
                // Walks the table only.
                let mut entry = w.entry.lock().unwrap();
                if entry.0 {
                    entry.1 = false;
                }
            }
            w.helper.free();
        })
    };
    w.entry.lock().unwrap().0 = true;
    if fixed && w.generation.load(Acquire) != 0 {
        saw("dropped");
    } else {
        // A later packet. Detaching waits for those inside.
        let entry = w.entry.lock().unwrap();
        if entry.1 {
            w.helper.use_it();
            saw("used");
        } else {
            saw("detached");
        }
    }
    unload.join().unwrap();
}

/// An expectation points to its master without a reference.
fn expectation(fixed: bool) {
    struct World {
        expectation: Mutex<bool>,
        refs: AtomicUsize,
        master: Thing,
    }
    fn put(w: &World) {
        if w.refs.fetch_sub(1, AcqRel) == 1 {
            // Its expectations go first, under their lock; then the memory.
            *w.expectation.lock().unwrap() = false;
            w.master.free();
        }
    }
    let w = Arc::new(World {
        expectation: Mutex::new(true),
        refs: AtomicUsize::new(1),
        master: Thing::new(),
    });
    let child = {
        let w = w.clone();
        spawn(move || {
            let had = {
                let there = w.expectation.lock().unwrap();
                let n = w.refs.load(Relaxed);
                *there
                    && (!fixed
                        || n != 0 && w.refs.compare_exchange(n, n + 1, Acquire, Relaxed).is_ok())
            };
            if had {
                w.master.use_it();
                if fixed {
                    put(&w);
                }
            }
            saw(if had { "had" } else { "gone" });
        })
    };
    put(&w);
    child.join().unwrap();
}
