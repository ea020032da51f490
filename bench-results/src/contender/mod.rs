//! The maps behind one interface, each used as its documentation recommends, all with the same hasher.
//!
//! What is measured is monomorphised: the interface costs nothing. A [`Session`] is what a thread holds while it works:
//! nothing for most maps, a guard where a map has one and the contender is to keep it.

use crate::key::Key;
use crate::workload::folded;
use foldhash::fast::FixedState;

/// A contender over a map with the usual two constructors, all with the same hasher.
macro_rules! contender {
    ($(#[$doc:meta])* $map:ident $(where K: $bound:ident)?, $name:literal, $inner:ty, session $session:ty = |$this:ident| $new:expr $(; $($more:item)*)?) => {
        $(#[$doc])*
        pub struct $map<K: Key $(+ $bound)? = u64>(pub(super) $inner);

        impl<K: Key $(+ $bound)?> $map<K> {
            /// The map itself.
            #[must_use]
            pub fn map(&self) -> &$inner {
                &self.0
            }
        }

        impl<K: Key $(+ $bound)?> core::fmt::Debug for $map<K> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str($name)
            }
        }

        impl<K: Key $(+ $bound)?> Map<K> for $map<K> {
            const NAME: &'static str = $name;
            type Session<'a> = $session;

            fn empty() -> Self {
                Self(<$inner>::with_hasher(hasher()))
            }

            fn presized(entries: usize) -> Self {
                Self(<$inner>::with_capacity_and_hasher(entries, hasher()))
            }

            #[inline]
            fn session(&self) -> Self::Session<'_> {
                let $this = self;
                $new
            }

            $($($more)*)?
        }
    };
}

/// A contender over a map of this project.
macro_rules! ours {
    ($(#[$doc:meta])* $map:ident $(where K: $bound:ident)?, $name:literal, $inner:ty, session $session:ty = |$this:ident| $new:expr) => {
        contender!(
            $(#[$doc])*
            $map $(where K: $bound)?, $name, $inner, session $session = |$this| $new;
            #[inline]
            fn moved() -> Option<u64> {
                Some(::nulls::raw::thread_stats().moved)
            }
            fn settle(&self) {
                self.0.maintain().expect("memory");
            }
            fn shrink(&self) {
                self.0.shrink_to_fit().expect("memory");
            }
        );
    };
}

/// The session of a map that hands out references under a guard: `$view` is the guarded view of one operation, `$read` makes
/// a number of a value, `$write` a value of a number.
macro_rules! by_view {
    ($(where K: $bound:ident;)? $session:ty, |$this:ident| $view:expr, read $read:expr, write $write:expr,
     increment |$map:ident, $key:ident| $increment:expr $(, batch $batch:path)?) => {
        impl<K: Key $(+ $bound)?> Session<K> for $session {
            #[inline(always)]
            fn get(&self, key: &K) -> Option<u64> {
                let $this = self;
                let view = $view;
                view.get(key).map($read)
            }

            #[inline]
            fn insert(&self, key: K, value: u64) -> Option<u64> {
                let $this = self;
                let view = $view;
                view.insert(key, $write(value)).map($read)
            }

            #[inline]
            fn increment(&self, $key: &K) -> bool {
                let $this = self;
                let $map = $view;
                $increment.is_some()
            }

            $(fn batch(&self, keys: &[K]) -> u64 {
                let $this = self;
                $batch(&$view, keys)
            })?

            #[inline]
            fn remove(&self, key: &K) -> Option<u64> {
                let $this = self;
                let view = $view;
                view.remove(key).map($read)
            }

            fn sum(&self) -> u64 {
                let $this = self;
                let view = $view;
                view.iter().fold(0u64, |a, (_, v)| a.wrapping_add($read(v)))
            }
        }
    };
}

mod classic;
mod dash;
mod inline;
#[cfg(feature = "kovan")]
mod kovan;
mod locked;
mod nulls;
mod peers;
mod type_stable;

pub use classic::Classic;
pub use dash::{Dash, DashSession};
pub use inline::{Copied, Inline, InlineHeld, InlineHeldSession};
#[cfg(feature = "kovan")]
pub use kovan::Kovan;
pub use locked::{Alone, ParkingLotRwLock, StdMutex, StdRwLock};
pub use nulls::{Nulls, NullsAtomic, NullsHeld, NullsHeldSession};
pub use peers::{Flurry, Papaya, SccIndex, SccMap};
pub use type_stable::TypeStable;

/// The hasher of every contender: foldhash with a fixed seed, so that every run sees the same chains and clusters.
#[must_use]
pub fn hasher() -> FixedState {
    FixedState::with_seed(0x5eed)
}

/// Keys looked up at once by batch interfaces.
pub const BATCH: usize = 32;

/// A map to `u64` that threads share.
pub trait Map<K: Key = u64>: Sync + Sized {
    /// The name in results.
    const NAME: &'static str;

    /// What a thread works through.
    type Session<'a>: Session<K>
    where
        Self: 'a;

    /// A map that was told nothing of its size.
    fn empty() -> Self;

    /// A map with room for that many entries.
    fn presized(entries: usize) -> Self;

    /// A session of the calling thread.
    fn session(&self) -> Self::Session<'_>;

    /// Buckets that the calling thread has moved for resizes since it began, in maps that count them.
    fn moved() -> Option<u64> {
        None
    }

    /// What the map's documentation recommends between loading it and a phase of reads.
    fn settle(&self) {}

    /// Gives spare room back, in maps that do so when told.
    fn shrink(&self) {}
}

/// The operations measured.
pub trait Session<K: Key = u64> {
    /// The value of a key. Inlined by force in all adapters, so that no contender pays for a call that others are spared.
    fn get(&self, key: &K) -> Option<u64>;

    /// Looks up several keys and folds what is found: by the map's batch interface where it has one.
    fn batch(&self, keys: &[K]) -> u64 {
        keys.iter()
            .fold(0u64, |sum, k| sum.wrapping_add(folded(self.get(k))))
    }

    /// Inserts or replaces; the value that was there.
    fn insert(&self, key: K, value: u64) -> Option<u64>;

    /// Adds one to the value of a key, atomically; whether it is there.
    fn increment(&self, key: &K) -> bool;

    /// Removes a key; the value that was there.
    fn remove(&self, key: &K) -> Option<u64>;

    /// The wrapping sum of all values, by the map's iterator.
    fn sum(&self) -> u64;
}

/// Calls a generic function with the contender of a name, keyed by `u64`.
///
/// `dispatch!(name, M => expression)` is `Some(expression)` with `M` the contender's type, or `None` if there is no such
/// contender.
#[macro_export]
macro_rules! dispatch {
    ($name:expr, $m:ident => $e:expr) => {
        $crate::dispatch!(@ $name, $m => $e;
            "nulls" = Nulls, "nulls-held" = NullsHeld, "nulls-atomic" = NullsAtomic, "nulls-type-stable" = TypeStable,
            "nulls-inline" = Inline<u64>, "nulls-inline-held" = InlineHeld<u64>,
            "dashmap" = Dash<0>, "dashmap-256" = Dash<256>, "papaya" = Papaya<u64>, "scc" = SccMap<u64>,
            "scc-index" = SccIndex<u64>, "flurry" = Flurry<u64>, "std-rwlock" = StdRwLock<u64>, "std-mutex" = StdMutex<u64>,
            "parking-lot" = ParkingLotRwLock<u64>, "hashbrown" = Alone<u64>, "classic" = Classic<u64>;
            "kovan" = Kovan<u64>)
    };
    (@ $name:expr, $m:ident => $e:expr; $($text:literal = $t:ident $(<$p:tt>)?),*; $($kovan:literal = $kt:ident <$kp:tt>)?) => {
        match $name {
            $($text => {
                type $m = $crate::contender::$t$(<$p>)?;
                Some($e)
            })*
            $(
                #[cfg(feature = "kovan")]
                $kovan => {
                    type $m = $crate::contender::$kt<$kp>;
                    Some($e)
                }
            )?
            _ => None,
        }
    };
}

/// The names that [`dispatch!`](crate::dispatch) knows.
pub const ALL: &[&str] = &[
    "nulls",
    "nulls-held",
    "nulls-atomic",
    "nulls-type-stable",
    "nulls-inline",
    "nulls-inline-held",
    "dashmap",
    "dashmap-256",
    "papaya",
    "scc",
    "scc-index",
    "flurry",
    #[cfg(feature = "kovan")]
    "kovan",
    "std-rwlock",
    "std-mutex",
    "parking-lot",
    "hashbrown",
    "classic",
];

/// The contenders that take other keys than `u64` too; those of [`COPIED`] no strings.
pub const KEYED: &[&str] = &[
    "nulls",
    "nulls-inline",
    "dashmap",
    "papaya",
    "scc",
    "scc-index",
    "flurry",
    "hashbrown",
];

/// The contenders whose keys are copied byte by byte.
pub const COPIED: &[&str] = &["nulls-inline", "nulls-inline-held"];

/// As [`dispatch_keyed!`](crate::dispatch_keyed), with keys that can be copied byte by byte, for the names in [`COPIED`] too.
#[macro_export]
macro_rules! dispatch_copied {
    ($name:expr, $k:ty, $m:ident => $e:expr) => {
        match $name {
            "nulls-inline" => {
                type $m = $crate::contender::Inline<$k>;
                Some($e)
            }
            _ => $crate::dispatch_keyed!($name, $k, $m => $e),
        }
    };
}

/// As [`dispatch!`](crate::dispatch), with keys of type `$k`, for the names in [`KEYED`] that are not in [`COPIED`].
#[macro_export]
macro_rules! dispatch_keyed {
    ($name:expr, $k:ty, $m:ident => $e:expr) => {
        match $name {
            "nulls" => {
                type $m = $crate::contender::Nulls<$k>;
                Some($e)
            }
            "dashmap" => {
                type $m = $crate::contender::Dash<0, $k>;
                Some($e)
            }
            "papaya" => {
                type $m = $crate::contender::Papaya<$k>;
                Some($e)
            }
            "scc" => {
                type $m = $crate::contender::SccMap<$k>;
                Some($e)
            }
            "scc-index" => {
                type $m = $crate::contender::SccIndex<$k>;
                Some($e)
            }
            "flurry" => {
                type $m = $crate::contender::Flurry<$k>;
                Some($e)
            }
            "hashbrown" => {
                type $m = $crate::contender::Alone<$k>;
                Some($e)
            }
            _ => None,
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaves<M: Map>() {
        for map in [M::empty(), M::presized(100)] {
            let s = map.session();
            for k in 0..100 {
                assert_eq!(s.insert(k, k + 1), None);
            }
            assert_eq!(s.insert(7, 70), Some(8));
            assert!(s.increment(&7));
            assert!(!s.increment(&1000));
            assert_eq!(
                (s.get(&7), s.get(&8), s.get(&1000)),
                (Some(71), Some(9), None)
            );
            assert_eq!(s.remove(&7), Some(71));
            assert_eq!(s.remove(&7), None);
            assert_eq!(s.sum(), (1..=100).sum::<u64>() - 8);
        }
    }

    #[test]
    fn contenders_do_the_same() {
        for name in ALL {
            let known = dispatch!(*name, M => {
                assert_eq!(M::NAME, *name);
                behaves::<M>();
            });
            assert!(known.is_some(), "{name}");
        }
    }
}
