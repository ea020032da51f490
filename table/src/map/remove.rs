//! Removing: on a condition, by value, by identity, of many.

use super::{Equivalent, HashMap, Iter, hash::hash_of};
use crate::rcu::Guard;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::iter::FusedIterator;

impl<K: Hash + Eq, V, S: BuildHasher> HashMap<K, V, S> {
    /// As [`HashMapRef::remove_if`](super::HashMapRef::remove_if).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.remove_if_with(&1, |_, v| *v > 10, &guard), None);
    /// assert_eq!(map.remove_if_with(&2, |_, v| *v > 10, &guard), Some((&2, &20)));
    /// ```
    pub fn remove_if_with<'g, Q>(
        &'g self,
        key: &Q,
        mut condition: impl FnMut(&K, &V) -> bool,
        guard: &'g Guard,
    ) -> Option<(&'g K, &'g V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = hash_of(&self.hasher, key);
        // The entry of which the condition holds: it still does if the bucket changed in another place only.
        let mut judged = None;
        loop {
            let probe = self.probe(hash, key, guard);
            let x = probe.hit()?;
            if judged != Some(x) {
                let (k, v) = self.entry_of(x, guard);
                if !condition(k, v) {
                    return None;
                }
                judged = Some(x);
            }
            if let Ok((old, written)) = probe.remove() {
                return Some(self.removed(old, written, guard));
            }
        }
    }

    /// As [`HashMapRef::remove_value`](super::HashMapRef::remove_value).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.remove_value_with(&1, &11, &guard), None);
    /// assert_eq!(map.remove_value_with(&1, &10, &guard), Some((&1, &10)));
    /// ```
    pub fn remove_value_with<'g, Q>(
        &'g self,
        key: &Q,
        value: &V,
        guard: &'g Guard,
    ) -> Option<(&'g K, &'g V)>
    where
        V: PartialEq,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.remove_if_with(key, |_, v| v == value, guard)
    }

    /// As [`HashMapRef::remove_same`](super::HashMapRef::remove_same).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// let seen = map.get_with(&1, &guard).unwrap();
    /// map.insert_with(1, 10, &guard); // equal, but not the same
    /// assert_eq!(map.remove_same_with(&1, seen, &guard), None);
    /// ```
    pub fn remove_same_with<'g, Q>(
        &'g self,
        key: &Q,
        seen: &V,
        guard: &'g Guard,
    ) -> Option<(&'g K, &'g V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // Whoever has a reference to it keeps its memory from being used again, so that the address says it all.
        self.remove_if_with(key, |_, v| core::ptr::eq(v, seen), guard)
    }

    /// Removes the entry with this handle, which the caller found while pinned, if it is still linked.
    fn unlink(&self, x: u32, guard: &Guard) -> bool {
        let hash = self.rehash()(x);
        loop {
            let probe = self.table.probe(guard, hash, |y| x == y, &self.rehash());
            if probe.hit().is_none() {
                return false;
            }
            if let Ok((x, written)) = probe.remove() {
                self.removed(x, written, guard);
                return true;
            }
        }
    }

    /// As [`HashMapRef::retain`](super::HashMapRef::retain).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// map.retain_with(|_, v| *v > 10, &guard);
    /// assert_eq!(map.len(), 1);
    /// ```
    pub fn retain_with(&self, mut keep: impl FnMut(&K, &V) -> bool, guard: &Guard) {
        let mut iter = Iter::new(self, .., guard);
        while let Some(x) = iter.next_handle() {
            let (k, v) = iter.entry(x);
            if !keep(k, v) {
                self.unlink(x, guard);
            }
        }
    }

    /// As [`HashMapRef::drain`](super::HashMapRef::drain).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.drain_with(&guard).map(|(_, v)| v).sum::<i32>(), 30);
    /// assert!(map.is_empty());
    /// ```
    pub fn drain_with<'g>(&'g self, guard: &'g Guard) -> Drain<'g, K, V, S> {
        Drain {
            map: self,
            guard,
            iter: Iter::new(self, .., guard),
        }
    }

    /// As [`HashMapRef::clear`](super::HashMapRef::clear).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// map.clear_with(&guard);
    /// assert!(map.is_empty());
    /// ```
    pub fn clear_with(&self, guard: &Guard) {
        self.retain_with(|_, _| false, guard);
    }
}

/// An iterator that removes what it yields. From [`drain`](super::HashMapRef::drain).
///
/// Each entry is removed when it is yielded; dropping the iterator removes the rest.
///
/// ```
/// let map: nulls::HashMap<_, _> = (0..10).map(|i| (i, i)).collect();
/// let map = map.pin();
/// assert_eq!(map.drain().map(|(_, v)| *v).sum::<i32>(), 45);
/// assert!(map.is_empty());
/// ```
#[must_use = "dropping it at once removes every entry: `clear` says that"]
pub struct Drain<'g, K: Hash + Eq, V, S: BuildHasher> {
    map: &'g HashMap<K, V, S>,
    guard: &'g Guard,
    iter: Iter<'g, K, V, S>,
}

impl<'g, K: Hash + Eq, V, S: BuildHasher> Iterator for Drain<'g, K, V, S> {
    type Item = (&'g K, &'g V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let x = self.iter.next_handle()?;
            // Whoever removed it meanwhile has it.
            if self.map.unlink(x, self.guard) {
                return Some(self.iter.entry(x));
            }
        }
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> FusedIterator for Drain<'_, K, V, S> {}

impl<K: Hash + Eq, V, S: BuildHasher> Drop for Drain<'_, K, V, S> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> fmt::Debug for Drain<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}
