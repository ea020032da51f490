//! The table's ticket: readers fetch `(array, lines, len)` consistently and never wait for whoever publishes.
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

use super::array::Array;
use super::line::Line;
use crate::sync::check::mutant;
use crate::sync::{AtomicPtr, AtomicUsize, fence, order};
use core::sync::atomic::Ordering::Relaxed;

/// One consistent view of a table generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) array: *mut Array,
    pub(crate) lines: *mut Line,
    pub(crate) len: usize,
}

#[derive(Debug)]
struct Copy {
    array: AtomicPtr<Array>,
    lines: AtomicPtr<Line>,
    len: AtomicUsize,
}

impl Copy {
    fn new(s: Snapshot) -> Self {
        Self {
            array: AtomicPtr::new(s.array),
            lines: AtomicPtr::new(s.lines),
            len: AtomicUsize::new(s.len),
        }
    }

    fn store(&self, s: Snapshot) {
        // Relaxed: ordered by the fences and stores of the sequence count around them.
        self.array.store(s.array, Relaxed);
        self.lines.store(s.lines, Relaxed);
        self.len.store(s.len, Relaxed);
    }
}

/// The sequence-count latch: one cache line, which nothing else that is written shares.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Latch {
    seq: AtomicUsize,
    copies: [Copy; 2],
}

impl Latch {
    pub(crate) fn new(s: Snapshot) -> Self {
        Self {
            seq: AtomicUsize::new(0),
            copies: [Copy::new(s), Copy::new(s)],
        }
    }

    /// Lines and length of the only generation; `None` while there are two, or one was published while we looked.
    #[inline(always)]
    pub(crate) fn try_settled(&self) -> Option<(*const Line, usize)> {
        let seq = self.seq.load(order::latch_begin());
        if seq & 3 != 0 {
            return None;
        }
        // Relaxed: the fence below orders these before the second look at the count.
        let (lines, len) = (
            self.copies[0].lines.load(Relaxed),
            self.copies[0].len.load(Relaxed),
        );
        fence(order::latch_read_fence());
        (self.seq.load(Relaxed) == seq || mutant("latch:skip-recheck")).then_some((lines, len))
    }

    /// As [`try_settled`](Self::try_settled), with the generation's header.
    #[inline(always)]
    pub(crate) fn try_settled_whole(&self) -> Option<Snapshot> {
        let seq = self.seq.load(order::latch_begin());
        if seq & 3 != 0 {
            return None;
        }
        // Relaxed: the fence below orders these before the second look at the count.
        let s = Snapshot {
            array: self.copies[0].array.load(Relaxed),
            lines: self.copies[0].lines.load(Relaxed),
            len: self.copies[0].len.load(Relaxed),
        };
        fence(order::latch_read_fence());
        (self.seq.load(Relaxed) == seq || mutant("latch:skip-recheck")).then_some(s)
    }

    /// Whether no resize ran a moment ago.
    #[inline(always)]
    pub(crate) fn is_settled(&self) -> bool {
        // Relaxed: a hint, which nothing is concluded from.
        self.seq.load(Relaxed) & 3 == 0
    }

    /// The root.
    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        loop {
            let seq = self.seq.load(order::latch_begin());
            let copy = &self.copies[seq & 1];
            // Relaxed: as above.
            let s = Snapshot {
                array: copy.array.load(Relaxed),
                lines: copy.lines.load(Relaxed),
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
    pub(crate) fn publish(&self, s: Snapshot) {
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
