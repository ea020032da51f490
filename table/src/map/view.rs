//! A map together with a guard: what most users work with.

use super::{DefaultHashBuilder, Equivalent, HashMap, Iter, TryInsertError};
use crate::raw::AllocError;
use crate::rcu::{self, Guard};
use core::fmt;
use core::hash::{BuildHasher, Hash};

/// A pinned view of a map, from [`HashMap::pin`]. References that its methods return live as long as the view.
///
/// Nothing deadlocks while a view is alive, other views and guards of the same thread included. Views belong to their
/// thread.
pub struct HashMapRef<'m, K, V, S = DefaultHashBuilder> {
    map: &'m HashMap<K, V, S>,
    guard: Guard,
}

impl<'m, K, V, S> HashMapRef<'m, K, V, S> {
    #[inline]
    pub(super) fn new(map: &'m HashMap<K, V, S>) -> Self {
        Self {
            map,
            guard: rcu::pin(),
        }
    }

    /// The map.
    pub fn map(&self) -> &'m HashMap<K, V, S> {
        self.map
    }

    /// Gives up every reference taken from this view, so that what was removed meanwhile can be freed, and goes on. For
    /// loops that keep one view for ever.
    pub fn refresh(&mut self) {
        self.guard.refresh();
    }

    /// See [`HashMap::len`].
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// See [`HashMap::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> HashMapRef<'_, K, V, S> {
    /// The value of `key`. Lock-free; writes no shared memory.
    #[inline(always)]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.get_with(key, &self.guard)
    }

    /// The key as it is in the map, and its value. Lock-free.
    #[inline(always)]
    pub fn get_key_value<Q>(&self, key: &Q) -> Option<(&K, &V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.get_key_value_with(key, &self.guard)
    }

    /// Whether `key` is in the map. Lock-free.
    #[inline(always)]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.get(key).is_some()
    }

    /// Looks up several keys at once and calls `found(i, value)` for each, in order. The cache misses of a batch
    /// overlap, so that in large maps this costs a fraction of as many [`get`](Self::get)s.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// map.insert(1, "one");
    /// map.insert(3, "three");
    /// let mut values = Vec::new();
    /// map.get_many(&[&1, &2, &3], |_, v| values.push(v.copied()));
    /// assert_eq!(values, [Some("one"), None, Some("three")]);
    /// ```
    pub fn get_many<'g, Q>(&'g self, keys: &[&Q], found: impl FnMut(usize, Option<&'g V>))
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.get_many_with(keys, &self.guard, found);
    }

    /// Inserts or replaces. Returns the value that was replaced; its key is replaced too.
    ///
    /// Linearizes at one store, so that no reader finds neither value. Locks one bucket for a few stores.
    ///
    /// # Panics
    /// When the map is limited and full, or there is no memory; the map is as before. See
    /// [`try_insert`](Self::try_insert).
    pub fn insert(&self, key: K, value: V) -> Option<&V> {
        self.map.insert_with(key, value, &self.guard)
    }

    /// Inserts if the key is not there.
    ///
    /// # Errors
    /// [`TryInsertError`] says what was in the way and gives key and value back.
    pub fn try_insert(&self, key: K, value: V) -> Result<&V, TryInsertError<'_, K, V>> {
        self.map.try_insert_with(key, value, &self.guard)
    }

    /// The value of `key`, inserted if it is not there. `value` is called at most once, without a lock, and may use the
    /// map; if another thread inserts the key meanwhile, that value stays and is returned.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn get_or_insert_with(&self, key: K, value: impl FnOnce() -> V) -> &V {
        self.map.get_or_insert_with_with(key, value, &self.guard)
    }

    /// Replaces the value of `key` by what `update` makes of it, atomically: if the entry is replaced meanwhile, `update`
    /// is called again with what is there then. Returns the new value, or `None` if the key is not there.
    ///
    /// `update` runs without a lock and may use the map, also for the same key; but one that replaces the same key in
    /// every call outruns itself for ever.
    ///
    /// # Panics
    /// When there is no memory.
    pub fn update<Q>(&self, key: &Q, update: impl FnMut(&V) -> V) -> Option<&V>
    where
        K: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.update_with(key, update, &self.guard)
    }

    /// Removes `key` and returns its value, which stays readable as long as this view.
    pub fn remove<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.remove_with(key, &self.guard)
    }

    /// Removes `key` and returns key and value, which stay readable as long as this view.
    pub fn remove_entry<Q>(&self, key: &Q) -> Option<(&K, &V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.remove_entry_with(key, &self.guard)
    }

    /// Iterates in the order of hashes, lock-free. Entries that stay in the map the whole time are visited exactly
    /// once, whatever resizes happen; those that come or go meanwhile may be visited or not.
    pub fn iter(&self) -> Iter<'_, K, V, S> {
        self.map.iter_with(&self.guard)
    }

    /// Removes every entry that is there throughout the call. Not atomic: entries inserted meanwhile may stay.
    pub fn clear(&self) {
        self.map.clear_with(&self.guard);
    }

    /// See [`HashMap::maintain`]. What this view protects stays.
    ///
    /// # Errors
    /// See [`HashMap::maintain`].
    pub fn maintain(&self) -> Result<bool, AllocError> {
        self.map.maintain()
    }
}

impl<'a, K: Hash + Eq, V, S: BuildHasher> IntoIterator for &'a HashMapRef<'_, K, V, S> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: fmt::Debug + Hash + Eq, V: fmt::Debug, S: BuildHasher> fmt::Debug
    for HashMapRef<'_, K, V, S>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}
