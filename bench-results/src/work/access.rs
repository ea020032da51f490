//! Which keys are looked at, in which order: made before the clock starts.

use super::{Order, Presence3};
use crate::key::Key;
use crate::workload::{absent, folded, mix64, present, value_of};
use rand::SeedableRng;
use rand_distr::{Distribution, Zipf};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The generator of a seed.
#[must_use]
pub fn random(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

/// Keys that are all looked up in each round, and what that must fold to.
#[derive(Debug)]
pub struct Accesses<K> {
    /// The keys.
    pub keys: Vec<K>,
    /// The checksum of one round.
    pub sum: u64,
}

/// A round is at least this long, so that no branch predictor learns it …
pub const LEAST: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };
/// … and no longer than this; by then it has left every cache.
const MOST: usize = 1 << 21;

/// Positions in a map of `entries` entries.
///
/// Uniform: one random permutation after the other; of maps larger than a round, draws. Zipf: exponent 0.99, ranks scattered
/// over the keys by a fixed permutation (a multiplication), as YCSB's scrambled one is by a hash.
///
/// # Panics
/// When `entries` is 0.
#[must_use]
pub fn positions(entries: usize, order: Order, seed: u64) -> Vec<u64> {
    assert!(entries > 0, "no keys to look at");
    let length = entries.clamp(LEAST, MOST);
    let mut r = random(seed);
    let n = entries as u64;
    match order {
        Order::Sequential => (0..length as u64).map(|i| i % n).collect(),
        Order::Zipf => {
            let zipf = Zipf::new(entries as f64, 0.99).expect("valid parameters");
            (0..length)
                .map(|_| scattered(zipf.sample(&mut r) as u64 - 1, n))
                .collect()
        }
        Order::Uniform if entries > MOST => (0..length as u64)
            .map(|i| nulls::scale::reciprocal_scale(mix64(i ^ mix64(seed)), n))
            .collect(),
        Order::Uniform => {
            use rand::seq::SliceRandom;
            let mut order: Vec<u64> = (0..n).collect();
            let mut all = Vec::with_capacity(length.next_multiple_of(entries));
            while all.len() < length {
                order.shuffle(&mut r);
                all.extend_from_slice(&order);
            }
            all
        }
    }
}

/// The key that has the rank: different for different ranks.
fn scattered(rank: u64, n: u64) -> u64 {
    // A prime above any number of entries measured, so coprime to it: a bijection modulo n.
    const PRIME: u64 = 4_294_967_291;
    (rank.min(n - 1) * PRIME) % n
}

impl<K: Key> Accesses<K> {
    /// Makes a round.
    #[must_use]
    pub fn new(entries: usize, presence: Presence3, order: Order, seed: u64) -> Self {
        let mut sum = 0u64;
        let mut coins = mix64(seed);
        let keys = positions(entries, order, seed)
            .into_iter()
            .map(|i| {
                coins = mix64(coins.wrapping_add(0x9e37_79b9_7f4a_7c15));
                let there = match presence {
                    Presence3::Hit => true,
                    Presence3::Miss => false,
                    Presence3::Half => coins & 1 == 0,
                };
                let number = if there { present(i) } else { absent(i) };
                sum = sum.wrapping_add(folded(there.then(|| value_of(number))));
                K::of(number)
            })
            .collect();
        Self { keys, sum }
    }

    /// The keys as thread `t` of `threads` sees them: two parts that make the round, beginning elsewhere.
    #[must_use]
    pub fn from(&self, t: usize, threads: usize) -> (&[K], &[K]) {
        let (back, front) = self.keys.split_at(self.keys.len() / threads * t);
        (front, back)
    }
}
