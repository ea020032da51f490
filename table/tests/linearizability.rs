//! Histories of the whole map API are linearizable, and the checker that says so tells right from wrong.

#[path = "../examples/linearizability/history.rs"]
#[allow(dead_code)]
mod history;

use history::{Clock, Event, Op, Recorder, check};
use nulls::HashMap;

/// Events at `(called, returned)`, on one key.
fn one_key(events: &[(u64, u64, Op)]) -> Vec<Event> {
    events
        .iter()
        .map(|&(called, returned, op)| Event {
            key: 1,
            op,
            called,
            returned,
        })
        .collect()
}

#[test]
fn the_checker_accepts_what_some_order_explains() {
    use Op::{Get, GetOrInsert, Insert, Remove, TryInsert, Update};
    let right: &[&[(u64, u64, Op)]] = &[
        &[
            (0, 1, Insert(5, None)),
            (2, 3, Get(Some(5))),
            (4, 5, Remove(Some(5))),
            (6, 7, Get(None)),
        ],
        // The look-up overlaps the insertion: either answer will do.
        &[(0, 3, Insert(5, None)), (1, 2, Get(None))],
        &[(0, 3, Insert(5, None)), (1, 2, Get(Some(5)))],
        // Two look-ups during one insertion, in the only order possible.
        &[
            (0, 9, Insert(5, None)),
            (1, 2, Get(None)),
            (3, 4, Get(Some(5))),
        ],
        &[
            (0, 5, TryInsert(5, Some(6))),
            (1, 6, Insert(6, None)),
            (7, 8, Update(Some(7))),
        ],
        &[
            (0, 5, GetOrInsert(5, 6)),
            (1, 6, GetOrInsert(6, 6)),
            (7, 8, Insert(1, Some(6))),
        ],
    ];
    for h in right {
        assert!(check(one_key(h)).is_ok(), "{h:?}");
    }
}

#[test]
fn the_checker_refuses_what_none_does() {
    use Op::{Get, GetOrInsert, Insert, Remove, TryInsert, Update};
    let wrong: &[&[(u64, u64, Op)]] = &[
        &[(0, 1, Get(Some(5)))],
        &[(0, 1, Insert(5, None)), (2, 3, Get(None))],
        // Seen, then not yet there.
        &[
            (0, 9, Insert(5, None)),
            (1, 2, Get(Some(5))),
            (3, 4, Get(None)),
        ],
        // Two removals of one entry.
        &[
            (0, 1, Insert(5, None)),
            (2, 5, Remove(Some(5))),
            (3, 6, Remove(Some(5))),
        ],
        // Two first insertions.
        &[(0, 5, TryInsert(5, None)), (1, 6, TryInsert(6, None))],
        // A lost update.
        &[
            (0, 1, Insert(5, None)),
            (2, 5, Update(Some(6))),
            (3, 6, Update(Some(6))),
        ],
        &[(0, 5, GetOrInsert(5, 5)), (1, 6, GetOrInsert(6, 6))],
    ];
    for h in wrong {
        assert!(check(one_key(h)).is_err(), "{h:?}");
    }
}

#[test]
fn histories_of_the_map_are_linearizable() {
    for round in 0..20u64 {
        let map = HashMap::new();
        let clock = Clock::default();
        let events: Vec<Event> = std::thread::scope(|s| {
            let workers: Vec<_> = (0..3u64)
                .map(|t| {
                    let (map, clock) = (&map, &clock);
                    s.spawn(move || {
                        let mut x = (round * 3 + t + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let mut r = Recorder::new(clock);
                        for i in 0..400 {
                            x ^= x << 13;
                            x ^= x >> 7;
                            x ^= x << 17;
                            let (key, v) = (x % 3, x >> 32);
                            let view = map.pin();
                            match x >> 8 & 7 {
                                0..3 => r.run(key, || Op::Get(view.get(&key).copied())),
                                3 => r.run(key, || Op::Insert(v, view.insert(key, v).copied())),
                                4 => r.run(key, || Op::Remove(view.remove(&key).copied())),
                                5 => r.run(key, || {
                                    Op::GetOrInsert(v, *view.get_or_insert_with(key, || v))
                                }),
                                6 => {
                                    r.run(key, || Op::Update(view.update(&key, |v| v + 1).copied()))
                                }
                                _ => map.resize(1 + i % 4).expect("memory"),
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
