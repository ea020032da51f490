//! Where an operation's key comes from: by value, or by reference and made only when it is needed.

use super::Equivalent;
use core::hash::Hash;

/// A key that was passed by value.
///
/// ```
/// use nulls::{ByValue, Entry};
/// let map = nulls::HashMap::<u32, u32>::new();
/// let map = map.pin();
/// let _: Entry<u32, u32, _, ByValue<u32>> = map.entry(1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ByValue<K>(pub(super) K);

/// A key that was passed by reference: the map's own is made from it when it is inserted.
///
/// ```
/// use nulls::{ByRef, Entry};
/// let map = nulls::HashMap::<String, u32>::new();
/// let map = map.pin();
/// let _: Entry<String, u32, _, ByRef<str>> = map.entry_ref("a");
/// ```
#[derive(Debug)]
pub struct ByRef<'q, Q: ?Sized>(pub(super) &'q Q);

/// How an operation came by its key: [`ByValue`] or [`ByRef`]. Sealed.
///
/// ```
/// use nulls::{Entry, Key};
/// use std::hash::{BuildHasher, Hash};
///
/// fn count<K: Hash + Eq, S: BuildHasher, B: Key<K>>(entry: Entry<K, u32, S, B>) -> u32 {
///     match entry {
///         Entry::Occupied(entry) => *entry.get(),
///         Entry::Vacant(_) => 0,
///     }
/// }
/// let map = nulls::HashMap::from([("a".to_string(), 1)]);
/// assert_eq!(count(map.pin().entry("a".into())) + count(map.pin().entry_ref("a")), 2);
/// ```
pub trait Key<K>: private::Key<K> {}

impl<K, T: private::Key<K>> Key<K> for T {}

/// A key that can be made without being given up.
///
/// ```
/// use nulls::{CloneKey, Key};
/// fn is_one<K, B: CloneKey<K>>() {}
/// is_one::<u32, nulls::ByValue<u32>>();
/// is_one::<String, nulls::ByRef<str>>();
/// ```
pub trait CloneKey<K>: Key<K> {
    /// Another one.
    #[doc(hidden)]
    fn make(&self) -> K;
}

pub(super) mod private {
    use super::*;

    #[allow(unnameable_types, reason = "sealed")]
    pub trait Key<K>: Sized {
        type Query: Hash + Equivalent<K> + ?Sized;
        /// What is left when the key was taken out.
        type Rest;
        fn query(&self) -> &Self::Query;
        fn into_key(self) -> (K, Self::Rest);
        /// Undoes `into_key`.
        fn restore(rest: Self::Rest, key: K) -> Self;
    }
}

impl<K: Hash + Eq> private::Key<K> for ByValue<K> {
    type Query = K;
    type Rest = ();

    fn query(&self) -> &K {
        &self.0
    }

    fn into_key(self) -> (K, ()) {
        (self.0, ())
    }

    fn restore((): (), key: K) -> Self {
        Self(key)
    }
}

impl<K: Hash + Eq + Clone> CloneKey<K> for ByValue<K> {
    fn make(&self) -> K {
        self.0.clone()
    }
}

impl<'q, K: From<&'q Q>, Q: Hash + Equivalent<K> + ?Sized> private::Key<K> for ByRef<'q, Q> {
    type Query = Q;
    type Rest = &'q Q;

    fn query(&self) -> &Q {
        self.0
    }

    fn into_key(self) -> (K, &'q Q) {
        (K::from(self.0), self.0)
    }

    fn restore(rest: &'q Q, _: K) -> Self {
        Self(rest)
    }
}

impl<'q, K: From<&'q Q>, Q: Hash + Equivalent<K> + ?Sized> CloneKey<K> for ByRef<'q, Q> {
    fn make(&self) -> K {
        K::from(self.0)
    }
}
