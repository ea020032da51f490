//! dashmap.

use super::{Map, Session, hasher};
use crate::key::Key;
use dashmap::DashMap;
use foldhash::fast::FixedState;

/// dashmap with `SHARDS` shards; 0: as many as it chooses itself (four per processor).
#[derive(Debug)]
pub struct Dash<const SHARDS: usize, K: Key = u64>(DashMap<K, u64, FixedState>);

/// The session of [`Dash`].
#[derive(Debug)]
pub struct DashSession<'a, K: Key>(&'a DashMap<K, u64, FixedState>);

impl<const SHARDS: usize, K: Key> Map<K> for Dash<SHARDS, K> {
    const NAME: &'static str = match SHARDS {
        0 => "dashmap",
        256 => "dashmap-256",
        _ => panic!("no name for this number of shards"),
    };
    type Session<'a> = DashSession<'a, K>;

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
    fn session(&self) -> DashSession<'_, K> {
        DashSession(&self.0)
    }

    fn shrink(&self) {
        self.0.shrink_to_fit();
    }
}

impl<K: Key> Session<K> for DashSession<'_, K> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<u64> {
        self.0.get(key).map(|v| *v)
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        self.0.insert(key, value)
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        self.0
            .get_mut(key)
            .map(|mut v| *v = v.wrapping_add(1))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.0.remove(key).map(|(_, v)| v)
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |a, e| a.wrapping_add(*e.value()))
    }
}
