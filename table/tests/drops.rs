//! Every key and every value is dropped exactly once, and none while somebody may still read it.

mod support;

use nulls::{HashMap, TryInsertError, rcu};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Barrier};
use std::thread;
use support::{Bad, Ledger, Token, Xorshift};

#[derive(Debug)]
struct Key(u64, Token);

impl Hash for Key {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.1.check();
        h.write_u64(self.0);
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.1.check();
        other.1.check();
        self.0 == other.0
    }
}
impl Eq for Key {}

// `update` clones keys.
thread_local!(static LEDGER: std::cell::RefCell<Option<Arc<Ledger>>> = const { std::cell::RefCell::new(None) });
impl Clone for Key {
    fn clone(&self) -> Self {
        self.1.check();
        LEDGER.with_borrow(|l| Key(self.0, l.as_ref().unwrap().token()))
    }
}

type Map = HashMap<Key, Token, Bad>;

/// One thread's random operations, with everything that they returned looked at again before each guard goes.
fn churn(map: &Map, ledger: &Arc<Ledger>, seed: u64, rounds: usize, keys: u64) {
    LEDGER.set(Some(ledger.clone()));
    let mut rng = Xorshift(seed);
    for round in 0..rounds {
        let pinned = map.pin();
        let mut held: Vec<(&Token, usize)> = Vec::new();
        for _ in 0..1 + rng.below(60) {
            let key = |k| Key(k, ledger.token());
            let k = rng.below(keys);
            let got = match rng.below(9) {
                0..3 => pinned.insert(key(k), ledger.token()),
                3 => match pinned.try_insert(key(k), ledger.token()) {
                    Ok(v) => Some(v),
                    Err(TryInsertError::Occupied {
                        current,
                        key,
                        value,
                    }) => {
                        key.1.check();
                        value.check();
                        Some(current)
                    }
                    Err(e) => panic!("{e}"),
                },
                4 => Some(pinned.get_or_insert_with(key(k), || ledger.token())),
                5 => pinned.update(&key(k), |old| {
                    old.check();
                    ledger.token()
                }),
                6 => pinned.remove_entry(&key(k)).map(|(k, v)| {
                    held.push((&k.1, k.1.number));
                    v
                }),
                7 => pinned.remove(&key(k)),
                _ => pinned.get(&key(k)),
            };
            held.extend(got.map(|v| (v, v.number)));
        }
        if rng.below(40) == 0 {
            pinned.clear();
        }
        if rng.below(20) == 0 {
            held.extend(pinned.iter().map(|(_, v)| (v, v.number)));
        }
        if rng.below(20) == 0 {
            map.resize(1 + rng.below(50) as usize).unwrap();
        }
        if rng.below(20) == 0 {
            // What this view has seen must survive that.
            map.maintain().unwrap();
        }
        for (token, number) in held {
            token.check();
            assert_eq!(token.number, number, "the memory is another object's");
            assert!(!ledger.is_dropped(number), "dropped before its reader went");
        }
        drop(pinned);
        if round % 10 == 0 {
            map.maintain().unwrap();
        }
    }
    LEDGER.set(None);
}

#[test]
fn one_thread() {
    for hasher in [Bad::Fx, Bad::Constant] {
        for seed in 1..6 {
            let ledger = Ledger::new();
            let map = Map::with_hasher(hasher);
            churn(&map, &ledger, seed, 300, 80);
            assert!(
                ledger.dropped() > 1000,
                "garbage is dropped before the map is"
            );
            // What is linked lives, and it is all that must.
            assert!(
                map.pin()
                    .iter()
                    .all(|(k, v)| !ledger.is_dropped(k.1.number) && !ledger.is_dropped(v.number))
            );
            drop(map);
            ledger.assert_all_dropped_once();
        }
    }
}

#[test]
fn many_threads() {
    for hasher in [Bad::Fx, Bad::Constant, Bad::Low] {
        let ledger = Ledger::new();
        let map = Map::with_hasher(hasher);
        thread::scope(|s| {
            for t in 0..4 {
                let (map, ledger) = (&map, &ledger);
                s.spawn(move || churn(map, ledger, t * 77 + 1, 400, 60));
            }
        });
        assert!(ledger.dropped() > 1000);
        ledger.assert_none_dropped_twice();
        drop(map);
        ledger.assert_all_dropped_once();
    }
}

/// A reader that stands still keeps all it can reach, whatever the others do; then all of it goes, the map alive.
#[test]
fn a_stalled_reader() {
    for owned in [false, true] {
        let ledger = Ledger::new();
        let map = Map::with_hasher(Bad::Fx);
        for k in 0..500 {
            map.pin().insert(Key(k, ledger.token()), ledger.token());
        }
        let first = ledger.made();
        let (pinned, done) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|s| {
            s.spawn(|| {
                let mine;
                let guard: &rcu::Guard;
                let others;
                if owned {
                    others = rcu::OwnedGuard::new();
                    guard = &others;
                } else {
                    mine = map.guard();
                    guard = &mine;
                }
                let all: Vec<(&Key, &Token)> = map.iter_with(guard).collect();
                assert_eq!(all.len(), 500);
                let numbers: Vec<usize> = all
                    .iter()
                    .flat_map(|(k, v)| [k.1.number, v.number])
                    .collect();
                pinned.wait();
                for _ in 0..20 {
                    all.iter().for_each(|(k, v)| {
                        k.1.check();
                        v.check();
                    });
                    thread::yield_now();
                }
                done.wait();
                assert!(numbers.iter().all(|n| !ledger.is_dropped(*n)));
                all.iter().zip(numbers.chunks(2)).for_each(|((k, v), n)| {
                    k.1.check();
                    v.check();
                    assert_eq!((k.1.number, v.number), (n[0], n[1]));
                });
            });
            pinned.wait();
            for round in 0..12 {
                for k in 0..500 {
                    if round % 3 == 1 {
                        map.pin().remove(&Key(k, ledger.token()));
                    } else {
                        map.pin().insert(Key(k, ledger.token()), ledger.token());
                    }
                }
                map.resize(1 + round * 20).unwrap();
                assert!(!map.maintain().unwrap(), "garbage must wait");
            }
            assert!(map.garbage() >= 500);
            assert!((0..first).all(|n| !ledger.is_dropped(n)));
            done.wait();
        });
        // Readers of other tests are readers too, so this may take a few attempts.
        while !map.maintain().unwrap() {
            thread::yield_now();
        }
        assert_eq!(map.garbage(), 0);
        assert!((0..first).all(|n| ledger.is_dropped(n)));
        assert_eq!(ledger.made() - ledger.dropped(), 2 * map.len());
        drop(map);
        ledger.assert_all_dropped_once();
    }
}

/// The map takes its garbage with it, whoever reads elsewhere.
#[test]
fn a_dropped_map_takes_its_garbage_along() {
    let ledger = Ledger::new();
    let _guard = rcu::pin();
    let _owned = rcu::OwnedGuard::new();
    let map = Map::with_hasher(Bad::Fx);
    for i in 0..1000 {
        map.pin()
            .insert(Key(i % 100, ledger.token()), ledger.token());
    }
    assert_eq!(map.garbage(), 900);
    assert_eq!(ledger.dropped(), 0);
    drop(map);
    ledger.assert_all_dropped_once();
}

/// A map dropped in the middle of a resize.
#[test]
fn a_map_dropped_while_it_resizes() {
    for buckets in [1, 3, 40, 41, 200] {
        let ledger = Ledger::new();
        let map = Map::with_hasher(Bad::Fx);
        for k in 0..200 {
            map.pin().insert(Key(k, ledger.token()), ledger.token());
        }
        map.maintain().unwrap();
        map.resize(buckets).unwrap();
        // Moves some.
        map.pin().insert(Key(0, ledger.token()), ledger.token());
        drop(map);
        ledger.assert_all_dropped_once();
    }
}

/// Of those who race to insert a key one wins; the others' keys and values go, and go once.
#[test]
fn racing_to_insert() {
    let ledger = Ledger::new();
    let map = Map::with_hasher(Bad::Fx);
    let calls = AtomicUsize::new(0);
    const ROUNDS: u64 = 3000;
    let (barrier, inside) = (Barrier::new(3), Barrier::new(3));
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                for round in 0..ROUNDS {
                    if round % 64 == 0 {
                        barrier.wait();
                    }
                    let pinned = map.pin();
                    let value = pinned.get_or_insert_with(Key(round, ledger.token()), || {
                        calls.fetch_add(1, Relaxed);
                        // All three have found nothing then, and two of them lose.
                        if round % 64 == 0 {
                            inside.wait();
                        }
                        thread::yield_now();
                        ledger.token()
                    });
                    value.check();
                    assert!(!ledger.is_dropped(value.number));
                }
            });
        }
    });
    let calls = calls.into_inner();
    assert!(calls as u64 >= ROUNDS + 2 * ROUNDS.div_ceil(64));
    assert_eq!(map.len(), ROUNDS as usize);
    // Whoever lost dropped at once: nothing of the kind is garbage.
    assert_eq!(map.garbage(), 0);
    assert_eq!(ledger.made() - ledger.dropped(), 2 * ROUNDS as usize);
    drop(map);
    ledger.assert_all_dropped_once();
}

/// What was not inserted comes back.
#[test]
fn failed_insertions() {
    let ledger = Ledger::new();
    let map = Map::with_limit(0, 3, Bad::Fx).unwrap();
    let pinned = map.pin();
    for k in 0..3 {
        assert!(
            pinned
                .try_insert(Key(k, ledger.token()), ledger.token())
                .is_ok()
        );
    }
    for k in 0..6 {
        let (key, value) = (Key(k, ledger.token()), ledger.token());
        let numbers = (key.1.number, value.number);
        let (key, value) = match pinned.try_insert(key, value) {
            Err(TryInsertError::Occupied {
                key,
                value,
                current,
            }) if k < 3 => {
                current.check();
                (key, value)
            }
            Err(TryInsertError::Full { key, value }) if k >= 3 => (key, value),
            other => panic!("{k}: {other:?}"),
        };
        assert_eq!((key.1.number, value.number), numbers);
        assert!(!ledger.is_dropped(numbers.0) && !ledger.is_dropped(numbers.1));
    }
    assert_eq!(ledger.made() - ledger.dropped(), 6);
    // `insert` and `get_or_insert_with` have no way to give them back but to panic, and drop them then.
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    assert!(
        catch_unwind(AssertUnwindSafe(
            || pinned.insert(Key(9, ledger.token()), ledger.token())
        ))
        .is_err()
    );
    assert!(
        catch_unwind(AssertUnwindSafe(
            || pinned.get_or_insert_with(Key(9, ledger.token()), || ledger.token())
        ))
        .is_err()
    );
    std::panic::set_hook(quiet);
    assert_eq!(ledger.made() - ledger.dropped(), 6);
    // A replacement needs no room, and a removal makes some at once.
    assert!(
        pinned
            .insert(Key(1, ledger.token()), ledger.token())
            .is_some()
    );
    assert!(pinned.remove(&Key(1, ledger.token())).is_some());
    assert!(
        pinned
            .try_insert(Key(9, ledger.token()), ledger.token())
            .is_ok()
    );
    drop(pinned);
    drop(map);
    ledger.assert_all_dropped_once();
}

/// Clearing retires everything once, also when several threads do it at a time and others insert.
#[test]
fn clearing_together() {
    let ledger = Ledger::new();
    let map = Map::with_hasher(Bad::Low);
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        for t in 0..2u64 {
            let (map, ledger, stop) = (&map, &ledger, &stop);
            s.spawn(move || {
                for i in 0..8000 {
                    map.pin()
                        .insert(Key((t << 32) | (i % 700), ledger.token()), ledger.token());
                }
                stop.store(true, Relaxed);
            });
        }
        for _ in 0..2 {
            s.spawn(|| {
                while !stop.load(Relaxed) {
                    map.pin().clear();
                }
            });
        }
    });
    map.pin().clear();
    assert!(map.is_empty());
    while !map.maintain().unwrap() {
        thread::yield_now();
    }
    ledger.assert_all_dropped_once();
}

/// A guard that is refreshed lets go of what was removed before.
#[test]
fn refreshing_lets_go() {
    let ledger = Ledger::new();
    let map = Map::with_hasher(Bad::Fx);
    let mut pinned = map.pin();
    pinned.insert(Key(1, ledger.token()), ledger.token());
    pinned.remove(&Key(1, ledger.token()));
    map.maintain().unwrap();
    assert_eq!(map.garbage(), 1, "the view protects it");
    {
        // While an inner view is there, whose references may be in use, refreshing does nothing.
        let inner = map.pin();
        pinned.refresh();
        map.maintain().unwrap();
        assert_eq!(map.garbage(), 1);
        drop(inner);
    }
    while map.garbage() > 0 {
        pinned.refresh();
        map.maintain().unwrap();
        thread::yield_now();
    }
    drop(pinned);
    ledger.assert_all_dropped_once();
}
