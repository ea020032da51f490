//! Counted entries in a table: reused at once, and still never mistaken for another.

use crate::harness::Run;
use crate::scenario::Scenario;
use crate::verdict::saw;
use nulls::pool::{Entry, Pool};
use nulls::raw::{InsertError, Table};
use nulls::rcu;
use std::sync::atomic::{AtomicU64, Ordering::*};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "pool/reuse",
    proves: "a reference that was taken, and whose key was compared afterwards, is to an entry of that key",
    threads: 4,
    outcomes: &["found", "missed"],
    kills: &["pool:raise-from-zero"],
    body: reuse,
    ..Scenario::DEFAULT
}];

/// All words say the same while the entry lives.
#[derive(Default)]
struct Conn([AtomicU64; 8]);

impl Conn {
    fn write(&self, key: u64) {
        self.0.iter().for_each(|w| w.store(key, Relaxed));
    }

    fn key(&self) -> u64 {
        self.0[0].load(Relaxed)
    }

    fn check(&self, key: u64) {
        for w in &self.0 {
            assert_eq!(w.load(Relaxed), key, "an entry changes under a reference");
        }
    }
}

impl Entry for Conn {
    fn recycle(&self) {
        self.write(u64::MAX);
    }
}

const KEYS: u64 = 32;

fn hash(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn reuse(run: &Run) {
    let pool = Pool::<Conn>::with_capacity(64);
    let table = Table::with_capacity(20).expect("memory for a small table");
    let rehash = |x: u32| hash(pool.peek(x).key());
    run.threads(4, |i| {
        let mut random = Run::seed(i);
        let (mut found, mut missed) = (false, false);
        // Each writer has half of the keys.
        while run.go_on() {
            let guard = rcu::pin();
            let key = 1 + Run::random(&mut random, KEYS);
            let get = |x: u32| pool.try_get(x).filter(|e| e.key() == key);
            if i < 2 && key % 2 == i as u64 {
                let entry = pool.alloc().expect("twice as many slots as keys");
                entry.write(key);
                let x = entry.handle();
                let linked = loop {
                    let probe = table.probe(&guard, hash(key), |y| get(y).is_some(), &rehash);
                    if probe.hit().is_some() {
                        break false;
                    }
                    match probe.insert(x) {
                        Ok(_written) => break true,
                        Err(InsertError::Stale) => {}
                        Err(e) => panic!("{e:?}"),
                    }
                };
                assert!(
                    linked,
                    "the only writer of key {key} finds it before it inserts it"
                );
                let entry = entry.publish();
                entry.check(key);
                loop {
                    let probe = table.probe(&guard, hash(key), |y| y == x, &rehash);
                    assert_eq!(probe.hit(), Some(x), "the writer misses its own entry");
                    if probe.remove().is_ok() {
                        break;
                    }
                }
                drop(entry);
            } else if let Some(e) = table.find(&guard, hash(key), get) {
                e.check(key);
                e.clone().check(key);
                found = true;
            } else {
                missed = true;
            }
        }
        if found {
            saw("found");
        }
        if missed {
            saw("missed");
        }
    });
    assert_eq!(
        (table.len(), pool.stats().used),
        (0, 0),
        "something is left in the end"
    );
}
