//! Going through a map in the order of buckets, resizes or not.

use super::bucket::{MOVED, spill_of};
use super::{InlineMap, hash_of};
use crate::raw::local;
use crate::rcu::Guard;
use crate::sync::check::mutant;
use alloc::vec::Vec;
use bytemuck::NoUninit;
use core::hash::{BuildHasher, Hash};

/// The entries of an [`InlineMap`]. From [`InlineMapRef::iter`](super::InlineMapRef::iter).
///
/// ```
/// let map = nulls::InlineMap::from([(1u8, 10u8), (2, 20)]);
/// let view = map.pin();
/// let all: nulls::InlineIter<'_, u8, u8, _> = view.iter();
/// assert_eq!(all.count(), 2);
/// ```
pub struct InlineIter<'g, K, V, S> {
    map: &'g InlineMap<K, V, S>,
    guard: &'g Guard,
    /// The hash from which on nothing was visited; `None` at the end.
    cursor: Option<u64>,
    /// Those of the last bucket that are still to be yielded.
    entries: Vec<(K, V)>,
}

impl<'g, K: NoUninit, V: NoUninit, S> InlineIter<'g, K, V, S> {
    pub(super) fn new(map: &'g InlineMap<K, V, S>, guard: &'g Guard) -> Self {
        Self {
            map,
            guard,
            cursor: Some(0),
            entries: Vec::new(),
        }
    }
}

impl<K: NoUninit + Hash, V: NoUninit, S: BuildHasher> Iterator for InlineIter<'_, K, V, S> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(entry) = self.entries.pop() {
                return Some(entry);
            }
            let cursor = self.cursor?;
            // Not ours while keys are hashed: a panic there must not leave entries that the same step yields again.
            let mut entries = core::mem::take(&mut self.entries);
            self.cursor = self.map.step(self.guard, cursor, &mut entries);
            self.entries = entries;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.entries.len(), None)
    }
}

impl<K: NoUninit + Hash, V: NoUninit, S: BuildHasher> core::iter::FusedIterator
    for InlineIter<'_, K, V, S>
{
}

impl<K, V, S> core::fmt::Debug for InlineIter<'_, K, V, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("InlineIter")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl<K: NoUninit + Hash, V: NoUninit, S: BuildHasher> InlineMap<K, V, S> {
    /// Puts every entry with `cursor <= hash < next` into `out` and returns `next`; `None` after the last interval. The
    /// intervals of successive steps tile the hash space whatever generations they meet.
    pub(super) fn step(&self, guard: &Guard, cursor: u64, out: &mut Vec<(K, V)>) -> Option<u64> {
        let mut end = u128::MAX;
        let mut array = self.generations.root_array(guard.pinned());
        loop {
            let b = array.bucket(cursor);
            // The least over *every* generation passed: a step taken in a coarser one would yield what a later step, begun
            // in a finer one, yields again.
            end = if mutant("inline:end-of-last-only") {
                array.interval_end(b)
            } else {
                end.min(array.interval_end(b))
            };
            let bucket = Self::bucket(array, b);
            let seen = bucket.head.ticket();
            if seen & MOVED != 0 {
                if let Some(next) = array.next() {
                    array = next;
                }
                continue;
            }
            out.clear();
            if !self.copy_bucket(bucket, seen, out) {
                local::count_restart();
                continue;
            }
            // A whole bucket needs no look at the hashes.
            if !array.is_interval(b, cursor, end) {
                out.retain(|(key, _)| {
                    let hash = hash_of(&self.hasher, key);
                    hash >= cursor && u128::from(hash) < end
                });
            }
            return u64::try_from(end).ok();
        }
    }

    /// Copies the entries of a bucket as of one moment. False: it changed meanwhile.
    fn copy_bucket(
        &self,
        bucket: super::Bucket<'_, K, V>,
        seen: u64,
        out: &mut Vec<(K, V)>,
    ) -> bool {
        let mut line = bucket.line();
        let mut next = spill_of(seen);
        loop {
            for i in line.tags().used() {
                let (key, value) = (line.slot(i).key(), line.slot(i).value());
                if !bucket.head.is_whole::<K, V>(seen) {
                    return false;
                }
                // SAFETY: as in `seek`, and as in `take_out`.
                out.push(unsafe { (key.assume_init(), value.assume_init()) });
            }
            if !bucket.head.is_still(seen) {
                return false;
            }
            if next == 0 {
                return true;
            }
            let spill = self.spill(next);
            line = spill.line(next);
            next = spill.next();
        }
    }
}
