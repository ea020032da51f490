//! Counted, type-stable entries through the public interface.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use std::thread;

use nulls::pool::{Entry, Exhausted, Pool, Ref};

/// Counts what happens to it; the counters are shared by all tests, so each test has a type of its own.
macro_rules! counted_entry {
    ($name:ident, $default:ident, $recycled:ident, $dropped:ident) => {
        static $default: AtomicUsize = AtomicUsize::new(0);
        static $recycled: AtomicUsize = AtomicUsize::new(0);
        static $dropped: AtomicUsize = AtomicUsize::new(0);
        #[derive(Debug)]
        struct $name {
            key: AtomicU64,
        }
        impl Default for $name {
            fn default() -> Self {
                $default.fetch_add(1, SeqCst);
                Self {
                    key: AtomicU64::new(0),
                }
            }
        }
        impl Entry for $name {
            fn recycle(&self) {
                $recycled.fetch_add(1, SeqCst);
            }
        }
        impl Drop for $name {
            fn drop(&mut self) {
                $dropped.fetch_add(1, SeqCst);
            }
        }
    };
}

#[derive(Debug, Default)]
struct Plain {
    key: AtomicU64,
}

impl Entry for Plain {}

#[test]
fn an_entry_goes_through_its_life() {
    counted_entry!(Conn, DEFAULT, RECYCLED, DROPPED);
    let pool = Pool::<Conn>::with_capacity(10);
    let unique = pool.alloc().unwrap();
    let handle = unique.handle();
    assert_ne!(handle, 0);
    unique.key.store(7, Relaxed);
    assert!(pool.try_get(handle).is_none(), "not published");
    let first = unique.publish();
    assert_eq!((first.handle(), first.count()), (handle, 1));
    let second = pool.try_get(handle).unwrap();
    let third = second.clone();
    assert_eq!((second.key.load(Relaxed), third.count()), (7, 3));
    drop(first);
    drop(second);
    assert_eq!(RECYCLED.load(SeqCst), 0);
    assert_eq!(third.count(), 1);
    drop(third);
    assert_eq!(RECYCLED.load(SeqCst), 1);
    assert!(
        pool.try_get(handle).is_none(),
        "the count is not raised from zero"
    );
    assert_eq!(
        pool.peek(handle).key.load(Relaxed),
        7,
        "type-stable: the slot still holds a Conn"
    );
    let again = pool.alloc().unwrap();
    assert_eq!(
        (again.handle(), again.key.load(Relaxed)),
        (handle, 7),
        "reused at once, as it was left"
    );
    assert_eq!(DEFAULT.load(SeqCst), 1, "constructed once");
    drop(again);
    assert_eq!(
        RECYCLED.load(SeqCst),
        2,
        "an entry given up unpublished is recycled too"
    );
    assert_eq!(DROPPED.load(SeqCst), 0);
    drop(pool);
    assert_eq!(DROPPED.load(SeqCst), 1);
}

#[test]
fn every_constructed_slot_is_dropped_with_the_pool_and_no_other() {
    counted_entry!(Conn, DEFAULT, RECYCLED, DROPPED);
    let pool = Pool::<Conn>::with_capacity(1000);
    let refs: Vec<_> = (0..300).map(|_| pool.alloc().unwrap().publish()).collect();
    let leaked: Vec<u32> = refs.into_iter().take(10).map(Ref::into_raw).collect();
    assert_eq!((RECYCLED.load(SeqCst), pool.stats().used), (290, 10));
    assert_eq!(pool.peek(leaked[0]).key.load(Relaxed), 0);
    // SAFETY: from `into_raw` above, once.
    drop(unsafe { pool.from_raw(leaked[0]) });
    assert_eq!(RECYCLED.load(SeqCst), 291);
    drop(pool);
    assert_eq!(DEFAULT.load(SeqCst), DROPPED.load(SeqCst));
    assert_eq!(DROPPED.load(SeqCst), 300);
}

#[test]
fn capacity_is_exact_and_comes_back() {
    let pool = Pool::<Plain>::with_capacity(100);
    for _ in 0..3 {
        let all: Vec<_> = (0..100).map(|_| pool.alloc().unwrap().publish()).collect();
        assert_eq!(pool.alloc().unwrap_err(), Exhausted::Limit);
        let handles: HashSet<u32> = all.iter().map(Ref::handle).collect();
        assert_eq!((handles.len(), handles.contains(&0)), (100, false));
        assert!(
            handles.iter().all(|&h| h < 1 << 31),
            "a bit is left for the user"
        );
    }
    assert_eq!(pool.stats().used, 0);
}

#[test]
fn handles_that_were_never_given_out_are_refused() {
    let pool = Pool::<Plain>::with_capacity(1000);
    let one = pool.alloc().unwrap().publish();
    for handle in [0, 999, 1000, 1001, 1 << 20, 1 << 31, u32::MAX] {
        assert!(pool.try_get(handle).is_none());
        assert!(pool.try_peek(handle).is_none());
        assert!(
            catch_unwind(AssertUnwindSafe(|| pool.peek(handle).key.load(Relaxed))).is_err(),
            "{handle}"
        );
    }
    // In a segment that exists, but never given out: there is no value yet.
    let next = one.handle() + 1;
    assert!(pool.try_get(next).is_none());
    assert!(catch_unwind(AssertUnwindSafe(|| pool.peek(next).key.load(Relaxed))).is_err());
}

#[test]
fn a_panicking_constructor_loses_no_slot() {
    static FAIL: AtomicBool = AtomicBool::new(true);
    struct Fussy;
    impl Default for Fussy {
        fn default() -> Self {
            assert!(!FAIL.load(SeqCst), "on purpose");
            Fussy
        }
    }
    impl Entry for Fussy {}
    let pool = Pool::<Fussy>::with_capacity(2);
    for _ in 0..5 {
        assert!(catch_unwind(AssertUnwindSafe(|| drop(pool.alloc()))).is_err());
    }
    FAIL.store(false, SeqCst);
    let (_one, _two) = (pool.alloc().unwrap(), pool.alloc().unwrap());
    assert!(pool.alloc().is_err());
}

#[test]
fn a_panicking_recycle_loses_no_slot() {
    #[derive(Default)]
    struct Fussy;
    impl Entry for Fussy {
        fn recycle(&self) {
            panic!("on purpose");
        }
    }
    let pool = Pool::<Fussy>::with_capacity(1);
    for _ in 0..5 {
        let entry = pool.alloc().unwrap().publish();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(entry))).is_err());
    }
    assert_eq!(pool.stats().used, 0);
}

/// As an expected connection holds its master: recycling one entry drops the last reference to another of the same pool.
#[test]
fn recycle_may_drop_other_references_and_allocate() {
    static POOL: std::sync::LazyLock<Pool<Child>> =
        std::sync::LazyLock::new(|| Pool::with_capacity(3));
    #[derive(Default)]
    struct Child {
        master: AtomicU32,
    }
    impl Entry for Child {
        fn recycle(&self) {
            let master = self.master.swap(0, SeqCst);
            if master != 0 {
                // SAFETY: stored by `into_raw`, taken once.
                drop(unsafe { POOL.from_raw(master) });
                drop(POOL.alloc().expect("the master's slot is free"));
            }
        }
    }
    let mut last = POOL.alloc().unwrap().publish();
    for _ in 0..2 {
        let child = POOL.alloc().unwrap();
        child.master.store(last.into_raw(), SeqCst);
        last = child.publish();
    }
    assert_eq!(POOL.stats().used, 3);
    drop(last);
    assert_eq!(POOL.stats().used, 0);
}

#[test]
fn references_cross_threads() {
    let pool = Pool::<Plain>::with_capacity(10);
    let entry = pool.alloc().unwrap();
    entry.key.store(5, Relaxed);
    let entry = entry.publish();
    thread::scope(|s| {
        for _ in 0..4 {
            let mine = entry.clone();
            s.spawn(move || (0..1000).for_each(|_| assert_eq!(mine.clone().key.load(Relaxed), 5)));
        }
    });
    assert_eq!(entry.count(), 1);
}

/// The protocol of a type-stable table: find a handle somewhere, take a reference, compare the key again.
///
/// A payload that is a function of the key says whether the entry was what it seemed: under a reference whose key
/// was compared, it cannot change.
#[test]
fn a_reference_with_the_right_key_is_the_right_entry() {
    #[derive(Default)]
    struct Conn {
        key: AtomicU64,
        payload: AtomicU64,
        live: AtomicBool,
    }
    impl Entry for Conn {
        fn recycle(&self) {
            assert!(
                self.live.swap(false, Relaxed),
                "recycled twice, or without a life"
            );
        }
    }
    const SLOTS: usize = 8;
    let pool = Pool::<Conn>::with_capacity(16);
    let cells: Vec<AtomicU32> = (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
    let stop = AtomicBool::new(false);
    let (hits, misses) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|s| {
        for reader in 0..2u64 {
            let (pool, cells, stop, hits, misses) = (&pool, &cells, &stop, &hits, &misses);
            s.spawn(move || {
                let mut x = reader + 1;
                while !stop.load(Relaxed) {
                    x = x
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let handle = cells[(x >> 33) as usize % SLOTS].load(Acquire);
                    if handle == 0 {
                        continue;
                    }
                    let key = pool.peek(handle).key.load(Relaxed);
                    match pool
                        .try_get(handle)
                        .filter(|entry| entry.key.load(Relaxed) == key)
                    {
                        None => _ = misses.fetch_add(1, Relaxed),
                        Some(entry) => {
                            hits.fetch_add(1, Relaxed);
                            for _ in 0..3 {
                                assert!(entry.live.load(Relaxed));
                                assert_eq!(entry.payload.load(Relaxed), key.wrapping_mul(3));
                                assert_eq!(entry.key.load(Relaxed), key);
                                std::hint::spin_loop();
                            }
                        }
                    }
                }
            });
        }
        let writers: Vec<_> = (0..2u64)
            .map(|writer| {
                let (pool, cells, hits, misses) = (&pool, &cells, &hits, &misses);
                s.spawn(move || {
                    // On a busy machine it can take a while until a reader meets a recycled entry.
                    let met = || hits.load(Relaxed) > 0 && misses.load(Relaxed) > 0;
                    for n in (1..50_000_000u64).take_while(|&n| n < 30_000 || !met()) {
                        let cell =
                            &cells[(writer as usize) * (SLOTS / 2) + n as usize % (SLOTS / 2)];
                        let old = cell.swap(0, AcqRel);
                        if old != 0 {
                            // SAFETY: stored by `into_raw`, taken once.
                            drop(unsafe { pool.from_raw(old) });
                        }
                        let Ok(entry) = pool.alloc() else { continue };
                        let key = n << 8 | writer;
                        entry.payload.store(key.wrapping_mul(3), Relaxed);
                        entry.key.store(key, Relaxed);
                        entry.live.store(true, Relaxed);
                        cell.store(entry.handle(), Release);
                        let _ = entry.publish().into_raw();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|w| w.join().unwrap());
        stop.store(true, Relaxed);
    });
    assert!(hits.into_inner() > 0 && misses.into_inner() > 0);
    for cell in cells {
        match cell.into_inner() {
            0 => {}
            // SAFETY: stored by `into_raw`, taken once.
            handle => drop(unsafe { pool.from_raw(handle) }),
        }
    }
    assert_eq!(pool.stats().used, 0);
}

/// Threads take and drop references to one entry until it dies: it is recycled by exactly one of them.
#[test]
fn exactly_one_thread_recycles() {
    static RECYCLED: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    #[derive(Default)]
    struct Conn {
        round: AtomicU64,
    }
    impl Entry for Conn {
        fn recycle(&self) {
            RECYCLED.lock().unwrap().push(self.round.load(Relaxed));
        }
    }
    let pool = Pool::<Conn>::with_capacity(4);
    for round in 0..2000 {
        let entry = pool.alloc().unwrap();
        entry.round.store(round, Relaxed);
        let entry = entry.publish();
        let handle = entry.handle();
        thread::scope(|s| {
            let other = entry.clone();
            let pool = &pool;
            s.spawn(move || drop(other));
            s.spawn(move || drop(pool.try_get(handle)));
            drop(entry);
        });
        assert_eq!(pool.stats().used, 0);
    }
    assert_eq!(*RECYCLED.lock().unwrap(), (0..2000).collect::<Vec<_>>());
}
