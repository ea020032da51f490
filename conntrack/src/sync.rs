//! The one place that chooses between `std` and the model checker, for what the protocols of an entry's life are made of: the words that
//! look-ups read without a reference, the entry's lock, and the application's slot.
//!
//! Only the driver of the models builds with `--cfg nulls_loom`. Everything else in this crate that is atomic is a number which no
//! protocol rests on; models see it as plain memory.

#[cfg(not(nulls_loom))]
mod imp {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};

    /// Whether the named bug is switched on: never, in an ordinary build.
    #[inline(always)]
    pub(crate) fn mutant(_: &'static str) -> bool {
        false
    }
}

#[cfg(nulls_loom)]
mod imp {
    use nulls::checking::loom::sync;
    pub(crate) use nulls::checking::mutant;
    pub(crate) use sync::MutexGuard;
    pub(crate) use sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};

    /// The checker's lock, with the ordinary one's interface.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            // Models end at the first panic, so no lock is ever poisoned.
            self.0.lock().expect("not poisoned")
        }
    }
}

pub(crate) use imp::*;

/// Orderings that models weaken by name.
pub(crate) mod order {
    use super::mutant;
    use std::sync::atomic::Ordering;

    /// Reads the status. Pairs with [`status_set`]: CONFIRMED seen means that the links are in the table and the deadline is absolute, for whoever
    /// came by the entry in another way than through the table.
    #[inline(always)]
    pub(crate) fn status_read() -> Ordering {
        if mutant("order:conn_status_read") {
            return Ordering::Relaxed;
        }
        Ordering::Acquire
    }

    /// Sets status bits. Release publishes what happened before CONFIRMED to [`status_read`]; Acquire lets whoever sets a bit rely on
    /// what the setters of others had done.
    #[inline(always)]
    pub(crate) fn status_set() -> Ordering {
        if mutant("order:conn_status_set") {
            return Ordering::Relaxed;
        }
        Ordering::AcqRel
    }

    /// Reads the application's slot. Pairs with [`slot_set`]: the value's fields are seen.
    #[inline(always)]
    pub(crate) fn slot_get() -> Ordering {
        if mutant("order:conn_slot_get") {
            return Ordering::Relaxed;
        }
        Ordering::Acquire
    }

    /// Sets the application's slot. Pairs with [`slot_get`].
    #[inline(always)]
    pub(crate) fn slot_set() -> Ordering {
        if mutant("order:conn_slot_set") {
            return Ordering::Relaxed;
        }
        Ordering::Release
    }
}
