//! Going through a table in the order of hashes, resizes or not.
//!
//! A cursor is a hash. A step yields every entry of the interval from the cursor to the end of the shortest bucket that
//! it passed through, so intervals of successive steps tile the hash space whatever generations they meet: an entry
//! that stays for the whole iteration is yielded exactly once.

use super::{Table, local, nulls, ticket};
use crate::rcu::Guard;
use crate::sync::check::mutant;
use crate::sync::order;
use alloc::vec::Vec;

impl Table {
    /// Puts `(hash, handle)` of every entry with `cursor <= hash < next` into `out`, in order, and returns `next`;
    /// `None` after the last interval.
    ///
    /// Entries that are inserted or removed meanwhile may be found or not; a replaced entry is found once, as it was or
    /// as it is. `out` is cleared first. Lock-free as [`find`](Self::find).
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// let (mut out, mut all, mut at) = (Vec::new(), Vec::new(), Some(0));
    /// while let Some(cursor) = at {
    ///     at = table.step(&guard, cursor, &hash, &mut out);
    ///     all.append(&mut out);
    /// }
    /// assert_eq!(all, [(hash(1), 1)]);
    /// ```
    pub fn step(
        &self,
        guard: &Guard,
        cursor: u64,
        rehash: &impl Fn(u32) -> u64,
        out: &mut Vec<(u64, u32)>,
    ) -> Option<u64> {
        let mut end = u128::MAX;
        let mut array = self.root_array(guard.pinned());
        // The overflow lines of the walk, by address.
        let mut lines = Vec::new();
        loop {
            let b = array.bucket(cursor);
            // The least over *every* generation passed: a step taken in a coarser one would yield what a later step,
            // begun in a finer one, yields again.
            if !mutant("cursor:end-of-last-only") {
                end = end.min(array.interval_end(b));
            } else {
                end = array.interval_end(b);
            }
            let head = array.head(b);
            let seen = ticket::load(head);
            if seen & ticket::MOVED != 0 {
                if let Some(next) = array.next() {
                    array = next;
                }
                continue;
            }
            out.clear();
            lines.clear();
            let mut line = head;
            let stop = loop {
                let tags = line.tags();
                for i in tags.used() {
                    let x = line.handle(i);
                    if x != 0 {
                        out.push((0, x));
                    }
                }
                let link = line.link();
                if nulls::is_end(link) {
                    break link;
                }
                // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
                line = unsafe { &*link };
                lines.push(link.addr());
            };
            // A line that is recycled to the front of its own chain leads to lines that were passed before. They would
            // yield again what they hold, and what was replaced meanwhile as it was and as it is.
            let twice = !lines.is_empty()
                && (seen & ticket::LOCK != 0 || head.ticket.load(order::ticket_again()) != seen)
                && has_duplicates(&mut lines)
                && !mutant("cursor:keep-duplicates");
            if ticket::complete(head, stop) && !twice {
                break;
            }
            local::count_restart();
        }
        for (hash, x) in out.iter_mut() {
            *hash = rehash(*x);
        }
        out.retain(|&(hash, _)| hash >= cursor && (hash as u128) < end);
        out.sort_unstable();
        u64::try_from(end).ok()
    }
}

fn has_duplicates(lines: &mut [usize]) -> bool {
    lines.sort_unstable();
    lines.windows(2).any(|w| w[0] == w[1])
}
