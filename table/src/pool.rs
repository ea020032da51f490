//! Type-stable entries with counted handles: the kernel's `SLAB_TYPESAFE_BY_RCU` with a reference count.
//!
//! A slot is constructed once, by [`Default`], and from then on always holds a `T`; entries come and go in it, and it is
//! reused *at once*, without a grace period. So a handle that a reader found may mean another entry by the time it
//! looks. The reader takes a reference first ([`Pool::try_get`] raises a count that is not zero) and compares the key
//! *again* afterwards; from then on the entry is what it is until the reference is dropped.
//!
//! What is read before a reference is held ([`Pool::peek`]) may belong to any entry past or present, so that only the entry's
//! atomics mean anything then. Since `&T` is all that anybody ever gets, safe code cannot get that wrong in a way that
//! the compiler would not notice.
//!
//! # The life of an entry
//!
//! ```text
//! alloc()    count 0: nobody can take a reference; the caller initialises the fields through &T
//! …          the caller links the handle into a table
//! publish()  count := 1 (Release): this is where a look-up can first succeed
//! clone, try_get, drop      count up and down, never up from 0
//! last drop  count 0 again: recycle(), then the slot is free
//! ```

use core::mem::MaybeUninit;

use crate::mem::{AllocError, Zeroable};
use crate::slab::{self, Slab, Slot};
use crate::sync::{AtomicU32, UnsafeCell, check, order};

mod reference;

pub use crate::slab::{Exhausted, SlabStats};
pub use reference::{Ref, Unique};

/// What a pool stores.
///
/// ```
/// use nulls::pool::{Entry, Pool};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// /// Recycled entries are looked at, so all is atomic.
/// #[derive(Default)]
/// struct Session {
///     packets: AtomicU64,
/// }
/// impl Entry for Session {
///     fn recycle(&self) {
///         self.packets.store(0, Relaxed);
///     }
/// }
/// let pool = Pool::<Session>::with_capacity(10);
/// let session = pool.alloc().unwrap().publish();
/// session.packets.fetch_add(5, Relaxed);
/// drop(session);
/// assert_eq!(pool.alloc().unwrap().packets.load(Relaxed), 0);
/// ```
pub trait Entry: Default + Send + Sync {
    /// Called when the last reference is gone (or when an entry is given up unpublished), before the slot is reused: the place
    /// to give back what the entry holds. References that others hold by [`Pool::peek`] may still look at it.
    ///
    /// It runs outside of all locks, and may drop references to other entries, or allocate.
    fn recycle(&self) {}
}

/// The most entries a pool can have.
///
/// ```
/// use nulls::pool::{Entry, Pool};
/// #[derive(Default)]
/// struct Plain;
/// impl Entry for Plain {}
/// let pool = Pool::<Plain>::with_capacity(1);
/// assert!(pool.capacity() <= nulls::pool::MAX_ENTRIES);
/// ```
pub const MAX_ENTRIES: u32 = slab::MAX_LIMIT;

/// A bit of the link word that no handle has: the slot was constructed.
const BUILT: u32 = 1 << 31;

/// Bytes of a cache line, for prefetching.
const LINE: usize = 64;

/// A count above this is taken to be a leak of references on its way to an overflow. As far above it fit threads.
const MAX_COUNT: u32 = i32::MAX as u32;

struct Counted<T> {
    /// References to the entry. 0: none can be taken.
    refs: AtomicU32,
    /// The next free handle, and [`BUILT`].
    link: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: zeroed: no references, not constructed, no value. `MaybeUninit` drops nothing.
unsafe impl<T> Zeroable for Counted<T> {
    #[cfg(nulls_loom)]
    fn zeroed() -> Self {
        Self {
            refs: AtomicU32::new(0),
            link: AtomicU32::new(0),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }
}

// SAFETY: the link word's low bits return what was stored in them.
unsafe impl<T> Slot for Counted<T> {
    unsafe fn next_free(&self) -> u32 {
        self.link.load(order::pool_link_read()) & !BUILT
    }

    unsafe fn set_next_free(&self, next: u32) {
        let built = self.link.load(order::pool_link_read()) & BUILT;
        self.link.store(next | built, order::pool_link());
    }
}

// SAFETY: `value` is written once, before `BUILT` is set; after that the slot gives out `&T` only.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

impl<T> Counted<T> {
    /// # Safety
    /// The slot was constructed, and the caller has synchronised with that.
    #[inline(always)]
    unsafe fn value(&self) -> &T {
        // SAFETY: constructed, and never written again.
        self.value.with(|p| unsafe { (*p).assume_init_ref() })
    }
}

/// Entries of type `T`, at most a fixed number at a time.
///
/// Memory is taken as entries are, and given back when the pool is dropped, which also drops every `T` that was ever constructed.
///
/// ```
/// use nulls::pool::{Entry, Pool};
/// use std::sync::atomic::AtomicU64;
/// # #[derive(Default)]
/// # struct Session(AtomicU64);
/// # impl Entry for Session {}
/// let pool = Pool::<Session>::with_capacity(10);
/// let session = pool.alloc().unwrap().publish();
/// let handle = session.handle();
/// assert!(pool.try_get(handle).is_some());
/// drop(session);
/// assert!(pool.try_get(handle).is_none(), "nobody refers to it any more");
/// ```
pub struct Pool<T: Entry> {
    slab: Slab<Counted<T>>,
}

impl<T: Entry> Pool<T> {
    /// A pool of at most `max_entries` entries (cut to [`MAX_ENTRIES`]). Takes no memory for entries yet.
    ///
    /// # Panics
    /// Aborts as `Vec` does when there is no memory for a few hundred bytes.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// assert_eq!(pool.capacity(), 10);
    /// ```
    pub fn with_capacity(max_entries: u32) -> Self {
        match Self::try_with_capacity(max_entries) {
            Ok(pool) => pool,
            Err(_) => alloc::alloc::handle_alloc_error(core::alloc::Layout::new::<Self>()),
        }
    }

    /// As [`with_capacity`](Self::with_capacity).
    ///
    /// # Errors
    /// There is no memory for a few hundred bytes.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// # #[derive(Default)]
    /// # struct Session;
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::try_with_capacity(10)?;
    /// assert_eq!(pool.capacity(), 10);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn try_with_capacity(max_entries: u32) -> Result<Self, AllocError> {
        Ok(Self {
            slab: Slab::try_new(max_entries.min(MAX_ENTRIES))?,
        })
    }

    /// Takes memory for `entries` entries now, in huge pages where that pays, so that no [`alloc`](Self::alloc) of them waits for the
    /// system. (On Linux before 5.14, and on other systems, pages still come when they are first used.)
    ///
    /// # Errors
    /// The system has no memory; what was taken stays.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// pool.reserve(10)?;
    /// assert!(pool.stats().bytes > 0);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn reserve(&self, entries: u32) -> Result<(), AllocError> {
        self.slab.populate(entries)
    }

    /// The most entries there can be.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// assert_eq!(pool.capacity(), 10);
    /// ```
    pub fn capacity(&self) -> u32 {
        self.slab.limit()
    }

    /// What the pool holds. `used` counts entries with references and entries not yet published.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let one = pool.alloc().unwrap();
    /// assert_eq!(pool.stats().used, 1);
    /// drop(one);
    /// assert_eq!(pool.stats().used, 0);
    /// ```
    pub fn stats(&self) -> SlabStats {
        self.slab.stats()
    }

    /// An entry that nobody else can refer to yet. Its fields hold what the last entry in the slot left (or
    /// `T::default()`).
    ///
    /// # Errors
    /// See [`Exhausted`].
    ///
    /// # Panics
    /// When `T::default` does; the slot is free again then.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let all: Vec<_> = (0..10).map(|_| pool.alloc().unwrap()).collect();
    /// assert!(pool.alloc().is_err());
    /// drop(all);
    /// assert!(pool.alloc().is_ok());
    /// ```
    #[inline]
    pub fn alloc(&self) -> Result<Unique<'_, T>, Exhausted> {
        let handle = self.slab.alloc()?;
        // SAFETY: just given out.
        let slot = unsafe { self.slab.slot(handle).as_ref() };
        if slot.link.load(order::pool_link_read()) & BUILT == 0 {
            self.build(handle, slot);
        }
        Ok(Unique {
            pool: self,
            slot,
            handle,
        })
    }

    #[cold]
    fn build(&self, handle: u32, slot: &Counted<T>) {
        /// Gives the slot back when the constructor panics.
        struct Undo<'a, T: Entry>(&'a Pool<T>, u32);
        impl<T: Entry> Drop for Undo<'_, T> {
            fn drop(&mut self) {
                // SAFETY: given out to `alloc`, which unwinds.
                unsafe { self.0.slab.free(self.1) };
            }
        }
        let undo = Undo(self, handle);
        let value = T::default();
        core::mem::forget(undo);
        // SAFETY: the slot is ours, and without the bit nobody reads the value.
        slot.value.with_mut(|p| unsafe { (*p).write(value) });
        slot.link.store(BUILT, order::pool_link());
    }

    /// Takes a reference to the entry, unless it has none: then the slot is free, or its entry is not published yet.
    ///
    /// The entry may be another one than the caller expects, because the slot was reused: compare the key *after* this.
    /// A handle that this pool never gave out yields `None`.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let new = pool.alloc().unwrap();
    /// assert!(pool.try_get(new.handle()).is_none(), "not published yet");
    /// let session = new.publish();
    /// assert_eq!(pool.try_get(session.handle()).unwrap().count(), 2);
    /// assert!(pool.try_get(12345).is_none());
    /// ```
    #[inline]
    pub fn try_get(&self, handle: u32) -> Option<Ref<'_, T>> {
        // SAFETY: the slot exists, and slots live as long as the slab.
        let slot = unsafe { self.slab.try_slot(handle)?.as_ref() };
        self.raise(slot, handle)
    }

    /// Takes a reference to the entry if `is_it` holds for it: the look-up of a type-stable entry in one call. `is_it` is asked
    /// first without a reference, when only the entry's atomics mean anything (see [`peek`](Self::peek)), so that no count
    /// of a wrong entry is written; then once more with one, because the slot may have been reused in between.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    ///
    /// #[derive(Default)]
    /// struct Session(AtomicU64);
    /// impl Entry for Session {}
    ///
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let new = pool.alloc().unwrap();
    /// new.0.store(7, Relaxed);
    /// let session = new.publish();
    /// let found = pool.get_if(session.handle(), |s| s.0.load(Relaxed) == 7);
    /// assert_eq!(found.unwrap().handle(), session.handle());
    /// assert!(pool.get_if(session.handle(), |s| s.0.load(Relaxed) == 8).is_none());
    /// ```
    // Always: out of line, the reference would come back through memory, written in other pieces than it is read in.
    #[inline(always)]
    pub fn get_if(&self, handle: u32, is_it: impl Fn(&T) -> bool) -> Option<Ref<'_, T>> {
        // SAFETY: the slot exists, and slots live as long as the slab.
        let slot = unsafe { self.slab.try_slot(handle)?.as_ref() };
        if slot.link.load(order::pool_built()) & BUILT == 0 {
            return None;
        }
        // SAFETY: constructed, and the load synchronised with that.
        if !is_it(unsafe { slot.value() }) {
            return None;
        }
        let entry = self.raise(slot, handle)?;
        if is_it(&entry) || check::mutant("pool:key-not-compared-again") {
            Some(entry)
        } else {
            None
        }
    }

    /// Raises the count if it is not zero.
    #[inline(always)]
    fn raise<'a>(&'a self, slot: &'a Counted<T>, handle: u32) -> Option<Ref<'a, T>> {
        let mut count = slot.refs.load(order::pool_look());
        loop {
            if count == 0 && !check::mutant("pool:raise-from-zero") {
                return None;
            }
            check_count(count);
            match slot.refs.compare_exchange_weak(
                count,
                count + 1,
                order::pool_try_get(),
                order::pool_look(),
            ) {
                Ok(_) => {
                    return Some(Ref {
                        pool: self,
                        slot,
                        handle,
                    });
                }
                Err(now) => count = now,
            }
        }
    }

    /// The slot's value, whatever entry it belongs to now: only atomics mean anything.
    ///
    /// # Panics
    /// When the pool never gave the handle out.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let session = pool.alloc().unwrap().publish();
    /// session.0.store(7, Relaxed);
    /// let handle = session.handle();
    /// drop(session);
    /// assert_eq!(pool.peek(handle).0.load(Relaxed), 7, "as its last user left it");
    /// ```
    #[inline]
    pub fn peek(&self, handle: u32) -> &T {
        match self.try_peek(handle) {
            Some(value) => value,
            None => no_such(handle),
        }
    }

    /// As [`peek`](Self::peek), for who holds a reference.
    ///
    /// # Safety
    /// The handle belongs to an entry that is referred to while the result is used.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let handle = pool.alloc().unwrap().publish().into_raw();
    /// // SAFETY: the handle holds the reference that `into_raw` gave up.
    /// unsafe { pool.peek_unchecked(handle) }.0.store(7, Relaxed);
    /// // SAFETY: as above; it is taken back once.
    /// drop(unsafe { pool.from_raw(handle) });
    /// assert_eq!(pool.peek(handle).0.load(Relaxed), 7);
    /// ```
    #[inline]
    pub unsafe fn peek_unchecked(&self, handle: u32) -> &T {
        // SAFETY: referred to, so given out and constructed, and whoever took the reference has synchronised with that.
        unsafe { self.slab.slot(handle).as_ref().value() }
    }

    /// As [`peek`](Self::peek), but `None` when the pool never gave the handle out.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// assert!(pool.try_peek(1).is_none());
    /// let session = pool.alloc().unwrap();
    /// assert!(pool.try_peek(session.handle()).is_some());
    /// ```
    #[inline]
    pub fn try_peek(&self, handle: u32) -> Option<&T> {
        // SAFETY: the slot exists, and slots live as long as the slab.
        let slot = unsafe { self.slab.try_slot(handle)?.as_ref() };
        if slot.link.load(order::pool_built()) & BUILT == 0 {
            return None;
        }
        // SAFETY: constructed, and the load synchronised with that.
        Some(unsafe { slot.value() })
    }

    /// Brings the beginning of an entry's memory near, for whoever will look at it in a moment: so many cache lines of 64 bytes, where
    /// the first one begins with 8 bytes of the pool. Any numbers may be given.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let session = pool.alloc().unwrap();
    /// pool.prefetch(session.handle(), 1);
    /// pool.prefetch(u32::MAX, 2);
    /// ```
    #[inline]
    pub fn prefetch(&self, handle: u32, lines: usize) {
        if let Some(slot) = self.slab.try_slot(handle) {
            let slot = slot.as_ptr().cast::<u8>();
            for line in (0..size_of::<Counted<T>>()).step_by(LINE).take(lines) {
                crate::prefetch::read(slot.wrapping_add(line));
            }
        }
    }

    /// Takes back a reference that [`Ref::into_raw`] gave away.
    ///
    /// # Safety
    /// The handle is from `into_raw` of a reference of this pool, and this is called once for each.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let handle = pool.alloc().unwrap().publish().into_raw();
    /// // SAFETY: from `into_raw`, once.
    /// let session = unsafe { pool.from_raw(handle) };
    /// assert_eq!((session.handle(), session.count()), (handle, 1));
    /// ```
    #[inline]
    pub unsafe fn from_raw(&self, handle: u32) -> Ref<'_, T> {
        // SAFETY: referred to, so given out.
        let slot = unsafe { self.slab.slot(handle).as_ref() };
        Ref {
            pool: self,
            slot,
            handle,
        }
    }

    /// Gives a slot whose count is 0 back.
    fn recycle(&self, slot: &Counted<T>, handle: u32) {
        /// Frees even if `recycle` panics.
        struct Free<'a, T: Entry>(&'a Pool<T>, u32);
        impl<T: Entry> Drop for Free<'_, T> {
            fn drop(&mut self) {
                // SAFETY: the last reference is gone, and none can be taken.
                unsafe { self.0.slab.free(self.1) };
            }
        }
        let free = Free(self, handle);
        // SAFETY: a slot that was given out by `alloc` is constructed, and whoever had it has synchronised with that.
        unsafe { slot.value() }.recycle();
        drop(free);
    }
}

impl<T: Entry> core::fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pool")
            .field("capacity", &self.capacity())
            .field("stats", &self.stats())
            .finish()
    }
}

impl<T: Entry> Drop for Pool<T> {
    fn drop(&mut self) {
        if !core::mem::needs_drop::<T>() {
            return;
        }
        self.slab.each_ever(|_, slot| {
            // SAFETY: the slot exists.
            let slot = unsafe { slot.as_ref() };
            if slot.link.load(order::pool_built()) & BUILT != 0 {
                // SAFETY: constructed, and with the pool go all references; each slot is visited once.
                slot.value.with_mut(|p| unsafe { (*p).assume_init_drop() });
            }
        });
    }
}

#[cold]
#[inline(never)]
fn no_such(handle: u32) -> ! {
    panic!("the pool never gave out handle {handle}")
}

/// Aborts before a count overflows, as `Arc` does: an overflow would free an entry in use.
#[inline]
fn check_count(count: u32) {
    if count > MAX_COUNT {
        overflow();
    }
}

#[cold]
#[inline(never)]
fn overflow() -> ! {
    crate::sync::abort()
}

#[cfg(all(test, not(nulls_loom)))]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Plain;

    impl Entry for Plain {}

    /// In a process of its own, which it aborts.
    #[test]
    fn a_count_that_would_overflow_aborts() {
        const NAME: &str = "pool::tests::a_count_that_would_overflow_aborts";
        let Ok(how) = std::env::var("NULLS_TEST_OVERFLOW") else {
            for how in ["clone", "try_get", "neither"] {
                let status = std::process::Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", NAME])
                    .env("NULLS_TEST_OVERFLOW", how)
                    .stdout(std::process::Stdio::null())
                    .status()
                    .unwrap();
                assert_eq!(status.success(), how == "neither", "{how}");
            }
            return;
        };
        let pool = Pool::<Plain>::with_capacity(1);
        let entry = pool.alloc().unwrap().publish();
        // As if so many references had been forgotten.
        entry.slot.refs.store(MAX_COUNT + 1, order::pool_publish());
        match how.as_str() {
            "clone" => drop(entry.clone()),
            "try_get" => drop(pool.try_get(entry.handle())),
            _ => {}
        }
    }
}
