//! The map's operations, under a guard of the caller's.
//!
//! Each has the same shape: look without a lock, do what the user's code does, then commit if nothing changed since the
//! look, else begin again. After the commit nothing but bookkeeping follows, so a panic in user code finds either
//! nothing changed or everything done.

use super::error::{InsertError, TryInsertError};
use super::{Equivalent, HashMap, Iter, hash::hash_of, node::Pending};
use crate::mem::AllocError;
use crate::raw::{self, Probe, Written};
use crate::rcu::Guard;
use core::hash::{BuildHasher, Hash};
use core::ops::RangeBounds;

impl<K: Hash + Eq, V, S: BuildHasher> HashMap<K, V, S> {
    /// As [`HashMapRef::get`](super::HashMapRef::get).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.get_with(&1, &guard), Some(&"one"));
    /// ```
    // Always inlined: a key passed by reference would be stored and loaded again, on the way to the bucket's address.
    #[inline(always)]
    pub fn get_with<'g, Q>(&'g self, key: &Q, guard: &'g Guard) -> Option<&'g V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // Not by way of the key and the value: the compiler does not see that both are there or neither.
        self.table.find(guard, hash_of(&self.hasher, key), |x| {
            // SAFETY: found while pinned.
            let (k, v) = unsafe { self.nodes.entry(x) };
            key.equivalent(k).then_some(v)
        })
    }

    /// As [`HashMapRef::get_key_value`](super::HashMapRef::get_key_value).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.get_key_value_with(&1, &guard), Some((&1, &"one")));
    /// ```
    #[inline(always)]
    pub fn get_key_value_with<'g, Q>(&'g self, key: &Q, guard: &'g Guard) -> Option<(&'g K, &'g V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.table.find(guard, hash_of(&self.hasher, key), |x| {
            // SAFETY: found while pinned.
            let (k, v) = unsafe { self.nodes.entry(x) };
            key.equivalent(k).then_some((k, v))
        })
    }

    /// As [`HashMapRef::contains_key`](super::HashMapRef::contains_key).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// assert!(map.contains_key_with(&2, &guard));
    /// ```
    #[inline(always)]
    pub fn contains_key_with<Q>(&self, key: &Q, guard: &Guard) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.get_with(key, guard).is_some()
    }

    /// As [`HashMapRef::get_many`](super::HashMapRef::get_many).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// let mut found = vec![None; 2];
    /// map.get_many_with(&[&2, &3], &guard, |i, value| found[i] = value.copied());
    /// assert_eq!(found, [Some("two"), None]);
    /// ```
    pub fn get_many_with<'g, Q>(
        &'g self,
        keys: &[&Q],
        guard: &'g Guard,
        mut found: impl FnMut(usize, Option<&'g V>),
    ) where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        /// Hashes are computed on the stack, a batch at a time.
        const BATCH: usize = 64;
        let mut hashes = [0; BATCH];
        for (c, keys) in keys.chunks(BATCH).enumerate() {
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = hash_of(&self.hasher, *key);
            }
            self.table.find_many(
                guard,
                &hashes[..keys.len()],
                |x| self.nodes.prefetch(x),
                |i, x| {
                    // SAFETY: found while pinned.
                    let (k, v) = unsafe { self.nodes.entry(x) };
                    keys[i].equivalent(k).then_some(v)
                },
                |i, v| found(c * BATCH + i, v),
            );
        }
    }

    #[inline(always)]
    pub(super) fn probe<'g, Q>(&'g self, hash: u64, key: &Q, guard: &'g Guard) -> Probe<'g>
    where
        Q: Equivalent<K> + ?Sized,
    {
        // SAFETY: found while pinned.
        self.table.probe(
            guard,
            hash,
            |x| key.equivalent(unsafe { self.nodes.key(x) }),
            &self.rehash(),
        )
    }

    /// The probe after a stale one: rare, so that it is not worth much code.
    #[cold]
    #[inline(never)]
    pub(super) fn probe_again<'g, Q>(&'g self, hash: u64, key: &Q, guard: &'g Guard) -> Probe<'g>
    where
        Q: Equivalent<K> + ?Sized,
    {
        // SAFETY: found while pinned.
        self.table.probe_slowly(
            guard,
            hash,
            |x| key.equivalent(unsafe { self.nodes.key(x) }),
            &self.rehash(),
        )
    }

    /// A node that was found, or unlinked, while pinned.
    pub(super) fn entry_of<'g>(&'g self, x: u32, guard: &'g Guard) -> (&'g K, &'g V) {
        let _ = guard;
        // SAFETY: it was linked while we were pinned, and retired nodes outlive the guard.
        unsafe { self.nodes.entry(x) }
    }

    /// The value of a node that was found, or unlinked, while pinned.
    fn value<'g>(&'g self, x: u32, guard: &'g Guard) -> &'g V {
        let _ = guard;
        // SAFETY: it was linked while we were pinned, and retired nodes outlive the guard.
        unsafe { self.nodes.entry(x).1 }
    }

    /// As [`HashMapRef::insert`](super::HashMapRef::insert).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.insert_with(1, "uno", &guard), Some(&"one"));
    /// ```
    #[inline]
    pub fn insert_with<'g>(&'g self, key: K, value: V, guard: &'g Guard) -> Option<&'g V> {
        let hash = hash_of(&self.hasher, &key);
        // Looks first: the bucket and the node that it may hold come near while ours is made.
        let probe = self.probe(hash, &key, guard);
        let node = match self.nodes.prepare(key, value, guard) {
            Ok(node) => node,
            Err((_, e)) => no_memory(e),
        };
        match self.put(probe, node, guard) {
            Ok(old) => old,
            Err(node) => self.put_again(hash, node, guard),
        }
    }

    /// Links a node where `probe` says, and yields the value of the one whose place it took. Gives it back when the probe
    /// is stale.
    #[inline(always)]
    fn put<'g>(
        &'g self,
        probe: Probe<'g>,
        node: Pending<'g, K, V>,
        guard: &'g Guard,
    ) -> Result<Option<&'g V>, Pending<'g, K, V>> {
        if probe.hit().is_some() {
            let Ok((old, written)) = probe.replace(node.handle()) else {
                return Err(node);
            };
            node.linked();
            let old_value = self.value(old, guard);
            self.nodes.retire(old, guard);
            written.assist(guard, &self.rehash());
            return Ok(Some(old_value));
        }
        match probe.insert(node.handle()) {
            Ok(written) => {
                node.linked();
                written.assist(guard, &self.rehash());
                Ok(None)
            }
            Err(raw::InsertError::Stale) => Err(node),
            Err(raw::InsertError::Full) => full(),
            Err(raw::InsertError::Alloc(e)) => no_memory(e),
        }
    }

    /// The rest of an insertion whose first probe was stale. Apart from it, so that what the first one saw stays in
    /// registers.
    #[cold]
    #[inline(never)]
    fn put_again<'g>(
        &'g self,
        hash: u64,
        mut node: Pending<'g, K, V>,
        guard: &'g Guard,
    ) -> Option<&'g V> {
        loop {
            let probe = self.probe_again(hash, node.key(), guard);
            match self.put(probe, node, guard) {
                Ok(old) => return old,
                Err(back) => node = back,
            }
        }
    }

    /// As [`HashMapRef::try_insert`](super::HashMapRef::try_insert).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// assert!(map.try_insert_with(1, "uno", &guard).is_err());
    /// assert_eq!(map.try_insert_with(3, "tre", &guard).ok(), Some(&"tre"));
    /// ```
    pub fn try_insert_with<'g>(
        &'g self,
        key: K,
        value: V,
        guard: &'g Guard,
    ) -> Result<&'g V, TryInsertError<'g, K, V>> {
        let hash = hash_of(&self.hasher, &key);
        let probe = self.probe(hash, &key, guard);
        if let Some(x) = probe.hit() {
            return Err(TryInsertError::Occupied {
                current: self.value(x, guard),
                key,
                value,
            });
        }
        let node = match self.nodes.prepare(key, value, guard) {
            Ok(node) => node,
            Err((entry, e)) => return Err(InsertError::alloc(e, entry).into()),
        };
        match self.link_new(probe, &node, guard) {
            Ok(written) => {
                let x = node.linked();
                written.assist(guard, &self.rehash());
                Ok(self.value(x, guard))
            }
            Err(NotLinked::Occupied(x)) => {
                let (key, value) = node.into_inner();
                Err(TryInsertError::Occupied {
                    current: self.value(x, guard),
                    key,
                    value,
                })
            }
            Err(NotLinked::Full) => {
                let (key, value) = node.into_inner();
                Err(TryInsertError::Full { key, value })
            }
            Err(NotLinked::Alloc(e)) => Err(InsertError::alloc(e, node.into_inner()).into()),
        }
    }

    /// Links a node whose key must not be there, where the probe says if it is not stale.
    fn link_new<'g>(
        &'g self,
        mut probe: Probe<'g>,
        node: &Pending<'_, K, V>,
        guard: &'g Guard,
    ) -> Result<Written<'g>, NotLinked> {
        let hash = probe.hash();
        loop {
            if let Some(x) = probe.hit() {
                return Err(NotLinked::Occupied(x));
            }
            match probe.insert(node.handle()) {
                Ok(written) => return Ok(written),
                Err(raw::InsertError::Stale) => {}
                Err(raw::InsertError::Full) => return Err(NotLinked::Full),
                Err(raw::InsertError::Alloc(e)) => return Err(NotLinked::Alloc(e)),
            }
            probe = self.probe_again(hash, node.key(), guard);
        }
    }

    /// As [`HashMapRef::get_or_insert_with`](super::HashMapRef::get_or_insert_with).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.get_or_insert_with_with(3, || "three", &guard), &"three");
    /// ```
    pub fn get_or_insert_with_with<'g>(
        &'g self,
        key: K,
        value: impl FnOnce() -> V,
        guard: &'g Guard,
    ) -> &'g V {
        let hash = hash_of(&self.hasher, &key);
        let here = self.table.find(guard, hash, |x| {
            // SAFETY: found while pinned.
            let (k, v) = unsafe { self.nodes.entry(x) };
            key.equivalent(k).then_some(v)
        });
        if let Some(value) = here {
            return value;
        }
        let node = match self.nodes.prepare(key, value(), guard) {
            Ok(node) => node,
            Err((_, e)) => no_memory(e),
        };
        let probe = self.probe(hash, node.key(), guard);
        match self.link_new(probe, &node, guard) {
            Ok(written) => {
                let x = node.linked();
                written.assist(guard, &self.rehash());
                self.value(x, guard)
            }
            // Another thread, or `value` itself, was first: its value stays, ours is dropped with `node`.
            Err(NotLinked::Occupied(x)) => self.value(x, guard),
            Err(NotLinked::Full) => full(),
            Err(NotLinked::Alloc(e)) => no_memory(e),
        }
    }

    /// As [`HashMapRef::update`](super::HashMapRef::update).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.update_with(&1, |v| v + 1, &guard), Some(&11));
    /// ```
    #[inline]
    pub fn update_with<'g, Q>(
        &'g self,
        key: &Q,
        mut update: impl FnMut(&V) -> V,
        guard: &'g Guard,
    ) -> Option<&'g V>
    where
        K: Clone,
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = hash_of(&self.hasher, key);
        let probe = self.probe(hash, key, guard);
        let old = probe.hit()?;
        let node = self.updated(old, &mut update, guard);
        match self.swap(probe, node, guard) {
            Ok(x) => Some(self.value(x, guard)),
            Err(node) => self.update_again(hash, key, update, (old, node), guard),
        }
    }

    /// What becomes of node `old`.
    #[inline(always)]
    fn updated<'g>(
        &'g self,
        old: u32,
        update: &mut impl FnMut(&V) -> V,
        guard: &'g Guard,
    ) -> Pending<'g, K, V>
    where
        K: Clone,
    {
        // SAFETY: found while pinned.
        let (k, v) = unsafe { self.nodes.entry(old) };
        match self.nodes.prepare(k.clone(), update(v), guard) {
            Ok(node) => node,
            Err((_, e)) => no_memory(e),
        }
    }

    /// Puts a node in the place of the probe's hit, and yields its handle. Gives it back when the probe is stale.
    #[inline(always)]
    fn swap<'g>(
        &'g self,
        probe: Probe<'g>,
        node: Pending<'g, K, V>,
        guard: &'g Guard,
    ) -> Result<u32, Pending<'g, K, V>> {
        let Ok((old, written)) = probe.replace(node.handle()) else {
            return Err(node);
        };
        let x = node.linked();
        self.nodes.retire(old, guard);
        written.assist(guard, &self.rehash());
        Ok(x)
    }

    /// The rest of an update whose first probe was stale. `made` is what became of which node.
    #[cold]
    #[inline(never)]
    fn update_again<'g, Q>(
        &'g self,
        hash: u64,
        key: &Q,
        mut update: impl FnMut(&V) -> V,
        mut made: (u32, Pending<'g, K, V>),
        guard: &'g Guard,
    ) -> Option<&'g V>
    where
        K: Clone,
        Q: Equivalent<K> + ?Sized,
    {
        loop {
            let probe = self.probe_again(hash, key, guard);
            let old = probe.hit()?;
            // What was made still holds when the key is still in that node: nodes do not change, and none is used again
            // while we are pinned. So the closure is not called again, and may itself write to the bucket.
            if made.0 != old {
                made = (old, self.updated(old, &mut update, guard));
            }
            match self.swap(probe, made.1, guard) {
                Ok(x) => return Some(self.value(x, guard)),
                Err(node) => made = (old, node),
            }
        }
    }

    /// As [`HashMapRef::remove_entry`](super::HashMapRef::remove_entry).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.remove_entry_with(&1, &guard), Some((&1, &"one")));
    /// ```
    #[inline]
    pub fn remove_entry_with<'g, Q>(&'g self, key: &Q, guard: &'g Guard) -> Option<(&'g K, &'g V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = hash_of(&self.hasher, key);
        let probe = self.probe(hash, key, guard);
        probe.hit()?;
        match probe.remove() {
            Ok((old, written)) => Some(self.removed(old, written, guard)),
            Err(raw::Stale) => self.remove_again(hash, key, guard),
        }
    }

    /// The rest of a removal whose first probe was stale.
    #[cold]
    #[inline(never)]
    fn remove_again<'g, Q>(&'g self, hash: u64, key: &Q, guard: &'g Guard) -> Option<(&'g K, &'g V)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        loop {
            let probe = self.probe_again(hash, key, guard);
            probe.hit()?;
            if let Ok((old, written)) = probe.remove() {
                return Some(self.removed(old, written, guard));
            }
        }
    }

    /// As [`HashMapRef::remove`](super::HashMapRef::remove).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, "one"), (2, "two")]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.remove_with(&1, &guard), Some(&"one"));
    /// ```
    #[inline]
    pub fn remove_with<'g, Q>(&'g self, key: &Q, guard: &'g Guard) -> Option<&'g V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.remove_entry_with(key, guard).map(|(_, v)| v)
    }

    #[inline]
    pub(super) fn removed<'g>(
        &'g self,
        x: u32,
        written: Written<'g>,
        guard: &'g Guard,
    ) -> (&'g K, &'g V) {
        // SAFETY: it was linked while we were pinned, and retired nodes outlive the guard.
        let entry = unsafe { self.nodes.entry(x) };
        self.nodes.retire(x, guard);
        written.assist(guard, &self.rehash());
        entry
    }

    /// As [`HashMapRef::iter`](super::HashMapRef::iter).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// assert_eq!(map.iter_with(&guard).map(|(_, v)| v).sum::<i32>(), 30);
    /// ```
    pub fn iter_with<'g>(&'g self, guard: &'g Guard) -> Iter<'g, K, V, S> {
        Iter::new(self, .., guard)
    }

    /// As [`HashMapRef::range`](super::HashMapRef::range).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// let half = 1 << 63;
    /// let (low, high) = (map.range_with(..half, &guard), map.range_with(half.., &guard));
    /// assert_eq!(low.count() + high.count(), 2);
    /// ```
    pub fn range_with<'g>(
        &'g self,
        hashes: impl RangeBounds<u64>,
        guard: &'g Guard,
    ) -> Iter<'g, K, V, S> {
        Iter::new(self, hashes, guard)
    }

    /// As [`HashMapRef::scan`](super::HashMapRef::scan).
    ///
    /// ```
    /// let map = nulls::HashMap::from([(1, 10), (2, 20)]);
    /// let guard = nulls::rcu::pin();
    /// let mut sum = 0;
    /// let mut at = Some(0);
    /// while let Some(hash) = at {
    ///     at = map.scan_with(hash, 1, |_, v| sum += v, &guard);
    /// }
    /// assert_eq!(sum, 30);
    /// ```
    pub fn scan_with<'g>(
        &'g self,
        from: u64,
        count: usize,
        mut visit: impl FnMut(&'g K, &'g V),
        guard: &'g Guard,
    ) -> Option<u64> {
        let mut iter = Iter::new(self, from.., guard);
        let mut visited = 0;
        while visited < count.max(1) && iter.step() {
            visited += iter.found().len();
            for &x in iter.found() {
                let (k, v) = iter.entry(x);
                visit(k, v);
            }
        }
        iter.position()
    }
}

/// Why a new node was not linked.
enum NotLinked {
    Occupied(u32),
    Full,
    Alloc(AllocError),
}

#[cold]
fn full() -> ! {
    panic!("the map holds as many entries as its limit allows")
}

#[cold]
fn no_memory(e: AllocError) -> ! {
    panic!("no memory for another entry: {e}")
}
