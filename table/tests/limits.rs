//! Limits of entries and of memory; garbage under a stalled reader; memory given back; no leak over churn.

mod support;

use nulls::{AllocError, HashMap, InsertError, TryInsertError};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use support::Xorshift;

/// One at a time: a reader in another test would keep this one's garbage.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn a_removal_makes_room_at_once() {
    let _alone = alone();
    let map = HashMap::builder().max_entries(100).build();
    // A reader that never leaves does not matter: live entries count.
    let stalled = map.pin();
    for i in 0..100 {
        assert!(map.pin().try_insert(i, i).is_ok());
    }
    for i in 100..10_000 {
        let view = map.pin();
        assert!(matches!(
            view.try_insert(i, i),
            Err(TryInsertError::Full { .. })
        ));
        assert!(matches!(
            view.try_upsert(i, i),
            Err(InsertError::Full { .. })
        ));
        assert_eq!(
            view.try_upsert(i - 1, i),
            Ok(Some(&(i - 1))),
            "replacing needs no room"
        );
        assert!(view.remove(&(i - 100)).is_some());
        assert!(view.try_insert(i, i).is_ok());
    }
    assert_eq!(map.len(), 100);
    assert_eq!(stalled.len(), 100);
}

/// Threads that fight for the last places never exceed the limit, and never fail while there is room.
#[test]
fn a_limit_is_exact_under_contention() {
    let _alone = alone();
    const LIMIT: usize = 50;
    let map = HashMap::builder().max_entries(LIMIT).build();
    let (most, full) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|s| {
        for t in 0..4u64 {
            let (map, most, full) = (&map, &most, &full);
            s.spawn(move || {
                let mut rng = Xorshift(t + 1);
                for _ in 0..20_000 {
                    // Left alone, each would come to hold about half of its keys: far more in all than there is room for.
                    let k = t * 1000 + rng.below(60);
                    let view = map.pin();
                    match view.try_insert(k, k) {
                        Ok(_) => _ = most.fetch_max(map.len(), Relaxed),
                        Err(TryInsertError::Full { .. }) => _ = full.fetch_add(1, Relaxed),
                        Err(e) => drop(view.remove(&{ e.into_entry().0 })),
                    }
                }
            });
        }
    });
    assert!(most.load(Relaxed) <= LIMIT && full.load(Relaxed) > 0);
    assert_eq!(map.pin().iter().count(), map.len());
    let view = map.pin();
    let more = (1_000_000..)
        .take_while(|k| view.try_insert(*k, 0).is_ok())
        .count();
    assert_eq!(map.len(), LIMIT, "{more} more fitted");
}

/// Garbage that a stalled reader keeps is counted, the reader is named, and the limit holds; when it leaves, writers go on.
#[test]
fn garbage_under_a_stalled_reader_stays_within_the_limit() {
    let _alone = alone();
    const LIMIT: usize = 2 << 20;
    let map = HashMap::<u64, [u64; 6]>::builder()
        .memory_limit(LIMIT)
        .build();
    for i in 0..1000 {
        map.pin().insert(i, [i; 6]);
    }
    let (stop, stopped) = (
        std::sync::mpsc::channel::<()>(),
        std::sync::mpsc::channel::<()>(),
    );
    thread::scope(|s| {
        let map = &map;
        s.spawn(move || {
            let stalled = map.pin();
            let seen = stalled.get(&7).unwrap();
            stopped.0.send(()).unwrap();
            stop.1.recv().unwrap();
            assert_eq!(*seen, [7; 6]);
        });
        stopped.1.recv().unwrap();
        let mut replaced = 0u64;
        let refused = loop {
            match map.pin().try_upsert(replaced % 1000, [replaced % 1000; 6]) {
                Ok(_) => replaced += 1,
                Err(e) => break e,
            }
            assert!(replaced < 1_000_000, "the limit was never reached");
        };
        assert!(
            matches!(refused, InsertError::MemoryLimit { .. }),
            "{refused}"
        );
        let stats = map.stats();
        assert!(stats.charged <= LIMIT && map.garbage() as u64 >= replaced - 4096);
        assert!(stats.garbage > 10_000 && stats.garbage_bytes >= stats.garbage * 48);
        let reader = stats.oldest_reader.expect("somebody reads");
        assert!(reader.behind > 0);
        // Reading and removing go on; the entries are as they were.
        let view = map.pin();
        assert!((0..1000).all(|k| view.get(&k) == Some(&[k; 6])));
        assert!(view.remove(&999).is_some());
        drop(view);
        stop.0.send(()).unwrap();
    });
    // The reader has gone: the garbage is used again, without anybody's help.
    for i in 0..200_000 {
        assert!(map.pin().try_upsert(i % 1000, [i; 6]).is_ok(), "{i}");
    }
    assert!(map.stats().charged <= LIMIT);
}

/// A limited map fills up to its limit, and from there on takes as many as are removed.
#[test]
fn a_memory_limit_holds_while_growing() {
    let _alone = alone();
    for (limit, size) in [(100_000, 10_000), (1 << 20, 20_000), (8 << 20, 200_000)] {
        let map = HashMap::<u64, u64>::builder().memory_limit(limit).build();
        let full = (0..)
            .take_while(|&i| map.pin().try_upsert(i, i).is_ok())
            .count() as u64;
        let stats = map.stats();
        assert!(stats.charged <= limit, "{} of {limit}", stats.charged);
        assert!(
            (size / 10..size * 2).contains(&(full as usize)),
            "{full} entries in {limit} bytes"
        );
        let view = map.pin();
        assert!((0..full).all(|k| view.get(&k) == Some(&k)));
        drop(view);
        assert!(matches!(
            map.pin().try_insert(u64::MAX, 0),
            Err(TryInsertError::MemoryLimit { .. })
        ));
        assert_eq!(map.reserve(limit), Err(AllocError::MemoryLimit));
        for k in 0..full {
            assert!(map.pin().remove(&k).is_some());
        }
        map.maintain().unwrap();
        let again = (0..full)
            .take_while(|&i| map.pin().try_upsert(i, i).is_ok())
            .count() as u64;
        assert!(again * 10 >= full * 9, "{again} of {full} fitted again");
        assert!(map.stats().charged <= limit);
    }
}

#[test]
fn a_resize_that_fails_changes_nothing() {
    let _alone = alone();
    let map: HashMap<u64, u64> = HashMap::builder().memory_limit(1 << 20).build();
    (0..1000).for_each(|i| _ = map.pin().insert(i, i));
    map.maintain().unwrap();
    let before = map.stats().table.buckets;
    assert_eq!(map.resize(1 << 30), Err(AllocError::MemoryLimit));
    // The floor is as it was, too: the table shrinks by itself.
    (0..1000).for_each(|i| _ = map.pin().remove(&i));
    map.maintain().unwrap();
    assert!(map.stats().table.buckets < before);
}

/// A day's worth of sessions, compressed: each lives for a while, and the map's size swings between peak and trough. Memory at
/// each trough is what it was at the first, give or take a few lines.
#[test]
fn nothing_leaks_over_a_day_of_churn() {
    let _alone = alone();
    const PEAK: u64 = 20_000;
    let map: HashMap<u64, String> = HashMap::new();
    let mut troughs = Vec::new();
    let mut next = 0u64;
    let mut oldest = 0u64;
    for hour in 0..24 {
        let aim = if hour % 2 == 0 { PEAK } else { PEAK / 50 };
        for _ in 0..40_000 {
            map.pin().insert(next, next.to_string());
            next += 1;
            while next - oldest > aim {
                assert!(map.pin().remove(&oldest).is_some());
                oldest += 1;
            }
        }
        assert_eq!(map.len() as u64, next - oldest);
        if hour % 2 == 1 {
            map.maintain().unwrap();
            assert_eq!(map.garbage(), 0);
            let stats = map.stats();
            assert!(
                stats.table.buckets < PEAK as usize / 10,
                "it shrinks by itself"
            );
            troughs.push(map.memory());
        }
    }
    // Chance may need one more segment of overflow lines than at first; a leak would show every hour.
    let bound = troughs[0] + troughs[0] / 8;
    assert!(troughs.iter().all(|m| *m <= bound), "{troughs:?}");
}

/// Memory of a large table goes back to the system when it shrinks, and all of it when the map is dropped.
#[test]
#[cfg(all(target_os = "linux", not(miri)))]
fn memory_goes_back_to_the_system() {
    let _alone = alone();
    let before = nulls::mapped_bytes();
    let map: HashMap<u64, u64> = HashMap::new();
    (0..500_000).for_each(|i| _ = map.pin().insert(i, i));
    let full = nulls::mapped_bytes();
    assert!(full > before + (8 << 20));
    map.pin().clear();
    map.shrink_to_fit().unwrap();
    while !map.maintain().unwrap() {}
    let shrunk = nulls::mapped_bytes();
    // The buckets' arrays are gone; slots for entries are kept for later ones.
    assert!(shrunk + (4 << 20) < full, "{before} {full} {shrunk}");
    drop(map);
    assert_eq!(nulls::mapped_bytes(), before);
}
