//! Why something was not inserted.

use crate::mem::AllocError;
use core::fmt;

/// Why an entry was not inserted into an [`InlineMap`](super::InlineMap).
///
/// ```
/// use nulls::{InlineInsertError, InlineMap};
/// let map = InlineMap::from([(1u8, 1u8)]);
/// assert_eq!(map.pin().try_insert(1, 2), Err(InlineInsertError::Occupied { current: 1 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InlineInsertError<V> {
    /// The key is there already, with this value.
    Occupied {
        /// The value that is there.
        current: V,
    },
    /// The map holds as many entries as its limit allows.
    Full,
    /// No memory for a line that the entry's bucket needs.
    Alloc(AllocError),
}

impl<V> fmt::Display for InlineInsertError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied { .. } => f.write_str("the key is in the map already"),
            Self::Full => f.write_str("the map holds as many entries as its limit allows"),
            Self::Alloc(e) => e.fmt(f),
        }
    }
}

impl<V: fmt::Debug> core::error::Error for InlineInsertError<V> {}
