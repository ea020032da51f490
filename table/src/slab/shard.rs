//! One shard's free slots: numbers only; the links are in the slots.
//!
//! What was freed last lies ready in an array, so that neither freeing a slot nor giving it out again touches its memory,
//! which is long out of the caches when its grace period ends. What the array has no room for goes into a list through
//! the slots themselves: it needs no memory.

use alloc::vec::Vec;

/// How many freed handles an array holds at most: 256 KiB.
const READY: usize = if cfg!(nulls_loom) { 1 } else { 1 << 16 };

/// Free handles: ready ones, a list, and a range never given out. All zero is empty.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// The handles freed last.
    ready: Vec<u32>,
    /// The first handle of the free list; 0: empty.
    head: u32,
    /// The length of the free list.
    freed: u32,
    /// The first and one past the last handle of the range.
    fresh: u32,
    fresh_end: u32,
    /// Counts the shards that had nothing to spare.
    victim: usize,
}

impl Shard {
    /// The first handle of the free list.
    #[inline]
    pub(super) fn head(&self) -> Option<u32> {
        (self.head != 0).then_some(self.head)
    }

    /// Takes the handle that was freed last, and tells which one will be next, or 0.
    #[inline(always)]
    pub(super) fn pop_ready(&mut self) -> Option<(u32, u32)> {
        let handle = self.ready.pop()?;
        Some((handle, self.ready.last().map_or(0, |&next| next)))
    }

    /// Takes a freed handle in, if there is room in the array.
    #[inline]
    pub(super) fn push_ready(&mut self, handle: u32) -> bool {
        if self.ready.len() == self.ready.capacity() && !self.make_room() {
            return false;
        }
        self.ready.push(handle);
        true
    }

    #[cold]
    fn make_room(&mut self) -> bool {
        let len = self.ready.len();
        let more = len.max(16).min(READY.saturating_sub(len));
        more > 0 && self.ready.try_reserve_exact(more).is_ok()
    }

    /// How many slots were freed.
    pub(super) fn freed(&self) -> u32 {
        self.freed + self.ready.len() as u32
    }

    /// How many slots can be had.
    pub(super) fn available(&self) -> u32 {
        self.freed() + (self.fresh_end - self.fresh)
    }

    /// Removes the first handle, behind which comes `next`.
    #[inline]
    pub(super) fn pop(&mut self, next: u32) {
        self.head = next;
        self.freed -= 1;
    }

    /// Puts `handle`, whose slot links to the old head, before the list.
    #[inline]
    pub(super) fn push(&mut self, handle: u32) {
        self.head = handle;
        self.freed += 1;
    }

    /// Takes a handle of the range.
    #[inline(always)]
    pub(super) fn pop_fresh(&mut self) -> Option<u32> {
        if self.fresh == self.fresh_end {
            return None;
        }
        self.fresh += 1;
        Some(self.fresh - 1)
    }

    /// Gives the shard, whose range is empty, another one.
    pub(super) fn set_fresh(&mut self, from: u32, count: u32) {
        debug_assert_eq!(self.fresh, self.fresh_end);
        (self.fresh, self.fresh_end) = (from, from + count);
    }

    /// Which other shard of `count` to look at on behalf of shard `me`.
    pub(super) fn victim(&self, me: usize, count: usize) -> Option<usize> {
        let others = count - 1;
        (others > 0).then(|| (me + 1 + self.victim % others) % count)
    }

    /// Has [`victim`](Self::victim) name the next one from now on.
    pub(super) fn next_victim(&mut self) {
        self.victim = self.victim.wrapping_add(1);
    }
}
