//! Slots with `u32` handles: storage that never moves and is never returned before its owner goes.
//!
//! Three clients share the [core](Slab): entries freed after a grace period ([`NodeSlab`]), counted entries reused at once
//! ([`Pool`](crate::pool::Pool)), and the raw table's overflow lines.
//!
//! # Handles and addresses
//!
//! A handle is a segment's number above [`OFFSET_BITS`] bits of place within the segment. Each base address is biased by
//! its segment's first handle, and the address of a slot is
//!
//! ```text
//! base[handle >> OFFSET_BITS] + handle * size_of::<S>()
//! ```
//!
//! Segments double in size up to the largest that the offset can number, and stay there: 32 segments make 805 million
//! slots, with handles below 2^31. (Finding the segment from the highest bit of a dense number would make 2^32 slots, and
//! costs the look-up a bit scan, which is slow on some processors.)
//!
//! # Who has what
//!
//! Every handle up to the limit is in exactly one place at any time: given out; in a shard's free list; in a shard's range
//! of handles never given out; or above the slab's common mark `fresh`. A move from one place to another happens under the
//! locks of the shards concerned, so whoever holds *all* the shards' locks sees every free handle. That is how
//! exhaustion is exact: [`Exhausted::Limit`] means that at one moment during the call every handle was given out.
//!
//! A shard that runs dry looks at another one before it takes handles never used, and stays with that one as long as
//! it has some to spare: where one thread allocates and another frees, slots find their way back, and memory stays
//! proportional to what is in use.

mod node;
mod shard;
#[cfg(all(test, not(nulls_loom)))]
mod tests;

#[allow(unused_imports, reason = "the map is on its way")]
pub use node::NodeSlab;

use core::marker::PhantomData;
use core::ptr::{self, NonNull};
// No part of any model.
use core::sync::atomic as ptr_cell;

use crossbeam_utils::CachePadded;

use crate::budget::Account;
use crate::mem::{self, AllocError, Pages, Zeroable, ZeroedArray};
use crate::stripe::{self, Striped};
use crate::sync::{AtomicPtr, AtomicU32, AtomicUsize, Held, Lock, check, order};
use shard::Shard;

/// The length of the first segment, a power of two.
const FIRST: u32 = if cfg!(nulls_loom) { 4 } else { 64 };
/// The most segments. A model has few objects to spare.
const SEGMENTS: usize = if cfg!(nulls_loom) { 4 } else { 32 };
/// The bits of a handle that say where in its segment the slot is.
const OFFSET_BITS: u32 = if cfg!(nulls_loom) { 3 } else { 26 };
/// How many handles a shard takes at once.
const BATCH: u32 = if cfg!(nulls_loom) { 1 } else { 64 };

/// Bytes of a cache line, for prefetching.
const LINE: usize = 64;
/// The most lines of a slot that are prefetched.
const MOST_LINES: usize = 4;

/// The largest limit of a slab: handle 0 is nobody's.
pub const MAX_LIMIT: u32 = if cfg!(nulls_loom) {
    15
} else {
    segment_start(SEGMENTS) - 1
};

/// What can live in a [`Slab`]: it lends a dead slot's memory to the free list.
///
/// # Safety
/// What [`set_next_free`](Self::set_next_free) stored, [`next_free`](Self::next_free) returns.
pub unsafe trait Slot: Zeroable {
    /// The next handle of the free list that this slot is in.
    ///
    /// # Safety
    /// The slot is in a free list whose lock the caller holds.
    unsafe fn next_free(&self) -> u32;

    /// Stores the next handle of a free list.
    ///
    /// # Safety
    /// The slot is dead (it may never have lived), and the caller is the only one to touch it, except for readers of
    /// type-stable slots, who touch atomics.
    unsafe fn set_next_free(&self, next: u32);
}

/// No slot could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The configured bound is reached: at one moment during the call, no slot was free.
    Limit,
    /// The bound is not reached, but the system gave no memory for more slots, and no old one was free.
    Memory,
    /// The bound is not reached, but a memory limit is, and no old slot was free.
    MemoryLimit,
}

impl From<Exhausted> for AllocError {
    fn from(e: Exhausted) -> Self {
        match e {
            Exhausted::Limit => Self::Handles,
            Exhausted::Memory => Self::System,
            Exhausted::MemoryLimit => Self::MemoryLimit,
        }
    }
}

impl core::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Limit => "the configured number of slots is in use",
            Self::Memory => "memory allocation failed",
            Self::MemoryLimit => "the memory limit is reached",
        })
    }
}

impl core::error::Error for Exhausted {}

/// What a slab holds. Read shard by shard: exact while nobody allocates or frees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlabStats {
    /// Slots given out.
    pub used: usize,
    /// Slots in memory that are free.
    pub free: usize,
    /// Bytes taken from the system.
    pub bytes: usize,
}

/// Slots of one type. Dropping the slab frees the memory; what still lives in the slots is the client's business.
pub struct Slab<S: Slot> {
    /// Biased base addresses; null: no such segment yet.
    bases: [AtomicPtr<S>; SEGMENTS],
    /// The same addresses as they were allocated: for tools that look for leaks, which do not recognise the others. Written
    /// once and never read.
    starts: [ptr_cell::AtomicPtr<S>; SEGMENTS],
    /// The lengths that the segments have once they exist.
    lens: [u32; SEGMENTS],
    /// The most slots. Slots are numbered from 1 in the order of their handles.
    limit: u32,
    /// The smallest number of a slot that no shard was ever given. Moved under a shard's lock only.
    fresh: CachePadded<AtomicU32>,
    bytes: AtomicUsize,
    shards: Striped<Lock<Shard>>,
    /// Who pays for slots that come into use, if somebody must.
    account: Option<Account>,
    _slots: PhantomData<S>,
}

// SAFETY: a slab owns its slots and gives out addresses; what may be done with a slot is the contract of `Slot` and the
// clients' unsafe code.
unsafe impl<S: Slot + Send> Send for Slab<S> {}
// SAFETY: as above.
unsafe impl<S: Slot + Send + Sync> Sync for Slab<S> {}

/// What a dry shard got.
enum Refill {
    /// Something is in the shard now.
    Done,
    /// The next handles never used lie in a segment that does not exist.
    NoSegment(usize),
    /// All handles are with some shard, or in use.
    NoFresh,
    /// A memory limit allows no more.
    OverLimit,
}

impl<S: Slot> Slab<S> {
    /// A slab of at most `limit` slots (cut to [`MAX_LIMIT`]), which takes memory as it grows.
    ///
    /// # Errors
    /// No memory for the shards.
    pub fn try_new(limit: u32) -> Result<Self, AllocError> {
        Self::try_with_shards(limit, stripe::count())
    }

    /// The same, where `account` pays for each slot that comes into use.
    pub(crate) fn try_new_paid(limit: u32, account: Option<Account>) -> Result<Self, AllocError> {
        let mut slab = Self::try_new(limit)?;
        slab.account = account;
        Ok(slab)
    }

    fn try_with_shards(limit: u32, shards: usize) -> Result<Self, AllocError> {
        let limit = limit.min(MAX_LIMIT);
        Ok(Self {
            bases: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            starts: core::array::from_fn(|_| ptr_cell::AtomicPtr::new(ptr::null_mut())),
            lens: core::array::from_fn(|k| segment_len(k, limit)),
            limit,
            fresh: CachePadded::new(AtomicU32::new(1)),
            bytes: AtomicUsize::new(0),
            shards: Striped::try_with(shards, || Lock::new(Shard::default()))?,
            account: None,
            _slots: PhantomData,
        })
    }

    /// The most slots there can be.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Takes memory for `slots` slots now, in huge pages where that pays.
    ///
    /// # Errors
    /// The system has no memory; what was taken stays.
    pub fn reserve(&self, slots: u32) -> Result<(), AllocError> {
        if slots == 0 || self.limit == 0 {
            return Ok(());
        }
        (segment_of(1)..=segment_of(slots.min(self.limit)))
            .try_for_each(|k| self.grow(k, Pages::Huge))
    }

    /// As [`reserve`](Self::reserve), and nobody who uses these slots will wait for the system. Slots beyond come in small pages as
    /// they are used.
    ///
    /// # Errors
    /// The system has no memory; what was taken stays.
    pub fn populate(&self, slots: u32) -> Result<(), AllocError> {
        self.reserve(slots)?;
        // Number 0 is nobody's, but has its place.
        let end = slots as usize + 1;
        for (k, len) in self.segments() {
            let wanted = end.saturating_sub(segment_start(k) as usize);
            if wanted > 0 {
                let start = self.bases[k]
                    .load(order::slab_segment())
                    .wrapping_add(k << OFFSET_BITS);
                // SAFETY: the segment has this length and lives as long as the slab; slots allow to be shared, and nothing of them is read.
                mem::populate(unsafe { core::slice::from_raw_parts(start, len) }, wanted);
            }
        }
        Ok(())
    }

    /// The address of a slot.
    ///
    /// # Safety
    /// The handle was given out by this slab at some time, and that comes before this call.
    #[inline(always)]
    pub unsafe fn slot(&self, handle: u32) -> NonNull<S> {
        debug_assert!(self.is_valid(handle), "handle {handle} was never given out");
        // SAFETY: handles given out are below `SEGMENTS << OFFSET_BITS`.
        let base = unsafe { self.bases.get_unchecked((handle >> OFFSET_BITS) as usize) }
            .load(order::slab_base());
        // SAFETY: the segment exists, and the biased base plus the handle is within it.
        unsafe { NonNull::new_unchecked(base.wrapping_add(handle as usize)) }
    }

    /// The address of a slot that may not exist: for handles of unknown origin.
    #[inline(always)]
    pub fn try_slot(&self, handle: u32) -> Option<NonNull<S>> {
        let (k, offset) = (
            (handle >> OFFSET_BITS) as usize,
            handle & ((1 << OFFSET_BITS) - 1),
        );
        if handle == 0 || k >= SEGMENTS || offset >= self.lens[k] {
            return None;
        }
        let base = self.bases[k].load(order::slab_segment());
        if base.is_null() {
            None
        } else {
            NonNull::new(base.wrapping_add(handle as usize))
        }
    }

    fn is_valid(&self, handle: u32) -> bool {
        // A model must not see this load.
        cfg!(nulls_loom) || self.try_slot(handle).is_some()
    }

    /// Gives out a slot.
    ///
    /// # Errors
    /// See [`Exhausted`].
    #[inline]
    pub fn alloc(&self) -> Result<u32, Exhausted> {
        self.alloc_for(crate::rcu::thread_index())
    }

    /// As [`alloc`](Self::alloc), for the thread of this index.
    ///
    /// # Errors
    /// See [`Exhausted`].
    #[inline(always)]
    pub(crate) fn alloc_for(&self, thread: usize) -> Result<u32, Exhausted> {
        let me = self.shards.index(thread);
        {
            let mut shard = self.shards.get(me).lock();
            // The two common cases; the others are for `take`.
            if let Some((handle, next)) = shard.pop_ready() {
                self.expect_write(next);
                return Ok(handle);
            }
            if shard.head().is_none()
                && let Some(handle) = shard.pop_fresh()
            {
                return Ok(handle);
            }
        }
        self.alloc_one_slowly(me)
    }

    #[cold]
    #[inline(never)]
    fn alloc_one_slowly(&self, me: usize) -> Result<u32, Exhausted> {
        let mut one = [0];
        self.alloc_slow(me, &mut one)?;
        Ok(one[0])
    }

    /// Gives out as many slots as `out` has room for, or none.
    ///
    /// # Errors
    /// See [`Exhausted`]. For more than one slot the bound is not exact while others allocate: two calls that each hold a part
    /// may both fail.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "so far every client takes one at a time")
    )]
    pub fn alloc_many(&self, out: &mut [u32]) -> Result<(), Exhausted> {
        self.alloc_slow(self.shards.mine(), out)
    }

    /// Takes a slot back. It may be given out again at once.
    ///
    /// # Safety
    /// The handle was given out and not taken back since, and the caller gives up what it had in the slot.
    #[inline]
    pub unsafe fn free(&self, handle: u32) {
        let mut shard = self.shards.get(self.shards.mine()).lock();
        // SAFETY: dead, by the contract of this function.
        unsafe { self.put(&mut shard, handle) };
    }

    /// Takes many slots back at once.
    ///
    /// # Safety
    /// As for [`free`](Self::free), for each of them.
    pub unsafe fn free_many(&self, handles: &[u32]) {
        let mut shard = self.shards.get(self.shards.mine()).lock();
        for &handle in handles {
            // SAFETY: dead, by the contract of this function.
            unsafe { self.put(&mut shard, handle) };
        }
    }

    /// What the slab holds.
    pub fn stats(&self) -> SlabStats {
        let mut idle = 0;
        for shard in self.shards.iter() {
            idle += shard.lock().available() as usize;
        }
        let taken = self.fresh.load(order::slab_fresh()) as usize - 1;
        let bytes = self.bytes.load(order::slab_count());
        let there = self
            .segments()
            .map(|(_, len)| len)
            .sum::<usize>()
            .saturating_sub(1);
        let used = taken.saturating_sub(idle);
        SlabStats {
            used,
            free: there.saturating_sub(used),
            bytes,
        }
    }

    /// Calls `f` with every handle that was ever in a shard. The slots of some were never used.
    pub fn each_ever(&mut self, mut f: impl FnMut(u32, NonNull<S>)) {
        for handle in (1..self.fresh.load(order::slab_fresh())).map(handle_of) {
            // SAFETY: below the mark, so its segment exists.
            f(handle, unsafe { self.slot(handle) });
        }
    }

    /// Pops a free slot of a shard, used ones first: they are warm.
    #[inline]
    fn take(&self, shard: &mut Shard) -> Option<u32> {
        if let Some((handle, next)) = shard.pop_ready() {
            self.expect_write(next);
            return Some(handle);
        }
        if let Some(handle) = shard.head() {
            // SAFETY: in a free list, so it was given out; and we hold the lock.
            let next = unsafe { self.slot(handle).as_ref().next_free() };
            shard.pop(next);
            return Some(handle);
        }
        shard.pop_fresh()
    }

    /// Brings a free slot's memory near, which may be far away and is the next to be written: all of it, if that is a few
    /// cache lines. 0: none.
    #[inline(always)]
    fn expect_write(&self, next: u32) {
        if next != 0 {
            // SAFETY: free, so it was given out or is below the mark.
            let slot = unsafe { self.slot(next) }.as_ptr().cast::<u8>();
            for line in (0..size_of::<S>()).step_by(LINE).take(MOST_LINES) {
                crate::prefetch::read(slot.wrapping_add(line));
            }
        }
    }

    /// # Safety
    /// The slot is dead, and the caller's.
    #[inline]
    unsafe fn put(&self, shard: &mut Shard, handle: u32) {
        if shard.push_ready(handle) {
            return;
        }
        // SAFETY: given out, and dead.
        unsafe {
            self.slot(handle)
                .as_ref()
                .set_next_free(shard.head().unwrap_or(0))
        };
        shard.push(handle);
    }

    #[cold]
    fn alloc_slow(&self, me: usize, out: &mut [u32]) -> Result<(), Exhausted> {
        let mut shard = self.shards.get(me).lock();
        let (mut have, mut looked, mut no_memory) = (0, false, false);
        while have < out.len() {
            if let Some(handle) = self.take(&mut shard) {
                out[have] = handle;
                have += 1;
                continue;
            }
            if let Some(victim) = shard.victim(me, self.shards.len())
                && !looked
            {
                drop(shard);
                shard = self.share(me, victim);
                looked = true;
                continue;
            }
            match self.refill(&mut shard) {
                Refill::Done => looked = false,
                Refill::NoSegment(k) if !no_memory => {
                    drop(shard);
                    no_memory = self.grow(k, Pages::Small).is_err();
                    shard = self.shards.get(me).lock();
                }
                Refill::NoSegment(_) | Refill::NoFresh | Refill::OverLimit => {
                    drop(shard);
                    match self.gather(me, (out.len() - have) as u32) {
                        Ok(own) => shard = own,
                        Err(exhausted) => {
                            for &handle in &out[..have] {
                                // SAFETY: given to us above, and unused.
                                unsafe { self.free(handle) };
                            }
                            return Err(exhausted);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets the dry shard `me`, whose lock it returns, have some of `victim`'s freed slots, if that has many.
    fn share(&self, me: usize, victim: usize) -> Held<'_, Shard> {
        let (first, second) = (me.min(victim), me.max(victim));
        let first = self.shards.get(first).lock();
        let second = self.shards.get(second).lock();
        let (mut own, mut other) = if me < victim {
            (first, second)
        } else {
            (second, first)
        };
        if own.available() == 0 {
            if other.freed() >= BATCH {
                self.shift(&mut other, &mut own, BATCH);
            } else {
                own.next_victim();
            }
        }
        own
    }

    /// Gives a shard, which the caller holds and whose range is empty, handles never used.
    fn refill(&self, own: &mut Shard) -> Refill {
        let mut from = self.fresh.load(order::slab_fresh());
        loop {
            if from > self.limit {
                return Refill::NoFresh;
            }
            let k = segment_of(from);
            if self.bases[k].load(order::slab_segment()).is_null() {
                return Refill::NoSegment(k);
            }
            let room = segment_start(k) + self.lens[k] - from;
            let wanted = room.min(BATCH);
            let paid = self.account.as_ref().map_or(wanted, |a| a.admit(wanted));
            if paid == 0 {
                return Refill::OverLimit;
            }
            let to = from + paid;
            if check::mutant("slab:fresh-without-exchange") {
                self.fresh.store(to, order::slab_fresh());
                own.set_fresh(handle_of(from), to - from);
                return Refill::Done;
            }
            match self
                .fresh
                .compare_exchange(from, to, order::slab_fresh(), order::slab_fresh())
            {
                Ok(_) => {
                    own.set_fresh(handle_of(from), to - from);
                    return Refill::Done;
                }
                Err(now) => {
                    if let Some(account) = &self.account {
                        account.refund(paid);
                    }
                    from = now;
                }
            }
        }
    }

    /// Moves up to `most` free slots between two shards whose locks the caller holds.
    fn shift(&self, from: &mut Shard, to: &mut Shard, most: u32) {
        for _ in 0..most {
            let Some(handle) = self.take(from) else { break };
            // SAFETY: free, and under both locks.
            unsafe { self.put(to, handle) };
        }
    }

    /// The last resort: looks at all shards at once, and moves what is free, at least `wanted` and up to a batch, to shard
    /// `me`, whose lock it returns.
    #[cold]
    fn gather(&self, me: usize, wanted: u32) -> Result<Held<'_, Shard>, Exhausted> {
        // Locks are only ever waited for in index order, so that this cannot deadlock.
        let mut all: [Option<Held<'_, Shard>>; stripe::MAX] = [const { None }; stripe::MAX];
        for (i, held) in all.iter_mut().enumerate().take(self.shards.len()) {
            let skip = check::mutant("slab:gather-without-all-locks") && i != me;
            *held = if skip {
                self.shards.get(i).try_lock()
            } else {
                Some(self.shards.get(i).lock())
            };
        }
        let mut own = all[me].take().expect("every shard was locked");
        let aim = wanted.max(BATCH);
        for other in all.iter_mut().flatten() {
            let missing = aim.saturating_sub(own.available());
            let share = other.available().div_ceil(2).max(wanted);
            self.shift(other, &mut own, missing.min(share));
        }
        while own.available() < wanted {
            while let Some(handle) = own.pop_fresh() {
                // SAFETY: never given out, and under the lock.
                unsafe { self.put(&mut own, handle) };
            }
            // Nobody moves the mark while we hold every lock.
            match self.refill(&mut own) {
                Refill::Done => {}
                Refill::NoFresh => return Err(Exhausted::Limit),
                Refill::NoSegment(_) => return Err(Exhausted::Memory),
                Refill::OverLimit => return Err(Exhausted::MemoryLimit),
            }
        }
        Ok(own)
    }

    /// Makes segment `k` exist.
    #[cold]
    fn grow(&self, k: usize, pages: Pages) -> Result<(), AllocError> {
        let base = &self.bases[k];
        let exists = || !base.load(order::slab_segment()).is_null();
        if exists() {
            return Ok(());
        }
        let len = self.lens[k];
        let array = match ZeroedArray::<S>::try_new(len as usize, pages) {
            Ok(array) => array,
            // Others try too, and one may have been luckier.
            Err(_) if exists() => return Ok(()),
            Err(e) => return Err(e),
        };
        let bytes = array.bytes();
        let start = array.into_raw();
        let biased = start.as_ptr().wrapping_sub(k << OFFSET_BITS);
        match base.compare_exchange(
            ptr::null_mut(),
            biased,
            order::slab_install(),
            order::slab_segment(),
        ) {
            Ok(_) => {
                self.starts[k].store(start.as_ptr(), order::slab_count());
                self.bytes.fetch_add(bytes, order::slab_count());
            }
            // SAFETY: made above, and not installed. Untouched, it costs little to give back.
            Err(_) => drop(unsafe { ZeroedArray::from_raw(start, len as usize) }),
        }
        Ok(())
    }

    /// The numbers and lengths of the segments that exist.
    fn segments(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..SEGMENTS)
            .filter(|&k| !self.bases[k].load(order::slab_segment()).is_null())
            .map(|k| (k, self.lens[k] as usize))
    }
}

impl<S: Slot> core::fmt::Debug for Slab<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Slab")
            .field("limit", &self.limit)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<S: Slot> Drop for Slab<S> {
    fn drop(&mut self) {
        for (k, len) in self.segments() {
            let biased = self.bases[k].load(order::slab_segment());
            let start = biased.wrapping_add(k << OFFSET_BITS);
            // SAFETY: from `into_raw` of an array of this length, installed once, and not used after the slab.
            drop(unsafe { ZeroedArray::from_raw(NonNull::new_unchecked(start), len) });
        }
    }
}

/// The segment of the slot with this number.
const fn segment_of(number: u32) -> usize {
    let doubled = 2 << OFFSET_BITS;
    if number < FIRST {
        0
    } else if number < doubled {
        (number / FIRST).ilog2() as usize + 1
    } else {
        segment_of(doubled - 1) + 1 + ((number - doubled) >> OFFSET_BITS) as usize
    }
}

/// The number of the first slot of segment `k`; the first segment has an unused slot for number 0.
const fn segment_start(k: usize) -> u32 {
    let last_doubling = ((1 << OFFSET_BITS) / FIRST).ilog2() as usize + 1;
    if k == 0 {
        0
    } else if k <= last_doubling {
        FIRST << (k - 1)
    } else {
        (2 + (k - last_doubling - 1) as u32) << OFFSET_BITS
    }
}

/// The length of segment `k` under a limit; 0 beyond it.
fn segment_len(k: usize, limit: u32) -> u32 {
    let start = segment_start(k);
    segment_start(k + 1).min(limit + 1).saturating_sub(start)
}

/// The handle of the slot with this number.
fn handle_of(number: u32) -> u32 {
    let k = segment_of(number);
    (k as u32) << OFFSET_BITS | (number - segment_start(k))
}
