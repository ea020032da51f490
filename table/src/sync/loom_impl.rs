//! The model build: loom's atomics and cells.

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
};

pub(crate) use loom::{lazy_static, thread_local};

/// loom reorders nothing within a thread that a compiler fence would keep apart; where the membarrier flavour relies
/// on one, models use `fence(SeqCst)` instead (see `rcu`).
pub(crate) fn compiler_fence(_: core::sync::atomic::Ordering) {}

pub(crate) fn spin_hint() {
    loom::thread::yield_now();
}

pub(crate) fn yield_now() {
    loom::thread::yield_now();
}

pub(crate) fn sleep_briefly() {
    loom::thread::yield_now();
}

/// A fence. A seeded bug may ask for a relaxed one, which is none at all.
#[inline(always)]
pub(crate) fn fence(order: core::sync::atomic::Ordering) {
    if !(cfg!(any(nulls_loom, nulls_check)) && order == core::sync::atomic::Ordering::Relaxed) {
        loom::sync::atomic::fence(order);
    }
}
