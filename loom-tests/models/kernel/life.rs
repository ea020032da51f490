//! An object's life in memory that is reused under readers: counts, keys, CONFIRMED and DYING (G1, G2, G4, G8, G11, G22).

use super::pair;
use crate::harness::{Model, spawn};
use crate::verdict::saw;
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering, Ordering::*};
use std::sync::Arc;

pub const MODELS: [&[Model]; 6] = [
    &pair!("g1-confirmed-before-linked", "CONFIRMED says that the entry was linked in this life",
        threads: 2, outcomes: &["evicted", "left alone"], confirmed_early),
    &pair!("g2-count-raised-without-acquire", "whoever raised the count sees nothing of the former life",
        threads: 2, outcomes: &["had", "dead"], raised_relaxed),
    &pair!("g4-same-key-not-confirmed", "a look-up yields no entry that its maker still thinks private",
        threads: 2, outcomes: &["had", "private", "dead"], same_key),
    &pair!("g8-two-deleters", "of all who want to delete an entry one does",
        threads: 2, outcomes: &["first", "second"], two_deleters),
    &pair!("g11-handle-kept-across-confirm", "after confirmation the packet's entry is asked for again",
        threads: 2, outcomes: &["own", "winner's"], stale_handle),
    &pair!("g22-repeat-after-a-lost-kill", "a packet that lost the killing of its old entry is dropped, not tried again without end",
        threads: 2, outcomes: &["new entry", "dropped", "had none"], lost_kill),
];

const CONFIRMED: usize = 1;
const DYING: usize = 2;

/// An entry; its dead former life was confirmed and has long expired.
struct Entry {
    refs: AtomicUsize,
    status: AtomicUsize,
    timeout: AtomicUsize,
    links: AtomicUsize,
    private: UnsafeCell<usize>,
}

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Entry {}
// SAFETY: as above.
unsafe impl Send for Entry {}

impl Entry {
    fn new(refs: usize, status: usize) -> Self {
        Self {
            refs: AtomicUsize::new(refs),
            status: AtomicUsize::new(status),
            timeout: AtomicUsize::new(0),
            links: AtomicUsize::new(0),
            private: UnsafeCell::new(0),
        }
    }

    fn inc_not_zero(&self, order: Ordering) -> bool {
        let n = self.refs.load(Relaxed);
        n != 0 && self.refs.compare_exchange(n, n + 1, order, Relaxed).is_ok()
    }

    fn write(&self, v: usize) {
        // SAFETY: the caller believes to be alone; loom checks it.
        self.private.with_mut(|p| unsafe { *p = v });
    }

    fn read(&self) -> usize {
        // SAFETY: the caller believes that nobody writes; loom checks it.
        self.private.with(|p| unsafe { *p })
    }
}

const NOW: usize = 1_000_000;
const SPAN: usize = 30_000;

fn confirmed_early(fixed: bool) {
    let e = Arc::new(Entry::new(0, CONFIRMED));
    // Whether this packet's insertion meets a clash: both cases in turn, by who comes first.
    let collector = {
        let e = e.clone();
        spawn(move || {
            // Stands on the dead entry, and takes a reference if it lives.
            if !e.inc_not_zero(Acquire) {
                return saw("left alone");
            }
            let st = e.status.load(Acquire);
            let expired = e.timeout.load(Relaxed) < NOW;
            if st & CONFIRMED != 0 && st & DYING == 0 && expired {
                e.status.fetch_or(DYING, AcqRel);
                assert_eq!(
                    e.links.load(Relaxed),
                    1,
                    "an entry that was never linked is unlinked"
                );
                saw("evicted");
            } else {
                saw("left alone");
            }
        })
    };
    e.status.store(0, Relaxed);
    // A span until it is confirmed; then a deadline, and this one has passed by then.
    e.timeout.store(SPAN, Relaxed);
    e.refs.store(1, Release);
    if fixed {
        e.links.store(1, Relaxed);
        e.status.fetch_or(CONFIRMED, AcqRel);
    } else {
        e.status.fetch_or(CONFIRMED, AcqRel);
        e.links.store(1, Relaxed);
    }
    collector.join().unwrap();
}

fn raised_relaxed(fixed: bool) {
    let e = Arc::new(Entry::new(0, CONFIRMED));
    let collector = {
        let e = e.clone();
        spawn(move || {
            if !e.inc_not_zero(if fixed { Acquire } else { Relaxed }) {
                return saw("dead");
            }
            assert_eq!(
                e.status.load(Relaxed) & CONFIRMED,
                0,
                "the former life's CONFIRMED: a private entry is unlinked"
            );
            saw("had");
        })
    };
    // A new life, which nobody confirms.
    e.status.store(0, Relaxed);
    e.refs.store(1, Release);
    collector.join().unwrap();
}

fn same_key(fixed: bool) {
    // The new life has the key of the former: comparing keys, however often, shows nothing.
    let e = Arc::new(Entry::new(0, CONFIRMED));
    let reader = {
        let e = e.clone();
        spawn(move || {
            if !e.inc_not_zero(Acquire) {
                return saw("dead");
            }
            if fixed && e.status.load(Acquire) & CONFIRMED == 0 {
                return saw("private");
            }
            assert!(e.read() <= 2);
            saw("had");
        })
    };
    e.status.store(0, Relaxed);
    e.refs.store(1, Release);
    // Its maker still changes it: extensions, translation.
    e.write(1);
    e.write(2);
    e.links.store(1, Relaxed);
    e.status.fetch_or(CONFIRMED, AcqRel);
    reader.join().unwrap();
}

fn two_deleters(fixed: bool) {
    fn kill(e: &Entry, fixed: bool) -> bool {
        let mine = if fixed {
            e.status.fetch_or(DYING, AcqRel) & DYING == 0
        } else {
            let st = e.status.load(Acquire);
            e.status.store(st | DYING, Release);
            st & DYING == 0
        };
        if mine {
            // Unlinks, sends the one DESTROY event, drops the table's reference.
            e.write(1);
        }
        mine
    }
    let e = Arc::new(Entry::new(1, CONFIRMED));
    let other = {
        let e = e.clone();
        spawn(move || kill(&e, fixed))
    };
    let mine = kill(&e, fixed);
    assert_ne!(mine, other.join().unwrap(), "unlinked twice, or never");
    saw(if mine { "first" } else { "second" });
}

/// Two packets of one flow, each with an entry of its own, confirm; the loser's packet goes over to the winner.
fn stale_handle(fixed: bool) {
    const DEAD: usize = 99;
    struct World {
        linked: Mutex<Option<usize>>,
        entries: [Entry; 2],
    }
    fn confirm(w: &World, mine: usize, fixed: bool) -> usize {
        let mut handle = mine;
        {
            let mut linked = w.linked.lock().unwrap();
            match *linked {
                None => {
                    *linked = Some(mine);
                    w.entries[mine].refs.fetch_add(1, Relaxed);
                }
                Some(winner) => {
                    w.entries[winner].refs.fetch_add(1, Relaxed);
                    handle = winner;
                }
            }
        }
        if handle != mine {
            // The packet's reference to its own entry is dropped, the last one: it is freed.
            w.entries[mine].write(DEAD);
        }
        // What follows in the same function.
        let used = if fixed { handle } else { mine };
        assert_ne!(w.entries[used].read(), DEAD, "a freed entry is used");
        handle
    }
    let w = Arc::new(World {
        linked: Mutex::new(None),
        entries: [Entry::new(1, 0), Entry::new(1, 0)],
    });
    let other = {
        let w = w.clone();
        spawn(move || confirm(&w, 1, fixed))
    };
    let mine = confirm(&w, 0, fixed);
    assert_eq!(
        mine,
        other.join().unwrap(),
        "both packets belong to one entry"
    );
    saw(if mine == 0 { "own" } else { "winner's" });
}

/// A SYN meets its closed old entry, which somebody else is about to delete.
fn lost_kill(fixed: bool) {
    let e = Arc::new(Entry::new(1, CONFIRMED));
    e.links.store(1, Relaxed);
    let other = {
        let e = e.clone();
        spawn(move || {
            if e.status.fetch_or(DYING, AcqRel) & DYING == 0 {
                e.links.store(0, Release);
            }
        })
    };
    let mut repeats = 0;
    let mut met = false;
    saw(loop {
        if e.links.load(Acquire) == 0 {
            break if met { "new entry" } else { "had none" };
        }
        met = true;
        if e.status.fetch_or(DYING, AcqRel) & DYING == 0 {
            e.links.store(0, Release);
        } else if fixed {
            break "dropped";
        }
        repeats += 1;
        assert!(repeats < 3, "the packet goes round while the killer sleeps");
    });
    other.join().unwrap();
}
