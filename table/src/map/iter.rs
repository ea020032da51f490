//! Iteration in the order of hash intervals.

use super::HashMap;
use crate::rcu::Guard;
use core::fmt;
use core::hash::{BuildHasher, Hash};

/// An iterator over a map's entries, in the order of their hashes. See [`HashMapRef::iter`](super::HashMapRef::iter).
pub struct Iter<'g, K, V, S> {
    map: &'g HashMap<K, V, S>,
    guard: &'g Guard,
    /// Where the next step begins; `None` after the last.
    cursor: Option<u64>,
    /// The entries of the current step, last first.
    step: Vec<(u64, u32)>,
}

impl<'g, K, V, S> Iter<'g, K, V, S> {
    pub(super) fn new(map: &'g HashMap<K, V, S>, guard: &'g Guard) -> Self {
        Self {
            map,
            guard,
            cursor: Some(0),
            step: Vec::new(),
        }
    }
}

impl<'g, K: Hash, V, S: BuildHasher> Iterator for Iter<'g, K, V, S> {
    type Item = (&'g K, &'g V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((_, x)) = self.step.pop() {
                // SAFETY: the guard, which outlives the items, has been there since before the handle was found.
                return Some(unsafe { self.map.nodes.entry(x) });
            }
            let cursor = self.cursor?;
            // If `rehash` panics half a step is thrown away, and the next call does it again from the same cursor.
            let mut step = core::mem::take(&mut self.step);
            self.cursor = self
                .map
                .table
                .step(self.guard, cursor, &self.map.rehash(), &mut step);
            step.reverse();
            self.step = step;
        }
    }
}

impl<K: Hash, V, S: BuildHasher> core::iter::FusedIterator for Iter<'_, K, V, S> {}

impl<K, V, S> fmt::Debug for Iter<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}
