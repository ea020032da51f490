//! What was unlinked and waits for its grace period: one set of lists per owner, sharded by thread.
//!
//! A retired item goes into its shard's *bag*. A full bag is closed into a *batch*, a heavy fence and a stamp begin the batch's
//! grace period, and a later [`collect`](Garbage::collect) finds that it has ended and hands the items to the owner's closure.
//! Bags grow from [`MIN_BATCH`] to [`MAX_BATCH`] items while writes keep coming, because one `membarrier(2)` can cost
//! microseconds; [`flush`](Garbage::flush) starts them small again.
//!
//! The shards' locks are held for list surgery only: neither the fence nor the owner's closure, which runs destructors of
//! users, runs under one. So a destructor may retire again, collect again, or panic: what it leaves goes back into the list.

use crate::mem::AllocError;
use crate::stripe::Striped;
use crate::sync::{Lock, check};
use alloc::vec::Vec;

use super::{Domain, domain};

/// The smallest full bag.
pub const MIN_BATCH: usize = if cfg!(nulls_loom) { 1 } else { 64 };
/// The largest.
pub const MAX_BATCH: usize = if cfg!(nulls_loom) { 1 } else { 2048 };
/// A bag that holds more bytes than this is full too.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// The stamp of a batch whose grace period has not begun: it is below no bound.
const NOT_BEGUN: u64 = u64::MAX;

/// Items of one owner that wait for their grace period. Dropping it drops the items in it, so that an owner of handles
/// [drains](Self::drain) it first.
#[derive(Debug)]
pub struct Garbage<T> {
    domain: &'static Domain,
    shards: Striped<Lock<Shard<T>>>,
}

#[derive(Debug)]
pub(super) struct Shard<T> {
    bag: Vec<T>,
    bag_bytes: usize,
    /// How many items make the bag full.
    limit: usize,
    batches: Vec<Batch<T>>,
    /// The number of the next batch.
    next: u64,
    /// Items that were given up, alive, because there was no memory to list them.
    lost: usize,
}

#[derive(Debug)]
struct Batch<T> {
    /// Counts up within the shard.
    number: u64,
    stamp: u64,
    bytes: usize,
    items: Vec<T>,
}

/// How much waits, and how much was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Items retired and not yet freed.
    pub items: usize,
    /// Their size, as given when they were retired.
    pub bytes: usize,
    /// Items that will never be freed, because the system had no memory to list them.
    pub lost: usize,
}

impl<T> Shard<T> {
    fn new() -> Self {
        Self {
            bag: Vec::new(),
            bag_bytes: 0,
            limit: MIN_BATCH,
            batches: Vec::new(),
            next: 0,
            lost: 0,
        }
    }

    fn is_due(&self) -> bool {
        self.bag.len() >= self.limit || self.bag_bytes >= MAX_BATCH_BYTES
    }

    /// Makes the bag a batch. Without memory for that it stays a bag.
    fn close(&mut self) {
        if self.bag.is_empty() || self.batches.try_reserve(1).is_err() {
            return;
        }
        self.batches.push(Batch {
            number: self.next,
            stamp: NOT_BEGUN,
            bytes: core::mem::take(&mut self.bag_bytes),
            items: core::mem::take(&mut self.bag),
        });
        self.next += 1;
    }

    /// Closes the bag if it is full, or whatever it holds.
    pub(super) fn close_if_due(&mut self, all: bool) {
        if all {
            self.limit = MIN_BATCH;
            self.close();
        } else if self.is_due() {
            self.limit = (self.limit * 2).min(MAX_BATCH);
            self.close();
        }
    }

    /// The number below which batches may begin their grace period now, if any has not.
    pub(super) fn not_begun(&self) -> Option<u64> {
        self.batches
            .iter()
            .any(|b| b.stamp == NOT_BEGUN)
            .then_some(self.next)
    }

    /// Lists a batch again. Without memory for that its items are lost.
    fn put_back(&mut self, batch: Batch<T>) {
        if self.batches.try_reserve(1).is_ok() {
            self.batches.push(batch);
        } else {
            self.lost += batch.items.len();
            core::mem::forget(batch.items);
        }
    }
}

impl<T> Garbage<T> {
    /// Empty lists.
    pub fn try_new() -> Result<Self, AllocError> {
        Self::try_new_in(domain())
    }

    /// The same for readers of another domain.
    pub(super) fn try_new_in(domain: &'static Domain) -> Result<Self, AllocError> {
        Ok(Self {
            domain,
            shards: Striped::try_new(|| Lock::new(Shard::new()))?,
        })
    }

    /// The calling thread's shard.
    pub(super) fn mine(&self) -> &Lock<Shard<T>> {
        self.shards.get(self.shards.mine())
    }

    /// Takes an item that no reader can reach any more, except those already reading. `bytes` is for the accounts.
    ///
    /// Returns whether the bag is full: the caller then calls [`collect`](Self::collect) as soon as it holds no lock. Never
    /// fails: when there is no memory to list the item it is given up, and counted as [lost](Waiting::lost).
    #[inline]
    #[must_use]
    pub fn retire(&self, item: T, bytes: usize) -> bool {
        self.retire_for(crate::rcu::thread_index(), item, bytes)
    }

    /// As [`retire`](Self::retire), for the thread of this index.
    #[inline]
    #[must_use]
    pub(crate) fn retire_for(&self, thread: usize, item: T, bytes: usize) -> bool {
        let mut shard = self.shards.get(self.shards.index(thread)).lock();
        if shard.bag.len() == shard.bag.capacity() && !grow(&mut shard) {
            shard.lost += 1;
            core::mem::forget(item);
            return true;
        }
        shard.bag.push(item);
        shard.bag_bytes += bytes;
        shard.is_due()
    }

    /// Begins the grace period of the calling thread's bag if it is full, and hands to `free` every item of its shard
    /// whose grace period has ended.
    ///
    /// `free` runs outside of all locks and may do what it likes.
    pub fn collect(&self, mut free: impl FnMut(T)) {
        self.collect_batches(|items| each(items, &mut free));
    }

    /// As [`collect`](Self::collect), but `free` gets whole batches. It takes out what it frees: what is left when it
    /// panics goes back.
    pub fn collect_batches(&self, mut free: impl FnMut(&mut Vec<T>)) {
        self.work(self.mine(), false, &mut free);
    }

    /// As [`collect`](Self::collect) for the shards of all threads, full bag or not.
    pub fn flush(&self, mut free: impl FnMut(T)) {
        for shard in self.shards.iter() {
            self.work(shard, true, &mut |items| each(items, &mut free));
        }
    }

    /// Hands everything to `free` at once. For an owner that nobody reads any more. If `free` panics, what it has not got
    /// yet is still there.
    pub fn drain(&mut self, mut free: impl FnMut(T)) {
        for shard in self.shards.iter_mut() {
            let shard = shard.get_mut();
            while let Some(batch) = shard.batches.last_mut() {
                while let Some(item) = batch.items.pop() {
                    free(item);
                }
                shard.batches.pop();
            }
            while let Some(item) = shard.bag.pop() {
                free(item);
            }
            shard.bag_bytes = 0;
        }
    }

    /// How much waits.
    pub fn waiting(&self) -> Waiting {
        self.shards
            .iter()
            .fold(Waiting::default(), |mut sum, shard| {
                let shard = shard.lock();
                sum.items +=
                    shard.bag.len() + shard.batches.iter().map(|b| b.items.len()).sum::<usize>();
                sum.bytes += shard.bag_bytes + shard.batches.iter().map(|b| b.bytes).sum::<usize>();
                sum.lost += shard.lost;
                sum
            })
    }

    fn work(&self, shard: &Lock<Shard<T>>, all: bool, free: &mut impl FnMut(&mut Vec<T>)) {
        let (listed, not_begun) = {
            let mut shard = shard.lock();
            shard.close_if_due(all);
            (!shard.batches.is_empty(), shard.not_begun())
        };
        if let Some(before) = not_begun {
            // If the kernel refuses, the batches wait for another time.
            if let Some(stamp) = self.domain.begin() {
                Self::stamp(shard, before, stamp);
            }
        }
        if !listed {
            return;
        }
        let completed = self.domain.completed();
        while let Some(batch) = Self::take_ended(shard, completed) {
            let mut rest = Rest { shard, batch };
            free(&mut rest.batch.items);
        }
    }

    /// Stamps the batches numbered below `before`, all of them closed before their grace period began.
    pub(super) fn stamp(shard: &Lock<Shard<T>>, before: u64, stamp: u64) {
        // A batch closed meanwhile holds items that were unlinked after our fence.
        let all = check::mutant("rcu:stamp-later-batches");
        let mut shard = shard.lock();
        for batch in &mut shard.batches {
            if batch.stamp == NOT_BEGUN && (batch.number < before || all) {
                batch.stamp = stamp;
            }
        }
    }

    fn take_ended(shard: &Lock<Shard<T>>, completed: u64) -> Option<Batch<T>> {
        let mut shard = shard.lock();
        let ended = shard.batches.iter().position(|b| b.stamp < completed)?;
        Some(shard.batches.swap_remove(ended))
    }
}

/// Hands the items to `free`, one by one.
fn each<T>(items: &mut Vec<T>, free: &mut impl FnMut(T)) {
    while let Some(item) = items.pop() {
        free(item);
    }
}

/// Makes room for a bag of the present limit.
#[cold]
fn grow<T>(shard: &mut Shard<T>) -> bool {
    let wanted = shard.limit.saturating_sub(shard.bag.len()).max(MIN_BATCH);
    shard.bag.try_reserve(wanted).is_ok()
}

/// A batch being freed; what is left of it when a destructor panics goes back.
struct Rest<'a, T> {
    shard: &'a Lock<Shard<T>>,
    batch: Batch<T>,
}

impl<T> Drop for Rest<'_, T> {
    fn drop(&mut self) {
        if self.batch.items.is_empty() {
            return;
        }
        let batch = Batch {
            items: core::mem::take(&mut self.batch.items),
            ..self.batch
        };
        self.shard.lock().put_back(batch);
    }
}
