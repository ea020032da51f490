//! Where a chain ends: the nulls marker.
//!
//! The marker of a chain is the address of its first line with the low bit set. First lines are never moved and their
//! memory outlives every reader that could hold the address (arrays are freed after a grace period), so a marker is
//! unique among everything a pinned reader can meet, in every generation of the table. The kernel's markers are bucket
//! numbers, which coincide between generations; these never do.

use super::line::Line;

/// The marker of the chain that begins at `head`.
#[inline(always)]
pub(crate) fn own(head: &Line) -> *mut Line {
    core::ptr::from_ref(head).cast_mut().map_addr(|a| a | 1)
}

/// Whether a link ends the chain: null (a first line's "my own marker") or a marker.
#[inline(always)]
pub(crate) fn is_end(link: *mut Line) -> bool {
    link.is_null() || link.addr() & 1 != 0
}

/// Whether a walk from `head` that ended with `end` stayed on `head`'s chain.
#[inline(always)]
pub(crate) fn is_own_end(head: &Line, end: *mut Line) -> bool {
    // Null occurs in first lines only, and the walk began at one: it did not leave it.
    end.is_null() || end == own(head)
}
