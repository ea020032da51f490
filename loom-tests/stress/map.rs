//! The map under grace periods: values are whole while somebody looks at them, and each is dropped once.

use crate::harness::{Run, Scenario, saw};
use nulls::{HashMap, rcu};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::*};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "map/values",
    proves: "a value that a reader holds is not dropped before its guard goes, while the map grows and shrinks",
    threads: 4,
    outcomes: &["found", "missed"],
    kills: &["rcu:ignore-active-reader"],
    body: values,
    ..Scenario::DEFAULT
}];

static LIVE: AtomicI64 = AtomicI64::new(0);

/// A value that notices when it is used after its drop, or dropped twice.
struct Canary {
    key: u64,
    state: AtomicU64,
}

const ALIVE: u64 = 0x600d_600d_600d_600d;

impl Canary {
    fn new(key: u64) -> Self {
        LIVE.fetch_add(1, Relaxed);
        Self {
            key,
            state: AtomicU64::new(ALIVE ^ key),
        }
    }

    fn check(&self, key: u64) {
        assert_eq!(self.key, key, "the value of another key");
        assert_eq!(
            self.state.load(Relaxed),
            ALIVE ^ key,
            "a dropped value is used"
        );
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.check(self.key);
        self.state.store(0, Relaxed);
        LIVE.fetch_sub(1, Relaxed);
    }
}

fn values(run: &Run) {
    const KEYS: u64 = 64;
    let map: HashMap<u64, Canary> = HashMap::new();
    run.threads(4, |i| {
        let mut random = Run::seed(i);
        let (mut found, mut missed) = (false, false);
        while run.go_on() {
            let key = Run::random(&mut random, KEYS);
            let view = map.pin();
            if i < 2 {
                match Run::random(&mut random, 4) {
                    0 => {
                        view.insert(key, Canary::new(key));
                    }
                    1 => {
                        if let Some(v) = view.remove(&key) {
                            v.check(key);
                        }
                    }
                    2 => {
                        view.update(&key, |v| {
                            v.check(key);
                            Canary::new(key)
                        });
                    }
                    _ => view.get_or_insert_with(key, || Canary::new(key)).check(key),
                }
            } else if let Some(v) = view.get(&key) {
                v.check(key);
                if key.is_multiple_of(8) {
                    std::thread::yield_now();
                    v.check(key);
                }
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
    let _ = rcu::synchronize();
    drop(map);
    assert_eq!(
        LIVE.load(Relaxed),
        0,
        "values that were never dropped, or twice"
    );
}
