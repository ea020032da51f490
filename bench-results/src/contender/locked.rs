//! hashbrown behind one lock, and without any: the limit.

use super::{Map, Session, hasher};
use crate::key::Key;
use core::cell::UnsafeCell;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::thread::ThreadId;

type Inner<K> = HashMap<K, u64, FixedState>;

macro_rules! locked {
    ($map:ident, $name:literal, $lock:ty, $read:ident $(, $unwrap:ident)?; $write:ident) => {
        #[doc = concat!("`", $name, "`: hashbrown behind one lock.")]
        #[derive(Debug)]
        pub struct $map<K: Key>($lock);

        impl<K: Key> Map<K> for $map<K> {
            const NAME: &'static str = $name;
            type Session<'a> = &'a Self;

            fn empty() -> Self {
                Self(<$lock>::new(HashMap::with_hasher(hasher())))
            }

            fn presized(entries: usize) -> Self {
                Self(<$lock>::new(HashMap::with_capacity_and_hasher(entries, hasher())))
            }

            #[inline]
            fn session(&self) -> &Self {
                self
            }

            fn shrink(&self) {
                self.0.$write()$(.$unwrap())?.shrink_to_fit();
            }
        }

        impl<K: Key> Session<K> for &$map<K> {
            #[inline(always)]
            fn get(&self, key: &K) -> Option<u64> {
                self.0.$read()$(.$unwrap())?.get(key).copied()
            }

            #[inline]
            fn insert(&self, key: K, value: u64) -> Option<u64> {
                self.0.$write()$(.$unwrap())?.insert(key, value)
            }

            #[inline]
            fn increment(&self, key: &K) -> bool {
                self.0.$write()$(.$unwrap())?.get_mut(key).map(|v| *v = v.wrapping_add(1)).is_some()
            }

            #[inline]
            fn remove(&self, key: &K) -> Option<u64> {
                self.0.$write()$(.$unwrap())?.remove(key)
            }

            fn sum(&self) -> u64 {
                self.0.$read()$(.$unwrap())?.values().fold(0u64, |a, v| a.wrapping_add(*v))
            }
        }
    };
}

locked!(StdRwLock, "std-rwlock", std::sync::RwLock<Inner<K>>, read, unwrap; write);
locked!(StdMutex, "std-mutex", std::sync::Mutex<Inner<K>>, lock, unwrap; lock);
locked!(ParkingLotRwLock, "parking-lot", parking_lot::RwLock<Inner<K>>, read; write);

/// hashbrown with no synchronisation at all: what no concurrent map can beat. For the thread that made it only.
#[derive(Debug)]
pub struct Alone<K: Key>(UnsafeCell<Inner<K>>, ThreadId);

// SAFETY: the map is reached through sessions only, and `session` lets nobody have one but the thread that made the map;
// sessions themselves are not `Send`.
unsafe impl<K: Key> Sync for Alone<K> {}

/// The session of [`Alone`].
#[derive(Debug)]
pub struct AloneSession<'a, K: Key>(&'a UnsafeCell<Inner<K>>);

impl<K: Key> Alone<K> {
    fn around(map: Inner<K>) -> Self {
        Self(UnsafeCell::new(map), std::thread::current().id())
    }
}

impl<K: Key> Map<K> for Alone<K> {
    const NAME: &'static str = "hashbrown";
    type Session<'a> = AloneSession<'a, K>;

    fn empty() -> Self {
        Self::around(HashMap::with_hasher(hasher()))
    }

    fn presized(entries: usize) -> Self {
        Self::around(HashMap::with_capacity_and_hasher(entries, hasher()))
    }

    #[inline]
    fn session(&self) -> AloneSession<'_, K> {
        assert_eq!(self.1, std::thread::current().id(), "one thread only");
        AloneSession(&self.0)
    }

    fn shrink(&self) {
        let session = self.session();
        session.with(HashMap::shrink_to_fit);
    }
}

impl<K: Key> AloneSession<'_, K> {
    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(&mut Inner<K>) -> R) -> R {
        // SAFETY: one thread has sessions, and no operation below calls another while it has the reference: keys' Hash
        // and Eq know nothing of maps.
        f(unsafe { &mut *self.0.get() })
    }
}

impl<K: Key> Session<K> for AloneSession<'_, K> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<u64> {
        self.with(|m| m.get(key).copied())
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        self.with(|m| m.insert(key, value))
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        self.with(|m| m.get_mut(key).map(|v| *v = v.wrapping_add(1)).is_some())
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        self.with(|m| m.remove(key))
    }

    fn sum(&self) -> u64 {
        self.with(|m| m.values().fold(0u64, |a, v| a.wrapping_add(*v)))
    }
}
