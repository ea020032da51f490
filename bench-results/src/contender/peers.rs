//! papaya, scc's two maps and flurry, each pinned for every operation as most programs do.

use super::{Map, Session, hasher};
use crate::key::Key;
use foldhash::fast::FixedState;

contender!(
    /// papaya.
    Papaya, "papaya", papaya::HashMap<K, u64, FixedState>, session &'a Self = |map| map
);

by_view!(
    &Papaya<K>, |s| s.0.pin(), read |v: &u64| *v, write |v| v,
    increment |map, key| map.update(key.clone(), |v| v.wrapping_add(1))
);

contender!(
    /// flurry.
    Flurry, "flurry", flurry::HashMap<K, u64, FixedState>, session &'a Self = |map| map
);

by_view!(
    &Flurry<K>, |s| s.0.pin(), read |v: &u64| *v, write |v| v,
    increment |map, key| map.compute_if_present(key, |_, v| Some(v.wrapping_add(1)))
);

contender!(
    /// scc's `HashMap`.
    SccMap, "scc", scc::HashMap<K, u64, FixedState>, session &'a Self = |map| map
);

impl<K: Key> Session<K> for &SccMap<K> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<u64> {
        self.0.read_sync(key, |_, v| *v)
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        self.0.upsert_sync(key, value)
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        self.0
            .update_sync(key, |_, v| *v = v.wrapping_add(1))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.0.remove_sync(key).map(|(_, v)| v)
    }

    fn sum(&self) -> u64 {
        let mut sum = 0u64;
        self.0.iter_sync(|_, v| {
            sum = sum.wrapping_add(*v);
            true
        });
        sum
    }
}

contender!(
    /// scc's `HashIndex`.
    ///
    /// Values are written in place, under the entry's lock, as its documentation shows for integers. Its other way, to insert
    /// a second entry and mark the first as removed, has look-ups without a lock miss a key that is there all the time: they
    /// may pass the place of the second before it is filled and read that the first is gone after.
    SccIndex, "scc-index", scc::HashIndex<K, u64, FixedState>, session &'a Self = |map| map
);

/// Stores a value where readers without a lock may be looking.
#[inline]
fn store<K: Key>(
    entry: &mut scc::hash_index::OccupiedEntry<'_, K, u64, FixedState>,
    value: u64,
) -> u64 {
    // SAFETY: as scc's documentation of `get_mut` demands, the value can be read while its one writer, who has the entry's
    // lock, stores it: an aligned word is stored and read whole.
    let at = unsafe { entry.get_mut() };
    core::mem::replace(at, value)
}

impl<K: Key> Session<K> for &SccIndex<K> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<u64> {
        self.0.peek_with(key, |_, v| *v)
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        match self.0.entry_sync(key) {
            scc::hash_index::Entry::Occupied(mut e) => Some(store(&mut e, value)),
            scc::hash_index::Entry::Vacant(e) => {
                e.insert_entry(value);
                None
            }
        }
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        self.0
            .get_sync(key)
            .map(|mut e| {
                let v = e.get().wrapping_add(1);
                store(&mut e, v)
            })
            .is_some()
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        let e = self.0.get_sync(key)?;
        let old = *e.get();
        e.remove_entry();
        Some(old)
    }

    fn sum(&self) -> u64 {
        let guard = scc::Guard::new();
        self.0.iter(&guard).fold(0, |a, (_, v)| a.wrapping_add(*v))
    }
}
