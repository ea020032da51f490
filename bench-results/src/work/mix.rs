//! Several operations in a proportion: YCSB, the mixes of conc-map-bench, and the work that C maps were given.

use super::access::{positions, random};
use super::lookup::{loaded, spent};
use super::{Order, Sample, Spec};
use crate::contender::{BATCH, Map, Session};
use crate::key::Key;
use crate::measure::{rounds_for, timed};
use crate::workload::{mix64, present, value_of};
use core::hint::black_box;
use rand::RngExt;
use rand_distr::{Distribution, Zipf};
use serde::{Deserialize, Serialize};

/// The mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "family")]
pub enum Mix {
    /// The core workloads of YCSB, Zipf 0.99 on keys that all threads share.
    Ycsb {
        /// Which of them.
        name: Ycsb,
    },
    /// The mixes of conc-map-bench: keys of one thread each, uniform. `entries` is the capacity.
    Published {
        /// Which of them.
        name: Published,
    },
}

/// YCSB's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ycsb {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads.
    C,
    /// 95 % reads of the latest, 5 % insertions.
    D,
    /// Half reads, half read-modify-writes.
    F,
}

/// conc-map-bench's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Published {
    /// 98 % reads, 1 % insertions, 1 % removals, on a map that is three quarters full.
    ReadHeavy,
    /// 10 % reads, 40 % insertions, 40 % removals, 10 % updates, likewise.
    Exchange,
    /// 5 % reads, 80 % insertions, 5 % removals, 10 % updates, from empty, into a map that has the capacity beforehand.
    RapidGrow,
    /// The same into a map that was told nothing: this one grows.
    RapidGrowGrowing,
}

#[derive(Clone, Copy)]
enum Op {
    Read,
    Insert,
    Remove,
    Update,
    ReadModifyWrite,
}

/// Runs a mix.
pub(super) fn run<M: Map>(spec: &Spec, mix: Mix) -> Sample {
    match mix {
        Mix::Ycsb { name: Ycsb::D } => latest::<M>(spec),
        Mix::Ycsb { name } => ycsb::<M>(spec, name),
        Mix::Published { name } => published::<M>(spec, name),
    }
}

fn sample(time: core::time::Duration, each: u64, threads: usize) -> Sample {
    Sample::one("ns", time.as_secs_f64() * 1e9 / each as f64).with(
        "mops",
        each as f64 * threads as f64 / time.as_secs_f64() / 1e6,
    )
}

/// One stream for each thread, Zipf over all keys; every key stays there.
fn ycsb<M: Map>(spec: &Spec, name: Ycsb) -> Sample {
    let (percent, other) = match name {
        Ycsb::A => (50, Op::Update),
        Ycsb::B => (95, Op::Update),
        Ycsb::C | Ycsb::D => (100, Op::Read),
        Ycsb::F => (50, Op::ReadModifyWrite),
    };
    let map: M = loaded::<u64, M>(spec.entries, spec.build);
    let streams: Vec<Vec<(Op, u64)>> = (0..spec.threads as u64)
        .map(|t| {
            let mut r = random(100 + t);
            positions(spec.entries, Order::Zipf, 10 + t)
                .into_iter()
                .map(|i| {
                    let op = if r.random_range(0..100) < percent {
                        Op::Read
                    } else {
                        other
                    };
                    (op, present(i))
                })
                .collect()
        })
        .collect();
    let length = streams[0].len() as u64;
    let round = |rounds: u64| {
        timed(spec.threads, |t| {
            let session = black_box(&map).session();
            let mut done = 0;
            for _ in 0..rounds {
                for &(op, key) in &streams[t] {
                    done += u64::from(match op {
                        Op::Read => black_box(session.get(&key)).is_some(),
                        Op::Update => session.insert(key, value_of(key)).is_some(),
                        _ => session.increment(&key),
                    });
                }
            }
            (done, rounds * length)
        })
    };
    let rounds = rounds_for(spec.ms, round(1));
    let time = round(rounds);
    spent(map);
    sample(time, rounds * length, spec.threads)
}

/// YCSB D: each thread inserts keys of its own and reads, Zipf by age, what it inserted last or was there.
fn latest<M: Map>(spec: &Spec) -> Sample {
    const OPERATIONS: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };
    let map: M = loaded::<u64, M>(spec.entries, spec.build);
    let streams: Vec<Vec<(Op, u64)>> = (0..spec.threads as u64)
        .map(|t| {
            let mut r = random(200 + t);
            let zipf = Zipf::new(spec.entries as f64, 0.99).expect("valid parameters");
            let own = |i: u64| present((t + 1) << 40 | i);
            let mut inserted = 0;
            (0..OPERATIONS)
                .map(|_| {
                    if r.random_range(0..100) < 5 {
                        inserted += 1;
                        (Op::Insert, own(inserted - 1))
                    } else {
                        let age = zipf.sample(&mut r) as u64 - 1;
                        match inserted.checked_sub(age + 1) {
                            Some(i) => (Op::Read, own(i)),
                            None => (
                                Op::Read,
                                present((spec.entries as u64 - 1).saturating_sub(age - inserted)),
                            ),
                        }
                    }
                })
                .collect()
        })
        .collect();
    let time = timed(spec.threads, |t| {
        let session = black_box(&map).session();
        let done = streams[t]
            .iter()
            .filter(|&&(op, key)| match op {
                Op::Insert => session.insert(key, value_of(key)).is_none(),
                _ => session.get(&key) == Some(value_of(key)),
            })
            .count();
        (done, OPERATIONS)
    });
    spent(map);
    sample(time, OPERATIONS as u64, spec.threads)
}

/// Each thread has a row of keys of its own. Those between two marks are there: insertions move the upper mark, removals
/// the lower one; reads and updates take any key of the row, so that many miss.
fn published<M: Map>(spec: &Spec, name: Published) -> Sample {
    let (percents, full, share, presized) = match name {
        Published::ReadHeavy => ([98, 1, 1, 0], 0.75, 0.75, true),
        Published::Exchange => ([10, 40, 40, 10], 0.75, 0.75, true),
        Published::RapidGrow => ([5, 80, 5, 10], 0.0, 0.95, true),
        Published::RapidGrowGrowing => ([5, 80, 5, 10], 0.0, 0.95, false),
    };
    let of = |part: f64| (spec.entries as f64 * part / spec.threads as f64) as u64;
    let (filled, operations) = (of(full), of(share));
    let row = filled + operations;
    let key = |t: usize, i: u64| present((t as u64) << 40 | i);
    let map = if presized {
        M::presized(spec.entries)
    } else {
        M::empty()
    };
    {
        let session = map.session();
        for t in 0..spec.threads {
            for i in 0..filled {
                session.insert(key(t, i), value_of(key(t, i)));
            }
        }
    }
    // What each operation must find is known beforehand.
    let streams: Vec<Vec<(Op, u64, bool)>> = (0..spec.threads)
        .map(|t| {
            let mut r = random(300 + t as u64);
            let (mut low, mut high) = (0u64, filled);
            (0..operations)
                .map(|_| {
                    let mut dice = r.random_range(0..100);
                    let mut which = 0;
                    while dice >= percents[which] {
                        dice -= percents[which];
                        which += 1;
                    }
                    let any = r.random_range(0..row);
                    let there = (low..high).contains(&any);
                    match which {
                        0 => (Op::Read, key(t, any), there),
                        1 => {
                            high += 1;
                            (Op::Insert, key(t, high - 1), false)
                        }
                        2 => {
                            let some = low < high;
                            let k = key(t, low);
                            low += u64::from(some);
                            (Op::Remove, k, some)
                        }
                        _ => (Op::Update, key(t, any), there),
                    }
                })
                .collect()
        })
        .collect();
    let time = timed(spec.threads, |t| {
        let session = black_box(&map).session();
        let right = streams[t]
            .iter()
            .filter(|&&(op, key, there)| {
                there
                    == match op {
                        Op::Read => black_box(session.get(&key)).is_some(),
                        Op::Insert => session.insert(key, value_of(key)).is_some(),
                        Op::Remove => session.remove(&key).is_some(),
                        _ => session.increment(&key),
                    }
            })
            .count() as u64;
        (right, operations)
    });
    spent(map);
    sample(time, operations, spec.threads)
}

/// 95 % look-ups and 5 % updates in place, of keys that are there. The stream of a thread has 2^20 positions, which name
/// every key if it is uniform. In bulk, the
/// whole batch is looked up, and then its share of updates is made: slightly more work, as for the C map's bulk look-up.
pub(super) fn peers<K: Key, M: Map<K>>(spec: &Spec, zipf: bool, bulk: bool) -> Sample {
    const LENGTH: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };
    let map: M = M::presized(1 << 21);
    {
        let session = map.session();
        for i in 0..spec.entries as u64 {
            session.insert(K::of(present(i)), i << 8 | 1);
        }
    }
    map.settle();
    let order = if zipf { Order::Zipf } else { Order::Uniform };
    let streams: Vec<Vec<K>> = (0..spec.threads as u64)
        .map(|t| {
            let all = positions(spec.entries, order, 20 + t);
            (0..LENGTH)
                .map(|j| K::of(present(all[j % all.len()])))
                .collect()
        })
        .collect();
    // One update in twenty, at places that differ from batch to batch.
    let first_of = |c: usize| (mix64(c as u64) % 20) as usize;
    let round = |rounds: u64| {
        timed(spec.threads, |t| {
            let session = black_box(&map).session();
            let keys = &streams[t];
            let mut found = 0u64;
            for _ in 0..rounds {
                for (c, part) in keys.chunks(BATCH).enumerate() {
                    let first = first_of(c);
                    if bulk {
                        black_box(session.batch(part));
                        found += part.len() as u64;
                        for k in part.iter().skip(first).step_by(20) {
                            found -= u64::from(!session.increment(k));
                        }
                    } else {
                        for (j, k) in part.iter().enumerate() {
                            found += u64::from(if j % 20 == first {
                                session.increment(k)
                            } else {
                                black_box(session.get(k)).is_some()
                            });
                        }
                    }
                }
            }
            (found, rounds * LENGTH as u64)
        })
    };
    let rounds = rounds_for(spec.ms, round(1));
    let time = round(rounds);
    spent(map);
    sample(time, rounds * LENGTH as u64, spec.threads)
}
