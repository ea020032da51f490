//! The map under grace periods: values are whole while somebody looks at them, and each is dropped once.

use crate::harness::Run;
use crate::scenario::Scenario;
use crate::verdict::saw;
use nulls::{HashMap, rcu};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::*};

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

/// Which values live, beside the map's memory: a dropped value is moved out first, and its old bytes look alive for long.
static STATES: [AtomicU64; 1 << 20] = [const { AtomicU64::new(0) }; 1 << 20];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A value that notices when it is used after its drop, or dropped twice.
struct Canary {
    key: u64,
    id: usize,
}

impl Canary {
    fn new(key: u64) -> Self {
        LIVE.fetch_add(1, Relaxed);
        let id = NEXT.fetch_add(1, Relaxed) % STATES.len();
        // A million values later the one before is long gone: far fewer wait for their grace period.
        assert_eq!(
            STATES[id].swap(key + 1, Relaxed),
            0,
            "a value waits for ever"
        );
        Self { key, id }
    }

    fn check(&self, key: u64) {
        assert_eq!(self.key, key, "the value of another key");
        assert_eq!(
            STATES[self.id].load(Relaxed),
            key + 1,
            "a dropped value is used"
        );
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.check(self.key);
        STATES[self.id].store(0, Relaxed);
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
                if Run::random(&mut random, 64) == 0 {
                    // Time enough for the writers to retire a batch.
                    std::thread::sleep(std::time::Duration::from_micros(500));
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
