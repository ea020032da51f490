//! nulls: pinned anew for every operation, under one guard, and with values changed in place.

use super::{Map, Session, hasher};
use crate::key::Key;
use crate::workload::folded;
use core::sync::atomic::{AtomicU64, Ordering};
use foldhash::fast::FixedState;

/// nulls, pinned anew for every operation.
#[derive(Debug)]
pub struct Nulls<K: Key = u64>(nulls::HashMap<K, u64, FixedState>);

impl<K: Key> Nulls<K> {
    /// The map itself.
    #[must_use]
    pub fn map(&self) -> &nulls::HashMap<K, u64, FixedState> {
        &self.0
    }
}

/// The session of [`Nulls`].
#[derive(Debug)]
pub struct NullsSession<'a, K: Key>(&'a nulls::HashMap<K, u64, FixedState>);

impl<K: Key> Map<K> for Nulls<K> {
    const NAME: &'static str = "nulls";
    type Session<'a> = NullsSession<'a, K>;

    fn empty() -> Self {
        Self(nulls::HashMap::with_hasher(hasher()))
    }

    fn presized(entries: usize) -> Self {
        Self(nulls::HashMap::with_capacity_and_hasher(entries, hasher()))
    }

    #[inline]
    fn session(&self) -> NullsSession<'_, K> {
        NullsSession(&self.0)
    }

    #[inline]
    fn moved() -> Option<u64> {
        Some(nulls::raw::thread_stats().moved)
    }

    fn settle(&self) {
        self.0.pin().maintain().expect("memory");
    }

    fn shrink(&self) {
        self.0.shrink_to_fit().expect("memory");
    }
}

impl<K: Key> Session<K> for NullsSession<'_, K> {
    #[inline]
    fn get(&self, key: &K) -> Option<u64> {
        self.0.pin().get(key).copied()
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        self.0.pin().insert(key, value).copied()
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        self.0.pin().update(key, |v| v.wrapping_add(1)).is_some()
    }

    fn batch(&self, keys: &[K]) -> u64 {
        batch(&self.0.pin(), keys)
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.0.pin().remove(key).copied()
    }

    fn sum(&self) -> u64 {
        self.0.pin().iter().fold(0, |a, (_, &v)| a.wrapping_add(v))
    }
}

/// nulls, one guard held for the whole stretch of work. Memory that writers retire meanwhile is not reused before its
/// end, so this is measured for look-ups.
#[derive(Debug)]
pub struct NullsHeld<K: Key = u64>(nulls::HashMap<K, u64, FixedState>);

/// The session of [`NullsHeld`].
#[derive(Debug)]
pub struct NullsHeldSession<'a, K: Key>(nulls::HashMapRef<'a, K, u64, FixedState>);

impl<K: Key> Map<K> for NullsHeld<K> {
    const NAME: &'static str = "nulls-held";
    type Session<'a> = NullsHeldSession<'a, K>;

    fn empty() -> Self {
        Self(nulls::HashMap::with_hasher(hasher()))
    }

    fn presized(entries: usize) -> Self {
        Self(nulls::HashMap::with_capacity_and_hasher(entries, hasher()))
    }

    #[inline]
    fn session(&self) -> NullsHeldSession<'_, K> {
        NullsHeldSession(self.0.pin())
    }

    #[inline]
    fn moved() -> Option<u64> {
        Nulls::<u64>::moved()
    }

    fn settle(&self) {
        self.0.pin().maintain().expect("memory");
    }

    fn shrink(&self) {
        self.0.shrink_to_fit().expect("memory");
    }
}

impl<K: Key> Session<K> for NullsHeldSession<'_, K> {
    #[inline]
    fn get(&self, key: &K) -> Option<u64> {
        self.0.get(key).copied()
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        self.0.insert(key, value).copied()
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        self.0.update(key, |v| v.wrapping_add(1)).is_some()
    }

    fn batch(&self, keys: &[K]) -> u64 {
        batch(&self.0, keys)
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.0.remove(key).copied()
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |a, (_, &v)| a.wrapping_add(v))
    }
}

/// nulls with atomic values, which are changed in place: what its documentation recommends for counters.
#[derive(Debug)]
pub struct NullsAtomic<K: Key = u64>(nulls::HashMap<K, AtomicU64, FixedState>);

/// The session of [`NullsAtomic`].
#[derive(Debug)]
pub struct NullsAtomicSession<'a, K: Key>(&'a nulls::HashMap<K, AtomicU64, FixedState>);

impl<K: Key> Map<K> for NullsAtomic<K> {
    const NAME: &'static str = "nulls-atomic";
    type Session<'a> = NullsAtomicSession<'a, K>;

    fn empty() -> Self {
        Self(nulls::HashMap::with_hasher(hasher()))
    }

    fn presized(entries: usize) -> Self {
        Self(nulls::HashMap::with_capacity_and_hasher(entries, hasher()))
    }

    #[inline]
    fn session(&self) -> NullsAtomicSession<'_, K> {
        NullsAtomicSession(&self.0)
    }

    #[inline]
    fn moved() -> Option<u64> {
        Nulls::<u64>::moved()
    }

    fn settle(&self) {
        self.0.pin().maintain().expect("memory");
    }

    fn shrink(&self) {
        self.0.shrink_to_fit().expect("memory");
    }
}

// Relaxed throughout: each value stands for itself, and sums are taken after the writing threads were joined.
impl<K: Key> Session<K> for NullsAtomicSession<'_, K> {
    #[inline]
    fn get(&self, key: &K) -> Option<u64> {
        self.0.pin().get(key).map(|v| v.load(Ordering::Relaxed))
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        self.0
            .pin()
            .insert(key, AtomicU64::new(value))
            .map(|v| v.load(Ordering::Relaxed))
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        self.0
            .pin()
            .get(key)
            .map(|v| v.fetch_add(1, Ordering::Relaxed))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.0.pin().remove(key).map(|v| v.load(Ordering::Relaxed))
    }

    fn sum(&self) -> u64 {
        self.0
            .pin()
            .iter()
            .fold(0, |a, (_, v)| a.wrapping_add(v.load(Ordering::Relaxed)))
    }
}

/// Looks up by the batch interface.
fn batch<K: Key>(view: &nulls::HashMapRef<'_, K, u64, FixedState>, keys: &[K]) -> u64 {
    let mut sum = 0u64;
    for part in keys.chunks(super::BATCH) {
        let mut refs = [&part[0]; super::BATCH];
        for (r, k) in refs.iter_mut().zip(part) {
            *r = k;
        }
        view.get_many(&refs[..part.len()], |_, v| {
            sum = sum.wrapping_add(folded(v.copied()));
        });
    }
    sum
}
