//! The raw table through its public face: one entry under two keys, commits that notice what changed, resizes, cursors.

use nulls::raw::{InsertError, Stale, Table};
use nulls::rcu;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Handle `x` has this hash.
fn hash(x: u32) -> u64 {
    (x as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Finishes resizes and frees old arrays. Readers of other tests are readers too, so freeing may take a few attempts.
fn settle(t: &Table) {
    while !t.maintain(&hash).unwrap() {
        std::thread::yield_now();
    }
}

fn insert(t: &Table, x: u32) {
    let g = rcu::pin();
    loop {
        let p = t.probe(&g, hash(x), |y| x == y, &hash);
        assert_eq!(p.hit(), None);
        match p.insert(x) {
            Ok(w) => return w.assist(&g, &hash),
            Err(InsertError::Stale) => {}
            Err(e) => panic!("{e:?}"),
        }
    }
}

fn remove(t: &Table, x: u32) {
    let g = rcu::pin();
    loop {
        let p = t.probe(&g, hash(x), |y| x == y, &hash);
        if let Ok((y, w)) = p.remove() {
            assert_eq!(x, y);
            return w.assist(&g, &hash);
        }
    }
}

fn has(t: &Table, x: u32) -> bool {
    t.find(&rcu::pin(), hash(x), |y| (x == y).then_some(()))
        .is_some()
}

fn all(t: &Table) -> Vec<u32> {
    let g = rcu::pin();
    let (mut out, mut step, mut cursor, mut last) = (Vec::new(), Vec::new(), Some(0), None);
    while let Some(c) = cursor {
        cursor = t.step(&g, c, &hash, &mut step);
        for &(h, x) in &step {
            assert_eq!(h, hash(x));
            assert!(h >= c && cursor.is_none_or(|n| h < n));
            assert!(last < Some(h), "in order");
            last = Some(h);
            out.push(x);
        }
    }
    out.sort_unstable();
    out
}

/// Any length to any other, small and large, up and down, integer and fractional factors.
#[test]
fn resizes_keep_every_handle() {
    let t = Table::new();
    for x in 1..=2000 {
        insert(&t, x);
    }
    for len in [
        1, 2, 3, 6, 7, 8, 64, 63, 65, 512, 1000, 4000, 999, 100, 110, 121, 1, 5000,
    ] {
        t.resize(len).unwrap();
        // Partly moved: everything is found, and can be written.
        for x in 1..=20 {
            assert!(has(&t, x));
            remove(&t, x);
            assert!(!has(&t, x));
            insert(&t, x);
        }
        assert!((1..=2000).all(|x| has(&t, x)), "{len}");
        settle(&t);
        // Writes ask for growth when the table is too small for its entries.
        assert!(if len >= 400 {
            t.buckets() == len
        } else {
            t.buckets() >= len
        });
        assert!((1..=2000).all(|x| has(&t, x)), "{len}");
        assert!(!(2001..=3000).any(|x| has(&t, x)));
        assert_eq!(all(&t), (1..=2000).collect::<Vec<_>>());
        let s = t.stats();
        assert_eq!((s.entries, s.resizing_to, s.garbage_bytes), (2000, None, 0));
        assert_eq!(s.chains.iter().sum::<usize>(), s.buckets);
    }
}

/// Doublings one after another move entries by their fractions, then by their hashes: same result.
#[test]
fn twenty_doublings_and_back() {
    let t = Table::new();
    for x in 1..=50 {
        insert(&t, x);
    }
    for k in (0..20).chain((0..20).rev()) {
        t.resize(1 << k).unwrap();
        t.maintain(&hash).unwrap();
        assert_eq!(t.buckets(), 1 << k);
        assert!((1..=50).all(|x| has(&t, x)), "2^{k}");
        for x in 51..=60 {
            insert(&t, x);
            remove(&t, x);
        }
    }
    // By factors of four, eight and more.
    for len in [3, 12, 96, 96 << 8, 96 << 17, 5] {
        t.resize(len).unwrap();
        t.maintain(&hash).unwrap();
        assert!((1..=50).all(|x| has(&t, x)), "{len}");
    }
}

#[test]
fn a_probe_goes_stale() {
    let t = Table::new();
    let g = rcu::pin();
    let p = t.probe(&g, hash(1), |_| false, &hash);
    let q = t.probe(&g, hash(1), |_| false, &hash);
    p.insert(1).unwrap().assist(&g, &hash);
    assert_eq!(q.insert(2).unwrap_err(), InsertError::Stale);
    let p = t.probe(&g, hash(1), |x| x == 1, &hash);
    let q = t.probe(&g, hash(1), |x| x == 1, &hash);
    let r = t.probe(&g, hash(1), |x| x == 1, &hash);
    assert_eq!(p.replace(3).unwrap().0, 1);
    assert_eq!(q.replace(4).unwrap_err(), Stale);
    assert_eq!(r.remove().unwrap_err(), Stale);
    let p = t.probe(&g, hash(1), |x| x == 3, &hash);
    assert_eq!(p.remove().unwrap().0, 3);
    assert!(t.is_empty());
}

/// A model of entries with two keys each: handle 2i under one hash, 2i + 1 under another, always both or neither.
#[test]
fn two_keys_come_and_go_together() {
    let t = Table::with_capacity(0).unwrap();
    let g = rcu::pin();
    // Few hashes, so that pairs share buckets, lines and even slots' neighbours.
    let hash2 = |x: u32| (x as u64 % 7) << 61 | x as u64;
    let mut model = BTreeMap::new();
    let mut seed = 1u64;
    for _ in 0..20_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let i = (seed >> 20) as u32 % 60 + 1;
        let (x, y) = (2 * i, 2 * i + 1);
        let p = t.probe(&g, hash2(x), |h| h == x, &hash2);
        let q = t.probe(&g, hash2(y), |h| h == y, &hash2);
        assert_eq!(p.hit().is_some(), model.contains_key(&i));
        assert_eq!(q.hit().is_some(), model.contains_key(&i));
        if model.remove(&i).is_some() {
            let ((a, b), w) = t.remove2(p, q).unwrap();
            assert_eq!((a, b), (x, y));
            w.assist(&g, &hash2);
        } else {
            // Either order must do.
            let w = if seed & 1 == 0 {
                t.insert2(p, x, q, y)
            } else {
                t.insert2(q, y, p, x)
            };
            w.unwrap().assist(&g, &hash2);
            model.insert(i, ());
        }
        assert_eq!(t.len(), 2 * model.len());
    }
    for i in 1..=60 {
        for x in [2 * i, 2 * i + 1] {
            let found = t.find(&g, hash2(x), |h| (h == x).then_some(())).is_some();
            assert_eq!(found, model.contains_key(&i));
        }
    }
}

/// Pairs inserted and removed by several threads while the table is resized: both keys or neither in the end.
#[test]
fn pairs_under_threads_and_resizes() {
    let t = Table::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        for n in 0..3u32 {
            let (t, stop) = (&t, &stop);
            s.spawn(move || {
                let base = n * 10_000 + 1;
                for round in 0..30_000u32 {
                    let (x, y) = (2 * (base + round % 500), 2 * (base + round % 500) + 1);
                    let g = rcu::pin();
                    loop {
                        let p = t.probe(&g, hash(x), |h| h == x, &hash);
                        let q = t.probe(&g, hash(y), |h| h == y, &hash);
                        if p.hit().is_some() {
                            if let Ok((_, w)) = t.remove2(p, q) {
                                w.assist(&g, &hash);
                                break;
                            }
                        } else if let Ok(w) = t.insert2(p, x, q, y) {
                            w.assist(&g, &hash);
                            break;
                        }
                    }
                }
                stop.store(true, Relaxed);
            });
        }
        let mut len = 1;
        while !stop.load(Relaxed) {
            len = len * 17 % 3001 + 1;
            t.resize(len).unwrap();
            t.maintain(&hash).unwrap();
        }
    });
    // 60 rounds on each: an even number, so everything is gone again.
    assert_eq!(t.len(), 0);
    assert_eq!(all(&t), []);
}

#[test]
fn a_limit_counts_handles() {
    let t = Table::with_limit(0, Some(2)).unwrap();
    let g = rcu::pin();
    insert(&t, 1);
    insert(&t, 2);
    let p = t.probe(&g, hash(3), |x| x == 3, &hash);
    assert_eq!(p.insert(3).unwrap_err(), InsertError::Full);
    remove(&t, 1);
    insert(&t, 3);
    assert_eq!(all(&t), [2, 3]);
}

#[test]
fn drain_hands_out_everything() {
    let mut t = Table::new();
    for x in 1..=1000 {
        insert(&t, x);
    }
    t.resize(777).unwrap();
    insert(&t, 1001);
    let mut seen = Vec::new();
    t.drain(|x| seen.push(x));
    seen.sort_unstable();
    assert_eq!(seen, (1..=1001).collect::<Vec<_>>());
    assert!(t.is_empty());
    assert!(!has(&t, 5));
}

/// A table shrinks by itself when its entries go, and never below what was asked for.
#[test]
fn shrinks_after_churn() {
    let t = Table::new();
    for x in 1..=100_000 {
        insert(&t, x);
    }
    t.maintain(&hash).unwrap();
    let full = t.buckets();
    for x in 1..=99_900 {
        remove(&t, x);
    }
    t.maintain(&hash).unwrap();
    assert!(t.buckets() * 64 < full, "{} of {full}", t.buckets());
    let t = Table::with_capacity(100_000).unwrap();
    let floor = t.buckets();
    for x in 1..=1000 {
        insert(&t, x);
        remove(&t, x);
    }
    assert_eq!(t.buckets(), floor);
}

/// Two probes that found one handle in one slot: it goes once, and counts once.
#[test]
fn one_slot_under_two_probes_is_removed_once() {
    for limit in [None, Some(3)] {
        let t = Table::with_limit(0, limit).unwrap();
        (1..=3).for_each(|x| insert(&t, x));
        let g = rcu::pin();
        let probe = || t.probe(&g, hash(2), |y| y == 2, &hash);
        let (handles, written) = t.remove2(probe(), probe()).unwrap();
        written.assist(&g, &hash);
        assert_eq!(handles, (2, 2));
        assert_eq!((t.len(), all(&t)), (2, vec![1, 3]));
        // There is room for one more now, not for two.
        insert(&t, 2);
        if limit.is_some() {
            let p = t.probe(&g, hash(4), |y| y == 4, &hash);
            assert_eq!(p.insert(4).unwrap_err(), InsertError::Full);
        }
        let probe = |x| t.probe(&g, hash(x), move |y| y == x, &hash);
        let (handles, written) = t.remove2(probe(1), probe(3)).unwrap();
        written.assist(&g, &hash);
        assert_eq!((handles, t.len(), all(&t)), ((1, 3), 1, vec![2]));
    }
}
