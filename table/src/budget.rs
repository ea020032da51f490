//! A map's memory limit: what was taken of it, and for what.
//!
//! Counted are the slots for entries that were ever in use (they are used again, never given back, so that garbage is in
//! there), with a share for each of the garbage lists and of the overflow lines; the arrays of buckets, old and new, as long as
//! they exist; and overflow lines beyond the entries' share. Not counted: what keys and values own themselves; the arrays of free
//! handles, four bytes for each freed slot and at most 256 KiB in each shard of the entries and of the overflow lines (as many shards
//! each as there are processors, 64 at most); and some kilobytes per map.

use crate::mem::AllocError;
use crate::sync::AtomicUsize;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;

/// What an entry's slot is charged beside its size: its part of an overflow line, one in eight of 64 bytes.
const LINE_SHARE: usize = 8;
/// And its place in a garbage list.
const GARBAGE_SHARE: usize = 8;

/// A limit and what was taken of it. All accesses are Relaxed: these are numbers, exact by read-modify-writes alone.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Bytes of `used` that are meant for overflow lines and were not taken yet.
    lines: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            lines: AtomicUsize::new(0),
        })
    }

    /// The limit, in bytes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Relaxed, Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit)
            })
            .is_ok()
    }

    /// Takes up to `n` times `each` bytes, and returns how many times that was.
    fn take_some(&self, n: u32, each: usize) -> u32 {
        let mut got = 0;
        let _ = self.used.fetch_update(Relaxed, Relaxed, |used| {
            let fit = self.limit.saturating_sub(used) / each.max(1);
            got = n.min(u32::try_from(fit).unwrap_or(u32::MAX));
            (got > 0).then(|| used + got as usize * each)
        });
        got
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// Bytes of a budget, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Takes `bytes`.
    pub(crate) fn try_new(budget: &Arc<Budget>, bytes: usize) -> Result<Self, AllocError> {
        if !budget.take(bytes) {
            return Err(AllocError::MemoryLimit);
        }
        Ok(Self {
            budget: budget.clone(),
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

/// What a slab pays for its slots, once for each that comes into use.
#[derive(Clone, Debug)]
pub(crate) enum Account {
    /// Entries of so many bytes.
    Entries(Arc<Budget>, usize),
    /// Overflow lines.
    Lines(Arc<Budget>, usize),
}

impl Account {
    /// Pays for up to `n` slots, and returns for how many the budget sufficed.
    pub(crate) fn admit(&self, n: u32) -> u32 {
        match self {
            Self::Entries(budget, size) => {
                let got = budget.take_some(n, size + LINE_SHARE + GARBAGE_SHARE);
                budget.lines.fetch_add(got as usize * LINE_SHARE, Relaxed);
                got
            }
            Self::Lines(budget, size) => {
                // First from what was paid with the entries.
                let mut paid = 0;
                let _ = budget.lines.fetch_update(Relaxed, Relaxed, |left| {
                    paid = n.min(u32::try_from(left / size).unwrap_or(u32::MAX));
                    (paid > 0).then(|| left - paid as usize * size)
                });
                paid + budget.take_some(n - paid, *size)
            }
        }
    }

    /// Undoes an [`admit`](Self::admit) whose slots were not taken.
    pub(crate) fn refund(&self, n: u32) {
        match self {
            Self::Entries(budget, size) => {
                // The share of the lines may be in use by now: then it stays with them.
                let n = n as usize;
                let share = n * LINE_SHARE;
                let back = budget
                    .lines
                    .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(share))
                    .is_ok();
                budget.give(n * (size + GARBAGE_SHARE) + if back { share } else { 0 });
            }
            Self::Lines(budget, size) => {
                budget.lines.fetch_add(n as usize * size, Relaxed);
            }
        }
    }
}

#[cfg(all(test, not(nulls_loom)))]
mod tests {
    use super::*;

    #[test]
    fn charges_come_back() {
        let b = Budget::new(100);
        let a = Charge::try_new(&b, 60).unwrap();
        assert_eq!(Charge::try_new(&b, 41).err(), Some(AllocError::MemoryLimit));
        assert_eq!(b.used(), 60);
        drop(a);
        assert_eq!(b.used(), 0);
        assert_eq!(
            Charge::try_new(&b, usize::MAX).err(),
            Some(AllocError::MemoryLimit)
        );
    }

    #[test]
    fn entries_pay_for_their_lines() {
        let b = Budget::new(1000);
        let entries = Account::Entries(b.clone(), 24);
        let lines = Account::Lines(b.clone(), 64);
        // 25 slots of 24 + 8 + 8 bytes fit, and 200 bytes of them are for lines.
        assert_eq!(entries.admit(64), 25);
        assert_eq!((b.used(), entries.admit(1)), (1000, 0));
        assert_eq!(lines.admit(64), 3);
        assert_eq!((b.used(), lines.admit(1)), (1000, 0));
        lines.refund(1);
        assert_eq!(lines.admit(2), 1);
        // The three lines are in use: one entry's share is not there to be given back.
        entries.refund(25);
        assert_eq!(b.used(), 200);
        assert_eq!(lines.admit(64), (1000 - 200) / 64);
    }

    #[test]
    fn refunds_are_of_what_was_taken() {
        let b = Budget::new(1000);
        assert_eq!(b.limit(), 1000);
        let entries = Account::Entries(b.clone(), 24);
        let lines = Account::Lines(b.clone(), 64);
        // Nobody used the lines' shares: all comes back.
        assert_eq!(entries.admit(10), 10);
        assert_eq!(b.used(), 400);
        entries.refund(10);
        assert_eq!(b.used(), 0);
        // The shares of ten entries pay for one line, the budget for three more.
        assert_eq!(entries.admit(10), 10);
        assert_eq!(lines.admit(4), 4);
        assert_eq!(b.used(), 400 + 3 * 64);
        // Given back lines are paid for.
        lines.refund(3);
        assert_eq!(lines.admit(3), 3);
        assert_eq!(b.used(), 400 + 3 * 64);
        assert_eq!(lines.admit(1), 1);
        assert_eq!(b.used(), 400 + 4 * 64);
    }
}
