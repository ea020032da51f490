//! nulls' map with its entries in the buckets themselves: pinned anew for every operation, and under one guard.

use super::{Map, Session, hasher};
use crate::key::Key;
use crate::workload::folded;
use bytemuck::NoUninit;
use foldhash::fast::FixedState;

/// Keys that are copied into buckets, byte by byte. The kinds of keys are, but for strings.
pub trait Copied: Key + Copy + NoUninit {}

impl<K: Key + Copy + NoUninit> Copied for K {}

ours!(
    /// nulls with entries in the buckets, pinned anew for every operation.
    Inline where K: Copied, "nulls-inline", nulls::InlineMap<K, u64, FixedState>, session &'a Self = |map| map
);

by_view!(
    where K: Copied; &Inline<K>, |s| s.0.pin(), read |v: u64| v, write |v| v,
    increment |map, key| map.update(key, |v| v.wrapping_add(1)), batch batch
);

ours!(
    /// The same with one guard held for the whole stretch of work.
    InlineHeld where K: Copied, "nulls-inline-held", nulls::InlineMap<K, u64, FixedState>,
    session InlineHeldSession<'a, K> = |map| InlineHeldSession(map.0.pin())
);

/// The session of [`InlineHeld`].
#[derive(Debug)]
pub struct InlineHeldSession<'a, K: Copied>(nulls::InlineMapRef<'a, K, u64, FixedState>);

by_view!(
    where K: Copied; InlineHeldSession<'_, K>, |s| &s.0, read |v: u64| v, write |v| v,
    increment |map, key| map.update(key, |v| v.wrapping_add(1)), batch batch
);

/// Looks up by the batch interface.
fn batch<K: Copied>(view: &nulls::InlineMapRef<'_, K, u64, FixedState>, keys: &[K]) -> u64 {
    let mut sum = 0u64;
    for part in keys.chunks(super::BATCH) {
        view.get_many(part, |_, v| sum = sum.wrapping_add(folded(v)));
    }
    sum
}
