//! Bytes that are allocated, counted for one purpose: the memory of a tracker with its table, whatever store it uses.
//!
//! The allocator is the system's; while counting is off (always but in the pass that measures memory) an allocation costs one more load of a flag that
//! never changes. Memory that a store maps from the operating system by itself would escape it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ON: AtomicBool = AtomicBool::new(false);
/// Allocated minus freed since counting began; negative if something older was freed.
static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(change: isize) {
    // Relaxed: a statistic; `measure` reads it on the thread that did the work, or after joining those that did.
    if ON.load(Ordering::Relaxed) {
        LIVE.fetch_add(change, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the same.
        let p = unsafe { System.alloc(layout) };
        if !p.is_null() {
            count(layout.size() as isize);
        }
        p
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let p = unsafe { System.alloc_zeroed(layout) };
        if !p.is_null() {
            count(layout.size() as isize);
        }
        p
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) };
        count(-(layout.size() as isize));
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let new = unsafe { System.realloc(p, layout, size) };
        if !new.is_null() {
            count(size as isize - layout.size() as isize);
        }
        new
    }
}

/// Runs `f` and returns its result with the bytes that were allocated and not freed meanwhile, by any thread. One measurement at a time.
pub(crate) fn measure<R>(f: impl FnOnce() -> R) -> (R, isize) {
    LIVE.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
    let result = f();
    ON.store(false, Ordering::Relaxed);
    (result, LIVE.load(Ordering::Relaxed))
}
