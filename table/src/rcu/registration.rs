//! Readers that register by hand.

use core::marker::PhantomData;

use super::domain;
use super::guard::Guard;
use super::record::Record;

/// A reader's place in the registry, for threads that have no thread-locals: interrupt handlers, cores without an operating
/// system, builds without `std`. Guards made by [`pin`](Self::pin) cost two stores, as [`rcu::pin`](super::pin) does where
/// there are thread-locals.
///
/// (Without `std`, [`rcu::pin`](super::pin) and [`HashMap::pin`](crate::HashMap::pin) work too, but take a place and return it each
/// time: an atomic exchange.) With `std` nobody needs this.
///
/// A registration belongs to its thread. Guards may outlive it; the place is free again when the last of them is gone.
///
/// ```
/// use nulls::{HashMap, rcu::Registration};
/// let map = HashMap::from([(1, "one")]);
/// let reader = Registration::new(); // once per thread or core
/// for _ in 0..3 {
///     assert_eq!(map.view(reader.pin()).get(&1), Some(&"one"));
/// }
/// ```
#[derive(Debug)]
pub struct Registration {
    record: &'static Record,
    /// The nesting count is the thread's alone: not `Send`, not `Sync`.
    _local: PhantomData<*mut ()>,
}

impl Registration {
    /// Takes a place: one that was left, or a new one of 128 bytes, which is kept for the next reader.
    ///
    /// ```
    /// let reader = nulls::rcu::Registration::new();
    /// drop(reader.pin());
    /// ```
    pub fn new() -> Self {
        Self {
            record: domain().claim(0),
            _local: PhantomData,
        }
    }

    /// Enters a section, or one level deeper into the one that runs.
    ///
    /// ```
    /// let reader = nulls::rcu::Registration::new();
    /// let outer = reader.pin();
    /// let inner = reader.pin();
    /// ```
    #[inline]
    pub fn pin(&self) -> Guard {
        Guard::enter_on(self.record)
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.record.is_idle() {
            domain().give_back(self.record);
        } else {
            // A guard is still alive: the record goes back with the last one.
            self.record
                .set_inner(self.record.inner() | Record::TEMPORARY);
        }
    }
}
