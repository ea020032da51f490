//! One copy of something per processor or so, chosen by thread, to keep threads out of each other's cache lines.

use alloc::{boxed::Box, vec::Vec};
use crossbeam_utils::CachePadded;

use crate::mem::AllocError;

/// The most copies there can be.
pub(crate) const MAX: usize = if cfg!(nulls_loom) { 2 } else { 64 };

/// How many copies are made: the processors available to the process, rounded up to a power of two. One without `std`, where
/// threads have no numbers to tell them apart.
pub(crate) fn count() -> usize {
    #[cfg(nulls_loom)]
    return MAX;
    #[cfg(all(not(nulls_loom), not(feature = "std")))]
    return 1;
    #[cfg(all(not(nulls_loom), feature = "std"))]
    {
        // Asking the system reads files on Linux, so it is asked once.
        static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
        *COUNT.get_or_init(|| {
            std::thread::available_parallelism()
                .map_or(1, |n| n.get())
                .next_power_of_two()
                .min(MAX)
        })
    }
}

/// Copies of `T`, each in cache lines of its own.
#[derive(Debug)]
pub(crate) struct Striped<T>(Box<[CachePadded<T>]>);

impl<T> Striped<T> {
    /// Makes [`count`] copies.
    pub(crate) fn try_new(make: impl FnMut() -> T) -> Result<Self, AllocError> {
        Self::try_with(count(), make)
    }

    /// Makes `n` copies, a power of two up to [`MAX`].
    pub(crate) fn try_with(n: usize, mut make: impl FnMut() -> T) -> Result<Self, AllocError> {
        debug_assert!(n.is_power_of_two() && n <= MAX);
        let mut v = Vec::new();
        v.try_reserve_exact(n).map_err(|_| AllocError::System)?;
        v.extend((0..n).map(|_| CachePadded::new(make())));
        Ok(Self(v.into_boxed_slice()))
    }

    /// The index of the calling thread's copy, below [`len`](Self::len).
    #[inline]
    pub(crate) fn mine(&self) -> usize {
        self.index(crate::rcu::thread_index())
    }

    /// The index of the copy of the thread with this index, below [`len`](Self::len).
    #[inline]
    pub(crate) fn index(&self, thread: usize) -> usize {
        let i = thread & (self.0.len() - 1);
        // SAFETY: a power of two, so it is not empty, and masking with one less stays below.
        unsafe { core::hint::assert_unchecked(i < self.0.len()) };
        i
    }

    /// The number of copies: a power of two, at most [`MAX`].
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Copy number `i`.
    #[inline]
    pub(crate) fn get(&self, i: usize) -> &T {
        &self.0[i]
    }

    /// All copies.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|c| &**c)
    }

    /// All copies, exclusively.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|c| &mut **c)
    }
}
