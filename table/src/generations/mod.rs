//! Generations of buckets, whatever the buckets are made of: the root, the resize that runs, and the arrays that nobody
//! needs any more.
//!
//! A bucket is an interval of hashes, so the arrays of two generations are streamed in order. `truth(hash)` is the first
//! generation, from the root along `next`, whose bucket for the hash has not moved; every operation finds it for itself.
//! Moving a bucket, which is the tables' own business ([`raw`](crate::raw) and [`InlineMap`](crate::InlineMap) each have
//! buckets of their own), is therefore the whole protocol, and everything here (sharing the work out, the watermark,
//! publishing the new root, freeing the old array) only collects what nobody needs any more.

mod array;
pub(crate) mod latch;

pub(crate) use array::{Array, Cells, Step};

use crate::budget::Budget;
use crate::mem::{AllocError, Pages};
use crate::rcu::Pinned;
use crate::rcu::garbage::Garbage;
use crate::sync::{AtomicBool, AtomicUsize, Lock, fence, order};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::sync::atomic::Ordering::Relaxed;
use latch::Latch;

/// Entries per bucket for which a table is sized when the number of entries is known. Less than [`FILL`]: one chain in
/// fifty has a second line then, instead of one in fifteen, and each of those is a branch predicted wrong.
const PRESIZE_FILL: usize = if cfg!(nulls_loom) { 1 } else { 4 };

/// Entries per bucket on average above which a table grows: five of eight slots.
pub(crate) const FILL: usize = if cfg!(nulls_loom) { 1 } else { 5 };

/// Buckets that one write moves beside its own.
const SHARE: usize = if cfg!(nulls_loom) { 1 } else { 16 };

/// Bytes of a retired array that one look after the table gives back.
const SLICE: usize = 256 << 10;

/// Why a bucket did not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotMoved {
    /// Another writer holds the bucket, and the caller did not want to wait.
    Busy,
    /// No memory for lines that the move needs.
    Alloc(AllocError),
}

/// How a table moves bucket `b` of the first generation to the second, unless it has moved already; the last argument says
/// whether to wait for a writer in the bucket. Every move ends with a bucket for which [`Cells::has_moved`].
pub(crate) trait Move<C>:
    Fn(&Array<C>, &Array<C>, usize, bool) -> Result<(), NotMoved>
{
}

impl<C, F: Fn(&Array<C>, &Array<C>, usize, bool) -> Result<(), NotMoved>> Move<C> for F {}

/// How many buckets hold `entries` entries without growing.
pub(crate) fn buckets_for(entries: usize) -> usize {
    entries.div_ceil(PRESIZE_FILL).max(1)
}

/// What a queued resize is for.
#[derive(Clone, Copy)]
enum Wish {
    /// So many buckets, from 1 on.
    Buckets(usize),
    /// Room for so many entries, whatever the table's length is by then: never a reason to shrink.
    Room(usize),
}

impl Wish {
    /// More than any memory holds, of either.
    const MAX: usize = usize::MAX >> 1;

    /// The wish that is queued as this word; 0 is none.
    fn of(word: usize) -> Option<Self> {
        let n = word >> 1;
        (word != 0).then_some(if word & 1 == 0 {
            Self::Buckets(n)
        } else {
            Self::Room(n)
        })
    }

    fn word(self) -> usize {
        match self {
            Self::Buckets(n) => n.min(Self::MAX) << 1,
            Self::Room(n) => n.min(Self::MAX) << 1 | 1,
        }
    }

    /// The length that a table of `len` buckets shall get; `None`: there is room.
    fn length(self, len: usize) -> Option<usize> {
        match self {
            Self::Buckets(n) => Some(n),
            Self::Room(n) => (n > len.saturating_mul(FILL)).then(|| buckets_for(n)),
        }
    }

    /// This wish, and room for `entries`.
    fn and_room(self, entries: usize) -> Self {
        match self {
            Self::Buckets(n) => Self::Buckets(Self::Room(entries).length(n).unwrap_or(n)),
            Self::Room(n) => Self::Room(n.max(entries)),
        }
    }
}

/// All generations of one table.
#[derive(Debug)]
pub(crate) struct Generations<C: Cells> {
    pub(crate) root: Latch<Array<C>, C::Head>,
    budget: Option<Arc<Budget>>,
    /// Held to start a resize or to publish its end.
    admin: Lock<()>,
    /// The [`Wish`] that is queued, as a word. Only what users ask for is queued: the fill is looked at again and again.
    wanted: AtomicUsize,
    /// The table does not shrink by itself below this many buckets. Written while `admin` is held, as wishes are fulfilled.
    floor: AtomicUsize,
    /// Generations that left the root and may still be looked at.
    retired: Garbage<Box<Array<C>>>,
    /// Generations that nobody can look at any more, given back in slices.
    #[allow(clippy::vec_box, reason = "an array's header is not moved about")]
    dying: Lock<Vec<Box<Array<C>>>>,
    /// Whether `retired` or `dying` may hold something.
    litter: AtomicBool,
}

impl<C: Cells> Generations<C> {
    /// A first generation of `len` buckets, in huge pages where that pays.
    pub(crate) fn try_new(len: usize, budget: Option<Arc<Budget>>) -> Result<Self, AllocError> {
        // Registering with the kernel takes tens of milliseconds in a process that has several threads already (it waits
        // for a grace period of the kernel's own): here, and not in somebody's first insert.
        let _ = crate::rcu::flavour();
        let array = Array::<C>::new(len, None, budget.as_ref(), || C::try_new(len, Pages::Huge))?;
        let snapshot = array.snapshot();
        let _ = Box::into_raw(array);
        Ok(Self {
            root: Latch::new(snapshot),
            budget,
            admin: Lock::new(()),
            wanted: AtomicUsize::new(0),
            floor: AtomicUsize::new(len),
            retired: Garbage::try_new()?,
            litter: AtomicBool::new(false),
            dying: Lock::new(Vec::new()),
        })
    }

    /// The current generation.
    #[inline(always)]
    pub(crate) fn root_array<'g>(&'g self, guard: Pinned<'g>) -> &'g Array<C> {
        let _ = guard;
        // SAFETY: the latch yields a generation that was the root while the caller was pinned: it is not freed before
        // the guard goes.
        unsafe { &*self.root.load().array }
    }

    /// The current generation, when nobody else is there.
    #[cfg(feature = "ablation")]
    pub(crate) fn root_mut(&mut self) -> &mut Array<C> {
        // SAFETY: the root is allocated as long as the table, and `&mut self` keeps everybody else out.
        unsafe { &mut *self.root.load().array }
    }

    /// The number of buckets of the current generation.
    pub(crate) fn buckets(&self) -> usize {
        self.root.load().len
    }

    /// Asks for `buckets` buckets: at once when no resize is running, else after the one that is, in place of what was queued.
    /// Does not shrink below by itself from then on.
    pub(crate) fn resize(&self, buckets: usize) -> Result<(), AllocError> {
        // Relaxed: ordered by the fence in `start_wanted`, and the lock.
        self.wanted
            .store(Wish::Buckets(buckets.max(1)).word(), Relaxed);
        self.start_wanted()
    }

    /// Asks for room for `entries` in the table as it is going to be: a resize that is queued goes on to more if need be, never to
    /// less. If the table grows for it, it does not shrink below by itself from then on.
    pub(crate) fn reserve(&self, entries: usize) -> Result<(), AllocError> {
        let room = Wish::Room(entries);
        // Relaxed: as above.
        let _ = self.wanted.fetch_update(Relaxed, Relaxed, |queued| {
            Some(
                Wish::of(queued)
                    .map_or(room, |w| w.and_room(entries))
                    .word(),
            )
        });
        self.start_wanted()
    }

    /// Whether a resize is running or queued.
    pub(crate) fn is_resizing(&self) -> bool {
        let guard = crate::rcu::pin();
        // Relaxed: an answer about the past in any case.
        self.root_array(guard.pinned()).next().is_some() || self.wanted.load(Relaxed) != 0
    }

    /// Bytes of arrays that are retired and not yet freed.
    pub(crate) fn garbage_bytes(&self) -> usize {
        self.retired.waiting().bytes + self.dying.lock().iter().map(|t| t.bytes()).sum::<usize>()
    }

    /// Does one share of a running resize, and finishes it when nothing is left to move.
    #[inline]
    pub(crate) fn help(&self, guard: Pinned<'_>, mover: &impl Move<C>) {
        let t = self.root_array(guard);
        if let Some(next) = t.next() {
            self.help_with(t, next, mover);
        }
    }

    #[cold]
    fn help_with(&self, t: &Array<C>, next: &Array<C>, mover: &impl Move<C>) {
        // Relaxed: claims only share the work out; a bucket that two helpers claim is moved once all the same.
        let claimed = t.claim.fetch_add(SHARE, Relaxed);
        // All handed out: look after what others have left behind.
        let from = if claimed < t.len() {
            claimed
        } else {
            t.watermark()
        };
        for b in from..(from + SHARE).min(t.len()) {
            let _ = mover(t, next, b, false);
        }
        self.advance(t, 2 * SHARE);
        if t.watermark() == t.len() {
            self.finish(t, next);
        }
    }

    /// Moves the watermark past buckets that have moved, at most `most` of them.
    fn advance(&self, t: &Array<C>, most: usize) {
        let w = t.watermark();
        let end = (w + most).min(t.len());
        let e = (w..end).find(|&b| !C::has_moved(t.head(b))).unwrap_or(end);
        if e > w {
            t.advance_watermark(w, e);
        }
    }

    /// Publishes `next` as the root, once, and retires `t`. Skipped when somebody else administers; helpers come again.
    #[cold]
    fn finish(&self, t: &Array<C>, next: &Array<C>) {
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

    /// Starts the resize that is wanted, if any and if none is running. To be called after every store to `wanted`, and whenever
    /// `admin` was left.
    fn start_wanted(&self) -> Result<(), AllocError> {
        loop {
            // On both sides of a missed meeting: between the wish and the attempt to take `admin`, and between leaving `admin`
            // (here, in `finish` or in `fit`) and the look at the wish. Either whoever wants a resize finds the lock free, or
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
                let wish = Wish::of(self.wanted.swap(0, Relaxed));
                if let Some(len) = wish.and_then(|w| w.length(t.len())) {
                    if len != t.len() {
                        self.start(t, len)?;
                    }
                    // Relaxed: a bound of the policy, which holds the lock too.
                    self.floor.store(len, Relaxed);
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
    fn start(&self, t: &Array<C>, len: usize) -> Result<(), AllocError> {
        let next = Array::new(len, Some(t), self.budget.as_ref(), || {
            t.cells.successor(t.len(), len)
        })?;
        self.root.unsettle();
        t.set_next(next);
        Ok(())
    }

    /// Looks at the fill: grows or shrinks; gives a slice of retired memory back.
    #[cold]
    pub(crate) fn look_after(&self, entries: usize) {
        self.fit(entries);
        self.release(SLICE);
    }

    /// Begins to grow or to shrink if the fill asks for it, and no resize is running or queued: wishes go first, whatever their
    /// length, and a later look finds what they have left to do. Decided while administering, so that it is of the table as it
    /// is, and no wish that was fulfilled meanwhile is taken back.
    fn fit(&self, entries: usize) {
        let guard = crate::rcu::pin();
        let fits = |t: &Array<C>| t.next().is_some() || self.fitting(t.len(), entries) == t.len();
        if fits(self.root_array(guard.pinned())) {
            return;
        }
        let Some(admin) = self.admin.try_lock() else {
            return;
        };
        let t = self.root_array(guard.pinned());
        // Relaxed: a wish that is missed here is found below, and queued behind what begins now.
        if !fits(t) && self.wanted.load(Relaxed) == 0 {
            // A failed allocation fails no write: chains get longer, and the next look tries again.
            let _ = self.start(t, self.fitting(t.len(), entries));
        }
        drop(admin);
        let _ = self.start_wanted();
    }

    /// How many buckets a table of `len` should have by its fill.
    fn fitting(&self, len: usize, entries: usize) -> usize {
        // Relaxed: a bound of the policy.
        let floor = self.floor.load(Relaxed);
        if entries > len.saturating_mul(FILL) {
            len.saturating_mul(2)
        } else if entries < len * FILL / 8 && len > floor {
            (len / 4).max(floor)
        } else {
            len
        }
    }

    /// Frees up to `bytes` of arrays that no reader can reach any more. True when none is left.
    fn release(&self, bytes: usize) -> bool {
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

    /// Finishes a running resize and those that are queued, waiting for writers in their buckets, and frees what nobody can
    /// reach any more. Whether nothing is left to do.
    pub(crate) fn maintain(&self, mover: &impl Move<C>) -> Result<bool, AllocError> {
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
                match mover(t, next, b, true) {
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

impl<C: Cells> Drop for Generations<C> {
    fn drop(&mut self) {
        // SAFETY: the root came from `Box::into_raw`, `&mut self` keeps everybody else out, and it is taken once.
        let mut array = Some(unsafe { Box::from_raw(self.root.load().array) });
        while let Some(mut a) = array {
            array = a.take_next();
        }
        // Retired generations go with their list, at once: a guard that is still alive cannot look at this table.
    }
}
