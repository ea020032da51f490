//! What a map takes and what state it is in.

use super::HashMap;
use crate::raw::Stats;
use crate::rcu::{self, Reader};

/// A look at a map: exact when nobody writes meanwhile. From [`HashMap::stats`].
///
/// ```
/// let map: nulls::HashMap<u64, u64> = (0..1000).map(|i| (i, i)).collect();
/// let stats = map.stats();
/// assert_eq!(stats.table.entries, 1000);
/// assert!(stats.table.longest_chain_entries < 30, "the hasher is good");
/// assert_eq!(stats.bytes(), map.memory());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapStats {
    /// Buckets, chains, a running resize.
    pub table: Stats,
    /// Bytes taken from the system for entries: used slots, free ones, and garbage. Slots are used again but not given back.
    pub entry_bytes: usize,
    /// Removed and replaced entries whose memory waits for readers.
    pub garbage: usize,
    /// Bytes of those, out of `entry_bytes`.
    pub garbage_bytes: usize,
    /// Removed entries that will never be dropped, because the system had no memory to list them.
    pub lost: usize,
    /// Bytes that count against the memory limit; 0 without one.
    pub charged: usize,
    /// The reader that keeps garbage longest at the moment, whatever map it reads.
    pub oldest_reader: Option<Reader>,
}

impl MapStats {
    /// Bytes taken from the system.
    ///
    /// ```
    /// let map = nulls::HashMap::<u64, u64>::with_capacity(1000);
    /// assert!(map.stats().bytes() > 16_000);
    /// ```
    pub fn bytes(&self) -> usize {
        self.table.bytes + self.table.garbage_bytes + self.entry_bytes
    }
}

impl<K, V, S> HashMap<K, V, S> {
    /// The map's state: fill, chains, a running resize, garbage, memory. Walks the whole table.
    ///
    /// Keys that collide on purpose show as one long chain: `stats().table.longest_chain_entries`.
    ///
    /// ```
    /// let map = nulls::HashMap::<u64, u64>::new();
    /// assert_eq!(map.stats().garbage, 0);
    /// ```
    pub fn stats(&self) -> MapStats {
        let waiting = self.nodes.waiting();
        MapStats {
            table: self.table.stats(),
            entry_bytes: self.nodes.stats().bytes,
            garbage: waiting.items,
            garbage_bytes: waiting.bytes,
            lost: waiting.lost,
            charged: self.budget.as_ref().map_or(0, |b| b.used()),
            oldest_reader: rcu::oldest_reader(),
        }
    }

    /// Bytes taken from the system for buckets, overflow lines and entries, garbage included. What keys and values own
    /// themselves is not counted. Walks the whole table, as [`stats`](Self::stats).
    ///
    /// ```
    /// let map = nulls::HashMap::<u64, u64>::with_capacity(1000);
    /// assert!(map.memory() > 16_000);
    /// ```
    pub fn memory(&self) -> usize {
        self.stats().bytes()
    }

    /// Entries that were removed or replaced and whose memory waits for readers. Counts lists of all threads, so that a
    /// figure may be out of date at once.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 1)]);
    /// let reader = map.pin();
    /// map.pin().remove(&1);
    /// assert_eq!(map.garbage(), 1);
    /// drop(reader);
    /// map.maintain()?;
    /// assert_eq!(map.garbage(), 0);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn garbage(&self) -> usize {
        self.nodes.waiting().items
    }

    /// The most entries the map may hold, if that is limited.
    ///
    /// ```
    /// assert_eq!(nulls::HashMap::<u8, u8>::new().max_entries(), None);
    /// ```
    pub fn max_entries(&self) -> Option<usize> {
        self.table.limit()
    }

    /// The most bytes the map may take, if that is limited. See [`memory_limit`](super::HashMapBuilder::memory_limit).
    ///
    /// ```
    /// assert_eq!(nulls::HashMap::<u8, u8>::new().memory_limit(), None);
    /// ```
    pub fn memory_limit(&self) -> Option<usize> {
        self.budget.as_ref().map(|b| b.limit())
    }
}
