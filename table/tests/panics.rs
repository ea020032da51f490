//! Panics in the user's code, at every place of every operation and in every state of the table.
//!
//! Afterwards all locks are free, every other entry is as it was, the entry in question is as before or as after the
//! operation, the length is right, and in the end every object has been dropped exactly once.

mod support;

use Site::{CloneKey, Closure, DropKey, DropValue, Eq as EqSite, Hash as HashSite};
use nulls::HashMap;
use support::bombs::*;
use support::{Bad, Ledger, in_time};

#[test]
fn get() {
    let bangs = everywhere(
        "get",
        |c| {
            let pinned = c.map.pin();
            assert_eq!(pinned.get(&Id(OLD)).unwrap().0, OLD * 10);
            assert!(pinned.get(&Id(NEW)).is_none());
            let (a, b) = (Id(1), Id(NEW));
            pinned.get_many(&[&a, &b, &a], |_, v| {
                pass(Site::Closure);
                assert!(v.is_none_or(|v| v.0 == 10));
            });
        },
        unchanged,
    );
    expect(&bangs, &[HashSite, EqSite, Closure]);
}

#[test]
fn insert_a_new_key() {
    let bangs = everywhere("insert new", |c| c.put(NEW, 7), or(NEW, Some(7)));
    // Only keys with the same tag are compared: those of one hash.
    expect(&bangs, &[HashSite, EqSite]);
}

#[test]
fn insert_over_an_old_key() {
    let bangs = everywhere("insert over", |c| c.put(OLD, 7), or(OLD, Some(7)));
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

#[test]
fn try_insert() {
    let bangs = everywhere(
        "try_insert",
        |c| {
            let pinned = c.map.pin();
            assert!(pinned.try_insert(c.key(NEW), c.value(7)).is_ok());
            assert!(pinned.try_insert(c.key(OLD), c.value(8)).is_err());
        },
        or(NEW, Some(7)),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

#[test]
fn get_or_insert_with() {
    let bangs = everywhere(
        "get_or_insert_with",
        |c| {
            let pinned = c.map.pin();
            let make = |v| {
                move || {
                    pass(Site::Closure);
                    c.value(v)
                }
            };
            assert_eq!(pinned.get_or_insert_with(c.key(NEW), make(7)).0, 7);
            assert_eq!(pinned.get_or_insert_with(c.key(OLD), make(8)).0, OLD * 10);
        },
        or(NEW, Some(7)),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, Closure]);
}

/// The loser of a race drops its own key and value: here the closure itself is the winner.
#[test]
fn get_or_insert_with_too_late() {
    let bangs = everywhere(
        "get_or_insert_with, too late",
        |c| {
            let pinned = c.map.pin();
            let got = pinned.get_or_insert_with(c.key(NEW), || {
                c.put(NEW, 7);
                c.value(8)
            });
            assert_eq!(got.0, 7);
        },
        or(NEW, Some(7)),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

#[test]
fn update() {
    let bangs = everywhere(
        "update",
        |c| {
            let pinned = c.map.pin();
            let add = |old: &Value| {
                pass(Site::Closure);
                c.value(old.0 + 1)
            };
            assert!(pinned.update(&Id(NEW), add).is_none());
            assert_eq!(pinned.update(&Id(OLD), add).unwrap().0, OLD * 10 + 1);
        },
        or(OLD, Some(OLD * 10 + 1)),
    );
    expect(
        &bangs,
        &[HashSite, EqSite, CloneKey, DropKey, DropValue, Closure],
    );
}

#[test]
fn remove() {
    let bangs = everywhere(
        "remove",
        |c| {
            let pinned = c.map.pin();
            assert!(pinned.remove(&Id(NEW)).is_none());
            let (k, v) = pinned.remove_entry(&Id(OLD)).unwrap();
            assert_eq!((k.0, v.0), (OLD, OLD * 10));
        },
        or(OLD, None),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

#[test]
fn clear() {
    let bangs = everywhere(
        "clear",
        |c| c.map.pin().clear(),
        |k| {
            let mut may = unchanged(k);
            may.push(None);
            may
        },
    );
    expect(&bangs, &[HashSite, DropKey, DropValue]);
}

#[test]
fn iterate() {
    let bangs = everywhere(
        "iterate",
        // Only a step that does not begin with a bucket asks for hashes.
        |c| {
            assert_eq!(c.map.pin().iter().count(), HELD as usize);
            let (low, high) = (
                c.map.pin().range(..5 << 60).count(),
                c.map.pin().range(5 << 60..).count(),
            );
            assert_eq!(low + high, HELD as usize);
        },
        unchanged,
    );
    expect(&bangs, &[HashSite]);
}

#[test]
fn maintain_and_shrink() {
    let bangs = everywhere(
        "maintain",
        |c| {
            c.map.maintain().unwrap();
            c.map.shrink_to_fit().unwrap();
        },
        unchanged,
    );
    expect(&bangs, &[HashSite, DropKey, DropValue]);
}

/// An iterator whose key panicked goes on where it was: what stays in the map is still visited exactly once.
#[test]
fn an_iterator_survives_a_panic() {
    let _alone = alone();
    for state in STATES {
        let mut bangs = 0;
        for n in 0..20 {
            let case = case(state, Bad::Fx);
            // Some buckets have moved, so that steps ask for hashes, and most have not.
            while !case.map.maintain().unwrap() {}
            case.map.resize(100).unwrap();
            while !case.map.maintain().unwrap() {}
            case.map.resize(170).unwrap();
            case.put(5, 50);
            assert!(case.map.is_resizing());
            {
                let pinned = case.map.pin();
                let mut iter = pinned.iter();
                let mut seen = Vec::new();
                bangs += u32::from(with_bomb(Site::Hash, n, || {
                    seen.extend(iter.by_ref().map(|(k, _)| k.0))
                }));
                seen.extend(iter.map(|(k, _)| k.0));
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..HELD), "{state:?} {n}: {seen:?}");
            }
            examine(case, "iterator", unchanged);
        }
        assert!(bangs > 5, "{bangs}");
    }
}

/// A destructor that panics while the map is dropped loses no other entry: neither linked nor in the garbage.
#[test]
fn dropping_the_map() {
    let _alone = alone();
    for state in STATES {
        for site in [Site::DropKey, Site::DropValue] {
            let mut bangs = 0;
            for n in (0..20).chain((20..400).step_by(17)) {
                let Case { map, ledger } = case(state, Bad::Fx);
                if !with_bomb(site, n, || drop(map)) {
                    break;
                }
                bangs += 1;
                ledger.assert_all_dropped_once();
            }
            assert!(bangs > 20, "{bangs}");
        }
    }
}

/// A panic in one thread while others write: nobody waits for ever, and the count is right.
#[test]
fn among_other_threads() {
    let _alone = alone();
    let case = Case {
        map: HashMap::with_hasher(Bad::Fx),
        ledger: Ledger::new(),
    };
    let mut bangs = 0;
    in_time("among other threads", || {
        std::thread::scope(|s| {
            let threads: Vec<_> = (0..3u64)
                .map(|t| {
                    let case = &case;
                    s.spawn(move || {
                        LEDGER.set(Some(case.ledger.clone()));
                        let mut rng = support::Xorshift(t + 1);
                        let mut bangs = 0;
                        for i in 0..6000 {
                            let k = rng.below(200);
                            let site = SITES[rng.below(6) as usize];
                            let n = rng.below(8) as u32;
                            bangs += u32::from(with_bomb(site, n, || match rng.below(5) {
                                0 | 1 => case.put(k, i),
                                2 => drop(case.map.pin().update(&Id(k), |v| {
                                    pass(Site::Closure);
                                    case.value(v.0)
                                })),
                                3 => drop(case.map.pin().remove(&Id(k))),
                                _ => drop(case.map.pin().get_or_insert_with(case.key(k), || {
                                    pass(Site::Closure);
                                    case.value(i)
                                })),
                            }));
                            if i % 100 == 0 {
                                case.map.resize(1 + rng.below(60) as usize).unwrap();
                            }
                        }
                        LEDGER.take();
                        bangs
                    })
                })
                .collect();
            bangs = threads.into_iter().map(|t| t.join().unwrap()).sum::<u32>();
        });
    });
    assert!(bangs > 500, "{bangs}");
    assert!(keys_and_values(&case.map).keys().all(|k| *k < 200));
    case.map.maintain().unwrap();
    assert!(!case.map.is_resizing());
    drop(case.map);
    case.ledger.assert_all_dropped_once();
}
