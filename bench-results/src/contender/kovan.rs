//! kovan-map.

use super::{Map, Session, hasher};
use crate::key::Key;
use foldhash::fast::FixedState;

/// kovan-map's chained map: clones values out.
pub struct Kovan<K: Key>(kovan_map::HashMap<K, u64, FixedState>);

impl<K: Key> core::fmt::Debug for Kovan<K> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("kovan")
    }
}

impl<K: Key> Map<K> for Kovan<K> {
    const NAME: &'static str = "kovan";
    type Session<'a> = &'a Self;

    fn empty() -> Self {
        Self(kovan_map::HashMap::with_hasher(hasher()))
    }

    fn presized(entries: usize) -> Self {
        Self(kovan_map::HashMap::with_capacity_and_hasher(
            entries,
            hasher(),
        ))
    }

    #[inline]
    fn session(&self) -> &Self {
        self
    }
}

impl<K: Key> Session<K> for &Kovan<K> {
    #[inline]
    fn get(&self, key: &K) -> Option<u64> {
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        self.0.insert(key, value)
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        self.0
            .compute(key.clone(), |v| v.map(|v| v.wrapping_add(1)))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.0.remove(key)
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |a, (_, v)| a.wrapping_add(v))
    }
}
