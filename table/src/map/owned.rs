//! What an exclusive borrow, or the map itself, allows beside: mutable references, and entries given away.

use super::node::{Nodes, go_on};
use super::{Equivalent, HashMap, hash::hash_of};
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::iter::FusedIterator;

impl<K: Hash + Eq, V, S: BuildHasher> HashMap<K, V, S> {
    /// The handle of `key`'s entry.
    fn handle_of<Q>(&mut self, key: &Q) -> Option<u32>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let guard = crate::rcu::pin();
        self.table.find(&guard, hash_of(&self.hasher, key), |x| {
            // SAFETY: found while pinned.
            key.equivalent(unsafe { self.nodes.key(x) }).then_some(x)
        })
    }

    /// The value of `key`, to be changed in place: nobody else can look at it while the map is borrowed exclusively.
    ///
    /// ```
    /// let mut map = nulls::HashMap::from([("a", 1)]);
    /// *map.get_mut("a").unwrap() += 1;
    /// assert_eq!(map.pin().get("a"), Some(&2));
    /// ```
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let x = self.handle_of(key)?;
        // SAFETY: linked, hence alive; and `&mut self` excludes every reference that a guard protects, as those borrow the map.
        Some(unsafe { self.nodes.entry_mut(x) }.1)
    }

    /// Removes `key` and returns its value itself, not a reference: nobody else can look at it while the map is borrowed
    /// exclusively.
    ///
    /// ```
    /// let mut map = nulls::HashMap::from([("a", String::from("b"))]);
    /// let owned: Option<(&str, String)> = map.take("a");
    /// assert_eq!(owned, Some(("a", String::from("b"))));
    /// ```
    pub fn take<Q>(&mut self, key: &Q) -> Option<(K, V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let guard = crate::rcu::pin();
        let hash = hash_of(&self.hasher, key);
        loop {
            let probe = self.probe(hash, key, &guard);
            probe.hit()?;
            if let Ok((x, written)) = probe.remove() {
                // SAFETY: unlinked just now; and `&mut self` excludes every reference to it.
                let entry = unsafe { self.nodes.take(x) };
                // The share of a resize asks for hashes of entries that are linked: not of this one.
                written.assist(&guard, &self.rehash());
                return Some(entry);
            }
        }
    }
}

/// An iterator that gives a map's entries away. From [`HashMap`]'s `into_iter`.
///
/// ```
/// let map = nulls::HashMap::from([(1, String::from("a"))]);
/// let all: Vec<(i32, String)> = map.into_iter().collect();
/// assert_eq!(all, [(1, String::from("a"))]);
/// ```
pub struct IntoIter<K, V, S> {
    map: HashMap<K, V, S>,
    /// What was in the table and is not given away yet.
    left: Vec<u32>,
}

impl<K, V, S> IntoIterator for HashMap<K, V, S> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V, S>;

    /// Gives the entries away, in no order that means anything.
    fn into_iter(mut self) -> IntoIter<K, V, S> {
        let mut left = Vec::with_capacity(self.len());
        self.table.drain(|x| left.push(x));
        IntoIter { map: self, left }
    }
}

impl<K, V, S> Iterator for IntoIter<K, V, S> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let x = self.left.pop()?;
        // SAFETY: in the table until `into_iter`, so alive; the map was given to us, so that nobody else can look at it; and it
        // is taken once.
        Some(unsafe { self.map.nodes.take(x) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.len(), Some(self.left.len()))
    }
}

impl<K, V, S> ExactSizeIterator for IntoIter<K, V, S> {}
impl<K, V, S> FusedIterator for IntoIter<K, V, S> {}

impl<K, V, S> Drop for IntoIter<K, V, S> {
    fn drop(&mut self) {
        let nodes: &Nodes<K, V> = &self.map.nodes;
        let left = &mut self.left;
        go_on(|| {
            while let Some(x) = left.pop() {
                // SAFETY: as in `next`.
                unsafe { nodes.drop_now(x) };
            }
        });
    }
}

impl<K, V, S> fmt::Debug for IntoIter<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoIter")
            .field("left", &self.left.len())
            .finish_non_exhaustive()
    }
}
