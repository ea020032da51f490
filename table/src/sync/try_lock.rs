//! A lock that is never waited for: who does not get it leaves the work to who has it.

use super::{AtomicBool, UnsafeCell, order};
use core::sync::atomic::Ordering::Relaxed;

/// A value that one thread at a time may try to get at.
#[derive(Debug)]
pub(crate) struct TryLock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the value to one thread at a time.
unsafe impl<T: Send> Send for TryLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for TryLock<T> {}

impl<T> TryLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `f` on the value, or returns `None` at once when another thread (or an outer call) is at it.
    pub(crate) fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        /// Releases even if `f` panics.
        struct Release<'a>(&'a AtomicBool);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.store(false, order::try_lock_release());
            }
        }
        if self.taken.load(Relaxed)
            || self.taken.compare_exchange(false, true, order::try_lock_acquire(), Relaxed).is_err()
        {
            return None;
        }
        let _release = Release(&self.taken);
        // SAFETY: the flag was ours to take, so nobody else is between here and the release.
        Some(self.value.with_mut(|v| f(unsafe { &mut *v })))
    }

    /// The value, for an exclusive owner.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`.
        self.value.with_mut(|v| unsafe { &mut *v })
    }
}
