//! What the models of the raw table share: a small world of entries, known by their handles.
//!
//! Handle `x` has a key and a hash by fixed rules, and a payload in a loom cell that is written by whoever inserts the
//! handle and read by whoever finds it: an insertion that is not properly published shows as a race.

use loom::cell::UnsafeCell;
use nulls::raw::{InsertError, Table};
use nulls::rcu::{self, Guard};

/// Handles 1 to 15.
pub const HANDLES: usize = 16;

pub struct World {
    pub table: Table,
    payload: [UnsafeCell<u32>; HANDLES],
    hash: fn(u32) -> u64,
}

// SAFETY: loom checks every access to the payloads.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

/// A hash in part `part` of 12 equal parts of the hash space, with tag `tag`: the parts divide evenly among 1, 2, 3, 4 and
/// 6 buckets.
pub const fn hash(part: u64, tag: u64) -> u64 {
    (u64::MAX / 12 + 1) * part + (1 << 40) + tag
}

impl World {
    /// A table of `buckets` buckets (one entry each before it wants to grow) that holds `entries`.
    pub fn new(buckets: usize, hash: fn(u32) -> u64, entries: &[u32]) -> Self {
        let world = Self {
            table: Table::with_capacity(buckets).expect("memory for a small table"),
            payload: std::array::from_fn(|_| UnsafeCell::new(0)),
            hash,
        };
        assert_eq!(world.table.buckets(), buckets.max(1));
        let guard = rcu::pin();
        for &x in entries {
            world.insert(&guard, x);
        }
        drop(guard);
        world
    }

    /// One bucket of three lines, `[1 2] [3 4] [5 _]`: removing 5 takes the last line out, and a new line goes in front of the middle one.
    pub fn three_lines(hash: fn(u32) -> u64) -> Self {
        let world = Self::new(1, hash, &[1, 2, 5, 7, 3, 4]);
        world.remove(&rcu::pin(), 7);
        world
    }

    pub fn rehash(&self, x: u32) -> u64 {
        (self.hash)(x)
    }

    fn write_payload(&self, x: u32) {
        // SAFETY: `x` is not linked, so nobody reads it; loom checks it.
        self.payload[x as usize].with_mut(|p| unsafe { *p = 100 + x });
    }

    fn read_payload(&self, x: u32) {
        // SAFETY: `x` was found, so it is complete and stays; loom checks it.
        let v = self.payload[x as usize].with(|p| unsafe { *p });
        assert_eq!(v, 100 + x, "an entry is found before it is complete");
    }

    /// Whether `x` is found.
    pub fn find(&self, guard: &Guard, x: u32) -> bool {
        self.find_any(guard, self.rehash(x), |y| y == x).is_some()
    }

    /// The first entry of a hash that `is` accepts.
    pub fn find_any(&self, guard: &Guard, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.table.find(guard, hash, |y| {
            is(y).then(|| {
                self.read_payload(y);
                y
            })
        })
    }

    /// Inserts `x`, without helping a resize.
    pub fn insert(&self, guard: &Guard, x: u32) {
        assert!(
            self.insert_unless(guard, x, |y| y == x),
            "handle {x} is in the table already"
        );
    }

    /// Inserts `x` unless there is an entry of its hash that `is` accepts.
    pub fn insert_unless(&self, guard: &Guard, x: u32, is: impl Fn(u32) -> bool) -> bool {
        self.write_payload(x);
        loop {
            let probe = self
                .table
                .probe(guard, self.rehash(x), &is, &|y| self.rehash(y));
            if probe.hit().is_some() {
                return false;
            }
            match probe.insert(x) {
                Ok(_written) => return true,
                Err(InsertError::Stale) => {}
                Err(e) => panic!("{e:?}"),
            }
        }
    }

    /// Removes `x` if it is there.
    pub fn remove(&self, guard: &Guard, x: u32) -> bool {
        loop {
            let probe = self
                .table
                .probe(guard, self.rehash(x), |y| y == x, &|y| self.rehash(y));
            if probe.hit().is_none() {
                return false;
            }
            if let Ok((old, _written)) = probe.remove() {
                assert_eq!(old, x);
                return true;
            }
        }
    }

    /// Puts `x` in the place of `old`, which has the same hash.
    pub fn replace(&self, guard: &Guard, old: u32, x: u32) {
        self.write_payload(x);
        loop {
            let probe = self
                .table
                .probe(guard, self.rehash(old), |y| y == old, &|y| self.rehash(y));
            assert_eq!(probe.hit(), Some(old));
            if let Ok((was, _written)) = probe.replace(x) {
                return assert_eq!(was, old);
            }
        }
    }

    /// Resizes to `buckets` and moves everything.
    pub fn resize(&self, buckets: usize) {
        self.table
            .resize(buckets)
            .expect("memory for a small array");
        self.table
            .maintain(&|y| self.rehash(y))
            .expect("memory for a few lines");
    }

    /// Starts a resize to `buckets`; nothing moves yet.
    pub fn start_resize(&self, buckets: usize) {
        self.table
            .resize(buckets)
            .expect("memory for a small array");
    }

    /// Moves the bucket of `x` if a resize is running, as every writer does before it writes there.
    pub fn move_bucket_of(&self, guard: &Guard, x: u32) {
        let _ = self
            .table
            .probe(guard, self.rehash(x), |y| y == x, &|y| self.rehash(y));
    }

    /// What the table must look like when all is done: exactly these, each once.
    pub fn holds(&self, expected: &[u32]) {
        let guard = rcu::pin();
        let mut all = Vec::new();
        let mut cursor = Some(0);
        let mut out = Vec::new();
        while let Some(c) = cursor {
            cursor = self.table.step(&guard, c, &|y| self.rehash(y), &mut out);
            all.extend(out.iter().map(|&(_, x)| x));
        }
        all.sort_unstable();
        assert_eq!(all, expected, "what the table holds in the end");
        assert_eq!(self.table.len(), expected.len(), "its length");
    }
}
