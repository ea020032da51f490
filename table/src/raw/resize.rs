//! Resizing: buckets move one by one to the next generation, which may have any length.
//!
//! A bucket is an interval of hashes, so both arrays are streamed in order. `truth(hash)` is the first generation, from
//! the root along `next`, whose bucket for the hash is not MOVED; every operation finds it for itself. Moving a bucket
//! is therefore the whole protocol, and everything else here (sharing the work out, the watermark, publishing the new
//! root, freeing the old array) only collects what nobody needs any more.
//!
//! The only wait under a lock: a mover that holds an old bucket may wait for a bucket of the next generation that it
//! shares with its neighbour. Locks are thus always taken from older to newer, one newer at a time, and whoever holds a
//! newer one waits for nothing.

use super::array::{Array, FRACTION_BITS};
use super::line::{Line, SLOTS};
use super::scratch::Scratch;
use super::{AllocError, FILL, Table, local, nulls, ticket};
use crate::mem::Pages;
use crate::rcu::Pinned;
use crate::sync::check::mutant;
use crate::sync::{Backoff, fence, order};
use alloc::boxed::Box;
use core::sync::atomic::Ordering::Relaxed;

/// Buckets that one write moves beside its own.
const SHARE: usize = if cfg!(nulls_loom) { 1 } else { 16 };

/// Bytes of a retired array that one look after the table gives back.
const SLICE: usize = 256 << 10;

/// An entry on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) handle: u32,
    pub(crate) tag: u8,
    pub(crate) fraction: u8,
    target: usize,
}

/// Another writer holds the bucket, and the caller did not want to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotMoved {
    Busy,
    Alloc(AllocError),
}

impl Table {
    /// Moves bucket `b` of `old` to `new`, unless it has moved already.
    ///
    /// The caller's `rehash` runs before any lock is taken.
    pub(super) fn move_bucket(
        &self,
        old: &Array,
        new: &Array,
        b: usize,
        wait: bool,
        rehash: &impl Fn(u32) -> u64,
    ) -> Result<(), NotMoved> {
        let head = old.head(b);
        let mut backoff = Backoff::new();
        let mut items = Scratch::<Item, 32>::new();
        let mut spare = Scratch::<Option<&Line>, 8>::new();
        loop {
            let seen = ticket::load(head);
            if seen & ticket::MOVED != 0 {
                return Ok(());
            }
            if seen & ticket::LOCK != 0 {
                if !wait {
                    return Err(NotMoved::Busy);
                }
                backoff.wait();
                continue;
            }
            items.clear();
            let end = collect(head, &mut items).map_err(NotMoved::Alloc)?;
            if !ticket::complete(head, end) {
                local::count_restart();
                continue;
            }
            let private = self.aim(old, new, b, items.as_mut_slice(), rehash);
            for _ in 0..lines_needed(items.as_slice(), private) {
                match self.lines.alloc().and_then(|y| spare.push(Some(y))) {
                    Ok(()) => {}
                    Err(e) => {
                        self.give_back(&mut spare);
                        return Err(NotMoved::Alloc(e));
                    }
                }
            }
            if !ticket::take(head, seen) {
                self.give_back(&mut spare);
                continue;
            }
            let early = mutant("resize:moved-before-placed");
            if early {
                head.ticket
                    .store(seen | ticket::LOCK | ticket::MOVED, order::ticket_leave());
            }
            for group in items.as_slice().chunk_by(|a, b| a.target == b.target) {
                let target = new.head(group[0].target);
                if private {
                    place_private(target, group, &mut spare);
                } else {
                    place_shared(target, group, &mut spare);
                }
            }
            if mutant("resize:wipe-before-moved") {
                self.free_overflow(head);
                ticket::leave_moved(head, seen);
            } else {
                ticket::leave_moved(head, seen);
                self.free_overflow(head);
            }
            self.give_back(&mut spare);
            local::count_moved();
            return Ok(());
        }
    }

    /// Gives each item its target in `new` and sorts by it. True: the targets belong to this bucket alone until it is
    /// MOVED, because the new length is a multiple of the old one.
    fn aim(
        &self,
        old: &Array,
        new: &Array,
        b: usize,
        items: &mut [Item],
        rehash: &impl Fn(u32) -> u64,
    ) -> bool {
        let (from, to) = (old.len(), new.len());
        match doublings(from, to, old.fraction_bits) {
            // floor(hash * from * 2^k / 2^64) follows from the bucket and the k bits below it: no entry is visited.
            Some(k) => {
                for item in &mut *items {
                    item.target = b << k | (item.fraction as usize) >> (FRACTION_BITS - k);
                    item.fraction = ((item.fraction as u32) << k) as u8;
                }
            }
            None => {
                // An inconsistent `rehash` (or, in type-stable use, an entry recycled under us, which the ticket will
                // show) must not lead out of the interval.
                let first = new.bucket(crate::scale::interval_start(b as u64, from as u64) as u64);
                let last = new
                    .bucket((crate::scale::interval_start(b as u64 + 1, from as u64) - 1) as u64);
                for item in &mut *items {
                    let hash = rehash(item.handle);
                    item.target = new.bucket(hash).clamp(first, last);
                    item.fraction = new.fraction(hash);
                }
            }
        }
        items.sort_unstable_by_key(|i| i.target);
        to.is_multiple_of(from)
    }

    /// Gives the overflow lines of a moved bucket back. Its chain is never written again but here.
    fn free_overflow(&self, head: &Line) {
        let mut link = head.link_locked();
        while !nulls::is_end(link) {
            // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
            let y = unsafe { &*link };
            link = y.link_locked();
            y.wipe();
            self.lines.free(y);
        }
    }

    fn give_back(&self, spare: &mut Scratch<Option<&Line>, 8>) {
        while let Some(y) = spare.pop() {
            self.lines.free_unused(y);
        }
    }

    /// Does one share of a running resize, and finishes it when nothing is left to move.
    #[inline]
    pub(super) fn help(&self, guard: Pinned<'_>, rehash: &impl Fn(u32) -> u64) {
        let t = self.root_array(guard);
        if let Some(next) = t.next() {
            self.help_with(t, next, rehash);
        }
    }

    #[cold]
    fn help_with(&self, t: &Array, next: &Array, rehash: &impl Fn(u32) -> u64) {
        // Relaxed: claims only share the work out; a bucket that two helpers claim is moved once all the same.
        let claimed = t.claim.fetch_add(SHARE, Relaxed);
        // All handed out: look after what others have left behind.
        let from = if claimed < t.len() {
            claimed
        } else {
            t.watermark()
        };
        for b in from..(from + SHARE).min(t.len()) {
            let _ = self.move_bucket(t, next, b, false, rehash);
        }
        self.advance(t, 2 * SHARE);
        if t.watermark() == t.len() {
            self.finish(t, next);
        }
    }

    /// Moves the watermark past buckets that have moved, at most `most` of them.
    fn advance(&self, t: &Array, most: usize) {
        let w = t.watermark();
        let end = (w + most).min(t.len());
        let e = (w..end)
            .find(|&b| ticket::load(t.head(b)) & ticket::MOVED == 0)
            .unwrap_or(end);
        if e > w {
            t.advance_watermark(w, e);
        }
    }

    /// Publishes `next` as the root, once, and retires `t`. Skipped when somebody else administers; helpers come again.
    #[cold]
    fn finish(&self, t: &Array, next: &Array) {
        let published = self.admin.try_lock().and_then(|_admin| {
            let root = self.root.load().array;
            let ours = core::ptr::eq(root, t);
            if ours {
                self.root.publish(next.snapshot());
            }
            ours.then_some(root)
        });
        if let Some(root) = published {
            // SAFETY: made by `Box::into_raw`, left the root in this very publication, and is retired by the one thread
            // that published its successor. Readers that may still look at it are pinned.
            let t = unsafe { Box::from_raw(root) };
            let bytes = t.bytes();
            // However full the bag is: `release` flushes it.
            let _ = self.retired.retire(t, bytes);
            // Relaxed: a hint.
            self.litter.store(true, Relaxed);
        }
        let _ = self.start_wanted();
    }

    /// Starts the resize that is wanted, if any and if none is running. To be called after every store to `wanted` and every
    /// end of a resize.
    pub(super) fn start_wanted(&self) -> Result<(), AllocError> {
        loop {
            // On both sides of a missed meeting: between the wish and the attempt to take `admin`, and between leaving `admin`
            // (here or in `finish`) and the look at the wish. Either whoever wants a resize finds the lock free, or
            // whoever held it sees the wish.
            fence(order::wanted_fence());
            // Relaxed: only a hint to come in; the value is taken under the lock.
            if self.wanted.load(Relaxed) == 0 {
                break;
            }
            let Some(admin) = self.admin.try_lock() else {
                break;
            };
            let guard = crate::rcu::pin();
            let t = self.root_array(guard.pinned());
            if t.next().is_none() {
                // Relaxed: taken under the lock.
                let len = self.wanted.swap(0, Relaxed);
                if len != 0 && len != t.len() {
                    self.start(t, len)?;
                }
            }
            drop(admin);
            if self.root_array(guard.pinned()).next().is_some() {
                // Whoever finishes the running resize comes here again.
                break;
            }
        }
        Ok(())
    }

    /// Allocates the next generation; writers move the buckets. The caller administers, and no resize is running.
    fn start(&self, t: &Array, len: usize) -> Result<(), AllocError> {
        let bits = match doublings(t.len(), len, t.fraction_bits) {
            Some(k) => (t.fraction_bits - k).min(self.fresh_fraction_bits()),
            None => self.fresh_fraction_bits(),
        };
        let next = Array::new(len, t.age + 1, bits, Pages::Small, self.budget.as_ref())?;
        self.root.unsettle();
        t.set_next(next);
        Ok(())
    }

    /// Valid bits of a fraction that a move makes from the entry's hash.
    #[cfg(not(feature = "ablation"))]
    fn fresh_fraction_bits(&self) -> u32 {
        FRACTION_BITS
    }

    /// The same, or none at all.
    #[cfg(feature = "ablation")]
    fn fresh_fraction_bits(&self) -> u32 {
        if self.forgets_fractions {
            0
        } else {
            FRACTION_BITS
        }
    }

    /// Asks for `len` buckets: at once when no resize is running, else after the one that is.
    pub(super) fn want(&self, len: usize) -> Result<(), AllocError> {
        // Relaxed: ordered by the fence in `start_wanted`, and the lock.
        self.wanted.store(len, Relaxed);
        self.start_wanted()
    }

    /// Looks at the fill: asks for growth or shrinking; gives a slice of retired memory back.
    #[cold]
    pub(super) fn look_after(&self) {
        let guard = crate::rcu::pin();
        let root = self.root_array(guard.pinned());
        let newest = root.next().unwrap_or(root);
        let (entries, len) = (self.count.get(), newest.len());
        let target = if entries > len.saturating_mul(FILL) {
            len.saturating_mul(2)
        } else if entries < len * FILL / 8 && len > self.floor() {
            (len / 4).max(self.floor())
        } else {
            len
        };
        if target != len {
            // A failed allocation fails no write: chains get longer, and the next look tries again.
            let _ = self.want(target);
        }
        self.release(SLICE);
    }

    /// Frees up to `bytes` of arrays that no reader can reach any more. True when none is left.
    pub(super) fn release(&self, bytes: usize) -> bool {
        // Relaxed: a hint; whoever leaves something sets it afterwards.
        if !self.litter.load(Relaxed) {
            return true;
        }
        self.litter.store(false, Relaxed);
        // Neither lock is held while the kernel unmaps, or while another's is taken.
        self.retired.flush(|t| self.dying.lock().push(t));
        let mut left = bytes;
        while let Some(mut t) = { self.dying.lock().pop() } {
            let before = t.bytes();
            if !t.release_slice(left) {
                self.dying.lock().push(t);
                break;
            }
            left = left.saturating_sub(before);
            if left == 0 {
                break;
            }
        }
        let clean = self.dying.lock().is_empty() && self.retired.waiting().items == 0;
        if !clean {
            self.litter.store(true, Relaxed);
        }
        clean
    }

    /// Finishes a running resize and those that are queued, waiting for writers in their buckets, and frees what
    /// nobody can reach any more. A phase without writes never finishes a resize by itself: this does.
    ///
    /// Returns whether nothing is left to do; a reader that stays pinned can keep old arrays alive.
    ///
    /// # Errors
    /// No memory for a bucket's overflow lines; the table works on with both generations.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// table.probe(&rcu::pin(), hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// table.resize(10)?;
    /// table.maintain(&hash)?;
    /// assert_eq!(table.buckets(), 10);
    /// assert_eq!(table.find(&rcu::pin(), hash(1), |x| (x == 1).then_some(x)), Some(1));
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn maintain(&self, rehash: &impl Fn(u32) -> u64) -> Result<bool, AllocError> {
        loop {
            let guard = crate::rcu::pin();
            let t = self.root_array(guard.pinned());
            let Some(next) = t.next() else {
                self.start_wanted()?;
                if self.root_array(guard.pinned()).next().is_some() {
                    continue;
                }
                break;
            };
            for b in t.watermark()..t.len() {
                match self.move_bucket(t, next, b, true, rehash) {
                    Ok(()) => {}
                    Err(NotMoved::Alloc(e)) => return Err(e),
                    Err(NotMoved::Busy) => unreachable!("it waits"),
                }
                self.advance(t, SHARE);
            }
            self.advance(t, t.len());
            self.finish(t, next);
            drop(guard);
            crate::sync::spin_hint();
        }
        Ok(self.release(usize::MAX))
    }
}

/// By how many bits the bucket number grows, if the entries' fractions say all that a move needs to know.
fn doublings(from: usize, to: usize, bits: u32) -> Option<u32> {
    let k = (to / from).checked_ilog2()?;
    (k > 0 && k <= bits && from.checked_shl(k) == Some(to) && to >> k == from).then_some(k)
}

/// Notes every entry of the chain that begins at `head`. Returns where the walk ended.
fn collect(head: &Line, items: &mut Scratch<Item, 32>) -> Result<*mut Line, AllocError> {
    let mut line = head;
    loop {
        let tags = line.tags();
        for i in tags.used() {
            let handle = line.handle(i);
            if handle != 0 {
                items.push(Item {
                    handle,
                    tag: tags.tag(i),
                    fraction: line.fraction(i),
                    target: 0,
                })?;
            }
        }
        let link = line.link();
        if nulls::is_end(link) {
            return Ok(link);
        }
        // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
        line = unsafe { &*link };
    }
}

/// How many overflow lines the move may take. A shared target may turn out to be full.
fn lines_needed(items: &[Item], private: bool) -> usize {
    items
        .chunk_by(|a, b| a.target == b.target)
        .map(|g| {
            if private {
                g.len().div_ceil(SLOTS) - 1
            } else {
                g.len().div_ceil(SLOTS)
            }
        })
        .sum()
}

/// Fills a target that nobody else can see: written without being read, so that a fresh page is touched once.
fn place_private(target: &Line, group: &[Item], spare: &mut Scratch<Option<&Line>, 8>) {
    let (first, rest) = group.split_at(group.len().min(SLOTS));
    target.fill(first);
    for part in rest.chunks(SLOTS) {
        let y = spare
            .pop()
            .flatten()
            .expect("lines_needed counted this line");
        target.link_behind(nulls::own(target), y);
        y.fill(part);
    }
}

/// Adds to a target that neighbours and writers use too, under its lock.
fn place_shared(target: &Line, group: &[Item], spare: &mut Scratch<Option<&Line>, 8>) {
    let mut backoff = Backoff::new();
    let seen = loop {
        let seen = ticket::load(target);
        debug_assert_eq!(
            seen & ticket::MOVED,
            0,
            "the next generation moves only after this one has"
        );
        if seen & ticket::LOCK == 0 && ticket::take(target, seen) {
            break seen;
        }
        backoff.wait();
    };
    let mut line = target;
    for item in group {
        let slot = loop {
            if let Some(i) = line.tags_locked().empty().next() {
                break i;
            }
            let front = target.link_locked();
            line = if core::ptr::eq(line, target) && !nulls::is_end(front) {
                // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
                unsafe { &*front }
            } else {
                let y = spare
                    .pop()
                    .flatten()
                    .expect("lines_needed counted this line");
                target.link_behind(nulls::own(target), y);
                y
            };
        };
        line.set(slot, item.tag, item.fraction, item.handle);
    }
    ticket::leave(target, seen);
}
