//! `InlineMap` with many threads at once. Every test checks exact facts, none measures time.

#[path = "../examples/linearizability/history.rs"]
#[allow(dead_code)]
mod history;
mod support;

use bytemuck::NoUninit;
use history::{Clock, Event, Op, Recorder, check};
use nulls::{DefaultHashBuilder, HashMap, InlineInsertError, InlineMap};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};
use support::{Bad, Xorshift, in_time};

/// Fewer rounds where each takes longer.
const SCALE: u64 = if cfg!(debug_assertions) { 8 } else { 40 };

/// A key of two words that belong together. Whoever compares or hashes one looks whether they do.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Pair(u64, u64);

// SAFETY: two `u64` without a gap.
unsafe impl NoUninit for Pair {}

impl Pair {
    fn new(k: u64) -> Self {
        Pair(k, !k.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn number(self) -> u64 {
        assert_eq!(
            self.1,
            Self::new(self.0).1,
            "half of one key, half of another"
        );
        self.0
    }
}

impl Hash for Pair {
    fn hash<H: Hasher>(&self, h: &mut H) {
        h.write_u64(self.number());
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Pair {}

/// A value that says which key it is of.
fn value(k: u64, version: u64) -> u64 {
    k << 32 | version & 0xffff_ffff
}

/// Keys that are always present are never missed, halves of keys and values are never mixed up, while other keys come and go
/// and the table is resized to any length.
fn torture<K: NoUninit + Hash + Eq + Send + Sync>(
    hasher: Bad,
    stable: u64,
    make: impl Fn(u64) -> K + Sync,
    number: impl Fn(K) -> u64 + Sync,
) {
    let map = InlineMap::<K, u64, _>::with_hasher(hasher);
    (0..stable).for_each(|k| _ = map.pin().insert(make(k), value(k, 0)));
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|s| {
        let (map, stop, reads, make, number) = (&map, &stop, &reads, &make, &number);
        s.spawn(move || {
            let mut rng = Xorshift(1);
            while !stop.load(Relaxed) {
                let k = rng.below(stable);
                let v = map.pin().get(&make(k)).expect("it is always there");
                assert_eq!(v >> 32, k);
                assert!(map.pin().contains_key(&make(k)));
                let k = stable + rng.below(2 * stable);
                if let Some(v) = map.pin().get(&make(k)) {
                    assert_eq!(v >> 32, k);
                }
                reads.fetch_add(1, Relaxed);
            }
        });
        s.spawn(move || {
            let mut rng = Xorshift(2);
            while !stop.load(Relaxed) {
                let mut seen = vec![0; stable as usize];
                for (k, v) in map.pin().iter() {
                    let k = number(k);
                    assert_eq!(v >> 32, k);
                    if k < stable {
                        seen[k as usize] += 1;
                    }
                }
                assert!(seen.iter().all(|n| *n == 1), "visited once");
                let keys: Vec<K> = (0..40).map(|_| make(rng.below(stable))).collect();
                map.pin().get_many(&keys, |i, v| {
                    assert_eq!(v.expect("it is always there") >> 32, number(keys[i]));
                });
            }
        });
        for t in 0..2 {
            s.spawn(move || {
                let mut rng = Xorshift(t + 3);
                let mut i = 0;
                while !stop.load(Relaxed) {
                    i += 1;
                    let (k, view) = (stable + rng.below(2 * stable), map.pin());
                    let of_k = |v: u64| assert_eq!(v >> 32, k);
                    match rng.below(6) {
                        0 | 1 => _ = view.insert(make(k), value(k, i)).map(of_k),
                        2 | 3 => _ = view.remove(&make(k)).map(of_k),
                        4 => of_k(view.update_or_insert(make(k), |v| v ^ 1, value(k, i))),
                        _ => {
                            let k = rng.below(stable);
                            let v = view.update(&make(k), |v| {
                                assert_eq!(v >> 32, k);
                                value(k, i)
                            });
                            assert_eq!(v, Some(value(k, i)));
                        }
                    }
                }
            });
        }
        let mut rng = Xorshift(5);
        let rounds = 30 * SCALE;
        for _ in (0..).take_while(|n| *n < rounds || reads.load(Relaxed) < 1000) {
            map.resize(1 + rng.below(stable) as usize).unwrap();
            if rng.below(4) == 0 {
                thread::yield_now();
            }
            map.maintain().unwrap();
        }
        stop.store(true, Relaxed);
    });
    assert!((0..stable).all(|k| map.pin().get(&make(k)).is_some()));
    assert_eq!(map.pin().iter().count(), map.len());
}

#[test]
fn resize_torture_of_words() {
    in_time("words", || {
        torture(Bad::Fx, 1000, |k| k, |k| k);
        torture(Bad::Low, 300, |k| k, |k| k);
    });
}

#[test]
fn resize_torture_of_pairs() {
    in_time("pairs", || {
        torture(Bad::Fx, 1000, Pair::new, Pair::number);
        torture(Bad::Constant, 40, Pair::new, Pair::number);
    });
}

/// Growth by a tenth with 16 writers: the resizes are queued one after another and all finish.
#[test]
fn growing_by_a_tenth_under_16_writers() {
    let each = 400 * SCALE;
    let map = InlineMap::<u64, u64>::new();
    thread::scope(|s| {
        for t in 0..16u64 {
            let map = &map;
            s.spawn(move || {
                for i in 0..each {
                    let k = t << 32 | i;
                    assert_eq!(map.pin().insert(k, i), None);
                    if i % 50 == 0 {
                        let now = map.buckets();
                        map.resize(now + now / 10 + 1).unwrap();
                    }
                    assert_eq!(map.pin().get(&k), Some(i));
                }
            });
        }
    });
    map.maintain().unwrap();
    assert!(!map.is_resizing());
    assert_eq!(map.len() as u64, 16 * each);
    assert!((0..16).all(|t| (0..each).all(|i| map.pin().get(&(t << 32 | i)) == Some(i))));
}

/// One write moves at most 64 buckets, however the table grows.
#[test]
fn a_write_moves_a_bounded_number_of_buckets() {
    let map = InlineMap::<u64, u64>::new();
    let most = AtomicUsize::new(0);
    thread::scope(|s| {
        for t in 0..4u64 {
            let (map, most) = (&map, &most);
            s.spawn(move || {
                for i in 0..10_000 * SCALE {
                    let before = nulls::raw::thread_stats().moved;
                    if i % 4 == 3 {
                        map.pin().update(&(t << 32), |v| v + 1);
                    } else {
                        map.pin().insert(t << 32 | i, i);
                    }
                    let moved = nulls::raw::thread_stats().moved - before;
                    most.fetch_max(moved as usize, Relaxed);
                }
            });
        }
    });
    let most = most.into_inner();
    assert!(most > 0, "the table grew by helping");
    assert!(most <= 64, "{most} buckets moved by one write");
}

/// A limited map admits exactly its limit, whoever asks, and a removal makes room at once.
#[test]
fn a_limit_is_exact() {
    for hasher in [Bad::Fx, Bad::Constant] {
        const LIMIT: usize = 200;
        let map = InlineMap::<u64, u64, _>::with_limit(0, LIMIT, hasher).unwrap();
        let admitted = AtomicUsize::new(0);
        thread::scope(|s| {
            for t in 0..4u64 {
                let (map, admitted) = (&map, &admitted);
                s.spawn(move || {
                    for i in 0..200 {
                        match map.pin().try_insert(t << 32 | i, i) {
                            Ok(()) => _ = admitted.fetch_add(1, Relaxed),
                            Err(e) => assert_eq!(e, InlineInsertError::Full),
                        }
                        assert!(map.len() <= LIMIT);
                    }
                });
            }
        });
        assert_eq!((admitted.into_inner(), map.len()), (LIMIT, LIMIT));
        assert_eq!(map.pin().iter().count(), LIMIT);
        // Each thread takes an entry out and puts one in: there is always room for it.
        thread::scope(|s| {
            for t in 0..4u64 {
                let map = &map;
                s.spawn(move || {
                    let mut mine: Vec<u64> = map
                        .pin()
                        .iter()
                        .map(|(k, _)| k)
                        .filter(|k| k >> 32 == t)
                        .collect();
                    for i in 0..200 {
                        let Some(k) = mine.pop() else { return };
                        assert!(map.pin().remove(&k).is_some());
                        let new = t << 32 | (1000 + i);
                        assert_eq!(map.pin().try_insert(new, i), Ok(()));
                        mine.insert(0, new);
                    }
                });
            }
        });
        assert_eq!(map.len(), LIMIT);
    }
}

/// Nothing is lost of what several threads add, in whichever way, while the table is resized.
#[test]
fn no_update_is_lost() {
    let each = 4000 * SCALE;
    for hasher in [Bad::Fx, Bad::Constant] {
        let map = InlineMap::<u64, u64, _>::with_hasher(hasher);
        (0..16).for_each(|k| _ = map.pin().insert(k, 0));
        let done = AtomicUsize::new(0);
        thread::scope(|s| {
            for t in 0..4u64 {
                let (map, done) = (&map, &done);
                s.spawn(move || {
                    for i in 0..each {
                        let (k, view) = (i % 4, map.pin());
                        _ = view.update(&k, |v| v + 1).unwrap();
                        view.update_or_insert(4 + k, |v| v + 1, 1);
                        view.update_or_insert(100 + k, |v| v + 1, 1);
                        // As a counter that is spun on.
                        let mut now = view.get(&(8 + k)).unwrap();
                        while let Err(there) = view.compare_exchange(&(8 + k), now, now + 1) {
                            now = there.unwrap();
                        }
                        view.insert(1000 + t * 256 + i % 64, i);
                    }
                    done.fetch_add(1, Relaxed);
                });
            }
            let mut rng = Xorshift(6);
            while done.load(Relaxed) < 4 {
                map.resize(1 + rng.below(50) as usize).unwrap();
                map.maintain().unwrap();
                thread::yield_now();
            }
        });
        let sum =
            |keys: std::ops::Range<u64>| keys.map(|k| map.pin().get(&k).unwrap()).sum::<u64>();
        for keys in [0..4, 4..8, 8..12, 100..104] {
            assert_eq!(sum(keys.clone()), 4 * each, "{keys:?}, {hasher:?}");
        }
        assert_eq!(sum(12..16), 0);
    }
}

/// What goes in comes out once, by whatever way, and the rest is there in the end.
#[test]
fn removals_balance_insertions() {
    for hasher in [Bad::Fx, Bad::Low, Bad::Constant] {
        let map = InlineMap::<u64, u64, _>::with_hasher(hasher);
        let balance = AtomicI64::new(0);
        let count = AtomicI64::new(0);
        thread::scope(|s| {
            for t in 0..4u64 {
                let (map, balance, count) = (&map, &balance, &count);
                s.spawn(move || {
                    let mut rng = Xorshift(t + 20);
                    let add = |v: u64| {
                        balance.fetch_add(v as i64, Relaxed);
                        count.fetch_add(1, Relaxed);
                    };
                    let sub = |v: u64| {
                        balance.fetch_sub(v as i64, Relaxed);
                        count.fetch_sub(1, Relaxed);
                    };
                    for i in 0..3000 * SCALE {
                        let (k, v) = (rng.below(64), rng.below(1000));
                        let view = map.pin();
                        match rng.below(8) {
                            0 | 1 => {
                                add(v);
                                view.insert(k, v).into_iter().for_each(sub);
                            }
                            2 => _ = view.try_insert(k, v).map(|()| add(v)),
                            3 => view.remove(&k).into_iter().for_each(sub),
                            4 => view
                                .remove_if(&k, |v| v % 2 == 0)
                                .into_iter()
                                .for_each(|v| {
                                    assert_eq!(v % 2, 0);
                                    sub(v);
                                }),
                            5 => {
                                let made = AtomicBool::new(false);
                                let got = view.get_or_insert_with(k, || {
                                    made.store(true, Relaxed);
                                    1_000_000 * (t + 1) + i
                                });
                                if got == 1_000_000 * (t + 1) + i {
                                    assert!(made.into_inner());
                                    add(got);
                                }
                            }
                            6 => {
                                if let Some(old) = view.get(&k)
                                    && view.compare_exchange(&k, old, v).is_ok()
                                {
                                    add(v);
                                    sub(old);
                                }
                            }
                            _ if i % 64 == 0 => map.resize(1 + rng.below(40) as usize).unwrap(),
                            _ => {}
                        }
                    }
                });
            }
        });
        map.maintain().unwrap();
        let rest: u64 = map.pin().iter().map(|(_, v)| v).sum();
        assert_eq!(rest as i64, balance.into_inner(), "{hasher:?}");
        assert_eq!(map.len() as i64, count.into_inner());
        assert_eq!(map.pin().iter().count(), map.len());
    }
}

/// `retain` removes what it was asked about and nothing else; `clear` leaves nothing that was there before it was called.
#[test]
fn retain_and_clear_beside_writers() {
    for hasher in [Bad::Fx, Bad::Low, Bad::Constant] {
        let map = InlineMap::<u64, u64, _>::with_hasher(hasher);
        let done = AtomicUsize::new(0);
        thread::scope(|s| {
            let (map, done) = (&map, &done);
            for t in 1..4u64 {
                s.spawn(move || {
                    let mut rng = Xorshift(t);
                    for _ in 0..2000 * SCALE {
                        let (k, view) = (rng.below(100) * 4 + t, map.pin());
                        // Odd values are to go; there are some only for a moment.
                        view.insert(k, 1);
                        view.insert(k, 2);
                        assert_eq!(view.get(&k), Some(2), "an even value is kept");
                    }
                    done.fetch_add(1, Relaxed);
                });
            }
            let mut rng = Xorshift(9);
            while done.load(Relaxed) < 3 {
                map.pin().retain(|k, v| {
                    assert!(k % 4 != 0 && (v == 1 || v == 2));
                    v % 2 == 0
                });
                map.resize(1 + rng.below(100) as usize).unwrap();
            }
        });
        done.store(0, Relaxed);
        thread::scope(|s| {
            let (map, done) = (&map, &done);
            for t in 1..3u64 {
                s.spawn(move || {
                    let mut rng = Xorshift(t);
                    for i in 0..4000 * SCALE {
                        map.pin().insert(rng.below(100) * 4 + t, i);
                        map.pin().remove(&(rng.below(100) * 4 + t));
                    }
                    done.fetch_add(1, Relaxed);
                });
            }
            let mut rng = Xorshift(10);
            while done.load(Relaxed) < 2 {
                (0..60).for_each(|k| _ = map.pin().insert(k * 4, k));
                map.resize(1 + rng.below(60) as usize).unwrap();
                map.pin().clear();
                assert!((0..60).all(|k| map.pin().get(&(k * 4)).is_none()));
            }
        });
        map.maintain().unwrap();
        assert_eq!(map.pin().iter().count(), map.len(), "{hasher:?}");
        map.pin().clear();
        assert_eq!((map.len(), map.pin().iter().count()), (0, 0));
    }
}

/// One winner per key, and everybody gets the winner's value.
#[test]
fn one_thread_wins_each_key() {
    let map = InlineMap::<u64, u64>::new();
    let wins = AtomicUsize::new(0);
    let rounds = 2000 * SCALE;
    let all: Vec<Vec<u64>> = thread::scope(|s| {
        let threads: Vec<_> = (0..3u64)
            .map(|t| {
                let (map, wins) = (&map, &wins);
                s.spawn(move || {
                    (0..rounds)
                        .map(|k| match k % 2 {
                            0 => map.pin().get_or_insert_with(k, || t),
                            _ => match map.pin().try_insert(k, t) {
                                Ok(()) => {
                                    wins.fetch_add(1, Relaxed);
                                    t
                                }
                                Err(InlineInsertError::Occupied { current }) => current,
                                Err(e) => panic!("{e}"),
                            },
                        })
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(all[0] == all[1] && all[1] == all[2]);
    assert_eq!(wins.into_inner() as u64, rounds / 2);
}

/// Histories of the whole API are linearizable.
#[test]
fn histories_are_linearizable() {
    for round in 0..20 * SCALE {
        let hasher = [Bad::Constant, Bad::Fx][round as usize % 2];
        let map = InlineMap::<u64, u64, _>::with_hasher(hasher);
        // More keys than a bucket's own slots hold, so that some are behind.
        (100..100 + round % 12).for_each(|k| _ = map.pin().insert(k, k));
        let clock = Clock::default();
        let events: Vec<Event> = thread::scope(|s| {
            let workers: Vec<_> = (0..3u64)
                .map(|t| {
                    let (map, clock) = (&map, &clock);
                    s.spawn(move || {
                        let mut rng = Xorshift(round * 3 + t + 1);
                        let mut r = Recorder::new(clock);
                        for i in 0..300 {
                            let (key, v) = (rng.below(3), rng.next() >> 32);
                            let view = map.pin();
                            match rng.below(11) {
                                0..3 => r.run(key, || Op::Get(view.get(&key))),
                                3 => r.run(key, || Op::Insert(v, view.insert(key, v))),
                                4 => r.run(key, || Op::Remove(view.remove(&key))),
                                5 => r.run(key, || {
                                    Op::GetOrInsert(v, view.get_or_insert_with(key, || v))
                                }),
                                6 => r.run(key, || Op::Update(view.update(&key, |v| v + 1))),
                                7 => r.run(key, || {
                                    Op::TryInsert(
                                        v,
                                        match view.try_insert(key, v) {
                                            Ok(()) => None,
                                            Err(InlineInsertError::Occupied { current }) => {
                                                Some(current)
                                            }
                                            Err(e) => panic!("{e}"),
                                        },
                                    )
                                }),
                                8 => r.run(key, || {
                                    Op::RemoveIfEven(view.remove_if(&key, |v| v % 2 == 0))
                                }),
                                9 => map.resize(1 + i % 5).expect("memory"),
                                _ => _ = map.maintain().expect("memory"),
                            }
                        }
                        r.into_events()
                    })
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|w| w.join().expect("no operation panics"))
                .collect()
        });
        if let Err(v) = check(events) {
            panic!("{v:?}");
        }
    }
}

/// Spill lines go from one bucket to another while readers stand on them: nobody meets another bucket's entries.
#[test]
fn lines_wander_between_buckets() {
    in_time("lines", || {
        let map = InlineMap::<Pair, u64, _>::with_hasher(Bad::Top);
        map.resize(8).unwrap();
        map.maintain().unwrap();
        // Eight chains, each with one key at its end that stays.
        (0..8).for_each(|c| {
            (0..12).for_each(|i| {
                let k = i << 8 | c << 5;
                map.pin().insert(Pair::new(k), value(k, 0));
            });
        });
        let stop = AtomicBool::new(false);
        thread::scope(|s| {
            let (map, stop) = (&map, &stop);
            for t in 0..2 {
                s.spawn(move || {
                    let mut rng = Xorshift(t + 50);
                    while !stop.load(Relaxed) {
                        let k = rng.below(12) << 8 | rng.below(8) << 5;
                        let v = map.pin().get(&Pair::new(k)).expect("it stays");
                        assert_eq!(v, value(k, 0));
                        let absent = 99 << 8 | rng.below(8) << 5;
                        assert_eq!(map.pin().get(&Pair::new(absent)), None);
                    }
                });
            }
            let mut rng = Xorshift(60);
            for _ in 0..300 * SCALE {
                let c = rng.below(8) << 5;
                let more = 20..20 + 1 + rng.below(30);
                for i in more.clone() {
                    let k = i << 8 | c;
                    map.pin().insert(Pair::new(k), value(k, 1));
                }
                for i in more {
                    let k = i << 8 | c;
                    assert_eq!(map.pin().remove(&Pair::new(k)), Some(value(k, 1)));
                }
            }
            stop.store(true, Relaxed);
        });
        assert_eq!(map.len(), 96);
    });
}

/// A clearing makes room when its entries are gone, and not before, also while a mover stands between the two places of a
/// bucket's entries.
#[test]
fn a_clearing_beside_a_move_keeps_the_limit() {
    const FEW: usize = 30;
    const MANY: usize = 40_000;
    let hasher = DefaultHashBuilder::default();
    let hashes = HashMap::<u64, (), _>::with_hasher(hasher.clone());
    // Of twelve parts of the hash space, 6 to 8 are the third of four buckets; of three buckets, 4 to 7 are the second and 8 to
    // 11 the third. So that bucket moves its few keys to one that others may use, and then for long its many to another.
    let of_parts = |parts: std::ops::Range<u128>, n| {
        let part = |k: &u64| (12 * u128::from(hashes.hash_of(k))) >> 64;
        (0u64..).filter(move |k| parts.contains(&part(k))).take(n)
    };
    let (few, many) = (of_parts(6..8, FEW), of_parts(8..9, MANY));
    let keys: Vec<u64> = few.chain(many).collect();
    let others: Vec<u64> = of_parts(0..4, FEW).collect();
    // How long a move takes: the clearings begin at different times of it.
    let mut takes = Duration::ZERO;
    const ROUNDS: u32 = 40;
    for round in 0..=ROUNDS {
        let map = InlineMap::with_limit(keys.len(), keys.len(), hasher.clone()).unwrap();
        keys.iter().for_each(|&k| _ = map.pin().insert(k, k));
        map.resize(4).unwrap();
        map.maintain().unwrap();
        map.resize(3).unwrap();
        let start = Instant::now();
        if round == 0 {
            map.maintain().unwrap();
            takes = start.elapsed();
            continue;
        }
        thread::scope(|s| {
            s.spawn(|| map.maintain().unwrap());
            s.spawn(|| {
                while start.elapsed() < takes * round / ROUNDS {}
                map.pin().clear();
            });
            // Once there is room, take it all. Nothing is inserted after that: what is seen then was there at once.
            let view = map.pin();
            while view.try_insert(others[0], 0).is_err() {}
            let _ = others[1..].iter().all(|&k| view.try_insert(k, 0).is_ok());
            let seen = view.iter().count();
            assert!(seen <= keys.len(), "{seen} entries of {}", keys.len());
        });
        assert!(keys.iter().all(|k| map.pin().get(k).is_none()));
        assert_eq!(map.len(), map.pin().iter().count());
    }
}
