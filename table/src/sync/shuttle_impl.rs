//! The build for random schedules: shuttle's atomics, which are sequentially consistent whatever their orderings, in the
//! small sizes of the model build.

pub(crate) use shuttle::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
};
pub(crate) use shuttle::{lazy_static, thread_local};

#[path = "std_cell.rs"]
mod cell;
pub(crate) use cell::UnsafeCell;

pub(crate) fn compiler_fence(_: core::sync::atomic::Ordering) {}

pub(crate) fn spin_hint() {
    shuttle::thread::yield_now();
}

pub(crate) fn yield_now() {
    shuttle::thread::yield_now();
}

pub(crate) fn sleep_briefly() {
    shuttle::thread::yield_now();
}

/// Every access is in one total order already.
pub(crate) fn fence(_: core::sync::atomic::Ordering) {}
