//! Iteration, ranges and cursors: what stays is visited exactly once, whatever resizes and writes go on.

mod support;

use nulls::HashMap;
use std::collections::HashMap as Std;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::thread;
use support::{Bad, Xorshift, in_time};

/// Runs `look` while the map grows and shrinks without a pause and other keys come and go. At least `resizes` have ended.
fn under_fire(hasher: Bad, stay: u64, rounds: usize, look: impl Fn(&HashMap<u64, u64, Bad>)) {
    let map = HashMap::with_hasher(hasher);
    (0..stay).for_each(|k| _ = map.pin().insert(k, k));
    let (done, resizes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|s| {
        s.spawn(|| {
            let mut rng = Xorshift(7);
            while !done.load(Relaxed) {
                map.resize(1 + rng.below(stay) as usize).unwrap();
                map.maintain().unwrap();
                resizes.fetch_add(1, Relaxed);
            }
        });
        s.spawn(|| {
            let mut rng = Xorshift(8);
            while !done.load(Relaxed) {
                let k = stay + rng.below(stay);
                map.pin().insert(k, k);
                map.pin().remove(&(stay + rng.below(stay)));
                // Those that stay are replaced, too: they are found as they were or as they are.
                map.pin().update(&rng.below(stay), |v| *v);
            }
        });
        for _ in 0..rounds {
            look(&map);
        }
        while resizes.load(Relaxed) < 20 {
            look(&map);
        }
        done.store(true, Relaxed);
    });
}

fn assert_once(stay: u64, keys: impl Iterator<Item = u64>) {
    let mut visits = vec![0u8; stay as usize];
    for k in keys.filter(|k| *k < stay) {
        visits[k as usize] += 1;
    }
    let wrong: Vec<usize> = (0..visits.len()).filter(|k| visits[*k] != 1).collect();
    assert!(
        wrong.is_empty(),
        "{} of {stay}, such as {}: {} times",
        wrong.len(),
        wrong[0],
        visits[wrong[0]]
    );
}

/// Good hashes, then a few hundred chains of many lines, then one chain for all.
const SHAPES: [(Bad, u64, usize); 3] = [
    (Bad::Fx, 20_000, 20),
    (Bad::Low, 2_000, 20),
    (Bad::Constant, 300, 50),
];

#[test]
fn everything_that_stays_is_visited_once() {
    in_time("iteration", || {
        for (hasher, stay, rounds) in SHAPES {
            under_fire(hasher, stay, rounds, |map| {
                assert_once(stay, map.pin().keys().copied());
            });
        }
    });
}

#[test]
fn cursors_are_resumed_without_a_guard() {
    in_time("cursors", || {
        for (hasher, stay, rounds) in SHAPES {
            under_fire(hasher, stay, rounds, |map| {
                let (mut cursor, mut keys, mut calls) = (Some(0), Vec::new(), 0);
                while let Some(from) = cursor {
                    let before = keys.len();
                    cursor = map.pin().scan(from, 50, |k, _| keys.push(*k));
                    assert!(cursor.is_none() || keys.len() >= before + 50);
                    assert!(cursor.is_none_or(|next| next > from), "a step forwards");
                    calls += 1;
                }
                assert!(calls > 1 || stay < 1000);
                assert_once(stay, keys.into_iter());
            });
        }
    });
}

#[test]
fn ranges_tile() {
    in_time("ranges", || {
        for (hasher, stay, rounds) in SHAPES {
            under_fire(hasher, stay, rounds, |map| {
                let mut rng = Xorshift(9);
                let mut cuts: Vec<u64> = (0..40).map(|_| rng.next()).collect();
                cuts.sort_unstable();
                let mut keys = Vec::new();
                let mut from = 0;
                for cut in cuts {
                    let view = map.pin();
                    let part = view.range(from..cut);
                    for (k, _) in part {
                        assert!((from..cut).contains(&map.hash_of(k)));
                        keys.push(*k);
                    }
                    from = cut;
                }
                keys.extend(map.pin().range(from..).map(|(k, _)| *k));
                assert_once(stay, keys.into_iter());
            });
        }
    });
}

/// Exactly those of the interval, whatever its bounds and the number of buckets.
#[test]
fn ranges_are_exact() {
    for hasher in [Bad::Fx, Bad::Low, Bad::Constant] {
        let map = HashMap::with_hasher(hasher);
        (0..500u64).for_each(|k| _ = map.pin().insert(k, k));
        let hashes: Std<u64, u64> = (0..500).map(|k| (k, map.hash_of(&k))).collect();
        let mut rng = Xorshift(4);
        for buckets in [1, 2, 7, 100, 333, 5000] {
            map.resize(buckets).unwrap();
            map.maintain().unwrap();
            for i in 0..60 {
                // Bounds are often hashes themselves, and often ends of buckets.
                let pick = |rng: &mut Xorshift| match rng.below(4) {
                    0 => rng.next(),
                    1 => 0,
                    2 => hashes[&rng.below(500)],
                    _ => nulls::scale::interval_start(rng.below(buckets as u64), buckets as u64)
                        as u64,
                };
                let (a, b) = (pick(&mut rng), pick(&mut rng));
                let (a, b) = (a.min(b), a.max(b));
                let view = map.pin();
                let expect =
                    |inside: &dyn Fn(u64) -> bool| hashes.values().filter(|h| inside(**h)).count();
                assert_eq!(
                    view.range(a..b).count(),
                    expect(&|h| a <= h && h < b),
                    "{i}"
                );
                assert_eq!(
                    view.range(a..=b).count(),
                    expect(&|h| a <= h && h <= b),
                    "{i}"
                );
                assert_eq!(view.range(..b).count(), expect(&|h| h < b), "{i}");
                assert_eq!(view.range(b..).count(), expect(&|h| h >= b), "{i}");
                assert_eq!(view.range(b..a).count(), 0);
                assert_eq!(view.range(..).count(), 500);
            }
        }
    }
}

/// A group of equal hashes is never split, and the end is reached from any cursor.
#[test]
fn scans_keep_groups_together() {
    let map = HashMap::with_hasher(Bad::Low);
    (0..256 * 40u64).for_each(|k| _ = map.pin().insert(k, k));
    let mut cursor = Some(0);
    let mut groups: Std<u64, usize> = Std::new();
    while let Some(from) = cursor {
        let mut step: Std<u64, usize> = Std::new();
        cursor = map
            .pin()
            .scan(from, 1, |k, _| *step.entry(k & 0xff).or_default() += 1);
        for (group, n) in step {
            assert_eq!(n, 40);
            assert!(groups.insert(group, n).is_none());
        }
    }
    assert_eq!(groups.len(), 256);
    assert_eq!(map.pin().scan(u64::MAX, 1, |_, _| ()), None);
    assert_eq!(map.pin().scan(0, usize::MAX, |_, _| ()), None);
}

/// Iterators may be cloned half-way, and stay at their end.
#[test]
fn clones_and_ends() {
    let map: HashMap<u32, u32> = (0..1000).map(|i| (i, i)).collect();
    let view = map.pin();
    let mut iter = view.iter();
    iter.by_ref().take(333).for_each(drop);
    let (mut a, mut b): (Vec<_>, Vec<_>) = (iter.clone().collect(), iter.by_ref().collect());
    assert_eq!((a.len(), iter.next(), iter.next()), (667, None, None));
    a.sort();
    b.sort();
    assert_eq!(a, b);
    assert_eq!(HashMap::<u8, u8>::new().pin().iter().next(), None);
}
