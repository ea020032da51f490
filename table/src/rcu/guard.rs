//! Guards: proof that the holder is inside a section.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;

use super::record::{Domain, Record};
use super::{domain, local};

/// Keeps everything that was reachable when it was made, and since, from being freed. Made by [`pin`](super::pin).
///
/// A guard belongs to its thread; for one that travels see [`OwnedGuard`]. Guards nest: the section ends with the last.
/// A guard that is forgotten ([`core::mem::forget`]) is harmless but expensive: nothing retired from then on is ever freed.
///
/// ```
/// let map = nulls::HashMap::from([(1, "one")]);
/// let guard = nulls::rcu::pin();
/// let one = map.get_with(&1, &guard);
/// map.remove_with(&1, &guard);
/// assert_eq!(one, Some(&"one"), "it stays until the guard goes");
/// ```
#[derive(Debug)]
#[must_use = "the section ends when the guard is dropped"]
pub struct Guard {
    record: &'static Record,
    /// The nesting count is the thread's alone: not `Send`, not `Sync`.
    _local: PhantomData<*mut ()>,
}

impl Guard {
    /// Enters a section, or one level deeper into the one that runs.
    #[inline(always)]
    pub(super) fn enter() -> Self {
        let record = match local::quick() {
            Some(record) if record.is_idle() => {
                record.announce_lightly(domain());
                record
            }
            _ => enter_slowly(),
        };
        Self {
            record,
            _local: PhantomData,
        }
    }

    /// The same on a record that is the calling thread's.
    #[inline]
    pub(super) fn enter_on(record: &'static Record) -> Self {
        enter_record(record);
        Self {
            record,
            _local: PhantomData,
        }
    }

    /// The [index](super::thread_index) of the guard's record.
    #[inline(always)]
    pub(crate) fn index(&self) -> usize {
        self.record.index()
    }

    /// That this guard is alive, as a value of no size: who passes that on need not keep the guard in memory.
    #[inline(always)]
    pub(crate) fn pinned(&self) -> Pinned<'_> {
        Pinned(PhantomData)
    }

    /// Announces that nothing reached through this guard is in use any more, as if it were dropped and made anew: for loops
    /// that never end. Does nothing while another guard of the thread is alive, whose holder may still use what it
    /// reached.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one")]);
    /// let mut guard = nulls::rcu::pin();
    /// for _ in 0..3 {
    ///     assert_eq!(map.get_with(&1, &guard), Some(&"one"));
    ///     guard.refresh();
    /// }
    /// ```
    #[inline]
    pub fn refresh(&mut self) {
        if self.record.inner() & !Record::TEMPORARY == 0 {
            self.record.refresh(domain());
        }
    }

    #[cfg(test)]
    pub(super) fn record(&self) -> &'static Record {
        self.record
    }
}

impl Drop for Guard {
    #[inline(always)]
    fn drop(&mut self) {
        if self.record.inner() == 0 {
            self.record.retract();
        } else {
            leave_deep(self.record);
        }
    }
}

/// Proof that a guard is alive for `'g`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned<'g>(PhantomData<&'g Guard>);

/// The rarer ways to enter: a thread's first guard, one of several, or one that begins with a fence.
#[cold]
#[inline(never)]
fn enter_slowly() -> &'static Record {
    let record = local::get().unwrap_or_else(local::claim);
    enter_record(record);
    record
}

#[inline]
fn enter_record(record: &'static Record) {
    if record.is_idle() {
        record.announce(domain());
    } else {
        record.set_inner(record.inner() + 1);
    }
}

/// The rarer ways to leave: one guard of several, or the last one on a record that then goes back.
#[cold]
#[inline(never)]
fn leave_deep(record: &'static Record) {
    let inner = record.inner();
    if inner == Record::TEMPORARY {
        record.retract();
        local::give_back(record);
    } else {
        record.set_inner(inner - 1);
    }
}

/// A [`Guard`] with a record of its own, which may travel between threads, be shared by them, and be held across
/// an `.await`. Costs a look through the registry to make; wherever a `&Guard` is wanted, `&OwnedGuard` will do.
///
/// [`synchronize`](super::synchronize) waits for owned guards too, whoever holds them: a task that holds one and calls it
/// waits for itself.
///
/// ```
/// use nulls::{HashMap, rcu::OwnedGuard};
/// let map = HashMap::from([(1, "one")]);
/// let guard = OwnedGuard::new();
/// let one = map.get_with(&1, &guard);
/// std::thread::scope(|s| {
///     // References under it travel, as it does itself.
///     s.spawn(|| assert_eq!(one, Some(&"one")));
/// });
/// ```
#[derive(Debug)]
#[must_use = "the section ends when the guard is dropped"]
pub struct OwnedGuard {
    guard: ManuallyDrop<Guard>,
    domain: &'static Domain,
}

// SAFETY: the record is this guard's alone and in no thread-local. Through `&OwnedGuard` other threads get at `&Guard`,
// whose methods that take `&self` touch nothing but fields which never change; `refresh` and the drop need exclusive access.
unsafe impl Send for OwnedGuard {}
// SAFETY: as above.
unsafe impl Sync for OwnedGuard {}

impl OwnedGuard {
    /// Enters a section that ends when the guard is dropped, wherever that is.
    ///
    /// ```
    /// let guard = nulls::rcu::OwnedGuard::new();
    /// assert!(!nulls::rcu::is_pinned(), "it is no thread's");
    /// std::thread::spawn(move || drop(guard)).join().unwrap();
    /// ```
    pub fn new() -> Self {
        Self::new_in(domain())
    }

    /// The same in another domain.
    pub(super) fn new_in(domain: &'static Domain) -> Self {
        let record = domain.claim(0);
        record.announce(domain);
        Self {
            guard: ManuallyDrop::new(Guard {
                record,
                _local: PhantomData,
            }),
            domain,
        }
    }

    /// Announces that nothing reached through this guard is in use any more, as if it were dropped and made anew.
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one")]);
    /// let mut guard = nulls::rcu::OwnedGuard::new();
    /// for _ in 0..3 {
    ///     assert_eq!(map.get_with(&1, &guard), Some(&"one"));
    ///     guard.refresh();
    /// }
    /// ```
    #[inline]
    pub fn refresh(&mut self) {
        self.guard.record.refresh(self.domain);
    }
}

/// A [`Guard`] or an [`OwnedGuard`]: what a view of a map may hold. Sealed.
///
/// ```
/// fn count<G: nulls::rcu::AnyGuard>(map: &nulls::HashMapRef<u32, u32, nulls::DefaultHashBuilder, G>) -> usize {
///     map.len()
/// }
/// let map = nulls::HashMap::from([(1, 1)]);
/// assert_eq!(count(&map.pin()) + count(&map.pin_owned()), 2);
/// ```
pub trait AnyGuard: sealed::Sealed {
    /// The guard, to pass where one is wanted.
    #[doc(hidden)]
    fn as_guard(&self) -> &Guard;
    /// As [`Guard::refresh`].
    #[doc(hidden)]
    fn refresh_section(&mut self);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Guard {}
    impl Sealed for super::OwnedGuard {}
}

impl AnyGuard for Guard {
    #[inline(always)]
    fn as_guard(&self) -> &Guard {
        self
    }

    #[inline(always)]
    fn refresh_section(&mut self) {
        self.refresh();
    }
}

impl AnyGuard for OwnedGuard {
    #[inline(always)]
    fn as_guard(&self) -> &Guard {
        self
    }

    #[inline(always)]
    fn refresh_section(&mut self) {
        self.refresh();
    }
}

impl Default for OwnedGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for OwnedGuard {
    type Target = Guard;

    #[inline]
    fn deref(&self) -> &Guard {
        &self.guard
    }
}

impl Drop for OwnedGuard {
    fn drop(&mut self) {
        let record = self.guard.record;
        record.retract();
        self.domain.give_back(record);
    }
}
