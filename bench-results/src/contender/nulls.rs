//! nulls: pinned anew for every operation, under one guard, and with values changed in place.

use super::{Map, Session, hasher};
use crate::key::Key;
use crate::workload::folded;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use foldhash::fast::FixedState;

ours!(
    /// nulls, pinned anew for every operation.
    Nulls, "nulls", nulls::HashMap<K, u64, FixedState>, session &'a Self = |map| map
);

by_view!(
    &Nulls<K>, |s| s.0.pin(), read |v: &u64| *v, write |v| v,
    increment |map, key| map.update(key, |v| v.wrapping_add(1)), batch batch
);

ours!(
    /// nulls, one guard held for the whole stretch of work. Memory that writers retire meanwhile is not reused before its
    /// end, so this is measured for look-ups.
    NullsHeld, "nulls-held", nulls::HashMap<K, u64, FixedState>,
    session NullsHeldSession<'a, K> = |map| NullsHeldSession(map.0.pin())
);

/// The session of [`NullsHeld`].
#[derive(Debug)]
pub struct NullsHeldSession<'a, K: Key>(nulls::HashMapRef<'a, K, u64, FixedState>);

by_view!(
    NullsHeldSession<'_, K>, |s| &s.0, read |v: &u64| *v, write |v| v,
    increment |map, key| map.update(key, |v| v.wrapping_add(1)), batch batch
);

ours!(
    /// nulls with atomic values, which are changed in place: what its documentation recommends for counters.
    NullsAtomic, "nulls-atomic", nulls::HashMap<K, AtomicU64, FixedState>, session &'a Self = |map| map
);

// Relaxed throughout: each value stands for itself, and sums are taken after the writing threads were joined.
by_view!(
    &NullsAtomic<K>, |s| s.0.pin(), read |v: &AtomicU64| v.load(Relaxed), write AtomicU64::new,
    increment |map, key| map.get(key).map(|v| v.fetch_add(1, Relaxed))
);

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
