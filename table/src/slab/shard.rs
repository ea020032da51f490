//! One shard's free slots: numbers only; the links are in the slots.

/// A free list and a range of handles never given out. All zero is empty.
#[derive(Debug, Default)]
pub(super) struct Shard {
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

    /// The length of the free list.
    pub(super) fn freed(&self) -> u32 {
        self.freed
    }

    /// How many slots can be had.
    pub(super) fn available(&self) -> u32 {
        self.freed + (self.fresh_end - self.fresh)
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
    #[inline]
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
