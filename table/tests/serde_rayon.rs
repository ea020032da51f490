//! The features `serde` and `rayon`.
#![cfg(all(feature = "serde", feature = "rayon"))]

use nulls::{HashMap, HashSet};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

#[test]
fn maps_and_sets_survive_json() {
    let map: HashMap<String, u64> = (0..500).map(|i| (format!("k{i}"), i)).collect();
    let text = serde_json::to_string(&map).unwrap();
    assert_eq!(
        serde_json::from_str::<HashMap<String, u64>>(&text).unwrap(),
        map
    );
    let ordinary: BTreeMap<String, u64> = serde_json::from_str(&text).unwrap();
    assert_eq!(ordinary.len(), 500);
    assert_eq!(serde_json::to_string(&map.pin()).unwrap().len(), text.len());
    // The later one counts, as for std's.
    let twice: HashMap<String, u64> = serde_json::from_str(r#"{"a":1,"a":2}"#).unwrap();
    assert_eq!((twice.len(), twice.pin().get("a")), (1, Some(&2)));

    let set: HashSet<u32> = (0..500).collect();
    let text = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<HashSet<u32>>(&text).unwrap(), set);
    for bad in ["[1,2]", "{\"a\":\"b\"}", "3", "{\"a\":1"] {
        assert!(
            serde_json::from_str::<HashMap<String, u64>>(bad).is_err(),
            "{bad}"
        );
    }
    assert!(serde_json::from_str::<HashSet<u32>>("{}").is_err());
}

/// Exactly once in parallel too, while the map grows and shrinks.
#[test]
fn parallel_iteration_visits_once_during_resizes() {
    const STAY: usize = 20_000;
    let map: HashMap<usize, AtomicU32> = (0..STAY)
        .into_par_iter()
        .map(|i| (i, AtomicU32::new(0)))
        .collect();
    assert_eq!(map.len(), STAY);
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut n = 1;
            while !done.load(Relaxed) {
                n = (n * 7 + 13) % 20_000;
                map.resize(n + 1).unwrap();
                for i in 0..200 {
                    map.pin().insert(STAY + i, AtomicU32::new(0));
                    map.pin().remove(&(STAY + i));
                }
            }
        });
        for round in 1..=10 {
            map.pin_owned().par_iter().for_each(|(_, visits)| {
                visits.fetch_add(1, Relaxed);
            });
            let wrong = (0..STAY)
                .filter(|k| map.pin().get(k).unwrap().load(Relaxed) != round)
                .count();
            assert_eq!(wrong, 0);
        }
        done.store(true, Relaxed);
    });
}

#[test]
fn small_and_empty_ones() {
    for n in [0u64, 1, 2, 17] {
        let map: HashMap<u64, u64> = (0..n).map(|i| (i, i)).collect();
        assert_eq!(map.pin_owned().par_iter().count() as u64, n);
        let set: HashSet<u64> = (0..n).into_par_iter().collect();
        assert_eq!(set.pin_owned().par_iter().sum::<u64>(), (0..n).sum::<u64>());
        let mut shared = &set;
        shared.par_extend(vec![n, n + 1]);
        assert_eq!(set.len() as u64, n + 2);
    }
}
