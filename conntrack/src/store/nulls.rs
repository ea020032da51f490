//! The default store: a type-stable pool of entries, and the raw table of crate `nulls`, whose readers never lock.
//!
//! A handle in the table is the entry's number times two plus the direction, so one entry is linked under two hashes, as the kernel's two
//! `tuplehash` nodes in one `nf_conn` are. A reader compares the key through the pool's type-stable memory, takes a reference if
//! the count is not zero, and compares the key again, CONFIRMED included: the memory may have become another connection in between.

use super::{InsertError, Peek, Store};
use crate::conn::Conn;
use crate::sync::mutant;
use crate::tuple::Direction;
use crate::zone::{Key, Link};
use ::nulls::pool::{Entry, Pool, Ref, Unique};
use ::nulls::raw::{self, Table};
use ::nulls::rcu;
use std::fmt;
use std::ops::Deref;

/// An entry in the pool. Private, so that nobody but the pool can call `recycle`.
struct Slot<U>(Conn<U>);

impl<U> Default for Slot<U> {
    fn default() -> Self {
        Self(Conn::blank())
    }
}

impl<U: Send + Sync> Entry for Slot<U> {
    fn recycle(&self) {
        // SAFETY: the pool calls this when the last reference is gone and before another can be made. Whoever still looks at the slot without
        // one (`NullsStore::peek` and what uses it) reads atomics only, never the user's slot.
        unsafe { self.0.recycle() }
    }
}

/// A counted reference of a [`NullsStore`].
pub struct NullsRef<'a, U: Send + Sync>(Ref<'a, Slot<U>>);

impl<U: Send + Sync> Clone for NullsRef<'_, U> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<U: Send + Sync> Deref for NullsRef<'_, U> {
    type Target = Conn<U>;

    fn deref(&self) -> &Conn<U> {
        &self.0.0
    }
}

impl<U: Send + Sync> fmt::Debug for NullsRef<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A fresh entry of a [`NullsStore`].
pub struct NullsNew<'a, U: Send + Sync>(Unique<'a, Slot<U>>);

impl<U: Send + Sync> Deref for NullsNew<'_, U> {
    type Target = Conn<U>;

    fn deref(&self) -> &Conn<U> {
        &self.0.0
    }
}

impl<U: Send + Sync> fmt::Debug for NullsNew<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// See the module's documentation.
pub struct NullsStore<U: Send + Sync = ()> {
    table: Table,
    pool: Pool<Slot<U>>,
}

/// The handle of an entry's `dir` link.
fn handle(entry: u32, dir: Direction) -> u32 {
    entry << 1 | dir as u32
}

impl<U: Send + Sync> NullsStore<U> {
    /// A store of at most `max_entries` entries (those that only packets hold included) in a table that begins with `buckets` buckets
    /// of eight links and grows as needed.
    ///
    /// # Errors
    /// No memory for the buckets.
    pub fn new(max_entries: u32, buckets: usize) -> Result<Self, ::nulls::AllocError> {
        let table = Table::new();
        table.resize(buckets)?;
        // Nothing is in the table yet: the resize is finished here.
        table.maintain(&|_| 0)?;
        Self::with_table(table, max_entries)
    }

    /// A store of at most `max_entries` entries of which `entries` are expected: the table has room for them, and memory for all of that is
    /// taken now, 290 bytes for each.
    ///
    /// Memory is in huge pages as far as the system has them (on Linux they must not be switched off altogether), which saves a packet a fifth of its
    /// time if there are many connections. What comes beyond `entries` is in small pages, and so is everything in a store that begins
    /// [without](Self::new) an expectation: a packet would wait until a whole huge page is zeroed, a third of a millisecond, or several where a hypervisor
    /// has to find the memory first.
    ///
    /// # Errors
    /// No memory.
    ///
    /// ```
    /// let store = nulls_conntrack::NullsStore::<()>::with_capacity(100_000, 20_000)?;
    /// assert_eq!(store.table().buckets(), 10_000);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn with_capacity(max_entries: u32, entries: u32) -> Result<Self, ::nulls::AllocError> {
        let entries = entries.min(max_entries);
        let table = Table::with_capacity(2 * entries as usize)?;
        table.populate();
        let store = Self::with_table(table, max_entries)?;
        store.pool.reserve(entries)?;
        Ok(store)
    }

    fn with_table(table: Table, max_entries: u32) -> Result<Self, ::nulls::AllocError> {
        // A handle's lowest bit is the direction; a word's lowest three are the packet's.
        let max_entries = max_entries.min(u32::MAX >> 3);
        Ok(Self {
            table,
            pool: Pool::try_with_capacity(max_entries)?,
        })
    }

    /// The table, for its statistics and for resizing it (`nf_conntrack_buckets`).
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Changes the number of buckets. Entries move while packets go on.
    ///
    /// # Errors
    /// No memory for the buckets; the table is as before.
    pub fn resize(&self, buckets: usize) -> Result<(), ::nulls::AllocError> {
        self.table.resize(buckets)?;
        self.table.maintain(&|x| self.rehash(x)).map(|_| ())
    }

    /// The entry of a handle, without a reference: only its atomics mean anything.
    fn peek(&self, handle: u32) -> &Conn<U> {
        &self.pool.peek(handle >> 1).0
    }

    fn rehash(&self, handle: u32) -> u64 {
        self.peek(handle).hash(Direction::from_bit(handle))
    }

    /// A reference to the entry of `handle`, if it is linked under `key`.
    #[inline]
    fn get(&self, handle: u32, key: &Key) -> Option<NullsRef<'_, U>> {
        let dir = Direction::from_bit(handle);
        self.pool
            .get_if(handle >> 1, |slot| slot.0.matches(dir, key))
            .map(NullsRef)
    }

    /// What a look-up may tell of what it found.
    #[inline(always)]
    fn visible<'a>(
        (r, dir): (NullsRef<'a, U>, Direction),
        key: &Key,
    ) -> Option<(NullsRef<'a, U>, Direction)> {
        if !r.is_confirmed() && !mutant("ct:unconfirmed-is-visible") {
            // Linked, but its maker has not said so yet: for the rest of the world it is not there.
            return None;
        }
        // A flow to itself has the same key twice; the kernel meets the reply link first, because it was linked last.
        let twice = dir == Direction::Original
            && key.tuple.is_to_itself()
            && r.matches(Direction::Reply, key);
        Some((r, if twice { Direction::Reply } else { dir }))
    }

    /// A look for writing. What is linked counts as taken even if it is not confirmed yet: its maker is about to.
    fn probe<'a: 'g, 'g>(
        &'a self,
        guard: &'g rcu::Guard,
        link: &Link,
        at: Direction,
    ) -> Result<raw::Probe<'g>, InsertError<NullsRef<'a, U>>> {
        let mut winner = None;
        let probe = self.table.probe(
            guard,
            link.hash,
            |x| {
                winner = self.get(x, &link.key);
                let seen = |w: &NullsRef<'_, U>| {
                    w.is_confirmed() || !mutant("ct:clash-with-confirmed-only")
                };
                winner.as_ref().is_some_and(seen)
            },
            &|x| self.rehash(x),
        );
        match winner {
            Some(winner) if probe.hit().is_some() => Err(InsertError::Clash { winner, at }),
            _ => Ok(probe),
        }
    }

    /// Appends what is wanted of the entries linked from hash `first` on, some at a time, `last` being the last one. Returns the hash to go
    /// on from.
    fn show<'a>(
        &'a self,
        first: u64,
        last: u64,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(NullsRef<'a, U>, Direction)>,
    ) -> Option<u64> {
        let guard = rcu::pin();
        let mut steps = self.table.steps(&guard, first..=last);
        let mut found = Vec::new();
        steps.next(&|x| self.rehash(x), &mut found);
        let next = steps.position();
        // Their cache misses overlap. Most are looked at and not wanted; what is wanted may be wanted whole.
        for x in &found {
            self.pool.prefetch(x >> 1, 1);
        }
        found.retain(|&x| {
            let wanted = wanted(self.peek(x).peek(), Direction::from_bit(x));
            if wanted {
                self.pool.prefetch(x >> 1, usize::MAX);
            }
            wanted
        });
        for x in found {
            let dir = Direction::from_bit(x);
            let Some(r) = self.pool.try_get(x >> 1).map(NullsRef) else {
                continue;
            };
            // If it has become another entry meanwhile, that one is or will be shown at its own place, and once.
            let hash = r.hash(dir);
            let here = (first..=last).contains(&hash) && next.is_none_or(|next| hash < next);
            let shown =
                |(o, d): &(NullsRef<'_, U>, Direction)| *d == dir && std::ptr::eq(&**o, &*r);
            if r.is_confirmed() && here && !out.iter().any(shown) {
                out.push((r, dir));
            }
        }
        next
    }

    /// A look for the link `handle` itself.
    fn probe_own<'g>(&'g self, guard: &'g rcu::Guard, hash: u64, handle: u32) -> raw::Probe<'g> {
        self.table
            .probe(guard, hash, |x| x == handle, &|x| self.rehash(x))
    }
}

// SAFETY: a word is the entry's handle times eight. Handles are never 0 and fit, and `into_raw` and `from_raw` of the pool are each other's inverse.
unsafe impl<U: Send + Sync + 'static> Store for NullsStore<U> {
    type User = U;
    type Ref<'a> = NullsRef<'a, U>;
    type New<'a> = NullsNew<'a, U>;

    fn alloc(&self) -> Option<Self::New<'_>> {
        self.pool.alloc().ok().map(NullsNew)
    }

    fn publish<'a>(&'a self, new: Self::New<'a>) -> Self::Ref<'a> {
        NullsRef(new.0.publish())
    }

    fn count(r: &Self::Ref<'_>) -> u32 {
        r.0.count()
    }

    #[inline]
    fn find(&self, hash: u64, key: &Key) -> Option<(Self::Ref<'_>, Direction)> {
        let guard = rcu::pin();
        // A handle keeps the reference on its way out, because it fits in a register.
        let x = self.table.find(&guard, hash, |x| {
            self.get(x, key)?.0.into_raw();
            Some(x)
        })?;
        // SAFETY: the reference that the closure gave away, when it was called for the last time.
        let found = NullsRef(unsafe { self.pool.from_raw(x >> 1) });
        Self::visible((found, Direction::from_bit(x)), key)
    }

    fn find_many<'a>(
        &'a self,
        links: &[Link],
        found: &mut dyn FnMut(usize, Option<(Self::Ref<'a>, Direction)>),
    ) {
        /// Hashes that are copied at a time.
        const SLICE: usize = 64;
        let guard = rcu::pin();
        for (n, slice) in links.chunks(SLICE).enumerate() {
            let mut hashes = [0; SLICE];
            for (h, l) in hashes.iter_mut().zip(slice) {
                *h = l.hash;
            }
            self.table.find_many(
                &guard,
                &hashes[..slice.len()],
                // What UDP needs. A burst's entries are more lines than a processor can wait for anyway.
                |x| self.pool.prefetch(x >> 1, 2),
                |i, x| {
                    self.get(x, &slice[i].key)?.0.into_raw();
                    Some(x)
                },
                |i, hit| {
                    let hit = hit.and_then(|x| {
                        // SAFETY: as in `find`.
                        let found = NullsRef(unsafe { self.pool.from_raw(x >> 1) });
                        Self::visible((found, Direction::from_bit(x)), &slice[i].key)
                    });
                    found(n * SLICE + i, hit);
                },
            );
        }
    }

    #[inline]
    fn expect(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    fn insert<'a>(
        &'a self,
        r: &Self::Ref<'a>,
        original: &Link,
        reply: &Link,
        chain_limit: usize,
    ) -> Result<(), InsertError<Self::Ref<'a>>> {
        let entry = r.0.handle();
        let guard = rcu::pin();
        loop {
            let p = self.probe(&guard, original, Direction::Original)?;
            let q = self.probe(&guard, reply, Direction::Reply)?;
            if p.chain_len() > chain_limit || q.chain_len() > chain_limit {
                return Err(InsertError::ChainTooLong);
            }
            match self.table.insert2(
                p,
                handle(entry, Direction::Original),
                q,
                handle(entry, Direction::Reply),
            ) {
                Ok(written) => {
                    // The table's reference; nobody can have removed the entry before it is confirmed.
                    r.0.clone().into_raw();
                    written.assist(&guard, &|x| self.rehash(x));
                    return Ok(());
                }
                Err(raw::InsertError::Stale) => {}
                Err(raw::InsertError::Full | raw::InsertError::Alloc(_)) => {
                    return Err(InsertError::Full);
                }
            }
        }
    }

    fn insert_reply<'a>(
        &'a self,
        r: &Self::Ref<'a>,
        reply: &Link,
    ) -> Result<(), InsertError<Self::Ref<'a>>> {
        let guard = rcu::pin();
        loop {
            let probe = self.probe(&guard, reply, Direction::Reply)?;
            match probe.insert(handle(r.0.handle(), Direction::Reply)) {
                Ok(written) => {
                    r.0.clone().into_raw();
                    written.assist(&guard, &|x| self.rehash(x));
                    return Ok(());
                }
                Err(raw::InsertError::Stale) => {}
                Err(raw::InsertError::Full | raw::InsertError::Alloc(_)) => {
                    return Err(InsertError::Full);
                }
            }
        }
    }

    fn remove(&self, r: &Self::Ref<'_>, original: Option<&Link>, reply: &Link) {
        let entry = r.0.handle();
        let guard = rcu::pin();
        let rehash = |x| self.rehash(x);
        loop {
            let q = self.probe_own(&guard, reply.hash, handle(entry, Direction::Reply));
            let p = original
                .map(|l| self.probe_own(&guard, l.hash, handle(entry, Direction::Original)));
            let linked = q.hit().is_some() && p.as_ref().is_none_or(|p| p.hit().is_some());
            debug_assert!(linked, "the tracker removes what it inserted, once");
            if !linked {
                return;
            }
            let written = match p {
                Some(p) => self.table.remove2(p, q).map(|(_, w)| w),
                None => q.remove().map(|(_, w)| w),
            };
            if let Ok(written) = written {
                written.assist(&guard, &rehash);
                break;
            }
        }
        // SAFETY: the reference that `insert` gave to the table; DYING let only one caller come here.
        drop(unsafe { self.pool.from_raw(entry) });
    }

    fn step<'a>(
        &'a self,
        cursor: u64,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(Self::Ref<'a>, Direction)>,
    ) -> Option<u64> {
        self.show(cursor, u64::MAX, wanted, out)
    }

    fn cursor_at(&self, hash: u64) -> u64 {
        hash
    }

    fn bucket<'a>(
        &'a self,
        hash: u64,
        n: usize,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(Self::Ref<'a>, Direction)>,
    ) {
        let buckets = self.table.buckets() as u128;
        let bucket = (((u128::from(hash) * buckets) >> 64) + n as u128) % buckets;
        let least = |bucket: u128| (bucket << 64).div_ceil(buckets);
        self.show(
            least(bucket) as u64,
            (least(bucket + 1) - 1) as u64,
            wanted,
            out,
        );
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn buckets(&self) -> usize {
        self.table.buckets()
    }

    fn resize(&self, buckets: usize) -> bool {
        NullsStore::resize(self, buckets).is_ok()
    }

    fn into_word(r: Self::Ref<'_>) -> usize {
        (r.0.into_raw() as usize) << 3
    }

    unsafe fn from_word(&self, word: usize) -> Self::Ref<'_> {
        // SAFETY: by this function's contract.
        NullsRef(unsafe { self.pool.from_raw((word >> 3) as u32) })
    }

    unsafe fn peek_word(&self, word: usize) -> &Conn<U> {
        // SAFETY: the word keeps a reference, by this function's contract.
        &unsafe { self.pool.peek_unchecked((word >> 3) as u32) }.0
    }
}

impl<U: Send + Sync> fmt::Debug for NullsStore<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NullsStore")
            .field("table", &self.table.stats())
            .field("pool", &self.pool.stats())
            .finish()
    }
}
