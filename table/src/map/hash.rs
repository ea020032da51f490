//! From what a hasher returns to what the table uses.

use core::any::TypeId;
use core::hash::{BuildHasher, Hash};

/// The default hasher: foldhash, keyed per map.
///
/// ```
/// let map = nulls::HashMap::<u32, u32>::new();
/// let _: &nulls::DefaultHashBuilder = map.hasher();
/// ```
pub type DefaultHashBuilder = foldhash::fast::RandomState;

/// Hashes a key and spreads the result where the hasher may need it.
#[inline(always)]
pub(crate) fn hash_of<Q: Hash + ?Sized, S: BuildHasher>(build: &S, key: &Q) -> u64 {
    let hash = build.hash_one(key);
    if is_spread::<S>() { hash } else { spread(hash) }
}

/// Whether this hasher is known to be good at both ends: foldhash ends with a folded multiplication itself, and SipHash
/// mixes every bit. Known when the program is compiled.
#[inline(always)]
fn is_spread<S>() -> bool {
    use foldhash::{fast, quality};
    let id = typeid::of::<S>();
    let is = |other: TypeId| id == other;
    is(TypeId::of::<fast::RandomState>())
        || is(TypeId::of::<fast::FixedState>())
        || is(TypeId::of::<fast::SeedableRandomState>())
        || is(TypeId::of::<quality::RandomState>())
        || is(TypeId::of::<quality::FixedState>())
        || is(TypeId::of::<quality::SeedableRandomState>())
        || is_std(id)
}

/// Whether this is the type of `std`'s SipHash.
#[inline(always)]
fn is_std(id: TypeId) -> bool {
    #[cfg(feature = "std")]
    return id == TypeId::of::<std::hash::RandomState>();
    #[cfg(not(feature = "std"))]
    {
        let _ = id;
        false
    }
}

/// One multiplication between two shifts. Buckets take the high bits of a hash and tags the low ones, so a hasher that is
/// weak at either end (the identity, Fx) would collapse without it. Each step can be undone: no two hashes become equal.
/// (A folded 128-bit product does as well and takes the multiplier twice as long.)
#[inline(always)]
fn spread(h: u64) -> u64 {
    // The high half reaches down, the odd factor (2^64 / golden ratio) carries everything up, and the high half of
    // that reaches down again.
    let p = (h ^ h >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    p ^ p >> 32
}

#[cfg(test)]
mod tests {
    use super::{hash_of, spread};
    use core::hash::BuildHasher;
    use std::collections::HashSet;

    /// Small integers, multiples of large powers of two, and integers that differ in the high bits only must all
    /// scatter over 1,024 buckets and 128 tags.
    #[test]
    fn weak_hashers_are_spread_at_both_ends() {
        type Family = (&'static str, fn(u64) -> u64);
        let families: [Family; 4] = [
            ("identity", |i| i),
            ("multiples of 4,096", |i| i << 12),
            ("high bits", |i| i << 48),
            ("fx", |i| i.wrapping_mul(0x517c_c1b7_2722_0a95)),
        ];
        let foldhash = foldhash::fast::FixedState::with_seed(1);
        let siphash = std::hash::RandomState::new();
        for (name, f) in families {
            let all = 0..1u64 << 14;
            check(name, all.clone().map(|i| spread(f(i))).collect());
            // Those that are taken to be good as they are.
            check(name, all.clone().map(|i| foldhash.hash_one(f(i))).collect());
            check(name, all.clone().map(|i| siphash.hash_one(f(i))).collect());
            assert!(
                all.clone()
                    .all(|i| hash_of(&foldhash, &i) == foldhash.hash_one(i))
            );
        }
    }

    fn check(name: &str, hashes: Vec<u64>) {
        let buckets: HashSet<u64> = hashes.iter().map(|h| h >> 54).collect();
        let tags: HashSet<u64> = hashes.iter().map(|h| h & 0x7f).collect();
        assert!(buckets.len() > 900, "{name}: {} buckets", buckets.len());
        assert!(tags.len() > 100, "{name}: {} tags", tags.len());
    }
}
