//! What the table is for: entries under two keys, counted entries that are reused at once, exact limits, and walks in the
//! order of hashes.

use crate::harness::{Model, spawn};
use crate::table::{World, hash};
use crate::verdict::saw;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use nulls::pool::{Entry, Pool};
use nulls::raw::{InsertError, Table};
use nulls::rcu;
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "entries/two-keys-crossed",
        proves: "two writers that lock the same two buckets do not lock up, and each inserts both keys",
        floor: 20,
        outcomes: &["both"],
        body: two_keys_crossed,
        ..Model::DEFAULT
    },
    Model {
        name: "entries/two-keys-against-one",
        proves: "of an insertion under two keys and one under the second of them, one wins and no half is left",
        floor: 20,
        outcomes: &["pair", "single"],
        kills: &["ticket:take-from-any-version"],
        body: two_keys_against_one,
        ..Model::DEFAULT
    },
    Model {
        name: "entries/two-keys-removed",
        proves: "both keys of an entry go at once for writers, whoever removes it first",
        floor: 20,
        outcomes: &["removed once"],
        body: two_keys_removed,
        ..Model::DEFAULT
    },
    Model {
        name: "entries/limit",
        proves: "a limited table admits exactly as many as its limit allows, and a removal makes room at once",
        floor: 8,
        outcomes: &["admitted", "full"],
        kills: &["order:count_admit", "order:count_release"],
        body: limit,
        ..Model::DEFAULT
    },
    Model {
        name: "entries/counted",
        proves: "a look-up of a key that is removed, reused and inserted again has an entry of that key or none",
        floor: 200,
        outcomes: &["first life", "second life", "missed"],
        kills: &["pool:raise-from-zero", "order:pool_publish"],
        body: counted,
        ..Model::DEFAULT
    },
    Model {
        name: "entries/cursor-beside-growth",
        proves: "a walk in the order of hashes yields what stays exactly once while the table grows",
        floor: 100,
        outcomes: &["walked"],
        body: || cursor(2, 3),
        ..Model::DEFAULT
    },
    Model {
        name: "entries/cursor-beside-shrinking",
        proves: "a walk in the order of hashes yields what stays exactly once while the table shrinks",
        floor: 30,
        outcomes: &["walked"],
        kills: &["cursor:end-of-last-only"],
        body: || cursor(3, 2),
        ..Model::DEFAULT
    },
    Model {
        name: "entries/cursor-on-a-recycled-line",
        proves: "a walk that meets a line twice yields its entries once",
        floor: 50,
        outcomes: &["walked"],
        kills: &["cursor:keep-duplicates"],
        body: cursor_on_a_recycled_line,
        ..Model::DEFAULT
    },
    Model {
        name: "entries/cursor-and-a-replaced-entry",
        fast_bound: 1,
        full_bound: 2,
        limit: 300,
        proves: "a walk that meets a line twice yields an entry as it was or as it is, if it is replaced in between",
        floor: 50,
        outcomes: &["as it was", "as it is"],
        kills: &["cursor:keep-duplicates"],
        body: cursor_and_a_replaced_entry,
        ..Model::DEFAULT
    },
];

/// Even handles in the first of two buckets, odd ones in the second.
fn by_parity(x: u32) -> u64 {
    hash(if x.is_multiple_of(2) { 0 } else { 6 }, u64::from(x))
}

/// Inserts `x` and `y`, unless one of their keys is there: handles of one key are eight apart.
fn insert2(w: &World, x: u32, y: u32) -> bool {
    let guard = rcu::pin();
    let rehash = |z: u32| w.rehash(z);
    loop {
        let p = w
            .table
            .probe(&guard, w.rehash(x), |z| z % 8 == x % 8, &rehash);
        let q = w
            .table
            .probe(&guard, w.rehash(y), |z| z % 8 == y % 8, &rehash);
        if p.hit().is_some() || q.hit().is_some() {
            return false;
        }
        match w.table.insert2(p, x, q, y) {
            Ok(_written) => return true,
            Err(InsertError::Stale) => {}
            Err(e) => panic!("{e:?}"),
        }
    }
}

fn two_keys_crossed() {
    let w = Arc::new(World::new(2, by_parity, &[]));
    let other = {
        let w = w.clone();
        spawn(move || assert!(insert2(&w, 3, 4)))
    };
    assert!(insert2(&w, 2, 1));
    other.join().unwrap();
    saw("both");
    w.holds(&[1, 2, 3, 4]);
}

fn two_keys_against_one() {
    // The tag is of the key, so that the handles 1 and 9 collide.
    let w = Arc::new(World::new(2, |x| by_parity(x % 8), &[]));
    let other = {
        let w = w.clone();
        spawn(move || w.insert_unless(&rcu::pin(), 9, |z| z % 8 == 1))
    };
    let pair = insert2(&w, 2, 1);
    match (pair, other.join().unwrap()) {
        (true, false) => {
            saw("pair");
            w.holds(&[1, 2]);
        }
        (false, true) => {
            saw("single");
            w.holds(&[9]);
        }
        other => panic!("{other:?}: one of the two succeeds"),
    }
}

fn two_keys_removed() {
    let w = Arc::new(World::new(2, by_parity, &[1, 2]));
    fn remove2(w: &World) -> bool {
        let guard = rcu::pin();
        let rehash = |z: u32| w.rehash(z);
        loop {
            let p = w.table.probe(&guard, w.rehash(1), |z| z == 1, &rehash);
            let q = w.table.probe(&guard, w.rehash(2), |z| z == 2, &rehash);
            if p.hit().is_none() || q.hit().is_none() {
                return false;
            }
            if w.table.remove2(p, q).is_ok() {
                return true;
            }
        }
    }
    let other = {
        let w = w.clone();
        spawn(move || remove2(&w))
    };
    let mine = remove2(&w);
    assert!(
        mine != other.join().unwrap(),
        "an entry is removed by exactly one"
    );
    saw("removed once");
    w.holds(&[]);
}

/// What the limit is a limit of: whoever is admitted uses it.
struct Scarce {
    table: Table,
    resource: UnsafeCell<u32>,
}

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Scarce {}
// SAFETY: as above.
unsafe impl Send for Scarce {}

impl Scarce {
    fn try_insert(&self, x: u32) -> bool {
        let guard = rcu::pin();
        loop {
            let probe = self
                .table
                .probe(&guard, by_parity(x), |y| y == x, &by_parity);
            assert_eq!(probe.hit(), None);
            match probe.insert(x) {
                Ok(_written) => return true,
                Err(InsertError::Full) => return false,
                Err(InsertError::Stale) => {}
                Err(e) => panic!("{e:?}"),
            }
        }
    }

    fn use_it(&self, x: u32) {
        // SAFETY: the caller's entry is the only one admitted; loom checks it.
        self.resource.with_mut(|p| unsafe { *p = x });
    }
}

fn limit() {
    // Two buckets, so that the buckets' locks order nothing.
    let w = Arc::new(Scarce {
        table: Table::with_limit(2, Some(1)).expect("memory for a small table"),
        resource: UnsafeCell::new(0),
    });
    assert!(w.try_insert(2));
    let other = {
        let w = w.clone();
        spawn(move || {
            let admitted = w.try_insert(1);
            if admitted {
                w.use_it(1);
            }
            assert!(w.table.len() <= 1, "more than the limit");
            admitted
        })
    };
    {
        let guard = rcu::pin();
        let probe = w.table.probe(&guard, by_parity(2), |y| y == 2, &by_parity);
        // After the pin, whose full fence orders more than it has to.
        w.use_it(2);
        assert!(probe.remove().is_ok(), "nobody else is in this bucket");
    }
    let admitted = other.join().unwrap();
    saw(if admitted { "admitted" } else { "full" });
    assert_eq!(w.table.len(), usize::from(admitted));
    // Whoever was refused is admitted now.
    assert!(admitted || w.try_insert(1));
}

#[derive(Default)]
struct Conn {
    key: AtomicUsize,
    life: UnsafeCell<usize>,
}

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Conn {}
// SAFETY: as above.
unsafe impl Send for Conn {}

impl Conn {
    fn set(&self, key: usize, life: usize) {
        self.key.store(key, Relaxed);
        // SAFETY: nobody else has a reference; loom checks it.
        self.life.with_mut(|p| unsafe { *p = life });
    }
}

impl Entry for Conn {
    fn recycle(&self) {
        self.set(0, 0);
    }
}

struct Counted {
    pool: Pool<Conn>,
    table: Table,
}

impl Counted {
    /// Links an entry first, then makes it live.
    fn insert(&self, guard: &rcu::Guard, key: usize, life: usize) -> u32 {
        let entry = self.pool.alloc().expect("a slot is free");
        entry.set(key, life);
        let x = entry.handle();
        loop {
            let probe = self
                .table
                .probe(guard, hash(0, 1), |y| y == x, &|_| hash(0, 1));
            match probe.insert(x) {
                Ok(_written) => return entry.publish().into_raw(),
                Err(InsertError::Stale) => {}
                Err(e) => panic!("{e:?}"),
            }
        }
    }

    /// Unlinks an entry and gives the table's reference back.
    fn remove(&self, guard: &rcu::Guard, x: u32) {
        let probe = self
            .table
            .probe(guard, hash(0, 1), |y| y == x, &|_| hash(0, 1));
        assert!(probe.remove().is_ok(), "the only writer");
        // SAFETY: the table's reference, given away by `insert` and unlinked just now.
        drop(unsafe { self.pool.from_raw(x) });
    }
}

fn counted() {
    let w = Arc::new(Counted {
        pool: Pool::with_capacity(2),
        table: Table::new(),
    });
    let first = w.insert(&rcu::pin(), 1, 10);
    let reader = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            let found = w.table.find(&guard, hash(0, 1), |x| {
                // First the reference, then the key.
                w.pool.try_get(x).filter(|e| e.key.load(Relaxed) == 1)
            });
            match found {
                // SAFETY: a reference is held; loom checks it.
                Some(e) => match e.life.with(|p| unsafe { *p }) {
                    10 => saw("first life"),
                    11 => saw("second life"),
                    n => panic!("life {n} under key 1"),
                },
                None => saw("missed"),
            }
        })
    };
    let guard = rcu::pin();
    w.remove(&guard, first);
    let again = w.insert(&guard, 1, 11);
    reader.join().unwrap();
    w.remove(&guard, again);
    assert_eq!((w.table.len(), w.pool.stats().used), (0, 0));
}

/// Everything in the order of hashes.
fn walk(w: &World) -> Vec<u32> {
    let guard = rcu::pin();
    let (mut all, mut out, mut at) = (Vec::new(), Vec::new(), Some(0));
    while let Some(c) = at {
        at = w.table.step(&guard, c, &|x| w.rehash(x), &mut out);
        all.extend(out.iter().map(|&(_, x)| x));
    }
    all
}

fn cursor(from: usize, to: usize) {
    // Parts 0, 4, 6 and 10 of twelve.
    fn spread(x: u32) -> u64 {
        hash([0, 4, 6, 10][x as usize - 1], u64::from(x))
    }
    let w = Arc::new(World::new(from, spread, &[1, 2, 3, 4]));
    w.start_resize(to);
    let walker = {
        let w = w.clone();
        spawn(move || {
            assert_eq!(
                walk(&w),
                [1, 2, 3, 4],
                "what stays is yielded once, in order"
            );
            saw("walked");
        })
    };
    let guard = rcu::pin();
    w.move_bucket_of(&guard, 2);
    w.move_bucket_of(&guard, 3);
    drop(guard);
    walker.join().unwrap();
}

fn cursor_on_a_recycled_line() {
    // [1 2] [3 4] [5 _]: the last line goes out and comes back in front of the middle one.
    let w = Arc::new(World::three_lines(|x| hash(0, u64::from(x))));
    let walker = {
        let w = w.clone();
        spawn(move || {
            let mut all = walk(&w);
            all.retain(|&x| x < 5);
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3, 4], "what stays is yielded once");
            saw("walked");
        })
    };
    let guard = rcu::pin();
    w.remove(&guard, 5);
    w.insert(&guard, 6);
    drop(guard);
    walker.join().unwrap();
}

fn cursor_and_a_replaced_entry() {
    // As above, and 11, which has the key of 3, takes its place when the last line is back in front. Handles of one key
    // are eight apart.
    let w = Arc::new(World::three_lines(|x| hash(0, u64::from(x % 8))));
    let walker = {
        let w = w.clone();
        spawn(move || {
            let mut all = walk(&w);
            saw(if all.contains(&11) {
                "as it is"
            } else {
                "as it was"
            });
            all.retain(|&x| x % 8 < 5);
            all.iter_mut().for_each(|x| *x %= 8);
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3, 4], "what stays is yielded once");
        })
    };
    let guard = rcu::pin();
    w.remove(&guard, 5);
    w.insert(&guard, 6);
    w.replace(&guard, 3, 11);
    drop(guard);
    walker.join().unwrap();
}
