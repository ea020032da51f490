//! The concurrent hash map.

mod hash;
mod iter;
#[cfg(doctest)]
mod misuse;
mod node;
mod ops;
mod view;

pub use equivalent::Equivalent;
pub use hash::DefaultHashBuilder;
pub use iter::Iter;
pub use ops::TryInsertError;
pub use view::HashMapRef;

use crate::raw::{AllocError, Stats, Table};
use crate::rcu::{self, Guard};
use core::fmt;
use core::hash::{BuildHasher, Hash};
use node::Nodes;

/// A concurrent hash map whose readers never lock, never wait and never write shared memory.
///
/// Operations are methods of the view that [`pin`](Self::pin) returns, or take a guard (the `*_with` methods). While a
/// guard lives, what it has seen stays in memory: references to values are valid as long as the guard, also when the
/// entry is removed or replaced meanwhile.
///
/// Look-ups are lock-free. Writers lock one bucket for a few stores and back off when another writer is in it; no user
/// code (`Hash`, `Eq`, `Drop`, closures) ever runs under a lock, so that every operation may be used inside a closure
/// that another one calls, and a panic leaves the map as usable as before.
///
/// Values are replaced, not changed in place. For counters and the like use a value with interior mutability, such as
/// `HashMap<K, AtomicU64>`.
///
/// ```
/// let map = nulls::HashMap::new();
/// let map = map.pin();
/// map.insert("ada", 1815);
/// map.insert("grace", 1906);
/// assert_eq!(map.get("ada"), Some(&1815));
/// assert_eq!(map.remove("ada"), Some(&1815));
/// assert_eq!(map.len(), 1);
/// ```
pub struct HashMap<K, V, S = DefaultHashBuilder> {
    table: Table,
    nodes: Nodes<K, V>,
    hasher: S,
}

impl<K, V> HashMap<K, V> {
    /// An empty map with the default hasher, keyed for this map.
    ///
    /// # Panics
    /// When there is no memory for one bucket.
    pub fn new() -> Self {
        Self::with_hasher(DefaultHashBuilder::default())
    }

    /// An empty map that takes `capacity` entries without growing.
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, DefaultHashBuilder::default())
    }
}

impl<K, V, S> HashMap<K, V, S> {
    /// An empty map.
    ///
    /// # Panics
    /// When there is no memory for one bucket.
    pub fn with_hasher(hasher: S) -> Self {
        Self::with_capacity_and_hasher(0, hasher)
    }

    /// An empty map that takes `capacity` entries without growing. It does not shrink below that by itself.
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        Self::try_with(capacity, None, hasher).expect("memory for the table")
    }

    /// An empty map that never holds more than `limit` entries: [`try_insert`](HashMapRef::try_insert) then returns
    /// [`Full`](TryInsertError::Full). The limit is exact, and a removal makes room at once.
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory for `capacity` entries' buckets.
    pub fn with_limit(capacity: usize, limit: usize, hasher: S) -> Result<Self, AllocError> {
        Self::try_with(capacity, Some(limit), hasher)
    }

    fn try_with(capacity: usize, limit: Option<usize>, hasher: S) -> Result<Self, AllocError> {
        let nodes = Nodes::try_new()?;
        nodes.reserve(capacity)?;
        Ok(Self {
            table: Table::with_limit(capacity, limit)?,
            nodes,
            hasher,
        })
    }

    /// Pins the calling thread and returns a view with the map's operations.
    ///
    /// Costs a thread-local look-up and a store. Keep the view for several operations where that is convenient; a view
    /// that is kept for long delays the reuse of removed entries' memory, nothing else.
    #[inline]
    pub fn pin(&self) -> HashMapRef<'_, K, V, S> {
        HashMapRef::new(self)
    }

    /// A guard for the `*_with` methods, of this map and every other.
    #[inline]
    pub fn guard(&self) -> Guard {
        rcu::pin()
    }

    /// The number of entries: exact in a limited map and while nobody writes.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many entries the map holds before it grows.
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Whether a resize is running or queued.
    pub fn is_resizing(&self) -> bool {
        self.table.is_resizing()
    }

    /// Asks for `buckets` buckets, any number from 1 on. See [`Table::resize`].
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory; the map is as before.
    pub fn resize(&self, buckets: usize) -> Result<(), AllocError> {
        self.table.resize(buckets)
    }

    /// The hasher.
    pub fn hasher(&self) -> &S {
        &self.hasher
    }

    /// The shape of the table: fill, chains, a running resize, garbage. Walks the whole table.
    pub fn stats(&self) -> Stats {
        self.table.stats()
    }

    /// Bytes taken from the system for buckets, overflow lines and entries, garbage included. What keys and values own
    /// themselves is not counted. Walks the whole table, as [`stats`](Self::stats).
    pub fn memory(&self) -> usize {
        let table = self.table.stats();
        table.bytes + table.garbage_bytes + self.nodes.stats().bytes
    }

    /// Entries that were removed or replaced and whose memory waits for readers.
    pub fn garbage(&self) -> usize {
        self.nodes.garbage()
    }
}

impl<K: Hash, V, S: BuildHasher> HashMap<K, V, S> {
    /// Asks for room for `additional` more entries without growing. Writers and [`maintain`](Self::maintain) do the
    /// work.
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory; the map is as before.
    pub fn reserve(&self, additional: usize) -> Result<(), AllocError> {
        let entries = self.len().saturating_add(additional);
        if entries > self.capacity() {
            self.table.resize(Table::buckets_for(entries))
        } else {
            Ok(())
        }
    }

    /// Shrinks the table to what its entries need, and finishes that before it returns.
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory for the smaller table; the map is as before.
    pub fn shrink_to_fit(&self) -> Result<(), AllocError> {
        self.table.resize(Table::buckets_for(self.len()))?;
        self.maintain().map(|_| ())
    }

    /// Finishes a running resize and frees what no reader can reach any more. A phase without writes does neither by
    /// itself. Returns whether nothing is left to do; a guard that stays alive can keep memory from being freed.
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory to move an entry; the map works on, and a later call goes on.
    pub fn maintain(&self) -> Result<bool, AllocError> {
        let _guard = rcu::pin();
        let done = self.table.maintain(&self.rehash())?;
        drop(_guard);
        self.nodes.collect();
        Ok(done && self.nodes.garbage() == 0)
    }

    /// The hash of a linked node, for the table's movers.
    #[inline]
    fn rehash(&self) -> impl Fn(u32) -> u64 + '_ {
        // SAFETY: the table calls this for handles that it found while the caller is pinned: their nodes are alive.
        |x| hash::hash_of(&self.hasher, unsafe { self.nodes.key(x) })
    }
}

impl<K, V, S: Default> Default for HashMap<K, V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<K, V, S> Drop for HashMap<K, V, S> {
    fn drop(&mut self) {
        let Self { table, nodes, .. } = self;
        // SAFETY: `&mut self`: no guard that looks at this map is alive, and each handle is linked once.
        node::go_on(|| table.drain(|x| unsafe { nodes.drop_now(x) }));
        // The retired ones go with `nodes`.
    }
}

impl<K: fmt::Debug + Hash + Eq, V: fmt::Debug, S: BuildHasher> fmt::Debug for HashMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.pin()).finish()
    }
}
