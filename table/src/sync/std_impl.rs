//! The ordinary build: `core`'s atomics, and a cell with loom's interface.

pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, compiler_fence,
};

/// `core::cell::UnsafeCell` behind the interface of loom's, so that models see each access.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    #[inline(always)]
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// Gives a pointer for reading; loom checks that no write is concurrent.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Gives a pointer for writing; loom checks that no other access is concurrent.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Waits a moment in a retry loop.
#[inline(always)]
pub(crate) fn spin_hint() {
    core::hint::spin_loop();
}

/// Gives the processor away.
#[inline]
pub(crate) fn yield_now() {
    #[cfg(feature = "std")]
    std::thread::yield_now();
    #[cfg(not(feature = "std"))]
    spin_hint();
}

/// Sleeps for a short while: the last step of a writer's back-off.
#[inline]
pub(crate) fn sleep_briefly() {
    #[cfg(feature = "std")]
    std::thread::sleep(core::time::Duration::from_micros(50));
    #[cfg(not(feature = "std"))]
    (0..1000).for_each(|_| spin_hint());
}

/// A fence. A seeded bug may ask for a relaxed one, which is none at all.
#[inline(always)]
pub(crate) fn fence(order: core::sync::atomic::Ordering) {
    if !(cfg!(any(nulls_loom, nulls_check)) && order == core::sync::atomic::Ordering::Relaxed) {
        core::sync::atomic::fence(order);
    }
}
