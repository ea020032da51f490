//! Keys, values and access streams: the same for every contender, and checked.
//!
//! Key `i` of a map is `mix64(2i + 1)`, an absent key `mix64(2i + 2)`: `mix64` is a bijection, so no absent key is ever
//! present. Accesses follow a stream that is made before the clock starts: one random permutation of the keys after the
//! other, read front to back, so that the stream itself is prefetched and the accesses it names are not.

/// The finaliser of splitmix64: a bijection on 64 bits that scatters.
#[must_use]
pub const fn mix64(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The `i`-th key of a map.
#[must_use]
pub const fn present(i: u64) -> u64 {
    mix64(2 * i + 1)
}

/// The `i`-th key that is in no map.
#[must_use]
pub const fn absent(i: u64) -> u64 {
    mix64(2 * i + 2)
}

/// The value of a key as it is inserted: a result that came from the wrong key spoils the checksum.
#[must_use]
pub const fn value_of(key: u64) -> u64 {
    key.rotate_left(23) ^ 0x5555_5555_5555_5555
}

/// What a look-up adds to the checksum. An absent key adds 1, so that misses are counted too.
#[inline(always)]
#[must_use]
pub fn folded(found: Option<u64>) -> u64 {
    found.unwrap_or(1)
}

/// Whether a stream's keys are in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Every key is.
    Hit,
    /// None is.
    Miss,
}

/// Keys in the order of access, and the checksum of every stretch of them.
#[derive(Debug)]
pub struct Stream {
    keys: Vec<u64>,
    /// `sums[i]`: what the first `i` look-ups fold to.
    sums: Vec<u64>,
}

impl Stream {
    /// The least length of a stream: 8 MiB of keys, longer than any branch predictor's memory.
    pub const LENGTH: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

    /// As many permutations of `entries` keys as [`LENGTH`](Self::LENGTH) asks for. Streams of one seed are equal.
    ///
    /// # Panics
    /// When `entries` is 0.
    #[must_use]
    pub fn new(entries: usize, presence: Presence, seed: u64) -> Self {
        Self::with_length(entries, presence, seed, Self::LENGTH)
    }

    /// As [`new`](Self::new), at least `length` keys long.
    ///
    /// # Panics
    /// When `entries` is 0.
    #[must_use]
    pub fn with_length(entries: usize, presence: Presence, seed: u64, length: usize) -> Self {
        assert!(entries > 0, "a stream over no keys");
        let mut random = Random(seed);
        let mut order: Vec<u64> = (0..entries as u64).collect();
        let mut keys = Vec::with_capacity(length.next_multiple_of(entries));
        while keys.len() < length {
            shuffle(&mut order, &mut random);
            keys.extend(order.iter().map(|&i| match presence {
                Presence::Hit => present(i),
                Presence::Miss => absent(i),
            }));
        }
        let mut sum = 0u64;
        let mut sums = Vec::with_capacity(keys.len() + 1);
        sums.push(0);
        for &k in &keys {
            sum = sum.wrapping_add(folded((presence == Presence::Hit).then(|| value_of(k))));
            sums.push(sum);
        }
        Self { keys, sums }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// Calls `run` with stretches of the stream, `count` keys in all, going round from key number `start`.
    /// Returns the sum of what it returned.
    #[inline]
    pub fn each(&self, start: usize, count: u64, mut run: impl FnMut(&[u64]) -> u64) -> u64 {
        let mut sum = 0u64;
        let (mut at, mut left) = (start % self.keys.len(), count);
        while left > 0 {
            let n = (self.keys.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
            sum = sum.wrapping_add(run(&self.keys[at..at + n]));
            at = (at + n) % self.keys.len();
            left -= n as u64;
        }
        sum
    }

    /// What `count` look-ups from key number `start` must fold to.
    #[must_use]
    pub fn expected(&self, start: usize, count: u64) -> u64 {
        let mut sum = 0u64;
        let (mut at, mut left) = (start % self.keys.len(), count);
        while left > 0 {
            let n = (self.keys.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
            sum = sum.wrapping_add(self.sums[at + n].wrapping_sub(self.sums[at]));
            at = (at + n) % self.keys.len();
            left -= n as u64;
        }
        sum
    }
}

/// splitmix64: small, seeded, good enough to shuffle.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix64(self.0)
    }

    fn below(&mut self, n: usize) -> usize {
        nulls::scale::reciprocal_scale(self.next(), n as u64) as usize
    }
}

fn shuffle(order: &mut [u64], random: &mut Random) {
    for i in (1..order.len()).rev() {
        order.swap(i, random.below(i + 1));
    }
}

/// The keys `0..entries` in a random order: insertions in key order would be too regular.
#[must_use]
pub fn permuted(entries: usize, seed: u64) -> Vec<u64> {
    if entries > SHUFFLED {
        return (0..entries as u64)
            .map(|i| present(scrambled(i, entries as u64, seed)))
            .collect();
    }
    let mut order: Vec<u64> = (0..entries as u64).collect();
    shuffle(&mut order, &mut Random(seed));
    order.iter().map(|&i| present(i)).collect()
}

/// More keys than this are not shuffled, which takes a cache miss for each, but scrambled.
const SHUFFLED: usize = 1 << 21;

/// The place of `i` in an order of `0..n` that looks random: a bijection on the next power of two, again and again until it is below `n`.
fn scrambled(i: u64, n: u64, seed: u64) -> u64 {
    let bits = u64::BITS - (n - 1).leading_zeros();
    let mask = (1u64 << bits) - 1;
    let mut x = i;
    loop {
        for round in 0..3 {
            // Adding, multiplying by something odd and folding the upper half down: each can be undone.
            let key = mix64(seed.wrapping_mul(3).wrapping_add(round));
            x = x.wrapping_add(key >> 32).wrapping_mul(key | 1) & mask;
            x ^= x >> bits.div_ceil(2);
        }
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_stream_names_every_key_equally_often() {
        let s = Stream::with_length(100, Presence::Hit, 7, 250);
        assert_eq!(s.keys().len(), 300);
        for part in s.keys().chunks(100) {
            assert_eq!(
                part.iter().copied().collect::<HashSet<_>>(),
                (0..100).map(present).collect()
            );
        }
        assert_ne!(s.keys()[..100], s.keys()[100..200]);
    }

    #[test]
    fn a_scrambled_order_has_everything_once_and_is_no_order() {
        for n in [2, 3, 1000, 1 << 12, 40_001] {
            let order: Vec<u64> = (0..n).map(|i| scrambled(i, n, 3)).collect();
            assert_eq!(order.iter().collect::<HashSet<_>>().len(), n as usize);
            assert!(order.iter().all(|&x| x < n));
            if n > 100 {
                // Neighbours are as far from each other as any two: a third of the whole on average.
                let far: u64 = order.windows(2).map(|w| w[0].abs_diff(w[1])).sum();
                let mean = far as f64 / n as f64 / n as f64;
                assert!((0.28..0.39).contains(&mean), "{n}: {mean}");
                let rises = order.windows(2).filter(|w| w[0] < w[1]).count() as f64;
                assert!((0.4..0.6).contains(&(rises / n as f64)), "{n}: {rises}");
            }
        }
        assert_ne!(
            (0..100).map(|i| scrambled(i, 100, 1)).collect::<Vec<_>>(),
            (0..100).map(|i| scrambled(i, 100, 2)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn absent_keys_are_absent() {
        let there: HashSet<u64> = (0..100_000).map(present).collect();
        assert_eq!(there.len(), 100_000);
        assert!((0..100_000).map(absent).all(|k| !there.contains(&k)));
    }

    #[test]
    fn the_expected_sum_goes_round() {
        let s = Stream::with_length(10, Presence::Hit, 1, 10);
        let all = s
            .keys()
            .iter()
            .fold(0u64, |a, &k| a.wrapping_add(value_of(k)));
        assert_eq!(s.expected(0, 10), all);
        assert_eq!(s.expected(3, 20), all.wrapping_mul(2));
        let run = |part: &[u64]| part.iter().fold(0u64, |a, &k| a.wrapping_add(value_of(k)));
        assert_eq!(s.each(7, 25, run), s.expected(7, 25));
        let m = Stream::with_length(10, Presence::Miss, 1, 10);
        assert_eq!(m.expected(4, 33), 33);
    }
}
