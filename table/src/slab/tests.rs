//! Who gets which handle, and what happens when there are none.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::*;

/// A type-stable slot without a count, as the raw table's overflow lines are.
#[derive(Debug)]
#[repr(C, align(64))]
struct Line {
    link: AtomicU32,
    rest: [AtomicU32; 15],
}

// SAFETY: atomics are zero when their bytes are.
unsafe impl Zeroable for Line {}

// SAFETY: the link is stored in a word of its own.
unsafe impl Slot for Line {
    unsafe fn next_free(&self) -> u32 {
        self.link.load(SeqCst)
    }

    unsafe fn set_next_free(&self, next: u32) {
        self.link.store(next, SeqCst);
    }
}

fn lines(limit: u32) -> Slab<Line> {
    Slab::try_new(limit).unwrap()
}

/// As many shards as other machines would have.
fn sharded(limit: u32) -> impl Iterator<Item = Slab<Line>> {
    [1, 2, 4, 16]
        .into_iter()
        .map(move |shards| Slab::try_with_shards(limit, shards).unwrap())
}

fn free(slab: &Slab<Line>, handles: impl IntoIterator<Item = u32>) {
    for handle in handles {
        // SAFETY: tests free what they were given.
        unsafe { slab.free(handle) };
    }
}

/// As a thread of its own, hence in another shard where there are two.
fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|s| s.spawn(f).join().unwrap())
}

#[test]
fn segments_tile_the_handles() {
    for limit in [1, 2, 63, 64, 65, 1000, 1 << 20, MAX_LIMIT] {
        let mut next = 0;
        for k in segment_of(1)..=segment_of(limit) {
            assert_eq!(segment_start(k), next);
            next += segment_len(k, limit);
            assert!(next > segment_start(k));
            assert_eq!(segment_of(next - 1), k);
            let (first, last) = (handle_of(segment_start(k)), handle_of(next - 1));
            assert_eq!(
                (first >> OFFSET_BITS, last >> OFFSET_BITS),
                (k as u32, k as u32)
            );
            assert_eq!(last - first, segment_len(k, limit) - 1);
            assert!(last < 1 << 31, "a bit is left for the client's use");
        }
        assert_eq!(next, limit + 1);
    }
}

#[test]
fn every_handle_has_a_slot_of_its_own() {
    let slab = lines(5000);
    let mut seen = HashSet::new();
    for _ in 0..5000 {
        let handle = slab.alloc().unwrap();
        assert_ne!(handle, 0);
        // SAFETY: just given out.
        let slot = unsafe { slab.slot(handle) };
        assert_eq!(slab.try_slot(handle), Some(slot));
        assert!(slot.is_aligned());
        // SAFETY: as above.
        let line = unsafe { slot.as_ref() };
        assert!(
            line.rest.iter().all(|w| w.swap(handle, SeqCst) == 0),
            "fresh slots are zero, and overlap none"
        );
        seen.insert(slot);
    }
    assert_eq!(seen.len(), 5000);
    assert_eq!(slab.alloc(), Err(Exhausted::Limit));
    assert_eq!(slab.try_slot(0), None);
    assert_eq!(slab.try_slot(5001), None);
    let stats = slab.stats();
    assert_eq!((stats.used, stats.free), (5000, 0));
    assert_eq!(
        stats.bytes,
        5001 * 64,
        "the last segment is cut to the limit"
    );
}

#[test]
fn handles_of_segments_that_do_not_exist_have_no_slot() {
    let slab = lines(1000);
    assert_eq!(slab.try_slot(1), None);
    slab.alloc().unwrap();
    assert!(slab.try_slot(1).is_some());
    assert_eq!(slab.try_slot(100), None);
}

#[test]
fn a_freed_slot_is_used_again_and_content_stays() {
    let slab = lines(100);
    let handle = slab.alloc().unwrap();
    // SAFETY: just given out.
    let line = unsafe { slab.slot(handle).as_ref() };
    line.rest[7].store(42, SeqCst);
    free(&slab, [handle]);
    assert_eq!(slab.alloc(), Ok(handle));
    assert_eq!(
        line.rest[7].load(SeqCst),
        42,
        "type-stable: nobody but the client writes"
    );
}

#[test]
fn the_limit_is_exact_wherever_slots_were_freed() {
    for slab in [1, 2, 3, 63, 64, 65, 300].into_iter().flat_map(sharded) {
        let limit = slab.limit();
        for round in 0..3 {
            let handles: Vec<_> = (0..limit).map(|_| slab.alloc().unwrap()).collect();
            assert_eq!(slab.alloc(), Err(Exhausted::Limit));
            assert_eq!(elsewhere(|| slab.alloc()), Err(Exhausted::Limit));
            assert_eq!(slab.stats().used, limit as usize);
            assert_eq!(handles.iter().collect::<HashSet<_>>().len(), limit as usize);
            // Freed in other threads' shards, or in turns.
            match round {
                0 => free(&slab, handles),
                1 => elsewhere(|| free(&slab, handles)),
                _ => handles.into_iter().for_each(|h| {
                    if h % 2 == 0 {
                        free(&slab, [h])
                    } else {
                        elsewhere(|| free(&slab, [h]))
                    }
                }),
            }
            assert_eq!(slab.stats().used, 0);
        }
    }
}

#[test]
fn a_limit_of_nothing() {
    let slab = lines(0);
    assert_eq!(slab.alloc(), Err(Exhausted::Limit));
    assert_eq!(slab.reserve(10), Ok(()));
    assert_eq!(slab.stats(), SlabStats::default());
}

#[test]
fn many_or_none() {
    sharded(100).for_each(many_or_none_of);
}

fn many_or_none_of(slab: Slab<Line>) {
    let mut most = [0; 97];
    slab.alloc_many(&mut most).unwrap();
    let mut four = [0; 4];
    assert_eq!(slab.alloc_many(&mut four), Err(Exhausted::Limit));
    assert_eq!(
        slab.stats().used,
        97,
        "what was taken on the way is free again"
    );
    let mut three = [0; 3];
    slab.alloc_many(&mut three).unwrap();
    assert_eq!(most.iter().chain(&three).collect::<HashSet<_>>().len(), 100);
    elsewhere(|| free(&slab, most));
    let mut again = [0; 97];
    slab.alloc_many(&mut again).unwrap();
    assert_eq!(
        again.iter().chain(&three).collect::<HashSet<_>>().len(),
        100
    );
    slab.alloc_many(&mut []).unwrap();
}

#[test]
fn reserved_memory_is_there_before_the_first_slot() {
    let slab = lines(1_000_000);
    slab.reserve(100_000).unwrap();
    let before = slab.stats();
    assert!(
        before.free >= 100_000 && before.bytes >= 6_400_000,
        "{before:?}"
    );
    (0..100_000).for_each(|_| _ = slab.alloc().unwrap());
    assert_eq!(slab.stats().bytes, before.bytes);
}

/// A segment of these is larger than any address space.
struct Giant {
    link: AtomicU32,
    _rest: [AtomicU32; 1 << 39],
}

// SAFETY: atomics are zero when their bytes are.
unsafe impl Zeroable for Giant {}

// SAFETY: the link is stored in a word of its own.
unsafe impl Slot for Giant {
    unsafe fn next_free(&self) -> u32 {
        self.link.load(SeqCst)
    }

    unsafe fn set_next_free(&self, next: u32) {
        self.link.store(next, SeqCst);
    }
}

#[test]
fn without_memory_an_allocation_says_so() {
    let slab = Slab::<Giant>::try_new(1000).unwrap();
    for _ in 0..3 {
        assert_eq!(slab.alloc(), Err(Exhausted::Memory));
        assert_eq!(slab.alloc_many(&mut [0; 3]), Err(Exhausted::Memory));
        assert_eq!(slab.reserve(1), Err(AllocError::System));
    }
    assert_eq!(slab.stats(), SlabStats::default());
}

/// One thread takes, another gives back: the slots have to find their way, or memory would grow without bound.
#[test]
fn producer_and_consumer_need_no_more_memory_than_is_in_use() {
    sharded(MAX_LIMIT).for_each(|slab| producer_and_consumer(&slab));
}

fn producer_and_consumer(slab: &Slab<Line>) {
    let (give, take) = std::sync::mpsc::sync_channel(256);
    thread::scope(|s| {
        s.spawn(move || (0..200_000).for_each(|_| give.send(slab.alloc().unwrap()).unwrap()));
        s.spawn(move || take.into_iter().for_each(|handle| free(slab, [handle])));
    });
    let stats = slab.stats();
    assert_eq!(stats.used, 0);
    // Without a look at the other shards it would be 200,000.
    assert!(stats.free < 100_000, "{stats:?}");
}

/// Each slot names its owner: a handle given out twice is seen at once.
fn churn(slab: &Slab<Line>, threads: u32, rounds: u32, hold: usize) {
    let exhausted = AtomicUsize::new(0);
    thread::scope(|s| {
        for me in 1..=threads {
            let exhausted = &exhausted;
            s.spawn(move || {
                let mut mine = std::collections::VecDeque::new();
                for round in 0..rounds {
                    let mut several = [0; 3];
                    let wanted = &mut several[..1 + (round % 3) as usize];
                    match slab.alloc_many(wanted) {
                        Ok(()) => {
                            for &handle in &*wanted {
                                // SAFETY: just given out.
                                let line = unsafe { slab.slot(handle).as_ref() };
                                assert_eq!(line.rest[0].swap(me, SeqCst), 0, "given out twice");
                                mine.push_back(handle);
                            }
                        }
                        Err(e) => {
                            assert_eq!(e, Exhausted::Limit);
                            exhausted.fetch_add(1, SeqCst);
                        }
                    }
                    while mine.len() > hold || (round % 64 == 0 && !mine.is_empty()) {
                        let handle = mine.pop_front().unwrap();
                        // SAFETY: still ours.
                        let line = unsafe { slab.slot(handle).as_ref() };
                        assert_eq!(line.rest[0].swap(0, SeqCst), me, "somebody else's");
                        free(slab, [handle]);
                    }
                }
                for handle in mine {
                    // SAFETY: still ours.
                    unsafe { slab.slot(handle).as_ref() }.rest[0].store(0, SeqCst);
                    free(slab, [handle]);
                }
            });
        }
    });
    assert_eq!(slab.stats().used, 0);
    if (slab.limit() as usize) < hold {
        assert!(exhausted.into_inner() > 0);
    }
}

#[test]
fn threads_never_get_the_same_handle() {
    sharded(MAX_LIMIT).for_each(|slab| churn(&slab, 4, 20_000, 500));
}

#[test]
fn threads_that_fight_for_the_last_slots_never_get_the_same_handle() {
    sharded(40).for_each(|slab| churn(&slab, 4, 10_000, 100));
}

/// One slot is free at every moment, but never the same: whoever looks must find one.
#[test]
fn exhaustion_is_never_reported_while_a_slot_is_free_at_every_moment() {
    const THREADS: u32 = 3;
    for slab in sharded(THREADS) {
        // Each thread holds at most one slot, so there is always one for whoever asks.
        thread::scope(|s| {
            for _ in 0..THREADS {
                s.spawn(|| (0..30_000).for_each(|_| free(&slab, [slab.alloc().unwrap()])));
            }
        });
        assert_eq!(slab.stats().used, 0);
    }
}

/// The only free slot is in a shard that another thread is busy with: to say that there is none would be wrong.
#[test]
fn exhaustion_waits_for_a_shard_that_somebody_is_busy_with() {
    let slab = &Slab::<Line>::try_with_shards(1, 4).unwrap();
    let handle = slab.alloc().unwrap();
    let me = slab.shards.mine();
    // Not in the shard that a dry one looks at first.
    let victim = slab.shards.get(me).lock().victim(me, 4).unwrap();
    let busy = (0..4).find(|&i| i != me && i != victim).unwrap();
    let busy = slab.shards.get(busy);
    // SAFETY: ours.
    unsafe { slab.put(&mut busy.lock(), handle) };
    let (tell, told) = std::sync::mpsc::channel();
    thread::scope(|s| {
        s.spawn(move || {
            let _held = busy.lock();
            tell.send(()).unwrap();
            thread::sleep(std::time::Duration::from_millis(50));
        });
        told.recv().unwrap();
        assert_eq!(slab.alloc(), Ok(handle));
    });
}

#[test]
fn values_are_dropped_when_freed_and_never_otherwise() {
    struct Counts<'a>(
        &'a AtomicUsize,
        #[allow(dead_code, reason = "makes it larger than a link")] [u64; 3],
    );
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = AtomicUsize::new(0);
    let slab = NodeSlab::try_new(10).unwrap();
    let handles: Vec<u32> = (0..10)
        .map(|i| slab.alloc(Counts(&drops, [i; 3])).ok().unwrap())
        .collect();
    let Err((back, Exhausted::Limit)) = slab.alloc(Counts(&drops, [99; 3])) else {
        panic!("the limit is 10")
    };
    assert_eq!((drops.load(SeqCst), back.1), (0, [99; 3]));
    drop(back);
    for (i, &handle) in handles.iter().enumerate() {
        // SAFETY: ours.
        assert_eq!(unsafe { slab.get(handle) }.1, [i as u64; 3]);
    }
    // SAFETY: ours, once.
    let taken = unsafe { slab.take(handles[0]) };
    assert_eq!(drops.load(SeqCst), 1);
    drop(taken);
    // SAFETY: ours, once.
    unsafe { slab.free(handles[1]) };
    assert_eq!(drops.load(SeqCst), 3);
    assert_eq!(slab.stats().used, 8);
    drop(slab);
    assert_eq!(
        drops.load(SeqCst),
        3,
        "which of the others live only their owner knows"
    );
}

#[test]
fn a_destructor_may_allocate_and_free_in_the_same_slab() {
    static SLAB: LazyLock<NodeSlab<Chain>> = LazyLock::new(|| NodeSlab::try_new(1).unwrap());
    struct Chain(u32);
    impl Drop for Chain {
        fn drop(&mut self) {
            if self.0 > 0 {
                let next = SLAB.alloc(Chain(self.0 - 1)).ok().unwrap();
                // SAFETY: just allocated, and nobody else knows it.
                unsafe { SLAB.free(next) };
            }
        }
    }
    // One slot is enough: it is free before the destructor runs.
    let first = SLAB.alloc(Chain(50)).ok().unwrap();
    // SAFETY: just allocated, and nobody else knows it.
    unsafe { SLAB.free(first) };
    assert_eq!(SLAB.stats().used, 0);
}

#[test]
fn small_and_large_values_fit() {
    fn check<T: PartialEq + core::fmt::Debug + Copy>(value: T) {
        let slab = NodeSlab::try_new(200).unwrap();
        let handles: Vec<_> = (0..200).map(|_| slab.alloc(value).ok().unwrap()).collect();
        for handle in handles {
            // SAFETY: ours.
            let at = unsafe { slab.get(handle) };
            assert!(core::ptr::from_ref(at).is_aligned());
            assert_eq!(*at, value);
        }
    }
    check(());
    check(7u8);
    check((1u64, 2u64));
    check([3u8; 1000]);
    #[repr(align(128))]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Wide(u8);
    check(Wide(1));
}
