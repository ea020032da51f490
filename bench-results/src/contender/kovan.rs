//! kovan-map.

use super::{Map, Session, hasher};
use crate::key::Key;
use foldhash::fast::FixedState;

contender!(
    /// kovan-map's chained map: clones values out.
    Kovan, "kovan", kovan_map::HashMap<K, u64, FixedState>, session &'a Self = |map| map
);

impl<K: Key> Session<K> for &Kovan<K> {
    #[inline(always)]
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
