//! How many handles a table holds: exactly under a limit, striped without one.

use crate::sync::{AtomicI64, order};
use alloc::boxed::Box;
use core::sync::atomic::Ordering::Relaxed;
use crossbeam_utils::CachePadded;

/// A change of a stripe that crosses a multiple of this asks for a look at the table's fill.
const TICK: i64 = if cfg!(nulls_loom) { 1 } else { 64 };

/// Counts handles.
#[derive(Debug)]
pub(crate) struct Counter {
    /// The most handles admitted; `i64::MAX` when there is no limit.
    limit: i64,
    /// One stripe when limited, so that admission is exact; else a power of two of them.
    stripes: Box<[CachePadded<AtomicI64>]>,
}

impl Counter {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        let stripes = match limit {
            Some(_) => 1,
            None if cfg!(nulls_loom) => 1,
            None => crate::stripe::count(),
        };
        Self {
            limit: limit.map_or(i64::MAX, |l| l.min(i64::MAX as usize) as i64),
            stripes: (0..stripes)
                .map(|_| CachePadded::new(AtomicI64::new(0)))
                .collect(),
        }
    }

    /// Admits `n` more, if the limit allows. True: have a look at the fill.
    #[inline]
    pub(crate) fn try_add(&self, index: usize, n: i64) -> Option<bool> {
        if self.limit != i64::MAX {
            let c = &self.stripes[0];
            // AcqRel: an insert that takes the place of a removal happens after it.
            let old = c
                .fetch_update(order::count_admit(), Relaxed, |c| {
                    (c + n <= self.limit).then_some(c + n)
                })
                .ok()?;
            return Some(crosses(old, old + n));
        }
        let c = self.stripe(index);
        // Relaxed: a statistic; sums are approximate while others write.
        let old = c.fetch_add(n, Relaxed);
        Some(crosses(old, old + n))
    }

    #[inline]
    fn stripe(&self, index: usize) -> &AtomicI64 {
        let i = index & (self.stripes.len() - 1);
        // SAFETY: a power of two, so there is one, and masking with one less stays below.
        unsafe { self.stripes.get_unchecked(i) }
    }

    /// Counts `n` less. True: have a look at the fill.
    #[inline]
    pub(crate) fn sub(&self, index: usize, n: i64) -> bool {
        let c = self.stripe(index);
        let old = c.fetch_sub(n, order::count_release());
        crosses(old, old - n)
    }

    /// The number of handles: exact under a limit or while nobody writes.
    pub(crate) fn get(&self) -> usize {
        self.stripes
            .iter()
            .map(|c| c.load(Relaxed))
            .sum::<i64>()
            .max(0) as usize
    }

    /// The limit, if there is one.
    pub(crate) fn limit(&self) -> Option<usize> {
        (self.limit != i64::MAX).then_some(self.limit as usize)
    }
}

#[inline]
fn crosses(old: i64, new: i64) -> bool {
    old.div_euclid(TICK) != new.div_euclid(TICK)
}

#[cfg(all(test, not(nulls_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_exact() {
        let c = Counter::new(Some(3));
        assert!(c.try_add(0, 2).is_some());
        assert_eq!(c.try_add(5, 2), None);
        assert!(c.try_add(5, 1).is_some());
        assert_eq!((c.get(), c.limit()), (3, Some(3)));
        c.sub(9, 1);
        assert!(c.try_add(1, 1).is_some());
    }

    #[test]
    fn stripes_add_up() {
        let c = Counter::new(None);
        let each = 10 * TICK as usize;
        let n = each * c.stripes.len();
        let ticks = (0..n).filter(|i| c.try_add(*i, 1).unwrap()).count();
        assert_eq!(c.get(), n);
        assert_eq!(ticks, 10 * c.stripes.len());
        for _ in 0..n {
            c.sub(0, 1);
        }
        assert_eq!(c.get(), 0);
    }
}
