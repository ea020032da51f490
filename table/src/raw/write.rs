//! Writing: look without the lock, then take it by compare-and-swap from the ticket seen.
//!
//! A [`Probe`] is a look-up that remembers where it looked. Its commits lock the bucket only if its ticket is still the
//! one the probe saw, so what the probe found out (the key is absent; the key is in this slot) still holds under the
//! lock, where only a few stores remain to be done. No user code and no allocation runs while a lock is held.

use super::buckets::{Array, fraction};
use super::line::Line;
use super::{AllocError, Table, local, nulls, ticket};
use crate::rcu::{Guard, Pinned};
use crate::sync::Backoff;
use crate::sync::check::mutant;
use crate::tags::{SLOTS, WideTag, tag_of};

mod two;

/// The bucket changed since the probe: probe again.
///
/// ```
/// use nulls::{raw::Table, rcu};
/// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
/// let table = Table::new();
/// let guard = rcu::pin();
/// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
/// let probe = || table.probe(&guard, hash(1), |x| x == 1, &hash);
/// let (first, second) = (probe(), probe());
/// assert!(first.remove().is_ok());
/// assert_eq!(second.remove().err(), Some(nulls::raw::Stale));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

/// Why a commit did not insert. Nothing has changed.
///
/// ```
/// use nulls::{raw::Table, rcu};
/// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
/// let table = Table::new();
/// let guard = rcu::pin();
/// let probe = || table.probe(&guard, hash(1), |x| x == 1, &hash);
/// let (first, second) = (probe(), probe());
/// assert!(first.insert(1).is_ok());
/// assert_eq!(second.insert(1).err(), Some(nulls::raw::InsertError::Stale));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// The bucket changed since the probe: probe again.
    Stale,
    /// The table holds as many handles as its limit allows.
    Full,
    /// No memory for an overflow line.
    Alloc(AllocError),
}

/// A slot of a chain.
#[derive(Clone, Copy, Debug)]
struct Slot<'g> {
    line: &'g Line,
    index: usize,
}

/// What a look-up for writing saw. Holds no lock: it may be dropped, and any code may run before it is committed.
///
/// ```
/// use nulls::{raw::Table, rcu};
/// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
/// let table = Table::new();
/// let guard = rcu::pin();
/// let probe = table.probe(&guard, hash(1), |x| x == 1, &hash);
/// assert_eq!(probe.hit(), None);
/// let written = probe.insert(1).unwrap();
/// written.assist(&guard, &hash);
/// assert_eq!(table.len(), 1);
/// ```
#[derive(Debug)]
pub struct Probe<'g> {
    table: &'g Table,
    array: &'g Array,
    head: &'g Line,
    ticket: u64,
    hash: u64,
    stripe: usize,
    /// The handle for which the key was equal; 0: none.
    hit: u32,
    /// The hit's slot, or else a free one, if there is one.
    slot: Option<Slot<'g>>,
    free_slots: usize,
    entries: usize,
}

/// What the general case of a probe saw: the parts of a [`Probe`] that its caller does not know. A type of its own, so that
/// a probe of the common case, which stays in registers, is not made where this one is returned.
struct Seen<'g> {
    array: &'g Array,
    head: &'g Line,
    ticket: u64,
    hit: u32,
    /// The line and the index of the slot.
    line: Option<&'g Line>,
    index: u32,
    free_slots: u32,
    entries: u32,
}

/// A commit that took effect. [`assist`](Self::assist) does the writer's share of a running resize.
///
/// ```
/// use nulls::{raw::Table, rcu};
/// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
/// let table = Table::new();
/// let guard = rcu::pin();
/// let written = table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
/// written.assist(&guard, &hash);
/// ```
#[must_use = "a resize advances only if writers assist it"]
#[derive(Debug)]
pub struct Written<'g> {
    table: &'g Table,
    look: bool,
}

impl Written<'_> {
    /// Does a bounded share of a running resize (at most 16 buckets), starts one when the fill asks for it, and gives a
    /// slice of retired memory back. `rehash` yields the hash of any handle of the table; a panic of it is harmless.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// let written = table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// written.assist(&guard, &hash);
    /// ```
    #[inline(always)]
    pub fn assist(self, guard: &Guard, rehash: &impl Fn(u32) -> u64) {
        if self.look || !self.table.generations.root.is_settled() {
            self.assist_slowly(guard.pinned(), rehash);
        }
    }

    #[cold]
    #[inline(never)]
    fn assist_slowly(self, guard: Pinned<'_>, rehash: &impl Fn(u32) -> u64) {
        if self.look {
            self.table.generations.look_after(self.table.len());
        }
        self.table.help(guard, rehash);
    }
}

impl Table {
    /// Brings the bucket of a hash near, for whoever will look at it in a moment.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.prefetch(hash(1));
    /// ```
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        // A model has no caches, but would try what the latch says at every moment.
        if cfg!(nulls_loom) {
            return;
        }
        if let Some((lines, len)) = self.generations.root.try_settled() {
            let b = crate::scale::reciprocal_scale(hash, len as u64) as usize;
            crate::prefetch::read(lines.wrapping_add(b));
        }
    }

    /// Looks up for writing. `eq` as in [`find`](Self::find); `rehash` yields the hash of any handle of the table.
    ///
    /// Waits while another writer is in the bucket (backs off, yields, then sleeps; holds nothing itself). During a
    /// resize it first moves the hash's bucket, so at most one per generation that it passes.
    ///
    /// # Panics
    /// Whatever `eq` and `rehash` panic with; the table is as before.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// let probe = table.probe(&guard, hash(1), |x| x == 1, &hash);
    /// assert_eq!(probe.hit(), None);
    /// ```
    #[inline(always)]
    pub fn probe<'g>(
        &'g self,
        guard: &'g Guard,
        hash: u64,
        mut eq: impl FnMut(u32) -> bool,
        rehash: &impl Fn(u32) -> u64,
    ) -> Probe<'g> {
        // The common case, as in `find`: no resize, nobody in the bucket, and one line that says it all.
        if let Some(root) = self.generations.root.try_settled_whole() {
            let b = crate::scale::reciprocal_scale(hash, root.len as u64) as usize;
            // SAFETY: `b` is below the number of lines of a generation that was the root while we were pinned, as is its
            // header: not freed before we unpin.
            let (head, array): (&Line, &Array) = unsafe { (&*root.heads.add(b), &*root.array) };
            let ticket = ticket::load(head);
            if ticket & (ticket::LOCK | ticket::MOVED) == 0 {
                let probe = Probe {
                    table: self,
                    array,
                    head,
                    ticket,
                    hash,
                    stripe: guard.index(),
                    hit: 0,
                    slot: None,
                    free_slots: 0,
                    entries: 1,
                };
                let tags = head.tags();
                for index in tags.matching(WideTag::of(hash)) {
                    let hit = head.handle(index);
                    if hit != 0 && eq(hit) {
                        let slot = Some(Slot { line: head, index });
                        return Probe { hit, slot, ..probe };
                    }
                }
                if head.link().is_null() && ticket::is_truth(head) {
                    let entries = tags.count();
                    return Probe {
                        slot: tags.empty().next().map(|index| Slot { line: head, index }),
                        free_slots: SLOTS - entries,
                        entries,
                        ..probe
                    };
                }
            }
        }
        self.probe_slowly(guard, hash, eq, rehash)
    }

    /// As [`probe`](Self::probe), for when the common case is not expected: after a stale probe.
    #[inline(always)]
    pub(crate) fn probe_slowly<'g>(
        &'g self,
        guard: &'g Guard,
        hash: u64,
        eq: impl FnMut(u32) -> bool,
        rehash: &impl Fn(u32) -> u64,
    ) -> Probe<'g> {
        let seen = self.look(guard.pinned(), hash, eq, rehash);
        Probe {
            table: self,
            array: seen.array,
            head: seen.head,
            ticket: seen.ticket,
            hash,
            stripe: guard.index(),
            hit: seen.hit,
            slot: seen.line.map(|line| Slot {
                line,
                index: seen.index as usize,
            }),
            free_slots: seen.free_slots as usize,
            entries: seen.entries as usize,
        }
    }

    /// The general case of [`probe`](Self::probe), from the start.
    #[cold]
    #[inline(never)]
    fn look<'g>(
        &'g self,
        guard: Pinned<'g>,
        hash: u64,
        mut eq: impl FnMut(u32) -> bool,
        rehash: &impl Fn(u32) -> u64,
    ) -> Seen<'g> {
        let mut backoff = Backoff::new();
        loop {
            let mut array = self.root_array(guard);
            while let Some(next) = array.next() {
                let b = array.bucket(hash);
                if b >= array.watermark() && self.move_bucket(array, next, b, true, rehash).is_err()
                {
                    // No memory to move it: the old bucket is still the truth, and is written as ever.
                    break;
                }
                array = next;
            }
            let head = array.head(array.bucket(hash));
            let ticket = ticket::load(head);
            if ticket & ticket::LOCK != 0 {
                backoff.wait();
                continue;
            }
            if ticket & ticket::MOVED != 0 {
                continue;
            }
            let mut seen = Seen {
                array,
                head,
                ticket,
                hit: 0,
                line: None,
                index: 0,
                free_slots: 0,
                entries: 0,
            };
            if seen.walk(hash, &mut eq) {
                return seen;
            }
            local::count_restart();
        }
    }
}

impl<'g> Seen<'g> {
    /// Walks the chain. False: it was not seen whole.
    fn walk(&mut self, hash: u64, eq: &mut impl FnMut(u32) -> bool) -> bool {
        let tag = WideTag::of(hash);
        let mut line = self.head;
        loop {
            let tags = line.tags();
            for index in tags.matching(tag) {
                let x = line.handle(index);
                if x != 0 && eq(x) {
                    (self.hit, self.line, self.index) = (x, Some(line), index as u32);
                    self.entries += 1;
                    return true;
                }
            }
            let used = tags.count() as u32;
            self.entries += used;
            self.free_slots += SLOTS as u32 - used;
            if self.line.is_none()
                && let Some(index) = tags.empty().next()
            {
                (self.line, self.index) = (Some(line), index as u32);
            }
            let link = line.link();
            if nulls::is_end(link) {
                return ticket::complete(self.head, link);
            }
            // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
            line = unsafe { &*link };
        }
    }
}

impl<'g> Probe<'g> {
    /// The handle for which `eq` held.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// assert_eq!(table.probe(&guard, hash(1), |x| x == 1, &hash).hit(), Some(1));
    /// assert_eq!(table.probe(&guard, hash(2), |x| x == 2, &hash).hit(), None);
    /// ```
    #[inline]
    pub fn hit(&self) -> Option<u32> {
        (self.hit != 0).then_some(self.hit)
    }

    /// How many entries of the chain were met: all of them on a miss.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// assert_eq!(table.probe(&guard, hash(2), |x| x == 2, &hash).chain_len(), 1);
    /// ```
    #[inline]
    pub fn chain_len(&self) -> usize {
        self.entries
    }

    /// The hash that was looked up.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// assert_eq!(table.probe(&guard, hash(1), |x| x == 1, &hash).hash(), hash(1));
    /// ```
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The hit.
    #[inline]
    fn found(&self) -> (Slot<'g>, u32) {
        let slot = self.slot.filter(|_| self.hit != 0);
        (slot.expect("a commit after a miss"), self.hit)
    }

    #[inline]
    fn take(&self) -> bool {
        ticket::take(self.head, self.ticket)
    }

    #[inline]
    fn leave(&self) {
        ticket::leave(self.head, self.ticket);
    }

    #[inline]
    fn written(&self, look: bool) -> Written<'g> {
        Written {
            table: self.table,
            look,
        }
    }

    /// Writes `x` into a free slot of the locked bucket, whose chain gets `y` first if given.
    #[inline]
    fn place(&self, slot: Option<Slot<'g>>, y: Option<&'g Line>, x: u32) {
        let tag = tag_of(self.hash);
        let fraction = fraction(self.array.len(), self.hash);
        if let Some(y) = y {
            if mutant("write:set-before-link") {
                y.set(0, tag, fraction, x);
            }
            self.head.link_behind(nulls::own(self.head), y);
            y.set(0, tag, fraction, x);
        } else if let Some(slot) = slot {
            slot.line.set(slot.index, tag, fraction, x);
        }
    }

    /// Inserts handle `x` under the probed hash. The probe must have missed.
    ///
    /// Linearizes at the store of the handle.
    ///
    /// # Errors
    /// [`Stale`](InsertError::Stale): probe again. [`Full`](InsertError::Full), [`Alloc`](InsertError::Alloc).
    ///
    /// # Panics
    /// If `x` is 0 or the probe had a hit.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// let probe = table.probe(&guard, hash(1), |x| x == 1, &hash);
    /// probe.insert(1).unwrap().assist(&guard, &hash);
    /// assert_eq!(table.len(), 1);
    /// ```
    #[inline]
    pub fn insert(self, x: u32) -> Result<Written<'g>, InsertError> {
        assert!(
            x != 0 && self.hit == 0,
            "insert of handle {x} after a hit or of the null handle"
        );
        let overflow = match self.slot {
            Some(_) => None,
            None => Some(self.table.lines.alloc().map_err(InsertError::Alloc)?),
        };
        if !self.take() {
            self.table.lines.free_unused(overflow);
            return Err(InsertError::Stale);
        }
        let Some(tick) = self.table.count.try_add(self.stripe, 1) else {
            ticket::abandon(self.head, self.ticket);
            self.table.lines.free_unused(overflow);
            return Err(InsertError::Full);
        };
        self.place(self.slot, overflow, x);
        self.leave();
        Ok(self.written(tick || overflow.is_some()))
    }

    /// Puts handle `x` in the place of the hit, by one store. Returns the handle that was there.
    ///
    /// # Errors
    /// [`Stale`]: probe again.
    ///
    /// # Panics
    /// If `x` is 0 or the probe missed.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// // Handle 101 takes the place of 1 under the same hash.
    /// let (old, _) = table.probe(&guard, hash(1), |x| x == 1, &hash).replace(101).unwrap();
    /// assert_eq!((old, table.len()), (1, 1));
    /// ```
    #[inline]
    pub fn replace(self, x: u32) -> Result<(u32, Written<'g>), Stale> {
        let (slot, old) = self.found();
        assert!(x != 0, "replace by the null handle");
        if !self.take() {
            return Err(Stale);
        }
        slot.line.replace(slot.index, x);
        self.leave();
        Ok((old, self.written(false)))
    }

    /// Removes the hit. Returns its handle, which no look-up that begins from now on finds.
    ///
    /// Linearizes at the store that clears the handle.
    ///
    /// # Errors
    /// [`Stale`]: probe again.
    ///
    /// # Panics
    /// If the probe missed.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// let (gone, _) = table.probe(&guard, hash(1), |x| x == 1, &hash).remove().unwrap();
    /// assert_eq!((gone, table.len()), (1, 0));
    /// ```
    #[inline]
    pub fn remove(self) -> Result<(u32, Written<'g>), Stale> {
        let (slot, old) = self.found();
        if !self.take() {
            return Err(Stale);
        }
        slot.line.clear(slot.index);
        let tick = self.table.count.sub(self.stripe, 1);
        let empty = self.unlink_if_empty(slot.line);
        self.leave();
        self.table.lines.free_unused(empty);
        Ok((old, self.written(tick)))
    }

    /// Takes `line` out of the locked bucket's chain if it is an overflow line without entries.
    #[inline(always)]
    fn unlink_if_empty(&self, line: &'g Line) -> Option<&'g Line> {
        if core::ptr::eq(line, self.head) {
            return None;
        }
        Self::unlink_overflow_if_empty(self.head, line)
    }

    #[cold]
    #[inline(never)]
    fn unlink_overflow_if_empty(head: &'g Line, line: &'g Line) -> Option<&'g Line> {
        if line.tags_locked().count() != 0 {
            return None;
        }
        let mut pred = head;
        loop {
            let link = pred.link_locked();
            debug_assert!(
                !nulls::is_end(link),
                "a line that was in the chain under this ticket"
            );
            if core::ptr::eq(link, line) {
                pred.unlink_next(line);
                return Some(line);
            }
            // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
            pred = unsafe { &*link };
        }
    }
}
