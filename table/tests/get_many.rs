//! Batched look-ups against single ones.

mod support;

use nulls::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::thread;
use support::{Bad, Xorshift};

fn many<'a>(
    pinned: &'a nulls::HashMapRef<'_, u64, u64, Bad>,
    keys: &[u64],
) -> Vec<Option<&'a u64>> {
    let refs: Vec<&u64> = keys.iter().collect();
    let mut all = Vec::new();
    pinned.get_many(&refs, |i, v| {
        assert_eq!(i, all.len(), "in order, each once");
        all.push(v);
    });
    assert_eq!(all.len(), keys.len());
    all
}

/// Batches of every length around the sizes in which they are processed, with keys that are there, that are not, and
/// that occur several times.
#[test]
fn every_length() {
    for hasher in [Bad::Identity, Bad::Low, Bad::Constant] {
        let map = HashMap::with_hasher(hasher);
        let mut rng = Xorshift(1);
        assert!(many(&map.pin(), &[]).is_empty());
        assert_eq!(many(&map.pin(), &[1, 2, 1]), [None; 3]);
        let n = if hasher == Bad::Constant { 200 } else { 3000 };
        (0..n).for_each(|k| _ = map.pin().insert(k * 2, k));
        for state in 0..2 {
            for len in (0..70).chain([127, 128, 129, 1000, if n > 1000 { 20_000 } else { 1001 }]) {
                let keys: Vec<u64> = (0..len).map(|_| rng.below(2 * n + 10)).collect();
                let pinned = map.pin();
                let all = many(&pinned, &keys);
                for (k, v) in keys.iter().zip(all) {
                    assert_eq!(v, pinned.get(k));
                    assert_eq!(v.copied(), (k % 2 == 0 && *k < 2 * n).then_some(k / 2));
                }
            }
            if state == 0 {
                map.maintain().unwrap();
                // In the middle of a resize the second time.
                map.resize(map.stats().table.buckets * 3 + 1).unwrap();
                map.pin().insert(0, 0);
                assert!(map.is_resizing());
            }
        }
    }
}

/// What is there all the time is found in every batch, what never is is never found, and what comes and goes is found
/// whole, while the table grows and shrinks.
#[test]
fn under_concurrent_resizes() {
    const STABLE: u64 = 4000;
    let map = HashMap::with_hasher(Bad::Fx);
    (0..STABLE).for_each(|k| _ = map.pin().insert(k * 3, !(k * 3)));
    let stop = AtomicBool::new(false);
    let (looked, resizes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|s| {
        for t in 0..2u64 {
            let (map, stop, looked) = (&map, &stop, &looked);
            s.spawn(move || {
                let mut rng = Xorshift(t + 1);
                while !stop.load(Relaxed) || looked.load(Relaxed) < 100_000 {
                    let keys: Vec<u64> =
                        (0..rng.below(300)).map(|_| rng.below(3 * STABLE)).collect();
                    let pinned = map.pin();
                    for (k, v) in keys.iter().zip(many(&pinned, &keys)) {
                        match k % 3 {
                            0 => assert_eq!(v, Some(&!k), "{k} is always there"),
                            1 => assert_eq!(v, None, "{k} is never there"),
                            _ => assert!(v.is_none_or(|v| *v == !k)),
                        }
                    }
                    looked.fetch_add(keys.len(), Relaxed);
                }
            });
        }
        s.spawn(|| {
            let mut rng = Xorshift(5);
            while !stop.load(Relaxed) {
                let k = rng.below(STABLE) * 3 + 2;
                if rng.below(2) == 0 {
                    map.pin().insert(k, !k);
                } else {
                    map.pin().remove(&k);
                }
            }
        });
        let mut rng = Xorshift(6);
        for _ in 0..150 {
            map.resize(1 + rng.below(3000) as usize).unwrap();
            map.maintain().unwrap();
            resizes.fetch_add(1, Relaxed);
        }
        stop.store(true, Relaxed);
    });
    assert!(looked.into_inner() >= 100_000);
}

/// A table that grows by itself while batches of what is certainly in are looked up.
#[test]
fn under_growth() {
    let map = HashMap::with_hasher(Bad::Identity);
    let inserted = AtomicUsize::new(0);
    const ALL: usize = 100_000;
    thread::scope(|s| {
        s.spawn(|| {
            for k in 0..ALL as u64 {
                map.pin().insert(k, k + 1);
                inserted.store(k as usize + 1, Release);
            }
        });
        let mut rng = Xorshift(7);
        let mut batches = 0;
        while inserted.load(Acquire) < ALL || batches < 50 {
            let there = inserted.load(Acquire) as u64;
            let keys: Vec<u64> = (0..64.min(there)).map(|_| rng.below(there)).collect();
            let pinned = map.pin();
            assert!(
                keys.iter()
                    .zip(many(&pinned, &keys))
                    .all(|(k, v)| v == Some(&(k + 1)))
            );
            batches += 1;
        }
    });
    assert_eq!(map.len(), ALL);
}
