//! Look-ups.

use super::access::Accesses;
use super::{Sample, Spec};
use crate::contender::{BATCH, Map, Session};
use crate::key::{Bytes16, Key, KeyKind, Tuple};
use crate::measure::{Build, rounds_for, timed};
use crate::workload::{folded, permuted, value_of};
use core::hint::black_box;
use serde::{Deserialize, Serialize};

/// Whether the keys looked up are in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence3 {
    /// All are.
    Hit,
    /// None is.
    Miss,
    /// Every other one, at random.
    Half,
}

/// The order in which keys are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Every key equally often.
    Uniform,
    /// Few keys very often.
    Zipf,
    /// In the order of their numbers (which hashing scatters).
    Sequential,
}

/// How look-ups follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Independent of each other.
    Throughput,
    /// Each waits for the result of the one before.
    Dependent,
    /// In batches, by the map's interface for that where it has one.
    Batch,
}

/// A measurement of look-ups.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub presence: Presence3,
    pub order: Order,
    pub mode: Mode,
    pub spec: &'a Spec,
}

/// A map with all its keys, inserted in a random order and settled.
pub(super) fn loaded<K: Key, M: Map<K>>(entries: usize, build: Build) -> M {
    let map = match build {
        Build::Grown => M::empty(),
        Build::Presized => M::presized(entries),
    };
    let session = map.session();
    for k in permuted(entries, 3) {
        let old = session.insert(K::of(k), value_of(k));
        assert_eq!(old, None, "{}: a key twice", M::NAME);
    }
    drop(session);
    map.settle();
    map
}

/// Leaves a map as it is. The process that measured it ends, and taking it apart entry by entry would take longer than many a measurement.
pub(super) fn spent<T>(map: T) {
    core::mem::forget(map);
}

impl Job<'_> {
    /// `None`: no such contender.
    pub(super) fn run(&self) -> Option<Sample> {
        let name = self.spec.contender.as_str();
        match self.spec.key {
            KeyKind::U64 => crate::dispatch!(name, M => self.with::<u64, M>()),
            KeyKind::Bytes16 => {
                crate::dispatch_copied!(name, Bytes16, M => self.with::<Bytes16, M>())
            }
            KeyKind::Tuple => crate::dispatch_copied!(name, Tuple, M => self.with::<Tuple, M>()),
            KeyKind::String => crate::dispatch_keyed!(name, String, M => self.with::<String, M>()),
        }
    }

    fn with<K: Key + Chained, M: Map<K>>(&self) -> Sample {
        let Spec {
            entries,
            threads,
            build,
            ms,
            ..
        } = *self.spec;
        let map = loaded::<K, M>(entries, build);
        let accesses = Accesses::<K>::new(entries, self.presence, self.order, 1);
        let round = |rounds: u64| {
            timed(threads, |t| {
                let (front, back) = accesses.from(t, threads);
                let session = black_box(&map).session();
                let mut sum = 0u64;
                for _ in 0..rounds {
                    for keys in [front, back] {
                        sum = sum.wrapping_add(match self.mode {
                            Mode::Throughput => keys
                                .iter()
                                .fold(0u64, |sum, k| sum.wrapping_add(folded(session.get(k)))),
                            Mode::Dependent => K::chain(keys, |k| folded(session.get(k))),
                            Mode::Batch => keys
                                .chunks(BATCH)
                                .fold(0u64, |sum, part| sum.wrapping_add(session.batch(part))),
                        });
                    }
                }
                (sum, accesses.sum.wrapping_mul(rounds))
            })
        };
        let rounds = rounds_for(ms, round(1));
        let time = round(rounds);
        let each = rounds * accesses.keys.len() as u64;
        spent(map);
        Sample::one("ns", time.as_secs_f64() * 1e9 / each as f64).with(
            "mops",
            each as f64 * threads as f64 / time.as_secs_f64() / 1e6,
        )
    }
}

/// Keys of which one can be made to depend on a result.
trait Chained: Sized {
    /// Folds `get` over the keys, each look-up depending on the one before.
    fn chain(keys: &[Self], get: impl Fn(&Self) -> u64) -> u64;
}

impl Chained for u64 {
    #[inline]
    fn chain(keys: &[u64], get: impl Fn(&u64) -> u64) -> u64 {
        // Nobody tells the compiler that this is 0.
        let nothing = black_box(0u64);
        keys.iter().fold(0u64, |sum, &k| {
            sum.wrapping_add(get(&(k ^ (sum & nothing))))
        })
    }
}

/// For other keys, the place of the next key depends on the result.
macro_rules! chained_by_place {
    ($($k:ty),*) => {$(
        impl Chained for $k {
            #[inline]
            fn chain(keys: &[$k], get: impl Fn(&$k) -> u64) -> u64 {
                let nothing = black_box(0u64);
                (0..keys.len()).fold(0u64, |sum, i| {
                    sum.wrapping_add(get(&keys[i ^ (sum & nothing) as usize]))
                })
            }
        }
    )*};
}

chained_by_place!(Bytes16, Tuple, String);
