//! Counters that a thread keeps for itself: a look-up that counted in shared memory would write shared memory.

#[cfg(feature = "std")]
mod imp {
    use core::cell::Cell;

    std::thread_local! {
        static RESTARTS: Cell<u64> = const { Cell::new(0) };
        static MOVED: Cell<u64> = const { Cell::new(0) };
    }

    fn bump(c: &'static std::thread::LocalKey<Cell<u64>>) {
        let _ = c.try_with(|c| c.set(c.get().wrapping_add(1)));
    }

    pub(super) fn restart() {
        bump(&RESTARTS);
    }

    pub(super) fn moved() {
        bump(&MOVED);
    }

    pub(super) fn get() -> super::ThreadStats {
        super::ThreadStats {
            restarts: RESTARTS.try_with(Cell::get).unwrap_or(0),
            moved: MOVED.try_with(Cell::get).unwrap_or(0),
        }
    }
}

/// Without thread-locals nothing is counted.
#[cfg(not(feature = "std"))]
mod imp {
    pub(super) fn restart() {}
    pub(super) fn moved() {}
    pub(super) fn get() -> super::ThreadStats {
        super::ThreadStats::default()
    }
}

#[cold]
pub(crate) fn count_restart() {
    imp::restart();
}

pub(crate) fn count_moved() {
    imp::moved();
}

/// What this thread has done in all tables since it began.
///
/// ```
/// let before = nulls::raw::thread_stats();
/// assert_eq!(nulls::raw::thread_stats(), before); // nothing was done in between
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadStats {
    /// Walks repeated because the bucket moved or a line was recycled under the reader (the kernel's `search_restart`).
    pub restarts: u64,
    /// Buckets moved to a newer generation.
    pub moved: u64,
}

/// The calling thread's counters. All zero without `std`.
///
/// ```
/// let before = nulls::raw::thread_stats();
/// let table = nulls::raw::Table::new();
/// table.resize(100)?;
/// table.maintain(&|_| 0)?;
/// assert_eq!(nulls::raw::thread_stats().moved - before.moved, 1); // its only bucket
/// # Ok::<(), nulls::AllocError>(())
/// ```
pub fn thread_stats() -> ThreadStats {
    imp::get()
}
