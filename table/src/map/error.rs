//! Why something was not inserted.

use crate::mem::AllocError;
use core::fmt;

/// Why [`try_insert`](super::HashMapRef::try_insert) did not insert. The key and the value come back.
///
/// ```
/// use nulls::{HashMap, TryInsertError};
/// let map = HashMap::builder().max_entries(1).build();
/// let map = map.pin();
/// assert!(map.try_insert("a", 1).is_ok());
/// assert!(matches!(map.try_insert("a", 2), Err(TryInsertError::Occupied { current: 1, value: 2, .. })));
/// assert!(matches!(map.try_insert("b", 2), Err(TryInsertError::Full { key: "b", .. })));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryInsertError<'g, K, V> {
    /// The key is there already.
    Occupied {
        /// The value that is there.
        current: &'g V,
        /// The key that was not inserted.
        key: K,
        /// The value that was not inserted.
        value: V,
    },
    /// The map holds as many entries as its limit allows.
    Full {
        /// The key that was not inserted.
        key: K,
        /// The value that was not inserted.
        value: V,
    },
    /// The map takes as much memory as its memory limit allows, removed entries that readers may still look at included.
    MemoryLimit {
        /// The key that was not inserted.
        key: K,
        /// The value that was not inserted.
        value: V,
    },
    /// There is no memory, or all handles are in use (about 800 million).
    Alloc {
        /// The key that was not inserted.
        key: K,
        /// The value that was not inserted.
        value: V,
    },
}

/// Why a key that is not yet in the map could not be inserted. The key and the value come back.
///
/// ```
/// use nulls::{HashMap, InsertError};
/// let map = HashMap::builder().max_entries(1).build();
/// let map = map.pin();
/// assert_eq!(map.try_upsert("a", 1), Ok(None));
/// assert_eq!(map.try_upsert("a", 2), Ok(Some(&1)));
/// assert_eq!(map.try_upsert("b", 3), Err(InsertError::Full { key: "b", value: 3 }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InsertError<K, V> {
    /// The map holds as many entries as its limit allows.
    Full {
        /// The key that was not inserted.
        key: K,
        /// The value that was not inserted.
        value: V,
    },
    /// The map takes as much memory as its memory limit allows, removed entries that readers may still look at included.
    MemoryLimit {
        /// The key that was not inserted.
        key: K,
        /// The value that was not inserted.
        value: V,
    },
    /// There is no memory, or all handles are in use (about 800 million).
    Alloc {
        /// The key that was not inserted.
        key: K,
        /// The value that was not inserted.
        value: V,
    },
}

const OCCUPIED: (&str, &str) = ("Occupied", "the key is in the map already");
const FULL: (&str, &str) = ("Full", "the map holds as many entries as its limit allows");
const MEMORY: (&str, &str) = (
    "MemoryLimit",
    "the map takes as much memory as its limit allows",
);
const ALLOC: (&str, &str) = ("Alloc", "no memory for another entry");

impl<K, V> TryInsertError<'_, K, V> {
    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Occupied { .. } => OCCUPIED,
            Self::Full { .. } => FULL,
            Self::MemoryLimit { .. } => MEMORY,
            Self::Alloc { .. } => ALLOC,
        }
    }

    /// The key and the value that were not inserted.
    ///
    /// ```
    /// let map = nulls::HashMap::from([("a", 1)]);
    /// assert_eq!(map.pin().try_insert("a", 2).unwrap_err().into_entry(), ("a", 2));
    /// ```
    pub fn into_entry(self) -> (K, V) {
        match self {
            Self::Occupied { key, value, .. }
            | Self::Full { key, value }
            | Self::MemoryLimit { key, value }
            | Self::Alloc { key, value } => (key, value),
        }
    }
}

impl<K, V> InsertError<K, V> {
    pub(super) fn alloc(e: AllocError, (key, value): (K, V)) -> Self {
        match e {
            AllocError::MemoryLimit => Self::MemoryLimit { key, value },
            _ => Self::Alloc { key, value },
        }
    }

    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Full { .. } => FULL,
            Self::MemoryLimit { .. } => MEMORY,
            Self::Alloc { .. } => ALLOC,
        }
    }

    /// The key and the value that were not inserted.
    ///
    /// ```
    /// let map = nulls::HashMap::builder().max_entries(0).build();
    /// assert_eq!(map.pin().try_upsert("a", 2).unwrap_err().into_entry(), ("a", 2));
    /// ```
    pub fn into_entry(self) -> (K, V) {
        match self {
            Self::Full { key, value }
            | Self::MemoryLimit { key, value }
            | Self::Alloc { key, value } => (key, value),
        }
    }
}

impl<'g, K, V> From<InsertError<K, V>> for TryInsertError<'g, K, V> {
    fn from(e: InsertError<K, V>) -> Self {
        match e {
            InsertError::Full { key, value } => Self::Full { key, value },
            InsertError::MemoryLimit { key, value } => Self::MemoryLimit { key, value },
            InsertError::Alloc { key, value } => Self::Alloc { key, value },
        }
    }
}

impl<K, V> fmt::Debug for TryInsertError<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().0)
    }
}

impl<K, V> fmt::Display for TryInsertError<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

impl<K, V> core::error::Error for TryInsertError<'_, K, V> {}

impl<K, V> fmt::Debug for InsertError<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().0)
    }
}

impl<K, V> fmt::Display for InsertError<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

impl<K, V> core::error::Error for InsertError<K, V> {}

/// The panic of an operation that returns no error.
#[cold]
pub(super) fn refuse<K, V>(e: &InsertError<K, V>) -> ! {
    panic!("{e}")
}
