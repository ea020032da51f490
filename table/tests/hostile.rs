//! Hashers and comparisons that are bad, or lie.
//!
//! A bad hasher costs time only. One that lies (answers differently each time), or an `Eq` that does, makes answers wrong:
//! but nothing hangs, nothing is dropped twice or too early, and nothing grows without bound.

mod support;

use nulls::{Equivalent, HashMap, TryInsertError};
use std::collections::HashMap as Std;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::thread;
use support::{Bad, Ledger, Token, Xorshift, in_time};

/// Several threads, each with keys of its own among everybody's buckets, grow, shrink and churn the map; every answer
/// on the way and the content in the end are exact.
fn exact(hasher: Bad, keys: u64, steps: u64) {
    let map: HashMap<u64, u64, Bad> = HashMap::with_hasher(hasher);
    let stop = AtomicBool::new(false);
    let all: Vec<Std<u64, u64>> = in_time("churn", || {
        thread::scope(|s| {
            s.spawn(|| {
                let mut rng = Xorshift(99);
                while !stop.load(Relaxed) {
                    match rng.below(4) {
                        0 => map.shrink_to_fit().unwrap(),
                        1 => map.reserve(rng.below(4 * keys) as usize).unwrap(),
                        2 => map.resize(1 + rng.below(keys) as usize).unwrap(),
                        _ => drop(map.maintain().unwrap()),
                    }
                    assert!(map.pin().iter().all(|(k, v)| v % 1000 == k % 1000));
                    thread::yield_now();
                }
            });
            let threads: Vec<_> = (0..3u64)
                .map(|t| {
                    let map = &map;
                    s.spawn(move || {
                        let mut rng = Xorshift(t + 1);
                        let mut mine = Std::new();
                        for i in 0..steps {
                            // Grow for a while, then shrink for a while.
                            let growing = i % 4000 < 2500;
                            let k = rng.below(keys) * 3 + t;
                            let v = i * 1000 + k % 1000;
                            let pinned = map.pin();
                            match rng.below(if growing { 5 } else { 10 }) {
                                0..3 => assert_eq!(pinned.insert(k, v).copied(), mine.insert(k, v)),
                                3 => {
                                    let new = pinned.update(&k, |old| old + 1000).copied();
                                    assert_eq!(
                                        new,
                                        mine.get_mut(&k).map(|old| {
                                            *old += 1000;
                                            *old
                                        })
                                    );
                                }
                                4 => assert_eq!(
                                    pinned.get_or_insert_with(k, || v),
                                    mine.entry(k).or_insert(v)
                                ),
                                5 => assert_eq!(pinned.get(&k), mine.get(&k)),
                                _ => assert_eq!(pinned.remove(&k).copied(), mine.remove(&k)),
                            }
                        }
                        mine
                    })
                })
                .collect();
            let all = threads.into_iter().map(|t| t.join().unwrap()).collect();
            stop.store(true, Relaxed);
            all
        })
    });
    let want: Std<u64, u64> = all.into_iter().flatten().collect();
    let got: Std<u64, u64> = map.pin().iter().map(|(k, v)| (*k, *v)).collect();
    assert_eq!(map.len(), want.len());
    assert_eq!(map.pin().iter().count(), want.len());
    assert!(got == want);
    for k in 0..3 * keys {
        assert_eq!(map.pin().get(&k), want.get(&k));
    }
}

#[test]
fn identity() {
    exact(Bad::Identity, 2000, 60_000);
}

#[test]
fn fx() {
    exact(Bad::Fx, 2000, 60_000);
}

#[test]
fn only_the_top_bits_vary() {
    exact(Bad::Top, 1000, 50_000);
}

#[test]
fn only_the_low_bits_vary() {
    exact(Bad::Low, 1000, 50_000);
}

#[test]
fn constant() {
    exact(Bad::Constant, 60, 8_000);
}

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    No,
    Always,
    Sometimes,
}

static COIN: AtomicU64 = AtomicU64::new(1);

fn toss() -> u64 {
    Xorshift(COIN.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed) | 1).next() >> 8
}

/// A key that lies when it is compared.
struct Liar {
    key: u64,
    lie: Lie,
    token: Token,
}

impl Liar {
    fn says(&self, other: u64) -> bool {
        self.token.check();
        match self.lie {
            Lie::Sometimes if toss().is_multiple_of(8) => toss().is_multiple_of(2),
            Lie::Always => toss().is_multiple_of(2),
            _ => self.key == other,
        }
    }
}

impl Hash for Liar {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.token.check();
        h.write_u64(self.key);
    }
}

impl PartialEq for Liar {
    fn eq(&self, other: &Self) -> bool {
        other.token.check();
        self.says(other.key)
    }
}

impl Eq for Liar {}

#[derive(Hash)]
struct Id(u64);

impl Equivalent<Liar> for Id {
    fn equivalent(&self, key: &Liar) -> bool {
        key.says(self.0)
    }
}

/// Everything at once, without a right answer: what counts is that it ends, that what is read is alive, and that the
/// accounts balance.
fn lies(hasher: Bad, lie: Lie, steps: u64) {
    const LIMIT: usize = 600;
    let ledger = Ledger::new();
    let map = HashMap::with_limit(0, LIMIT, hasher).unwrap();
    let most = AtomicU64::new(0);
    in_time("lies", || {
        thread::scope(|s| {
            for t in 0..3u64 {
                let (map, ledger, most) = (&map, &ledger, &most);
                s.spawn(move || {
                    let mut rng = Xorshift(t + 1);
                    for i in 0..steps {
                        let k = rng.below(300);
                        let make = || {
                            (
                                Liar {
                                    key: k,
                                    lie,
                                    token: ledger.token(),
                                },
                                ledger.token(),
                            )
                        };
                        let pinned = map.pin();
                        match rng.below(16) {
                            0..7 => {
                                let (key, value) = make();
                                match pinned.try_insert(key, value) {
                                    Ok(v) | Err(TryInsertError::Occupied { current: v, .. }) => {
                                        v.check()
                                    }
                                    Err(TryInsertError::Full { value, .. }) => value.check(),
                                    Err(e) => panic!("{e}"),
                                }
                            }
                            7..10 => {
                                if let Some((k, v)) = pinned.remove_entry(&Id(k)) {
                                    k.token.check();
                                    v.check();
                                }
                            }
                            10 => {
                                if let Some(v) = pinned.get(&Id(k)) {
                                    v.check();
                                }
                            }
                            11 => {
                                let (a, b) = (Id(k), Id(k + 1));
                                pinned.get_many(&[&a, &b, &a], |_, v| {
                                    v.into_iter().for_each(Token::check)
                                });
                            }
                            12 if i % 16 == 0 => map.resize(1 + rng.below(200) as usize).unwrap(),
                            13 if i % 16 == 0 => drop(map.maintain().unwrap()),
                            14 if i % 64 == 0 => pinned.iter().for_each(|(k, v)| {
                                k.token.check();
                                v.check();
                            }),
                            15 if i % 256 == 0 => pinned.clear(),
                            _ => {}
                        }
                        if i % 512 == 0 {
                            drop(pinned);
                            map.maintain().unwrap();
                            assert!(map.len() <= LIMIT);
                            most.fetch_max(map.stats().table.bytes as u64, Relaxed);
                        }
                    }
                });
            }
        });
    });
    // A few hundred entries and the largest table asked for; garbage, which a paused reader may keep for long, not counted.
    let most = most.into_inner();
    assert!(most < 1 << 20, "{most} bytes");
    assert!(ledger.made() > 4 * LIMIT);
    // However little the map can find: the numbers agree, and nothing that is linked is dropped, or the reverse.
    ledger.assert_none_dropped_twice();
    assert!(map.len() <= LIMIT);
    in_time("the end", || drop(map));
    ledger.assert_all_dropped_once();
}

#[test]
fn hashes_at_random() {
    lies(Bad::Random, Lie::No, 30_000);
}

#[test]
fn hashes_that_are_wrong_now_and_then() {
    lies(Bad::Flaky, Lie::No, 30_000);
}

#[test]
fn comparisons_at_random() {
    lies(Bad::Fx, Lie::Always, 30_000);
    lies(Bad::Low, Lie::Always, 15_000);
    // Many comparisons: a single chain.
    lies(Bad::Constant, Lie::Always, 10_000);
}

#[test]
fn comparisons_that_are_wrong_now_and_then() {
    lies(Bad::Fx, Lie::Sometimes, 30_000);
    lies(Bad::Constant, Lie::Sometimes, 10_000);
}

#[test]
fn nothing_is_true() {
    lies(Bad::Random, Lie::Always, 30_000);
}

/// `update` with a key whose clone is another key: the old entry is replaced, and nothing is lost or dropped twice.
#[test]
fn clones_that_differ() {
    struct Shifty(u64, Token, Arc<Ledger>);
    impl Clone for Shifty {
        fn clone(&self) -> Self {
            Shifty(toss() % 100, self.2.token(), self.2.clone())
        }
    }
    impl Hash for Shifty {
        fn hash<H: Hasher>(&self, h: &mut H) {
            self.1.check();
            h.write_u64(self.0);
        }
    }
    impl PartialEq for Shifty {
        fn eq(&self, other: &Self) -> bool {
            self.1.check();
            self.0 == other.0
        }
    }
    impl Eq for Shifty {}
    let ledger = Ledger::new();
    let map = HashMap::with_hasher(Bad::Fx);
    let key = |k| Shifty(k, ledger.token(), ledger.clone());
    for k in 0..100 {
        map.pin().insert(key(k), ledger.token());
    }
    for i in 0..5000 {
        map.pin().update(&key(i % 100), |_| ledger.token());
        if i % 100 == 0 {
            map.resize(1 + i as usize % 37).unwrap();
            map.maintain().unwrap();
        }
    }
    assert_eq!(map.len(), 100);
    drop(map);
    ledger.assert_all_dropped_once();
}
