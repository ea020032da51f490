//! `Serialize` and `Deserialize`, as for `std`'s map and set.

use crate::map::{HashMap, HashMapRef};
use crate::rcu::AnyGuard;
use crate::set::{HashSet, HashSetRef};
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::marker::PhantomData;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// What a hint of a length may make us take at once: the hint is the input's.
const CAUTIOUS: usize = 4096;

/// Writes the entries that an iteration finds, as [`HashMapRef::iter`] says: with writers about, no snapshot.
impl<K, V, S, G> Serialize for HashMapRef<'_, K, V, S, G>
where
    K: Serialize + Hash + Eq,
    V: Serialize,
    S: BuildHasher,
    G: AnyGuard,
{
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        // Many formats want the number first, and `len` may be another one by the end.
        let entries: Vec<(&K, &V)> = self.iter().collect();
        serializer.collect_map(entries)
    }
}

/// As a view's.
impl<K, V, S> Serialize for HashMap<K, V, S>
where
    K: Serialize + Hash + Eq,
    V: Serialize,
    S: BuildHasher,
{
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.pin().serialize(serializer)
    }
}

impl<T, S, G> Serialize for HashSetRef<'_, T, S, G>
where
    T: Serialize + Hash + Eq,
    S: BuildHasher,
    G: AnyGuard,
{
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let elements: Vec<&T> = self.iter().collect();
        serializer.collect_seq(elements)
    }
}

impl<T: Serialize + Hash + Eq, S: BuildHasher> Serialize for HashSet<T, S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.pin().serialize(serializer)
    }
}

/// Of two entries with the same key the later one counts.
impl<'de, K, V, S> Deserialize<'de> for HashMap<K, V, S>
where
    K: Deserialize<'de> + Hash + Eq,
    V: Deserialize<'de>,
    S: BuildHasher + Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V, S>(PhantomData<HashMap<K, V, S>>);

        impl<'de, K, V, S> Visitor<'de> for Entries<K, V, S>
        where
            K: Deserialize<'de> + Hash + Eq,
            V: Deserialize<'de>,
            S: BuildHasher + Default,
        {
            type Value = HashMap<K, V, S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let map = HashMap::with_capacity_and_hasher(
                    access.size_hint().unwrap_or(0).min(CAUTIOUS),
                    S::default(),
                );
                while let Some((k, v)) = access.next_entry()? {
                    map.pin().insert(k, v);
                }
                Ok(map)
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<'de, T, S> Deserialize<'de> for HashSet<T, S>
where
    T: Deserialize<'de> + Hash + Eq,
    S: BuildHasher + Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, S>(PhantomData<HashSet<T, S>>);

        impl<'de, T, S> Visitor<'de> for Elements<T, S>
        where
            T: Deserialize<'de> + Hash + Eq,
            S: BuildHasher + Default,
        {
            type Value = HashSet<T, S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let set = HashSet::with_capacity_and_hasher(
                    access.size_hint().unwrap_or(0).min(CAUTIOUS),
                    S::default(),
                );
                while let Some(element) = access.next_element()? {
                    set.pin().insert(element);
                }
                Ok(set)
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}
