//! References to entries of a pool: the one that nobody else has yet, and the counted ones.

use core::mem::ManuallyDrop;
use core::ops::Deref;

use super::{Counted, Entry, Pool, check_count};
use crate::sync::{check, order};

/// An entry that nobody can refer to yet. Dropping it gives it up.
///
/// ```
/// use nulls::pool::{Entry, Pool};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// # #[derive(Default)]
/// # struct Session(AtomicU64);
/// # impl Entry for Session {}
/// let pool = Pool::<Session>::with_capacity(10);
/// let new = pool.alloc().unwrap();
/// new.0.store(7, Relaxed);
/// let session = new.publish();
/// assert_eq!(session.0.load(Relaxed), 7);
/// ```
#[must_use = "dropping it gives the entry up"]
pub struct Unique<'a, T: Entry> {
    pub(super) pool: &'a Pool<T>,
    pub(super) slot: &'a Counted<T>,
    pub(super) handle: u32,
}

impl<'a, T: Entry> Unique<'a, T> {
    /// The handle: not 0, and below 2^31.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// #[derive(Default)]
    /// struct Plain;
    /// impl Entry for Plain {}
    /// let pool = Pool::<Plain>::with_capacity(1);
    /// let new = pool.alloc().unwrap();
    /// let handle = new.handle();
    /// assert_eq!(new.publish().handle(), handle);
    /// ```
    #[inline]
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// Makes the entry live: from here on [`Pool::try_get`] succeeds. Link it first.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let new = pool.alloc().unwrap();
    /// let handle = new.handle();
    /// let session = new.publish();
    /// assert_eq!(pool.try_get(handle).unwrap().handle(), session.handle());
    /// ```
    #[inline]
    pub fn publish(self) -> Ref<'a, T> {
        let this = ManuallyDrop::new(self);
        this.slot.refs.store(1, order::pool_publish());
        Ref {
            pool: this.pool,
            slot: this.slot,
            handle: this.handle,
        }
    }
}

impl<T: Entry> Deref for Unique<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `alloc` constructed the slot or found it constructed, under the lock that passed it on.
        unsafe { self.slot.value() }
    }
}

impl<T: Entry> Drop for Unique<'_, T> {
    fn drop(&mut self) {
        self.pool.recycle(self.slot, self.handle);
    }
}

impl<T: Entry + core::fmt::Debug> core::fmt::Debug for Unique<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Unique")
            .field("handle", &self.handle)
            .field("value", &**self)
            .finish()
    }
}

/// A counted reference to an entry. The entry stays what it is until the last reference is dropped.
///
/// ```
/// use nulls::pool::{Entry, Pool};
/// use std::sync::atomic::AtomicU64;
/// # #[derive(Default)]
/// # struct Session(AtomicU64);
/// # impl Entry for Session {}
/// let pool = Pool::<Session>::with_capacity(10);
/// let session = pool.alloc().unwrap().publish();
/// let other = session.clone();
/// assert_eq!(session.count(), 2);
/// drop(other);
/// assert_eq!(session.count(), 1);
/// ```
#[must_use = "dropping it gives the reference back"]
pub struct Ref<'a, T: Entry> {
    pub(super) pool: &'a Pool<T>,
    pub(super) slot: &'a Counted<T>,
    pub(super) handle: u32,
}

impl<T: Entry> Ref<'_, T> {
    /// The handle: not 0, and below 2^31.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// #[derive(Default)]
    /// struct Plain;
    /// impl Entry for Plain {}
    /// let pool = Pool::<Plain>::with_capacity(1);
    /// let entry = pool.alloc().unwrap().publish();
    /// assert_eq!(pool.try_get(entry.handle()).unwrap().count(), 2);
    /// ```
    #[inline]
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// How many references there are; others may take and drop theirs meanwhile.
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let session = pool.alloc().unwrap().publish();
    /// let _other = session.clone();
    /// assert_eq!(session.count(), 2);
    /// ```
    #[inline]
    pub fn count(&self) -> u32 {
        self.slot.refs.load(order::pool_look())
    }

    /// Gives the reference away without dropping it: to be taken back by [`Pool::from_raw`].
    ///
    /// ```
    /// use nulls::pool::{Entry, Pool};
    /// use std::sync::atomic::AtomicU64;
    /// # #[derive(Default)]
    /// # struct Session(AtomicU64);
    /// # impl Entry for Session {}
    /// let pool = Pool::<Session>::with_capacity(10);
    /// let handle = pool.alloc().unwrap().publish().into_raw();
    /// assert_eq!(pool.stats().used, 1, "it is still counted");
    /// // SAFETY: from `into_raw`, once.
    /// drop(unsafe { pool.from_raw(handle) });
    /// assert_eq!(pool.stats().used, 0);
    /// ```
    #[inline]
    pub fn into_raw(self) -> u32 {
        ManuallyDrop::new(self).handle
    }
}

impl<T: Entry> Deref for Ref<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: published, and taking the reference synchronised with that.
        unsafe { self.slot.value() }
    }
}

impl<T: Entry> Clone for Ref<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        check_count(self.slot.refs.fetch_add(1, order::pool_clone()));
        Self {
            pool: self.pool,
            slot: self.slot,
            handle: self.handle,
        }
    }
}

impl<T: Entry> Drop for Ref<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if check::mutant("pool:recycle-before-last") && self.count() == 1 {
            self.pool.recycle(self.slot, self.handle);
            self.slot.refs.fetch_sub(1, order::pool_put());
            return;
        }
        if self.slot.refs.fetch_sub(1, order::pool_put()) == 1 {
            // Reads the zero just written, and with it acquires what every decrement released.
            self.slot.refs.load(order::pool_last());
            self.pool.recycle(self.slot, self.handle);
        }
    }
}

impl<T: Entry + core::fmt::Debug> core::fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ref")
            .field("handle", &self.handle)
            .field("value", &**self)
            .finish()
    }
}
