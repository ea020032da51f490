//! Moving a bucket to the next generation, as in the raw table: by copying the entries, after which the old bucket says
//! MOVED and is never written again.
//!
//! The only wait under a lock: a mover that holds an old bucket may wait for a bucket of the next generation that it shares
//! with its neighbour. Locks are thus always taken from older to newer, and whoever holds a newer one waits for nothing.

use super::bucket::{Bucket, Buckets, LOCK, MOVED, Spill, spill_of};
use super::entry::Slot;
use super::{Array, InlineMap, hash_of};
use crate::generations::{Move, NotMoved};
use crate::raw::local;
use crate::scratch::Scratch;
use crate::sync::Backoff;
use crate::sync::check::mutant;
use crate::tags::{SLOTS, Tags};
use bytemuck::NoUninit;
use core::hash::{BuildHasher, Hash};

/// An entry on its way.
struct Item<'g, K, V> {
    from: Slot<'g, K, V>,
    tag: u8,
    target: usize,
}

impl<K, V> Clone for Item<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Item<'_, K, V> {}

/// Handles of spill lines that a move may use.
type Spare = Scratch<u32, 8>;

impl<K: NoUninit + Hash, V: NoUninit, S: BuildHasher> InlineMap<K, V, S> {
    /// How this table moves a bucket.
    #[inline(always)]
    pub(super) fn mover(&self) -> impl Move<Buckets<K, V>> {
        |old, new, b, wait| self.move_bucket(old, new, b, wait)
    }

    /// Moves bucket `b` of `old` to `new`, unless it has moved already. Keys are hashed before any lock is taken.
    pub(super) fn move_bucket(
        &self,
        old: &Array<K, V>,
        new: &Array<K, V>,
        b: usize,
        wait: bool,
    ) -> Result<(), NotMoved> {
        let bucket = Self::bucket(old, b);
        let head = bucket.head;
        let mut backoff = Backoff::new();
        let mut items = Scratch::<Item<'_, K, V>, 32>::new();
        let mut spare = Spare::new();
        loop {
            let seen = head.ticket();
            if seen & MOVED != 0 {
                return Ok(());
            }
            if seen & LOCK != 0 {
                if !wait {
                    return Err(NotMoved::Busy);
                }
                backoff.wait();
                continue;
            }
            items.clear();
            if !self.collect(bucket, seen, old, new, b, &mut items)? {
                local::count_restart();
                continue;
            }
            items.as_mut_slice().sort_unstable_by_key(|i| i.target);
            // The targets belong to this bucket alone until it is MOVED.
            let private = new.len().is_multiple_of(old.len());
            for _ in 0..spills_needed::<K, V>(items.as_slice(), private) {
                let taken = self.spills.alloc().map_err(Into::into);
                if let Err(e) = taken.and_then(|y| spare.push(y)) {
                    self.give_back(&mut spare);
                    return Err(NotMoved::Alloc(e));
                }
            }
            if !head.take(seen) {
                self.give_back(&mut spare);
                continue;
            }
            let early = mutant("inline:moved-before-placed");
            if early {
                head.leave_moved(seen);
            }
            for group in items.as_slice().chunk_by(|a, b| a.target == b.target) {
                let target = Self::bucket(new, group[0].target);
                if private {
                    self.place_private(target, group, &mut spare);
                } else {
                    self.place_shared(target, group, &mut spare);
                }
            }
            if !early {
                head.leave_moved(seen);
            }
            let mut handle = spill_of(seen);
            while handle != 0 {
                let next = self.spill(handle).next();
                self.free_spill(handle);
                handle = next;
            }
            self.give_back(&mut spare);
            local::count_moved();
            return Ok(());
        }
    }

    /// Notes every entry of a bucket and where it goes. False: the bucket changed meanwhile.
    fn collect<'g>(
        &'g self,
        bucket: Bucket<'g, K, V>,
        seen: u64,
        old: &Array<K, V>,
        new: &Array<K, V>,
        b: usize,
        items: &mut Scratch<Item<'g, K, V>, 32>,
    ) -> Result<bool, NotMoved> {
        // An inconsistent hasher must not lead out of the interval.
        let (first, last) = old.targets(b, new);
        let mut line = bucket.line();
        let mut next = spill_of(seen);
        loop {
            let tags = line.tags();
            for i in tags.used() {
                let from = line.slot(i);
                let key = from.key();
                if !bucket.head.is_whole::<K, V>(seen) {
                    return Ok(false);
                }
                // SAFETY: as in `seek`.
                let hash = hash_of(&self.hasher, unsafe { key.assume_init_ref() });
                let item = Item {
                    from,
                    tag: tags.tag(i),
                    target: new.bucket(hash).clamp(first, last),
                };
                items.push(item).map_err(NotMoved::Alloc)?;
            }
            if !bucket.head.is_still(seen) {
                return Ok(false);
            }
            if next == 0 {
                return Ok(true);
            }
            let spill = self.spill(next);
            line = spill.line(next);
            next = spill.next();
        }
    }

    /// Fills a target that nobody else can see: written without being read, so that a fresh page is touched once.
    fn place_private(&self, target: Bucket<'_, K, V>, group: &[Item<'_, K, V>], spare: &mut Spare) {
        let (first, rest) = group.split_at(group.len().min(SLOTS));
        target.line().fill(first.iter().map(|i| (i.tag, i.from)));
        let mut front = 0;
        for part in rest.chunks(Spill::slots::<K, V>()) {
            let y = spare.pop().expect("spills_needed counted this line");
            let spill = self.spill(y);
            spill.line(y).fill(part.iter().map(|i| (i.tag, i.from)));
            spill.set_next(front);
            front = y;
        }
        if front != 0 {
            target.head.begin_with(front);
        }
    }

    /// Adds to a target that neighbours and writers use too, under its lock.
    fn place_shared(&self, target: Bucket<'_, K, V>, group: &[Item<'_, K, V>], spare: &mut Spare) {
        let mut backoff = Backoff::new();
        let seen = loop {
            let seen = target.head.ticket();
            debug_assert_eq!(
                seen & MOVED,
                0,
                "the next generation moves only after this one has"
            );
            if seen & LOCK == 0 && target.head.take(seen) {
                break seen;
            }
            backoff.wait();
        };
        let mut line = target.line();
        let mut next = spill_of(seen);
        let mut front = next;
        for item in group {
            let slot = loop {
                if let Some(i) = line.free(Tags::new(line.tags_locked())) {
                    break i;
                }
                let handle = if next != 0 {
                    next
                } else {
                    let y = spare.pop().expect("spills_needed counted this line");
                    self.spill(y).set_next(front);
                    front = y;
                    y
                };
                let spill = self.spill(handle);
                line = spill.line(handle);
                next = if handle == next { spill.next() } else { 0 };
            };
            line.set(slot, item.tag, |slot| slot.copy(item.from));
        }
        target.head.leave(seen, front);
    }

    fn give_back(&self, spare: &mut Spare) {
        while let Some(y) = spare.pop() {
            self.free_spill(y);
        }
    }
}

/// How many spill lines the move may take. A shared target may turn out to be full.
fn spills_needed<K: NoUninit, V: NoUninit>(items: &[Item<'_, K, V>], private: bool) -> usize {
    let slots = Spill::slots::<K, V>();
    let own = if private { SLOTS } else { 0 };
    items
        .chunk_by(|a, b| a.target == b.target)
        .map(|g| g.len().saturating_sub(own).div_ceil(slots))
        .sum()
}
