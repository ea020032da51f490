//! Many threads at once. Every test checks exact facts, none measures time.

use nulls::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::thread;

#[derive(Default)]
struct Identity(u64);
impl Hasher for Identity {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }
    fn write_u64(&mut self, k: u64) {
        self.0 = k;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Default)]
struct Constant;
impl Hasher for Constant {
    fn write(&mut self, _: &[u8]) {}
    fn finish(&self) -> u64 {
        0xdead_beef
    }
}

#[derive(Clone, Default)]
struct Xorshift(u64);
impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Keys that are always present are never missed, while the table is resized all the time to any length and other keys
/// come and go.
#[test]
fn resize_torture() {
    const STABLE: u64 = 2000;
    let map: HashMap<u64, u64, BuildHasherDefault<Identity>> = HashMap::default();
    for k in 0..STABLE {
        map.pin().insert(k, k * 10);
    }
    let stop = AtomicBool::new(false);
    let reads = AtomicUsize::new(0);
    thread::scope(|s| {
        for t in 0..2u64 {
            let (map, stop, reads) = (&map, &stop, &reads);
            s.spawn(move || {
                let mut rng = Xorshift(t + 1);
                while !stop.load(Relaxed) {
                    let k = rng.next() % STABLE;
                    assert_eq!(map.pin().get(&k), Some(&(k * 10)));
                    reads.fetch_add(1, Relaxed);
                }
            });
        }
        for t in 0..2u64 {
            let (map, stop) = (&map, &stop);
            s.spawn(move || {
                let mut rng = Xorshift(t + 77);
                while !stop.load(Relaxed) {
                    let k = STABLE + t * 10_000 + rng.next() % 3000;
                    match rng.next() % 3 {
                        0 => drop(map.pin().insert(k, k)),
                        1 => drop(map.pin().remove(&k)),
                        _ => assert!(map.pin().get(&k).is_none_or(|v| *v == k)),
                    }
                }
            });
        }
        let mut rng = Xorshift(4242);
        // A busy machine may start the readers late.
        for _ in (0..).take_while(|n| *n < 600 || reads.load(Relaxed) <= 1000) {
            map.resize(1 + (rng.next() % 3000) as usize).unwrap();
            map.maintain().unwrap();
        }
        stop.store(true, Relaxed);
    });
    for k in 0..STABLE {
        assert_eq!(map.pin().get(&k), Some(&(k * 10)));
    }
}

/// Growth by a tenth with 16 writers: the resizes are queued one after another and all finish.
#[test]
fn growing_by_a_tenth_under_16_writers() {
    const EACH: u64 = 3000;
    let map: HashMap<u64, u64> = HashMap::new();
    let resizes = AtomicUsize::new(0);
    thread::scope(|s| {
        for t in 0..16u64 {
            let (map, resizes) = (&map, &resizes);
            s.spawn(move || {
                for i in 0..EACH {
                    let k = t << 32 | i;
                    assert!(map.pin().insert(k, i).is_none());
                    if i % 50 == 0 {
                        let now = map.stats().table.buckets;
                        map.resize(now + now / 10 + 1).unwrap();
                        resizes.fetch_add(1, Relaxed);
                    }
                    assert_eq!(map.pin().get(&k), Some(&i));
                }
            });
        }
    });
    map.maintain().unwrap();
    assert!(!map.is_resizing());
    assert_eq!(map.len(), 16 * EACH as usize);
    assert!(resizes.load(Relaxed) > 100);
    for t in 0..16u64 {
        for i in 0..EACH {
            assert_eq!(map.pin().get(&(t << 32 | i)), Some(&i));
        }
    }
}

/// One insert moves at most 64 buckets, however the table grows.
#[test]
fn an_insert_moves_a_bounded_number_of_buckets() {
    let map: HashMap<u64, u64> = HashMap::new();
    let most = AtomicUsize::new(0);
    thread::scope(|s| {
        for t in 0..4u64 {
            let (map, most) = (&map, &most);
            s.spawn(move || {
                for i in 0..100_000u64 {
                    let before = nulls::raw::thread_stats().moved;
                    map.pin().insert(t << 32 | i, i);
                    let moved = nulls::raw::thread_stats().moved - before;
                    most.fetch_max(moved as usize, Relaxed);
                }
            });
        }
    });
    let most = most.into_inner();
    assert!(most > 0, "the table grew by helping");
    assert!(most <= 64, "{most} buckets moved by one insert");
}

/// A resize whose writers stop is finished by `maintain`.
#[test]
fn maintain_finishes_what_writers_left() {
    let map: HashMap<u64, u64> = HashMap::new();
    for k in 0..5000 {
        map.pin().insert(k, k);
    }
    map.maintain().unwrap();
    map.resize(50_000).unwrap();
    assert!(map.is_resizing());
    map.pin().insert(5000, 5000);
    assert!(map.is_resizing());
    map.resize(333).unwrap(); // queued
    // Readers of other tests are readers too, so freeing may take a few attempts.
    while !map.maintain().unwrap() {
        thread::yield_now();
    }
    assert!(!map.is_resizing());
    assert_eq!(map.stats().table.buckets, 333);
    assert_eq!(map.stats().table.garbage_bytes, 0);
    assert!((0..=5000).all(|k| map.pin().get(&k) == Some(&k)));
}

/// 10,000 keys of one hash: a list, correct and finite.
#[test]
fn ten_thousand_keys_of_one_hash() {
    let map: HashMap<u64, u64, BuildHasherDefault<Constant>> = HashMap::default();
    let barrier = Barrier::new(2);
    thread::scope(|s| {
        for t in 0..2u64 {
            let (map, barrier) = (&map, &barrier);
            s.spawn(move || {
                barrier.wait();
                for i in 0..5000 {
                    map.pin().insert(t * 5000 + i, i);
                }
            });
        }
    });
    assert_eq!(map.len(), 10_000);
    map.maintain().unwrap();
    assert_eq!(map.pin().iter().count(), 10_000);
    for k in (0..10_000).rev().step_by(3) {
        assert_eq!(map.pin().remove(&k), Some(&(k % 5000)));
    }
    map.shrink_to_fit().unwrap();
    for k in 0..10_000 {
        assert_eq!(map.pin().contains_key(&k), (9999 - k) % 3 != 0, "{k}");
    }
}

/// Two threads that both insert, remove and update the same few keys: every value is whole, every removal is of an
/// insertion, and the count is right in the end.
#[test]
fn churn_on_few_keys() {
    let map: HashMap<u64, (u64, u64)> = HashMap::new();
    let balance = AtomicUsize::new(0);
    thread::scope(|s| {
        for t in 0..4u64 {
            let (map, balance) = (&map, &balance);
            s.spawn(move || {
                let mut rng = Xorshift(t + 9);
                for i in 0..60_000u64 {
                    let k = rng.next() % 64;
                    let pinned = map.pin();
                    match rng.next() % 4 {
                        0 => {
                            if pinned.insert(k, (i, !i)).is_none() {
                                balance.fetch_add(1, Relaxed);
                            }
                        }
                        1 => {
                            if let Some(v) = pinned.remove(&k) {
                                assert_eq!(v.0, !v.1);
                                balance.fetch_sub(1, Relaxed);
                            }
                        }
                        2 => {
                            if let Some(v) = pinned.update(&k, |v| (v.0 + 1, !(v.0 + 1))) {
                                assert_eq!(v.0, !v.1);
                            }
                        }
                        _ => {
                            if let Some(v) = pinned.get(&k) {
                                assert_eq!(v.0, !v.1);
                            }
                        }
                    }
                }
            });
        }
    });
    assert_eq!(map.len(), balance.into_inner());
    assert_eq!(map.pin().iter().count(), map.len());
}

/// Updates are atomic: none is lost.
#[test]
fn no_update_is_lost() {
    let map: HashMap<u64, u64> = HashMap::new();
    for k in 0..4 {
        map.pin().insert(k, 0);
    }
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for i in 0..20_000u64 {
                    map.pin().update(&(i % 4), |v| v + 1).unwrap();
                }
            });
        }
    });
    assert_eq!(
        (0..4).map(|k| *map.pin().get(&k).unwrap()).sum::<u64>(),
        80_000
    );
}

/// `get_or_insert_with` agrees on one value among racing threads.
#[test]
fn get_or_insert_agrees() {
    let map: HashMap<u64, u64> = HashMap::new();
    for round in 0..2000 {
        let values: Vec<u64> = thread::scope(|s| {
            let threads: Vec<_> = (0..2)
                .map(|t| {
                    s.spawn({
                        let map = &map;
                        move || *map.pin().get_or_insert_with(round, || t)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(values[0], values[1]);
    }
}

/// A limited map admits exactly its limit, whoever asks, and a removal makes room at once.
#[test]
fn a_limit_is_exact_under_contention() {
    const LIMIT: usize = 1000;
    let map: HashMap<u64, u64> = HashMap::with_limit(0, LIMIT, Default::default()).unwrap();
    let admitted = AtomicUsize::new(0);
    thread::scope(|s| {
        for t in 0..4u64 {
            let (map, admitted) = (&map, &admitted);
            s.spawn(move || {
                for i in 0..1000 {
                    if map.pin().try_insert(t << 32 | i, i).is_ok() {
                        admitted.fetch_add(1, Relaxed);
                    }
                    assert!(map.len() <= LIMIT);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), LIMIT);
    assert_eq!(map.len(), LIMIT);
    let some = *map.pin().iter().next().unwrap().0;
    assert!(matches!(
        map.pin().try_insert(u64::MAX, 0),
        Err(nulls::TryInsertError::Full {
            key: u64::MAX,
            value: 0
        })
    ));
    map.pin().remove(&some);
    assert!(map.pin().try_insert(u64::MAX, 0).is_ok());
}

/// An iteration sees what stays exactly once while the table grows and shrinks under it.
#[test]
fn iteration_is_exactly_once_for_what_stays() {
    const STABLE: u64 = 3000;
    let map: HashMap<u64, u64> = HashMap::new();
    for k in 0..STABLE {
        map.pin().insert(k, k);
    }
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            let mut rng = Xorshift(5);
            while !stop.load(Relaxed) {
                map.resize(1 + (rng.next() % 4000) as usize).unwrap();
                map.maintain().unwrap();
            }
        });
        s.spawn(|| {
            let mut rng = Xorshift(6);
            while !stop.load(Relaxed) {
                let k = STABLE + rng.next() % 1000;
                map.pin().insert(k, k);
                map.pin().remove(&k);
            }
        });
        for _ in 0..150 {
            let mut seen = vec![0u8; STABLE as usize];
            for (k, _) in &map.pin() {
                if *k < STABLE {
                    seen[*k as usize] += 1;
                }
            }
            assert!(
                seen.iter().all(|n| *n == 1),
                "{:?}",
                seen.iter().enumerate().find(|(_, n)| **n != 1)
            );
        }
        stop.store(true, Relaxed);
    });
}
