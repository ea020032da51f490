//! papaya, scc's two maps and flurry, each pinned for every operation as most programs do.

use super::{Map, Session, hasher};
use crate::key::Key;
use foldhash::fast::FixedState;

/// Gives a contender its shared reference as session.
macro_rules! by_reference {
    ($map:ident, $name:literal, $inner:ty, $empty:expr, $presized:expr) => {
        #[doc = concat!("`", $name, "`: see the module.")]
        pub struct $map<K: Key>($inner);

        impl<K: Key> $map<K> {
            /// The map itself.
            #[must_use]
            pub fn map(&self) -> &$inner {
                &self.0
            }
        }

        impl<K: Key> core::fmt::Debug for $map<K> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str($name)
            }
        }

        impl<K: Key> Map<K> for $map<K> {
            const NAME: &'static str = $name;
            type Session<'a> = &'a Self;

            fn empty() -> Self {
                Self($empty)
            }

            fn presized(entries: usize) -> Self {
                Self($presized(entries))
            }

            #[inline]
            fn session(&self) -> &Self {
                self
            }
        }
    };
}

by_reference!(
    Papaya,
    "papaya",
    papaya::HashMap<K, u64, FixedState>,
    papaya::HashMap::with_hasher(hasher()),
    |n| papaya::HashMap::with_capacity_and_hasher(n, hasher())
);

impl<K: Key> Session<K> for &Papaya<K> {
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
        self.0
            .pin()
            .update(key.clone(), |v| v.wrapping_add(1))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.0.pin().remove(key).copied()
    }

    fn sum(&self) -> u64 {
        self.0.pin().iter().fold(0, |a, (_, &v)| a.wrapping_add(v))
    }
}

by_reference!(
    SccMap,
    "scc",
    scc::HashMap<K, u64, FixedState>,
    scc::HashMap::with_hasher(hasher()),
    |n| scc::HashMap::with_capacity_and_hasher(n, hasher())
);

impl<K: Key> Session<K> for &SccMap<K> {
    #[inline]
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

by_reference!(
    SccIndex,
    "scc-index",
    scc::HashIndex<K, u64, FixedState>,
    scc::HashIndex::with_hasher(hasher()),
    |n| scc::HashIndex::with_capacity_and_hasher(n, hasher())
);

impl<K: Key> Session<K> for &SccIndex<K> {
    #[inline]
    fn get(&self, key: &K) -> Option<u64> {
        self.0.peek_with(key, |_, v| *v)
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        match self.0.entry_sync(key) {
            scc::hash_index::Entry::Occupied(mut e) => {
                let old = *e.get();
                e.update(value);
                Some(old)
            }
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
                e.update(v);
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

by_reference!(
    Flurry,
    "flurry",
    flurry::HashMap<K, u64, FixedState>,
    flurry::HashMap::with_hasher(hasher()),
    |n| flurry::HashMap::with_capacity_and_hasher(n, hasher())
);

impl<K: Key> Session<K> for &Flurry<K> {
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
        self.0
            .pin()
            .compute_if_present(key, |_, v| Some(v.wrapping_add(1)))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.0.pin().remove(key).copied()
    }

    fn sum(&self) -> u64 {
        self.0.pin().iter().fold(0, |a, (_, &v)| a.wrapping_add(v))
    }
}
