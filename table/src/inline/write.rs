//! Writing: look without the lock, then take it by compare-and-swap from the ticket seen, as in the raw table. No user
//! code and no allocation runs while a lock is held.

use super::bucket::{Bucket, LOCK, Line, MOVED, Spill, spill_of};
use super::find::{Look, seek};
use super::{Array, InlineMap};
use crate::mem::AllocError;
use crate::raw::local;
use crate::rcu::{Guard, Pinned};
use crate::sync::Backoff;
use crate::sync::check::mutant;
use crate::tags::{Tags, WideTag, tag_of};
use bytemuck::NoUninit;
use core::hash::{BuildHasher, Hash};

/// Why a commit did not insert. Nothing has changed.
pub(super) enum NotInserted {
    /// The bucket changed since the probe: probe again.
    Stale,
    Full,
    Alloc(AllocError),
}

/// A slot of a bucket: its line, and its place in it.
type Place<'g, K, V> = (Line<'g, K, V>, usize);

/// What a look-up for writing saw. Holds no lock.
pub(super) struct Probe<'g, K, V> {
    bucket: Bucket<'g, K, V>,
    seen: u64,
    hash: u64,
    /// Whether the key is in `slot`, or else `slot` is a free one.
    hit: bool,
    slot: Option<Place<'g, K, V>>,
    /// Whose stripe of the counter.
    stripe: usize,
}

impl<'g, K: NoUninit, V: NoUninit> Probe<'g, K, V> {
    /// The key's slot.
    #[inline(always)]
    fn hit(&self) -> Option<&Place<'g, K, V>> {
        self.slot.as_ref().filter(|_| self.hit)
    }

    /// The key's value, if it was found. Current if a commit then succeeds.
    #[inline(always)]
    pub(super) fn value(&self) -> Option<V> {
        let (line, i) = self.hit()?;
        // SAFETY: the slot's tag was seen, so a value was stored in its one word, as every store since.
        Some(unsafe { line.slot(*i).value().assume_init() })
    }

    /// The same as of one moment; `None` if the bucket has changed since the probe.
    #[inline(always)]
    pub(super) fn value_now(&self) -> Option<Option<V>> {
        let value = self.value();
        self.bucket.head.is_still(self.seen).then_some(value)
    }

    /// Puts `value` in the place of the found key's; `None` if the bucket has changed. Linearizes at the store of the value, or
    /// in the exchange that takes the lock if values have no size.
    #[inline(always)]
    pub(super) fn replace(&self, value: &V) -> Option<Written> {
        let (line, i) = self.hit().expect("a commit after a miss");
        if !self.bucket.head.take(self.seen) {
            return None;
        }
        line.slot(*i).store_value(value);
        self.bucket.head.leave(self.seen, spill_of(self.seen));
        Some(Written { look: false })
    }
}

/// A commit took effect; and whether it is time for a look at the fill.
#[must_use]
pub(super) struct Written {
    look: bool,
}

impl<K: NoUninit + Hash, V: NoUninit, S: BuildHasher> InlineMap<K, V, S> {
    /// Looks up for writing. Waits while another writer is in the bucket, and holds nothing itself. During a resize it first
    /// moves the hash's bucket.
    #[inline(always)]
    pub(super) fn probe<'g>(
        &'g self,
        guard: &'g Guard,
        hash: u64,
        mut eq: impl FnMut(&K) -> bool,
    ) -> Probe<'g, K, V> {
        // The common case: the bucket has not moved, nobody is in it, and it has no spill line. While a resize runs, a bucket
        // that has not moved is still the truth; the writer does its share of the moving afterwards.
        let bucket = self.root_bucket(guard.pinned(), hash);
        let seen = bucket.head.ticket();
        if seen & (LOCK | MOVED) == 0 {
            let line = bucket.line();
            // A lock ends the overlap of cache misses, so those of head and slots should fall together.
            line.prefetch();
            let tags = line.tags();
            let probe = |hit, slot| Probe {
                bucket,
                seen,
                hash,
                hit,
                slot,
                stripe: guard.index(),
            };
            match seek(
                bucket.head,
                seen,
                line,
                tags,
                WideTag::of_marked(hash),
                &mut eq,
            ) {
                Look::Found(i) => return probe(true, Some((line, i))),
                Look::Absent if spill_of(seen) == 0 => {
                    return probe(false, line.free(tags).map(|i| (line, i)));
                }
                _ => {}
            }
        }
        self.probe_slowly(guard, hash, &mut eq)
    }

    /// The general case, from the start.
    #[cold]
    #[inline(never)]
    fn probe_slowly<'g>(
        &'g self,
        guard: &'g Guard,
        hash: u64,
        eq: &mut impl FnMut(&K) -> bool,
    ) -> Probe<'g, K, V> {
        loop {
            let (bucket, seen) = self.open(guard.pinned(), hash, |_| ());
            match self.seek_all(bucket, seen, WideTag::of_marked(hash), eq) {
                Some((hit, slot)) => {
                    return Probe {
                        bucket,
                        seen,
                        hash,
                        hit,
                        slot,
                        stripe: guard.index(),
                    };
                }
                None => local::count_restart(),
            }
        }
    }

    /// The bucket of a hash, where writers find it: in the newest generation, neither locked nor moved when its ticket was
    /// as told. `through` gets every generation on the way, the bucket's own last.
    fn open<'g>(
        &'g self,
        guard: Pinned<'g>,
        hash: u64,
        mut through: impl FnMut(&Array<K, V>),
    ) -> (Bucket<'g, K, V>, u64) {
        let mut backoff = Backoff::new();
        loop {
            let mut array = self.generations.root_array(guard);
            through(array);
            while let Some(next) = array.next() {
                let b = array.bucket(hash);
                if b >= array.watermark() && self.move_bucket(array, next, b, true).is_err() {
                    // No memory to move it: the old bucket is still the truth, and is written as ever.
                    break;
                }
                array = next;
                through(array);
            }
            let bucket = Self::bucket(array, array.bucket(hash));
            let seen = bucket.head.ticket();
            if seen & LOCK != 0 {
                backoff.wait();
            } else if seen & MOVED == 0 {
                return (bucket, seen);
            }
        }
    }

    /// Looks for a key in all lines of a bucket: whether it is there, and its slot, or else a free one. `None`: the bucket
    /// changed meanwhile.
    fn seek_all<'g>(
        &'g self,
        bucket: Bucket<'g, K, V>,
        seen: u64,
        tag: WideTag,
        eq: &mut impl FnMut(&K) -> bool,
    ) -> Option<(bool, Option<Place<'g, K, V>>)> {
        let mut free = None;
        let mut line = bucket.line();
        let mut next = spill_of(seen);
        loop {
            let tags = line.tags();
            match seek(bucket.head, seen, line, tags, tag, eq) {
                Look::Found(i) => return Some((true, Some((line, i)))),
                Look::Again => return None,
                Look::Absent => {}
            }
            free = free.or_else(|| line.free(tags).map(|i| (line, i)));
            if !bucket.head.is_still(seen) {
                return None;
            }
            if next == 0 {
                return Some((false, free));
            }
            let spill = self.spill(next);
            line = spill.line(next);
            next = spill.next();
        }
    }

    /// Inserts what the probe did not find. Linearizes at the store of the tag, or where the lock is given back when a new
    /// line holds the entry.
    #[inline(always)]
    pub(super) fn commit_insert(
        &self,
        probe: &Probe<'_, K, V>,
        key: &K,
        value: &V,
    ) -> Result<Written, NotInserted> {
        debug_assert!(!probe.hit);
        let Some((line, i)) = &probe.slot else {
            return self.insert_behind(probe, key, value);
        };
        let head = probe.bucket.head;
        if !head.take(probe.seen) {
            return Err(NotInserted::Stale);
        }
        let Some(look) = self.count.try_add(probe.stripe, 1) else {
            head.abandon(probe.seen);
            return Err(NotInserted::Full);
        };
        line.set(*i, tag_of(probe.hash), |slot| slot.store(key, value));
        head.leave(probe.seen, spill_of(probe.seen));
        Ok(Written { look })
    }

    /// The same in a line of its own, which is written before anybody can find it.
    #[cold]
    #[inline(never)]
    fn insert_behind(
        &self,
        probe: &Probe<'_, K, V>,
        key: &K,
        value: &V,
    ) -> Result<Written, NotInserted> {
        let handle = self
            .spills
            .alloc()
            .map_err(|e| NotInserted::Alloc(e.into()))?;
        let spill = self.spill(handle);
        spill.set_next(spill_of(probe.seen));
        spill
            .line::<K, V>(handle)
            .set(0, tag_of(probe.hash), |slot| slot.store(key, value));
        let head = probe.bucket.head;
        let failed = if !head.take(probe.seen) {
            NotInserted::Stale
        } else if self.count.try_add(probe.stripe, 1).is_none() {
            head.abandon(probe.seen);
            NotInserted::Full
        } else {
            head.leave(probe.seen, handle);
            return Ok(Written { look: true });
        };
        self.free_spill(handle);
        Err(failed)
    }

    /// Removes what the probe found; `None` if the bucket has changed. Linearizes at the store of the tags.
    #[inline(always)]
    pub(super) fn commit_remove(&self, probe: &Probe<'_, K, V>) -> Option<Written> {
        let (line, i) = probe.hit().expect("a commit after a miss");
        let head = probe.bucket.head;
        if !head.take(probe.seen) {
            return None;
        }
        line.clear(*i);
        let look = self.count.sub(probe.stripe, 1);
        if line.handle == 0 {
            head.leave(probe.seen, spill_of(probe.seen));
        } else {
            self.leave_spill(probe, *line);
        }
        Some(Written { look })
    }

    /// Leaves the bucket after a removal from a spill line, which is taken out if it is empty now.
    #[cold]
    #[inline(never)]
    fn leave_spill(&self, probe: &Probe<'_, K, V>, line: Line<'_, K, V>) {
        let head = probe.bucket.head;
        let first = spill_of(probe.seen);
        if line.tags_locked() != 0 {
            head.leave(probe.seen, first);
            return;
        }
        let after = self.spill(line.handle).next();
        let early = mutant("inline:free-before-leave");
        if early {
            self.free_spill(line.handle);
        }
        if line.handle == first {
            head.leave(probe.seen, after);
        } else {
            let mut before = self.spill(first);
            while before.next() != line.handle {
                before = self.spill(before.next());
            }
            before.set_next(after);
            head.leave(probe.seen, first);
        }
        if !early {
            // Not before the ticket says so: in its next life the line is another bucket's.
            self.free_spill(line.handle);
        }
    }

    /// Removes everything from the bucket of a hash, with which its interval begins, and returns where that ends. `None`: part
    /// of the interval is an old bucket's that may not have moved. What its mover has put here already is not here before that
    /// bucket is MOVED, and must not be counted as gone.
    pub(super) fn clear_bucket(&self, guard: &Guard, hash: u64) -> Option<u128> {
        loop {
            // The least over *every* generation passed, as in a step of an iteration.
            let mut end = u128::MAX;
            let mut whole = false;
            let (bucket, seen) = self.open(guard.pinned(), hash, |array| {
                let b = array.bucket(hash);
                end = end.min(array.interval_end(b));
                whole = array.is_interval(b, hash, end);
            });
            if !whole {
                return None;
            }
            let head = bucket.head;
            if !head.take(seen) {
                continue;
            }
            let mut entries = Tags::new(bucket.line().tags_locked()).count();
            bucket.line().clear_all();
            head.leave(seen, 0);
            let mut handle = spill_of(seen);
            while handle != 0 {
                let spill = self.spill(handle);
                entries += Tags::new(spill.line::<K, V>(handle).tags_locked()).count();
                let next = spill.next();
                self.free_spill(handle);
                handle = next;
            }
            let look = self.count.sub(guard.index(), entries as i64);
            self.assist(guard, Written { look });
            return Some(end);
        }
    }

    /// Does a bounded share of a running resize, and starts one when the fill asks for it.
    #[inline(always)]
    pub(super) fn assist(&self, guard: &Guard, written: Written) {
        if written.look || !self.generations.root.is_settled() {
            self.assist_slowly(guard.pinned(), written);
        }
    }

    #[cold]
    #[inline(never)]
    fn assist_slowly(&self, guard: Pinned<'_>, written: Written) {
        if written.look {
            self.generations.look_after(self.count.get());
        }
        self.generations.help(guard, &self.mover());
    }
}

impl<K: NoUninit, V: NoUninit, S> InlineMap<K, V, S> {
    /// The spill line of a handle that was given out.
    #[inline(always)]
    pub(super) fn spill(&self, handle: u32) -> &Spill {
        // SAFETY: handles come from `alloc`, through a ticket or another line's `next` as they were while the bucket had not
        // changed; lines live as long as the map.
        unsafe { self.spills.slot(handle).as_ref() }
    }

    /// Takes back a line that no bucket leads to any more; look-ups may still stand on it.
    #[cold]
    pub(super) fn free_spill(&self, handle: u32) {
        self.spill(handle).wipe();
        // SAFETY: given out by `alloc`, and taken out of its chain by one thread, which holds or held the bucket's lock.
        unsafe { self.spills.free(handle) };
    }
}
