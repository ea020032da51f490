//! A set together with a guard.

#[cfg(doc)]
use super::HashSet;
use crate::map::{
    DefaultHashBuilder, Drain, Equivalent, HashMapRef, InsertError, Keys, TryInsertError,
};
use crate::rcu::{AnyGuard, Guard};
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::iter::FusedIterator;
use core::ops::RangeBounds;

/// A pinned view of a set, from [`HashSet::pin`]. References that its methods return live as long as the view.
///
/// ```
/// let set = nulls::HashSet::from(["a"]);
/// let view = set.pin();
/// assert_eq!(view.get("a"), Some(&"a"));
/// ```
pub struct HashSetRef<'s, T, S = DefaultHashBuilder, G = Guard>(
    pub(crate) HashMapRef<'s, T, (), S, G>,
);

impl<T, S, G: AnyGuard> HashSetRef<'_, T, S, G> {
    /// Gives up every reference taken from this view, and goes on. See [`HashMapRef::refresh`].
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// let mut view = set.pin();
    /// view.refresh();
    /// ```
    pub fn refresh(&mut self) {
        self.0.refresh();
    }

    /// See [`HashSet::len`].
    ///
    /// ```
    /// assert_eq!(nulls::HashSet::from([1]).pin().len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// See [`HashSet::is_empty`].
    ///
    /// ```
    /// assert!(!nulls::HashSet::from([1]).pin().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Hash + Eq, S: BuildHasher, G: AnyGuard> HashSetRef<'_, T, S, G> {
    /// Whether the element is in the set. Lock-free; writes no shared memory.
    ///
    /// ```
    /// assert!(nulls::HashSet::from([1]).pin().contains(&1));
    /// ```
    #[inline(always)]
    pub fn contains<Q>(&self, element: &Q) -> bool
    where
        Q: Hash + Equivalent<T> + ?Sized,
    {
        self.0.contains_key(element)
    }

    /// The element as it is in the set. Lock-free.
    ///
    /// ```
    /// let names = nulls::HashSet::from([String::from("ada")]);
    /// assert_eq!(names.pin().get("ada"), Some(&String::from("ada")));
    /// ```
    #[inline(always)]
    pub fn get<Q>(&self, element: &Q) -> Option<&T>
    where
        Q: Hash + Equivalent<T> + ?Sized,
    {
        self.0.get_key_value(element).map(|(element, ())| element)
    }

    /// Adds an element. Whether it was not there. If it was, the set keeps the one it has.
    ///
    /// ```
    /// let set = nulls::HashSet::new();
    /// assert!(set.pin().insert(1));
    /// assert!(!set.pin().insert(1));
    /// ```
    ///
    /// # Panics
    /// When the set is limited and full, or there is no memory; see [`try_insert`](Self::try_insert).
    pub fn insert(&self, element: T) -> bool {
        match self.try_insert(element) {
            Ok(new) => new,
            Err(e) => panic!("{e}"),
        }
    }

    /// As [`insert`](Self::insert), for sets that may be full.
    ///
    /// # Errors
    /// [`InsertError`] says what was in the way, and gives the element back as its `key`.
    ///
    /// ```
    /// let set: nulls::HashSet<_> = nulls::HashMap::builder().max_entries(1).build().into();
    /// assert_eq!(set.pin().try_insert("a"), Ok(true));
    /// assert_eq!(set.pin().try_insert("a"), Ok(false));
    /// assert_eq!(set.pin().try_insert("b").unwrap_err().into_entry().0, "b");
    /// ```
    pub fn try_insert(&self, element: T) -> Result<bool, InsertError<T, ()>> {
        match self.0.try_insert(element, ()) {
            Ok(()) => Ok(true),
            Err(TryInsertError::Occupied { .. }) => Ok(false),
            Err(TryInsertError::Full { key, value }) => Err(InsertError::Full { key, value }),
            Err(TryInsertError::MemoryLimit { key, value }) => {
                Err(InsertError::MemoryLimit { key, value })
            }
            Err(TryInsertError::Alloc { key, value }) => Err(InsertError::Alloc { key, value }),
        }
    }

    /// Adds an element, in the place of an equal one, which is returned.
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// assert_eq!(set.pin().replace(1), Some(1));
    /// assert_eq!(set.pin().replace(2), None);
    /// ```
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn replace(&self, element: T) -> Option<T>
    where
        T: Clone,
    {
        use crate::map::{Compute, Operation};
        match self.0.compute(element, |_| Operation::<(), ()>::Insert(())) {
            Compute::Updated { old: (old, ()), .. } => Some(old.clone()),
            _ => None,
        }
    }

    /// The element of the set that equals `element`, which is added if there is none.
    ///
    /// ```
    /// let set = nulls::HashSet::new();
    /// let set = set.pin();
    /// let first = set.get_or_insert(String::from("a"));
    /// assert!(std::ptr::eq(first, set.get_or_insert(String::from("a"))));
    /// ```
    ///
    /// # Panics
    /// As [`insert`](Self::insert).
    pub fn get_or_insert(&self, element: T) -> &T {
        let entry = self.0.map().entry_with(element, self.0.guard());
        entry.or_insert_key()
    }

    /// Removes an element and returns it, readable as long as this view.
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// assert_eq!(set.pin().remove(&1), Some(&1));
    /// assert_eq!(set.pin().remove(&1), None);
    /// ```
    pub fn remove<Q>(&self, element: &Q) -> Option<&T>
    where
        Q: Hash + Equivalent<T> + ?Sized,
    {
        self.0.remove_entry(element).map(|(element, ())| element)
    }

    /// Removes an element if `condition` holds of it. See [`HashMapRef::remove_if`].
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// assert_eq!(set.pin().remove_if(&1, |_| false), None);
    /// ```
    pub fn remove_if<Q>(&self, element: &Q, mut condition: impl FnMut(&T) -> bool) -> Option<&T>
    where
        Q: Hash + Equivalent<T> + ?Sized,
    {
        self.0
            .remove_if(element, |element, ()| condition(element))
            .map(|(element, ())| element)
    }

    /// Removes every element of which `keep` does not hold. See [`HashMapRef::retain`].
    ///
    /// ```
    /// let set: nulls::HashSet<_> = (0..10).collect();
    /// set.pin().retain(|n| n % 2 == 0);
    /// assert_eq!(set.len(), 5);
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&T) -> bool) {
        self.0.retain(|element, ()| keep(element));
    }

    /// Removes every element and yields each. See [`HashMapRef::drain`].
    ///
    /// ```
    /// let set: nulls::HashSet<_> = (0..10).collect();
    /// assert_eq!(set.pin().drain().sum::<i32>(), 45);
    /// assert!(set.is_empty());
    /// ```
    pub fn drain(&self) -> SetDrain<'_, T, S> {
        SetDrain(self.0.drain())
    }

    /// Removes every element that is there throughout the call.
    ///
    /// ```
    /// let set = nulls::HashSet::from([1]);
    /// set.pin().clear();
    /// assert!(set.is_empty());
    /// ```
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Iterates in the order of hash intervals. See [`HashMapRef::iter`].
    ///
    /// ```
    /// assert_eq!(nulls::HashSet::from([1, 2]).pin().iter().sum::<i32>(), 3);
    /// ```
    pub fn iter(&self) -> SetIter<'_, T, S> {
        SetIter(self.0.keys())
    }

    /// Iterates over the elements whose hashes lie in an interval. See [`HashMapRef::range`].
    ///
    /// ```
    /// let set = nulls::HashSet::from([1, 2]);
    /// let hash = set.as_map().hash_of(&1);
    /// assert_eq!(set.pin().range(hash..=hash).next(), Some(&1));
    /// ```
    pub fn range(&self, hashes: impl RangeBounds<u64>) -> SetIter<'_, T, S> {
        SetIter(Keys::new(self.0.range(hashes)))
    }

    /// Visits some elements from a cursor on. See [`HashMapRef::scan`].
    ///
    /// ```
    /// let set = nulls::HashSet::from([1, 2]);
    /// let mut sum = 0;
    /// assert_eq!(set.pin().scan(0, usize::MAX, |n| sum += n), None);
    /// assert_eq!(sum, 3);
    /// ```
    pub fn scan<'g>(
        &'g self,
        from: u64,
        count: usize,
        mut visit: impl FnMut(&'g T),
    ) -> Option<u64> {
        self.0.scan(from, count, |element, ()| visit(element))
    }

    /// Whether no element of this set is in `other`.
    ///
    /// ```
    /// let (a, b) = (nulls::HashSet::from([1, 2]), nulls::HashSet::from([3]));
    /// assert!(a.pin().is_disjoint(&b.pin()));
    /// ```
    pub fn is_disjoint<R: BuildHasher, H: AnyGuard>(
        &self,
        other: &HashSetRef<'_, T, R, H>,
    ) -> bool {
        self.iter().all(|element| !other.contains(element))
    }

    /// Whether every element of this set is in `other`.
    ///
    /// ```
    /// let (a, b) = (nulls::HashSet::from([1, 2]), nulls::HashSet::from([1, 2, 3]));
    /// assert!(a.pin().is_subset(&b.pin()));
    /// ```
    pub fn is_subset<R: BuildHasher, H: AnyGuard>(&self, other: &HashSetRef<'_, T, R, H>) -> bool {
        self.iter().all(|element| other.contains(element))
    }

    /// Whether every element of `other` is in this set.
    ///
    /// ```
    /// let (a, b) = (nulls::HashSet::from([1, 2]), nulls::HashSet::from([1]));
    /// assert!(a.pin().is_superset(&b.pin()));
    /// ```
    pub fn is_superset<R: BuildHasher, H: AnyGuard>(
        &self,
        other: &HashSetRef<'_, T, R, H>,
    ) -> bool {
        other.is_subset(self)
    }

    /// The elements that are in both sets.
    ///
    /// ```
    /// let (a, b) = (nulls::HashSet::from([1, 2]), nulls::HashSet::from([2, 3]));
    /// assert_eq!(a.pin().intersection(&b.pin()).collect::<Vec<_>>(), [&2]);
    /// ```
    pub fn intersection<'g, R: BuildHasher, H: AnyGuard>(
        &'g self,
        other: &'g HashSetRef<'_, T, R, H>,
    ) -> impl Iterator<Item = &'g T> {
        self.iter().filter(|element| other.contains(*element))
    }

    /// The elements that are in this set and not in `other`.
    ///
    /// ```
    /// let (a, b) = (nulls::HashSet::from([1, 2]), nulls::HashSet::from([2, 3]));
    /// assert_eq!(a.pin().difference(&b.pin()).collect::<Vec<_>>(), [&1]);
    /// ```
    pub fn difference<'g, R: BuildHasher, H: AnyGuard>(
        &'g self,
        other: &'g HashSetRef<'_, T, R, H>,
    ) -> impl Iterator<Item = &'g T> {
        self.iter().filter(|element| !other.contains(*element))
    }

    /// The elements that are in exactly one of the sets.
    ///
    /// ```
    /// let (a, b) = (nulls::HashSet::from([1, 2]), nulls::HashSet::from([2, 3]));
    /// assert_eq!(a.pin().symmetric_difference(&b.pin()).sum::<i32>(), 4);
    /// ```
    pub fn symmetric_difference<'g, R: BuildHasher, H: AnyGuard>(
        &'g self,
        other: &'g HashSetRef<'_, T, R, H>,
    ) -> impl Iterator<Item = &'g T> {
        self.difference(other).chain(other.difference(self))
    }

    /// The elements that are in any of the sets, each once.
    ///
    /// ```
    /// let (a, b) = (nulls::HashSet::from([1, 2]), nulls::HashSet::from([2, 3]));
    /// assert_eq!(a.pin().union(&b.pin()).sum::<i32>(), 6);
    /// ```
    pub fn union<'g, R: BuildHasher, H: AnyGuard>(
        &'g self,
        other: &'g HashSetRef<'_, T, R, H>,
    ) -> impl Iterator<Item = &'g T> {
        self.iter().chain(other.difference(self))
    }
}

impl<'a, T: Hash + Eq, S: BuildHasher, G: AnyGuard> IntoIterator for &'a HashSetRef<'_, T, S, G> {
    type Item = &'a T;
    type IntoIter = SetIter<'a, T, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: fmt::Debug + Hash + Eq, S: BuildHasher, G: AnyGuard> fmt::Debug
    for HashSetRef<'_, T, S, G>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

/// An iterator over a set's elements. From [`HashSetRef::iter`].
///
/// ```
/// assert_eq!(nulls::HashSet::from([1, 2]).pin().iter().count(), 2);
/// ```
pub struct SetIter<'g, T, S>(Keys<'g, T, (), S>);

impl<'g, T: Hash, S: BuildHasher> Iterator for SetIter<'g, T, S> {
    type Item = &'g T;

    #[inline]
    fn next(&mut self) -> Option<&'g T> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T: Hash, S: BuildHasher> FusedIterator for SetIter<'_, T, S> {}

impl<T, S> Clone for SetIter<'_, T, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Hash + fmt::Debug, S: BuildHasher> fmt::Debug for SetIter<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An iterator that removes what it yields. From [`HashSetRef::drain`].
///
/// ```
/// assert_eq!(nulls::HashSet::from([1, 2]).pin().drain().sum::<i32>(), 3);
/// ```
#[derive(Debug)]
#[must_use = "dropping it at once removes every element: `clear` says that"]
pub struct SetDrain<'g, T: Hash + Eq, S: BuildHasher>(Drain<'g, T, (), S>);

impl<'g, T: Hash + Eq, S: BuildHasher> Iterator for SetDrain<'g, T, S> {
    type Item = &'g T;

    fn next(&mut self) -> Option<&'g T> {
        self.0.next().map(|(element, ())| element)
    }
}

impl<T: Hash + Eq, S: BuildHasher> FusedIterator for SetDrain<'_, T, S> {}
