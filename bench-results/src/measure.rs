//! One measurement: one contender, one figure, in the calling process.
//!
//! Threads are started and brought to a spinning barrier before the clock starts; the time of several threads runs
//! from the first one's start to the last one's end. Every result is checked against what must come out.

use crate::contender::{Map, Session};
use crate::workload::{Presence, Stream, folded, permuted, value_of};
use clap::ValueEnum;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use std::time::Instant;

/// Parts of a round of writes: one of them warms up.
const STRETCHES: usize = 4;

/// Operations of one run under callgrind, for figures that do not take one per entry.
pub const COUNTED_OPERATIONS: usize = 20_000;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// Look-ups of keys that are there.
    Hit,
    /// Look-ups of keys that are not.
    Miss,
    /// Insertion of `entries` keys into an empty map, each thread its share.
    Insert,
    /// Adding one to the values of keys that are there; all threads on all keys.
    Update,
    /// Insertion of keys that are there; all threads on all keys.
    Replace,
    /// Removal of all entries, each thread its share.
    Remove,
    /// Iteration over all entries; every thread over all of them. Per entry.
    Iterate,
}

/// How the map came to its size.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Build {
    /// From empty, growing as it likes.
    Grown,
    /// Told the number of entries beforehand.
    Presized,
}

/// A measurement to be made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What is timed.
    pub figure: Figure,
    /// Keys in the map.
    pub entries: usize,
    /// Threads at work at the same time.
    pub threads: usize,
    /// How the map came to its size.
    pub build: Build,
    /// The length of one sample, about.
    pub sample: Duration,
    /// How many samples.
    pub samples: usize,
}

impl Plan {
    /// Makes the measurement. Each sample is the wall time in nanoseconds that one operation took each thread.
    ///
    /// # Panics
    /// When a map returns what it must not.
    #[must_use]
    pub fn run<M: Map>(&self) -> Vec<f64> {
        match self.figure {
            Figure::Hit => self.lookups::<M>(Presence::Hit),
            Figure::Miss => self.lookups::<M>(Presence::Miss),
            Figure::Update | Figure::Replace => self.overwrites::<M>(),
            Figure::Insert | Figure::Remove => self.turnover::<M>(),
            Figure::Iterate => self.iterations::<M>(),
        }
    }

    fn lookups<M: Map>(&self, presence: Presence) -> Vec<f64> {
        let map = filled::<M>(self.entries, self.build);
        let stream = Stream::new(self.entries, presence, 1);
        self.repeat(stream.keys().len() as u64, |count| {
            lookup_time(&map, &stream, self.threads, count)
        })
    }

    fn overwrites<M: Map>(&self) -> Vec<f64> {
        let map = filled::<M>(self.entries, self.build);
        let stream = Stream::new(self.entries, Presence::Hit, 1);
        let increment = self.figure == Figure::Update;
        let before = map.session().sum();
        let mut written = 0u64;
        // Stretches of a round, each beginning where the one before ended: a whole round of writes would take far longer than a sample, and
        // stretches that began at the same place would write to the same quarter of the keys, over and over.
        let stretch = (stream.keys().len() / STRETCHES).max(1) as u64;
        let samples = self.repeat(stretch, |count| {
            let from = written / self.threads as u64;
            written += count * self.threads as u64;
            overwrite_time(&map, &stream, self.threads, from, count, increment)
        });
        let after = before.wrapping_add(if increment { written } else { 0 });
        assert_eq!(
            map.session().sum(),
            after,
            "{}: an update was lost",
            M::NAME
        );
        samples
    }

    fn turnover<M: Map>(&self) -> Vec<f64> {
        let keys = permuted(self.entries, 1);
        let others = permuted(self.entries, 2);
        let per_thread = (self.entries / self.threads) as u64;
        let once = || {
            let map = make::<M>(self.entries, self.build);
            let insert = insert_time(&map, &keys, self.threads);
            if self.figure == Figure::Insert {
                nothing_is_lost(&map, &keys, 0);
                return insert;
            }
            let remove = remove_time(&map, &others, self.threads);
            assert_eq!(map.session().sum(), 0, "{}: something is left", M::NAME);
            remove
        };
        self.repeat(per_thread, |count| {
            (0..count.div_ceil(per_thread)).map(|_| once()).sum()
        })
    }

    fn iterations<M: Map>(&self) -> Vec<f64> {
        let map = filled::<M>(self.entries, self.build);
        let sum = (0..self.entries as u64).fold(0u64, |a, i| {
            a.wrapping_add(value_of(crate::workload::present(i)))
        });
        let round = self.entries as u64;
        self.repeat(round, |count| {
            timed(self.threads, |_| {
                for _ in 0..count.div_ceil(round) {
                    assert_eq!(
                        black_box(&map).session().sum(),
                        sum,
                        "{}: iteration",
                        M::NAME
                    );
                }
            })
        })
    }

    /// Samples of `time`, which takes a number of operations, always a multiple of `round`; one round warms up.
    fn repeat(&self, round: u64, mut time: impl FnMut(u64) -> Duration) -> Vec<f64> {
        let mut rounds = 1;
        let first = time(round).as_secs_f64();
        if first < self.sample.as_secs_f64() {
            rounds = (self.sample.as_secs_f64() / first.max(1e-6)).ceil() as u64;
        }
        (0..self.samples)
            .map(|_| time(rounds * round).as_secs_f64() * 1e9 / (rounds * round) as f64)
            .collect()
    }
}

fn make<M: Map>(entries: usize, build: Build) -> M {
    match build {
        Build::Grown => M::empty(),
        Build::Presized => M::presized(entries),
    }
}

/// A map with all its keys, inserted in a random order.
///
/// # Panics
/// When a key seems to be there already.
#[must_use]
pub fn filled<M: Map>(entries: usize, build: Build) -> M {
    let map = make::<M>(entries, build);
    let session = map.session();
    for k in permuted(entries, 3) {
        assert_eq!(
            session.insert(k, value_of(k)),
            None,
            "{}: a key twice",
            M::NAME
        );
    }
    drop(session);
    map
}

/// Where thread `t` of `threads` begins in a stream: threads are spread over it.
fn start_of(t: usize, threads: usize, stream: &Stream) -> usize {
    stream.keys().len() / threads * t
}

/// The time that `threads` threads take for `count` look-ups each.
///
/// # Panics
/// When the checksum is wrong.
#[must_use]
pub fn lookup_time<M: Map>(map: &M, stream: &Stream, threads: usize, count: u64) -> Duration {
    timed(threads, |t| {
        let start = start_of(t, threads, stream);
        let session = black_box(map).session();
        let sum = stream.each(start, count, |keys| {
            keys.iter()
                .fold(0u64, |sum, &k| sum.wrapping_add(folded(session.get(&k))))
        });
        (sum, stream.expected(start, count))
    })
}

/// The time that `threads` threads take for `count` increments or replacements each, of keys that are there, after `from` others.
///
/// # Panics
/// When a key is missing.
#[must_use]
pub fn overwrite_time<M: Map>(
    map: &M,
    stream: &Stream,
    threads: usize,
    from: u64,
    count: u64,
    increment: bool,
) -> Duration {
    timed(threads, |t| {
        let session = black_box(map).session();
        let at = from % stream.keys().len() as u64;
        let start = start_of(t, threads, stream) + at as usize;
        let done = stream.each(start, count, |keys| {
            keys.iter().fold(0u64, |n, &k| {
                n + u64::from(if increment {
                    session.increment(&k)
                } else {
                    session.insert(k, value_of(k)).is_some()
                })
            })
        });
        (done, count)
    })
}

/// Holds the values of all `keys` and others that add up to `others` against the map's.
///
/// # Panics
/// When an insertion was lost.
pub fn nothing_is_lost<M: Map>(map: &M, keys: &[u64], others: u64) {
    let sum = keys
        .iter()
        .fold(others, |a, &k| a.wrapping_add(value_of(k)));
    assert_eq!(
        map.session().sum(),
        sum,
        "{}: an insertion was lost",
        M::NAME
    );
}

/// The time that `threads` threads take to insert `keys`, each its share.
///
/// # Panics
/// When a key seems to be there already.
#[must_use]
pub fn insert_time<M: Map>(map: &M, keys: &[u64], threads: usize) -> Duration {
    timed(threads, |t| {
        let keys = share(keys, t, threads);
        let session = black_box(map).session();
        let new = keys
            .iter()
            .filter(|&&k| session.insert(k, value_of(k)).is_none())
            .count();
        (new, keys.len())
    })
}

/// The time that `threads` threads take to remove `keys`, each its share.
///
/// # Panics
/// When a key is missing or has another value than it was inserted with.
#[must_use]
pub fn remove_time<M: Map>(map: &M, keys: &[u64], threads: usize) -> Duration {
    timed(threads, |t| {
        let keys = share(keys, t, threads);
        let session = black_box(map).session();
        let gone = keys
            .iter()
            .filter(|&&k| session.remove(&k) == Some(value_of(k)))
            .count();
        (gone, keys.len())
    })
}

/// The part of `keys` that thread `t` of `threads` works on.
#[must_use]
pub fn share(keys: &[u64], t: usize, threads: usize) -> &[u64] {
    &keys[keys.len() * t / threads..keys.len() * (t + 1) / threads]
}

/// What a timed stretch of work returns: how it is checked, after the clock has stopped.
pub trait Outcome: Send {
    /// Panics if it is wrong.
    fn check(&self);
}

impl Outcome for () {
    fn check(&self) {}
}

/// What came out, and what must.
impl<T: PartialEq + core::fmt::Debug + Send> Outcome for (T, T) {
    fn check(&self) {
        assert_eq!(self.0, self.1, "wrong result: the figure would be void");
    }
}

/// Keeps the calling thread on one processor: the `t`-th from the last, going round.
pub fn pin_thread(t: usize) {
    // Asked for once, before any thread is kept anywhere: a thread that was may only see its own processor, and so
    // may those it starts.
    static ALL: OnceLock<Vec<core_affinity::CoreId>> = OnceLock::new();
    let all = ALL.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    if !all.is_empty() {
        core_affinity::set_for_current(all[all.len() - 1 - t % all.len()]);
    }
}

/// How often to repeat a round that took `once`, so that it takes `ms` milliseconds.
#[must_use]
pub fn rounds_for(ms: u64, once: Duration) -> u64 {
    let wanted = Duration::from_millis(ms).as_secs_f64();
    (wanted / once.as_secs_f64().max(1e-6)).ceil().max(1.0) as u64
}

/// Runs `work` on as many threads at once: the time from the first one's start to the last one's end. A single one
/// runs on the calling thread.
///
/// # Panics
/// When an outcome is wrong.
pub fn timed<O: Outcome>(threads: usize, work: impl Fn(usize) -> O + Sync) -> Duration {
    if threads == 1 {
        let start = Instant::now();
        let outcome = work(0);
        let time = start.elapsed();
        outcome.check();
        return time;
    }
    let arrived = AtomicUsize::new(0);
    let (arrived, work) = (&arrived, &work);
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|s| {
        let running: Vec<_> = (0..threads)
            .map(|t| {
                s.spawn(move || {
                    // Children inherit the place of the thread that starts them.
                    pin_thread(t);
                    // Relaxed: the barrier orders nothing but time.
                    arrived.fetch_add(1, Ordering::Relaxed);
                    let mut spins = 0u32;
                    while arrived.load(Ordering::Relaxed) < threads {
                        spin_loop();
                        spins += 1;
                        if spins.is_multiple_of(1 << 12) {
                            // More threads than processors: let the others come.
                            std::thread::yield_now();
                        }
                    }
                    let start = Instant::now();
                    let outcome = work(t);
                    let end = Instant::now();
                    outcome.check();
                    (start, end)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|r| r.join().expect("a worker's result was right"))
            .collect()
    });
    let first = spans
        .iter()
        .map(|s| s.0)
        .min()
        .expect("at least one thread");
    let last = spans
        .iter()
        .map(|s| s.1)
        .max()
        .expect("at least one thread");
    last - first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch;

    /// Every figure of every contender runs and passes its own checks.
    #[test]
    fn all_figures_run() {
        for name in crate::contender::ALL {
            for &figure in Figure::value_variants() {
                for (threads, build) in [(1, Build::Presized), (2, Build::Grown)] {
                    if *name == "hashbrown" && threads > 1 {
                        continue;
                    }
                    let plan = Plan {
                        figure,
                        entries: 500,
                        threads,
                        build,
                        sample: Duration::from_micros(100),
                        samples: 2,
                    };
                    let samples =
                        dispatch!(*name, M => plan.run::<M>()).expect("a known contender");
                    assert!(
                        samples.len() == 2 && samples.iter().all(|&s| s > 0.0),
                        "{name} {figure:?}: {samples:?}"
                    );
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "the figure would be void")]
    fn a_wrong_result_is_noticed() {
        let map = filled::<crate::contender::Nulls>(100, Build::Grown);
        map.session().remove(&crate::workload::present(5));
        let stream = Stream::with_length(100, Presence::Hit, 1, 100);
        let _ = lookup_time(&map, &stream, 1, 100);
    }
}
