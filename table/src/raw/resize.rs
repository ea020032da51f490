//! Moving a bucket to the next generation, which may have any length. When that happens is the business of
//! [`generations`](crate::generations).
//!
//! The only wait under a lock: a mover that holds an old bucket may wait for a bucket of the next generation that it
//! shares with its neighbour. Locks are thus always taken from older to newer, one newer at a time, and whoever holds a
//! newer one waits for nothing.

use super::buckets::{Array, Doublings, fraction};
use super::line::{Line, Packed};
use super::{AllocError, Table, local, nulls, ticket};
use crate::generations::{Move, NotMoved, Step};
use crate::rcu::Pinned;
use crate::scratch::Scratch;
use crate::sync::Backoff;
use crate::sync::check::mutant;
use crate::tags::SLOTS;

/// An entry on its way.
#[derive(Clone, Copy, Debug)]
struct Item {
    handle: u32,
    tag: u8,
    fraction: u8,
    target: usize,
}

/// The logarithm of the most buckets that a bucket is split into without making a list of its entries.
const FAN_BITS: u32 = 1;

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
            if move_line(head, seen, new, b) || self.move_chain(head, seen, old, new, b, rehash)? {
                local::count_moved();
                return Ok(());
            }
            local::count_restart();
        }
    }

    /// Every case but that of [`move_line`]. False: the bucket has changed.
    #[cold]
    #[inline(never)]
    fn move_chain(
        &self,
        head: &Line,
        seen: u64,
        old: &Array,
        new: &Array,
        b: usize,
        rehash: &impl Fn(u32) -> u64,
    ) -> Result<bool, NotMoved> {
        let mut items = Scratch::<Item, 32>::new();
        let mut spare = Scratch::<Option<&Line>, 8>::new();
        let end = collect(head, &mut items).map_err(NotMoved::Alloc)?;
        if !ticket::complete(head, end) {
            return Ok(false);
        }
        aim(old, new, b, items.as_mut_slice(), rehash);
        // The targets belong to this bucket alone until it is MOVED.
        let private = matches!(new.step(), Step::Split(_));
        for _ in 0..lines_needed(items.as_slice(), private) {
            if let Err(e) = self.lines.alloc().and_then(|y| spare.push(Some(y))) {
                self.give_back(&mut spare);
                return Err(NotMoved::Alloc(e));
            }
        }
        if !ticket::take(head, seen) {
            self.give_back(&mut spare);
            return Ok(false);
        }
        let early = mutant("resize:moved-before-placed");
        if early {
            ticket::leave_moved(head, seen);
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
            if !early {
                ticket::leave_moved(head, seen);
            }
            self.free_overflow(head);
        }
        self.give_back(&mut spare);
        Ok(true)
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

    /// How this table moves a bucket.
    #[inline(always)]
    fn mover(&self, rehash: &impl Fn(u32) -> u64) -> impl Move<super::buckets::Buckets> {
        |old, new, b, wait| self.move_bucket(old, new, b, wait, rehash)
    }

    /// Does one share of a running resize, and finishes it when nothing is left to move.
    #[inline]
    pub(super) fn help(&self, guard: Pinned<'_>, rehash: &impl Fn(u32) -> u64) {
        self.generations.help(guard, &self.mover(rehash));
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
        self.generations.maintain(&self.mover(rehash))
    }
}

/// The common case: a bucket of one line that is split into a few of its own, or goes into one that has room, by what its fractions
/// say. False: it is another case, or the bucket has changed. Then nothing was done.
fn move_line(head: &Line, seen: u64, new: &Array, b: usize) -> bool {
    match new.cells.by_fractions {
        // The link too is as it was when the ticket was `seen`, or the lock will not be had.
        Some(step) if nulls::is_end(head.link()) => match step {
            Doublings::Up(k) if k <= FAN_BITS => split_line(head, seen, new, step, b),
            Doublings::Up(_) => false,
            Doublings::Down(_) => merge_line(head, seen, new, step, b),
        },
        _ => false,
    }
}

fn split_line(head: &Line, seen: u64, new: &Array, step: Doublings, b: usize) -> bool {
    if !ticket::take(head, seen) {
        return false;
    }
    debug_assert!(nulls::is_end(head.link_locked()));
    let early = mutant("resize:moved-before-placed");
    if early {
        ticket::leave_moved(head, seen);
    }
    let (first, _) = step.apply(b, 0);
    let mut groups = [Packed::EMPTY; 1 << FAN_BITS];
    for (tag, fraction, handle) in head.entries_locked() {
        let (target, fraction) = step.apply(b, fraction);
        groups[target - first].push(tag, fraction, handle);
    }
    for (n, group) in groups.iter().enumerate() {
        // Not so much as read if there is nothing for it: a fresh page is not touched then.
        if !group.is_empty() {
            new.head(first + n).fill(group);
        }
    }
    if !early {
        ticket::leave_moved(head, seen);
    }
    true
}

fn merge_line(head: &Line, seen: u64, new: &Array, step: Doublings, b: usize) -> bool {
    if !ticket::take(head, seen) {
        return false;
    }
    debug_assert!(nulls::is_end(head.link_locked()));
    if head.tags_locked().count() == 0 {
        // As most are when a table shrinks.
        ticket::leave_moved(head, seen);
        return true;
    }
    let target = new.head(step.apply(b, 0).0);
    let there = lock_target(target);
    if target.tags_locked().count() + head.tags_locked().count() > SLOTS {
        ticket::abandon(target, there);
        ticket::abandon(head, seen);
        return false;
    }
    let early = mutant("resize:moved-before-placed");
    if early {
        ticket::leave_moved(head, seen);
    }
    for (tag, fraction, handle) in head.entries_locked() {
        let slot = target.tags_locked().empty().next().expect("room was seen");
        target.set(slot, tag, step.apply(b, fraction).1, handle);
    }
    ticket::leave(target, there);
    if !early {
        ticket::leave_moved(head, seen);
    }
    true
}

/// Waits for the lock of a bucket that neighbours and writers use too, and returns the ticket that it was taken from.
fn lock_target(target: &Line) -> u64 {
    let mut backoff = Backoff::new();
    loop {
        let seen = ticket::load(target);
        debug_assert_eq!(
            seen & ticket::MOVED,
            0,
            "the next generation moves only after this one has"
        );
        if mutant("resize:share-without-lock") {
            return seen & !ticket::LOCK;
        }
        if seen & ticket::LOCK == 0 && ticket::take(target, seen) {
            return seen;
        }
        backoff.wait();
    }
}

/// Gives each item its target in `new`, and sorts by it.
fn aim(old: &Array, new: &Array, b: usize, items: &mut [Item], rehash: &impl Fn(u32) -> u64) {
    if let Some(step) = new.cells.by_fractions {
        for item in &mut *items {
            (item.target, item.fraction) = step.apply(b, item.fraction);
        }
    } else {
        // An inconsistent `rehash` (or, in type-stable use, an entry recycled under us, which the ticket will show) must not
        // lead out of the interval.
        let (first, last) = old.targets(b, new);
        for item in &mut *items {
            let hash = rehash(item.handle);
            item.target = new.bucket(hash).clamp(first, last);
            item.fraction = fraction(new.len(), hash);
        }
    }
    items.sort_unstable_by_key(|i| i.target);
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
    target.fill(&packed(first));
    for part in rest.chunks(SLOTS) {
        let y = spare
            .pop()
            .flatten()
            .expect("lines_needed counted this line");
        target.link_behind(nulls::own(target), y);
        y.fill(&packed(part));
    }
}

fn packed(items: &[Item]) -> Packed {
    let mut line = Packed::EMPTY;
    for item in items {
        line.push(item.tag, item.fraction, item.handle);
    }
    line
}

/// Adds to a target that neighbours and writers use too, under its lock.
fn place_shared(target: &Line, group: &[Item], spare: &mut Scratch<Option<&Line>, 8>) {
    let seen = lock_target(target);
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
