//! The ordinary build: `core`'s atomics, and a cell with loom's interface.

pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, compiler_fence,
};

#[path = "std_cell.rs"]
mod cell;
pub(crate) use cell::UnsafeCell;

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
