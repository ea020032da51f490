//! The concurrent hash set: a map without values.

mod view;

pub use view::{HashSetRef, SetDrain, SetIter};

use crate::map::{DefaultHashBuilder, Equivalent, HashMap, IntoIter, MapStats};
use crate::mem::AllocError;
use crate::rcu::{AnyGuard, Guard, OwnedGuard};
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::iter::FusedIterator;

/// A concurrent hash set whose readers never lock, never wait and never write shared memory: a [`HashMap`] without values,
/// with the same guards and the same promises.
///
/// ```
/// let seen = nulls::HashSet::new();
/// let seen = seen.pin();
/// assert!(seen.insert("a"));
/// assert!(!seen.insert("a"));
/// assert!(seen.contains("a"));
/// assert_eq!(seen.remove("a"), Some(&"a"));
/// ```
pub struct HashSet<T, S = DefaultHashBuilder> {
    map: HashMap<T, (), S>,
}

impl<T> HashSet<T> {
    /// An empty set with the default hasher, keyed for this set.
    ///
    /// ```
    /// assert!(nulls::HashSet::<u8>::new().is_empty());
    /// ```
    ///
    /// # Panics
    /// When there is no memory for one bucket.
    pub fn new() -> Self {
        HashMap::new().into()
    }

    /// An empty set that takes `capacity` elements without growing.
    ///
    /// ```
    /// assert!(nulls::HashSet::<u8>::with_capacity(100).capacity() >= 100);
    /// ```
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn with_capacity(capacity: usize) -> Self {
        HashMap::with_capacity(capacity).into()
    }
}

/// A set is a map without values: one with limits is made by a map's builder.
///
/// ```
/// use nulls::{HashMap, HashSet};
/// let set: HashSet<u64> = HashMap::builder().max_entries(1).build().into();
/// assert_eq!(set.pin().try_insert(1), Ok(true));
/// assert!(set.pin().try_insert(2).is_err());
/// ```
impl<T, S> From<HashMap<T, (), S>> for HashSet<T, S> {
    fn from(map: HashMap<T, (), S>) -> Self {
        Self { map }
    }
}

impl<T, S> HashSet<T, S> {
    /// An empty set with another hasher.
    ///
    /// ```
    /// let set = nulls::HashSet::<u8, _>::with_hasher(std::hash::RandomState::new());
    /// assert!(set.is_empty());
    /// ```
    ///
    /// # Panics
    /// When there is no memory for one bucket.
    pub fn with_hasher(hasher: S) -> Self {
        HashMap::with_hasher(hasher).into()
    }

    /// An empty set with another hasher that takes `capacity` elements without growing.
    ///
    /// ```
    /// let hasher = std::hash::RandomState::new();
    /// let set = nulls::HashSet::<u8, _>::with_capacity_and_hasher(100, hasher);
    /// assert!(set.capacity() >= 100);
    /// ```
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        HashMap::with_capacity_and_hasher(capacity, hasher).into()
    }

    /// Pins the calling thread and returns a view with the set's operations. See [`HashMap::pin`].
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// assert!(set.pin().contains(&1));
    /// ```
    #[inline]
    pub fn pin(&self) -> HashSetRef<'_, T, S> {
        HashSetRef(self.map.pin())
    }

    /// As [`pin`](Self::pin), with a guard of its own: the view may be sent and shared, and held across an `.await`.
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// let view = set.pin_owned();
    /// std::thread::scope(|s| s.spawn(|| assert!(view.contains(&1))).join().unwrap());
    /// ```
    pub fn pin_owned(&self) -> HashSetRef<'_, T, S, OwnedGuard> {
        HashSetRef(self.map.pin_owned())
    }

    /// A view with a guard that the caller has made.
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// assert!(set.view(nulls::rcu::pin()).contains(&1));
    /// ```
    #[inline]
    pub fn view<G: AnyGuard>(&self, guard: G) -> HashSetRef<'_, T, S, G> {
        HashSetRef(self.map.view(guard))
    }

    /// The map behind the set: for what only the map has, the `*_with` methods, a limit's state, `resize`.
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// let guard = nulls::rcu::pin();
    /// assert!(set.as_map().get_with(&1, &guard).is_some());
    /// ```
    pub fn as_map(&self) -> &HashMap<T, (), S> {
        &self.map
    }

    /// The number of elements: exact in a limited set and while nobody writes.
    ///
    /// ```
    /// assert_eq!(nulls::HashSet::from([1, 2]).len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are no elements.
    ///
    /// ```
    /// assert!(!nulls::HashSet::from([1, 2]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How many elements the set holds before it grows.
    ///
    /// ```
    /// assert!(nulls::HashSet::<u8>::with_capacity(100).capacity() >= 100);
    /// ```
    pub fn capacity(&self) -> usize {
        self.map.capacity()
    }

    /// The hasher.
    ///
    /// ```
    /// use std::hash::BuildHasher;
    /// let set = nulls::HashSet::from([1]);
    /// assert_eq!(set.hasher().hash_one(1), set.hasher().hash_one(1));
    /// ```
    pub fn hasher(&self) -> &S {
        self.map.hasher()
    }

    /// See [`HashMap::stats`].
    ///
    /// ```
    /// assert_eq!(nulls::HashSet::from([1]).stats().table.entries, 1);
    /// ```
    pub fn stats(&self) -> MapStats {
        self.map.stats()
    }
}

impl<T: Hash + Eq, S: BuildHasher> HashSet<T, S> {
    /// See [`HashMap::reserve`].
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// nulls::HashSet::<u8>::new().reserve(100)?;
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn reserve(&self, additional: usize) -> Result<(), AllocError> {
        self.map.reserve(additional)
    }

    /// See [`HashMap::shrink_to_fit`].
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// let set = nulls::HashSet::<u8>::with_capacity(1000);
    /// set.shrink_to_fit()?;
    /// assert!(set.capacity() < 100);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn shrink_to_fit(&self) -> Result<(), AllocError> {
        self.map.shrink_to_fit()
    }

    /// See [`HashMap::maintain`].
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// assert!(nulls::HashSet::from([1]).maintain()?);
    /// # Ok::<(), nulls::AllocError>(())
    /// ```
    pub fn maintain(&self) -> Result<bool, AllocError> {
        self.map.maintain()
    }

    /// Removes an element and returns it itself, not a reference.
    ///
    /// ```
    /// let mut set = nulls::HashSet::from([String::from("a")]);
    /// let owned: Option<String> = set.take("a");
    /// assert_eq!(owned.as_deref(), Some("a"));
    /// ```
    pub fn take<Q>(&mut self, element: &Q) -> Option<T>
    where
        Q: Hash + Equivalent<T> + ?Sized,
    {
        self.map.take(element).map(|(element, ())| element)
    }

    /// As [`HashSetRef::get`], under a guard of the caller's.
    ///
    /// ```
    /// let (set, guard) = (nulls::HashSet::from([1]), nulls::rcu::pin());
    /// assert_eq!(set.get_with(&1, &guard), Some(&1));
    /// ```
    pub fn get_with<'g, Q>(&'g self, element: &Q, guard: &'g Guard) -> Option<&'g T>
    where
        Q: Hash + Equivalent<T> + ?Sized,
    {
        self.map
            .get_key_value_with(element, guard)
            .map(|(element, ())| element)
    }
}

impl<T, S: Default> Default for HashSet<T, S> {
    fn default() -> Self {
        HashMap::default().into()
    }
}

impl<T: fmt::Debug + Hash + Eq, S: BuildHasher> fmt::Debug for HashSet<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.pin()).finish()
    }
}

/// Copies the elements and the hasher. Limits are not copied.
impl<T: Clone + Hash + Eq, S: BuildHasher + Clone> Clone for HashSet<T, S> {
    fn clone(&self) -> Self {
        self.map.clone().into()
    }
}

/// Whether both hold the same elements. With writers about, the answer is that of no particular moment.
impl<T: Hash + Eq, S: BuildHasher, R: BuildHasher> PartialEq<HashSet<T, R>> for HashSet<T, S> {
    fn eq(&self, other: &HashSet<T, R>) -> bool {
        self.map == other.map
    }
}

impl<T: Hash + Eq, S: BuildHasher> Eq for HashSet<T, S> {}

impl<T: Hash + Eq, S: BuildHasher + Default> FromIterator<T> for HashSet<T, S> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        HashMap::from_iter(elements.into_iter().map(|element| (element, ()))).into()
    }
}

impl<T: Hash + Eq, const N: usize> From<[T; N]> for HashSet<T> {
    fn from(elements: [T; N]) -> Self {
        Self::from_iter(elements)
    }
}

impl<T: Hash + Eq, S: BuildHasher> Extend<T> for HashSet<T, S> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        (&*self).extend(elements);
    }
}

/// A shared set can be extended too: `(&set).extend(…)`.
impl<T: Hash + Eq, S: BuildHasher> Extend<T> for &HashSet<T, S> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        (&self.map).extend(elements.into_iter().map(|element| (element, ())));
    }
}

impl<'a, T: Hash + Eq + Copy, S: BuildHasher> Extend<&'a T> for HashSet<T, S> {
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, elements: I) {
        self.extend(elements.into_iter().copied());
    }
}

/// An iterator that gives a set's elements away. From [`HashSet`]'s `into_iter`.
///
/// ```
/// let mut all: Vec<String> = nulls::HashSet::from([String::from("a")]).into_iter().collect();
/// assert_eq!(all, ["a"]);
/// ```
#[derive(Debug)]
pub struct SetIntoIter<T, S>(IntoIter<T, (), S>);

impl<T, S> IntoIterator for HashSet<T, S> {
    type Item = T;
    type IntoIter = SetIntoIter<T, S>;

    fn into_iter(self) -> SetIntoIter<T, S> {
        SetIntoIter(self.map.into_iter())
    }
}

impl<T, S> Iterator for SetIntoIter<T, S> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next().map(|(element, ())| element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T, S> ExactSizeIterator for SetIntoIter<T, S> {}
impl<T, S> FusedIterator for SetIntoIter<T, S> {}
