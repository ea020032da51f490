//! The concurrent hash map.

mod builder;
mod compute;
mod entry;
mod error;
pub(crate) mod hash;
mod iter;
mod key;
#[cfg(doctest)]
mod misuse;
mod node;
mod ops;
mod owned;
mod remove;
mod stats;
mod traits;
mod view;

pub use builder::HashMapBuilder;
pub use compute::{Compute, Operation};
pub use entry::{Entry, EntryRef, NotReplaced, OccupiedEntry, VacantEntry};
pub use equivalent::Equivalent;
pub use error::{InsertError, TryInsertError};
pub use hash::DefaultHashBuilder;
pub use iter::{Iter, Keys, Values};
pub use key::{ByRef, ByValue, CloneKey, Key};
pub use owned::IntoIter;
pub use remove::Drain;
pub use stats::MapStats;
pub use view::HashMapRef;

use crate::budget::Budget;
use crate::raw::{AllocError, Table};
use crate::rcu::{self, AnyGuard, Guard, OwnedGuard};
use alloc::sync::Arc;
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
/// `HashMap<K, AtomicU64>`. If keys and values are small and plain, [`InlineMap`](crate::InlineMap) keeps them in the buckets
/// themselves and overwrites them in place.
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
    budget: Option<Arc<Budget>>,
}

impl<K, V> HashMap<K, V> {
    /// An empty map with the default hasher, keyed for this map.
    ///
    /// ```
    /// let map: nulls::HashMap<u8, u8> = nulls::HashMap::new();
    /// assert!(map.is_empty());
    /// ```
    ///
    /// # Panics
    /// When there is no memory for one bucket.
    pub fn new() -> Self {
        Self::with_hasher(DefaultHashBuilder::default())
    }

    /// An empty map that takes `capacity` entries without growing.
    ///
    /// ```
    /// let map: nulls::HashMap<u8, u8> = nulls::HashMap::with_capacity(100);
    /// assert!(map.capacity() >= 100);
    /// ```
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
    /// ```
    /// let map: nulls::HashMap<u8, u8, _> = nulls::HashMap::with_hasher(std::hash::RandomState::new());
    /// assert!(map.is_empty());
    /// ```
    ///
    /// # Panics
    /// When there is no memory for one bucket.
    pub fn with_hasher(hasher: S) -> Self {
        Self::with_capacity_and_hasher(0, hasher)
    }

    /// An empty map that takes `capacity` entries without growing. It does not shrink below that by itself.
    ///
    /// ```
    /// let hasher = std::hash::RandomState::new();
    /// let map: nulls::HashMap<u8, u8, _> = nulls::HashMap::with_capacity_and_hasher(100, hasher);
    /// assert!(map.capacity() >= 100);
    /// ```
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        Self::try_with(capacity, None, None, hasher).expect("memory for the table")
    }

    /// An empty map that never holds more than `limit` entries: [`try_insert`](HashMapRef::try_insert) then returns
    /// [`Full`](TryInsertError::Full). The limit is exact, and a removal makes room at once.
    ///
    /// ```
    /// use nulls::{DefaultHashBuilder, HashMap};
    /// let map = HashMap::with_limit(0, 1, DefaultHashBuilder::default())?;
    /// assert!(map.pin().try_insert(1, 1).is_ok());
    /// assert!(map.pin().try_insert(2, 2).is_err());
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory for `capacity` entries' buckets.
    pub fn with_limit(capacity: usize, limit: usize, hasher: S) -> Result<Self, AllocError> {
        Self::try_with(capacity, Some(limit), None, hasher)
    }

    fn try_with(
        capacity: usize,
        limit: Option<usize>,
        memory: Option<usize>,
        hasher: S,
    ) -> Result<Self, AllocError> {
        let budget = memory.map(Budget::new);
        let nodes = Nodes::try_new(budget.as_ref())?;
        let table = Table::within(capacity, limit, budget.clone())?;
        nodes.reserve(capacity)?;
        Ok(Self {
            table,
            nodes,
            hasher,
            budget,
        })
    }

    /// Pins the calling thread and returns a view with the map's operations.
    ///
    /// Costs a thread-local look-up and a store. Keep the view for several operations where that is convenient; a view
    /// that is kept for long delays the reuse of removed entries' memory, nothing else.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 1)]);
    /// assert_eq!(map.pin().get(&1), Some(&1));
    /// ```
    #[inline]
    pub fn pin(&self) -> HashMapRef<'_, K, V, S> {
        HashMapRef::new(self)
    }

    /// As [`pin`](Self::pin), with a guard of its own: the view may be sent and shared, and held across an `.await`.
    ///
    /// Costs a look through the registry of readers; worth it once per task, not once per look-up.
    ///
    /// ```
    /// let map: nulls::HashMap<_, _> = (0..100).map(|i| (i, i)).collect();
    /// let view = map.pin_owned();
    /// let sum: i32 = std::thread::scope(|s| {
    ///     let low = s.spawn(|| view.range(..1 << 63).map(|(_, v)| v).sum::<i32>());
    ///     let high = s.spawn(|| view.range(1 << 63..).map(|(_, v)| v).sum::<i32>());
    ///     low.join().unwrap() + high.join().unwrap()
    /// });
    /// assert_eq!(sum, 4950);
    /// ```
    pub fn pin_owned(&self) -> HashMapRef<'_, K, V, S, OwnedGuard> {
        self.view(OwnedGuard::new())
    }

    /// A view with a guard that the caller has made.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 2)]);
    /// assert_eq!(map.view(nulls::rcu::pin()).get(&1), Some(&2));
    /// ```
    #[inline]
    pub fn view<G: AnyGuard>(&self, guard: G) -> HashMapRef<'_, K, V, S, G> {
        HashMapRef::with_guard(self, guard)
    }

    /// A guard for the `*_with` methods, of this map and every other.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 1)]);
    /// let guard = map.guard();
    /// assert_eq!(map.get_with(&1, &guard), Some(&1));
    /// ```
    #[inline]
    pub fn guard(&self) -> Guard {
        rcu::pin()
    }

    /// The number of entries: exact in a limited map and while nobody writes.
    ///
    /// ```
    /// assert_eq!(nulls::HashMap::from([(1, 1)]).len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no entries.
    ///
    /// ```
    /// assert!(!nulls::HashMap::from([(1, 1)]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The number of buckets.
    #[cfg(feature = "rayon")]
    pub(crate) fn buckets(&self) -> usize {
        self.table.buckets()
    }

    /// How many entries the map holds before it grows.
    ///
    /// ```
    /// let map: nulls::HashMap<u64, u64> = nulls::HashMap::with_capacity(100);
    /// assert!(map.capacity() >= 100);
    /// ```
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Whether a resize is running or queued.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 1)]);
    /// map.resize(100)?;
    /// assert!(map.is_resizing());
    /// map.maintain()?;
    /// assert!(!map.is_resizing());
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn is_resizing(&self) -> bool {
        self.table.is_resizing()
    }

    /// Asks for `buckets` buckets, any number from 1 on. See [`Table::resize`].
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 1)]);
    /// map.resize(77)?;
    /// map.maintain()?;
    /// assert_eq!(map.stats().table.buckets, 77);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory; the map is as before.
    pub fn resize(&self, buckets: usize) -> Result<(), AllocError> {
        self.table.resize(buckets)
    }

    /// The hasher.
    ///
    /// ```
    /// use std::hash::BuildHasher;
    /// let map = nulls::HashMap::from([(1, 1)]);
    /// assert_eq!(map.hasher().hash_one(1), map.hasher().hash_one(1));
    /// ```
    pub fn hasher(&self) -> &S {
        &self.hasher
    }
}

impl<K: Hash, V, S: BuildHasher> HashMap<K, V, S> {
    /// Asks for room for `additional` more entries without growing. Writers and [`maintain`](Self::maintain) do the
    /// work. A resize that is running or queued is followed by another one if it leaves too little room, and is left alone
    /// else: the table never gets smaller by this.
    ///
    /// ```
    /// let map: nulls::HashMap<u64, u64> = nulls::HashMap::new();
    /// map.reserve(1000)?;
    /// map.maintain()?;
    /// assert!(map.capacity() >= 1000);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory; the map is as before.
    pub fn reserve(&self, additional: usize) -> Result<(), AllocError> {
        self.table.reserve(self.len().saturating_add(additional))
    }

    /// Shrinks the table to what its entries need, and finishes that before it returns.
    ///
    /// ```
    /// let map: nulls::HashMap<u64, u64> = nulls::HashMap::with_capacity(10_000);
    /// map.shrink_to_fit()?;
    /// assert!(map.capacity() < 100);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
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
    /// ```
    /// let map: nulls::HashMap<_, _> = (0..1000).map(|i| (i, i)).collect();
    /// map.pin().clear();
    /// assert!(map.maintain()?);
    /// assert_eq!(map.garbage(), 0);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory to move an entry; the map works on, and a later call goes on.
    pub fn maintain(&self) -> Result<bool, AllocError> {
        let _guard = rcu::pin();
        let done = self.table.maintain(&self.rehash())?;
        drop(_guard);
        self.nodes.collect();
        Ok(done && self.nodes.waiting().items == 0)
    }

    /// Where `key` stands in the order of iteration: what [`range`](HashMapRef::range) and [`scan`](HashMapRef::scan) go by.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let hash = map.hash_of("a");
    /// assert_eq!(map.pin().range(hash..=hash).next(), Some((&"a", &1)));
    /// ```
    pub fn hash_of<Q>(&self, key: &Q) -> u64
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        hash::hash_of(&self.hasher, key)
    }

    /// The hash of a linked node, for the table's movers.
    #[inline]
    fn rehash(&self) -> impl Fn(u32) -> u64 + '_ {
        // SAFETY: the table calls this for handles that it found while the caller is pinned: their nodes are alive.
        |x| hash::hash_of(&self.hasher, unsafe { self.nodes.key(x) })
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
