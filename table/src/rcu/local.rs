//! The calling thread's record.
//!
//! The pointer lives in a thread-local that needs neither initialisation nor destruction, so that reading it is one
//! instruction and works at any time. Returning the record is the work of a second thread-local, touched only when a record
//! is claimed. A thread that pins later still, from the destructor of yet another thread-local, gets a record that goes
//! back with its last guard.
//!
//! A third thread-local is for [`pin`](super::pin) alone: it names the record only while a section may begin without a
//! fence, and else one that is never idle, so that one test finds out whether there is anything else to do than to
//! announce the epoch.

use core::cell::Cell;
use core::ptr;

use super::domain;
use super::record::Record;

/// What [`QUICK`] names instead of a record.
#[cfg(not(nulls_loom))]
static NEVER_IDLE: Record = Record::never_idle();

#[cfg(not(nulls_loom))]
std::thread_local! {
    static RECORD: Cell<*const Record> = const { Cell::new(ptr::null()) };
    static QUICK: Cell<&'static Record> = const { Cell::new(&NEVER_IDLE) };
    static AT_EXIT: AtExit = const { AtExit };
}

// In a model records are not returned at a thread's end: loom drops its statics before it runs the last destructors.
// The hand-over itself is the same for owned guards, and modelled there.
#[cfg(nulls_loom)]
crate::sync::thread_local! {
    static RECORD: Cell<*const Record> = Cell::new(ptr::null());
}

/// The calling thread's record, if it has one.
#[inline(always)]
pub(super) fn get() -> Option<&'static Record> {
    // SAFETY: null or a record of the process's domain, which is never dropped.
    unsafe { RECORD.with(Cell::get).as_ref() }
}

/// The calling thread's record if its sections begin without a fence, else one that is not idle. In a model, none.
#[inline(always)]
pub(super) fn quick() -> Option<&'static Record> {
    #[cfg(not(nulls_loom))]
    return Some(QUICK.with(Cell::get));
    #[cfg(nulls_loom)]
    None
}

fn set(record: Option<&'static Record>) {
    RECORD.with(|r| r.set(record.map_or(ptr::null(), ptr::from_ref)));
    #[cfg(not(nulls_loom))]
    QUICK.with(|q| q.set(record.filter(|r| !r.needs_fence()).unwrap_or(&NEVER_IDLE)));
}

/// Gives the calling thread a record.
#[cold]
pub(super) fn claim() -> &'static Record {
    let record = domain().claim(thread_number());
    if exiting() {
        record.set_inner(Record::TEMPORARY);
    }
    set(Some(record));
    record
}

/// Returns a [temporary](Record::TEMPORARY) record whose last guard has gone.
#[cold]
pub(super) fn give_back(record: &'static Record) {
    if get().is_some_and(|mine| ptr::eq(mine, record)) {
        set(None);
    }
    record.set_inner(0);
    domain().give_back(record);
}

/// Whether the thread will run no more [`AtExit`]. Asking also makes sure that one runs, if it can.
#[cfg(not(nulls_loom))]
pub(super) fn exiting() -> bool {
    AT_EXIT.try_with(|_| ()).is_err()
}

#[cfg(nulls_loom)]
pub(super) fn exiting() -> bool {
    false
}

#[cfg(not(nulls_loom))]
struct AtExit;

#[cfg(not(nulls_loom))]
impl Drop for AtExit {
    fn drop(&mut self) {
        let Some(record) = get() else { return };
        match record.inner() {
            0 if record.is_idle() => give_back(record),
            // A guard sits in a thread-local that is destroyed later: the record goes with it. One that was forgotten
            // keeps the record, announced, for ever.
            n => record.set_inner(n | Record::TEMPORARY),
        }
    }
}

/// The calling thread's number as the system knows it, 0 where it has none.
fn thread_number() -> u32 {
    #[cfg(all(target_os = "linux", not(nulls_loom)))]
    {
        // SAFETY: takes nothing and cannot fail.
        let id = unsafe { libc::syscall(libc::SYS_gettid) };
        u32::try_from(id).unwrap_or(0)
    }
    #[cfg(not(all(target_os = "linux", not(nulls_loom))))]
    0
}
