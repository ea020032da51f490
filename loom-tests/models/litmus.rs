//! The self-test of the checker: small programs whose outcomes under the C11 memory model are known.
//!
//! They use loom alone. If one of them misses an outcome, the checker is blind and a pass of the other models means
//! nothing; if one that is wrong on purpose is not caught, likewise.

#![allow(
    clippy::arc_with_non_send_sync,
    reason = "loom runs all threads of a model on one"
)]

use crate::harness::{Model, spawn};
use crate::verdict::{Expect, saw};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering, Ordering::*, fence};
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "litmus/load-then-store",
        proves: "a load beside `v = x.load(); x.store(v + 1)` sees the old and the new value",
        floor: 2,
        outcomes: &["0", "1"],
        body: load_then_store,
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/look-then-take",
        proves: "a look beside a lock that is read before it is taken by CAS finds it free, taken, and free again",
        floor: 3,
        outcomes: &["free", "taken", "free again"],
        body: look_then_take,
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/reference-beside-load",
        proves: "a look beside increment-if-not-zero and a drop sees every count",
        floor: 3,
        outcomes: &["1", "2"],
        body: reference_beside_load,
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/cas-loop",
        proves: "two CAS loops lose no increment, and each is seen to fail by the other",
        floor: 3,
        outcomes: &["both at once", "left retried", "right retried"],
        body: cas_loop,
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/lost-update",
        proves: "load + store in two threads loses an increment: caught",
        expect: Expect::Caught,
        body: lost_update,
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/refcount",
        proves: "increment-if-not-zero finds a live object or none, never a freed one",
        floor: 3,
        outcomes: &["got", "gone"],
        body: || refcount(true),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/refcount-from-zero",
        proves: "an increment that does not test for zero reaches a freed object: caught",
        expect: Expect::Caught,
        body: || refcount(false),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/locked-twice",
        proves: "a lock taken by load + store lets two in: caught",
        expect: Expect::Caught,
        body: locked_twice,
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/store-buffering",
        proves: "without fences both loads may miss both stores",
        floor: 4,
        outcomes: &["00", "01", "10", "11"],
        body: || store_buffering(false),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/store-buffering-fenced",
        proves: "with SeqCst fences one of the loads sees the other's store",
        floor: 3,
        outcomes: &["01", "10", "11"],
        body: || store_buffering(true),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/wish-beside-a-lock",
        proves: "a lock that is left and a wish looked for, without a fence between: both sides may miss each other",
        floor: 4,
        outcomes: &["missed by both", "seen", "taken"],
        body: || wish_beside_a_lock(false),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/wish-beside-a-lock-fenced",
        proves: "with SeqCst fences one of the two sees the other",
        floor: 4,
        outcomes: &["seen", "taken"],
        body: || wish_beside_a_lock(true),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/message",
        proves: "Release / Acquire hands a payload over",
        floor: 2,
        outcomes: &["seen", "not yet"],
        body: || message(Release, Acquire),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/message-relaxed-store",
        proves: "a Relaxed store does not hand a payload over: caught",
        expect: Expect::Caught,
        body: || message(Relaxed, Acquire),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/message-relaxed-load",
        proves: "a Relaxed load does not receive a payload: caught",
        expect: Expect::Caught,
        body: || message(Release, Relaxed),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/seqcount",
        proves: "a sequence count with both fences gives a consistent pair",
        floor: 10,
        outcomes: &["old", "new", "torn, noticed"],
        body: || seqcount(true, true),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/seqcount-no-reader-fence",
        proves: "the reader's Acquire fence is needed: caught",
        expect: Expect::Caught,
        body: || seqcount(false, true),
        ..Model::DEFAULT
    },
    Model {
        name: "litmus/seqcount-no-writer-fence",
        proves: "the writer's Release fence is needed: caught",
        expect: Expect::Caught,
        body: || seqcount(true, false),
        ..Model::DEFAULT
    },
];

fn load_then_store() {
    let x = Arc::new(AtomicUsize::new(0));
    let a = {
        let x = x.clone();
        spawn(move || {
            let v = x.load(Relaxed);
            x.store(v + 1, Relaxed);
        })
    };
    saw(if x.load(Relaxed) == 0 { "0" } else { "1" });
    a.join().unwrap();
}

fn look_then_take() {
    let lock = Arc::new(AtomicUsize::new(0));
    let a = {
        let lock = lock.clone();
        spawn(move || {
            if lock.load(Relaxed) == 0 && lock.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
                lock.store(2, Release);
            }
        })
    };
    saw(match lock.load(Acquire) {
        0 => "free",
        1 => "taken",
        _ => "free again",
    });
    a.join().unwrap();
}

fn reference_beside_load() {
    let count = Arc::new(AtomicUsize::new(1));
    let a = {
        let count = count.clone();
        spawn(move || {
            let n = count.load(Relaxed);
            if n != 0 && count.compare_exchange(n, n + 1, Acquire, Relaxed).is_ok() {
                count.fetch_sub(1, Release);
            }
        })
    };
    saw(match count.load(Acquire) {
        1 => "1",
        2 => "2",
        n => panic!("a count of {n}"),
    });
    a.join().unwrap();
}

fn cas_loop() {
    fn increment(x: &AtomicUsize) -> usize {
        let mut tries = 1;
        let mut v = x.load(Relaxed);
        while let Err(now) = x.compare_exchange(v, v + 1, Relaxed, Relaxed) {
            tries += 1;
            v = now;
        }
        tries
    }
    let x = Arc::new(AtomicUsize::new(0));
    let a = {
        let x = x.clone();
        spawn(move || increment(&x))
    };
    let right = increment(&x);
    let left = a.join().unwrap();
    assert_eq!(x.load(Relaxed), 2);
    saw(match (left, right) {
        (1, 1) => "both at once",
        (2, 1) => "left retried",
        (1, 2) => "right retried",
        other => panic!("{other:?} tries for one increment each"),
    });
}

fn lost_update() {
    let x = Arc::new(AtomicUsize::new(0));
    // Read by a read-modify-write, which is never stale: only a preemption between the two accesses loses an increment.
    let add = |x: &AtomicUsize| x.store(x.fetch_add(0, AcqRel) + 1, Release);
    let a = {
        let x = x.clone();
        spawn(move || add(&x))
    };
    add(&x);
    a.join().unwrap();
    assert_eq!(x.load(Acquire), 2, "an increment is lost");
}

fn wish_beside_a_lock(fenced: bool) {
    let lock = Arc::new(AtomicUsize::new(0));
    let wish = Arc::new(AtomicUsize::new(0));
    let a = {
        let (lock, wish) = (lock.clone(), wish.clone());
        spawn(move || {
            wish.store(1, Relaxed);
            if fenced {
                fence(SeqCst);
            }
            lock.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
        })
    };
    assert!(lock.compare_exchange(0, 1, Acquire, Relaxed).is_ok() || lock.load(Relaxed) == 1);
    lock.store(0, Release);
    if fenced {
        fence(SeqCst);
    }
    let seen = wish.load(Relaxed) == 1;
    saw(match (a.join().unwrap(), seen) {
        (false, false) => "missed by both",
        (false, true) => "seen",
        (true, _) => "taken",
    });
}

fn refcount(test_for_zero: bool) {
    struct Object {
        count: AtomicUsize,
        payload: UnsafeCell<usize>,
    }
    // loom's cells and atomics are `Sync`; the payload is what is being checked.
    let o = Arc::new(Object {
        count: AtomicUsize::new(1),
        payload: UnsafeCell::new(7),
    });
    fn drop_one(o: &Object) {
        if o.count.fetch_sub(1, Release) == 1 {
            fence(Acquire);
            // SAFETY: nobody else holds a count; loom checks it.
            o.payload.with_mut(|p| unsafe { *p = 0 });
        }
    }
    let a = {
        let o = o.clone();
        spawn(move || {
            let mut n = o.count.load(Relaxed);
            loop {
                if n == 0 && test_for_zero {
                    return saw("gone");
                }
                match o.count.compare_exchange(n, n + 1, Acquire, Relaxed) {
                    Ok(_) => break,
                    Err(now) => n = now,
                }
            }
            saw("got");
            // SAFETY: the count taken keeps the payload; loom checks it.
            let v = o.payload.with(|p| unsafe { *p });
            assert_eq!(v, 7, "a freed object is reached");
            drop_one(&o);
        })
    };
    drop_one(&o);
    a.join().unwrap();
}

fn locked_twice() {
    let lock = Arc::new((AtomicUsize::new(0), UnsafeCell::new(0)));
    let enter = |lock: &(AtomicUsize, UnsafeCell<usize>)| {
        if lock.0.load(Acquire) == 0 {
            lock.0.store(1, Relaxed);
            // SAFETY: there is none: the lock is broken on purpose, and loom has to see it.
            lock.1.with_mut(|p| unsafe { *p += 1 });
            lock.0.store(0, Release);
        }
    };
    let a = {
        let lock = lock.clone();
        spawn(move || enter(&lock))
    };
    enter(&lock);
    a.join().unwrap();
}

fn store_buffering(fenced: bool) {
    let v = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let side = move |mine: &AtomicUsize, theirs: &AtomicUsize| {
        mine.store(1, Relaxed);
        if fenced {
            fence(SeqCst);
        }
        theirs.load(Relaxed)
    };
    let a = {
        let v = v.clone();
        spawn(move || side(&v.0, &v.1))
    };
    let right = side(&v.1, &v.0);
    saw(match (a.join().unwrap(), right) {
        (0, 0) => "00",
        (0, _) => "01",
        (_, 0) => "10",
        _ => "11",
    });
}

fn message(store: Ordering, load: Ordering) {
    let m = Arc::new((AtomicUsize::new(0), UnsafeCell::new(0)));
    let a = {
        let m = m.clone();
        spawn(move || {
            // SAFETY: the flag is not set, so nobody reads; loom checks it.
            m.1.with_mut(|p| unsafe { *p = 42 });
            m.0.store(1, store);
        })
    };
    if m.0.load(load) == 1 {
        // SAFETY: the flag is set after the last write; loom checks it.
        assert_eq!(m.1.with(|p| unsafe { *p }), 42);
        saw("seen");
    } else {
        saw("not yet");
    }
    a.join().unwrap();
}

fn seqcount(reader_fence: bool, writer_fence: bool) {
    struct Pair {
        seq: AtomicUsize,
        one: AtomicUsize,
        two: AtomicUsize,
    }
    let p = Arc::new(Pair {
        seq: AtomicUsize::new(0),
        one: AtomicUsize::new(0),
        two: AtomicUsize::new(0),
    });
    let w = {
        let p = p.clone();
        spawn(move || {
            p.seq.store(1, Relaxed);
            if writer_fence {
                fence(Release);
            }
            p.one.store(1, Relaxed);
            p.two.store(1, Relaxed);
            p.seq.store(2, Release);
        })
    };
    let before = p.seq.load(Acquire);
    let pair = (p.one.load(Relaxed), p.two.load(Relaxed));
    if reader_fence {
        fence(Acquire);
    }
    let after = p.seq.load(Relaxed);
    if before == after && before.is_multiple_of(2) {
        assert_eq!(pair.0, pair.1, "a torn pair is taken for consistent");
        saw(if pair.0 == 0 { "old" } else { "new" });
    } else if pair.0 != pair.1 {
        saw("torn, noticed");
    }
    w.join().unwrap();
}
