//! Iteration in the order of hash intervals.

use super::HashMap;
use crate::raw::Steps;
use crate::rcu::Guard;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::iter::FusedIterator;
use core::ops::RangeBounds;

/// An iterator over a map's entries in the order of the intervals of their hashes. From [`iter`](super::HashMapRef::iter)
/// and [`range`](super::HashMapRef::range).
///
/// ```
/// let map: nulls::HashMap<_, _> = (0..100).map(|i| (i, i * i)).collect();
/// assert_eq!(map.pin().iter().map(|(_, square)| square).sum::<u64>(), 328_350);
/// ```
pub struct Iter<'g, K, V, S> {
    map: &'g HashMap<K, V, S>,
    steps: Steps<'g>,
    /// What the last step found, and how much of it was given out.
    found: Vec<u32>,
    given: usize,
}

impl<'g, K, V, S> Iter<'g, K, V, S> {
    pub(super) fn new(
        map: &'g HashMap<K, V, S>,
        hashes: impl RangeBounds<u64>,
        guard: &'g Guard,
    ) -> Self {
        Self {
            map,
            steps: map.table.steps(guard, hashes),
            found: Vec::new(),
            given: 0,
        }
    }

    /// The next entry's handle, and the entry.
    #[inline]
    pub(super) fn next_handle(&mut self) -> Option<u32>
    where
        K: Hash,
        S: BuildHasher,
    {
        if self.given == self.found.len() && !self.step() {
            return None;
        }
        self.given += 1;
        Some(self.found[self.given - 1])
    }

    /// Takes the next step, whatever was given out of the last one. `false` at the end.
    pub(super) fn step(&mut self) -> bool
    where
        K: Hash,
        S: BuildHasher,
    {
        self.found.clear();
        self.given = 0;
        // If `rehash` panics, what was found before is given out, and the next step goes on behind it.
        if !self.steps.next(&self.map.rehash(), &mut self.found) {
            return false;
        }
        for &x in &self.found {
            self.map.nodes.prefetch(x);
        }
        true
    }

    /// What the last step found.
    pub(super) fn found(&self) -> &[u32] {
        &self.found
    }

    /// The hash from which on no step was taken yet.
    pub(super) fn position(&self) -> Option<u64> {
        self.steps.position()
    }

    /// The entry of a handle that this iterator found.
    #[inline]
    pub(super) fn entry(&self, x: u32) -> (&'g K, &'g V) {
        // SAFETY: the guard, which outlives the items, has been there since before the handle was found.
        unsafe { self.map.nodes.entry(x) }
    }
}

impl<'g, K: Hash, V, S: BuildHasher> Iterator for Iter<'g, K, V, S> {
    type Item = (&'g K, &'g V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let x = self.next_handle()?;
        Some(self.entry(x))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Others may insert and remove meanwhile: nothing more is certain.
        (self.found.len() - self.given, None)
    }
}

impl<K: Hash, V, S: BuildHasher> FusedIterator for Iter<'_, K, V, S> {}

impl<K, V, S> Clone for Iter<'_, K, V, S> {
    fn clone(&self) -> Self {
        Self {
            map: self.map,
            steps: self.steps.clone(),
            found: self.found.clone(),
            given: self.given,
        }
    }
}

impl<K: Hash + fmt::Debug, V: fmt::Debug, S: BuildHasher> fmt::Debug for Iter<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

macro_rules! half {
    ($(#[$doc:meta])* $name:ident, $item:ident, $half:tt) => {
        $(#[$doc])*
        pub struct $name<'g, K, V, S>(Iter<'g, K, V, S>);

        impl<'g, K, V, S> $name<'g, K, V, S> {
            pub(crate) fn new(iter: Iter<'g, K, V, S>) -> Self {
                Self(iter)
            }
        }

        impl<'g, K: Hash, V, S: BuildHasher> Iterator for $name<'g, K, V, S> {
            type Item = &'g $item;

            #[inline]
            fn next(&mut self) -> Option<Self::Item> {
                self.0.next().map(|entry| entry.$half)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl<K: Hash, V, S: BuildHasher> FusedIterator for $name<'_, K, V, S> {}

        impl<K, V, S> Clone for $name<'_, K, V, S> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<K: Hash, V, S: BuildHasher> fmt::Debug for $name<'_, K, V, S>
        where
            $item: fmt::Debug,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.clone()).finish()
            }
        }
    };
}

half!(
    /// An iterator over a map's keys. From [`keys`](super::HashMapRef::keys).
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1), ("b", 2)]);
    /// let mut keys: Vec<&str> = map.pin().keys().copied().collect();
    /// keys.sort();
    /// assert_eq!(keys, ["a", "b"]);
    /// ```
    Keys, K, 0
);
half!(
    /// An iterator over a map's values. From [`values`](super::HashMapRef::values).
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1), ("b", 2)]);
    /// assert_eq!(map.pin().values().sum::<i32>(), 3);
    /// ```
    Values, V, 1
);
