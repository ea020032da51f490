//! A short list on the stack that spills to the heap, fallibly: what a mover notes of one bucket.

use crate::mem::AllocError;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

/// Up to `N` items on the stack, more on the heap.
#[derive(Debug)]
pub(crate) struct Scratch<T: Copy, const N: usize> {
    /// The first `len` are initialised.
    short: [MaybeUninit<T>; N],
    len: usize,
    long: Vec<T>,
}

impl<T: Copy, const N: usize> Scratch<T, N> {
    pub(crate) fn new() -> Self {
        Self {
            short: [const { MaybeUninit::uninit() }; N],
            len: 0,
            long: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, item: T) -> Result<(), AllocError> {
        if self.long.is_empty() && self.len < N {
            self.short[self.len].write(item);
            self.len += 1;
            return Ok(());
        }
        if self.long.is_empty() {
            let mut long = Vec::new();
            long.try_reserve(4 * N).map_err(|_| AllocError::System)?;
            long.extend_from_slice(self.as_slice());
            self.long = long;
        }
        self.long.try_reserve(1).map_err(|_| AllocError::System)?;
        self.long.push(item);
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        if !self.long.is_empty() {
            return &self.long;
        }
        // SAFETY: the first `len` are initialised.
        unsafe { core::slice::from_raw_parts(self.short.as_ptr().cast(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        if !self.long.is_empty() {
            return &mut self.long;
        }
        // SAFETY: the first `len` are initialised.
        unsafe { core::slice::from_raw_parts_mut(self.short.as_mut_ptr().cast(), self.len) }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if let Some(item) = self.long.pop() {
            if self.long.is_empty() {
                self.len = 0;
            }
            return Some(item);
        }
        self.len = self.len.checked_sub(1)?;
        // SAFETY: below the old length, so it was initialised.
        Some(unsafe { self.short[self.len].assume_init() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spills_and_pops_everything() {
        for n in [0, 1, 3, 4, 5, 50] {
            let mut s = Scratch::<usize, 4>::new();
            for i in 0..n {
                s.push(i).unwrap();
            }
            assert_eq!(s.as_slice(), (0..n).collect::<Vec<_>>());
            s.as_mut_slice().reverse();
            for i in 0..n {
                assert_eq!(s.pop(), Some(i));
            }
            assert_eq!(s.pop(), None);
            s.push(7).unwrap();
            assert_eq!(s.as_slice(), [7]);
        }
    }
}
