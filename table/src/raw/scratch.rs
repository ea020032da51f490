//! A short list on the stack that spills to the heap, fallibly: what a mover notes of one bucket.

use super::AllocError;

/// Up to `N` items on the stack, more on the heap.
#[derive(Debug)]
pub(crate) struct Scratch<T: Copy, const N: usize> {
    short: [T; N],
    len: usize,
    long: Vec<T>,
}

impl<T: Copy, const N: usize> Scratch<T, N> {
    pub(crate) fn new(fill: T) -> Self {
        Self { short: [fill; N], len: 0, long: Vec::new() }
    }

    pub(crate) fn push(&mut self, item: T) -> Result<(), AllocError> {
        if self.long.is_empty() && self.len < N {
            self.short[self.len] = item;
            self.len += 1;
            return Ok(());
        }
        if self.long.is_empty() {
            self.long.try_reserve(4 * N).map_err(|_| AllocError)?;
            self.long.extend_from_slice(&self.short[..self.len]);
        }
        self.long.try_reserve(1).map_err(|_| AllocError)?;
        self.long.push(item);
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.long.clear();
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        if self.long.is_empty() { &mut self.short[..self.len] } else { &mut self.long }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if let Some(item) = self.long.pop() {
            if self.long.is_empty() {
                self.len = 0;
            }
            return Some(item);
        }
        self.len = self.len.checked_sub(1)?;
        Some(self.short[self.len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spills_and_pops_everything() {
        for n in [0, 1, 3, 4, 5, 50] {
            let mut s = Scratch::<usize, 4>::new(0);
            for i in 0..n {
                s.push(i).unwrap();
            }
            assert_eq!(s.as_slice(), (0..n).collect::<Vec<_>>());
            s.as_mut_slice().reverse();
            for i in 0..n {
                assert_eq!(s.pop(), Some(i));
            }
            assert_eq!(s.pop(), None);
            s.clear();
            s.push(7).unwrap();
            assert_eq!(s.as_slice(), [7]);
        }
    }
}
