//! Every operation's atomicity under contention: what threads were told adds up to what is there in the end.

mod support;

use nulls::{Compute, Entry, HashMap, HashSet, Operation, TryInsertError};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::thread;
use support::{Bad, Xorshift, in_time};

const THREADS: u64 = 4;
const ROUNDS: u64 = 4_000;
const KEYS: u64 = 8;

/// Runs `f(map, thread, random)` in several threads while the map is resized all the time.
fn contend<V: Send + Sync>(
    hasher: Bad,
    map: &HashMap<u64, V, Bad>,
    f: impl Fn(u64, &mut Xorshift) + Sync,
) {
    in_time("contention", || {
        thread::scope(|s| {
            for t in 0..THREADS {
                let f = &f;
                s.spawn(move || {
                    let mut rng = Xorshift(t * 77 + 5);
                    for i in 0..ROUNDS {
                        f(t, &mut rng);
                        if t == 0 && i % 64 == 0 {
                            map.resize(1 + rng.below(40) as usize).unwrap();
                        }
                    }
                });
            }
        });
    });
    assert_eq!(map.pin().iter().count(), map.len(), "{hasher:?}");
}

fn each_hasher(f: impl Fn(Bad)) {
    [Bad::Fx, Bad::Constant].into_iter().for_each(f);
}

fn sum(map: &HashMap<u64, u64, Bad>) -> u64 {
    map.pin().values().sum()
}

/// No increment is lost, by whatever operation it is made.
#[test]
fn increments_add_up() {
    each_hasher(|hasher| {
        let map = HashMap::with_hasher(hasher);
        contend(hasher, &map, |_, rng| {
            let (k, view) = (rng.below(KEYS), map.pin());
            match rng.below(4) {
                0 => _ = view.update_or_insert(k, |v| v + 1, 1),
                1 => {
                    let done = view.compute(k, |seen| {
                        Operation::<u64, ()>::Insert(seen.map_or(1, |(_, v)| v + 1))
                    });
                    match done {
                        Compute::Updated { old, new } => assert_eq!(old.1 + 1, *new.1),
                        Compute::Inserted(_, v) => assert_eq!(*v, 1),
                        _ => unreachable!(),
                    }
                }
                2 => {
                    if view.update(&k, |v| v + 1).is_none() {
                        while view.try_insert(k, 1).is_err() {
                            if view.update(&k, |v| v + 1).is_some() {
                                break;
                            }
                        }
                    }
                }
                // A compare-and-swap loop on entries.
                _ => {
                    let mut entry = view.entry(k);
                    loop {
                        entry = match entry {
                            Entry::Occupied(seen) => {
                                let more = seen.get() + 1;
                                match seen.insert(more) {
                                    Ok(v) => break assert_eq!(*v, more),
                                    Err(not) => not.entry,
                                }
                            }
                            Entry::Vacant(gap) => match gap.insert(1) {
                                Ok(_) => break,
                                Err(TryInsertError::Occupied { .. }) => view.entry(k),
                                Err(e) => panic!("{e}"),
                            },
                        };
                    }
                }
            }
        });
        assert_eq!(sum(&map), THREADS * ROUNDS, "{hasher:?}");
    });
}

/// Each insertion of a key is matched by the one removal that was told of it, whichever way things are removed.
#[test]
fn insertions_and_removals_pair_up() {
    each_hasher(|hasher| {
        let map: HashMap<u64, u64, Bad> = HashMap::with_hasher(hasher);
        let (into, out) = (AtomicU64::new(0), AtomicU64::new(0));
        contend(hasher, &map, |_, rng| {
            let (k, view) = (rng.below(KEYS), map.pin());
            let inserted = |n: u64| _ = into.fetch_add(n, Relaxed);
            let removed = |n: u64| _ = out.fetch_add(n, Relaxed);
            // Values are the amounts that change hands.
            let v = 1 + rng.below(1000);
            match rng.below(10) {
                0 => match view.insert(k, v) {
                    None => inserted(v),
                    Some(old) => {
                        inserted(v);
                        removed(*old);
                    }
                },
                1 => _ = view.try_insert(k, v).map(|v| inserted(*v)),
                2 => _ = view.remove(&k).map(|v| removed(*v)),
                3 => _ = view.remove_entry(&k).map(|(_, v)| removed(*v)),
                4 => {
                    _ = view.remove_if(&k, |_, v| v % 2 == 0).map(|(_, v)| {
                        assert_eq!(v % 2, 0);
                        removed(*v);
                    })
                }
                5 => {
                    if let Some(seen) = view.get(&k)
                        && let Some((_, v)) = view.remove_same(&k, seen)
                    {
                        assert!(std::ptr::eq(v, seen));
                        removed(*v);
                    }
                }
                6 => _ = view.remove_value(&k, &v).map(|(_, v)| removed(*v)),
                7 => match view.compute(k, |seen| match seen {
                    Some((_, v)) if v % 3 == 0 => Operation::Abort(()),
                    Some(_) => Operation::Remove,
                    None => Operation::Insert(v),
                }) {
                    Compute::Inserted(_, v) => inserted(*v),
                    Compute::Removed(_, v) => removed(*v),
                    Compute::Aborted(()) => {}
                    other => panic!("{other:?}"),
                },
                8 => match view.entry(k) {
                    Entry::Occupied(seen) => _ = seen.remove().map(|v| removed(*v)),
                    Entry::Vacant(gap) => _ = gap.insert(v).map(|v| inserted(*v)),
                },
                _ => match rng.below(8) {
                    0 => view.drain().for_each(|(_, v)| removed(*v)),
                    1 => match view.try_upsert(k, v) {
                        Ok(old) => {
                            inserted(v);
                            removed(old.copied().unwrap_or(0));
                        }
                        Err(e) => panic!("{e}"),
                    },
                    _ => {}
                },
            }
        });
        assert_eq!(
            into.load(Relaxed),
            out.load(Relaxed) + sum(&map),
            "{hasher:?}"
        );
    });
}

/// One winner per key, and everybody gets the winner's value.
#[test]
fn one_thread_wins_each_key() {
    each_hasher(|hasher| {
        let map: HashMap<u64, u64, Bad> = HashMap::with_hasher(hasher);
        let made = AtomicU64::new(0);
        contend(hasher, &map, |t, rng| {
            let (k, view) = (rng.below(2000), map.pin());
            let make = || made.fetch_add(1, Relaxed) * THREADS + t;
            let v = match rng.below(4) {
                0 => view.get_or_insert_with(k, make),
                1 => view.entry(k).or_insert_with(make),
                2 => view.update_or_insert_with(k, |v| *v, make),
                _ => match view.try_insert(k, make()) {
                    Ok(v) => v,
                    Err(TryInsertError::Occupied { current, .. }) => current,
                    Err(e) => panic!("{e}"),
                },
            };
            assert_eq!(view.get(&k), Some(v), "it stays");
        });
    });
    let set = HashSet::new();
    let wins = AtomicU64::new(0);
    thread::scope(|s| {
        for _ in 0..THREADS {
            s.spawn(|| {
                for k in 0..ROUNDS {
                    wins.fetch_add(u64::from(set.pin().insert(k)), Relaxed);
                }
            });
        }
    });
    assert_eq!((wins.load(Relaxed), set.len() as u64), (ROUNDS, ROUNDS));
    thread::scope(|s| {
        for _ in 0..THREADS {
            s.spawn(|| {
                for k in 0..ROUNDS {
                    wins.fetch_sub(u64::from(set.pin().remove(&k).is_some()), Relaxed);
                }
            });
        }
    });
    assert_eq!((wins.load(Relaxed), set.len()), (0, 0));
}

/// `retain` never removes what it was not asked about, or what replaced what it was asked about.
#[test]
fn retain_removes_what_it_judged() {
    each_hasher(|hasher| {
        let map: HashMap<u64, u64, Bad> = HashMap::with_hasher(hasher);
        (0..100).for_each(|k| _ = map.pin().insert(k, 0));
        contend(hasher, &map, |t, rng| {
            if t == 0 && rng.below(40) == 0 {
                // Odd values are to go; there are some only for a moment.
                map.pin().retain(|_, v| v % 2 == 0);
            } else if t != 0 {
                let k = rng.below(100);
                // Each thread minds keys of its own.
                let k = k - k % THREADS + t;
                let view = map.pin();
                view.insert(k, 1);
                view.insert(k, 2);
                assert_eq!(view.get(&k), Some(&2), "an even value is kept");
            }
        });
    });
}
