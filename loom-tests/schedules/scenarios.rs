//! The scenarios.

use crate::history::{Clock, Event, Op, Recorder, check};
use crate::key::Key;
use crate::scenario::Scenario;
use crate::unspread::unspread;
use crate::verdict::saw;
use nulls::pool::{Entry, Pool};
use nulls::raw::{InsertError, Table};
use nulls::{HashMap, InlineInsertError, InlineMap, TryInsertError, rcu};
use shuttle::rand::{Rng, thread_rng};
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "map/history",
        proves: "every history of the whole map API has an order that explains it, while the table changes its length",
        threads: 3,
        outcomes: &["explained"],
        kills: &[
            "line:replace-by-remove-and-insert",
            "ticket:take-from-any-version",
            "ticket:leave-without-step",
            "find:skip-moved-check",
            "resize:moved-before-placed",
        ],
        body: map_history,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "map/grow",
        proves: "four writers grow a map from one bucket through several generations and lose nothing",
        threads: 4,
        outcomes: &["grown"],
        kills: &["resize:moved-before-placed", "ticket:leave-without-step"],
        body: map_grow,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "map/iterate",
        proves: "iteration yields what stays exactly once beside two writers and any resizes",
        threads: 4,
        outcomes: &["iterated"],
        kills: &["cursor:end-of-last-only"],
        body: map_iterate,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "map/values",
        proves: "a value outlives the view that found it, beside two writers that replace, remove and reclaim",
        threads: 4,
        outcomes: &["read", "missed"],
        kills: &["rcu:ignore-active-reader"],
        body: map_values,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/history",
        proves: "every history of the whole API of the inline map has an order that explains it, while the table changes its length",
        threads: 3,
        outcomes: &["explained"],
        kills: &[
            "inline:skip-validation",
            "inline:tag-before-words",
            "inline:leave-without-step",
            "inline:take-from-any-version",
            "inline:moved-before-placed",
            "inline:ignore-moved",
        ],
        body: inline_history::<1>,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/history-of-wide-keys",
        proves: "the same with keys of two words, and none is compared that never was",
        threads: 3,
        outcomes: &["explained"],
        kills: &["inline:compare-torn-keys", "inline:skip-validation"],
        body: inline_history::<2>,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/spill",
        proves: "what stays in a spill line is found beside two writers whose spill lines go from bucket to bucket",
        threads: 4,
        outcomes: &["found"],
        kills: &["inline:free-before-leave", "inline:skip-validation"],
        body: inline_spill,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/iterate",
        proves: "iteration yields what stays exactly once beside two writers and any resizes",
        threads: 4,
        outcomes: &["iterated"],
        kills: &["inline:end-of-last-only"],
        body: inline_iterate,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "table/two-keys",
        proves: "entries under two keys go in and out whole under crossing locks and resizes",
        threads: 4,
        outcomes: &["done"],
        kills: &["ticket:take-from-any-version"],
        body: two_keys,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "pool/churn",
        proves: "a reference holds the entry of its key while three threads reuse few slots",
        threads: 4,
        outcomes: &["had", "not had"],
        kills: &["pool:raise-from-zero", "pool:recycle-before-last"],
        body: pool_churn,
        ..Scenario::DEFAULT
    },
];

type Map<V> = HashMap<u64, V, BuildHasherDefault<DefaultHasher>>;

fn spawn_all(threads: usize, work: impl Fn(usize) + Send + Sync + 'static) {
    let work = Arc::new(work);
    let all: Vec<_> = (0..threads)
        .map(|i| {
            let work = work.clone();
            shuttle::thread::spawn(move || work(i))
        })
        .collect();
    for t in all {
        t.join().expect("no operation panics");
    }
}

/// Three threads do things to few keys: what, to which, and with what value is left to chance. Some order must explain what they see.
fn history(
    keys: u64,
    operation: impl Fn(&mut Recorder<'_>, u32, u64, u64) + Send + Sync + 'static,
) {
    let events = Arc::new(std::sync::Mutex::new(Vec::<Event>::new()));
    {
        let (clock, events) = (Clock::default(), events.clone());
        spawn_all(3, move |_| {
            let mut r = Recorder::new(&clock);
            for _ in 0..7 {
                let (what, key, v) = {
                    let mut rng = thread_rng();
                    (
                        rng.gen_range(0..9),
                        rng.gen_range(0..keys),
                        rng.gen_range(0..1u64 << 32),
                    )
                };
                operation(&mut r, what, key, v);
            }
            events.lock().unwrap().extend(r.into_events());
        });
    }
    let events = std::mem::take(&mut *events.lock().unwrap());
    if let Err(v) = check(events) {
        panic!("no order explains key {}: {:?}", v.key, v.events);
    }
    saw("explained");
}

fn map_history() {
    let map = Map::default();
    history(3, move |r, what, key, v| {
        let view = map.pin();
        match what {
            0 | 1 => r.run(key, || Op::Get(view.get(&key).copied())),
            2 => r.run(key, || Op::Insert(v, view.insert(key, v).copied())),
            3 => r.run(key, || Op::Remove(view.remove(&key).copied())),
            4 => r.run(key, || {
                Op::GetOrInsert(v, *view.get_or_insert_with(key, || v))
            }),
            5 => r.run(key, || Op::Update(view.update(&key, |v| v + 1).copied())),
            6 => r.run(key, || {
                let there = match view.try_insert(key, v) {
                    Ok(_) => None,
                    Err(TryInsertError::Occupied { current, .. }) => Some(*current),
                    Err(e) => panic!("{e}"),
                };
                Op::TryInsert(v, there)
            }),
            7 => r.run(key, || {
                let mut found = None;
                view.get_many(&[&key], |_, v| found = v.copied());
                Op::Get(found)
            }),
            _ => map.resize(1 + (v % 4) as usize).expect("memory"),
        }
    });
}

fn map_grow() {
    let map = Arc::new(Map::default());
    {
        let map = map.clone();
        spawn_all(4, move |t| {
            for i in 0..3 {
                let k = (t * 3 + i) as u64;
                assert!(map.pin().insert(k, k).is_none());
                assert_eq!(map.pin().get(&k), Some(&k), "an inserted key is missed");
            }
        });
    }
    map.maintain().expect("memory");
    assert_eq!(map.len(), 12);
    assert!((0..12).all(|k| map.pin().get(&k) == Some(&k)));
    assert!(!map.is_resizing());
    saw("grown");
}

fn map_iterate() {
    const STAY: u64 = 4;
    let map = Arc::new(Map::default());
    for k in 0..STAY {
        map.pin().insert(k, k);
    }
    {
        let map = map.clone();
        spawn_all(4, move |t| match t {
            0 | 1 => {
                let view = map.pin();
                let mut all: Vec<u64> =
                    view.iter().map(|(k, _)| *k).filter(|k| *k < STAY).collect();
                all.sort_unstable();
                assert_eq!(all, [0, 1, 2, 3], "what stays, once");
                saw("iterated");
            }
            _ => {
                for i in 0..4u64 {
                    let k = STAY + i;
                    map.pin().insert(k, k);
                    map.resize(1 + ((t as u64 + 3 * i) % 5) as usize)
                        .expect("memory");
                    map.pin().remove(&k);
                }
            }
        });
    }
}

/// Notices use after its drop.
struct Canary(Arc<AtomicBool>);

impl Canary {
    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        assert!(self.0.swap(false, SeqCst), "dropped twice");
    }
}

fn map_values() {
    let map: Arc<Map<Canary>> = Arc::new(Map::default());
    {
        let map = map.clone();
        spawn_all(4, move |t| {
            for i in 0..4u64 {
                let k = i % 2;
                let view = map.pin();
                if t < 2 {
                    let Some(v) = view.get(&k) else {
                        saw("missed");
                        continue;
                    };
                    let live = v.0.clone();
                    for _ in 0..4 {
                        assert!(live.load(SeqCst), "dropped under a reader");
                        shuttle::thread::yield_now();
                    }
                    saw("read");
                } else if thread_rng().gen_bool(0.7) {
                    view.insert(k, Canary::new());
                } else {
                    view.remove(&k);
                }
            }
        });
    }
}

/// All keys have one tag. Two in a row lie in the one half of the hash space, the next two in the other.
#[derive(Default)]
struct Halves(u64);

impl Hasher for Halves {
    fn finish(&self) -> u64 {
        unspread((self.0 / 2) << 63)
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys hash as one word");
    }
    fn write_u64(&mut self, k: u64) {
        self.0 = k;
    }
}

type Inline<const N: usize> = InlineMap<Key<N>, u64, BuildHasherDefault<Halves>>;

fn inline_history<const N: usize>() {
    let map = Inline::<N>::default();
    history(4, move |r, what, k, v| {
        let (view, key) = (map.pin(), Key::of(k));
        match what {
            0 => r.run(k, || Op::Get(view.get(&key))),
            1 => r.run(k, || {
                let mut found = None;
                view.get_many(&[key], |_, v| found = v);
                Op::Get(found)
            }),
            2 => r.run(k, || Op::Insert(v, view.insert(key, v))),
            3 => r.run(k, || Op::Remove(view.remove(&key))),
            4 => r.run(k, || Op::RemoveIfEven(view.remove_if(&key, |v| v % 2 == 0))),
            5 => r.run(k, || Op::GetOrInsert(v, view.get_or_insert(key, v))),
            6 => r.run(k, || Op::Update(view.update(&key, |v| v + 1))),
            7 => r.run(k, || {
                let there = match view.try_insert(key, v) {
                    Ok(()) => None,
                    Err(InlineInsertError::Occupied { current }) => Some(current),
                    Err(e) => panic!("{e}"),
                };
                Op::TryInsert(v, there)
            }),
            _ => map.resize(1 + (v % 4) as usize).expect("memory"),
        }
    });
}

fn inline_spill() {
    const STAY: u64 = 8;
    // A spill line holds one entry. Two buckets; what is in their own slots and in their last two lines stays.
    let map = Inline::<5>::with_capacity_and_hasher(16, Default::default());
    for k in 0..2 * STAY {
        map.pin().insert(Key::of(k), k);
    }
    spawn_all(4, move |t| {
        for _ in 0..6 {
            let n = thread_rng().gen_range(0..STAY / 2);
            let view = map.pin();
            if t < 2 {
                // Each writer has every other one of those that come and go.
                let k = STAY + 2 * n + t as u64;
                if view.remove(&Key::of(k)).is_none() {
                    assert_eq!(view.insert(Key::of(k), k), None);
                }
            } else {
                let k = STAY / 2 + n;
                assert_eq!(view.get(&Key::of(k)), Some(k), "what stays is missed");
                saw("found");
            }
        }
    });
}

fn inline_iterate() {
    const STAY: u64 = 4;
    let map = Inline::<1>::default();
    for k in 0..STAY {
        map.pin().insert(Key::of(k), k);
    }
    spawn_all(4, move |t| match t {
        0 | 1 => {
            let view = map.pin();
            let mut all: Vec<u64> = view.iter().map(|(_, k)| k).filter(|k| *k < STAY).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3], "what stays, once");
            saw("iterated");
        }
        _ => {
            for i in 0..4u64 {
                let k = STAY + i;
                map.pin().insert(Key::of(k), k);
                map.resize(1 + ((t as u64 + 3 * i) % 5) as usize)
                    .expect("memory");
                map.pin().remove(&Key::of(k));
            }
        }
    });
}

fn two_keys() {
    let table = Arc::new(Table::new());
    // Handles 2e and 2e + 1 are an entry's two keys; the hashes spread over everything.
    let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    {
        let table = table.clone();
        spawn_all(4, move |t| {
            if t == 3 {
                for n in [2, 3, 1, 4] {
                    table.resize(n).expect("memory");
                    shuttle::thread::yield_now();
                }
                return;
            }
            // All three work on the same two entries.
            for e in [1, 2, 1] {
                let guard = rcu::pin();
                let (x, y) = (2 * e, 2 * e + 1);
                loop {
                    let p = table.probe(&guard, hash(x), |z| z == x, &hash);
                    let q = table.probe(&guard, hash(y), |z| z == y, &hash);
                    let written = match (p.hit(), q.hit()) {
                        (None, None) => match table.insert2(p, x, q, y) {
                            Ok(w) => w,
                            Err(InsertError::Stale) => continue,
                            Err(e) => panic!("{e:?}"),
                        },
                        (Some(_), Some(_)) => match table.remove2(p, q) {
                            Ok((_, w)) => w,
                            Err(_) => continue,
                        },
                        // The other two are between this probe and that.
                        _ => continue,
                    };
                    written.assist(&guard, &hash);
                    break;
                }
            }
        });
    }
    table.maintain(&hash).expect("memory");
    let guard = rcu::pin();
    let there = |x: u32| {
        table
            .find(&guard, hash(x), |z| (z == x).then_some(()))
            .is_some()
    };
    let mut entries = 0;
    for e in [1, 2] {
        assert_eq!(there(2 * e), there(2 * e + 1), "half an entry is left");
        entries += usize::from(there(2 * e));
    }
    assert_eq!(table.len(), 2 * entries);
    saw("done");
}

#[derive(Default)]
struct Slot {
    key: AtomicUsize,
    twin: AtomicUsize,
}

impl Slot {
    fn set(&self, key: usize) {
        self.key.store(key, Relaxed);
        shuttle::thread::yield_now();
        self.twin.store(key, Relaxed);
    }
}

impl Entry for Slot {
    fn recycle(&self) {
        self.set(0);
    }
}

fn pool_churn() {
    let pool = Arc::new(Pool::<Slot>::with_capacity(3));
    spawn_all(4, move |t| {
        for i in 1..4usize {
            if t < 3 {
                if let Ok(e) = pool.alloc() {
                    e.set(10 * t + i);
                    let r = e.publish();
                    shuttle::thread::yield_now();
                    assert_eq!(
                        r.key.load(Relaxed),
                        10 * t + i,
                        "recycled under a reference"
                    );
                    drop(r);
                }
            } else {
                for handle in 1..4 {
                    match pool.try_get(handle) {
                        Some(r) => {
                            let key = r.key.load(Relaxed);
                            for _ in 0..3 {
                                shuttle::thread::yield_now();
                                assert_eq!(
                                    (r.key.load(Relaxed), r.twin.load(Relaxed)),
                                    (key, key),
                                    "recycled under a reference"
                                );
                            }
                            saw("had");
                        }
                        None => saw("not had"),
                    }
                }
            }
        }
    });
}
