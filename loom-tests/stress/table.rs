//! The raw table under churn and resizes: what stays is found, what is gone is gone, nothing is there twice.
//!
//! The world has few buckets and many entries, so that chains are long, lines come and go with nearly every write, and
//! readers are often on a line that becomes another's.

use crate::harness::Run;
use crate::scenario::Scenario;
use crate::verdict::saw;
use nulls::raw::{InsertError, Table, thread_stats};
use nulls::rcu::{self, Guard};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "table/churn",
        proves: "beside two writers whose lines are recycled all the time, entries that stay are never missed",
        threads: 4,
        outcomes: &["a walk restarted"],
        kills: &[
            "find:skip-nulls-check",
            "line:overwrite-link-of-unlinked",
            "ticket:take-from-any-version",
        ],
        body: |run| torture(run, &[3]),
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "table/resize-torture",
        proves: "the same while the table goes through lengths of all kinds without a pause",
        threads: 5,
        outcomes: &["a walk restarted", "resized"],
        kills: &["find:skip-moved-check", "resize:moved-before-placed"],
        body: |run| torture(run, &[1, 2, 3, 5, 8, 7, 13, 4, 16, 6]),
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "table/replace",
        proves: "a key whose handle is replaced all the time is never missed",
        threads: 3,
        outcomes: &["found"],
        kills: &["line:replace-by-remove-and-insert"],
        body: replace,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "table/one-winner",
        proves: "of several inserters of one key exactly one succeeds",
        threads: 3,
        outcomes: &["inserted"],
        kills: &["ticket:take-from-any-version"],
        body: one_winner,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "table/two-keys",
        proves: "entries that are inserted and removed under two keys keep both or none, and no two writers lock up",
        threads: 3,
        outcomes: &["both"],
        body: two_keys,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "table/cursor",
        proves: "a walk in the order of hashes yields what stays exactly once, whatever length the table takes meanwhile",
        threads: 3,
        outcomes: &["walked", "resized"],
        kills: &["cursor:end-of-last-only"],
        body: cursor,
        ..Scenario::DEFAULT
    },
];

/// Handles 1 to this stay.
const STAY: u32 = 64;

/// From here on, sixteen handles in a row have hashes side by side, so that they come into one bucket together.
const GROUPED: u32 = 1_000_000;

/// A hash that spreads over all buckets and has few different tags.
fn hash(x: u32) -> u64 {
    let spread = if x < GROUPED { x } else { x / 16 };
    u64::from(spread).wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0x7f | u64::from(x & 7)
}

fn insert(table: &Table, guard: &Guard, x: u32) {
    loop {
        let probe = table.probe(guard, hash(x), |y| y == x, &hash);
        assert_eq!(
            probe.hit(),
            None,
            "handle {x} is there before it is inserted"
        );
        match probe.insert(x) {
            Ok(_written) => return,
            Err(InsertError::Stale) => {}
            Err(e) => panic!("{e:?}"),
        }
    }
}

fn remove(table: &Table, guard: &Guard, x: u32) {
    loop {
        let probe = table.probe(guard, hash(x), |y| y == x, &hash);
        assert_eq!(probe.hit(), Some(x), "handle {x} is missed by its remover");
        if let Ok((old, _written)) = probe.remove() {
            return assert_eq!(old, x);
        }
    }
}

fn find(table: &Table, guard: &Guard, x: u32) -> bool {
    table
        .find(guard, hash(x), |y| (y == x).then_some(()))
        .is_some()
}

fn world(buckets: usize) -> Table {
    let table = Table::with_capacity(0).expect("memory for a small table");
    table.resize(buckets).expect("memory for a small array");
    table.maintain(&hash).expect("memory for a few lines");
    let guard = rcu::pin();
    (1..=STAY).for_each(|x| insert(&table, &guard, x));
    table
}

/// Two writers with handles of their own, two readers of what stays, and a resizer if there are several lengths.
fn torture(run: &Run, lengths: &[usize]) {
    /// Groups of each writer, and handles of each group: more than a line's slots.
    const GROUPS: u32 = 12;
    const GROUP: u32 = 10;
    let table = world(lengths[0]);
    let resizers = usize::from(lengths.len() > 1);
    run.threads(4 + resizers, |i| {
        let mut random = Run::seed(i);
        match i {
            // A group comes and goes as a whole: lines are linked for it, emptied, and linked for another.
            0 | 1 => {
                let mut there = [false; GROUPS as usize];
                while run.go_on() {
                    let n = Run::random(&mut random, u64::from(GROUPS)) as u32;
                    let first = GROUPED + 16 * (n + GROUPS * i as u32);
                    let guard = rcu::pin();
                    let here = &mut there[n as usize];
                    for x in first..first + GROUP {
                        if *here {
                            remove(&table, &guard, x);
                        } else {
                            insert(&table, &guard, x);
                        }
                        assert_ne!(
                            find(&table, &guard, x),
                            *here,
                            "a writer misses its own last write"
                        );
                    }
                    *here = !*here;
                }
            }
            2 | 3 => {
                while run.go_on() {
                    let x = 1 + Run::random(&mut random, u64::from(STAY)) as u32;
                    assert!(
                        find(&table, &rcu::pin(), x),
                        "handle {x}, which stays, is missed"
                    );
                }
                if thread_stats().restarts > 0 {
                    saw("a walk restarted");
                }
            }
            _ => {
                for &n in lengths.iter().cycle().skip(1) {
                    if !run.go_on() {
                        break;
                    }
                    table.resize(n).expect("memory for a small array");
                    table.maintain(&hash).expect("memory for a few lines");
                    saw("resized");
                }
            }
        }
    });
    let guard = rcu::pin();
    assert!(
        (1..=STAY).all(|x| find(&table, &guard, x)),
        "an entry that stays is gone in the end"
    );
}

fn replace(run: &Run) {
    // All handles have one key, so the hash is that of handle 1.
    let table = world(2);
    let now = AtomicU32::new(1);
    run.threads(3, |i| {
        while run.go_on() {
            let guard = rcu::pin();
            if i == 0 {
                let (old, new) = (
                    now.load(Relaxed),
                    if now.load(Relaxed) == 1 { 2001 } else { 1 },
                );
                loop {
                    let probe = table.probe(&guard, hash(1), |y| y == old, &|y| {
                        hash(if y == 2001 { 1 } else { y })
                    });
                    assert_eq!(probe.hit(), Some(old), "the replacer misses the key");
                    if probe.replace(new).is_ok() {
                        break;
                    }
                }
                now.store(new, Relaxed);
            } else {
                let found = table.find(&guard, hash(1), |y| (y == 1 || y == 2001).then_some(y));
                assert!(found.is_some(), "a key that stays is missed");
            }
        }
    });
    saw("found");
}

fn one_winner(run: &Run) {
    const THREADS: usize = 3;
    /// Keys that are raced for at the same time.
    const KEYS: u32 = 4;
    let table = Table::with_capacity(8).expect("memory for a small table");
    let rounds: Vec<AtomicU64> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
    let wins = AtomicU64::new(0);
    // Handle 16 * key + thread + 1; the hash is the key's.
    let key_hash = |x: u32| hash(x / 16);
    run.threads(THREADS, |i| {
        let mut round = 0;
        loop {
            // All threads are in the same round.
            round += 1;
            let on = run.go_on();
            rounds[i].store(if on { round } else { u64::MAX }, Release);
            while on && rounds.iter().any(|r| r.load(Acquire) < round) {
                std::thread::yield_now();
            }
            if !on || rounds.iter().any(|r| r.load(Acquire) == u64::MAX) {
                rounds[i].store(u64::MAX, Release);
                return;
            }
            let guard = rcu::pin();
            let key = 1 + (round as u32) % KEYS;
            let x = 16 * key + i as u32 + 1;
            let won = loop {
                let probe = table.probe(&guard, key_hash(x), |y| y / 16 == key, &key_hash);
                if probe.hit().is_some() {
                    break false;
                }
                match probe.insert(x) {
                    Ok(_written) => break true,
                    Err(InsertError::Stale) => {}
                    Err(e) => panic!("{e:?}"),
                }
            };
            if won {
                assert_eq!(
                    wins.fetch_add(1, AcqRel),
                    0,
                    "two inserters of one key succeed"
                );
            }
            // The winner takes it out again when all have tried.
            round += 1;
            rounds[i].store(round, Release);
            while rounds.iter().any(|r| r.load(Acquire) < round) {
                std::thread::yield_now();
            }
            if won {
                let mut found = 0;
                table.find(&guard, key_hash(x), |y| -> Option<()> {
                    found += u32::from(y / 16 == key);
                    None
                });
                assert_eq!(found, 1, "a key is in the table more or less than once");
                loop {
                    let probe = table.probe(&guard, key_hash(x), |y| y == x, &key_hash);
                    assert_eq!(probe.hit(), Some(x));
                    if probe.remove().is_ok() {
                        break;
                    }
                }
                wins.store(0, Release);
            }
        }
    });
    saw("inserted");
}

fn two_keys(run: &Run) {
    // Handle 2n has the one key, 2n + 1 the other; the buckets of the two are crossed between writers.
    let table = world(3);
    run.threads(3, |i| {
        let mut random = Run::seed(i);
        while run.go_on() {
            let guard = rcu::pin();
            let n = Run::random(&mut random, 8) as u32;
            let (x, y) = if i % 2 == 0 {
                (10_000 + 2 * n, 10_001 + 2 * n)
            } else {
                (20_001 + 2 * n, 20_000 + 2 * n)
            };
            let own = i as u32 * 100_000;
            let (x, y) = (x + own, y + own);
            loop {
                let p = table.probe(&guard, hash(x), |z| z == x, &hash);
                let q = table.probe(&guard, hash(y), |z| z == y, &hash);
                match table.insert2(p, x, q, y) {
                    Ok(_written) => break,
                    Err(InsertError::Stale) => {}
                    Err(e) => panic!("{e:?}"),
                }
            }
            assert!(
                find(&table, &guard, x) && find(&table, &guard, y),
                "one of two keys is missing"
            );
            loop {
                let p = table.probe(&guard, hash(x), |z| z == x, &hash);
                let q = table.probe(&guard, hash(y), |z| z == y, &hash);
                assert!(
                    p.hit().is_some() && q.hit().is_some(),
                    "one of two keys is missing"
                );
                if table.remove2(p, q).is_ok() {
                    break;
                }
            }
            assert!(
                !find(&table, &guard, x) && !find(&table, &guard, y),
                "one of two keys is left"
            );
        }
    });
    assert_eq!(
        table.len(),
        STAY as usize,
        "something is left, or gone, in the end"
    );
    saw("both");
}

fn cursor(run: &Run) {
    let table = world(2);
    run.threads(3, |i| {
        if i == 0 {
            for n in [2usize, 5, 3, 16, 7, 1, 4].into_iter().cycle() {
                if !run.go_on() {
                    return;
                }
                table.resize(n).expect("memory for a small array");
                table.maintain(&hash).expect("memory for a few lines");
                saw("resized");
            }
        }
        let mut out = Vec::new();
        while run.go_on() {
            let mut seen = [0u8; STAY as usize + 1];
            let mut at = Some(0);
            while let Some(c) = at {
                let guard = rcu::pin();
                at = table.step(&guard, c, &hash, &mut out);
                out.iter().for_each(|&(_, x)| seen[x as usize] += 1);
            }
            assert!(
                seen[1..].iter().all(|&n| n == 1),
                "an entry that stays is yielded {:?} times",
                seen.iter().max()
            );
            saw("walked");
        }
    });
}
