//! The maps behind one interface, each used as its documentation recommends, all with the same hasher.
//!
//! What is measured is monomorphised: the interface costs nothing. A [`Session`] is what a thread holds while it works:
//! nothing for most maps, a guard where a map has one and the contender is to keep it.

use core::sync::atomic::{AtomicU64, Ordering};
use dashmap::DashMap;
use foldhash::fast::FixedState;

/// The hasher of every contender: foldhash with a fixed seed, so that every run sees the same chains and clusters.
#[must_use]
pub fn hasher() -> FixedState {
    FixedState::with_seed(0x5eed)
}

/// A map from `u64` to `u64` that threads share.
pub trait Map: Sync + Sized {
    /// The name in results.
    const NAME: &'static str;

    /// What a thread works through.
    type Session<'a>: Session
    where
        Self: 'a;

    /// A map that was told nothing of its size.
    fn empty() -> Self;

    /// A map with room for that many entries.
    fn presized(entries: usize) -> Self;

    /// A session of the calling thread.
    fn session(&self) -> Self::Session<'_>;

    /// Buckets that the calling thread has moved for resizes since it began, in maps that count them.
    fn moved() -> Option<u64> {
        None
    }
}

/// The operations measured.
pub trait Session {
    /// The value of a key.
    fn get(&self, key: u64) -> Option<u64>;

    /// Inserts or replaces; the value that was there.
    fn insert(&self, key: u64, value: u64) -> Option<u64>;

    /// Adds one to the value of a key, atomically; whether it is there.
    fn increment(&self, key: u64) -> bool;

    /// Removes a key; the value that was there.
    fn remove(&self, key: u64) -> Option<u64>;

    /// The wrapping sum of all values, by the map's iterator.
    fn sum(&self) -> u64;
}

/// Calls a generic function with the contender of a name.
///
/// `dispatch!(name, M => expression)` is `Some(expression)` with `M` the contender's type, or `None` if there is no such
/// contender.
#[macro_export]
macro_rules! dispatch {
    ($name:expr, $m:ident => $e:expr) => {
        match $name {
            "nulls" => {
                type $m = $crate::contender::Nulls;
                Some($e)
            }
            "nulls-held" => {
                type $m = $crate::contender::NullsHeld;
                Some($e)
            }
            "nulls-atomic" => {
                type $m = $crate::contender::NullsAtomic;
                Some($e)
            }
            "dashmap" => {
                type $m = $crate::contender::Dash<0>;
                Some($e)
            }
            "dashmap-256" => {
                type $m = $crate::contender::Dash<256>;
                Some($e)
            }
            _ => None,
        }
    };
}

/// The names that [`dispatch!`](crate::dispatch) knows.
pub const ALL: &[&str] = &[
    "nulls",
    "nulls-held",
    "nulls-atomic",
    "dashmap",
    "dashmap-256",
];

/// nulls, pinned anew for every operation.
#[derive(Debug)]
pub struct Nulls(nulls::HashMap<u64, u64, FixedState>);

/// The session of [`Nulls`].
#[derive(Debug, Clone, Copy)]
pub struct NullsSession<'a>(&'a nulls::HashMap<u64, u64, FixedState>);

impl Map for Nulls {
    const NAME: &'static str = "nulls";
    type Session<'a> = NullsSession<'a>;

    fn empty() -> Self {
        Self(nulls::HashMap::with_hasher(hasher()))
    }

    fn presized(entries: usize) -> Self {
        Self(nulls::HashMap::with_capacity_and_hasher(entries, hasher()))
    }

    #[inline]
    fn session(&self) -> NullsSession<'_> {
        NullsSession(&self.0)
    }

    #[inline]
    fn moved() -> Option<u64> {
        Some(nulls::raw::thread_stats().moved)
    }
}

impl Session for NullsSession<'_> {
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.pin().get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        self.0.pin().insert(key, value).copied()
    }

    #[inline]
    fn increment(&self, key: u64) -> bool {
        self.0.pin().update(&key, |v| v.wrapping_add(1)).is_some()
    }

    #[inline]
    fn remove(&self, key: u64) -> Option<u64> {
        self.0.pin().remove(&key).copied()
    }

    fn sum(&self) -> u64 {
        self.0.pin().iter().fold(0, |a, (_, &v)| a.wrapping_add(v))
    }
}

/// nulls, one guard held for the whole stretch of work. Memory that writers retire meanwhile is not reused before its
/// end, so this is measured for look-ups.
#[derive(Debug)]
pub struct NullsHeld(nulls::HashMap<u64, u64, FixedState>);

/// The session of [`NullsHeld`].
#[derive(Debug)]
pub struct NullsHeldSession<'a>(nulls::HashMapRef<'a, u64, u64, FixedState>);

impl Map for NullsHeld {
    const NAME: &'static str = "nulls-held";
    type Session<'a> = NullsHeldSession<'a>;

    fn empty() -> Self {
        Self(nulls::HashMap::with_hasher(hasher()))
    }

    fn presized(entries: usize) -> Self {
        Self(nulls::HashMap::with_capacity_and_hasher(entries, hasher()))
    }

    #[inline]
    fn session(&self) -> NullsHeldSession<'_> {
        NullsHeldSession(self.0.pin())
    }

    #[inline]
    fn moved() -> Option<u64> {
        Nulls::moved()
    }
}

impl Session for NullsHeldSession<'_> {
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        self.0.insert(key, value).copied()
    }

    #[inline]
    fn increment(&self, key: u64) -> bool {
        self.0.update(&key, |v| v.wrapping_add(1)).is_some()
    }

    #[inline]
    fn remove(&self, key: u64) -> Option<u64> {
        self.0.remove(&key).copied()
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |a, (_, &v)| a.wrapping_add(v))
    }
}

/// nulls with atomic values, which are changed in place: what its documentation recommends for counters.
#[derive(Debug)]
pub struct NullsAtomic(nulls::HashMap<u64, AtomicU64, FixedState>);

/// The session of [`NullsAtomic`].
#[derive(Debug, Clone, Copy)]
pub struct NullsAtomicSession<'a>(&'a nulls::HashMap<u64, AtomicU64, FixedState>);

impl Map for NullsAtomic {
    const NAME: &'static str = "nulls-atomic";
    type Session<'a> = NullsAtomicSession<'a>;

    fn empty() -> Self {
        Self(nulls::HashMap::with_hasher(hasher()))
    }

    fn presized(entries: usize) -> Self {
        Self(nulls::HashMap::with_capacity_and_hasher(entries, hasher()))
    }

    #[inline]
    fn session(&self) -> NullsAtomicSession<'_> {
        NullsAtomicSession(&self.0)
    }

    #[inline]
    fn moved() -> Option<u64> {
        Nulls::moved()
    }
}

// Relaxed throughout: each value stands for itself, and sums are taken after the writing threads were joined.
impl Session for NullsAtomicSession<'_> {
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.pin().get(&key).map(|v| v.load(Ordering::Relaxed))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        self.0
            .pin()
            .insert(key, AtomicU64::new(value))
            .map(|v| v.load(Ordering::Relaxed))
    }

    #[inline]
    fn increment(&self, key: u64) -> bool {
        self.0
            .pin()
            .get(&key)
            .map(|v| v.fetch_add(1, Ordering::Relaxed))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: u64) -> Option<u64> {
        self.0.pin().remove(&key).map(|v| v.load(Ordering::Relaxed))
    }

    fn sum(&self) -> u64 {
        self.0
            .pin()
            .iter()
            .fold(0, |a, (_, v)| a.wrapping_add(v.load(Ordering::Relaxed)))
    }
}

/// dashmap with `SHARDS` shards; 0: as many as it chooses itself (four per processor).
#[derive(Debug)]
pub struct Dash<const SHARDS: usize>(DashMap<u64, u64, FixedState>);

/// The session of [`Dash`].
#[derive(Debug, Clone, Copy)]
pub struct DashSession<'a>(&'a DashMap<u64, u64, FixedState>);

impl<const SHARDS: usize> Map for Dash<SHARDS> {
    const NAME: &'static str = match SHARDS {
        0 => "dashmap",
        256 => "dashmap-256",
        _ => panic!("no name for this number of shards"),
    };
    type Session<'a> = DashSession<'a>;

    fn empty() -> Self {
        Self::presized(0)
    }

    fn presized(entries: usize) -> Self {
        Self(match SHARDS {
            0 => DashMap::with_capacity_and_hasher(entries, hasher()),
            n => DashMap::with_capacity_and_hasher_and_shard_amount(entries, hasher(), n),
        })
    }

    #[inline]
    fn session(&self) -> DashSession<'_> {
        DashSession(&self.0)
    }
}

impl Session for DashSession<'_> {
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|v| *v)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        self.0.insert(key, value)
    }

    #[inline]
    fn increment(&self, key: u64) -> bool {
        self.0
            .get_mut(&key)
            .map(|mut v| *v = v.wrapping_add(1))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: u64) -> Option<u64> {
        self.0.remove(&key).map(|(_, v)| v)
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |a, e| a.wrapping_add(*e.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaves<M: Map>() {
        for map in [M::empty(), M::presized(100)] {
            let s = map.session();
            for k in 0..100 {
                assert_eq!(s.insert(k, k + 1), None);
            }
            assert_eq!(s.insert(7, 70), Some(8));
            assert!(s.increment(7));
            assert!(!s.increment(1000));
            assert_eq!((s.get(7), s.get(8), s.get(1000)), (Some(71), Some(9), None));
            assert_eq!(s.remove(7), Some(71));
            assert_eq!(s.remove(7), None);
            assert_eq!(s.sum(), (1..=100).sum::<u64>() - 8);
        }
    }

    #[test]
    fn contenders_do_the_same() {
        for name in ALL {
            let known = dispatch!(*name, M => {
                assert_eq!(M::NAME, *name);
                behaves::<M>();
            });
            assert!(known.is_some(), "{name}");
        }
    }
}
