//! The bucket's ticket: a sequence count, a lock and a forwarding mark in one word of the first line.
//!
//! A writer looks at its bucket without the lock, then takes the lock by compare-and-swap *from the ticket it saw*:
//! success proves that nothing changed in between. Hence no user code and no allocation ever runs under a bucket's
//! lock, and nothing can be poisoned or entered twice.

use super::line::Line;
use crate::sync::check::{mutant, pause};
use crate::sync::order;
use core::sync::atomic::Ordering::Relaxed;

/// Somebody is writing to the bucket.
pub(crate) const LOCK: u64 = 1;
/// The bucket's entries live in the next table. Never taken back.
pub(crate) const MOVED: u64 = 2;
/// One change of the bucket.
pub(crate) const STEP: u64 = 4;

/// The ticket of `head`'s bucket.
#[inline(always)]
pub(crate) fn load(head: &Line) -> u64 {
    pause();
    head.ticket.load(order::ticket_load())
}

/// Whether a walk of `head`'s chain that ended with `end` saw the whole bucket, and the bucket was still the truth.
#[inline(always)]
pub(crate) fn complete(head: &Line, end: *mut Line) -> bool {
    (super::nulls::is_own_end(head, end) || mutant("find:skip-nulls-check")) && is_truth(head)
}

/// Whether `head`'s bucket had not moved by the end of a walk that has just ended with its own end.
#[inline(always)]
pub(crate) fn is_truth(head: &Line) -> bool {
    pause();
    // Relaxed: the loads of the walk are Acquire, so that whoever saw what a mover wiped after it set MOVED sees
    // MOVED here; a reader that saw nothing of the kind saw the bucket as it was before it moved.
    head.ticket.load(Relaxed) & MOVED == 0 || mutant("find:skip-moved-check")
}

/// Takes the bucket's lock if its ticket is still `seen`, which is neither locked nor moved.
#[inline]
pub(crate) fn take(head: &Line, seen: u64) -> bool {
    debug_assert_eq!(seen & (LOCK | MOVED), 0);
    let mut expected = seen;
    if mutant("ticket:take-from-any-version") {
        expected = head.ticket.load(Relaxed);
        if expected & (LOCK | MOVED) != 0 {
            return false;
        }
    }
    head.ticket
        .compare_exchange(expected, expected | LOCK, order::ticket_take(), Relaxed)
        .is_ok()
}

/// Gives the lock back: the ticket was `seen` when it was taken, and the bucket has changed.
#[inline]
pub(crate) fn leave(head: &Line, seen: u64) {
    let step = if mutant("ticket:leave-without-step") {
        0
    } else {
        STEP
    };
    head.ticket
        .store(seen.wrapping_add(step), order::ticket_leave());
}

/// Gives the lock back without a change.
#[inline]
pub(crate) fn abandon(head: &Line, seen: u64) {
    head.ticket.store(seen, order::ticket_leave());
}

/// Gives the lock back and says that the bucket lives in the next table from now on.
#[inline]
pub(crate) fn leave_moved(head: &Line, seen: u64) {
    head.ticket
        .store(seen.wrapping_add(STEP) | MOVED, order::ticket_leave());
}
