//! Keys of the inline map.

use bytemuck::NoUninit;
use std::hash::{Hash, Hasher};

/// A key of `N` words that belong together, which is noticed whenever one is looked at.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Key<const N: usize>([u64; N]);

// SAFETY: an array of integers.
unsafe impl<const N: usize> NoUninit for Key<N> {}

impl<const N: usize> Key<N> {
    /// Key number `k`.
    pub fn of(k: u64) -> Self {
        Self(std::array::from_fn(|i| k + 1000 * i as u64))
    }

    /// Which key this is.
    pub fn number(&self) -> u64 {
        let k = self.0[0];
        assert_eq!(self.0, Self::of(k).0, "a key that never was");
        k
    }
}

impl<const N: usize> PartialEq for Key<N> {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl<const N: usize> Eq for Key<N> {}

impl<const N: usize> Hash for Key<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number());
    }
}
