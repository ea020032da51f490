//! Overflow lines: type-stable, given out and taken back at once, never returned to the system before the table goes.

use super::line::Line;
use crate::mem::{AllocError, Pages, ZeroedArray};
use crate::sync::Lock;

#[derive(Debug)]
pub(super) struct Lines(Lock<(Vec<ZeroedArray<Line>>, Vec<usize>)>);

impl Lines {
    pub(super) fn try_new() -> Result<Self, AllocError> {
        Ok(Self(Lock::new((Vec::new(), Vec::new()))))
    }
    pub(super) fn alloc(&self) -> Result<&Line, AllocError> {
        let mut l = self.0.lock();
        let p = match l.1.pop() {
            Some(p) => p,
            None => {
                let a = ZeroedArray::try_new(1, Pages::Small)?;
                let p = a.as_ptr() as usize;
                l.0.push(a);
                p
            }
        };
        // SAFETY: interim
        Ok(unsafe { &*(p as *const Line) })
    }
    pub(super) fn free(&self, y: &Line) {
        self.0.lock().1.push(y as *const Line as usize);
    }
    pub(super) fn free_unused(&self, y: Option<&Line>) {
        if let Some(y) = y {
            self.free(y);
        }
    }
    pub(super) fn bytes(&self) -> usize {
        self.0.lock().0.len() * 64
    }
}
