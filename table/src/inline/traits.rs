//! What a map can be made from, and how it prints.

use super::InlineMap;
use crate::map::DefaultHashBuilder;
use bytemuck::NoUninit;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::panic::{RefUnwindSafe, UnwindSafe};

impl<K: NoUninit, V: NoUninit, S: Default> Default for InlineMap<K, V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<K, V, S> fmt::Debug for InlineMap<K, V, S>
where
    K: NoUninit + Hash + Eq + fmt::Debug,
    V: NoUninit + fmt::Debug,
    S: BuildHasher,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.pin().iter()).finish()
    }
}

impl<K, V, S> Extend<(K, V)> for InlineMap<K, V, S>
where
    K: NoUninit + Hash + Eq,
    V: NoUninit,
    S: BuildHasher,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        let view = self.pin();
        for (key, value) in entries {
            view.insert(key, value);
        }
    }
}

impl<K, V, S> FromIterator<(K, V)> for InlineMap<K, V, S>
where
    K: NoUninit + Hash + Eq,
    V: NoUninit,
    S: BuildHasher + Default,
{
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        let mut map = Self::with_capacity_and_hasher(entries.size_hint().0, S::default());
        map.extend(entries);
        map
    }
}

impl<K, V, const N: usize> From<[(K, V); N]> for InlineMap<K, V, DefaultHashBuilder>
where
    K: NoUninit + Hash + Eq,
    V: NoUninit,
{
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

/// Copies the entries and the hasher. The limit is not copied: with writers about, an iteration can yield more entries than were
/// there at any one time.
impl<K, V, S> Clone for InlineMap<K, V, S>
where
    K: NoUninit + Hash + Eq,
    V: NoUninit,
    S: BuildHasher + Clone,
{
    fn clone(&self) -> Self {
        let mut map = Self::with_capacity_and_hasher(self.len(), self.hasher().clone());
        map.extend(self.pin().iter());
        map
    }
}

impl<K, V, S> PartialEq for InlineMap<K, V, S>
where
    K: NoUninit + Hash + Eq,
    V: NoUninit + PartialEq,
    S: BuildHasher,
{
    /// Whether both hold the same entries, if nobody writes meanwhile.
    fn eq(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.pin(), other.pin());
        self.len() == other.len() && mine.iter().all(|(k, v)| theirs.get(&k) == Some(v))
    }
}

impl<K, V, S> Eq for InlineMap<K, V, S>
where
    K: NoUninit + Hash + Eq,
    V: NoUninit + Eq,
    S: BuildHasher,
{
}

// No user code runs under a lock or between two steps of a change: a panic leaves a map as usable as it was.
impl<K: UnwindSafe, V: UnwindSafe, S: UnwindSafe> UnwindSafe for InlineMap<K, V, S> {}
impl<K: RefUnwindSafe, V: RefUnwindSafe, S: RefUnwindSafe> RefUnwindSafe for InlineMap<K, V, S> {}
