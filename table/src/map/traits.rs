//! The traits that collections have.

use super::HashMap;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::panic::{RefUnwindSafe, UnwindSafe};

impl<K, V, S: Default> Default for HashMap<K, V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<K: fmt::Debug + Hash + Eq, V: fmt::Debug, S: BuildHasher> fmt::Debug for HashMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.pin()).finish()
    }
}

/// Copies the entries and the hasher. Limits are not copied: with writers about, an iteration can yield more entries than were
/// there at any one time.
impl<K: Clone + Hash + Eq, V: Clone, S: BuildHasher + Clone> Clone for HashMap<K, V, S> {
    fn clone(&self) -> Self {
        let copy = Self::with_capacity_and_hasher(self.len(), self.hasher.clone());
        let (from, to) = (self.pin(), copy.pin());
        for (k, v) in &from {
            to.insert(k.clone(), v.clone());
        }
        drop(to);
        copy
    }
}

/// Whether both hold the same entries. With writers about, the answer is that of no particular moment.
impl<K: Hash + Eq, V: PartialEq, S: BuildHasher, T: BuildHasher> PartialEq<HashMap<K, V, T>>
    for HashMap<K, V, S>
{
    fn eq(&self, other: &HashMap<K, V, T>) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let (a, b) = (self.pin(), other.pin());
        a.iter().all(|(k, v)| b.get(k) == Some(v))
    }
}

impl<K: Hash + Eq, V: Eq, S: BuildHasher> Eq for HashMap<K, V, S> {}

impl<K: Hash + Eq, V, S: BuildHasher + Default> FromIterator<(K, V)> for HashMap<K, V, S> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        let mut map = Self::with_capacity_and_hasher(entries.size_hint().0, S::default());
        map.extend(entries);
        map
    }
}

impl<K: Hash + Eq, V, const N: usize> From<[(K, V); N]> for HashMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        Self::from_iter(entries)
    }
}

/// Inserts or replaces each. A shared map can be extended too: `(&map).extend(…)`.
impl<K: Hash + Eq, V, S: BuildHasher> Extend<(K, V)> for HashMap<K, V, S> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        (&*self).extend(entries);
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Extend<(K, V)> for &HashMap<K, V, S> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        let mut view = self.pin();
        for (i, (k, v)) in entries.into_iter().enumerate() {
            view.insert(k, v);
            // What was replaced can be freed now and then.
            if i % 256 == 255 {
                view.refresh();
            }
        }
    }
}

impl<'a, K: Hash + Eq + Copy, V: Copy, S: BuildHasher> Extend<(&'a K, &'a V)> for HashMap<K, V, S> {
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
        self.extend(entries.into_iter().map(|(k, v)| (*k, *v)));
    }
}

impl<'a, K: Hash + Eq + Copy, V: Copy, S: BuildHasher> Extend<(&'a K, &'a V)>
    for &HashMap<K, V, S>
{
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
        self.extend(entries.into_iter().map(|(k, v)| (*k, *v)));
    }
}

// As for `std`'s map. No user code runs while anything is half done, so a panic leaves nothing broken behind.
impl<K: UnwindSafe, V: UnwindSafe, S: UnwindSafe> UnwindSafe for HashMap<K, V, S> {}
impl<K: RefUnwindSafe, V: RefUnwindSafe, S: RefUnwindSafe> RefUnwindSafe for HashMap<K, V, S> {}
