//! A map together with a guard: what most users work with.

use super::error::InsertError;
use super::{
    Compute, DefaultHashBuilder, Drain, Entry, EntryRef, Equivalent, HashMap, Iter, Keys,
    Operation, TryInsertError, Values,
};
use crate::raw::AllocError;
use crate::rcu::{self, AnyGuard, Guard};
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::ops::RangeBounds;

/// A pinned view of a map, from [`HashMap::pin`]. References that its methods return live as long as the view.
///
/// Nothing deadlocks while a view is alive, other views and guards of the same thread included. Views belong to their
/// thread, except those with an [`OwnedGuard`](crate::rcu::OwnedGuard), from [`HashMap::pin_owned`], which may be sent and shared.
///
/// ```
/// let map = nulls::HashMap::new();
/// let view = map.pin();
/// view.insert("a", 1);
/// let seen = view.get("a");
/// map.pin().remove("a");
/// assert_eq!((seen, view.get("a")), (Some(&1), None));
/// ```
pub struct HashMapRef<'m, K, V, S = DefaultHashBuilder, G = Guard> {
    map: &'m HashMap<K, V, S>,
    guard: G,
}

impl<'m, K, V, S> HashMapRef<'m, K, V, S> {
    #[inline]
    pub(super) fn new(map: &'m HashMap<K, V, S>) -> Self {
        Self {
            map,
            guard: rcu::pin(),
        }
    }
}

impl<'m, K, V, S, G: AnyGuard> HashMapRef<'m, K, V, S, G> {
    #[inline]
    pub(super) fn with_guard(map: &'m HashMap<K, V, S>, guard: G) -> Self {
        Self { map, guard }
    }

    #[inline(always)]
    fn pinned(&self) -> &Guard {
        self.guard.as_guard()
    }

    /// The map.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 1)]);
    /// assert_eq!(map.pin().map().len(), 1);
    /// ```
    pub fn map(&self) -> &'m HashMap<K, V, S> {
        self.map
    }

    /// The guard, for the `*_with` methods of this map and others.
    ///
    /// ```
    /// let (map, other) = (nulls::HashMap::from([(1, 2)]), nulls::HashMap::from([(2, 3)]));
    /// let view = map.pin();
    /// assert_eq!(view.get(&1).and_then(|k| other.get_with(k, view.guard())), Some(&3));
    /// ```
    pub fn guard(&self) -> &Guard {
        self.pinned()
    }

    /// Gives up every reference taken from this view, so that what was removed meanwhile can be freed, and goes on. For
    /// loops that keep one view for ever.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 0)]);
    /// let mut view = map.pin();
    /// for packet in 0..100 {
    ///     view.update(&1, |n| n + packet);
    ///     view.refresh();
    /// }
    /// assert_eq!(view.get(&1), Some(&4950));
    /// ```
    pub fn refresh(&mut self) {
        self.guard.refresh_section();
    }

    /// See [`HashMap::len`].
    ///
    /// ```
    /// assert_eq!(nulls::HashMap::from([(1, 1)]).pin().len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// See [`HashMap::is_empty`].
    ///
    /// ```
    /// assert!(!nulls::HashMap::from([(1, 1)]).pin().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

/// Looking up.
impl<K: Hash + Eq, V, S: BuildHasher, G: AnyGuard> HashMapRef<'_, K, V, S, G> {
    /// The value of `key`. Lock-free; writes no shared memory.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(String::from("ada"), 1815)]);
    /// assert_eq!(map.pin().get("ada"), Some(&1815));
    /// ```
    #[inline(always)]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.get_with(key, self.pinned())
    }

    /// The key as it is in the map, and its value. Lock-free.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(String::from("ada"), 1815)]);
    /// assert_eq!(map.pin().get_key_value("ada"), Some((&"ada".to_string(), &1815)));
    /// ```
    #[inline(always)]
    pub fn get_key_value<Q>(&self, key: &Q) -> Option<(&K, &V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.get_key_value_with(key, self.pinned())
    }

    /// Whether `key` is in the map. Lock-free.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("ada", 1815)]);
    /// assert!(map.pin().contains_key("ada"));
    /// ```
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
        self.map.get_many_with(keys, self.pinned(), found);
    }
}

/// Inserting and changing.
impl<K: Hash + Eq, V, S: BuildHasher, G: AnyGuard> HashMapRef<'_, K, V, S, G> {
    /// Inserts or replaces. Returns the value that was replaced; its key is replaced too.
    ///
    /// Linearizes at one store, so that no reader finds neither value. Locks one bucket for a few stores.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// assert_eq!(map.insert("a", 1), None);
    /// assert_eq!(map.insert("a", 2), Some(&1));
    /// ```
    ///
    /// # Panics
    /// When the map is limited and full, or there is no memory; the map is as before. See
    /// [`try_upsert`](Self::try_upsert).
    pub fn insert(&self, key: K, value: V) -> Option<&V> {
        self.map.insert_with(key, value, self.pinned())
    }

    /// As [`insert`](Self::insert), for maps that may be full.
    ///
    /// # Errors
    /// [`InsertError`] says what was in the way and gives key and value back.
    ///
    /// ```
    /// use nulls::InsertError;
    /// let map = nulls::HashMap::builder().max_entries(1).build();
    /// let map = map.pin();
    /// assert_eq!(map.try_upsert("a", 1), Ok(None));
    /// assert_eq!(map.try_upsert("a", 2), Ok(Some(&1)));
    /// assert!(matches!(map.try_upsert("b", 3), Err(InsertError::Full { .. })));
    /// ```
    pub fn try_upsert(&self, key: K, value: V) -> Result<Option<&V>, InsertError<K, V>> {
        self.map.try_upsert_with(key, value, self.pinned())
    }

    /// Inserts if the key is not there.
    ///
    /// # Errors
    /// [`TryInsertError`] says what was in the way and gives key and value back.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// assert_eq!(map.try_insert("a", 1), Ok(&1));
    /// assert_eq!(map.try_insert("a", 2).unwrap_err().to_string(), "the key is in the map already");
    /// ```
    pub fn try_insert(&self, key: K, value: V) -> Result<&V, TryInsertError<'_, K, V>> {
        self.map.try_insert_with(key, value, self.pinned())
    }

    /// The value of `key`, inserted if it is not there. See [`get_or_insert_with`](Self::get_or_insert_with).
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// assert_eq!(map.pin().get_or_insert("a", 1), &1);
    /// assert_eq!(map.pin().get_or_insert("a", 2), &1);
    /// ```
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn get_or_insert(&self, key: K, value: V) -> &V {
        self.get_or_insert_with(key, || value)
    }

    /// The value of `key`, inserted if it is not there. `value` is called at most once, without a lock, and may use the
    /// map; if another thread inserts the key meanwhile, that value stays and is returned.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// assert_eq!(map.get_or_insert_with("a", || 1), &1);
    /// assert_eq!(map.get_or_insert_with("a", || unreachable!()), &1);
    /// ```
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn get_or_insert_with(&self, key: K, value: impl FnOnce() -> V) -> &V {
        self.map.get_or_insert_with_with(key, value, self.pinned())
    }

    /// Replaces the value of `key` by what `update` makes of it, atomically: if the entry is replaced meanwhile, `update`
    /// is called again with what is there then. Returns the new value, or `None` if the key is not there.
    ///
    /// `update` runs without a lock and may use the map, also for the same key; but one that replaces the same key in
    /// every call outruns itself for ever.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// assert_eq!(map.update("a", |v| v + 1), Some(&2));
    /// assert_eq!(map.update("b", |v| v + 1), None);
    /// ```
    ///
    /// # Panics
    /// When there is no memory.
    pub fn update<Q>(&self, key: &Q, update: impl FnMut(&V) -> V) -> Option<&V>
    where
        K: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.update_with(key, update, self.pinned())
    }

    /// As [`update`](Self::update), and inserts `value` if the key is not there. Returns the value that the key has then.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// assert_eq!(map.update_or_insert("a", |n| n + 1, 1), &1);
    /// assert_eq!(map.update_or_insert("a", |n| n + 1, 1), &2);
    /// ```
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn update_or_insert(&self, key: K, update: impl FnMut(&V) -> V, value: V) -> &V {
        self.update_or_insert_with(key, update, || value)
    }

    /// As [`update_or_insert`](Self::update_or_insert), with a value that is made, at most once, when the key is not there.
    /// Neither closure runs under a lock.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// assert_eq!(map.update_or_insert_with("a", |n| n + 1, || 40 + 2), &42);
    /// ```
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn update_or_insert_with(
        &self,
        key: K,
        update: impl FnMut(&V) -> V,
        make: impl FnOnce() -> V,
    ) -> &V {
        self.map
            .update_or_insert_with_with(key, update, make, self.pinned())
    }

    /// Looks at `key`'s entry and decides what becomes of it: insert, replace, remove, or nothing. Atomic: the decision is
    /// carried out only if the entry is still the one that was looked at; else `decide` is called again with what is there then.
    ///
    /// `decide` runs without a lock and may use the map, also for the same key; but one that writes to the same key in every
    /// call outruns itself for ever. A replaced entry's key is replaced by `key`.
    ///
    /// ```
    /// use nulls::{Compute, Operation};
    /// let stock = nulls::HashMap::from([("bolt", 2)]);
    /// let stock = stock.pin();
    /// let take_one = || stock.compute("bolt", |seen| match seen {
    ///     None | Some((_, 0)) => Operation::Abort("sold out"),
    ///     Some((_, 1)) => Operation::Remove,
    ///     Some((_, n)) => Operation::Insert(n - 1),
    /// });
    /// assert!(matches!(take_one(), Compute::Updated { new: (_, 1), .. }));
    /// assert_eq!(take_one(), Compute::Removed(&"bolt", &1));
    /// assert_eq!(take_one(), Compute::Aborted("sold out"));
    /// ```
    ///
    /// # Panics
    /// As [`insert`](Self::insert); see [`try_compute`](Self::try_compute).
    pub fn compute<'g, A>(
        &'g self,
        key: K,
        decide: impl FnMut(Option<(&'g K, &'g V)>) -> Operation<V, A>,
    ) -> Compute<'g, K, V, A> {
        self.map.compute_with(key, decide, self.pinned())
    }

    /// As [`compute`](Self::compute), with a key that is made only when something is inserted.
    ///
    /// ```
    /// use nulls::{Compute, Operation};
    /// let map: nulls::HashMap<String, u32> = nulls::HashMap::new();
    /// let map = map.pin();
    /// let done = map.compute_ref("a", |_| Operation::<_, ()>::Insert(1));
    /// assert_eq!(done, Compute::Inserted(&"a".to_string(), &1));
    /// ```
    ///
    /// # Panics
    /// As [`compute`](Self::compute).
    pub fn compute_ref<'g, 'q, Q, A>(
        &'g self,
        key: &'q Q,
        decide: impl FnMut(Option<(&'g K, &'g V)>) -> Operation<V, A>,
    ) -> Compute<'g, K, V, A>
    where
        K: From<&'q Q>,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.compute_ref_with(key, decide, self.pinned())
    }

    /// As [`compute`](Self::compute), for maps that may be full.
    ///
    /// # Errors
    /// [`InsertError`] says what was in the way and gives key and value back.
    ///
    /// ```
    /// use nulls::{InsertError, Operation};
    /// let map = nulls::HashMap::builder().max_entries(0).build();
    /// let map = map.pin();
    /// let full = map.try_compute("a", |_| Operation::<_, ()>::Insert(1));
    /// assert_eq!(full, Err(InsertError::Full { key: "a", value: 1 }));
    /// ```
    pub fn try_compute<'g, A>(
        &'g self,
        key: K,
        decide: impl FnMut(Option<(&'g K, &'g V)>) -> Operation<V, A>,
    ) -> Result<Compute<'g, K, V, A>, InsertError<K, V>> {
        self.map.try_compute_with(key, decide, self.pinned())
    }

    /// A look at a key, with the operations that hang on what was seen. See [`Entry`].
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// map.entry("a").or_insert(1);
    /// map.entry("a").and_modify(|v| v + 1).or_insert(1);
    /// assert_eq!(map.get("a"), Some(&2));
    /// ```
    pub fn entry(&self, key: K) -> Entry<'_, K, V, S> {
        self.map.entry_with(key, self.pinned())
    }

    /// As [`entry`](Self::entry), with a key that is made only when it is inserted.
    ///
    /// ```
    /// let map: nulls::HashMap<String, u32> = nulls::HashMap::new();
    /// let map = map.pin();
    /// for word in ["a", "b", "a"] {
    ///     map.entry_ref(word).and_modify(|n| n + 1).or_insert(1);
    /// }
    /// assert_eq!(map.get("a"), Some(&2));
    /// ```
    pub fn entry_ref<'q, Q>(&self, key: &'q Q) -> EntryRef<'_, 'q, K, Q, V, S>
    where
        K: From<&'q Q>,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.entry_ref_with(key, self.pinned())
    }
}

/// Removing.
impl<K: Hash + Eq, V, S: BuildHasher, G: AnyGuard> HashMapRef<'_, K, V, S, G> {
    /// Removes `key` and returns its value, which stays readable as long as this view.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// assert_eq!(map.pin().remove("a"), Some(&1));
    /// assert!(map.is_empty());
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.remove_with(key, self.pinned())
    }

    /// Removes `key` and returns key and value, which stay readable as long as this view.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// assert_eq!(map.pin().remove_entry("a"), Some((&"a", &1)));
    /// ```
    pub fn remove_entry<Q>(&self, key: &Q) -> Option<(&K, &V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.remove_entry_with(key, self.pinned())
    }

    /// Removes `key`'s entry if `condition` holds of it, atomically: if the entry is replaced meanwhile, `condition` is asked
    /// again. It runs without a lock and may use the map.
    ///
    /// A value that changes in place (an atomic) may change after `condition` looked at it.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// assert_eq!(map.remove_if("a", |_, v| *v > 1), None);
    /// assert_eq!(map.remove_if("a", |_, v| *v == 1), Some((&"a", &1)));
    /// ```
    pub fn remove_if<Q>(&self, key: &Q, condition: impl FnMut(&K, &V) -> bool) -> Option<(&K, &V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.remove_if_with(key, condition, self.pinned())
    }

    /// Removes `key`'s entry if its value equals `value`.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// assert_eq!(map.remove_value("a", &2), None);
    /// assert_eq!(map.remove_value("a", &1), Some((&"a", &1)));
    /// ```
    pub fn remove_value<Q>(&self, key: &Q, value: &V) -> Option<(&K, &V)>
    where
        V: PartialEq,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.remove_value_with(key, value, self.pinned())
    }

    /// Removes `key`'s entry if it is the very one that `seen` refers to, not one that has replaced it since.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// let old = map.get("a").unwrap();
    /// map.insert("a", 1);
    /// assert_eq!(map.remove_same("a", old), None, "another entry, though equal");
    /// assert!(map.remove_same("a", map.get("a").unwrap()).is_some());
    /// ```
    pub fn remove_same<Q>(&self, key: &Q, seen: &V) -> Option<(&K, &V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.remove_same_with(key, seen, self.pinned())
    }

    /// Removes every entry of which `keep` does not hold. Not atomic as a whole: entries inserted meanwhile may be left out, and
    /// one that is replaced after `keep` saw it stays.
    ///
    /// ```
    /// let map: nulls::HashMap<_, _> = (0..10).map(|i| (i, i)).collect();
    /// map.pin().retain(|_, v| v % 2 == 0);
    /// assert_eq!(map.len(), 5);
    /// ```
    pub fn retain(&self, keep: impl FnMut(&K, &V) -> bool) {
        self.map.retain_with(keep, self.pinned());
    }

    /// Removes every entry that is there throughout the call, and yields each as it is removed. Dropping the iterator removes
    /// the rest.
    ///
    /// ```
    /// let map: nulls::HashMap<_, _> = (0..10).map(|i| (i, i)).collect();
    /// let map = map.pin();
    /// assert_eq!(map.drain().count(), 10);
    /// assert!(map.is_empty());
    /// ```
    pub fn drain(&self) -> Drain<'_, K, V, S> {
        self.map.drain_with(self.pinned())
    }

    /// Removes every entry that is there throughout the call. Not atomic: entries inserted meanwhile may stay.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// map.pin().clear();
    /// assert!(map.is_empty());
    /// ```
    pub fn clear(&self) {
        self.map.clear_with(self.pinned());
    }
}

/// Iterating.
impl<K: Hash + Eq, V, S: BuildHasher, G: AnyGuard> HashMapRef<'_, K, V, S, G> {
    /// Iterates in the order of hash intervals, lock-free. Entries that stay in the map the whole time are visited exactly
    /// once, whatever resizes happen; those that come or go meanwhile may be visited or not.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1), ("b", 2)]);
    /// assert_eq!(map.pin().iter().map(|(_, v)| v).sum::<i32>(), 3);
    /// ```
    pub fn iter(&self) -> Iter<'_, K, V, S> {
        self.map.iter_with(self.pinned())
    }

    /// Iterates over the keys. As [`iter`](Self::iter).
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1), ("b", 2)]);
    /// assert_eq!(map.pin().keys().map(|k| k.len()).sum::<usize>(), 2);
    /// ```
    pub fn keys(&self) -> Keys<'_, K, V, S> {
        Keys::new(self.iter())
    }

    /// Iterates over the values. As [`iter`](Self::iter).
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1), ("b", 2)]);
    /// assert_eq!(map.pin().values().max(), Some(&2));
    /// ```
    pub fn values(&self) -> Values<'_, K, V, S> {
        Values::new(self.iter())
    }

    /// Iterates over the entries whose *hashes* lie in an interval, see [`HashMap::hash_of`]. Intervals that tile the hash space
    /// tile the map: that is how work is split among threads, or a walk into steps.
    ///
    /// ```
    /// let map: nulls::HashMap<_, _> = (0..1000).map(|i| (i, i)).collect();
    /// let map = map.pin();
    /// let half = 1 << 63;
    /// let (low, high) = (map.range(..half).count(), map.range(half..).count());
    /// assert_eq!(low + high, 1000);
    /// assert!(low > 400 && high > 400);
    /// ```
    pub fn range(&self, hashes: impl RangeBounds<u64>) -> Iter<'_, K, V, S> {
        self.map.range_with(hashes, self.pinned())
    }

    /// Visits at least `count` entries from the cursor `from` on, unless fewer are left, and returns the cursor to go on from,
    /// `None` after the last. Begin with 0.
    ///
    /// A cursor is a number that may be kept for as long as one likes, without a guard and across resizes: what is in the map
    /// from the first call to the last is visited exactly once. It has a meaning for this map only, as the hasher is keyed.
    /// Some more than `count` are visited, because a bucket, and a group of equal hashes, is never split.
    ///
    /// ```
    /// let map: nulls::HashMap<_, _> = (0..1000).map(|i| (i, i)).collect();
    /// let (mut cursor, mut sum) = (Some(0), 0);
    /// while let Some(from) = cursor {
    ///     cursor = map.pin().scan(from, 100, |_, v| sum += v);
    ///     map.resize(1 + sum % 500)?; // whatever happens in between
    /// }
    /// assert_eq!(sum, 499_500);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn scan<'g>(
        &'g self,
        from: u64,
        count: usize,
        visit: impl FnMut(&'g K, &'g V),
    ) -> Option<u64> {
        self.map.scan_with(from, count, visit, self.pinned())
    }

    /// See [`HashMap::maintain`]. What this view protects stays.
    ///
    /// # Errors
    /// See [`HashMap::maintain`].
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// map.pin().maintain()?;
    /// assert!(!map.is_resizing());
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn maintain(&self) -> Result<bool, AllocError> {
        self.map.maintain()
    }
}

impl<'a, K: Hash + Eq, V, S: BuildHasher, G: AnyGuard> IntoIterator
    for &'a HashMapRef<'_, K, V, S, G>
{
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: fmt::Debug + Hash + Eq, V: fmt::Debug, S: BuildHasher, G: AnyGuard> fmt::Debug
    for HashMapRef<'_, K, V, S, G>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}
