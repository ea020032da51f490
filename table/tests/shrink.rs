//! Memory comes back.

mod support;

use nulls::HashMap;
use std::thread;

/// Until nothing is left to do: readers of other tests are readers too.
fn settle<K: std::hash::Hash, V>(map: &HashMap<K, V>) {
    while !map.maintain().unwrap() {
        thread::yield_now();
    }
}

/// Readers are the process's, so a preempted one in another test would keep garbage here alive: one test at a time.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A table that has lost nearly everything shrinks by itself, as writers look after it; `maintain` finishes that.
#[test]
fn removing_nearly_everything() {
    let _alone = alone();
    let map: HashMap<u64, u64> = HashMap::new();
    const ALL: u64 = 200_000;
    (0..ALL).for_each(|k| _ = map.pin().insert(k, k));
    settle(&map);
    let (full, stats) = (map.memory(), map.stats());
    (100..ALL).for_each(|k| _ = map.pin().remove(&k));
    settle(&map);
    let after = map.stats();
    assert!(
        after.table.buckets * 50 < stats.table.buckets,
        "{} buckets, {} before",
        after.table.buckets,
        stats.table.buckets
    );
    assert!(
        after.table.bytes * 2 < stats.table.bytes,
        "{} bytes, {} before",
        after.table.bytes,
        stats.table.bytes
    );
    assert_eq!((after.table.garbage_bytes, map.garbage()), (0, 0));
    assert!(map.memory() < full);
    assert!((0..100).all(|k| map.pin().get(&k) == Some(&k)));
    assert_eq!(map.pin().iter().count(), 100);
}

/// `shrink_to_fit` goes all the way at once, and the table grows again afterwards.
#[test]
fn shrinking_to_fit() {
    let _alone = alone();
    let map: HashMap<u64, u64> = HashMap::with_capacity(300_000);
    let empty = map.stats();
    (0..1000).for_each(|k| _ = map.pin().insert(k, k));
    settle(&map);
    assert_eq!(
        map.stats().table.buckets,
        empty.table.buckets,
        "it does not shrink below what was asked for"
    );
    map.shrink_to_fit().unwrap();
    settle(&map);
    let shrunk = map.stats();
    assert_eq!(shrunk.table.buckets, 250, "four entries a line");
    assert!(shrunk.table.bytes * 100 < empty.table.bytes);
    assert!((0..1000).all(|k| map.pin().get(&k) == Some(&k)));
    (0..20_000).for_each(|k| _ = map.pin().insert(k, k));
    settle(&map);
    assert!(map.capacity() >= 20_000 && map.len() == 20_000);
}

/// Entries that come and go at a constant number take constant memory, however many there were in all.
#[test]
fn turnover_takes_no_more() {
    let _alone = alone();
    let map: HashMap<u64, [u64; 8]> = HashMap::new();
    let turn = |from: u64| {
        for k in from..from + 100_000 {
            map.pin().insert(k, [k; 8]);
            if k >= 1000 {
                assert_eq!(map.pin().remove(&(k - 1000)), Some(&[k - 1000; 8]));
            }
            if k % 5000 == 0 {
                settle(&map);
            }
        }
        settle(&map);
        map.memory()
    };
    let once = turn(0);
    let more = (1..5).map(|i| turn(i * 100_000)).max().unwrap();
    assert!(more <= once + once / 2, "{more} bytes, {once} at first");
    assert_eq!(map.len(), 1000);
}

/// Overflow lines of long chains are used again.
#[test]
fn long_chains_give_their_lines_back() {
    let _alone = alone();
    let map: HashMap<u64, u64> = HashMap::new();
    let mut bytes = Vec::new();
    for _ in 0..20 {
        // One bucket asked for again and again keeps the chains long for a while.
        (0..3000).for_each(|k| _ = map.pin().insert(k, k));
        map.resize(1).unwrap();
        settle(&map);
        assert!(map.stats().table.longest_chain > 300);
        (0..3000).for_each(|k| assert_eq!(map.pin().remove(&k), Some(&k)));
        map.shrink_to_fit().unwrap();
        settle(&map);
        assert_eq!(map.stats().table.longest_chain, 1);
        bytes.push(map.memory());
    }
    assert!(bytes[19] <= bytes[2], "{bytes:?}");
}
