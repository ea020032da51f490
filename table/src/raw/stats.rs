//! What a table looks like inside.

use super::{Table, nulls};

/// A look at a table's shape: exact when nobody writes meanwhile.
///
/// ```
/// let table = nulls::raw::Table::with_capacity(100)?;
/// let stats = table.stats();
/// assert_eq!((stats.entries, stats.buckets), (0, table.buckets()));
/// # Ok::<(), nulls::AllocError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Handles held.
    pub entries: usize,
    /// Buckets of the current generation.
    pub buckets: usize,
    /// Buckets of the generation that a running resize moves to.
    pub resizing_to: Option<usize>,
    /// Buckets below have moved to it.
    pub watermark: usize,
    /// Bytes of the arrays in use and of overflow lines allocated.
    pub bytes: usize,
    /// Bytes of arrays that are retired and not yet freed.
    pub garbage_bytes: usize,
    /// `chains[n]` buckets have a chain of `n + 1` lines; the last counts all longer ones.
    pub chains: [usize; 8],
    /// Lines of the longest chain.
    pub longest_chain: usize,
    /// Handles in the fullest chain: what a look-up has to step over at worst.
    pub longest_chain_entries: usize,
}

impl Table {
    /// Counts. Walks the whole table: costs as much as an iteration.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// assert_eq!(table.stats().longest_chain, 1);
    /// ```
    pub fn stats(&self) -> Stats {
        let guard = crate::rcu::pin();
        let mut array = self.root_array(guard.pinned());
        let mut stats = Stats {
            entries: self.len(),
            buckets: array.len(),
            resizing_to: array.next().map(|n| n.len()),
            watermark: array.watermark(),
            bytes: self.lines.bytes(),
            garbage_bytes: self.generations.garbage_bytes(),
            ..Stats::default()
        };
        loop {
            stats.bytes += array.bytes();
            for b in 0..array.len() {
                let head = array.head(b);
                if super::ticket::load(head) & super::ticket::MOVED != 0 {
                    continue;
                }
                let (mut line, mut n, mut entries) = (head, 1, 0);
                loop {
                    entries += line.tags().count();
                    let link = line.link();
                    if nulls::is_end(link) {
                        break;
                    }
                    n += 1;
                    // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
                    line = unsafe { &*link };
                }
                stats.chains[n.min(stats.chains.len()) - 1] += 1;
                stats.longest_chain = stats.longest_chain.max(n);
                stats.longest_chain_entries = stats.longest_chain_entries.max(entries);
            }
            match array.next() {
                Some(next) => array = next,
                None => return stats,
            }
        }
    }
}
