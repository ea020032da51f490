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

/// A generation. Reached through the latch or through the `next` of an older generation, by pinned threads only.
#[derive(Debug)]
pub(crate) struct Array<C> {
    pub(crate) cells: C,
    len: usize,
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
    /// The generation number `age`, of `len` buckets whose memory `cells` makes.
    pub(crate) fn new(
        len: usize,
        age: u64,
        budget: Option<&Arc<Budget>>,
        cells: impl FnOnce() -> Result<C, AllocError>,
    ) -> Result<Box<Self>, AllocError> {
        let charge = budget
            .map(|b| Charge::try_new(b, C::bytes_for(len)))
            .transpose()?;
        Ok(Box::new(Self {
            cells: cells()?,
            len,
            _charge: charge,
            age,
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

    /// The first and the last of the buckets of `new` that may get entries of this one's bucket `b`.
    pub(crate) fn targets(&self, b: usize, new: &Self) -> (usize, usize) {
        let from = self.len as u64;
        let first = interval_start(b as u64, from) as u64;
        let last = (interval_start(b as u64 + 1, from) - 1) as u64;
        (new.bucket(first), new.bucket(last))
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
