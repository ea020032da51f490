//! The model build: loom's atomics and cells.

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence,
};

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
