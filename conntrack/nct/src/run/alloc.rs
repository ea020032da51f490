//! Bytes that are allocated, counted for one purpose: the memory of a tracker with its table, whatever store it uses.
//!
//! The allocator is the system's; while counting is off (always but in the pass that measures memory) an allocation costs one more load of a flag that
//! never changes. Large arrays of `nulls` are mappings of their own; that crate counts them itself, and they are added.

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

/// Runs `f` and returns its result with the bytes that were taken and not given back meanwhile, by any thread. One measurement at a time.
pub(crate) fn measure<R>(f: impl FnOnce() -> R) -> (R, isize) {
    let mapped = nulls::mapped_bytes();
    LIVE.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
    let result = f();
    ON.store(false, Ordering::Relaxed);
    let mapped = nulls::mapped_bytes() as isize - mapped as isize;
    (result, LIVE.load(Ordering::Relaxed) + mapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_memory_are_counted() {
        // Other tests allocate at the same time, but by far not as much. Zeros are not touched, so this takes no real memory.
        let (kept, bytes) = measure(|| {
            drop(vec![0u8; 1_000_000_000]);
            vec![0u8; 500_000_000]
        });
        assert!((400_000_000..600_000_000).contains(&bytes), "{bytes}");
        drop(kept);
        let (table, bytes) = measure(|| {
            let table = nulls::raw::Table::new();
            table.resize(1 << 23).expect("512 MiB of zeros");
            table
        });
        assert!((450 << 20..620 << 20).contains(&bytes), "{bytes}");
        drop(table);
    }
}
