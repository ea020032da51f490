//! Grace periods in a domain of the test's own, so that tests do not wait for each other's readers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

use super::garbage::{Garbage, MAX_BATCH, MIN_BATCH};
use super::membarrier::Asymmetric;
use super::*;

/// A domain that lives for ever, where a leak checker finds it.
fn domain_with(flavour: Flavour) -> &'static Domain {
    static ALL: Mutex<Vec<&'static Domain>> = Mutex::new(Vec::new());
    let domain = Box::leak(Box::new(Domain::with_fences(Asymmetric::decided(flavour))));
    ALL.lock().unwrap().push(domain);
    domain
}

/// Both flavours, where both can be had.
fn domains() -> impl Iterator<Item = &'static Domain> {
    let native = Domain::new().flavour();
    let both = if native == Flavour::Fence {
        vec![native]
    } else {
        vec![native, Flavour::Fence]
    };
    both.into_iter().map(domain_with)
}

fn garbage<T>(domain: &'static Domain) -> Garbage<T> {
    Garbage::try_new_in(domain).unwrap()
}

/// Retires without collecting.
fn put<T>(garbage: &Garbage<T>, item: T) {
    let _ = garbage.retire(item, size_of::<T>());
}

fn flushed<T>(garbage: &Garbage<T>) -> Vec<T> {
    let mut items = Vec::new();
    garbage.flush(|item| items.push(item));
    items
}

#[test]
fn without_readers_everything_is_freed_at_once() {
    for domain in domains() {
        let garbage = garbage(domain);
        (0..10).for_each(|i| put(&garbage, i));
        assert_eq!(garbage.waiting().items, 10);
        let mut items = flushed(&garbage);
        items.sort();
        assert_eq!(items, (0..10).collect::<Vec<_>>());
        assert_eq!(garbage.waiting(), Default::default());
    }
}

#[test]
fn a_reader_from_before_holds_the_garbage_and_one_from_after_does_not() {
    for domain in domains() {
        let garbage = garbage(domain);
        let before = OwnedGuard::new_in(domain);
        put(&garbage, 1);
        assert_eq!(flushed(&garbage), []);
        let _after = OwnedGuard::new_in(domain);
        put(&garbage, 2);
        assert_eq!(flushed(&garbage), []);
        drop(before);
        assert_eq!(
            flushed(&garbage),
            [1],
            "the second reader came after 1 was retired, but before 2 was"
        );
        assert_eq!(garbage.waiting().items, 1);
    }
}

#[test]
fn refresh_lets_go_of_what_was_retired_before() {
    let domain = domain_with(Flavour::Fence);
    let garbage = garbage(domain);
    let mut reader = OwnedGuard::new_in(domain);
    put(&garbage, 1);
    assert_eq!(flushed(&garbage), []);
    reader.refresh();
    put(&garbage, 2);
    assert_eq!(flushed(&garbage), [1]);
    reader.refresh();
    assert_eq!(flushed(&garbage), [2]);
}

#[test]
fn nested_guards_protect_until_the_last_is_gone() {
    // The thread's own record is in the process's domain, where other tests read too: ask about ourselves only.
    let mut outer = pin();
    let inner = pin();
    let epoch = |g: &Guard| g.record().announced();
    let announced = epoch(&outer);
    assert!(announced.is_some());
    let _ = domain().begin();
    outer.refresh();
    assert_eq!(
        epoch(&outer),
        announced,
        "the inner guard's holder may still read"
    );
    drop(inner);
    assert!(is_pinned());
    outer.refresh();
    assert!(epoch(&outer) > announced);
    let record = outer.record();
    drop(outer);
    assert!(!is_pinned());
    assert_eq!(record.announced(), None);
}

#[test]
fn guards_may_be_dropped_in_any_order() {
    let (first, second, third) = (pin(), pin(), pin());
    let record = first.record();
    drop(second);
    drop(first);
    assert!(record.announced().is_some());
    drop(third);
    assert_eq!(record.announced(), None);
}

#[test]
fn synchronize_waits_for_readers_from_before_only() {
    for domain in domains() {
        let reader = OwnedGuard::new_in(domain);
        let done = Arc::new(AtomicBool::new(false));
        let waiter = thread::spawn({
            let done = done.clone();
            move || {
                assert!(domain.synchronize());
                done.store(true, SeqCst);
            }
        });
        // The stamp is out: readers from now on are not waited for.
        while domain.oldest_reader().unwrap().behind == 0 {
            thread::yield_now();
        }
        let _later = OwnedGuard::new_in(domain);
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(!done.load(SeqCst));
        drop(reader);
        waiter.join().unwrap();
    }
}

#[test]
fn a_scan_says_nothing_about_grace_periods_that_begin_later() {
    let domain = domain_with(Flavour::Fence);
    let completed = domain.completed();
    let _reader = OwnedGuard::new_in(domain);
    assert!(domain.begin().unwrap() >= completed);
}

#[test]
fn the_oldest_reader_is_named() {
    let domain = domain_with(Flavour::Fence);
    assert_eq!(domain.oldest_reader(), None);
    let _new = {
        let _old = OwnedGuard::new_in(domain);
        let _ = domain.begin();
        let new = OwnedGuard::new_in(domain);
        let oldest = domain.oldest_reader().unwrap();
        assert_eq!((oldest.index, oldest.behind, oldest.thread), (0, 1, None));
        new
    };
    assert_eq!(domain.oldest_reader().unwrap().index, 1);
}

#[test]
fn records_are_given_out_again() {
    let domain = domain_with(Flavour::Fence);
    for _ in 0..100 {
        let _two = (OwnedGuard::new_in(domain), OwnedGuard::new_in(domain));
    }
    assert_eq!(domain.len(), 2);
}

#[test]
fn bags_fill_and_grow() {
    let domain = domain_with(Flavour::Fence);
    let garbage = garbage(domain);
    let mut full = Vec::new();
    for i in 0..4 * MAX_BATCH {
        if garbage.retire(i, 1) {
            full.push(garbage.waiting().items);
            garbage.collect(drop);
        }
    }
    assert_eq!(full[0], MIN_BATCH);
    assert!(
        full.windows(2).all(|w| w[1] == (2 * w[0]).min(MAX_BATCH)),
        "{full:?}"
    );
    assert_eq!(full.last(), Some(&MAX_BATCH));
    flushed(&garbage);
    assert_eq!(
        (0..).find(|&i| garbage.retire(i, 1)),
        Some(MIN_BATCH - 1),
        "a flush starts small again"
    );
}

/// Two threads share a shard: between the first one's fence and its look at the list, the second closes a batch.
#[test]
fn a_batch_closed_after_the_fence_waits_for_a_stamp_of_its_own() {
    let domain = domain_with(Flavour::Fence);
    let garbage = garbage(domain);
    put(&garbage, 1);
    garbage.mine().lock().close_if_due(true);
    let before = garbage.mine().lock().not_begun().unwrap();
    let stamp = domain.begin().unwrap();
    // This reader came after the fence, and may have found 2 before it was unlinked.
    let reader = OwnedGuard::new_in(domain);
    put(&garbage, 2);
    garbage.mine().lock().close_if_due(true);
    Garbage::stamp(garbage.mine(), before, stamp);
    assert_eq!(flushed(&garbage), [1]);
    drop(reader);
    assert_eq!(flushed(&garbage), [2]);
}

#[test]
fn large_items_fill_a_bag_by_their_bytes() {
    let garbage = garbage(domain_with(Flavour::Fence));
    assert!(!garbage.retire(1, 100));
    assert!(garbage.retire(2, 1 << 20));
    let waiting = garbage.waiting();
    assert_eq!((waiting.items, waiting.bytes), (2, 100 + (1 << 20)));
    let mut n = 0;
    garbage.collect(|_| n += 1);
    assert_eq!((n, garbage.waiting().bytes), (2, 0));
}

#[test]
fn a_destructor_may_retire_collect_and_flush() {
    let garbage = garbage(domain_with(Flavour::Fence));
    put(&garbage, 100u32);
    let freed = AtomicUsize::new(0);
    fn free(garbage: &Garbage<u32>, freed: &AtomicUsize, n: u32) {
        freed.fetch_add(1, SeqCst);
        if n > 0 {
            put(garbage, n - 1);
            garbage.flush(|n| free(garbage, freed, n));
        }
    }
    garbage.flush(|n| free(&garbage, &freed, n));
    assert_eq!(freed.load(SeqCst), 101);
    assert_eq!(garbage.waiting().items, 0);
}

#[test]
fn a_panicking_destructor_loses_nothing_but_its_own_item() {
    let garbage = garbage(domain_with(Flavour::Fence));
    (0..10).for_each(|i| put(&garbage, i));
    let mut freed = Vec::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        garbage.flush(|i| {
            freed.push(i);
            assert_ne!(i, 5, "on purpose");
        })
    }));
    assert!(result.is_err());
    assert_eq!(garbage.waiting().items, 10 - freed.len());
    freed.extend(flushed(&garbage));
    freed.sort();
    assert_eq!(freed, (0..10).collect::<Vec<_>>());
}

#[test]
fn items_are_dropped_exactly_once() {
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let domain = domain_with(Flavour::Fence);
    let drops = Arc::new(AtomicUsize::new(0));
    let _stalled = OwnedGuard::new_in(domain);
    let mut one = garbage(domain);
    let other = garbage(domain);
    for _ in 0..1000 {
        put(&one, Counts(drops.clone()));
        put(&other, Counts(drops.clone()));
    }
    one.flush(drop);
    other.flush(drop);
    assert_eq!(drops.load(SeqCst), 0, "a reader is stalled");
    one.drain(drop);
    assert_eq!(drops.load(SeqCst), 1000);
    assert_eq!(one.waiting(), Default::default());
    drop(one);
    assert_eq!(drops.load(SeqCst), 1000);
    // An owner that is dropped frees its garbage, stalled reader or not.
    drop(other);
    assert_eq!(drops.load(SeqCst), 2000);
}

/// A filter on system calls makes `membarrier` fail in one thread, long after the decision to rely on it.
#[test]
#[cfg(all(target_os = "linux", not(miri)))]
fn garbage_is_kept_while_the_kernel_refuses_the_barrier() {
    let domain = domain_with(Flavour::Membarrier);
    if Domain::new().flavour() == Flavour::Fence {
        return;
    }
    let garbage = garbage(domain);
    thread::scope(|s| {
        s.spawn(|| {
            if !refuse_membarrier() {
                return;
            }
            assert!(!domain.synchronize());
            put(&garbage, 1);
            put(&garbage, 2);
            for _ in 0..3 {
                assert_eq!(flushed(&garbage), []);
                assert_eq!(garbage.waiting().items, 2);
            }
        });
    });
    // Threads without the filter find what was kept.
    put(&garbage, 3);
    let mut items = flushed(&garbage);
    items.sort();
    assert!(items == [1, 2, 3] || items == [3], "{items:?}");
    assert_eq!(garbage.waiting().items, 0);
}

/// Has `membarrier` fail with EPERM in the calling thread, if the system lets us.
#[cfg(all(target_os = "linux", not(miri)))]
fn refuse_membarrier() -> bool {
    // Load the call's number; unless it is membarrier's, skip one; fail; allow.
    let filter = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, libc::SYS_membarrier as u32),
        (0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        (0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let mut filter = filter.map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    let zero: libc::c_ulong = 0;
    // SAFETY: the program is a valid filter, alive during the calls, which concern this thread only.
    unsafe {
        libc::prctl(
            libc::PR_SET_NO_NEW_PRIVS,
            1 as libc::c_ulong,
            zero,
            zero,
            zero,
        ) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
                &raw const program,
            ) == 0
    }
}

/// Readers that hold a pointer of a moment ago, writers that swap and retire: the payload says whether it was freed.
#[test]
fn readers_never_see_freed_items() {
    for domain in domains() {
        use std::sync::atomic::AtomicPtr;
        const ALIVE: u64 = 0x616c_6976_6521_2121;
        struct Item(std::sync::atomic::AtomicU64);
        let shared = AtomicPtr::new(Box::into_raw(Box::new(Item(ALIVE.into()))));
        let garbage = garbage::<usize>(domain);
        let stop = AtomicBool::new(false);
        let reads = AtomicUsize::new(0);
        // Freed items are poisoned and kept, so that a reader that sees one reads no freed memory.
        let freed = Mutex::new(Vec::new());
        let free = |p: usize| {
            // SAFETY: from `Box::into_raw`, and freed at the end only.
            let item = unsafe { &*(p as *const Item) };
            assert_eq!(item.0.swap(0, SeqCst), ALIVE, "freed twice");
            freed.lock().unwrap().push(p);
        };
        thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    let mut guard = OwnedGuard::new_in(domain);
                    let mut n = 0;
                    while !stop.load(SeqCst) {
                        // SAFETY: never deallocated before the end.
                        let item = unsafe { &*shared.load(std::sync::atomic::Ordering::Acquire) };
                        crate::sync::check::pause();
                        assert_eq!(item.0.load(std::sync::atomic::Ordering::Relaxed), ALIVE);
                        n += 1;
                        reads.fetch_add(1, SeqCst);
                        if n % 3 == 0 {
                            guard.refresh();
                        } else {
                            drop(guard);
                            guard = OwnedGuard::new_in(domain);
                        }
                    }
                });
            }
            // A busy machine may start the readers late.
            while reads.load(SeqCst) == 0 {
                thread::yield_now();
            }
            let writers: Vec<_> = (0..2)
                .map(|_| {
                    s.spawn(|| {
                        for _ in 0..20_000 {
                            let new = Box::into_raw(Box::new(Item(ALIVE.into())));
                            let old = shared.swap(new, SeqCst);
                            if garbage.retire(old as usize, 8) {
                                garbage.collect(free);
                            }
                        }
                    })
                })
                .collect();
            writers.into_iter().for_each(|w| w.join().unwrap());
            stop.store(true, SeqCst);
        });
        garbage.flush(free);
        assert_eq!(garbage.waiting().items, 0);
        let freed = freed.into_inner().unwrap();
        assert_eq!(freed.len(), 40_000);
        assert!(reads.load(SeqCst) > 0);
        for p in freed.into_iter().chain([shared.into_inner() as usize]) {
            // SAFETY: from `Box::into_raw`, once each.
            drop(unsafe { Box::from_raw(p as *mut Item) });
        }
    }
}

#[test]
fn a_stalled_thread_is_found_by_its_number() {
    let (tell, told) = mpsc::channel();
    let barrier = Arc::new(Barrier::new(2));
    let stalled = thread::Builder::new()
        .name("stalled-reader".into())
        .spawn({
            let barrier = barrier.clone();
            move || {
                let guard = pin();
                tell.send(guard.record()).unwrap();
                barrier.wait();
            }
        })
        .unwrap();
    let record = told.recv().unwrap();
    let reader = record.report(0);
    assert_eq!(reader.index, record.index());
    if cfg!(target_os = "linux") {
        assert_eq!(reader.thread_name().as_deref(), Some("stalled-reader"));
    }
    barrier.wait();
    stalled.join().unwrap();
    if cfg!(target_os = "linux") {
        // The kernel takes a joined thread off its lists in its own time.
        while reader.thread_name().as_deref() == Some("stalled-reader") {
            thread::yield_now();
        }
    }
}
