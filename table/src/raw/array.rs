//! One generation of a table: an array of first lines and what a resize needs to know of it.

use super::latch::Snapshot;
use super::line::Line;
use crate::budget::{Budget, Charge};
use crate::mem::{AllocError, Pages, ZeroedArray};
use crate::scale::{interval_start, reciprocal_scale};
use crate::sync::{AtomicPtr, AtomicUsize, order};
use alloc::{boxed::Box, sync::Arc};
use crossbeam_utils::CachePadded;

/// Bits of a fraction byte.
pub(crate) const FRACTION_BITS: u32 = 8;

/// A generation. Reached through the latch or through the `next` of an older generation, by pinned threads only.
#[derive(Debug)]
pub(crate) struct Array {
    lines: ZeroedArray<Line>,
    /// What the array takes of a memory limit.
    _charge: Option<Charge>,
    /// How many generations came before: the global order of two-key locking.
    pub(crate) age: u64,
    /// How many high bits of a *moved* entry's fraction byte are valid. Entries inserted here have all of them.
    pub(crate) fraction_bits: u32,
    /// The generation that buckets move to. Set once, while `admin` is held.
    next: AtomicPtr<Array>,
    /// Hands out buckets to helpers; past the end when all are handed out.
    pub(crate) claim: CachePadded<AtomicUsize>,
    /// Every bucket below has moved.
    watermark: CachePadded<AtomicUsize>,
}

impl Array {
    /// An empty generation of `len` buckets.
    pub(crate) fn new(
        len: usize,
        age: u64,
        fraction_bits: u32,
        pages: Pages,
        budget: Option<&Arc<Budget>>,
    ) -> Result<Box<Self>, AllocError> {
        let charge = budget
            .map(|b| Charge::try_new(b, len.saturating_mul(size_of::<Line>())))
            .transpose()?;
        let lines = ZeroedArray::try_new(len, pages)?;
        Ok(Box::new(Self {
            lines,
            _charge: charge,
            age,
            fraction_bits,
            next: AtomicPtr::new(core::ptr::null_mut()),
            claim: CachePadded::new(AtomicUsize::new(0)),
            watermark: CachePadded::new(AtomicUsize::new(0)),
        }))
    }

    /// The first lines of all buckets.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The number of buckets.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of the array.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// What the latch publishes of this generation.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            array: core::ptr::from_ref(self).cast_mut(),
            lines: self.lines.as_ptr().cast_mut(),
            len: self.lines.len(),
        }
    }

    /// The bucket of a hash.
    #[inline(always)]
    pub(crate) fn bucket(&self, hash: u64) -> usize {
        reciprocal_scale(hash, self.len() as u64) as usize
    }

    /// The eight bits of the hash below the bucket: where in the bucket's interval it lies.
    #[inline(always)]
    pub(crate) fn fraction(&self, hash: u64) -> u8 {
        (hash.wrapping_mul(self.len() as u64) >> (64 - FRACTION_BITS)) as u8
    }

    /// The end of bucket `b`'s interval of hashes; `2^64` for the last.
    pub(crate) fn interval_end(&self, b: usize) -> u128 {
        interval_start(b as u64 + 1, self.len() as u64)
    }

    /// The first line of bucket `b`.
    #[inline(always)]
    pub(crate) fn head(&self, b: usize) -> &Line {
        debug_assert!(b < self.len());
        // SAFETY: `b` comes from `bucket` or from a loop below `len`, so it is within the array.
        unsafe { &*self.lines.as_ptr().add(b) }
    }

    /// The bucket whose first line this is.
    pub(crate) fn number_of(&self, head: &Line) -> usize {
        (core::ptr::from_ref(head).addr() - self.lines.as_ptr().addr()) / size_of::<Line>()
    }

    /// The generation that follows, if a resize is running or has run.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<&Array> {
        // SAFETY: a published successor stays allocated until it is retired, which happens after it was the root, and
        // `self` is retired before it; whoever may look at `self` is pinned and so may look at `next`.
        unsafe { self.next.load(order::next_load()).as_ref() }
    }

    /// Announces the next generation: from here on writers move buckets.
    pub(crate) fn set_next(&self, next: Box<Array>) {
        self.next.store(Box::into_raw(next), order::next_publish());
    }

    /// Takes the next generation back, for tearing the table down.
    pub(crate) fn take_next(&mut self) -> Option<Box<Array>> {
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
        self.lines.release_slice(max_bytes)
    }
}
