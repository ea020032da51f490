//! The raw table: hashes to opaque `u32` handles, and nothing about keys.
//!
//! [`Table`] is to [`HashMap`](crate::HashMap) what `hashbrown::HashTable` is to its map: it stores handles and takes
//! the comparison of keys as a closure. One entry may thus be linked under several keys, which is what connection
//! tracking needs.
//!
//! ```
//! use nulls::{raw::Table, rcu};
//! let names = ["", "ada", "grace"]; // handle 0 is reserved
//! let hash = |x: u32| (names[x as usize].len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
//! let table = Table::new();
//! let guard = rcu::pin();
//! let probe = table.probe(&guard, hash(2), |x| names[x as usize] == "grace", &hash);
//! assert_eq!(probe.hit(), None);
//! probe.insert(2).unwrap().assist(&guard, &hash);
//! assert_eq!(table.find(&guard, hash(2), |x| (names[x as usize] == "grace").then_some(x)), Some(2));
//! ```

mod buckets;

mod cursor;
mod find;
mod line;
mod lines;
pub(crate) mod local;
#[cfg(any(nulls_loom, nulls_check))]
#[doc(hidden)]
pub mod models;
mod nulls;
mod resize;
mod stats;
mod steps;
mod ticket;
mod write;

pub use crate::mem::AllocError;
pub use local::{ThreadStats, thread_stats};
pub use stats::Stats;
pub use steps::Steps;
pub use write::{InsertError, Probe, Stale, Written};

use crate::budget::Budget;
use crate::count::Counter;
use crate::generations::{FILL, Generations, buckets_for};
use crate::rcu::Pinned;
use alloc::sync::Arc;
use buckets::{Array, Buckets};
use lines::Lines;

/// A concurrent table of `u32` handles in order of their hashes. See the [module](self).
///
/// ```
/// use nulls::{raw::Table, rcu};
/// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
/// let table = Table::new();
/// let guard = rcu::pin();
/// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap().assist(&guard, &hash);
/// assert_eq!(table.find(&guard, hash(1), |x| (x == 1).then_some(x)), Some(1));
/// ```
#[derive(Debug)]
pub struct Table {
    generations: Generations<Buckets>,
    count: Counter,
    lines: Lines,
}

impl Table {
    /// An empty table with one bucket.
    ///
    /// # Panics
    /// When there is no memory for it.
    ///
    /// ```
    /// let table = nulls::raw::Table::new();
    /// assert_eq!((table.len(), table.buckets()), (0, 1));
    /// ```
    pub fn new() -> Self {
        Self::with_capacity(0).expect("memory for an empty table")
    }

    /// An empty table that holds `entries` handles without growing.
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory for the buckets.
    ///
    /// ```
    /// let table = nulls::raw::Table::with_capacity(1000)?;
    /// assert!(table.capacity() >= 1000 && table.is_empty());
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn with_capacity(entries: usize) -> Result<Self, AllocError> {
        Self::with_limit(entries, None)
    }

    /// As [`with_capacity`](Self::with_capacity), and never holds more than `limit` handles if that is given. A limit is
    /// exact: it is tested under the bucket's lock, and a removal makes room at once.
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory for the buckets.
    ///
    /// ```
    /// let table = nulls::raw::Table::with_limit(0, Some(100))?;
    /// assert_eq!(table.limit(), Some(100));
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn with_limit(entries: usize, limit: Option<usize>) -> Result<Self, AllocError> {
        Self::within(entries, limit, None)
    }

    /// As [`with_limit`](Self::with_limit), and takes at most `memory` bytes for arrays, old and new, and overflow lines.
    /// Growth that the limit does not allow is left out (chains get longer); an insertion that needs an overflow line then
    /// fails with [`AllocError::MemoryLimit`].
    ///
    /// # Errors
    /// [`AllocError`] when the system, or the limit, has no memory for the buckets.
    ///
    /// ```
    /// use nulls::raw::Table;
    /// assert!(Table::with_memory_limit(1 << 20, None, 1 << 10).is_err());
    /// assert!(Table::with_memory_limit(100, None, 1 << 20).is_ok());
    /// ```
    pub fn with_memory_limit(
        entries: usize,
        limit: Option<usize>,
        memory: usize,
    ) -> Result<Self, AllocError> {
        Self::within(entries, limit, Some(Budget::new(memory)))
    }

    /// Lets the moves of all resizes but a first ask the entries for their hashes, as if lines had no fractions: to measure what those are good for.
    #[cfg(feature = "ablation")]
    #[doc(hidden)]
    pub fn forget_fractions(&mut self) {
        self.generations.root_mut().cells.forgets_fractions = true;
    }

    /// A table that pays for its memory from a budget that others may share.
    pub(crate) fn within(
        entries: usize,
        limit: Option<usize>,
        budget: Option<Arc<Budget>>,
    ) -> Result<Self, AllocError> {
        Ok(Self {
            count: Counter::new(limit),
            lines: Lines::try_new(budget.as_ref())?,
            generations: Generations::try_new(Self::buckets_for(entries), budget)?,
        })
    }

    /// Takes the buckets' memory from the system now, so that no operation waits for that. (On Linux before 5.14, and on other systems,
    /// pages still come when they are first used.)
    ///
    /// ```
    /// let table = nulls::raw::Table::with_capacity(1000)?;
    /// table.populate();
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn populate(&self) {
        let guard = crate::rcu::pin();
        let lines = self.root_array(guard.pinned()).cells.lines();
        crate::mem::populate(lines, lines.len());
    }

    /// How many buckets hold `entries` handles without growing.
    ///
    /// ```
    /// use nulls::raw::Table;
    /// let table = Table::with_capacity(1000)?;
    /// assert_eq!(table.buckets(), Table::buckets_for(1000));
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn buckets_for(entries: usize) -> usize {
        buckets_for(entries)
    }

    /// The number of handles. Exact for a limited table and while nobody writes, else a sum of counters read one after
    /// another.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap();
    /// assert_eq!(table.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.count.get()
    }

    /// Whether [`len`](Self::len) is 0.
    ///
    /// ```
    /// assert!(nulls::raw::Table::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of buckets of the current generation.
    ///
    /// ```
    /// assert_eq!(nulls::raw::Table::new().buckets(), 1);
    /// ```
    pub fn buckets(&self) -> usize {
        self.generations.buckets()
    }

    /// How many handles the current generation holds before it grows.
    ///
    /// ```
    /// assert!(nulls::raw::Table::with_capacity(100)?.capacity() >= 100);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn capacity(&self) -> usize {
        self.buckets().saturating_mul(FILL)
    }

    /// The most handles the table may hold, if it is limited.
    ///
    /// ```
    /// assert_eq!(nulls::raw::Table::new().limit(), None);
    /// ```
    pub fn limit(&self) -> Option<usize> {
        self.count.limit()
    }

    /// Asks for `buckets` buckets, any number from 1 on. Writers and [`maintain`](Self::maintain) move the entries.
    /// While a resize is running the wish is queued, the last one counts; the table neither grows nor shrinks by itself
    /// before it. Nor does it shrink by itself below the number asked for last; it grows beyond as its entries need it.
    /// A queued wish is given up if there is no memory for it when its turn comes.
    ///
    /// # Errors
    /// [`AllocError`] when there is no memory for the new array; the table is as before.
    ///
    /// ```
    /// let table = nulls::raw::Table::new();
    /// table.resize(7)?;
    /// table.maintain(&|_| unreachable!("it is empty"))?;
    /// assert_eq!(table.buckets(), 7);
    /// assert!(!table.is_resizing());
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn resize(&self, buckets: usize) -> Result<(), AllocError> {
        self.generations.resize(buckets)
    }

    /// Asks for room for `entries` handles, without ever making the table smaller.
    pub(crate) fn reserve(&self, entries: usize) -> Result<(), AllocError> {
        self.generations.reserve(entries)
    }

    /// Whether a resize is running or queued.
    ///
    /// ```
    /// let table = nulls::raw::Table::new();
    /// assert!(!table.is_resizing());
    /// table.resize(10)?;
    /// assert!(table.is_resizing()); // until writers, or `maintain`, have moved the bucket
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn is_resizing(&self) -> bool {
        self.generations.is_resizing()
    }

    /// Calls `f` with every handle, and empties the table.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// # let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let mut table = Table::new();
    /// {
    ///     let guard = rcu::pin();
    ///     table.probe(&guard, hash(1), |x| x == 1, &hash).insert(1).unwrap().assist(&guard, &hash);
    /// }
    /// let mut all = Vec::new();
    /// table.drain(|x| all.push(x));
    /// assert_eq!((all, table.len()), (vec![1], 0));
    /// ```
    pub fn drain(&mut self, mut f: impl FnMut(u32)) {
        let guard = crate::rcu::pin();
        let mut array = Some(self.root_array(guard.pinned()));
        while let Some(a) = array {
            for b in 0..a.len() {
                self.drain_bucket(a.head(b), &mut f);
            }
            array = a.next();
        }
        debug_assert_eq!(self.count.get(), 0);
    }

    fn drain_bucket(&self, head: &line::Line, f: &mut impl FnMut(u32)) {
        if ticket::load(head) & ticket::MOVED != 0 {
            return;
        }
        let mut line = head;
        loop {
            for i in line.tags().used() {
                let x = line.handle(i);
                if x != 0 {
                    // Cleared first: if `f` panics, the rest is still there and this one is not seen twice.
                    line.clear(i);
                    self.count.sub(0, 1);
                    f(x);
                }
            }
            let link = line.link();
            if nulls::is_end(link) {
                return;
            }
            // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
            line = unsafe { &*link };
        }
    }

    /// The current generation.
    #[inline(always)]
    fn root_array<'g>(&'g self, guard: Pinned<'g>) -> &'g Array {
        self.generations.root_array(guard)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}
