//! Looking up: no lock, no wait, no write to shared memory.
//!
//! A hit linearizes where it loads the handle. A miss needs no second look at the bucket: an entry that stays is found
//! in its slot or, once the bucket is MOVED, in the next generation, and nothing else than a move or a recycled line can
//! lead a walk past it; both show at the walk's end (`ticket::complete`). See the design chapter for the whole argument.

use super::Table;
use super::line::Line;
use super::{local, nulls, ticket};
use crate::rcu::{Guard, Pinned};
use crate::sync::check::mutant;
use crate::tags::WideTag;

impl Table {
    /// Calls `eq` for every handle that may have this hash until it yields a value.
    ///
    /// `eq` sees handles whose entries have the same bucket and the same seven low bits of the hash; it compares keys.
    /// It may see a handle twice. In type-stable use it takes a reference and compares the key *afterwards*.
    ///
    /// Lock-free: a repetition implies that another thread moved the bucket or recycled a line of it. On average one
    /// cache line is touched besides the entry itself.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// assert_eq!(table.find(&guard, hash(1), |x| (x == 1).then_some(x)), Some(1));
    /// assert_eq!(table.find(&guard, hash(2), |x| (x == 2).then_some(x)), None);
    /// ```
    #[inline(always)]
    pub fn find<R>(
        &self,
        guard: &Guard,
        hash: u64,
        mut eq: impl FnMut(u32) -> Option<R>,
    ) -> Option<R> {
        // The common case in as few instructions as it takes, since cache misses of successive look-ups overlap only
        // within the processor's window: no resize running, and nothing recycled under us. The bucket was then not
        // MOVED when we looked at the latch, so a hit was linked at that time or later; a miss looks for MOVED at its
        // end as ever.
        if let Some((lines, len)) = self.generations.root.try_settled() {
            let b = crate::scale::reciprocal_scale(hash, len as u64) as usize;
            // SAFETY: `b` is below `len`, the number of lines of a generation that was the root while we were pinned: not
            // freed before we unpin.
            let head: &Line = unsafe { &*lines.add(b) };
            match walk(head, WideTag::of(hash), &mut eq) {
                Ok(found) => return Some(found),
                Err(Miss::Whole) => return None,
                // Drifted, or a resize began and moved the bucket.
                Err(Miss::Astray) => local::count_restart(),
            }
        }
        self.find_anew(guard.pinned(), hash, eq)
    }

    /// The general case, from the start.
    #[cold]
    #[inline(never)]
    fn find_anew<R>(
        &self,
        guard: Pinned<'_>,
        hash: u64,
        mut eq: impl FnMut(u32) -> Option<R>,
    ) -> Option<R> {
        let mut array = self.root_array(guard);
        loop {
            let b = array.bucket(hash);
            let head = array.head(b);
            let passed = b < array.watermark() && !mutant("find:ignore-watermark");
            if passed || ticket::load(head) & ticket::MOVED != 0 {
                // Watermark and MOVED are set after `next`, and we saw them with Acquire.
                if let Some(next) = array.next() {
                    array = next;
                }
                continue;
            }
            match walk(head, WideTag::of(hash), &mut eq) {
                Ok(found) => return Some(found),
                Err(Miss::Whole) => return None,
                Err(Miss::Astray) if mutant("find:skip-complete") => return None,
                // Drifted, or moved under us: again from the same generation, which leads on.
                Err(Miss::Astray) => local::count_restart(),
            }
        }
    }

    /// Looks up many hashes at once and lets their cache misses overlap: first the buckets' lines are prefetched, then
    /// the entries that `prefetch` is told of, then each is found as by [`find`](Self::find).
    ///
    /// `eq(i, handle)` belongs to `hashes[i]`; `found(i, result)` is called once for each, in order.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// let mut found = [None; 2];
    /// let wanted = [1, 2];
    /// table.find_many(
    ///     &guard,
    ///     &wanted.map(hash),
    ///     |_| {}, // a place to prefetch what the handle stands for
    ///     |i, x| (x == wanted[i]).then_some(x),
    ///     |i, x| found[i] = x,
    /// );
    /// assert_eq!(found, [Some(1), None]);
    /// ```
    pub fn find_many<R>(
        &self,
        guard: &Guard,
        hashes: &[u64],
        prefetch: impl Fn(u32),
        mut eq: impl FnMut(usize, u32) -> Option<R>,
        mut found: impl FnMut(usize, Option<R>),
    ) {
        /// As many as a core has line-fill buffers, roughly.
        const BATCH: usize = 16;
        for (c, chunk) in hashes.chunks(BATCH).enumerate() {
            let s = self.generations.root.load();
            let head = |hash: u64| {
                let b = crate::scale::reciprocal_scale(hash, s.len as u64) as usize;
                // SAFETY: as in `find`. A bucket that has moved meanwhile costs a wasted prefetch only.
                unsafe { s.heads.cast_const().add(b) }
            };
            for &hash in chunk {
                crate::prefetch::read(head(hash));
            }
            for &hash in chunk {
                // SAFETY: as above.
                let line = unsafe { &*head(hash) };
                for i in line.tags().matching(WideTag::of(hash)) {
                    let x = line.handle(i);
                    if x != 0 {
                        prefetch(x);
                    }
                }
            }
            for (i, &hash) in chunk.iter().enumerate() {
                let i = c * BATCH + i;
                found(i, self.find(guard, hash, |x| eq(i, x)));
            }
        }
    }
}

/// How a walk ended that found nothing.
enum Miss {
    /// It saw the whole bucket, which was still the truth at its end.
    Whole,
    /// It left the chain on a recycled line, or the bucket moved.
    Astray,
}

#[inline(always)]
fn miss(whole: bool) -> Miss {
    if whole { Miss::Whole } else { Miss::Astray }
}

/// Shows the handles of a chain that have this tag to `eq` until it yields a value.
#[inline(always)]
fn walk<R>(head: &Line, tag: WideTag, eq: &mut impl FnMut(u32) -> Option<R>) -> Result<R, Miss> {
    let mut line = head;
    loop {
        for i in line.tags().matching(tag) {
            let x = line.handle(i);
            if x != 0
                && let Some(found) = eq(x)
            {
                return Ok(found);
            }
        }
        let link = line.link();
        // Null first, by itself: in most buckets that is all there is to test of the link.
        if link.is_null() {
            return Err(miss(ticket::is_truth(head)));
        }
        if nulls::is_end(link) {
            return Err(miss(ticket::complete(head, link)));
        }
        // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
        line = unsafe { &*link };
    }
}
