//! The map's operations.
//!
//! Each write has the same shape: look without a lock, do what the user's code does, then commit if nothing changed since
//! the look, else begin again. After the commit nothing but bookkeeping follows, so a panic in user code finds either
//! nothing changed or everything done.

use super::write::{NotInserted, Probe};
use super::{InlineInsertError, InlineIter, InlineMap, hash_of};
use crate::map::{DefaultHashBuilder, Equivalent};
use crate::mem::AllocError;
use crate::rcu::{AnyGuard, Guard};
use alloc::vec::Vec;
use bytemuck::NoUninit;
use core::hash::{BuildHasher, Hash};

/// An [`InlineMap`] under a guard: what its operations are methods of. Made by [`InlineMap::pin`].
///
/// Values are copies, so that nothing ties them to the view; a view that is kept for long delays the return of old
/// tables' memory, nothing else.
///
/// ```
/// let map = nulls::InlineMap::<u32, u32>::new();
/// let view: nulls::InlineMapRef<'_, u32, u32> = map.pin();
/// view.insert(1, 10);
/// assert_eq!(view.get(&1), Some(10));
/// ```
pub struct InlineMapRef<'m, K, V, S = DefaultHashBuilder, G = Guard> {
    map: &'m InlineMap<K, V, S>,
    guard: G,
}

impl<'m, K: NoUninit, V: NoUninit, S, G: AnyGuard> InlineMapRef<'m, K, V, S, G> {
    #[inline(always)]
    pub(super) fn new(map: &'m InlineMap<K, V, S>, guard: G) -> Self {
        Self { map, guard }
    }

    /// The map.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 1u8)]);
    /// assert_eq!(map.pin().map().len(), 1);
    /// ```
    pub fn map(&self) -> &'m InlineMap<K, V, S> {
        self.map
    }

    /// The guard.
    #[inline(always)]
    pub(super) fn guard(&self) -> &Guard {
        self.guard.as_guard()
    }

    /// Ends the section and begins a new one, for loops that never end. Does nothing while the thread has another guard.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 1u8)]);
    /// let mut view = map.pin();
    /// for _ in 0..3 {
    ///     assert_eq!(view.get(&1), Some(1));
    ///     view.refresh();
    /// }
    /// ```
    #[inline]
    pub fn refresh(&mut self) {
        self.guard.refresh_section();
    }

    /// As [`InlineMap::len`].
    ///
    /// ```
    /// assert_eq!(nulls::InlineMap::from([(1u8, 1u8)]).pin().len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// As [`InlineMap::is_empty`].
    ///
    /// ```
    /// assert!(nulls::InlineMap::<u8, u8>::new().pin().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

impl<K, V, S, G> InlineMapRef<'_, K, V, S, G>
where
    K: NoUninit + Hash + Eq,
    V: NoUninit,
    S: BuildHasher,
    G: AnyGuard,
{
    /// The key's value. Lock-free, and on average one look into the heads and, if the key is there, one at its slot.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 10u8)]);
    /// assert_eq!(map.pin().get(&1), Some(10));
    /// assert_eq!(map.pin().get(&2), None);
    /// ```
    #[inline(always)]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = hash_of(&self.map.hasher, key);
        self.map
            .find::<true>(self.guard(), hash, |k| key.equivalent(k))
    }

    /// Whether the key is there. Expects that it is not: [`get`](Self::get) fetches the slots ahead, this does not.
    ///
    /// ```
    /// assert!(nulls::InlineMap::from([(1u8, ())]).pin().contains_key(&1));
    /// ```
    #[inline(always)]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = hash_of(&self.map.hasher, key);
        self.map
            .find::<false>(self.guard(), hash, |k| key.equivalent(k))
            .is_some()
    }

    /// Looks up many keys at once, whose cache misses overlap: `found(i, value)` is called once for each, in order. Each
    /// look-up is atomic by itself.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 10u8), (2, 20)]);
    /// let mut found = [None; 3];
    /// map.pin().get_many(&[1, 2, 3], |i, value| found[i] = value);
    /// assert_eq!(found, [Some(10), Some(20), None]);
    /// ```
    pub fn get_many(&self, keys: &[K], mut found: impl FnMut(usize, Option<V>)) {
        /// Hashes are computed on the stack, a batch at a time.
        const BATCH: usize = 64;
        let mut hashes = [0; BATCH];
        for (c, keys) in keys.chunks(BATCH).enumerate() {
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = hash_of(&self.map.hasher, key);
            }
            self.map.find_many(
                self.guard(),
                &hashes[..keys.len()],
                |i, key| keys[i] == *key,
                |i, value| found(c * BATCH + i, value),
            );
        }
    }

    /// Inserts an entry or overwrites the value of one; returns the value before.
    ///
    /// # Panics
    /// When the map is full or there is no memory: see [`try_upsert`](Self::try_upsert).
    ///
    /// ```
    /// let map = nulls::InlineMap::<u8, u8>::new();
    /// assert_eq!(map.pin().insert(1, 10), None);
    /// assert_eq!(map.pin().insert(1, 11), Some(10));
    /// ```
    #[inline(always)]
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        match self.try_upsert(key, value) {
            Ok(old) => old,
            Err(e) => not_inserted(&e),
        }
    }

    /// As [`insert`](Self::insert), without a panic.
    ///
    /// # Errors
    /// [`Full`](InlineInsertError::Full) and [`Alloc`](InlineInsertError::Alloc), which a key that is there never meets.
    ///
    /// ```
    /// use nulls::{DefaultHashBuilder, InlineInsertError, InlineMap};
    /// let map = InlineMap::with_limit(0, 1, DefaultHashBuilder::default())?;
    /// assert_eq!(map.pin().try_upsert(1, 1), Ok(None));
    /// assert_eq!(map.pin().try_upsert(1, 2), Ok(Some(1)));
    /// assert_eq!(map.pin().try_upsert(2, 2), Err(InlineInsertError::Full));
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    #[inline(always)]
    pub fn try_upsert(&self, key: K, value: V) -> Result<Option<V>, InlineInsertError<V>> {
        let hash = hash_of(&self.map.hasher, &key);
        loop {
            let probe = self.probe(hash, &key);
            match probe.value() {
                Some(old) if self.overwrite(&probe, &value) => return Ok(Some(old)),
                Some(_) => {}
                None => {
                    if self.commit(&probe, &key, &value)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Inserts an entry whose key is not there.
    ///
    /// # Errors
    /// [`Occupied`](InlineInsertError::Occupied), [`Full`](InlineInsertError::Full), [`Alloc`](InlineInsertError::Alloc).
    ///
    /// ```
    /// use nulls::{InlineInsertError, InlineMap};
    /// let map = InlineMap::<u8, u8>::new();
    /// assert_eq!(map.pin().try_insert(1, 10), Ok(()));
    /// assert_eq!(map.pin().try_insert(1, 11), Err(InlineInsertError::Occupied { current: 10 }));
    /// ```
    #[inline(always)]
    pub fn try_insert(&self, key: K, value: V) -> Result<(), InlineInsertError<V>> {
        match self.get_or_try_insert_with(key, || value)? {
            (_, true) => Ok(()),
            (current, false) => Err(InlineInsertError::Occupied { current }),
        }
    }

    /// The key's value, after inserting this one if there was none.
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// let map = nulls::InlineMap::<u8, u8>::new();
    /// assert_eq!(map.pin().get_or_insert(1, 10), 10);
    /// assert_eq!(map.pin().get_or_insert(1, 11), 10);
    /// ```
    #[inline(always)]
    pub fn get_or_insert(&self, key: K, value: V) -> V {
        self.get_or_insert_with(key, || value)
    }

    /// The key's value, after inserting what `value` returns if there was none. It is called at most once, under no lock; what
    /// it returned is dropped if another thread inserts meanwhile.
    ///
    /// # Panics
    /// As [`insert`](Self::insert), and whatever `value` panics with.
    ///
    /// ```
    /// let map = nulls::InlineMap::<u8, u8>::new();
    /// assert_eq!(map.pin().get_or_insert_with(1, || 10), 10);
    /// assert_eq!(map.pin().get_or_insert_with(1, || unreachable!()), 10);
    /// ```
    #[inline(always)]
    pub fn get_or_insert_with(&self, key: K, value: impl FnOnce() -> V) -> V {
        match self.get_or_try_insert_with(key, value) {
            Ok((value, _)) => value,
            Err(e) => not_inserted(&e),
        }
    }

    /// The value that is there, and whether it is the one inserted now.
    #[inline(always)]
    fn get_or_try_insert_with(
        &self,
        key: K,
        value: impl FnOnce() -> V,
    ) -> Result<(V, bool), InlineInsertError<V>> {
        let hash = hash_of(&self.map.hasher, &key);
        let mut make = Some(value);
        let mut made = None;
        loop {
            let probe = self.probe(hash, &key);
            match probe.value_now() {
                Some(Some(value)) => return Ok((value, false)),
                Some(None) => {
                    let value = *made.get_or_insert_with(|| make.take().expect("called once")());
                    if self.commit(&probe, &key, &value)? {
                        return Ok((value, true));
                    }
                }
                None => {}
            }
        }
    }

    /// Overwrites the key's value with what `update` makes of it, and returns that. `update` is called again when the bucket
    /// changed meanwhile, also by another key; what counts is decided atomically. If `update` itself writes to the map in each
    /// call, and that changes the bucket, this never ends.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 10u8)]);
    /// assert_eq!(map.pin().update(&1, |v| v + 1), Some(11));
    /// assert_eq!(map.pin().update(&2, |v| v + 1), None);
    /// ```
    #[inline(always)]
    pub fn update<Q>(&self, key: &Q, mut update: impl FnMut(V) -> V) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = hash_of(&self.map.hasher, key);
        loop {
            let probe = self.probe(hash, key);
            match probe.value_now() {
                Some(Some(old)) => {
                    let new = update(old);
                    if self.overwrite(&probe, &new) {
                        return Some(new);
                    }
                }
                Some(None) => return None,
                None => {}
            }
        }
    }

    /// As [`update`](Self::update), or inserts `value` if the key is not there. Returns the value that is there now.
    ///
    /// # Panics
    /// As [`insert`](Self::insert), and whatever `update` panics with.
    ///
    /// ```
    /// let map = nulls::InlineMap::<u8, u8>::new();
    /// assert_eq!(map.pin().update_or_insert(1, |v| v + 1, 10), 10);
    /// assert_eq!(map.pin().update_or_insert(1, |v| v + 1, 10), 11);
    /// ```
    #[inline(always)]
    pub fn update_or_insert(&self, key: K, mut update: impl FnMut(V) -> V, value: V) -> V {
        let hash = hash_of(&self.map.hasher, &key);
        loop {
            let probe = self.probe(hash, &key);
            match probe.value_now() {
                Some(Some(old)) => {
                    let new = update(old);
                    if self.overwrite(&probe, &new) {
                        return new;
                    }
                }
                Some(None) => match self.commit(&probe, &key, &value) {
                    Ok(true) => return value,
                    Ok(false) => {}
                    Err(e) => not_inserted(&e),
                },
                None => {}
            }
        }
    }

    /// Overwrites the key's value with `new` if it is `current`, as one step. Returns the value before.
    ///
    /// # Errors
    /// The value that is there instead, `None` if the key is not.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 10u8)]);
    /// assert_eq!(map.pin().compare_exchange(&1, 10, 11), Ok(10));
    /// assert_eq!(map.pin().compare_exchange(&1, 10, 12), Err(Some(11)));
    /// assert_eq!(map.pin().compare_exchange(&2, 10, 12), Err(None));
    /// ```
    #[inline(always)]
    pub fn compare_exchange<Q>(&self, key: &Q, current: V, new: V) -> Result<V, Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: PartialEq,
    {
        let hash = hash_of(&self.map.hasher, key);
        loop {
            let probe = self.probe(hash, key);
            match probe.value_now() {
                Some(Some(now)) if now != current => return Err(Some(now)),
                Some(Some(now)) if self.overwrite(&probe, &new) => return Ok(now),
                Some(None) => return Err(None),
                Some(Some(_)) | None => {}
            }
        }
    }

    /// Removes the key and returns its value.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 10u8)]);
    /// assert_eq!(map.pin().remove(&1), Some(10));
    /// assert_eq!(map.pin().remove(&1), None);
    /// ```
    #[inline(always)]
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.remove_if(key, |_| true)
    }

    /// Removes the key if `condition` holds for its value, as one step, and returns the value. `condition` is called again
    /// when another thread changed the bucket meanwhile.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 10u8)]);
    /// assert_eq!(map.pin().remove_if(&1, |v| v > 10), None);
    /// assert_eq!(map.pin().remove_if(&1, |v| v == 10), Some(10));
    /// ```
    #[inline(always)]
    pub fn remove_if<Q>(&self, key: &Q, mut condition: impl FnMut(V) -> bool) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = hash_of(&self.map.hasher, key);
        loop {
            let probe = self.probe(hash, key);
            match probe.value_now() {
                Some(Some(old)) => {
                    if !condition(old) {
                        return None;
                    }
                    if let Some(written) = self.map.commit_remove(&probe) {
                        self.map.assist(self.guard(), written);
                        return Some(old);
                    }
                }
                Some(None) => return None,
                None => {}
            }
        }
    }

    /// Removes every entry for which `keep` does not hold. Entries that are inserted meanwhile may be asked about or not; each
    /// removal is atomic.
    ///
    /// ```
    /// let map: nulls::InlineMap<u32, u32> = (0..10).map(|i| (i, i)).collect();
    /// map.pin().retain(|_, v| v % 2 == 0);
    /// assert_eq!(map.len(), 5);
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(K, V) -> bool) {
        for (key, value) in self.iter() {
            if !keep(key, value) {
                // Asked again if the value is another one by now.
                let mut first = true;
                self.remove_if(&key, |now| {
                    let known = core::mem::take(&mut first)
                        && bytemuck::bytes_of(&now) == bytemuck::bytes_of(&value);
                    known || !keep(key, now)
                });
            }
        }
    }

    /// Removes everything, bucket by bucket: what is inserted meanwhile may stay.
    ///
    /// ```
    /// let map = nulls::InlineMap::from([(1u8, 1u8)]);
    /// map.pin().clear();
    /// assert!(map.is_empty());
    /// ```
    pub fn clear(&self) {
        let mut cursor = Some(0);
        while let Some(hash) = cursor {
            cursor = match self.map.clear_bucket(self.guard(), hash) {
                Some(end) => u64::try_from(end).ok(),
                None => self.clear_step(hash),
            };
        }
    }

    /// Removes one by one what a step of an iteration finds, and returns where the next one begins.
    #[cold]
    fn clear_step(&self, cursor: u64) -> Option<u64> {
        let mut entries = Vec::new();
        let next = self.map.step(self.guard(), cursor, &mut entries);
        for (key, _) in entries {
            self.remove(&key);
        }
        next
    }

    /// All entries, bucket by bucket in the order of hashes. What is in the map all the time is visited exactly once, whatever
    /// resizes happen meanwhile; what comes or goes meanwhile may be visited or not.
    ///
    /// ```
    /// let map: nulls::InlineMap<u32, u32> = (0..100).map(|i| (i, 2 * i)).collect();
    /// assert_eq!(map.pin().iter().map(|(_, v)| v).sum::<u32>(), 9900);
    /// ```
    pub fn iter(&self) -> InlineIter<'_, K, V, S> {
        InlineIter::new(self.map, self.guard())
    }

    /// As [`InlineMap::maintain`].
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// let map: nulls::InlineMap<u64, u64> = (0..1000).map(|i| (i, i)).collect();
    /// map.pin().maintain()?; // what the view's own guard protects stays
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn maintain(&self) -> Result<bool, AllocError> {
        self.map.maintain()
    }

    #[inline(always)]
    fn probe<Q>(&self, hash: u64, key: &Q) -> Probe<'_, K, V>
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.map.probe(self.guard(), hash, |k| key.equivalent(k))
    }

    /// Overwrites after a hit. False: the bucket has changed since.
    #[inline(always)]
    fn overwrite(&self, probe: &Probe<'_, K, V>, value: &V) -> bool {
        let written = probe.replace(value);
        written
            .map(|written| self.map.assist(self.guard(), written))
            .is_some()
    }

    /// Inserts after a miss. False: the bucket has changed since.
    #[inline(always)]
    fn commit(
        &self,
        probe: &Probe<'_, K, V>,
        key: &K,
        value: &V,
    ) -> Result<bool, InlineInsertError<V>> {
        match self.map.commit_insert(probe, key, value) {
            Ok(written) => {
                self.map.assist(self.guard(), written);
                Ok(true)
            }
            Err(NotInserted::Stale) => Ok(false),
            Err(NotInserted::Full) => Err(InlineInsertError::Full),
            Err(NotInserted::Alloc(e)) => Err(InlineInsertError::Alloc(e)),
        }
    }
}

impl<K, V, S, G: core::fmt::Debug> core::fmt::Debug for InlineMapRef<'_, K, V, S, G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("InlineMapRef")
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

#[cold]
#[inline(never)]
fn not_inserted<V>(e: &InlineInsertError<V>) -> ! {
    panic!("insert: {e}")
}
