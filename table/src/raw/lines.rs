//! Overflow lines: type-stable, given out and taken back at once, never returned to the system before the table goes.
//!
//! A reader may stand on a line while it is recycled into another chain: it sees atomics of a line, whatever line that
//! is now, and the end of its walk tells it.

use super::line::Line;
use crate::budget::{Account, Budget};
use crate::mem::AllocError;
use crate::slab::{MAX_LIMIT, Slab, Slot};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;

// SAFETY: the spare word keeps what is stored in it while the line is free; readers do not look at it.
unsafe impl Slot for Line {
    unsafe fn next_free(&self) -> u32 {
        // Relaxed: the list's lock orders it.
        self.spare().load(Relaxed) as u32
    }

    unsafe fn set_next_free(&self, next: u32) {
        // Relaxed: the list's lock orders it.
        self.spare().store(next as u64, Relaxed);
    }
}

/// A table's overflow lines.
#[derive(Debug)]
pub(super) struct Lines(Slab<Line>);

impl Lines {
    pub(super) fn try_new(budget: Option<&Arc<Budget>>) -> Result<Self, AllocError> {
        let account = budget.map(|b| Account::Lines(b.clone(), size_of::<Line>()));
        Ok(Self(Slab::try_new_paid(MAX_LIMIT, account)?))
    }

    /// A line without entries. Its link is what it was in its last life, or null.
    pub(super) fn alloc(&self) -> Result<&Line, AllocError> {
        let handle = self.0.alloc()?;
        // SAFETY: just given out; the line lives as long as the slab.
        let line = unsafe { self.0.slot(handle).as_ref() };
        // Relaxed: read by whoever frees the line, who got it from us through the bucket's lock.
        line.ticket.store(handle as u64, Relaxed);
        Ok(line)
    }

    /// Takes back a line without entries that is in no chain any more; readers may still stand on it.
    #[cold]
    #[inline(never)]
    pub(super) fn free(&self, line: &Line) {
        let handle = line.ticket.load(Relaxed) as u32;
        // SAFETY: given out by `alloc`, which noted the handle in the line; taken out of its chain once.
        unsafe { self.0.free(handle) };
    }

    /// Takes back a line that was not needed.
    #[inline(always)]
    pub(super) fn free_unused(&self, line: Option<&Line>) {
        if let Some(line) = line {
            self.free(line);
        }
    }

    /// Bytes taken from the system.
    pub(super) fn bytes(&self) -> usize {
        self.0.stats().bytes
    }
}
