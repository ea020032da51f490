//! Moving a bucket to the next generation, as in the raw table: by copying the entries, after which the old bucket says
//! MOVED and is never written again.
//!
//! The only wait under a lock: a mover that holds an old bucket may wait for a bucket of the next generation that it shares
//! with its neighbour. Locks are thus always taken from older to newer, and whoever holds a newer one waits for nothing.

use super::bucket::{Bucket, Buckets, LOCK, MOVED, Spill, spill_of};
use super::entry::Slot;
use super::{Array, InlineMap, hash_of};
use crate::generations::{Move, NotMoved, Step};
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

/// The most buckets that a bucket is split into without making a list of its entries.
const FAN: usize = 2;

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
        let mut backoff = Backoff::new();
        loop {
            let seen = bucket.head.ticket();
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
            if self.move_line(bucket, seen, old, new, b)
                || self.move_chain(bucket, seen, old, new, b)?
            {
                local::count_moved();
                return Ok(());
            }
            local::count_restart();
        }
    }

    /// The common case: a bucket without spill lines that is split into a few of its own, or goes into one that has room. False:
    /// it is another case, or the bucket has changed. Then nothing was done.
    fn move_line(
        &self,
        bucket: Bucket<'_, K, V>,
        seen: u64,
        old: &Array<K, V>,
        new: &Array<K, V>,
        b: usize,
    ) -> bool {
        if spill_of(seen) != 0 {
            return false;
        }
        let (first, last) = old.targets(b, new);
        match new.step() {
            Step::Split(n) if n <= FAN => self.split_line(bucket, seen, new, first, last),
            Step::Merge(_) => Self::merge_line(bucket, seen, Self::bucket(new, first)),
            _ => false,
        }
    }

    /// Into the buckets of `new` from `first` to `last`.
    fn split_line(
        &self,
        bucket: Bucket<'_, K, V>,
        seen: u64,
        new: &Array<K, V>,
        first: usize,
        last: usize,
    ) -> bool {
        let line = bucket.line();
        let tags = line.tags();
        let targets: [_; FAN] =
            core::array::from_fn(|n| Self::bucket(new, (first + n).min(last)).line());
        let mut filled = [0; FAN];
        let mut to = [line.slot(0); SLOTS];
        for i in tags.used() {
            let key = line.slot(i).key();
            if !bucket.head.is_whole::<K, V>(seen) {
                return false;
            }
            // SAFETY: as in `seek`.
            let hash = hash_of(&self.hasher, unsafe { key.assume_init_ref() });
            // An inconsistent hasher must not lead out of the interval.
            let n = (new.bucket(hash).clamp(first, last) - first) % FAN;
            let slot = next_free(filled[n]);
            filled[n] |= u64::from(tags.tag(i)) << (8 * slot);
            to[i] = targets[n].slot(slot);
        }
        if !bucket.head.take(seen) {
            return false;
        }
        let early = mutant("inline:moved-before-placed");
        if early {
            bucket.head.leave_moved(seen);
        }
        // Nobody else can see the targets. They are written without being read, so that a fresh page is touched once.
        for i in tags.used() {
            to[i].copy(line.slot(i));
        }
        for (target, tags) in targets.into_iter().zip(filled) {
            if tags != 0 {
                target.publish(tags);
            }
        }
        if !early {
            bucket.head.leave_moved(seen);
        }
        true
    }

    fn merge_line(bucket: Bucket<'_, K, V>, seen: u64, target: Bucket<'_, K, V>) -> bool {
        let line = bucket.line();
        if !bucket.head.take(seen) {
            return false;
        }
        let tags = Tags::new(line.tags_locked());
        if tags.count() == 0 {
            // As most are when a table shrinks.
            bucket.head.leave_moved(seen);
            return true;
        }
        let there = lock_target(target);
        let mut word = target.line().tags_locked();
        if Tags::new(word).count() + tags.count() > SLOTS {
            target.head.abandon(there);
            bucket.head.abandon(seen);
            return false;
        }
        let early = mutant("inline:moved-before-placed");
        if early {
            bucket.head.leave_moved(seen);
        }
        for i in tags.used() {
            let slot = next_free(word);
            target.line().slot(slot).copy(line.slot(i));
            word |= u64::from(tags.tag(i)) << (8 * slot);
        }
        target.line().publish(word);
        target.head.leave(there, spill_of(there));
        if !early {
            bucket.head.leave_moved(seen);
        }
        true
    }

    /// Every other case. False: the bucket has changed.
    #[cold]
    #[inline(never)]
    fn move_chain(
        &self,
        bucket: Bucket<'_, K, V>,
        seen: u64,
        old: &Array<K, V>,
        new: &Array<K, V>,
        b: usize,
    ) -> Result<bool, NotMoved> {
        let mut items = Scratch::<Item<'_, K, V>, 32>::new();
        let mut spare = Spare::new();
        if !self.collect(bucket, seen, old, new, b, &mut items)? {
            return Ok(false);
        }
        items.as_mut_slice().sort_unstable_by_key(|i| i.target);
        let private = matches!(new.step(), Step::Split(_));
        for _ in 0..spills_needed::<K, V>(items.as_slice(), private) {
            let taken = self.spills.alloc().map_err(Into::into);
            if let Err(e) = taken.and_then(|y| spare.push(y)) {
                self.give_back(&mut spare);
                return Err(NotMoved::Alloc(e));
            }
        }
        let head = bucket.head;
        if !head.take(seen) {
            self.give_back(&mut spare);
            return Ok(false);
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
        Ok(true)
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
        let seen = lock_target(target);
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

/// The first free slot of a line that is not full, by its tags.
#[inline(always)]
fn next_free(tags: u64) -> usize {
    Tags::new(tags)
        .empty()
        .next()
        .expect("no more entries than slots")
}

/// Waits for the lock of a bucket that neighbours and writers use too, and returns the ticket that it was taken from.
fn lock_target<K: NoUninit, V: NoUninit>(target: Bucket<'_, K, V>) -> u64 {
    let mut backoff = Backoff::new();
    loop {
        let seen = target.head.ticket();
        debug_assert_eq!(
            seen & MOVED,
            0,
            "the next generation moves only after this one has"
        );
        if mutant("inline:share-without-lock") {
            return seen & !LOCK;
        }
        if seen & LOCK == 0 && target.head.take(seen) {
            return seen;
        }
        backoff.wait();
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
