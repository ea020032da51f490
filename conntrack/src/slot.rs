//! One typed slot per connection for the application.
//!
//! Set once by whoever comes first (usually a hook), read by everyone who holds the entry, dropped when the entry's last reference goes.

use crate::sync::{AtomicPtr, order};
use std::fmt;
use std::ptr;
use std::sync::atomic::Ordering;

/// A slot for one `U`, empty at first.
pub struct UserSlot<U>(AtomicPtr<U>);

impl<U> UserSlot<U> {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The value, if one was set.
    #[must_use]
    pub fn get(&self) -> Option<&U> {
        // Acquire: pairs with the Release of `set`, so that the value's fields are seen.
        let p = self.0.load(order::slot_get());
        // SAFETY: a non-null pointer came from `Box::into_raw` in `set` and is freed by `clear` only, which nobody calls while a reference
        // to the entry (and so a borrow of this slot) is alive.
        unsafe { p.as_ref() }
    }

    /// Sets the value, or gives it back when there is one already.
    ///
    /// # Errors
    /// The value, when the slot is taken.
    pub fn set(&self, value: U) -> Result<&U, U> {
        let p = Box::into_raw(Box::new(value));
        // Release: publishes the value to `get`. Acquire on failure is not needed, the winner's value is not looked at.
        match self
            .0
            .compare_exchange(ptr::null_mut(), p, order::slot_set(), Ordering::Relaxed)
        {
            // SAFETY: as in `get`.
            Ok(_) => Ok(unsafe { &*p }),
            // SAFETY: `p` was made by `Box::into_raw` above and never shared.
            Err(_) => Err(*unsafe { Box::from_raw(p) }),
        }
    }

    /// The value; `make` provides it if there is none. Of several threads one wins, the others' values are dropped.
    pub fn get_or_set_with(&self, make: impl FnOnce() -> U) -> &U {
        if let Some(u) = self.get() {
            return u;
        }
        match self.set(make()) {
            Ok(u) => u,
            Err(lost) => {
                drop(lost);
                self.get()
                    .expect("a slot that refused a value has one, and keeps it while borrowed")
            }
        }
    }

    /// Drops the value.
    ///
    /// # Safety
    /// Nobody else borrows this slot: the entry's reference count is zero.
    pub(crate) unsafe fn clear(&self) {
        // Acquire: the value is dropped here, so its making must be visible.
        let p = self.0.load(Ordering::Acquire);
        if !p.is_null() {
            // Relaxed: nobody else looks at it before the entry is published anew.
            self.0.store(ptr::null_mut(), Ordering::Relaxed);
            // SAFETY: made by `Box::into_raw` in `set`; the caller vouches that no borrow is left.
            drop(unsafe { Box::from_raw(p) });
        }
    }
}

impl<U> Drop for UserSlot<U> {
    fn drop(&mut self) {
        // SAFETY: `&mut self` excludes every borrow.
        unsafe { self.clear() }
    }
}

impl<U: fmt::Debug> fmt::Debug for UserSlot<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserSlot").field(&self.get()).finish()
    }
}
