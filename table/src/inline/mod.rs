//! The map whose entries lie in the buckets themselves.

mod bucket;
mod entry;
mod error;
mod find;
mod iter;
#[cfg(doctest)]
mod misuse;
mod resize;
mod traits;
mod view;
mod write;

pub use error::InlineInsertError;
pub use iter::InlineIter;
pub use view::InlineMapRef;

use crate::count::Counter;
use crate::generations::{self, Cells, Generations, buckets_for};
use crate::map::{self, DefaultHashBuilder};
use crate::mem::AllocError;
use crate::rcu::{self, AnyGuard, OwnedGuard, Pinned};
use crate::scale::reciprocal_scale;
use crate::slab::{MAX_LIMIT, Slab};
use crate::tags::WideTag;
use bucket::{Bucket, Buckets, Spill};
use bytemuck::NoUninit;
use core::hash::{BuildHasher, Hash};
use core::marker::PhantomData;

/// A generation of buckets.
type Array<K, V> = generations::Array<Buckets<K, V>>;

/// A concurrent hash map of small plain entries, which lie in the buckets themselves: look-ups touch one place in memory
/// less than those of [`HashMap`](crate::HashMap), and writes allocate and retire nothing.
///
/// Keys and values are plain bytes (`bytemuck::NoUninit`: integers, floats, `bool`, `char`, arrays of them, and structs that
/// derive it), keys of up to 104 bytes and values of up to eight; what is larger is refused when the program is compiled.
/// Values are returned by copy and overwritten in place. Everything else is as in `HashMap`: look-ups never lock, never wait and never
/// write shared memory; writers lock one bucket for a few stores; no user code (`Hash`, `Eq`, closures) runs under a lock; the table
/// grows and shrinks bucket by bucket; iteration visits exactly once what stays.
///
/// A look-up repeats when a writer has finished in its bucket meanwhile, so it is lock-free: a repetition implies that
/// another thread got something done. It does not wait for a writer that is in the bucket. The bucket's count of changes has 30
/// bits: a look-up or a write would have to sleep through an exact multiple of 2^30 changes of one bucket to take them for none.
///
/// ```
/// let hits = nulls::InlineMap::<u32, u64>::new();
/// let hits = hits.pin();
/// for page in [7, 8, 7] {
///     hits.update_or_insert(page, |n| n + 1, 1);
/// }
/// assert_eq!(hits.get(&7), Some(2));
/// assert_eq!(hits.remove(&8), Some(1));
/// assert_eq!(hits.len(), 1);
/// ```
pub struct InlineMap<K, V, S = DefaultHashBuilder> {
    generations: Generations<Buckets<K, V>>,
    count: Counter,
    spills: Slab<Spill>,
    hasher: S,
    /// Neither `Send` nor `Sync` by itself: entries are words, whatever they stand for.
    _entries: PhantomData<*mut (K, V)>,
}

// SAFETY: the map owns its entries and gives copies of them to whoever has it.
unsafe impl<K: Send, V: Send, S: Send> Send for InlineMap<K, V, S> {}
// SAFETY: through `&self` threads get copies of what others inserted (`Send`), and compare keys that lie with the caller.
unsafe impl<K: Send + Sync, V: Send + Sync, S: Sync> Sync for InlineMap<K, V, S> {}

impl<K: NoUninit, V: NoUninit> InlineMap<K, V> {
    /// An empty map with the default hasher, keyed for this map.
    ///
    /// ```
    /// let map = nulls::InlineMap::<u64, u64>::new();
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
    /// let map = nulls::InlineMap::<u64, u64>::with_capacity(100);
    /// assert!(map.capacity() >= 100);
    /// ```
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, DefaultHashBuilder::default())
    }
}

impl<K: NoUninit, V: NoUninit, S> InlineMap<K, V, S> {
    /// An empty map.
    ///
    /// ```
    /// let map = nulls::InlineMap::<u64, u64, _>::with_hasher(std::hash::RandomState::new());
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
    /// let map = nulls::InlineMap::<u64, u64, _>::with_capacity_and_hasher(100, hasher);
    /// assert!(map.capacity() >= 100);
    /// ```
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        Self::try_with(capacity, None, hasher).expect("memory for the table")
    }

    /// An empty map that never holds more than `limit` entries: [`try_insert`](InlineMapRef::try_insert) then returns
    /// [`Full`](InlineInsertError::Full). The limit is exact, and a removal makes room at once.
    ///
    /// ```
    /// use nulls::{DefaultHashBuilder, InlineInsertError, InlineMap};
    /// let map = InlineMap::with_limit(0, 1, DefaultHashBuilder::default())?;
    /// assert_eq!(map.pin().try_insert(1, 1), Ok(()));
    /// assert_eq!(map.pin().try_insert(2, 2), Err(InlineInsertError::Full));
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory for `capacity` entries' buckets.
    pub fn with_limit(capacity: usize, limit: usize, hasher: S) -> Result<Self, AllocError> {
        Self::try_with(capacity, Some(limit), hasher)
    }

    fn try_with(capacity: usize, limit: Option<usize>, hasher: S) -> Result<Self, AllocError> {
        let () = entry::Layout::<K, V>::SUPPORTED;
        Ok(Self {
            generations: Generations::try_new(buckets_for(capacity), None)?,
            count: Counter::new(limit),
            spills: Slab::try_new(MAX_LIMIT)?,
            hasher,
            _entries: PhantomData,
        })
    }

    /// Pins the calling thread and returns a view with the map's operations.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 1u8)]);
    /// assert_eq!(map.pin().get(&1), Some(1));
    /// ```
    #[inline(always)]
    pub fn pin(&self) -> InlineMapRef<'_, K, V, S> {
        self.view(rcu::pin())
    }

    /// As [`pin`](Self::pin), with a guard of its own: the view may be sent and shared, and held across an `.await`.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 1u8)]);
    /// let view = map.pin_owned();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert_eq!(view.get(&1), Some(1)));
    /// });
    /// ```
    pub fn pin_owned(&self) -> InlineMapRef<'_, K, V, S, OwnedGuard> {
        self.view(OwnedGuard::new())
    }

    /// A view with a guard that the caller has made.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 2u8)]);
    /// assert_eq!(map.view(nulls::rcu::pin()).get(&1), Some(2));
    /// ```
    #[inline(always)]
    pub fn view<G: AnyGuard>(&self, guard: G) -> InlineMapRef<'_, K, V, S, G> {
        InlineMapRef::new(self, guard)
    }

    /// The number of entries: exact in a limited map and while nobody writes.
    ///
    /// ```
    /// assert_eq!(nulls::InlineMap::from([(1u8, 1u8)]).len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.count.get()
    }

    /// Whether there are no entries.
    ///
    /// ```
    /// assert!(!nulls::InlineMap::from([(1u8, 1u8)]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries the map holds before it grows.
    ///
    /// ```
    /// assert!(nulls::InlineMap::<u64, u64>::with_capacity(100).capacity() >= 100);
    /// ```
    pub fn capacity(&self) -> usize {
        self.generations.buckets().saturating_mul(generations::FILL)
    }

    /// The most entries the map may hold, if it is limited.
    ///
    /// ```
    /// assert_eq!(nulls::InlineMap::<u64, u64>::new().limit(), None);
    /// ```
    pub fn limit(&self) -> Option<usize> {
        self.count.limit()
    }

    /// The number of buckets, of eight slots each.
    ///
    /// ```
    /// assert_eq!(nulls::InlineMap::<u64, u64>::new().buckets(), 1);
    /// ```
    pub fn buckets(&self) -> usize {
        self.generations.buckets()
    }

    /// Whether a resize is running or queued.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 1u8)]);
    /// map.resize(100)?;
    /// assert!(map.is_resizing());
    /// map.maintain()?;
    /// assert!(!map.is_resizing());
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn is_resizing(&self) -> bool {
        self.generations.is_resizing()
    }

    /// Bytes taken from the system: buckets, old ones that wait for readers included, and spill lines. Walks nothing.
    ///
    /// ```
    /// let map = nulls::InlineMap::<u64, u64>::with_capacity(1000);
    /// assert!(map.memory() > 16_000);
    /// ```
    pub fn memory(&self) -> usize {
        let guard = rcu::pin();
        let root = self.generations.root_array(guard.pinned());
        let arrays = root.bytes() + root.next().map_or(0, |next| next.bytes());
        arrays + self.generations.garbage_bytes() + self.spills.stats().bytes
    }

    /// Asks for `buckets` buckets, any number from 1 on. Writers and [`maintain`](Self::maintain) move the entries. While a
    /// resize is running the wish is queued, the last one counts; the table neither grows nor shrinks by itself before it.
    /// Nor does it shrink by itself below the number asked for last; it grows beyond as its entries need it.
    /// A queued wish is given up if there is no memory for it when its turn comes.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 1u8)]);
    /// map.resize(77)?;
    /// map.maintain()?;
    /// assert_eq!(map.buckets(), 77);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory; the map is as before.
    pub fn resize(&self, buckets: usize) -> Result<(), AllocError> {
        self.generations.resize(buckets)
    }

    /// Asks for room for `additional` more entries without growing. Writers and [`maintain`](Self::maintain) do the work.
    /// A resize that is running or queued is followed by another one if it leaves too little room, and is left alone else:
    /// the table never gets smaller by this.
    ///
    /// ```
    /// let map = nulls::InlineMap::<u64, u64>::new();
    /// map.reserve(1000)?;
    /// map.maintain()?;
    /// assert!(map.capacity() >= 1000);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory; the map is as before.
    pub fn reserve(&self, additional: usize) -> Result<(), AllocError> {
        self.generations
            .reserve(self.len().saturating_add(additional))
    }

    /// The hasher.
    ///
    /// ```
    /// use std::hash::BuildHasher;
    /// let map = nulls::InlineMap::from([(1u8, 1u8)]);
    /// assert_eq!(map.hasher().hash_one(1), map.hasher().hash_one(1));
    /// ```
    pub fn hasher(&self) -> &S {
        &self.hasher
    }

    /// Bucket `b` of a generation.
    #[inline(always)]
    fn bucket(array: &Array<K, V>, b: usize) -> Bucket<'_, K, V> {
        debug_assert!(b < array.len());
        // SAFETY: `b` comes from a hash or from a loop below `len`, and the generation lives as long as the reference.
        unsafe { Bucket::at(array.cells.heads(), b) }
    }

    /// The bucket of a hash in the current generation.
    #[inline(always)]
    fn root_bucket<'g>(&'g self, guard: Pinned<'g>, hash: u64) -> Bucket<'g, K, V> {
        let _ = guard;
        let heads = self.generations.root.heads();
        // SAFETY: of a generation that was the root while the caller was pinned, so it is not freed before the guard goes; and
        // a scaled hash is below the length.
        unsafe {
            let b = reciprocal_scale(hash, bucket::len(heads)) as usize;
            Bucket::at(heads, b)
        }
    }
}

/// The hash of a key, marked for its tag. This map knows marked hashes only: the mark can carry one over a bucket's border.
#[inline(always)]
fn hash_of<Q: Hash + ?Sized, S: BuildHasher>(build: &S, key: &Q) -> u64 {
    WideTag::mark(map::hash::hash_of(build, key))
}

impl<K: NoUninit + Hash, V: NoUninit, S: BuildHasher> InlineMap<K, V, S> {
    /// Finishes a running resize and frees what no reader can reach any more. A phase without writes does neither by itself.
    /// Returns whether nothing is left to do; a guard that stays alive can keep memory from being freed.
    ///
    /// ```
    /// let map: nulls::InlineMap<u64, u64> = (0..1000).map(|i| (i, i)).collect();
    /// assert!(map.maintain()?);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory to move a bucket; the map works on, and a later call goes on.
    pub fn maintain(&self) -> Result<bool, AllocError> {
        self.generations.maintain(&self.mover())
    }

    /// Shrinks the table to what its entries need, and finishes that before it returns.
    ///
    /// ```
    /// let map = nulls::InlineMap::<u64, u64>::with_capacity(10_000);
    /// map.shrink_to_fit()?;
    /// assert!(map.capacity() < 100);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory for the smaller table; the map is as before.
    pub fn shrink_to_fit(&self) -> Result<(), AllocError> {
        self.resize(buckets_for(self.len()))?;
        self.maintain().map(|_| ())
    }
}
