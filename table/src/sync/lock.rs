//! A spin lock for a few instructions: free lists and garbage lists, one per shard.
//!
//! Never held while user code, an allocation of unbounded size or a system call runs. A thread holds at most one, except
//! that [`crate::slab`] takes several of a slab's, in index order.

use core::ops::{Deref, DerefMut};

use super::{AtomicBool, Backoff, UnsafeCell, order};

/// A value that one thread at a time may touch.
pub(crate) struct Lock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value to one thread at a time, so sharing it needs no more than `T: Send`.
unsafe impl<T: Send> Sync for Lock<T> {}
// SAFETY: owning the lock is owning the value.
unsafe impl<T: Send> Send for Lock<T> {}

/// The right to touch a [`Lock`]'s value; dropping it unlocks.
pub(crate) struct Held<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Lock<T> {
    /// An unlocked lock.
    pub(crate) fn new(value: T) -> Self {
        Self {
            held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock, waiting as long as it takes.
    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, T> {
        match self.try_lock() {
            Some(held) => held,
            None => self.lock_contended(),
        }
    }

    #[cold]
    fn lock_contended(&self) -> Held<'_, T> {
        let mut backoff = Backoff::new();
        loop {
            backoff.wait();
            // Looking first keeps the cache line shared while waiting; a model would only see one more load.
            if !cfg!(nulls_loom) && self.held.load(order::lock_look()) {
                continue;
            }
            if let Some(held) = self.try_lock() {
                return held;
            }
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Held<'_, T>> {
        self.held
            .compare_exchange(false, true, order::lock_take(), order::lock_look())
            .is_ok()
            .then(|| Held { lock: self })
    }

    /// The value, when the borrow shows that nobody else can hold the lock.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` excludes every `Held`.
        self.value.with_mut(|p| unsafe { &mut *p })
    }
}

impl<T> core::fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The value is for the holder's eyes.
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `held` is set by us until the drop, so no other thread touches the value; `&self` excludes `deref_mut`.
        self.lock.value.with(|p| unsafe { &*p })
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: `held` is set by us until the drop, and `&mut self` is exclusive.
        self.lock.value.with_mut(|p| unsafe { &mut *p })
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.held.store(false, order::lock_release());
    }
}
