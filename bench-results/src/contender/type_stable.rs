//! nulls in its other mode: the raw table over type-stable entries with counted references, as the connection tracker uses
//! it. Entries are reused at once; a look-up takes a reference, compares the key again, and gives it back.

use super::{Map, Session, hasher};
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use foldhash::fast::FixedState;
use nulls::pool::{Entry, Pool, Ref};
use nulls::raw::{InsertError, Table};
use nulls::rcu;

/// An entry; only atomics, since recycled ones are looked at.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

impl Entry for Slot {}

/// See the module.
#[derive(Debug)]
pub struct TypeStable {
    table: Table,
    pool: Pool<Slot>,
    hasher: FixedState,
}

impl TypeStable {
    fn over(table: Table) -> Self {
        Self {
            table,
            pool: Pool::with_capacity(nulls::pool::MAX_ENTRIES),
            hasher: hasher(),
        }
    }

    fn hash(&self, key: u64) -> u64 {
        // The map folds a hash once more, for hashers that are weak at either end; foldhash is not.
        self.hasher.hash_one(key)
    }

    fn rehash(&self, handle: u32) -> u64 {
        self.hash(self.pool.peek(handle).key.load(Relaxed))
    }

    /// A reference to the entry of `handle`, if it is the key's.
    #[inline]
    fn entry(&self, handle: u32, key: u64) -> Option<Ref<'_, Slot>> {
        // Relaxed: a filter; what counts is the look after the reference is taken, and taking it acquires.
        if self.pool.peek(handle).key.load(Relaxed) != key {
            return None;
        }
        let r = self.pool.try_get(handle)?;
        (r.key.load(Relaxed) == key).then_some(r)
    }

    #[inline]
    fn find(&self, key: u64) -> Option<Ref<'_, Slot>> {
        let guard = rcu::pin();
        self.table
            .find(&guard, self.hash(key), |x| self.entry(x, key))
    }
}

impl Map for TypeStable {
    const NAME: &'static str = "nulls-type-stable";
    type Session<'a> = &'a Self;

    fn empty() -> Self {
        Self::over(Table::new())
    }

    fn presized(entries: usize) -> Self {
        let map = Self::over(Table::with_capacity(entries).expect("memory"));
        let entries = u32::try_from(entries).expect("fewer than 2^32 entries");
        map.pool.reserve(entries).expect("memory");
        map
    }

    #[inline]
    fn session(&self) -> &Self {
        self
    }

    fn moved() -> Option<u64> {
        Some(nulls::raw::thread_stats().moved)
    }

    fn settle(&self) {
        self.table.maintain(&|x| self.rehash(x)).expect("memory");
    }
}

impl Session for &TypeStable {
    #[inline(always)]
    fn get(&self, key: &u64) -> Option<u64> {
        self.find(*key).map(|r| r.value.load(Relaxed))
    }

    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        let hash = self.hash(key);
        let guard = rcu::pin();
        let rehash = |x| self.rehash(x);
        let mut new = None;
        loop {
            let mut found = None;
            let probe = self.table.probe(
                &guard,
                hash,
                |x| {
                    found = self.entry(x, key);
                    found.is_some()
                },
                &rehash,
            );
            if let Some(r) = found {
                return Some(r.value.swap(value, Relaxed));
            }
            let entry = new.take().unwrap_or_else(|| {
                let entry = self.pool.alloc().expect("room in the pool");
                entry.key.store(key, Relaxed);
                entry.value.store(value, Relaxed);
                entry
            });
            match probe.insert(entry.handle()) {
                Ok(written) => {
                    // Linked first, then live. The table's own reference is the count of one.
                    entry.publish().into_raw();
                    written.assist(&guard, &rehash);
                    return None;
                }
                Err(InsertError::Stale) => new = Some(entry),
                Err(e) => panic!("{e:?}"),
            }
        }
    }

    #[inline]
    fn increment(&self, key: &u64) -> bool {
        self.find(*key)
            .map(|r| r.value.fetch_add(1, Relaxed))
            .is_some()
    }

    fn remove(&self, key: &u64) -> Option<u64> {
        let hash = self.hash(*key);
        let guard = rcu::pin();
        let rehash = |x| self.rehash(x);
        loop {
            let mut found = None;
            let probe = self.table.probe(
                &guard,
                hash,
                |x| {
                    found = self.entry(x, *key);
                    found.is_some()
                },
                &rehash,
            );
            let r = found?;
            let Ok((handle, written)) = probe.remove() else {
                continue;
            };
            // SAFETY: the reference that `insert` gave to the table, taken back by whoever unlinked the handle.
            drop(unsafe { self.pool.from_raw(handle) });
            written.assist(&guard, &rehash);
            return Some(r.value.load(Relaxed));
        }
    }

    fn sum(&self) -> u64 {
        let guard = rcu::pin();
        let (mut at, mut sum, mut entries) = (0u64, 0u64, Vec::new());
        loop {
            entries.clear();
            let next = self
                .table
                .step(&guard, at, &|x| self.rehash(x), &mut entries);
            for &(_, x) in &entries {
                sum = sum.wrapping_add(self.pool.peek(x).value.load(Relaxed));
            }
            match next {
                Some(next) => at = next,
                None => return sum,
            }
        }
    }
}
