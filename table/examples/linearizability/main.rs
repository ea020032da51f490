//! Checks this crate's map for linearizability on this machine: threads hammer a few keys while the table grows and shrinks,
//! every operation is recorded with its times, and an order is looked for that explains all results.
//!
//! ```sh
//! cargo run --release -p nulls --example linearizability -- [SECONDS] [THREADS]
//! ```
//!
//! `history.rs` beside this file knows nothing of this crate: copy it to check a map of your own.

mod history;

use history::{Clock, Op, Recorder, check};
use nulls::{Compute, Entry, HashMap, HashSet, Operation, TryInsertError};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const KEYS: u64 = 8;
const ROUND: u64 = 2_000;

/// One random operation on a random key.
fn step(map: &HashMap<u64, u64>, set: &HashSet<u64>, r: &mut Recorder<'_>, random: &mut u64) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let key = (*random >> 8) % KEYS;
    let value = *random >> 32;
    let view = map.pin();
    match *random % 20 {
        0..6 => r.run(key, || Op::Get(view.get(&key).copied())),
        6..8 => r.run(key, || Op::Insert(value, view.insert(key, value).copied())),
        8..10 => r.run(key, || {
            let there = match view.try_insert(key, value) {
                Ok(_) => None,
                Err(TryInsertError::Occupied { current, .. }) => Some(*current),
                Err(e) => panic!("{e}"),
            };
            Op::TryInsert(value, there)
        }),
        10..12 => r.run(key, || Op::Remove(view.remove(&key).copied())),
        12 => r.run(key, || {
            Op::GetOrInsert(value, *view.get_or_insert_with(key, || value))
        }),
        13 => r.run(key, || Op::Update(view.update(&key, |v| v + 1).copied())),
        14 => r.run(key, || {
            let mut found = None;
            view.get_many(&[&key], |_, v| found = v.copied());
            Op::Get(found)
        }),
        15 => r.run(key, || {
            let decide = |seen: Option<(&u64, &u64)>| match seen {
                None => Operation::<_, ()>::Insert(value),
                Some((_, v)) if v % 2 == 0 => Operation::Remove,
                Some((_, v)) => Operation::Insert(v + 1),
            };
            Op::Decide(
                value,
                match view.compute(key, decide) {
                    Compute::Inserted(..) => None,
                    Compute::Updated { old: (_, v), .. } | Compute::Removed(_, v) => Some(*v),
                    other => panic!("{other:?} was not decided"),
                },
            )
        }),
        16 => r.run(key, || match view.entry(key) {
            Entry::Occupied(e) => Op::Get(Some(*e.get())),
            Entry::Vacant(e) => Op::TryInsert(
                value,
                match e.insert(value) {
                    Ok(_) => None,
                    Err(TryInsertError::Occupied { current, .. }) => Some(*current),
                    Err(e) => panic!("{e}"),
                },
            ),
        }),
        17 => r.run(key, || {
            Op::RemoveIfEven(view.remove_if(&key, |_, v| v % 2 == 0).map(|(_, v)| *v))
        }),
        18 => set_step(set, r, key, value),
        // Not an operation on a key: the table under them changes its length.
        _ => {
            let _ = map.resize(1 + (value % 5) as usize);
        }
    }
}

/// The same for a set, whose elements have histories of their own: 0 stands for being there.
fn set_step(set: &HashSet<u64>, r: &mut Recorder<'_>, element: u64, random: u64) {
    let (key, view) = (KEYS + element, set.pin());
    let there = |is: bool| is.then_some(0);
    match random % 3 {
        0 => r.run(key, || Op::Get(there(view.contains(&element)))),
        1 => r.run(key, || Op::TryInsert(0, there(!view.insert(element)))),
        _ => r.run(key, || Op::Remove(there(view.remove(&element).is_some()))),
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u64| args.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (seconds, threads) = (number(5), number(4));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (map, set) = (HashMap::new(), HashSet::new());
    let (mut round, mut operations) = (0u64, 0);
    while Instant::now() < end {
        round += 1;
        map.pin().clear();
        set.pin().clear();
        let clock = Clock::default();
        let events: Vec<_> = std::thread::scope(|s| {
            let workers: Vec<_> = (0..threads)
                .map(|t| {
                    let (map, set, clock) = (&map, &set, &clock);
                    s.spawn(move || {
                        let mut random = (round << 8 | t).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                        let mut r = Recorder::new(clock);
                        (0..ROUND).for_each(|_| step(map, set, &mut r, &mut random));
                        r.into_events()
                    })
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|w| w.join().expect("no operation panics"))
                .collect()
        });
        operations += events.len();
        if let Err(v) = check(events) {
            println!("key {}: no order explains", v.key);
            for e in v.events {
                println!("  {:>8} to {:>8}  {:?}", e.called, e.returned, e.op);
            }
            return ExitCode::FAILURE;
        }
    }
    println!("{operations} operations of {threads} threads in {round} rounds: linearizable");
    ExitCode::SUCCESS
}
