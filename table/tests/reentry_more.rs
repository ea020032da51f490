//! As `reentry`, for `compute`, entries, conditional removals, `retain` and `drain`.

mod support;

use nulls::{Compute, Entry, HashMap, Operation};
use support::{Bad, in_time};

/// Another key of the same bucket is no reason to decide again; the same key is.
#[test]
fn closures_write_to_the_bucket_they_decide_about() {
    in_time("closures", || {
        for hasher in [Bad::Fx, Bad::Constant] {
            let map = HashMap::with_hasher(hasher);
            let pinned = map.pin();
            pinned.insert(1u64, 10u64);
            let mut calls = 0;
            let mut noise = |k: u64| {
                calls += 1;
                pinned.insert(k, calls);
                pinned.remove(&3);
                pinned.insert(3, calls);
                calls
            };

            let done = pinned.compute(1, |seen| {
                Operation::<u64, ()>::Insert(seen.unwrap().1 + noise(2))
            });
            assert_eq!(
                done,
                Compute::Updated {
                    old: (&1, &10),
                    new: (&1, &11)
                }
            );
            let done = pinned.compute(7, |seen| {
                assert!(seen.is_none());
                noise(2);
                Operation::<u64, ()>::Insert(70)
            });
            assert_eq!(done, Compute::Inserted(&7, &70));
            assert!(pinned.remove_if(&7, |_, _| noise(2) > 0).is_some());
            pinned.entry(1).and_modify(|v| v + noise(2));
            assert_eq!(pinned.get(&1), Some(&15));
            assert_eq!(pinned.entry(8).or_insert_with(|| noise(2)), &5);
            assert_eq!(calls, 5, "{hasher:?}: each closure once");

            // The same key changes once: decided again with what is there then.
            let mut first = true;
            let done = pinned.compute(1, |seen| {
                if std::mem::take(&mut first) {
                    pinned.insert(1, 100);
                }
                Operation::<u64, ()>::Insert(seen.map_or(0, |(_, v)| v + 1))
            });
            assert_eq!(
                done,
                Compute::Updated {
                    old: (&1, &100),
                    new: (&1, &101)
                }
            );
            // It goes away: nothing to remove.
            let done = pinned.compute(1, |_| {
                pinned.remove(&1);
                Operation::<u64, ()>::Remove
            });
            assert_eq!(done, Compute::Absent);
            assert!(
                pinned
                    .remove_if(&2, |_, _| pinned.remove(&2).is_some())
                    .is_none()
            );
            let gone = pinned.entry(3).and_modify(|v| {
                pinned.remove(&3);
                *v
            });
            assert!(matches!(gone, Entry::Vacant(_)));
            // Somebody else inserts it: that value stays.
            assert_eq!(
                pinned.entry(5).or_insert_with(|| {
                    pinned.insert(5, 50);
                    60
                }),
                &50
            );
        }
    });
}

/// Everything within everything, on one key, with resizes between.
#[test]
fn operations_within_operations() {
    in_time("nested", || {
        let map = HashMap::with_hasher(Bad::Low);
        let pinned = map.pin();
        (0..2000u64).for_each(|k| _ = pinned.insert(k, k));
        let mut depth = 0;
        pinned.retain(|k, v| {
            depth += 1;
            if depth % 100 == 0 {
                map.resize(1 + depth % 700).unwrap();
            }
            match k % 5 {
                0 => _ = pinned.compute(*k, |_| Operation::<u64, ()>::Insert(v + 1)),
                1 => _ = pinned.remove_if(k, |_, _| true),
                2 => _ = pinned.entry(*k).and_modify(|v| v + 1),
                3 => assert_eq!(
                    pinned
                        .range(map.hash_of(k)..=map.hash_of(k))
                        .filter(|e| e.0 == k)
                        .count(),
                    1
                ),
                _ => _ = map.maintain().unwrap(),
            }
            *k % 5 != 4
        });
        // One that was replaced under `keep` would have stayed even if it was to go; none of those was.
        assert_eq!(map.len(), 1200);
        assert!((0..2000).all(|k| pinned.get(&k).copied()
            == match k % 5 {
                0 | 2 => Some(k + 1),
                3 => Some(k),
                _ => None,
            }));
        let mut drained = 0;
        for (k, _) in pinned.drain() {
            drained += 1;
            pinned.insert(10_000 + k, 0);
            pinned.remove(&(10_000 + k));
        }
        assert!(drained >= 1200 && map.is_empty(), "{drained}");
    });
}

/// A set's closures may use the set.
#[test]
fn sets_within_sets() {
    in_time("sets", || {
        let set: nulls::HashSet<u64, Bad> = nulls::HashSet::with_hasher(Bad::Constant);
        let pinned = set.pin();
        (0..100).for_each(|x| assert!(pinned.insert(x)));
        let removed = pinned.remove_if(&7, |x| {
            pinned.insert(1000 + x);
            pinned.remove(&8);
            pinned.contains(x)
        });
        assert_eq!(removed, Some(&7));
        pinned.retain(|x| {
            pinned.remove(&(x + 1000));
            pinned.insert(*x);
            x % 2 == 0
        });
        assert!((0..100).all(|x| pinned.contains(&x) == (x % 2 == 0 && x != 8)));
    });
}
