//! One generation of a table: its buckets' memory and what a resize needs to know of it.

use super::latch::Snapshot;
use crate::budget::{Budget, Charge};
use crate::mem::{AllocError, Pages};
use crate::scale::{interval_start, reciprocal_scale};
use crate::sync::{AtomicPtr, AtomicUsize, order};
use alloc::{boxed::Box, sync::Arc};
use crossbeam_utils::CachePadded;

/// The memory of a generation's buckets. Every bucket begins with a head, and the heads are an array.
pub(crate) trait Cells: Sized {
    /// What the heads are.
    type Head;

    /// Bytes that [`try_new`](Self::try_new) will ask for.
    fn bytes_for(len: usize) -> usize;

    /// Memory for `len` empty buckets.
    fn try_new(len: usize, pages: Pages) -> Result<Self, AllocError>;

    /// Memory for `len` empty buckets that these ones are to move to.
    fn successor(&self, from: usize, len: usize) -> Result<Self, AllocError>;

    /// The heads.
    fn heads(&self) -> *const Self::Head;

    /// Whether this head's bucket has moved to the next generation. Acquire: its entries are seen there.
    fn has_moved(head: &Self::Head) -> bool;

    /// Bytes taken from the system and not yet given back.
    fn bytes(&self) -> usize;

    /// Gives some `max_bytes` back. True when all is gone. The buckets are not looked at any more from the first call on.
    fn release_slice(&mut self, max_bytes: usize) -> bool;
}

/// How the buckets of a generation lie to those of the generation before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The interval of each old bucket is that of so many new ones, which belong to it alone until it has moved.
    Split(usize),
    /// The intervals of so many old buckets are that of one new one.
    Merge(usize),
    /// Borders do not meet: a bucket shares targets with its neighbours.
    Mixed,
}

impl Step {
    fn between(from: usize, to: usize) -> Self {
        if to.is_multiple_of(from) {
            Self::Split(to / from)
        } else if from.is_multiple_of(to) {
            Self::Merge(from / to)
        } else {
            Self::Mixed
        }
    }

    /// The first and the last of `to` buckets that bucket `b` of `from` has hashes in common with.
    #[inline(always)]
    fn targets(self, b: usize, from: usize, to: usize) -> (usize, usize) {
        match self {
            Self::Split(n) => (b * n, b * n + (n - 1)),
            Self::Merge(n) => (b / n, b / n),
            Self::Mixed => targets_by_interval(b, from, to),
        }
    }
}

/// A generation. Reached through the latch or through the `next` of an older generation, by pinned threads only.
#[derive(Debug)]
pub(crate) struct Array<C> {
    pub(crate) cells: C,
    len: usize,
    /// How it follows on the generation before, if there was one.
    step: Step,
    /// What the array takes of a memory limit.
    _charge: Option<Charge>,
    /// How many generations came before: the global order of two-key locking.
    pub(crate) age: u64,
    /// The generation that buckets move to. Set once, while `admin` is held.
    next: AtomicPtr<Array<C>>,
    /// Hands out buckets to helpers; past the end when all are handed out.
    pub(crate) claim: CachePadded<AtomicUsize>,
    /// Every bucket below has moved.
    watermark: CachePadded<AtomicUsize>,
}

impl<C: Cells> Array<C> {
    /// The generation after another one, or the first: of `len` buckets, whose memory `cells` makes.
    pub(crate) fn new(
        len: usize,
        before: Option<&Self>,
        budget: Option<&Arc<Budget>>,
        cells: impl FnOnce() -> Result<C, AllocError>,
    ) -> Result<Box<Self>, AllocError> {
        let charge = budget
            .map(|b| Charge::try_new(b, C::bytes_for(len)))
            .transpose()?;
        Ok(Box::new(Self {
            cells: cells()?,
            len,
            step: before.map_or(Step::Mixed, |b| Step::between(b.len, len)),
            _charge: charge,
            age: before.map_or(0, |b| b.age + 1),
            next: AtomicPtr::new(core::ptr::null_mut()),
            claim: CachePadded::new(AtomicUsize::new(0)),
            watermark: CachePadded::new(AtomicUsize::new(0)),
        }))
    }

    /// The number of buckets.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the buckets' memory.
    pub(crate) fn bytes(&self) -> usize {
        self.cells.bytes()
    }

    /// What the latch publishes of this generation.
    pub(crate) fn snapshot(&self) -> Snapshot<Self, C::Head> {
        Snapshot {
            array: core::ptr::from_ref(self).cast_mut(),
            heads: self.cells.heads().cast_mut(),
            len: self.len,
        }
    }

    /// The bucket of a hash.
    #[inline(always)]
    pub(crate) fn bucket(&self, hash: u64) -> usize {
        reciprocal_scale(hash, self.len as u64) as usize
    }

    /// The end of bucket `b`'s interval of hashes; `2^64` for the last.
    pub(crate) fn interval_end(&self, b: usize) -> u128 {
        interval_start(b as u64 + 1, self.len as u64)
    }

    /// Whether the hashes from `start` up to `end` are bucket `b`'s interval.
    pub(crate) fn is_interval(&self, b: usize, start: u64, end: u128) -> bool {
        u128::from(start) == interval_start(b as u64, self.len as u64)
            && end == self.interval_end(b)
    }

    /// How this generation follows on the one before.
    #[inline(always)]
    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// The first and the last of the buckets of `new`, the generation that follows, that may get entries of this one's bucket `b`.
    #[inline]
    pub(crate) fn targets(&self, b: usize, new: &Self) -> (usize, usize) {
        new.step.targets(b, self.len, new.len)
    }

    /// The head of bucket `b`.
    #[inline(always)]
    pub(crate) fn head(&self, b: usize) -> &C::Head {
        debug_assert!(b < self.len);
        // SAFETY: `b` comes from `bucket` or from a loop below `len`, so it is within the array of heads, which lives as
        // long as `self`.
        unsafe { &*self.cells.heads().add(b) }
    }

    /// The bucket whose head this is.
    pub(crate) fn number_of(&self, head: &C::Head) -> usize {
        (core::ptr::from_ref(head).addr() - self.cells.heads().addr()) / size_of::<C::Head>()
    }

    /// The generation that follows, if a resize is running or has run.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<&Self> {
        // SAFETY: a published successor stays allocated until it is retired, which happens after it was the root, and
        // `self` is retired before it; whoever may look at `self` is pinned and so may look at `next`.
        unsafe { self.next.load(order::next_load()).as_ref() }
    }

    /// Announces the next generation: from here on writers move buckets.
    pub(crate) fn set_next(&self, next: Box<Self>) {
        self.next.store(Box::into_raw(next), order::next_publish());
    }

    /// Takes the next generation back, for tearing the table down.
    pub(crate) fn take_next(&mut self) -> Option<Box<Self>> {
        // Relaxed: `&mut self`.
        let next = self.next.load(core::sync::atomic::Ordering::Relaxed);
        self.next
            .store(core::ptr::null_mut(), core::sync::atomic::Ordering::Relaxed);
        // SAFETY: a non-null `next` came from `Box::into_raw` in `set_next` and is taken once.
        (!next.is_null()).then(|| unsafe { Box::from_raw(next) })
    }

    /// Every bucket below has moved to the next generation.
    #[inline(always)]
    pub(crate) fn watermark(&self) -> usize {
        self.watermark.load(order::watermark_load())
    }

    /// Moves the watermark from `from` to `to`, whose buckets the caller saw moved.
    pub(crate) fn advance_watermark(&self, from: usize, to: usize) {
        let _ = self.watermark.compare_exchange(
            from,
            to,
            order::watermark_advance(),
            core::sync::atomic::Ordering::Relaxed,
        );
    }

    /// Gives part of the memory of a generation that nobody can reach back to the system. True when all is gone.
    pub(crate) fn release_slice(&mut self, max_bytes: usize) -> bool {
        self.cells.release_slice(max_bytes)
    }
}

/// The same by the hashes themselves, whatever the lengths.
fn targets_by_interval(b: usize, from: usize, to: usize) -> (usize, usize) {
    let (b, from, to) = (b as u64, from as u64, to as u64);
    let first = interval_start(b, from) as u64;
    let last = (interval_start(b + 1, from) - 1) as u64;
    (
        reciprocal_scale(first, to) as usize,
        reciprocal_scale(last, to) as usize,
    )
}

#[cfg(all(test, not(nulls_loom)))]
mod tests {
    use super::*;

    #[test]
    fn targets_of_every_step_are_those_of_the_intervals() {
        for (from, to, step) in [
            (1, 1, Step::Split(1)),
            (1, 2, Step::Split(2)),
            (3, 21, Step::Split(7)),
            (7, 7000, Step::Split(1000)),
            (8, 2, Step::Merge(4)),
            (21, 3, Step::Merge(7)),
            (1001, 1, Step::Merge(1001)),
            (10, 11, Step::Mixed),
            (12, 8, Step::Mixed),
        ] {
            assert_eq!(Step::between(from, to), step);
            for b in 0..from {
                assert_eq!(step.targets(b, from, to), targets_by_interval(b, from, to));
            }
        }
    }
}
