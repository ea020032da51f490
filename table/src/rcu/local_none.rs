//! Without thread-locals no thread has a record of its own: each guard takes one from the registry and returns it, as the
//! guards of a thread that is being torn down do elsewhere. Readers that mind the exchange register, see
//! [`Registration`](super::Registration).

use super::domain;
use super::record::Record;

/// The calling thread's record: there is no such thing.
#[inline(always)]
pub(super) fn get() -> Option<&'static Record> {
    None
}

/// No quick way in.
#[inline(always)]
pub(super) fn quick() -> Option<&'static Record> {
    None
}

/// A record that goes back with its last guard.
pub(super) fn claim() -> &'static Record {
    let record = domain().claim(0);
    record.set_inner(Record::TEMPORARY);
    record
}

/// Returns a [temporary](Record::TEMPORARY) record whose last guard has gone.
pub(super) fn give_back(record: &'static Record) {
    record.set_inner(0);
    domain().give_back(record);
}

/// Whether the thread will not return a record by itself.
pub(super) fn exiting() -> bool {
    true
}
