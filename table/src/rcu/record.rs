//! Reader records and their registry: who is reading, and since which epoch.
//!
//! A record belongs to one thread (or one [`OwnedGuard`](super::OwnedGuard)) at a time. The registry is a list that only
//! grows at its head; records are never freed, and one that was returned is claimed again before a new one is made.
//! So there are as many as there ever were readers at once.

use alloc::boxed::Box;
use core::ptr;

use crate::sync::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Backoff, UnsafeCell, check, const_unless_loom,
    order,
};

use super::membarrier::{Asymmetric, Flavour, light};

/// The announced epoch of a record that reads nothing.
const IDLE: u64 = 0;

/// What one reader announces. The alignment keeps readers out of each other's cache lines (and of the adjacent one,
/// which x86 fetches along).
#[repr(align(128))]
pub(super) struct Record {
    /// The epoch announced at the start of the section, or [`IDLE`].
    epoch: AtomicU64,
    /// Guards alive on this record beside the first, plus [`TEMPORARY`](Self::TEMPORARY). Touched by the owner only. The
    /// first is not counted: `epoch` shows it.
    inner: UnsafeCell<usize>,
    /// Whether a section begins with a full fence.
    full_fence: bool,
    /// The position in order of creation.
    index: usize,
    /// The owning thread as the system knows it; 0: no thread's, or not known.
    thread: AtomicU32,
    /// Whether somebody owns the record.
    claimed: AtomicBool,
    /// The record made before this one.
    next: *const Record,
}

// SAFETY: `inner` is touched by the owner only, and ownership changes hands through `claimed` (release, acquire). `next` never
// changes once the record is in the list.
unsafe impl Sync for Record {}
// SAFETY: as above; nothing in a record is tied to the thread that made it.
unsafe impl Send for Record {}

impl Record {
    /// A bit in `inner`: the record goes back as soon as its last guard does, because its thread is past the point at which it
    /// would return it.
    pub(super) const TEMPORARY: usize = 1 << (usize::BITS - 1);

    /// In nobody's hands and never idle, to stand for "no record".
    #[cfg(all(feature = "std", not(nulls_loom)))]
    pub(super) const fn never_idle() -> Self {
        Self {
            epoch: AtomicU64::new(u64::MAX),
            inner: UnsafeCell::new(0),
            full_fence: true,
            index: 0,
            thread: AtomicU32::new(0),
            claimed: AtomicBool::new(true),
            next: ptr::null(),
        }
    }

    /// Whether a section begins with a full fence.
    #[cfg(all(feature = "std", not(nulls_loom)))]
    pub(super) fn needs_fence(&self) -> bool {
        self.full_fence
    }

    /// Whether no guard is alive on this record. Owner only.
    #[inline(always)]
    pub(super) fn is_idle(&self) -> bool {
        self.epoch.load(order::rcu_own()) == IDLE
    }

    /// Guards alive on this record beside the first. Owner only.
    #[inline(always)]
    pub(super) fn inner(&self) -> usize {
        // SAFETY: owner only, and no reference to the count outlives its closure.
        self.inner.with(|p| unsafe { *p })
    }

    /// Owner only.
    #[inline(always)]
    pub(super) fn set_inner(&self, n: usize) {
        // SAFETY: owner only, and no reference to the count outlives its closure.
        self.inner.with_mut(|p| unsafe { *p = n });
    }

    /// The position in order of creation: small and dense.
    #[inline(always)]
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The announced epoch, if the owner reads. For anyone.
    pub(super) fn announced(&self) -> Option<u64> {
        Some(self.epoch.load(order::rcu_scan())).filter(|&epoch| epoch != IDLE)
    }

    /// Who owns the record, for a report.
    pub(super) fn report(&self, behind: u64) -> Reader {
        let thread = self.thread.load(order::rcu_report());
        Reader {
            index: self.index,
            behind,
            thread: (thread != 0).then_some(thread),
        }
    }

    /// Starts a section, or starts it anew: nothing read before counts any more. Owner only.
    #[inline(always)]
    pub(super) fn announce(&self, domain: &Domain) {
        let epoch = domain.epoch.load(order::rcu_epoch_read());
        self.epoch.store(epoch, order::rcu_pin());
        light(self.full_fence);
    }

    /// As [`announce`](Self::announce), for a record whose sections begin without a fence. Owner only.
    #[inline(always)]
    pub(super) fn announce_lightly(&self, domain: &Domain) {
        debug_assert!(!self.full_fence);
        let epoch = domain.epoch.load(order::rcu_epoch_read());
        self.epoch.store(epoch, order::rcu_pin());
        light(false);
    }

    /// Starts the section anew if grace periods began since. Owner only.
    #[inline(always)]
    pub(super) fn refresh(&self, domain: &Domain) {
        // Unchanged: no stamp was taken since, so no batch waits for this record, and the old announcement still protects.
        if domain.epoch.load(order::rcu_epoch_read()) != self.epoch.load(order::rcu_report()) {
            self.announce(domain);
        }
    }

    /// Ends the section. Owner only.
    #[inline(always)]
    pub(super) fn retract(&self) {
        self.epoch.store(IDLE, order::rcu_unpin());
    }
}

impl core::fmt::Debug for Record {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // The count of guards is for the owner's eyes.
        f.debug_struct("Record")
            .field("index", &self.index)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// Readers, epochs and the fence between them: the state that the process has once, and a test may have of its own.
/// Aligned like a record, because every pin reads the epoch.
#[repr(align(128))]
pub(crate) struct Domain {
    /// The next stamp. Never [`IDLE`], and at one a nanosecond it lasts for 584 years.
    epoch: AtomicU64,
    /// The newest record.
    registry: AtomicPtr<Record>,
    fences: Asymmetric,
}

impl Domain {
    const_unless_loom! {
        /// A domain without readers.
        pub(super) const fn new() -> Self {
            Self::with_fences(Asymmetric::undecided())
        }
    }

    const_unless_loom! {
        pub(super) const fn with_fences(fences: Asymmetric) -> Self {
            Self { epoch: AtomicU64::new(IDLE + 1), registry: AtomicPtr::new(ptr::null_mut()), fences }
        }
    }

    /// The flavour of fence in use.
    pub(super) fn flavour(&self) -> Flavour {
        self.fences.flavour()
    }

    /// Takes a returned record or makes one; its count of inner guards is 0. `thread` is for reports.
    pub(super) fn claim(&self, thread: u32) -> &Record {
        let free = self.records().find(|r| {
            !r.claimed.load(order::rcu_claim_look())
                && r.claimed
                    .compare_exchange(false, true, order::rcu_claim(), order::rcu_claim_look())
                    .is_ok()
        });
        let record = free.unwrap_or_else(|| self.register());
        record.thread.store(thread, order::rcu_report());
        record
    }

    /// Gives a record back. It must be idle, without inner guards.
    pub(super) fn give_back(&self, record: &Record) {
        record.claimed.store(false, order::rcu_return());
    }

    /// Makes a record, claimed, and links it at the registry's head.
    #[cold]
    fn register(&self) -> &Record {
        let mut record = Box::new(Record {
            epoch: AtomicU64::new(IDLE),
            inner: UnsafeCell::new(0),
            full_fence: self.flavour() == Flavour::Fence,
            index: 0,
            thread: AtomicU32::new(0),
            claimed: AtomicBool::new(true),
            next: ptr::null(),
        });
        let mut head = self.registry.load(order::rcu_registry());
        loop {
            // SAFETY: records live as long as their domain; the head is null or a record, and loaded with acquire.
            record.index = unsafe { head.as_ref() }.map_or(0, |r| r.index + 1);
            record.next = head;
            let new = Box::into_raw(record);
            match self.registry.compare_exchange(
                head,
                new,
                order::rcu_register(),
                order::rcu_registry(),
            ) {
                // SAFETY: just made; from here on it lives as long as the domain.
                Ok(_) => return unsafe { &*new },
                Err(now) => {
                    head = now;
                    // SAFETY: not linked, so still ours alone.
                    record = unsafe { Box::from_raw(new) };
                }
            }
        }
    }

    /// All records, newest first.
    fn records(&self) -> impl Iterator<Item = &Record> {
        let mut at: *const Record = self.registry.load(order::rcu_registry());
        core::iter::from_fn(move || {
            // SAFETY: null or a record, which lives as long as the domain.
            let record = unsafe { at.as_ref() }?;
            at = record.next;
            Some(record)
        })
    }

    /// Begins a grace period for everything unlinked so far, and returns its stamp. `None` when the kernel refused the
    /// barrier: the garbage has to be kept, and the call repeated later.
    #[must_use]
    pub(super) fn begin(&self) -> Option<u64> {
        if !self.fences.heavy() {
            return None;
        }
        if check::mutant("rcu:epoch-not-bumped") {
            return Some(self.epoch.load(order::rcu_completed()));
        }
        Some(self.epoch.fetch_add(1, order::rcu_stamp()))
    }

    /// Every grace period whose stamp is below the result has ended.
    pub(super) fn completed(&self) -> u64 {
        // Read before the records: a stamp below it was taken, and its heavy fence made, before this scan.
        let bound = self.epoch.load(order::rcu_completed());
        let bound = if check::mutant("rcu:unbounded-scan") {
            u64::MAX
        } else {
            bound
        };
        self.records()
            .filter_map(Record::announced)
            .filter(|_| !check::mutant("rcu:ignore-active-reader"))
            .map(|epoch| epoch + u64::from(check::mutant("rcu:newer-or-equal")))
            .fold(bound, u64::min)
    }

    /// Waits until every section that runs now has ended. `false` when the kernel refused the barrier.
    #[must_use]
    pub(super) fn synchronize(&self) -> bool {
        let Some(stamp) = self.begin() else {
            return false;
        };
        let mut backoff = Backoff::new();
        while self.completed() <= stamp {
            backoff.wait();
        }
        true
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records().count()
    }

    /// The reader that announced the oldest epoch, if any reads.
    pub(super) fn oldest_reader(&self) -> Option<Reader> {
        let now = self.epoch.load(order::rcu_completed());
        let (epoch, record) = self
            .records()
            .filter_map(|r| Some((r.announced()?, r)))
            .min_by_key(|&(epoch, _)| epoch)?;
        Some(record.report(now.saturating_sub(epoch)))
    }
}

impl core::fmt::Debug for Domain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Domain")
            .field("oldest_reader", &self.oldest_reader())
            .finish_non_exhaustive()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let mut at = self.registry.load(order::rcu_registry());
        while !at.is_null() {
            // SAFETY: made by `Box::into_raw` in `register`, and nobody can own a record of a domain that is being dropped:
            // guards borrow the domain for `'static`.
            let record = unsafe { Box::from_raw(at) };
            at = record.next.cast_mut();
        }
    }
}

/// A reader that grace periods wait for, for reports.
///
/// ```
/// let _guard = nulls::rcu::pin();
/// let reader: nulls::rcu::Reader = nulls::rcu::oldest_reader().expect("this thread reads");
/// println!("{} grace periods wait for reader {}", reader.behind, reader.index);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reader {
    /// The number of the reader's record, as [`thread_index`](super::thread_index) gives it.
    pub index: usize,
    /// Grace periods begun since the reader announced itself: each waits for it.
    pub behind: u64,
    /// The reading thread's number as the system knows it; `None` for an [`OwnedGuard`](super::OwnedGuard), and where threads have
    /// no number.
    pub thread: Option<u32>,
}

impl Reader {
    /// The reading thread's name, asked of the system now. `None` where it cannot be asked, or the thread is gone.
    ///
    /// ```
    /// let _guard = nulls::rcu::pin();
    /// let reader = nulls::rcu::oldest_reader().expect("this thread reads");
    /// println!("{:?}", reader.thread_name());
    /// ```
    #[cfg(feature = "std")]
    pub fn thread_name(&self) -> Option<String> {
        if !cfg!(all(target_os = "linux", not(nulls_loom))) {
            return None;
        }
        let comm =
            std::fs::read_to_string(format!("/proc/self/task/{}/comm", self.thread?)).ok()?;
        Some(comm.trim_end().to_owned())
    }
}
