//! Going through a table bucket by bucket, for iterators.
//!
//! [`Table::step`] is the general step: it asks for every entry's hash, leaves out what lies outside of the interval, sorts, and
//! removes duplicates. Most buckets need none of it. While an iteration stands at the beginning of a bucket of the generation that
//! was the root when it looked, and that bucket is not MOVED when its walk ends, the bucket was the truth all the time and
//! its entries are those of its interval. Two things can still disturb a walk: a line recycled under it, which needs an overflow
//! line; then the ticket, the same before and after and not locked, says that nobody wrote. A chain of one line has nothing
//! that can be recycled.

use super::{Table, nulls, ticket};
use crate::rcu::Guard;
use crate::scale::{interval_start, reciprocal_scale};
use crate::sync::check::mutant;
use crate::sync::order;
use alloc::vec::Vec;
use core::ops::{Bound, RangeBounds};

use super::line::Line;

/// The handles of a table in the order of their hashes, a few buckets at a time. Made by [`Table::steps`].
///
/// What stays in the table the whole time is found exactly once, whatever resizes happen.
///
/// ```
/// use nulls::{raw::Table, rcu};
/// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
/// let table = Table::new();
/// let guard = rcu::pin();
/// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
/// let (mut low, mut high) = (Vec::new(), Vec::new());
/// let mut steps = table.steps(&guard, ..1 << 63);
/// while steps.next(&hash, &mut low) {}
/// let mut steps = table.steps(&guard, 1 << 63..);
/// while steps.next(&hash, &mut high) {}
/// assert_eq!((low, high), (vec![], vec![1]));
/// ```
#[derive(Clone, Debug)]
pub struct Steps<'g> {
    table: &'g Table,
    guard: &'g Guard,
    /// Where the next step begins, unless `aligned`.
    at: u128,
    /// Where the iteration ends.
    end: u128,
    aligned: Option<Aligned<'g>>,
    /// The entries of a general step.
    found: Vec<(u64, u32)>,
}

/// The next step begins at the beginning of `bucket`.
#[derive(Clone, Copy, Debug)]
struct Aligned<'g> {
    /// A generation that was the root since the guard was made.
    lines: &'g [Line],
    bucket: usize,
    /// The bucket in which the iteration ends: it, and what follows, is left to the general step.
    last: usize,
}

/// Handles to find before a step ends. Their cache misses overlap.
const ENOUGH: usize = if cfg!(nulls_loom) { 1 } else { 16 };

impl Table {
    /// Begins to go through the handles whose hashes lie in `hashes`.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// let hash = |x: u32| u64::from(x) << 56;
    /// let (table, guard) = (Table::new(), rcu::pin());
    /// for x in [3, 1, 2] {
    ///     table.probe(&guard, hash(x), |y| x == y, &hash).insert(x).unwrap().assist(&guard, &hash);
    /// }
    /// let (mut steps, mut handles, mut all) = (table.steps(&guard, ..hash(3)), vec![], vec![]);
    /// while steps.next(&hash, &mut handles) {
    ///     all.append(&mut handles);
    /// }
    /// all.sort();
    /// assert_eq!(all, [1, 2]);
    /// ```
    pub fn steps<'g>(&'g self, guard: &'g Guard, hashes: impl RangeBounds<u64>) -> Steps<'g> {
        let at = match hashes.start_bound() {
            Bound::Included(&h) => h as u128,
            Bound::Excluded(&h) => h as u128 + 1,
            Bound::Unbounded => 0,
        };
        let end = match hashes.end_bound() {
            Bound::Included(&h) => h as u128 + 1,
            Bound::Excluded(&h) => h as u128,
            Bound::Unbounded => 1 << 64,
        };
        let mut steps = Steps {
            table: self,
            guard,
            at,
            end,
            aligned: None,
            found: Vec::new(),
        };
        steps.align();
        steps
    }
}

impl Steps<'_> {
    /// Appends the handles of the next buckets to `out`, at least one unless none is left: then it returns `false`.
    ///
    /// `rehash` yields the hash of any handle of the table. If it panics, what is in `out` by then is done with, and the next call
    /// goes on behind it.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// let mut steps = table.steps(&guard, ..);
    /// let mut found = Vec::new();
    /// while steps.next(&hash, &mut found) {}
    /// assert_eq!(found, [1]);
    /// ```
    pub fn next(&mut self, rehash: &impl Fn(u32) -> u64, out: &mut Vec<u32>) -> bool {
        let before = out.len();
        loop {
            while let Some(aligned) = &mut self.aligned
                && aligned.bucket < aligned.last
                && out.len() - before < ENOUGH
                && walk(&aligned.lines[aligned.bucket], out)
            {
                aligned.bucket += 1;
            }
            if out.len() - before >= ENOUGH || !self.general(rehash, out) {
                return out.len() > before;
            }
        }
    }

    /// One step of the general kind. `false` at the end.
    #[cold]
    fn general(&mut self, rehash: &impl Fn(u32) -> u64, out: &mut Vec<u32>) -> bool {
        self.at = self.position_wide();
        self.aligned = None;
        if self.at >= self.end {
            return false;
        }
        let next = self
            .table
            .step(self.guard, self.at as u64, rehash, &mut self.found);
        let end = self.end;
        out.extend(
            self.found
                .iter()
                .filter(|&&(hash, _)| (hash as u128) < end)
                .map(|&(_, x)| x),
        );
        self.at = next.map_or(1 << 64, u128::from);
        self.align();
        true
    }

    /// Finds out whether the position is the beginning of one of the root's buckets.
    fn align(&mut self) {
        if self.at >= self.end {
            return;
        }
        let lines = self.table.root_array(self.guard.pinned()).cells.lines();
        let len = lines.len() as u64;
        let bucket = reciprocal_scale(self.at as u64, len);
        if interval_start(bucket, len) == self.at {
            self.aligned = Some(Aligned {
                lines,
                bucket: bucket as usize,
                last: u64::try_from(self.end)
                    .map_or(lines.len(), |end| reciprocal_scale(end, len) as usize),
            });
        }
    }

    fn position_wide(&self) -> u128 {
        match &self.aligned {
            Some(a) => interval_start(a.bucket as u64, a.lines.len() as u64),
            None => self.at,
        }
    }

    /// The hash from which on nothing was found yet, and before which everything was; `None` at the end. A later
    /// [`Table::steps`] may go on from there.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// let mut steps = table.steps(&guard, 7..);
    /// assert_eq!(steps.position(), Some(7));
    /// while steps.next(&hash, &mut Vec::new()) {}
    /// assert_eq!(steps.position(), None);
    /// ```
    pub fn position(&self) -> Option<u64> {
        let at = self.position_wide();
        (at < self.end).then_some(at as u64)
    }
}

/// Appends the handles of the bucket at `head`, which begins and ends where the caller thinks if it is not MOVED. `false`, and
/// nothing appended, if it is, or if somebody wrote to an overflow line meanwhile.
#[inline]
fn walk(head: &Line, out: &mut Vec<u32>) -> bool {
    let before = out.len();
    let seen = ticket::load(head);
    let mut line = head;
    let end = loop {
        let tags = line.tags();
        for i in tags.used() {
            let x = line.handle(i);
            if x != 0 {
                out.push(x);
            }
        }
        let link = line.link();
        if link.is_null() || nulls::is_end(link) {
            break link;
        }
        // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
        line = unsafe { &*link };
    };
    let whole = if core::ptr::eq(line, head) {
        ticket::complete(head, end) || mutant("steps:skip-complete")
    } else {
        // Relaxed as in `complete`: whoever saw a write of the walk's time, with Acquire, sees the lock's taking too.
        mutant("steps:keep-a-disturbed-walk")
            || seen & (ticket::LOCK | ticket::MOVED) == 0
                && head.ticket.load(order::ticket_again()) == seen
    };
    if !whole && !mutant("steps:keep-what-was-found") {
        out.truncate(before);
    }
    whole
}
