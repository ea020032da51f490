//! `compute`: look at a key's entry, decide, and commit only if it is still what was looked at.

use super::error::{InsertError, refuse};
use super::key::{ByRef, ByValue, private::Key};
use super::node::Pending;
use super::{Equivalent, HashMap, hash::hash_of};
use crate::raw;
use crate::rcu::Guard;
use core::hash::{BuildHasher, Hash};

/// What [`compute`](super::HashMapRef::compute) shall do with a key.
///
/// ```
/// use nulls::Operation;
/// let map = nulls::HashMap::new();
/// let map = map.pin();
/// // Counts down, and removes what has reached zero.
/// let tick = |seen: Option<(&&str, &u32)>| match seen {
///     Some((_, &n)) if n > 1 => Operation::Insert(n - 1),
///     Some(_) => Operation::Remove,
///     None => Operation::Abort("no such timer"),
/// };
/// map.insert("tea", 2);
/// map.compute("tea", tick);
/// assert_eq!(map.get("tea"), Some(&1));
/// map.compute("tea", tick);
/// assert_eq!(map.get("tea"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<V, A> {
    /// Insert this value, or put it in the place of the one that is there.
    Insert(V),
    /// Remove the entry.
    Remove,
    /// Leave the map as it is, and return this.
    Abort(A),
}

/// What [`compute`](super::HashMapRef::compute) did.
///
/// ```
/// use nulls::{Compute, Operation};
/// let map = nulls::HashMap::from([("a", 1)]);
/// let map = map.pin();
/// let add = |seen: Option<(&&str, &i32)>| match seen {
///     Some((_, v)) => Operation::<_, ()>::Insert(v + 1),
///     None => Operation::Insert(1),
/// };
/// assert_eq!(map.compute("a", add), Compute::Updated { old: (&"a", &1), new: (&"a", &2) });
/// assert_eq!(map.compute("b", add), Compute::Inserted(&"b", &1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute<'g, K, V, A> {
    /// The key was not there, and is now.
    Inserted(&'g K, &'g V),
    /// The entry was replaced.
    Updated {
        /// The entry that is in the map no more.
        old: (&'g K, &'g V),
        /// The entry that is now.
        new: (&'g K, &'g V),
    },
    /// The entry was removed.
    Removed(&'g K, &'g V),
    /// The key that was to be removed was not there.
    Absent,
    /// The closure aborted: the map is as it was.
    Aborted(A),
}

/// What was decided about an entry, ready to be committed.
enum Plan<'m, K, V, R> {
    Put(Pending<'m, K, V>, R),
    Remove,
}

/// Where the key is at the moment.
enum Hand<'m, K, V, B: Key<K>> {
    /// With us.
    Ours(B),
    /// In a decision, made of what was the entry then (`None`: there was none).
    Decided(Option<u32>, Plan<'m, K, V, B::Rest>, Option<B>),
}

impl<K: Hash + Eq, V, S: BuildHasher> HashMap<K, V, S> {
    /// `decide` also gets the value of its last decision, if that is outdated.
    pub(super) fn compute_by<'g, B: Key<K>, A>(
        &'g self,
        key: B,
        mut decide: impl FnMut(Option<(&'g K, &'g V)>, Option<V>) -> Operation<V, A>,
        guard: &'g Guard,
    ) -> Result<Compute<'g, K, V, A>, InsertError<K, V>> {
        let hash = hash_of(&self.hasher, key.query());
        let mut hand = Hand::Ours(key);
        loop {
            let probe = match &hand {
                Hand::Ours(key) | Hand::Decided(_, _, Some(key)) => {
                    self.probe(hash, key.query(), guard)
                }
                Hand::Decided(_, Plan::Put(node, _), None) => self.probe(hash, node.key(), guard),
                Hand::Decided(_, Plan::Remove, None) => unreachable!("only a node takes the key"),
            };
            let now = probe.hit();
            // A decision holds as long as it was made of what is there now: nodes do not change, and none is used again while
            // we are pinned. So `decide` is not called again, and may itself write to the bucket.
            let (plan, spare) = match hand {
                Hand::Decided(of, plan, spare) if of == now => (plan, spare),
                undecided => {
                    let (key, outdated) = match undecided {
                        Hand::Ours(key) | Hand::Decided(_, _, Some(key)) => (key, None),
                        Hand::Decided(_, Plan::Put(node, rest), None) => {
                            let (key, value) = node.into_inner();
                            (B::restore(rest, key), Some(value))
                        }
                        Hand::Decided(_, Plan::Remove, None) => {
                            unreachable!("only a node takes the key")
                        }
                    };
                    // SAFETY: found while pinned.
                    match decide(now.map(|x| unsafe { self.nodes.entry(x) }), outdated) {
                        Operation::Abort(a) => return Ok(Compute::Aborted(a)),
                        Operation::Remove => (Plan::Remove, Some(key)),
                        Operation::Insert(value) => {
                            let (key, rest) = key.into_key();
                            let node = self
                                .nodes
                                .prepare(key, value, guard)
                                .map_err(|(entry, e)| InsertError::alloc(e, entry))?;
                            (Plan::Put(node, rest), None)
                        }
                    }
                }
            };
            match (plan, now) {
                (Plan::Remove, None) => return Ok(Compute::Absent),
                (Plan::Remove, Some(_)) => match probe.remove() {
                    Ok((old, written)) => {
                        let (k, v) = self.removed(old, written, guard);
                        return Ok(Compute::Removed(k, v));
                    }
                    Err(raw::Stale) => hand = Hand::Decided(now, Plan::Remove, spare),
                },
                (Plan::Put(node, rest), Some(_)) => match probe.replace(node.handle()) {
                    Ok((old, written)) => {
                        let new = self.entry_of(node.linked(), guard);
                        let old = self.removed(old, written, guard);
                        return Ok(Compute::Updated { old, new });
                    }
                    Err(raw::Stale) => hand = Hand::Decided(now, Plan::Put(node, rest), None),
                },
                (Plan::Put(node, rest), None) => match probe.insert(node.handle()) {
                    Ok(written) => {
                        let (k, v) = self.entry_of(node.linked(), guard);
                        written.assist(guard, &self.rehash());
                        return Ok(Compute::Inserted(k, v));
                    }
                    Err(raw::InsertError::Stale) => {
                        hand = Hand::Decided(now, Plan::Put(node, rest), None);
                    }
                    Err(raw::InsertError::Full) => {
                        let (key, value) = node.into_inner();
                        return Err(InsertError::Full { key, value });
                    }
                    Err(raw::InsertError::Alloc(e)) => {
                        return Err(InsertError::alloc(e, node.into_inner()));
                    }
                },
            }
        }
    }

    /// As [`HashMapRef::compute`](super::HashMapRef::compute).
    ///
    /// ```
    /// use nulls::{Compute, Operation};
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// let done = map.compute_with(1, |_| Operation::<_, ()>::Remove, &guard);
    /// assert_eq!(done, Compute::Removed(&1, &10));
    /// ```
    pub fn compute_with<'g, A>(
        &'g self,
        key: K,
        decide: impl FnMut(Option<(&'g K, &'g V)>) -> Operation<V, A>,
        guard: &'g Guard,
    ) -> Compute<'g, K, V, A> {
        match self.compute_by(ByValue(key), outdated_first(decide), guard) {
            Ok(done) => done,
            Err(e) => refuse(&e),
        }
    }

    /// As [`HashMapRef::compute_ref`](super::HashMapRef::compute_ref).
    ///
    /// ```
    /// use nulls::{Compute, Operation};
    /// let map = nulls::HashMap::<String, i32>::new();
    /// let guard = nulls::rcu::pin();
    /// let done = map.compute_ref_with("a", |_| Operation::<_, ()>::Insert(1), &guard);
    /// assert_eq!(done, Compute::Inserted(&"a".into(), &1));
    /// ```
    pub fn compute_ref_with<'g, 'q, Q, A>(
        &'g self,
        key: &'q Q,
        decide: impl FnMut(Option<(&'g K, &'g V)>) -> Operation<V, A>,
        guard: &'g Guard,
    ) -> Compute<'g, K, V, A>
    where
        K: From<&'q Q>,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.compute_by(ByRef(key), outdated_first(decide), guard) {
            Ok(done) => done,
            Err(e) => refuse(&e),
        }
    }

    /// As [`HashMapRef::try_compute`](super::HashMapRef::try_compute).
    ///
    /// ```
    /// use nulls::{Compute, Operation};
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// let done = map.try_compute_with(3, |_| Operation::<_, ()>::Insert(30), &guard);
    /// assert_eq!(done.unwrap(), Compute::Inserted(&3, &30));
    /// ```
    pub fn try_compute_with<'g, A>(
        &'g self,
        key: K,
        decide: impl FnMut(Option<(&'g K, &'g V)>) -> Operation<V, A>,
        guard: &'g Guard,
    ) -> Result<Compute<'g, K, V, A>, InsertError<K, V>> {
        self.compute_by(ByValue(key), outdated_first(decide), guard)
    }

    /// As [`HashMapRef::update_or_insert_with`](super::HashMapRef::update_or_insert_with).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.update_or_insert_with_with(1, |v| v + 1, || 0, &guard), &11);
    /// assert_eq!(map.update_or_insert_with_with(3, |v| v + 1, || 0, &guard), &0);
    /// ```
    pub fn update_or_insert_with_with<'g>(
        &'g self,
        key: K,
        mut update: impl FnMut(&V) -> V,
        make: impl FnOnce() -> V,
        guard: &'g Guard,
    ) -> &'g V {
        let mut make = Some(make);
        let mut made = None;
        let done = self.compute_by(
            ByValue(key),
            |seen, outdated| {
                // The first value that comes back is the one that was made; later ones are updates of what is gone.
                if made.is_none() && make.is_none() {
                    made = outdated;
                } else {
                    drop(outdated);
                }
                match seen {
                    Some((_, v)) => Operation::Insert(update(v)),
                    None => match made.take().or_else(|| Some(make.take()?())) {
                        Some(v) => Operation::Insert(v),
                        None => Operation::Abort(()),
                    },
                }
            },
            guard,
        );
        match done {
            Ok(Compute::Inserted(_, v) | Compute::Updated { new: (_, v), .. }) => v,
            Ok(_) => unreachable!("a value that was made comes back"),
            Err(e) => refuse(&e),
        }
    }

    /// As [`HashMapRef::try_upsert`](super::HashMapRef::try_upsert).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.try_upsert_with(1, 11, &guard).unwrap(), Some(&10));
    /// ```
    pub fn try_upsert_with<'g>(
        &'g self,
        key: K,
        value: V,
        guard: &'g Guard,
    ) -> Result<Option<&'g V>, InsertError<K, V>> {
        let hash = hash_of(&self.hasher, &key);
        let node = self
            .nodes
            .prepare(key, value, guard)
            .map_err(|(entry, e)| InsertError::alloc(e, entry))?;
        loop {
            let probe = self.probe(hash, node.key(), guard);
            if probe.hit().is_some() {
                if let Ok((old, written)) = probe.replace(node.handle()) {
                    node.linked();
                    return Ok(Some(self.removed(old, written, guard).1));
                }
                continue;
            }
            match probe.insert(node.handle()) {
                Ok(written) => {
                    node.linked();
                    written.assist(guard, &self.rehash());
                    return Ok(None);
                }
                Err(raw::InsertError::Stale) => {}
                Err(raw::InsertError::Full) => {
                    let (key, value) = node.into_inner();
                    return Err(InsertError::Full { key, value });
                }
                Err(raw::InsertError::Alloc(e)) => {
                    return Err(InsertError::alloc(e, node.into_inner()));
                }
            }
        }
    }
}

/// `decide`, after the value of its last decision was dropped. (At the end of the call would be too late: if its destructor panics,
/// nobody would drop what the call returns.)
fn outdated_first<E, V, R>(
    mut decide: impl FnMut(Option<E>) -> R,
) -> impl FnMut(Option<E>, Option<V>) -> R {
    move |seen, outdated| {
        drop(outdated);
        decide(seen)
    }
}
