//! Parallel iteration: an interval of hashes is split in halves, as often as rayon asks for it.
//!
//! Every part iterates for itself, under the one owned guard of the view, so nothing is collected or locked; what stays in the
//! map is visited exactly once, whatever resizes happen, because the intervals tile the hash space.

use crate::map::{HashMap, HashMapRef};
use crate::rcu::OwnedGuard;
use crate::set::{HashSet, HashSetRef};
use core::fmt;
use core::hash::{BuildHasher, Hash};
use rayon::iter::plumbing::{Folder, UnindexedConsumer, UnindexedProducer, bridge_unindexed};
use rayon::iter::{FromParallelIterator, IntoParallelIterator, ParallelExtend, ParallelIterator};

/// A parallel iterator over a map's entries. From `par_iter` on a view that [`pin_owned`](HashMap::pin_owned) made.
///
/// ```
/// use rayon::prelude::*;
/// let map: nulls::HashMap<u64, u64> = (0..10_000).map(|i| (i, i)).collect();
/// let sum: u64 = map.pin_owned().par_iter().map(|(_, v)| v).sum();
/// assert_eq!(sum, 49_995_000);
/// ```
pub struct ParIter<'a, 'm, K, V, S> {
    part: Part<'a, 'm, K, V, S>,
}

/// The entries from one hash to another, both included.
struct Part<'a, 'm, K, V, S> {
    view: &'a HashMapRef<'m, K, V, S, OwnedGuard>,
    first: u64,
    last: u64,
}

impl<K, V, S> fmt::Debug for ParIter<'_, '_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParIter").finish_non_exhaustive()
    }
}

impl<T, S> fmt::Debug for SetParIter<'_, '_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetParIter").finish_non_exhaustive()
    }
}

impl<'a, K, V, S> UnindexedProducer for Part<'a, '_, K, V, S>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher + Sync,
{
    type Item = (&'a K, &'a V);

    fn split(self) -> (Self, Option<Self>) {
        // An interval of about a bucket is worth no more splitting.
        let width = self.last - self.first;
        let buckets = self.view.map().buckets().max(1) as u64;
        if width / 2 < u64::MAX / buckets {
            return (self, None);
        }
        let middle = self.first + width / 2;
        let high = Part {
            first: middle + 1,
            ..self
        };
        let low = Part {
            last: middle,
            ..self
        };
        (low, Some(high))
    }

    fn fold_with<F: Folder<Self::Item>>(self, folder: F) -> F {
        folder.consume_iter(self.view.range(self.first..=self.last))
    }
}

impl<'a, K, V, S> ParallelIterator for ParIter<'a, '_, K, V, S>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher + Sync,
{
    type Item = (&'a K, &'a V);

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        bridge_unindexed(self.part, consumer)
    }
}

impl<'a, 'm, K, V, S> IntoParallelIterator for &'a HashMapRef<'m, K, V, S, OwnedGuard>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher + Sync,
{
    type Item = (&'a K, &'a V);
    type Iter = ParIter<'a, 'm, K, V, S>;

    fn into_par_iter(self) -> Self::Iter {
        ParIter {
            part: Part {
                view: self,
                first: 0,
                last: u64::MAX,
            },
        }
    }
}

/// A parallel iterator over a set's elements. From `par_iter` on a view that [`pin_owned`](HashSet::pin_owned) made.
///
/// ```
/// use rayon::prelude::*;
/// let set: nulls::HashSet<u64> = (0..100).collect();
/// assert_eq!(set.pin_owned().par_iter().sum::<u64>(), 4950);
/// ```
pub struct SetParIter<'a, 'm, T, S>(ParIter<'a, 'm, T, (), S>);

impl<'a, T, S> ParallelIterator for SetParIter<'a, '_, T, S>
where
    T: Hash + Eq + Send + Sync,
    S: BuildHasher + Sync,
{
    type Item = &'a T;

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        self.0
            .map(|(element, ())| element)
            .drive_unindexed(consumer)
    }
}

impl<'a, 'm, T, S> IntoParallelIterator for &'a HashSetRef<'m, T, S, OwnedGuard>
where
    T: Hash + Eq + Send + Sync,
    S: BuildHasher + Sync,
{
    type Item = &'a T;
    type Iter = SetParIter<'a, 'm, T, S>;

    fn into_par_iter(self) -> Self::Iter {
        SetParIter((&self.0).into_par_iter())
    }
}

impl<K, V, S> ParallelExtend<(K, V)> for &HashMap<K, V, S>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher + Sync,
{
    fn par_extend<I: IntoParallelIterator<Item = (K, V)>>(&mut self, entries: I) {
        let map = *self;
        entries.into_par_iter().for_each(|(k, v)| {
            map.pin().insert(k, v);
        });
    }
}

/// Inserts or replaces each, from many threads. A shared map can be extended too: `(&map).par_extend(…)`.
impl<K, V, S> ParallelExtend<(K, V)> for HashMap<K, V, S>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher + Sync,
{
    fn par_extend<I: IntoParallelIterator<Item = (K, V)>>(&mut self, entries: I) {
        (&*self).par_extend(entries);
    }
}

/// Of two entries with the same key it is not determined which counts.
impl<K, V, S> FromParallelIterator<(K, V)> for HashMap<K, V, S>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher + Default + Sync,
{
    fn from_par_iter<I: IntoParallelIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        map.par_extend(entries);
        map
    }
}

impl<T, S> ParallelExtend<T> for &HashSet<T, S>
where
    T: Hash + Eq + Send + Sync,
    S: BuildHasher + Sync,
{
    fn par_extend<I: IntoParallelIterator<Item = T>>(&mut self, elements: I) {
        let mut map = self.as_map();
        map.par_extend(elements.into_par_iter().map(|element| (element, ())));
    }
}

/// Adds each, from many threads. A shared set can be extended too: `(&set).par_extend(…)`.
impl<T, S> ParallelExtend<T> for HashSet<T, S>
where
    T: Hash + Eq + Send + Sync,
    S: BuildHasher + Sync,
{
    fn par_extend<I: IntoParallelIterator<Item = T>>(&mut self, elements: I) {
        (&*self).par_extend(elements);
    }
}

impl<T, S> FromParallelIterator<T> for HashSet<T, S>
where
    T: Hash + Eq + Send + Sync,
    S: BuildHasher + Default + Sync,
{
    fn from_par_iter<I: IntoParallelIterator<Item = T>>(elements: I) -> Self {
        let mut set = Self::default();
        set.par_extend(elements);
        set
    }
}
