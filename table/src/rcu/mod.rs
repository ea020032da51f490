//! Grace periods: when may memory that was unlinked be freed?
//!
//! A small RCU after liburcu. Readers announce themselves in records that are global and per thread; what was unlinked is
//! kept in lists that belong to its owner (a map's `garbage`), so that a dropped map frees its own at once and
//! nothing needs to be `'static`. One [`Guard`] protects every map and table of the process.
//!
//! # Protocol
//!
//! ```text
//! reader                                   reclaimer
//! e = epoch.load(Relaxed)                  unlink x                     (any Release store)
//! record.store(e, Release)                 heavy fence
//! light fence                              s = epoch.fetch_add(1, Release)
//! reads, maybe of x                        …later, any number of times, until x may be freed:
//! record.store(0, Release)                 b = epoch.load(Acquire)
//!                                          free x if s < b and every record.load(Acquire) is 0 or > s
//! ```
//!
//! # Why idle or newer is enough
//!
//! Let `x` be unlinked and its grace period stamped `s`, and let a later scan, bounded by `b > s`, find the record of
//! a reader idle or newer than `s`. That `b > s` means that the scan's first load read from the stamping or from a later one
//! in its release sequence (Release, Acquire), so *the unlinking and the heavy fence happen before the scan*, whoever makes
//! it and whether or not it shares a lock with who stamped. Take any section of that record, and the value `v` that the scan read:
//!
//! 1. *`v` was stored after the section ended*: the idle mark of its end, or any later store of the record. All of
//!    them are Release and the scan's load is Acquire, so the section's reads happen before the freeing. (This is why
//!    the announcement is Release too: a scan may miss the idle mark and see the next announcement.)
//! 2. *`v` is the section's own announcement*, and `v > s`. The reader's load of the epoch read from the stamping of `s` or
//!    from a later one in its release sequence. The heavy fence `H` comes before the stamping and the light fence `L` after
//!    the load, so the fences synchronise, and the unlinking happens before the reads of the section: they cannot reach `x`.
//! 3. *`v` is older than the section's announcement* `A`. `H` comes before the scan, `L` after `A`. Were `L` before `H` in the total order of sequentially consistent fences, then the scan would read `A` or something
//!    later. So `H` is before `L`; the unlinking happens before `H`, hence the reads after `L` see it: they cannot reach `x`.
//!    The same holds for a record that the scan did not find at all: it was linked into the registry before `A`, and the load
//!    of the registry's head follows `H`.
//!
//! "Older" and "later" speak of the order in which the record was stored to. It is that of its owners, one after another,
//! because a record changes hands through a Release store and an Acquire exchange of `claimed`: were they relaxed, the idle
//! mark of an old owner could count as later than the announcement of the new one.
//!
//! # Why the fence is a faithful model of `membarrier`
//!
//! Models have `fence(SeqCst)` on both sides, the `membarrier` flavour has a system call and a compiler fence. During the
//! call each other thread executes a full barrier at some point `p` of its program. For a reader, `p` is before `A`, after the
//! first read of the section, or between the two; the compiler fence sees to it that program order is `A`, then reads.
//! If `p` comes before the reads, they see what happened before the call: as if `H` were before `L`. If `p` comes after `A`, the
//! announcement is visible to what follows the call: as if `L` were before `H`. One of the two always holds (in
//! between, both do), and they are the two cases that argument 3 needs. In argument 2 the reader saw a number that was
//! stored after the call had returned, so `p` came before that load, hence before the reads. So whatever the flavour does, the
//! model has an execution that orders no more.
//!
//! # Forking
//!
//! In the child of a `fork` only the forking thread runs, but the records of the others look as they did: one that was
//! announced stays so for ever, and nothing retired in the child is freed. Fork before readers start, or `exec` after.

mod guard;
#[cfg_attr(not(feature = "std"), path = "local_none.rs")]
mod local;
mod membarrier;
mod record;
mod registration;
#[cfg(all(test, not(nulls_loom)))]
mod tests;

#[allow(dead_code, unreachable_pub, reason = "models reach it from outside")]
pub(crate) mod garbage;

pub(crate) use guard::Pinned;
pub use guard::{AnyGuard, Guard, OwnedGuard};
pub use membarrier::Flavour;
pub use record::Reader;
pub use registration::Registration;

use record::Domain;

/// The process's domain.
#[cfg(not(nulls_loom))]
#[inline(always)]
pub(crate) fn domain() -> &'static Domain {
    static DOMAIN: Domain = Domain::new();
    &DOMAIN
}

/// The execution's domain: loom makes and drops one for each.
#[cfg(nulls_loom)]
pub(crate) fn domain() -> &'static Domain {
    crate::sync::lazy_static! {
        static ref DOMAIN: Domain = Domain::new();
    }
    &DOMAIN
}

/// Enters a section: until the guard is dropped, nothing that a reader of this thread can reach is freed.
///
/// Costs two plain stores (and, where `membarrier(2)` cannot be had, a fence). Nests freely. A thread's first section
/// takes a record of 128 bytes, made anew if no other thread has left one.
///
/// ```
/// let guard = nulls::rcu::pin();
/// assert!(nulls::rcu::is_pinned());
/// drop(guard);
/// assert!(!nulls::rcu::is_pinned());
/// ```
#[inline]
pub fn pin() -> Guard {
    Guard::enter()
}

/// Waits until every section that runs now has ended, in whatever thread.
///
/// # Errors
/// [`SynchronizeError::Pinned`] when the calling thread itself is in a section, which would otherwise wait for itself.
/// [`SynchronizeError::Refused`] when the kernel refused the barrier.
///
/// ```
/// use nulls::rcu::{self, SynchronizeError};
/// let guard = rcu::pin();
/// assert_eq!(rcu::synchronize(), Err(SynchronizeError::Pinned));
/// drop(guard);
/// assert_eq!(rcu::synchronize(), Ok(()));
/// ```
pub fn synchronize() -> Result<(), SynchronizeError> {
    if is_pinned() {
        return Err(SynchronizeError::Pinned);
    }
    if domain().synchronize() {
        Ok(())
    } else {
        Err(SynchronizeError::Refused)
    }
}

/// Why [`synchronize`] did not wait.
///
/// ```
/// use nulls::rcu;
/// let guard = rcu::pin();
/// assert_eq!(rcu::synchronize(), Err(rcu::SynchronizeError::Pinned)); // it would wait for itself
/// drop(guard);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynchronizeError {
    /// The calling thread holds a [`Guard`].
    Pinned,
    /// `membarrier(2)` worked once and now does not, say because a filter on system calls was installed.
    Refused,
}

impl core::fmt::Display for SynchronizeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Pinned => "the calling thread holds a guard and would wait for itself",
            Self::Refused => "the kernel refused the memory barrier",
        })
    }
}

impl core::error::Error for SynchronizeError {}

/// Whether the calling thread holds a [`Guard`]. Without `std` nobody knows: `false`.
///
/// ```
/// assert!(!nulls::rcu::is_pinned());
/// let _guard = nulls::rcu::pin();
/// assert!(nulls::rcu::is_pinned());
/// ```
pub fn is_pinned() -> bool {
    local::get().is_some_and(|r| !r.is_idle())
}

/// A small number that no other running thread has, dense enough to choose a shard by. Numbers of threads that ended are
/// given out again. A thread that is being torn down may get 0.
///
/// ```
/// use nulls::rcu::thread_index;
/// let mine = thread_index();
/// assert_eq!(thread_index(), mine);
/// let other = std::thread::spawn(thread_index).join().unwrap();
/// assert_ne!(other, mine);
/// ```
#[inline]
pub fn thread_index() -> usize {
    match local::get() {
        Some(record) => record.index(),
        None => first_thread_index(),
    }
}

#[cold]
fn first_thread_index() -> usize {
    if local::exiting() {
        0
    } else {
        local::claim().index()
    }
}

/// How sections are ordered against reclamation in this process.
///
/// The first call (or the first map, or the first [`pin`]) decides it. On Linux that registers the process with the kernel,
/// which is immediate while the process has one thread and takes tens of milliseconds once it has several: a program
/// that minds calls this at its start.
///
/// ```
/// use nulls::rcu::{Flavour, flavour};
/// match flavour() {
///     Flavour::Membarrier => println!("look-ups pay for no fence"),
///     Flavour::Fence => println!("each guard costs a fence"),
/// }
/// ```
pub fn flavour() -> Flavour {
    domain().flavour()
}

/// How many reader records exist: as many as there ever were readers at once.
///
/// ```
/// let _guard = nulls::rcu::pin();
/// assert!(nulls::rcu::readers() >= 1);
/// ```
pub fn readers() -> usize {
    domain().len()
}

/// The reader that every grace period waits for longest, if anyone reads now.
///
/// ```
/// let _guard = nulls::rcu::pin();
/// let reader = nulls::rcu::oldest_reader().expect("this thread reads");
/// println!("{} grace periods wait for {:?}", reader.behind, reader.thread_name());
/// ```
pub fn oldest_reader() -> Option<Reader> {
    domain().oldest_reader()
}

/// Grace periods without garbage, for models of the protocol itself.
#[cfg(any(nulls_loom, nulls_check))]
pub mod stamps {
    /// Begins a grace period: its stamp.
    pub fn begin() -> u64 {
        super::domain()
            .begin()
            .expect("the kernel gives the barrier")
    }

    /// The bound below which every stamp's grace period has ended.
    pub fn completed() -> u64 {
        super::domain().completed()
    }
}
