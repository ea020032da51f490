//! A map that is used from within its own operations: in closures, destructors, `Hash` and `Eq`.
//!
//! Nothing deadlocks (a watchdog would tell) and nothing is corrupted.

mod support;

use nulls::HashMap;
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, LazyLock, Weak};
use support::{Bad, Ledger, Token, Xorshift, in_time};

/// Another key in the same bucket is no reason to call `update` again, however often that one changes: in a map of one
/// bucket the closure would otherwise be called for ever.
#[test]
fn update_writes_other_keys_of_its_bucket() {
    in_time("update", || {
        for hasher in [Bad::Fx, Bad::Constant] {
            let map = HashMap::with_hasher(hasher);
            let pinned = map.pin();
            pinned.insert(1u64, 10);
            let mut calls = 0;
            let new = pinned.update(&1, |v| {
                calls += 1;
                pinned.insert(2, calls);
                pinned.remove(&3);
                pinned.insert(3, calls);
                v + 1
            });
            assert_eq!(new, Some(&11));
            assert_eq!(calls, 1, "{hasher:?}");
            assert_eq!(
                (pinned.get(&1), pinned.get(&2), pinned.get(&3)),
                (Some(&11), Some(&1), Some(&1))
            );
            assert_eq!(map.len(), 3);
        }
    });
}

/// Whoever changes the same key within `update` is seen by the next call of the closure.
#[test]
fn update_writes_its_own_key() {
    in_time("update", || {
        let map = HashMap::with_hasher(Bad::Fx);
        let pinned = map.pin();
        pinned.insert(1u64, 10);
        let mut calls = 0;
        let new = pinned.update(&1, |v| {
            calls += 1;
            if calls == 1 {
                assert_eq!(pinned.update(&1, |v| v * 2), Some(&20));
                assert_eq!(*v, 10);
            }
            v + 1
        });
        assert_eq!((new, calls), (Some(&21), 2));
        // The key goes away meanwhile: nothing to update.
        assert_eq!(pinned.update(&1, |v| *pinned.remove(&1).unwrap() + v), None);
        assert!(map.is_empty());
        // It goes and comes.
        pinned.insert(1, 1);
        let mut calls = 0;
        let new = pinned.update(&1, |v| {
            calls += 1;
            if calls == 1 {
                pinned.remove(&1);
                pinned.insert(1, 100);
            }
            v + 1
        });
        assert_eq!((new, map.len()), (Some(&101), 1));
    });
}

/// Growth, shrinking and clearing within closures.
#[test]
fn closures_grow_shrink_and_clear() {
    in_time("closures", || {
        let map = HashMap::with_hasher(Bad::Identity);
        let pinned = map.pin();
        pinned.insert(0u64, 0u64);
        let new = pinned.update(&0, |v| {
            (1..5000).for_each(|k| _ = pinned.insert(k, k));
            map.maintain().unwrap();
            v + 1
        });
        assert_eq!(new, Some(&1));
        let new = pinned.update(&0, |v| {
            (100..5000).for_each(|k| _ = pinned.remove(&k));
            map.shrink_to_fit().unwrap();
            map.resize(77).unwrap();
            v + 1
        });
        assert_eq!((new, map.len()), (Some(&2), 100));
        assert_eq!(
            pinned.update(&0, |v| {
                pinned.clear();
                *v
            }),
            None
        );
        assert!(map.is_empty());
        let got = pinned.get_or_insert_with(7, || {
            (0..3000)
                .filter(|k| *k != 7)
                .for_each(|k| _ = pinned.insert(k, k));
            70
        });
        assert_eq!((*got, map.len()), (70, 3000));
        let got = pinned.get_or_insert_with(9999, || {
            pinned.clear();
            map.shrink_to_fit().unwrap();
            5
        });
        assert_eq!((*got, map.len()), (5, 1));
        // Whoever inserts the key within has it.
        assert_eq!(
            pinned.get_or_insert_with(1, || {
                pinned.insert(1, 10);
                20
            }),
            &10
        );
        let mut batch = Vec::new();
        pinned.get_many(&[&1, &2, &1], |i, v| {
            batch.push(v.copied());
            pinned.insert(1, i as u64);
            pinned.insert(2, i as u64);
        });
        assert_eq!(batch, [Some(10), Some(0), Some(1)]);
    });
}

/// Recursion through `get_or_insert_with`.
#[test]
fn memoised_recursion() {
    fn fib(map: &HashMap<u64, u64, Bad>, n: u64) -> u64 {
        let pinned = map.pin();
        *pinned.get_or_insert_with(n, || {
            if n < 2 {
                n
            } else {
                fib(map, n - 1) + fib(map, n - 2)
            }
        })
    }
    in_time("fib", || {
        let map = HashMap::with_hasher(Bad::Constant);
        assert_eq!(fib(&map, 80), 23_416_728_348_467_685);
        assert_eq!(map.len(), 81);
    });
}

/// Writing and clearing while iterating.
#[test]
fn iteration_while_writing() {
    in_time("iteration", || {
        let map = HashMap::with_hasher(Bad::Fx);
        let pinned = map.pin();
        (0..500u64).for_each(|k| _ = pinned.insert(k, k));
        let mut seen = Vec::new();
        for (k, v) in &pinned {
            if *k >= 10_000 {
                continue;
            }
            seen.push(*k);
            assert_eq!(pinned.remove(k), Some(v));
            pinned.insert(10_000 + k, 0);
            if *k % 50 == 0 {
                map.resize(1 + *k as usize).unwrap();
                map.maintain().unwrap();
            }
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..500));
        assert!((0..500).all(|k| pinned.get(&(10_000 + k)).is_some() && pinned.get(&k).is_none()));
        let mut n = 0;
        for (_, v) in &pinned {
            pinned.clear();
            assert!(*v < 20_000);
            n += 1;
        }
        assert!(n >= 1 && map.is_empty());
    });
}

/// A value whose destructor uses the map it was in.
struct Noisy {
    map: Weak<HashMap<u64, Noisy, Bad>>,
    key: u64,
    token: Token,
    ledger: Arc<Ledger>,
}

thread_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });
static DESTRUCTORS_WROTE: AtomicUsize = AtomicUsize::new(0);

impl Noisy {
    fn new(map: &Weak<HashMap<u64, Noisy, Bad>>, key: u64, ledger: &Arc<Ledger>) -> Self {
        Self {
            map: map.clone(),
            key,
            token: ledger.token(),
            ledger: ledger.clone(),
        }
    }
}

impl Drop for Noisy {
    fn drop(&mut self) {
        self.token.check();
        let Some(map) = self.map.upgrade() else {
            return;
        };
        if DEPTH.get() < 3 {
            DEPTH.set(DEPTH.get() + 1);
            DESTRUCTORS_WROTE.fetch_add(1, Relaxed);
            let pinned = map.pin();
            match self.key % 8 {
                0 => drop(pinned.insert(
                    self.key + 1,
                    Noisy::new(&self.map, self.key + 1, &self.ledger),
                )),
                1 => drop(pinned.remove(&(self.key - 1))),
                2 => drop(pinned.update(&(self.key + 5), |old| {
                    Noisy::new(&self.map, old.key, &self.ledger)
                })),
                3 => {
                    pinned.get_or_insert_with(self.key, || {
                        Noisy::new(&self.map, self.key, &self.ledger)
                    });
                }
                4 => drop(map.maintain().unwrap()),
                5 => map.resize(1 + self.key as usize % 90).unwrap(),
                6 => pinned.iter().for_each(|(_, v)| v.token.check()),
                _ => {
                    if let Some(v) = pinned.get(&self.key) {
                        v.token.check();
                    }
                }
            }
            DEPTH.set(DEPTH.get() - 1);
        }
    }
}

#[test]
fn destructors_use_the_map() {
    in_time("destructors", || {
        for hasher in [Bad::Fx, Bad::Constant] {
            DESTRUCTORS_WROTE.store(0, Relaxed);
            let ledger = Ledger::new();
            let map = Arc::new(HashMap::with_hasher(hasher));
            let weak = Arc::downgrade(&map);
            std::thread::scope(|s| {
                for t in 0..3u64 {
                    let (map, weak, ledger) = (&map, &weak, &ledger);
                    s.spawn(move || {
                        let mut rng = Xorshift(t + 5);
                        for i in 0..5000 {
                            let pinned = map.pin();
                            let k = rng.below(120);
                            match rng.below(8) {
                                0..4 => drop(pinned.insert(k, Noisy::new(weak, k, ledger))),
                                4 | 5 => drop(pinned.remove(&k)),
                                6 => drop(pinned.update(&k, |v| Noisy::new(weak, v.key, ledger))),
                                _ => drop(pinned.try_insert(k, Noisy::new(weak, k, ledger))),
                            }
                            drop(pinned);
                            if i % 500 == 0 {
                                map.maintain().unwrap();
                            }
                        }
                    });
                }
            });
            // Refused insertions alone, dropped on the spot, are more.
            assert!(DESTRUCTORS_WROTE.load(Relaxed) > 100);
            map.pin().clear();
            map.maintain().unwrap();
            let pinned = map.pin();
            assert_eq!(pinned.iter().count(), map.len());
            pinned.iter().for_each(|(k, v)| {
                assert_eq!(*k, v.key);
                v.token.check();
            });
            drop(pinned);
            // From here on the weak references are dead, and destructors do not get at the map.
            drop(map);
            ledger.assert_all_dropped_once();
        }
    });
}

/// Keys that look around in their own map, and write to it now and then, while they are hashed and compared.
#[derive(Clone, Debug)]
struct Nosy(u64);

static NOSY: LazyLock<HashMap<Nosy, u64, Bad>> = LazyLock::new(|| HashMap::with_hasher(Bad::Fx));
static PASSES: AtomicUsize = AtomicUsize::new(0);

fn look_around(k: u64) {
    if DEPTH.get() > 0 {
        return;
    }
    DEPTH.set(1);
    let n = PASSES.fetch_add(1, Relaxed) as u64;
    let pinned = NOSY.pin();
    match n % 16 {
        0 => drop(pinned.insert(Nosy(1000 + k), n)),
        1 => drop(pinned.remove(&Nosy(1000 + n % 300))),
        2 => NOSY.resize(1 + n as usize % 100).unwrap(),
        3 => drop(NOSY.maintain().unwrap()),
        _ => drop(pinned.get(&Nosy(k))),
    }
    DEPTH.set(0);
}

impl Hash for Nosy {
    fn hash<H: Hasher>(&self, h: &mut H) {
        look_around(self.0);
        h.write_u64(self.0);
    }
}

impl PartialEq for Nosy {
    fn eq(&self, other: &Self) -> bool {
        look_around(self.0);
        self.0 == other.0
    }
}

impl Eq for Nosy {}

#[test]
fn hash_and_eq_use_the_map() {
    in_time("hash and eq", || {
        std::thread::scope(|s| {
            for t in 0..3u64 {
                s.spawn(move || {
                    let mut rng = Xorshift(t + 3);
                    let mut mine = std::collections::HashMap::new();
                    for i in 0..4000 {
                        let pinned = NOSY.pin();
                        let k = t * 300 + rng.below(300);
                        match rng.below(3) {
                            0 => assert_eq!(pinned.insert(Nosy(k), i).copied(), mine.insert(k, i)),
                            1 => assert_eq!(pinned.remove(&Nosy(k)).copied(), mine.remove(&k)),
                            _ => assert_eq!(pinned.get(&Nosy(k)), mine.get(&k)),
                        }
                    }
                    for (k, v) in mine {
                        assert_eq!(NOSY.pin().get(&Nosy(k)), Some(&v));
                    }
                });
            }
        });
        assert!(PASSES.load(Relaxed) > 10_000);
        // Nobody writes any more, keys included.
        DEPTH.set(1);
        assert_eq!(NOSY.pin().iter().count(), NOSY.len());
    });
}
