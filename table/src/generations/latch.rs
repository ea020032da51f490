//! The table's ticket: readers fetch `(array, heads, len)` consistently and never wait for whoever publishes.
//!
//! Two copies of the triple; the parity of the sequence count names the one that is not being written, as in the
//! kernel's `seqcount_latch_t` (`include/linux/seqlock.h`). A reader repeats only if a whole publication passed while
//! it read: lock-free, and no preempted publisher delays it.
//!
//! The count says more than the parity. It goes through three phases:
//!
//! | count modulo 4 | |
//! |---|---|
//! | 0 | settled: copy 0 is the one and only generation |
//! | 2 | a resize runs: copy 0 is the root, and buckets move to its successor |
//! | 3 | the successor is being published: readers use copy 1, which still holds the old root |
//!
//! So one look at the count tells a look-up that it needs to know of one generation only.

use crate::sync::check::mutant;
use crate::sync::{AtomicPtr, AtomicUsize, fence, order};
use core::sync::atomic::Ordering::Relaxed;

/// One consistent view of a generation whose header is an `A`, and whose buckets begin with an `H` each.
#[derive(Debug)]
pub(crate) struct Snapshot<A, H> {
    pub(crate) array: *mut A,
    pub(crate) heads: *mut H,
    pub(crate) len: usize,
}

impl<A, H> Clone for Snapshot<A, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, H> Copy for Snapshot<A, H> {}

#[derive(Debug)]
struct Triple<A, H> {
    array: AtomicPtr<A>,
    heads: AtomicPtr<H>,
    len: AtomicUsize,
}

impl<A, H> Triple<A, H> {
    fn new(s: Snapshot<A, H>) -> Self {
        Self {
            array: AtomicPtr::new(s.array),
            heads: AtomicPtr::new(s.heads),
            len: AtomicUsize::new(s.len),
        }
    }

    fn store(&self, s: Snapshot<A, H>) {
        // Relaxed: ordered by the fences and stores of the sequence count around them.
        self.array.store(s.array, Relaxed);
        self.heads.store(s.heads, Relaxed);
        self.len.store(s.len, Relaxed);
    }
}

/// The sequence-count latch: one cache line, which nothing else that is written shares.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Latch<A, H> {
    seq: AtomicUsize,
    copies: [Triple<A, H>; 2],
}

impl<A, H> Latch<A, H> {
    pub(crate) fn new(s: Snapshot<A, H>) -> Self {
        Self {
            seq: AtomicUsize::new(0),
            copies: [Triple::new(s), Triple::new(s)],
        }
    }

    /// Heads and length of the only generation; `None` while there are two, or one was published while we looked.
    #[inline(always)]
    pub(crate) fn try_settled(&self) -> Option<(*const H, usize)> {
        let seq = self.seq.load(order::latch_begin());
        if seq & 3 != 0 {
            return None;
        }
        // Relaxed: the fence below orders these before the second look at the count.
        let (heads, len) = (
            self.copies[0].heads.load(Relaxed),
            self.copies[0].len.load(Relaxed),
        );
        fence(order::latch_read_fence());
        (self.seq.load(Relaxed) == seq || mutant("latch:skip-recheck"))
            .then_some((heads.cast_const(), len))
    }

    /// As [`try_settled`](Self::try_settled), with the generation's header.
    #[inline(always)]
    pub(crate) fn try_settled_whole(&self) -> Option<Snapshot<A, H>> {
        let seq = self.seq.load(order::latch_begin());
        if seq & 3 != 0 {
            return None;
        }
        // Relaxed: the fence below orders these before the second look at the count.
        let s = Snapshot {
            array: self.copies[0].array.load(Relaxed),
            heads: self.copies[0].heads.load(Relaxed),
            len: self.copies[0].len.load(Relaxed),
        };
        fence(order::latch_read_fence());
        (self.seq.load(Relaxed) == seq || mutant("latch:skip-recheck")).then_some(s)
    }

    /// The heads of the root, or of the one before while it is being replaced. One word needs no sequence count: for tables
    /// that keep the number of their buckets there, and whose buckets say themselves whether they have moved.
    #[inline(always)]
    pub(crate) fn heads(&self) -> *const H {
        self.copies[0].heads.load(order::latch_heads())
    }

    /// Whether no resize ran a moment ago.
    #[inline(always)]
    pub(crate) fn is_settled(&self) -> bool {
        // Relaxed: a hint, which nothing is concluded from.
        self.seq.load(Relaxed) & 3 == 0
    }

    /// The root.
    #[inline]
    pub(crate) fn load(&self) -> Snapshot<A, H> {
        loop {
            let seq = self.seq.load(order::latch_begin());
            let copy = &self.copies[seq & 1];
            // Relaxed: as above.
            let s = Snapshot {
                array: copy.array.load(Relaxed),
                heads: copy.heads.load(Relaxed),
                len: copy.len.load(Relaxed),
            };
            fence(order::latch_read_fence());
            if self.seq.load(Relaxed) == seq || mutant("latch:skip-recheck") {
                return s;
            }
            crate::sync::spin_hint();
        }
    }

    /// Says that a resize begins: to be called before the root gets a successor. The caller holds the table's `admin`
    /// lock, and the latch is settled.
    pub(crate) fn unsettle(&self) {
        // Relaxed: only whoever holds `admin` writes it, and the lock ordered the last one before us.
        let seq = self.seq.load(Relaxed);
        debug_assert_eq!(seq & 3, 0);
        self.seq.store(seq.wrapping_add(2), order::latch_unsettle());
    }

    /// Publishes the successor, which ends the resize. The caller holds the table's `admin` lock.
    pub(crate) fn publish(&self, s: Snapshot<A, H>) {
        // Relaxed: only publishers write it, and their lock ordered the last one before us.
        let seq = self.seq.load(Relaxed);
        debug_assert_eq!(seq & 3, 2);
        // Odd: readers use copy 1 from here on, which this store publishes.
        self.seq.store(seq.wrapping_add(1), order::latch_odd());
        fence(order::latch_write_fence());
        self.copies[0].store(s);
        // Even: readers use copy 0, just written.
        self.seq.store(seq.wrapping_add(2), order::latch_even());
        fence(order::latch_write_fence2());
        self.copies[1].store(s);
    }
}
