//! Making a map with limits.

use super::{DefaultHashBuilder, HashMap};
use crate::mem::AllocError;
use core::marker::PhantomData;

/// How a map shall be made. From [`HashMap::builder`].
///
/// ```
/// let map = nulls::HashMap::<u64, String>::builder()
///     .capacity(1000)
///     .max_entries(100_000)
///     .memory_limit(64 << 20)
///     .build();
/// assert!(map.capacity() >= 1000);
/// assert_eq!((map.max_entries(), map.memory_limit()), (Some(100_000), Some(64 << 20)));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing before `build`"]
pub struct HashMapBuilder<K, V, S = DefaultHashBuilder> {
    capacity: usize,
    max_entries: Option<usize>,
    memory_limit: Option<usize>,
    hasher: S,
    _entries: PhantomData<fn() -> (K, V)>,
}

impl<K, V> HashMap<K, V> {
    /// A builder: for maps with limits.
    ///
    /// ```
    /// let map = nulls::HashMap::builder().max_entries(2).build();
    /// let map = map.pin();
    /// map.insert("a", 1);
    /// map.insert("b", 2);
    /// assert!(map.try_insert("c", 3).is_err());
    /// map.remove("a");
    /// assert!(map.try_insert("c", 3).is_ok());
    /// ```
    pub fn builder() -> HashMapBuilder<K, V> {
        HashMapBuilder {
            capacity: 0,
            max_entries: None,
            memory_limit: None,
            hasher: DefaultHashBuilder::default(),
            _entries: PhantomData,
        }
    }
}

impl<K, V, S> HashMapBuilder<K, V, S> {
    /// Room for this many entries from the start.
    ///
    /// ```
    /// assert!(nulls::HashMap::<u8, u8>::builder().capacity(100).build().capacity() >= 100);
    /// ```
    pub fn capacity(mut self, entries: usize) -> Self {
        self.capacity = entries;
        self
    }

    /// Never more than this many entries. The limit is exact: it is tested under the lock of the bucket, and a removal makes
    /// room at once.
    ///
    /// ```
    /// let map = nulls::HashMap::<u8, u8>::builder().max_entries(1).build();
    /// map.pin().insert(1, 1);
    /// assert!(map.pin().try_insert(2, 2).is_err());
    /// ```
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// Never more than this many bytes for entries, removed ones that readers may still look at included, and for buckets, old
    /// and new during a resize. What keys and values own themselves is not counted, nor the lists of free slots: four bytes for each
    /// slot that is free, and never more than 512 KiB per processor.
    ///
    /// At the limit the table stops growing, and an insertion of a new entry, or of a new value for a key, frees what
    /// garbage it can and then fails with [`MemoryLimit`](super::InsertError::MemoryLimit). Removals always work. Memory
    /// for entries is kept for later ones, never given back, so that a removed entry makes room for another one once
    /// no reader can look at it any more.
    ///
    /// ```
    /// let map = nulls::HashMap::<u32, [u64; 8]>::builder().memory_limit(100_000).build();
    /// let inserted = (0..5000).take_while(|&i| map.pin().try_upsert(i, [0; 8]).is_ok()).count();
    /// assert!((500..1400).contains(&inserted), "{inserted}");
    /// assert!(map.stats().charged <= 100_000);
    /// ```
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Another hasher.
    ///
    /// ```
    /// use std::hash::RandomState;
    /// let map = nulls::HashMap::builder().hasher(RandomState::new()).build();
    /// map.pin().insert(1, 1);
    /// ```
    pub fn hasher<T>(self, hasher: T) -> HashMapBuilder<K, V, T> {
        HashMapBuilder {
            capacity: self.capacity,
            max_entries: self.max_entries,
            memory_limit: self.memory_limit,
            hasher,
            _entries: PhantomData,
        }
    }

    /// Makes the map.
    ///
    /// ```
    /// assert!(nulls::HashMap::<u8, u8>::builder().build().is_empty());
    /// ```
    ///
    /// # Panics
    /// When there is no memory for the capacity; see [`try_build`](Self::try_build).
    pub fn build(self) -> HashMap<K, V, S> {
        self.try_build().expect("memory for the map")
    }

    /// Makes the map.
    ///
    /// # Errors
    /// When there is no memory for the capacity, or the memory limit does not allow it.
    ///
    /// ```
    /// let huge = nulls::HashMap::<u64, u64>::builder().capacity(1 << 20).memory_limit(1 << 20);
    /// assert_eq!(huge.try_build().unwrap_err(), nulls::AllocError::MemoryLimit);
    /// ```
    pub fn try_build(self) -> Result<HashMap<K, V, S>, AllocError> {
        HashMap::try_with(
            self.capacity,
            self.max_entries,
            self.memory_limit,
            self.hasher,
        )
    }
}
