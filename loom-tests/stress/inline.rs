//! The map whose entries lie in the buckets: slots and spill lines are used again at once, and no look-up takes one for the other.
//!
//! Keys come in groups, each of more than a bucket's slots, whose hashes lie side by side and have few tags: the next key of a slot
//! is often taken for what is looked for at first, and spill lines come and go. Values say whose they are, and since when.

use crate::harness::Run;
use crate::key::Key;
use crate::scenario::Scenario;
use crate::unspread::unspread;
use crate::verdict::saw;
use bytemuck::NoUninit;
use nulls::raw::thread_stats;
use nulls::{InlineMap, InlineMapRef};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "inline/churn",
        proves: "beside two writers that use slots and spill lines again at once, a key is found exactly when it is there, with a value that it had then",
        threads: 4,
        outcomes: &["a look-up was repeated"],
        kills: &[
            "inline:skip-validation",
            "inline:tag-before-words",
            "inline:leave-without-step",
            "inline:take-from-any-version",
        ],
        body: |run| torture::<1>(run, &[32]),
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/wide-keys",
        proves: "the same with keys of seven words, and none is compared that never was",
        threads: 4,
        outcomes: &["a look-up was repeated"],
        kills: &["inline:compare-torn-keys"],
        body: |run| torture::<WIDE>(run, &[32]),
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/resize-torture",
        proves: "the same while the table goes through lengths of all kinds without a pause",
        threads: 5,
        outcomes: &["a look-up was repeated", "resized"],
        kills: &["inline:ignore-moved", "inline:moved-before-placed"],
        body: |run| torture::<1>(run, LENGTHS),
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/update",
        proves: "of two threads' updates none is lost, and a key whose value is overwritten all the time is never missed, whatever length the table takes meanwhile",
        threads: 4,
        outcomes: &["read", "resized"],
        kills: &[
            "inline:leave-without-step",
            "inline:take-from-any-version",
            "inline:moved-before-placed",
        ],
        body: update,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/one-winner",
        proves: "of several inserters of one key exactly one succeeds, and of several removers",
        threads: 3,
        outcomes: &["inserted", "removed"],
        kills: &["inline:take-from-any-version", "inline:leave-without-step"],
        body: one_winner,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/iterate",
        proves: "iteration yields what stays exactly once and nothing twice, beside a writer and whatever length the table takes meanwhile",
        threads: 4,
        outcomes: &["iterated", "resized"],
        kills: &["inline:end-of-last-only"],
        body: iterate,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "inline/clear",
        proves: "what was there before a clearing is gone after it, whatever length the table takes meanwhile",
        threads: 3,
        outcomes: &["cleared", "resized"],
        body: clear,
        ..Scenario::DEFAULT
    },
];

/// Keys that come into one bucket, whatever the table's length.
const GROUP: u64 = 32;
const GROUPS: u64 = 4;
const KEYS: u64 = GROUP * GROUPS;
/// Words of a wide key: a spill line holds one entry.
const WIDE: usize = 7;
/// Lengths of all kinds. Where they are too short for the entries, the table grows by itself in between.
const LENGTHS: &[usize] = &[1, 2, 3, 5, 8, 7, 13, 4, 16, 6];

/// Groups spread over all buckets; a group has four tags.
#[derive(Default)]
struct Grouped(u64);

impl Hasher for Grouped {
    fn finish(&self) -> u64 {
        let spread = (self.0 / GROUP).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        unspread((spread & !0x7f) | (self.0 % 4))
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys hash as one word");
    }
    fn write_u64(&mut self, k: u64) {
        self.0 = k;
    }
}

type Map<const N: usize, V = u64> = InlineMap<Key<N>, V, BuildHasherDefault<Grouped>>;
type View<'m, const N: usize> = InlineMapRef<'m, Key<N>, u64, BuildHasherDefault<Grouped>>;

fn resize<const N: usize, V: NoUninit>(map: &Map<N, V>, buckets: usize) {
    map.resize(buckets).expect("memory for a small array");
    map.maintain().expect("memory for a few lines");
    saw("resized");
}

/// Takes a map through all lengths until time is over.
fn resize_on<const N: usize, V: NoUninit>(run: &Run, map: &Map<N, V>) {
    for &n in LENGTHS.iter().cycle() {
        if !run.go_on() {
            return;
        }
        resize(map, n);
    }
}

/// Value number `version` of key `k`.
fn value(k: u64, version: u64) -> u64 {
    k << 48 | version
}

/// The version that a value of key `k` is.
fn version(k: u64, value: u64) -> u64 {
    assert_eq!(value >> 48, k, "key {k} has another one's value");
    value & ((1 << 48) - 1)
}

/// A map of all keys, and what is known of each: four times the version of its value, and one of the constants below. Only
/// the key's owner writes it, before and after what it says.
struct World<const N: usize> {
    map: Map<N>,
    states: Vec<AtomicU64>,
}

/// At 0 the version before is gone.
const INSERTING: u64 = 1;
const THERE: u64 = 2;
const REMOVING: u64 = 3;

impl<const N: usize> World<N> {
    fn new(buckets: usize) -> Self {
        let map = Map::with_capacity_and_hasher(0, Default::default());
        map.resize(buckets).expect("memory for a small array");
        map.maintain().expect("memory for a few lines");
        for k in 0..KEYS {
            map.pin().insert(Key::of(k), value(k, 0));
        }
        Self {
            map,
            states: (0..KEYS).map(|_| AtomicU64::new(THERE)).collect(),
        }
    }

    /// Looks a key up, and whether the result fits what was known of it before and after.
    fn look(&self, view: &View<'_, N>, k: u64) {
        let state = &self.states[k as usize];
        let before = state.load(Acquire);
        let found = view.get(&Key::of(k));
        let after = state.load(Acquire);
        match found {
            Some(v) => {
                let at = 4 * version(k, v);
                assert!(
                    before <= at + REMOVING && at + INSERTING <= after,
                    "key {k} is found as {at} between {before} and {after}"
                );
            }
            None => assert!(
                before != after || before % 4 != THERE,
                "key {k} is missed at {before}"
            ),
        }
    }

    /// Removes a key that is there, or inserts one that is not with a new value. The caller owns the key.
    fn toggle(&self, view: &View<'_, N>, k: u64) {
        let state = &self.states[k as usize];
        let now = state.load(Relaxed);
        let (key, value) = (Key::of(k), value(k, now / 4));
        state.store(now + 1, Release);
        if now % 4 == THERE {
            assert_eq!(view.remove(&key), Some(value), "key {k} at its remover");
        } else {
            assert_eq!(view.insert(key, value), None, "key {k} at its inserter");
        }
        state.store(now + 2, Release);
        self.look(view, k);
    }

    /// The keys of a group that have this owner; nobody owns those of owner 0, which stay.
    fn owned(group: u64, owner: u64) -> impl Iterator<Item = u64> {
        (group * GROUP..(group + 1) * GROUP).filter(move |k| k % 3 == owner)
    }

    /// Toggles all keys of one group after the other that have this owner, until time is over.
    fn toggle_on(&self, run: &Run, owner: u64) {
        let mut random = Run::seed(owner as usize);
        while run.go_on() {
            let group = Run::random(&mut random, GROUPS);
            let view = self.map.pin();
            Self::owned(group, owner).for_each(|k| self.toggle(&view, k));
        }
    }
}

/// Two writers with keys of their own, two readers of all keys, and a resizer if there are several lengths.
fn torture<const N: usize>(run: &Run, lengths: &[usize]) {
    let world = World::<N>::new(lengths[0]);
    let resizers = usize::from(lengths.len() > 1);
    run.threads(4 + resizers, |i| match i {
        0 | 1 => world.toggle_on(run, 1 + i as u64),
        2 | 3 => {
            let mut random = Run::seed(i);
            while run.go_on() {
                world.look(&world.map.pin(), Run::random(&mut random, KEYS));
            }
            if thread_stats().restarts > 0 {
                saw("a look-up was repeated");
            }
        }
        _ => resize_on(run, &world.map),
    });
    let view = world.map.pin();
    (0..KEYS).for_each(|k| world.look(&view, k));
    let there = |s: &&AtomicU64| s.load(Relaxed) % 4 == THERE;
    let entries = world.states.iter().filter(there).count();
    assert_eq!((view.len(), view.iter().count()), (entries, entries));
}

fn update(run: &Run) {
    /// Keys of one bucket.
    const HOT: usize = 4;
    // Each updater counts in a half of its own.
    let map = Map::<1, [u32; 2]>::default();
    for k in 0..HOT as u64 {
        map.pin().insert(Key::of(k), [0; 2]);
    }
    run.threads(4, |i| {
        let mut random = Run::seed(i);
        match i {
            0 | 1 => {
                let mut done = [0; HOT];
                let add = |mut v: [u32; 2]| {
                    v[i] += 1;
                    v
                };
                while run.go_on() {
                    let k = Run::random(&mut random, HOT as u64);
                    let (view, key) = (map.pin(), Key::of(k));
                    let new = if Run::random(&mut random, 2) == 0 {
                        view.update(&key, add)
                    } else {
                        let mut now = view.get(&key);
                        loop {
                            let old = now.expect("a key that stays is missed");
                            match view.compare_exchange(&key, old, add(old)) {
                                Ok(_) => break Some(add(old)),
                                Err(other) => now = other,
                            }
                        }
                    };
                    done[k as usize] += 1;
                    let mine = new.map(|v| v[i]);
                    assert_eq!(mine, Some(done[k as usize]), "an update is lost");
                }
            }
            2 => {
                let mut last = [[0; 2]; HOT];
                while run.go_on() {
                    let k = Run::random(&mut random, HOT as u64);
                    let found = map.pin().get(&Key::of(k));
                    let now = found.expect("a key that stays is missed");
                    let before = std::mem::replace(&mut last[k as usize], now);
                    assert!(
                        before[0] <= now[0] && before[1] <= now[1],
                        "from {before:?} back to {now:?}"
                    );
                }
                saw("read");
            }
            _ => resize_on(run, &map),
        }
    });
    assert_eq!(map.len(), HOT);
}

fn one_winner(run: &Run) {
    const THREADS: usize = 3;
    let map = Map::<1>::default();
    let wins: [AtomicU64; GROUP as usize] = std::array::from_fn(|_| AtomicU64::new(0));
    let barrier = Barrier::new(THREADS);
    let on = AtomicBool::new(true);
    run.threads(THREADS, |i| {
        // All threads are in the same round, and go through the same keys.
        while on.load(Relaxed) {
            for (k, wins) in (0..).zip(&wins) {
                if map.pin().try_insert(Key::of(k), value(k, 0)).is_ok() {
                    let before = wins.fetch_add(1, AcqRel);
                    assert_eq!(before, 0, "two inserters of one key succeed");
                }
            }
            barrier.wait();
            for (k, wins) in (0..).zip(&wins) {
                if map.pin().remove(&Key::of(k)).is_some() {
                    let before = wins.fetch_sub(1, AcqRel);
                    assert_eq!(before, 1, "two removers of one key succeed");
                }
            }
            barrier.wait();
            if i == 0 {
                let left = wins.iter().map(|w| w.load(Relaxed)).sum::<u64>();
                assert_eq!((left, map.len()), (0, 0), "nobody removes what was there");
                on.store(run.go_on(), Relaxed);
            }
            barrier.wait();
        }
    });
    saw("inserted");
    saw("removed");
}

fn iterate(run: &Run) {
    let world = World::<WIDE>::new(LENGTHS[0]);
    run.threads(4, |i| match i {
        0 => resize_on(run, &world.map),
        1 => world.toggle_on(run, 1),
        _ => {
            while run.go_on() {
                let mut seen = [0; KEYS as usize];
                for (key, value) in world.map.pin().iter() {
                    version(key.number(), value);
                    seen[key.number() as usize] += 1;
                }
                for (k, n) in (0..KEYS).zip(seen) {
                    assert!(
                        n == 1 || n == 0 && k % 3 == 1,
                        "key {k} is yielded {n} times"
                    );
                }
                saw("iterated");
            }
        }
    });
}

fn clear(run: &Run) {
    let world = World::<1>::new(LENGTHS[0]);
    run.threads(3, |i| match i {
        0 => resize_on(run, &world.map),
        // Alone in inserting, and in removing.
        1 => {
            while run.go_on() {
                let view = world.map.pin();
                view.clear();
                assert_eq!((view.len(), view.iter().next()), (0, None), "cleared");
                for k in 0..KEYS {
                    assert_eq!(view.get(&Key::of(k)), None, "key {k} is left");
                    assert_eq!(view.insert(Key::of(k), value(k, 0)), None);
                }
                saw("cleared");
            }
        }
        _ => {
            let mut random = Run::seed(i);
            while run.go_on() {
                let k = Run::random(&mut random, KEYS);
                if let Some(v) = world.map.pin().get(&Key::of(k)) {
                    version(k, v);
                }
            }
        }
    });
}
