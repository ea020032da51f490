//! `entry`: a look at a key that remembers what it saw, with the operations that hang on it.
//!
//! An entry here is a look, not a lock: it holds nothing, other threads go on, and its commits succeed only if the key is
//! still as it was seen. So the forms that can always succeed (`or_insert` and its like) are as in `std`, and those that
//! say "this very entry" return a `Result`.

#![allow(
    clippy::result_large_err,
    reason = "an error here is an entry, to go on with"
)]

use super::error::{InsertError, TryInsertError, refuse};
use super::key::{ByRef, ByValue, CloneKey, Key, private};
use super::{DefaultHashBuilder, Equivalent, HashMap, hash::hash_of};
use crate::mem::AllocError;
use crate::raw::{self, Probe};
use crate::rcu::Guard;
use core::fmt;
use core::hash::{BuildHasher, Hash};

/// What a key looked like when [`entry`](super::HashMapRef::entry) was called.
///
/// It holds no lock: between the look and what is done with it other threads, and this one, may change the map.
/// [`or_insert`](Self::or_insert) and its like then return what they find; [`OccupiedEntry::insert`],
/// [`OccupiedEntry::remove`] and [`VacantEntry::insert`] do nothing and say so.
///
/// ```
/// use nulls::Entry;
/// let map = nulls::HashMap::new();
/// let map = map.pin();
/// for word in "the quick brown fox jumps over the lazy dog".split(' ') {
///     map.entry(word).and_modify(|n| n + 1).or_insert(1);
/// }
/// assert_eq!(map.get("the"), Some(&2));
/// match map.entry("fox") {
///     Entry::Occupied(seen) => assert_eq!(seen.remove().ok(), Some(&1)),
///     Entry::Vacant(_) => unreachable!(),
/// }
/// ```
pub enum Entry<'g, K, V, S = DefaultHashBuilder, B = ByValue<K>> {
    /// The key was there.
    Occupied(OccupiedEntry<'g, K, V, S, B>),
    /// The key was not there.
    Vacant(VacantEntry<'g, K, V, S, B>),
}

/// As [`Entry`], with a key passed by reference and made only when it is inserted.
/// From [`entry_ref`](super::HashMapRef::entry_ref).
///
/// ```
/// let map = nulls::HashMap::<String, i32>::new();
/// let map = map.pin();
/// let entry: nulls::EntryRef<String, str, i32> = map.entry_ref("a");
/// assert_eq!(entry.or_insert(1), &1);
/// ```
pub type EntryRef<'g, 'q, K, Q, V, S = DefaultHashBuilder> = Entry<'g, K, V, S, ByRef<'q, Q>>;

/// An entry that was in the map.
///
/// ```
/// use nulls::Entry;
/// let map = nulls::HashMap::from([("a", 1)]);
/// let map = map.pin();
/// let Entry::Occupied(seen) = map.entry("a") else { unreachable!() };
/// assert_eq!((seen.key(), seen.get()), (&"a", &1));
/// assert_eq!(seen.insert(2).unwrap(), &2);
/// ```
pub struct OccupiedEntry<'g, K, V, S = DefaultHashBuilder, B = ByValue<K>> {
    look: Look<'g, K, V, S, B>,
    handle: u32,
}

/// A place in the map where a key was not.
///
/// ```
/// use nulls::Entry;
/// let map = nulls::HashMap::new();
/// let map = map.pin();
/// let Entry::Vacant(gap) = map.entry("a") else { unreachable!() };
/// assert_eq!(gap.insert(1).unwrap(), &1);
/// ```
pub struct VacantEntry<'g, K, V, S = DefaultHashBuilder, B = ByValue<K>> {
    look: Look<'g, K, V, S, B>,
}

/// A look at a key, and the key.
struct Look<'g, K, V, S, B, P = Probe<'g>> {
    map: &'g HashMap<K, V, S>,
    guard: &'g Guard,
    hash: u64,
    key: B,
    probe: P,
}

/// Why [`OccupiedEntry::insert`] did not replace the entry, what the key looks like now, and the value, which comes back.
///
/// ```
/// use nulls::Entry;
/// let map = nulls::HashMap::from([("a", 1)]);
/// let map = map.pin();
/// let Entry::Occupied(entry) = map.entry("a") else { unreachable!() };
/// map.insert("a", 2);
/// let Err(not) = entry.insert(3) else { unreachable!() };
/// assert_eq!((not.value, not.reason), (3, None));
/// ```
pub struct NotReplaced<'g, K, V, S = DefaultHashBuilder, B = ByValue<K>> {
    /// The key as it is now.
    pub entry: Entry<'g, K, V, S, B>,
    /// The value that was not inserted.
    pub value: V,
    /// `None`: the entry was replaced or removed since it was seen. Else there was no memory.
    pub reason: Option<AllocError>,
}

impl<K: Hash + Eq, V, S: BuildHasher> HashMap<K, V, S> {
    pub(super) fn entry_by<'g, B: Key<K>>(
        &'g self,
        key: B,
        guard: &'g Guard,
    ) -> Entry<'g, K, V, S, B> {
        Look {
            map: self,
            guard,
            hash: hash_of(&self.hasher, key.query()),
            key,
            probe: (),
        }
        .again()
    }

    /// As [`HashMapRef::entry`](super::HashMapRef::entry).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.entry_with(3, &guard).or_insert(30), &30);
    /// ```
    pub fn entry_with<'g>(&'g self, key: K, guard: &'g Guard) -> Entry<'g, K, V, S> {
        self.entry_by(ByValue(key), guard)
    }

    /// As [`HashMapRef::entry_ref`](super::HashMapRef::entry_ref).
    ///
    /// ```
    /// let map = nulls::HashMap::<String, i32>::new();
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.entry_ref_with("a", &guard).or_insert(1), &1);
    /// ```
    pub fn entry_ref_with<'g, 'q, Q>(
        &'g self,
        key: &'q Q,
        guard: &'g Guard,
    ) -> EntryRef<'g, 'q, K, Q, V, S>
    where
        K: From<&'q Q>,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.entry_by(ByRef(key), guard)
    }
}

impl<'g, K: Hash + Eq, V, S: BuildHasher, B: Key<K>> Look<'g, K, V, S, B, ()> {
    /// A probe for the key.
    fn probe(&self) -> Probe<'g> {
        self.map.probe(self.hash, self.key.query(), self.guard)
    }

    /// Looks.
    fn again(self) -> Entry<'g, K, V, S, B> {
        let probe = self.probe();
        self.with(probe).settle()
    }

    fn value(&self, x: u32) -> &'g V {
        self.map.entry_of(x, self.guard).1
    }
}

impl<'g, K, V, S, B> Look<'g, K, V, S, B, ()> {
    fn with(self, probe: Probe<'g>) -> Look<'g, K, V, S, B> {
        let Self {
            map,
            guard,
            hash,
            key,
            probe: (),
        } = self;
        Look {
            map,
            guard,
            hash,
            key,
            probe,
        }
    }
}

impl<'g, K, V, S, B> Look<'g, K, V, S, B> {
    /// The probe, and the rest.
    fn open(self) -> (Probe<'g>, Look<'g, K, V, S, B, ()>) {
        let Self {
            map,
            guard,
            hash,
            key,
            probe,
        } = self;
        let rest = Look {
            map,
            guard,
            hash,
            key,
            probe: (),
        };
        (probe, rest)
    }

    /// The entry that the probe shows.
    fn settle(self) -> Entry<'g, K, V, S, B> {
        match self.probe.hit() {
            Some(handle) => Entry::Occupied(OccupiedEntry { look: self, handle }),
            None => Entry::Vacant(VacantEntry { look: self }),
        }
    }
}

impl<'g, K: Hash + Eq, V, S: BuildHasher, B: Key<K>> Entry<'g, K, V, S, B> {
    /// The key that was looked up.
    ///
    /// ```
    /// let map: nulls::HashMap<&str, u32> = nulls::HashMap::new();
    /// assert_eq!(map.pin().entry("a").key(), &"a");
    /// ```
    ///
    /// ```
    /// use nulls::Entry;
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// let Entry::Occupied(entry) = map.entry("a") else { unreachable!() };
    /// assert_eq!(entry.key(), &"a");
    /// ```
    pub fn key(&self) -> &<B as private::Key<K>>::Query {
        match self {
            Self::Occupied(e) => e.look.key.query(),
            Self::Vacant(e) => e.look.key.query(),
        }
    }

    /// The value that was seen, or else the one that the key has now, inserted if it is not there.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// assert_eq!(map.entry("a").or_insert(1), &1);
    /// assert_eq!(map.entry("a").or_insert(2), &1);
    /// ```
    ///
    /// # Panics
    /// When the map is limited and full, or there is no memory; see [`VacantEntry::insert`].
    pub fn or_insert(self, value: V) -> &'g V {
        self.or_insert_with(|| value)
    }

    /// As [`or_insert`](Self::or_insert), with a value that is made only if the key was not seen. `make` runs without a
    /// lock and may use the map; if the key is inserted meanwhile, that value stays and is returned.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// assert_eq!(map.entry("a").or_insert_with(|| "made".to_string()), "made");
    /// ```
    ///
    /// # Panics
    /// As [`or_insert`](Self::or_insert).
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'g V {
        self.or_insert_with_key(|_| make())
    }

    /// As [`or_insert_with`](Self::or_insert_with), with the key at hand.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// assert_eq!(map.entry("four").or_insert_with_key(|key| key.len()), &4);
    /// ```
    ///
    /// # Panics
    /// As [`or_insert`](Self::or_insert).
    pub fn or_insert_with_key(
        self,
        make: impl FnOnce(&<B as private::Key<K>>::Query) -> V,
    ) -> &'g V {
        match self {
            Self::Occupied(e) => e.get(),
            Self::Vacant(e) => {
                let value = make(e.key());
                match e.insert(value) {
                    Ok(value) | Err(TryInsertError::Occupied { current: value, .. }) => value,
                    Err(TryInsertError::Full { key, value }) => {
                        refuse(&InsertError::Full { key, value })
                    }
                    Err(TryInsertError::MemoryLimit { key, value }) => {
                        refuse(&InsertError::MemoryLimit { key, value })
                    }
                    Err(TryInsertError::Alloc { key, value }) => {
                        refuse(&InsertError::Alloc { key, value })
                    }
                }
            }
        }
    }

    /// As [`or_insert`](Self::or_insert), with `V::default()`.
    ///
    /// ```
    /// let map: nulls::HashMap<&str, Vec<u8>> = nulls::HashMap::new();
    /// assert!(map.pin().entry("a").or_default().is_empty());
    /// ```
    ///
    /// # Panics
    /// As [`or_insert`](Self::or_insert).
    pub fn or_default(self) -> &'g V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// If the key was seen, replaces its value by what `modify` makes of it, atomically: if the entry was replaced meanwhile,
    /// `modify` is called again with what is there then. Returns the key as it is afterwards, vacant if it was removed.
    ///
    /// `modify` runs without a lock and may use the map; but one that writes to the same key in every call outruns
    /// itself for ever.
    ///
    /// ```
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// for _ in 0..3 {
    ///     map.entry("a").and_modify(|n| n + 1).or_insert(1);
    /// }
    /// assert_eq!(map.get("a"), Some(&3));
    /// ```
    ///
    /// # Panics
    /// When there is no memory for the new entry.
    pub fn and_modify(self, mut modify: impl FnMut(&V) -> V) -> Self
    where
        B: CloneKey<K>,
    {
        let mut entry = self;
        loop {
            let seen = match entry {
                Self::Occupied(seen) => seen,
                vacant => return vacant,
            };
            let value = modify(seen.get());
            match seen.replace(value) {
                Ok((_, look)) => return look.again(),
                Err(NotReplaced {
                    reason: Some(e), ..
                }) => panic!("{e}"),
                Err(not) => entry = not.entry,
            }
        }
    }
}

impl<'g, T: Hash + Eq, S: BuildHasher> Entry<'g, T, (), S> {
    /// The element of a set, inserted if it is not there.
    pub(crate) fn or_insert_key(self) -> &'g T {
        let mut entry = self;
        loop {
            let gap = match entry {
                Self::Occupied(e) => return e.key(),
                Self::Vacant(gap) => gap,
            };
            let (map, guard) = (gap.look.map, gap.look.guard);
            let key = match gap.insert_entry(()) {
                Ok((key, ())) => return key,
                Err(TryInsertError::Occupied { key, .. }) => key,
                Err(TryInsertError::Full { key, value }) => {
                    refuse(&InsertError::Full { key, value })
                }
                Err(TryInsertError::MemoryLimit { key, value }) => {
                    refuse(&InsertError::MemoryLimit { key, value })
                }
                Err(TryInsertError::Alloc { key, value }) => {
                    refuse(&InsertError::Alloc { key, value })
                }
            };
            entry = map.entry_with(key, guard);
        }
    }
}

impl<'g, K: Hash + Eq, V, S: BuildHasher, B: Key<K>> OccupiedEntry<'g, K, V, S, B> {
    /// The key as it is in the map.
    ///
    /// ```
    /// use nulls::Entry;
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// let Entry::Vacant(gap) = map.entry("b") else { unreachable!() };
    /// assert_eq!(gap.key(), &"b");
    /// ```
    pub fn key(&self) -> &'g K {
        self.look.map.entry_of(self.handle, self.look.guard).0
    }

    /// The value that was seen. It stays readable as long as the guard, also when it is replaced or removed.
    ///
    /// ```
    /// use nulls::Entry;
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// let Entry::Occupied(entry) = map.entry("a") else { unreachable!() };
    /// assert_eq!((entry.key(), entry.get()), (&"a", &1));
    /// ```
    pub fn get(&self) -> &'g V {
        self.look.map.entry_of(self.handle, self.look.guard).1
    }

    /// Replaces the entry that was seen, and returns the new value.
    ///
    /// # Errors
    /// [`NotReplaced`] when that entry was replaced or removed since, or there is no memory. The key as it is now and the
    /// value come back.
    ///
    /// ```
    /// use nulls::Entry;
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// let Entry::Occupied(seen) = map.entry("a") else { unreachable!() };
    /// map.remove("a");
    /// let not = seen.insert(2).unwrap_err();
    /// assert!(matches!(not.entry, Entry::Vacant(_)));
    /// assert_eq!(not.value, 2);
    /// ```
    pub fn insert(self, value: V) -> Result<&'g V, NotReplaced<'g, K, V, S, B>>
    where
        B: CloneKey<K>,
    {
        let (x, look) = self.replace(value)?;
        Ok(look.value(x))
    }

    /// Replaces the entry if it is still the one seen; looks again only if the bucket changed in another place.
    #[allow(clippy::type_complexity, reason = "the parts of an entry")]
    fn replace(
        self,
        value: V,
    ) -> Result<(u32, Look<'g, K, V, S, B, ()>), NotReplaced<'g, K, V, S, B>>
    where
        B: CloneKey<K>,
    {
        let Self { look, handle } = self;
        let (mut probe, look) = look.open();
        let not = |look: Look<'g, K, V, S, B, ()>, probe, value, reason| NotReplaced {
            entry: look.with(probe).settle(),
            value,
            reason,
        };
        let node = match look.map.nodes.prepare(look.key.make(), value, look.guard) {
            Ok(node) => node,
            Err(((key, value), e)) => {
                drop(key);
                return Err(not(look, probe, value, Some(e)));
            }
        };
        loop {
            if probe.hit() != Some(handle) {
                // The key goes before the error is made: if its destructor panics, nothing of the error would be dropped.
                let (key, value) = node.into_inner();
                drop(key);
                return Err(not(look, probe, value, None));
            }
            if let Ok((old, written)) = probe.replace(node.handle()) {
                let x = node.linked();
                look.map.removed(old, written, look.guard);
                return Ok((x, look));
            }
            probe = look.probe();
        }
    }

    /// Removes the entry that was seen, and returns its value.
    ///
    /// # Errors
    /// The key as it is now, when that entry was replaced or removed since.
    ///
    /// ```
    /// use nulls::Entry;
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// let Entry::Occupied(seen) = map.entry("a") else { unreachable!() };
    /// map.insert("a", 2);
    /// let Err(Entry::Occupied(now)) = seen.remove() else { unreachable!() };
    /// assert_eq!(now.remove().ok(), Some(&2));
    /// ```
    pub fn remove(self) -> Result<&'g V, Entry<'g, K, V, S, B>> {
        self.remove_entry().map(|(_, v)| v)
    }

    /// As [`remove`](Self::remove), and returns key and value.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    ///
    /// ```
    /// use nulls::Entry;
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// let map = map.pin();
    /// let Entry::Occupied(entry) = map.entry("a") else { unreachable!() };
    /// assert_eq!(entry.remove_entry().ok(), Some((&"a", &1)));
    /// ```
    pub fn remove_entry(self) -> Result<(&'g K, &'g V), Entry<'g, K, V, S, B>> {
        let Self { look, handle } = self;
        let (mut probe, look) = look.open();
        loop {
            if probe.hit() != Some(handle) {
                return Err(look.with(probe).settle());
            }
            if let Ok((old, written)) = probe.remove() {
                return Ok(look.map.removed(old, written, look.guard));
            }
            probe = look.probe();
        }
    }
}

impl<'g, K: Hash + Eq, V, S: BuildHasher, B: Key<K>> VacantEntry<'g, K, V, S, B> {
    /// The key that was looked up.
    pub fn key(&self) -> &<B as private::Key<K>>::Query {
        self.look.key.query()
    }

    /// The key, given back.
    ///
    /// ```
    /// use nulls::Entry;
    /// let map = nulls::HashMap::<String, i32>::new();
    /// let map = map.pin();
    /// let Entry::Vacant(gap) = map.entry("a".to_string()) else { unreachable!() };
    /// assert_eq!(gap.key(), "a");
    /// assert_eq!(gap.into_key(), "a");
    /// ```
    pub fn into_key(self) -> K {
        self.look.key.into_key().0
    }

    /// Inserts if the key is still not there, and returns the value.
    ///
    /// # Errors
    /// [`TryInsertError`] says what was in the way and gives key and value back.
    ///
    /// ```
    /// use nulls::{Entry, TryInsertError};
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// let Entry::Vacant(gap) = map.entry("a") else { unreachable!() };
    /// map.insert("a", 1);
    /// assert!(matches!(gap.insert(2), Err(TryInsertError::Occupied { current: 1, .. })));
    /// ```
    pub fn insert(self, value: V) -> Result<&'g V, TryInsertError<'g, K, V>> {
        self.insert_entry(value).map(|(_, v)| v)
    }

    /// As [`insert`](Self::insert), and returns key and value.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// ```
    /// use nulls::Entry;
    /// let map = nulls::HashMap::new();
    /// let map = map.pin();
    /// let Entry::Vacant(gap) = map.entry("a") else { unreachable!() };
    /// assert_eq!(gap.insert_entry(1), Ok((&"a", &1)));
    /// ```
    pub fn insert_entry(self, value: V) -> Result<(&'g K, &'g V), TryInsertError<'g, K, V>> {
        let Look {
            map,
            guard,
            hash,
            key,
            mut probe,
        } = self.look;
        let (key, _) = key.into_key();
        let node = map
            .nodes
            .prepare(key, value, guard)
            .map_err(|(entry, e)| InsertError::alloc(e, entry))?;
        loop {
            if let Some(x) = probe.hit() {
                let (key, value) = node.into_inner();
                let current = map.entry_of(x, guard).1;
                return Err(TryInsertError::Occupied {
                    current,
                    key,
                    value,
                });
            }
            match probe.insert(node.handle()) {
                Ok(written) => {
                    let x = node.linked();
                    written.assist(guard, &map.rehash());
                    return Ok(map.entry_of(x, guard));
                }
                Err(raw::InsertError::Stale) => probe = map.probe(hash, node.key(), guard),
                Err(raw::InsertError::Full) => {
                    let (key, value) = node.into_inner();
                    return Err(TryInsertError::Full { key, value });
                }
                Err(raw::InsertError::Alloc(e)) => {
                    return Err(InsertError::alloc(e, node.into_inner()).into());
                }
            }
        }
    }
}

impl<K: Hash + Eq + fmt::Debug, V: fmt::Debug, S: BuildHasher, B: Key<K>> fmt::Debug
    for OccupiedEntry<'_, K, V, S, B>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedEntry")
            .field("key", self.key())
            .field("value", self.get())
            .finish()
    }
}

impl<K, V, S, B: fmt::Debug> fmt::Debug for VacantEntry<'_, K, V, S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(&self.look.key).finish()
    }
}

impl<K: Hash + Eq + fmt::Debug, V: fmt::Debug, S: BuildHasher, B: Key<K> + fmt::Debug> fmt::Debug
    for Entry<'_, K, V, S, B>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(e) => e.fmt(f),
            Self::Vacant(e) => e.fmt(f),
        }
    }
}

impl<K, V, S, B> fmt::Debug for NotReplaced<'_, K, V, S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotReplaced")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<K, V, S, B> fmt::Display for NotReplaced<'_, K, V, S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Some(e) => e.fmt(f),
            None => f.write_str("the entry was replaced or removed since it was seen"),
        }
    }
}

impl<K, V, S, B> core::error::Error for NotReplaced<'_, K, V, S, B> {}
