//! The map's entries: nodes of a slab, retired when they are unlinked and dropped a grace period later.

use crate::budget::Budget;
use crate::mem::AllocError;
use crate::prefetch;
use crate::rcu::Guard;
use crate::rcu::garbage::{Garbage, Waiting};
use crate::slab::{MAX_LIMIT, NodeSlab, SlabStats};
use alloc::sync::Arc;

/// A map's nodes and those of them that wait for readers.
#[derive(Debug)]
pub(super) struct Nodes<K, V> {
    slab: NodeSlab<(K, V)>,
    garbage: Garbage<u32>,
}

impl<K, V> Nodes<K, V> {
    pub(super) fn try_new(budget: Option<&Arc<Budget>>) -> Result<Self, AllocError> {
        Ok(Self {
            slab: match budget {
                None => NodeSlab::try_new(MAX_LIMIT)?,
                Some(budget) => NodeSlab::try_new_within(MAX_LIMIT, budget)?,
            },
            garbage: Garbage::try_new()?,
        })
    }

    /// Takes memory for that many entries now.
    pub(super) fn reserve(&self, entries: usize) -> Result<(), AllocError> {
        self.slab
            .reserve(u32::try_from(entries).unwrap_or(MAX_LIMIT))
    }

    /// A node that is not linked yet, or key and value back when there is no room.
    #[inline(always)]
    #[allow(clippy::type_complexity, reason = "what came comes back")]
    pub(super) fn prepare(
        &self,
        key: K,
        value: V,
        guard: &Guard,
    ) -> Result<Pending<'_, K, V>, ((K, V), AllocError)> {
        match self.slab.alloc_for(guard.index(), (key, value)) {
            Ok(handle) => Ok(Pending {
                nodes: self,
                handle,
            }),
            Err((entry, _)) => self.prepare_anew(entry),
        }
    }

    /// Frees what garbage can be freed, and tries again.
    #[cold]
    #[allow(clippy::type_complexity, reason = "what came comes back")]
    fn prepare_anew(&self, entry: (K, V)) -> Result<Pending<'_, K, V>, ((K, V), AllocError)> {
        self.collect();
        match self.slab.alloc(entry) {
            Ok(handle) => Ok(Pending {
                nodes: self,
                handle,
            }),
            Err((entry, e)) => Err((entry, e.into())),
        }
    }

    /// Key and value of a node.
    ///
    /// # Safety
    /// The handle was found in the table since a guard was made that outlives `'a`, or is the caller's own.
    #[inline(always)]
    pub(super) unsafe fn entry(&self, handle: u32) -> (&K, &V) {
        // SAFETY: the caller's; the table published the handle with Release and gave it to us with Acquire.
        let (k, v) = unsafe { self.slab.get(handle) };
        (k, v)
    }

    /// The key of a node.
    ///
    /// # Safety
    /// As [`entry`](Self::entry).
    #[inline(always)]
    pub(super) unsafe fn key(&self, handle: u32) -> &K {
        // SAFETY: the caller's.
        unsafe { self.entry(handle).0 }
    }

    /// Key and value of a node, to be changed.
    ///
    /// # Safety
    /// The node is alive, and nobody else looks at it.
    #[inline]
    pub(super) unsafe fn entry_mut(&mut self, handle: u32) -> (&K, &mut V) {
        // SAFETY: the caller's.
        let (k, v) = unsafe { self.slab.get_mut(handle) };
        (k, v)
    }

    /// Takes key and value out of a node.
    ///
    /// # Safety
    /// Nobody can reach it, now or later, and it is not in the garbage.
    pub(super) unsafe fn take(&self, handle: u32) -> (K, V) {
        // SAFETY: the caller's.
        unsafe { self.slab.take(handle) }
    }

    /// Brings a node's memory near.
    #[inline(always)]
    pub(super) fn prefetch(&self, handle: u32) {
        // SAFETY: every handle that is or was in the table was given out by the slab.
        prefetch::read(unsafe { self.slab.address(handle) });
    }

    /// Lets an unlinked node wait for its readers, and drops those that have waited long enough.
    ///
    /// Destructors of earlier entries run here, without any lock; they may use the map. If one panics the rest of its
    /// batch is dropped later.
    #[inline]
    pub(super) fn retire(&self, handle: u32, guard: &Guard) {
        // The guard keeps the node readable by the caller, whatever else is freed.
        if self
            .garbage
            .retire_for(guard.index(), handle, size_of::<(K, V)>())
        {
            self.collect_full();
        }
    }

    #[cold]
    fn collect_full(&self) {
        // SAFETY: retired once, when it was unlinked, and its grace period has ended.
        self.garbage
            .collect_batches(|all| unsafe { self.slab.free_many(all) });
    }

    /// Drops what no reader can reach any more, of all threads' garbage.
    pub(super) fn collect(&self) {
        // SAFETY: as in `collect_full`.
        self.garbage.flush(|x| unsafe { self.slab.free(x) });
    }

    /// How many nodes wait.
    pub(super) fn waiting(&self) -> Waiting {
        self.garbage.waiting()
    }

    /// Memory in use.
    pub(super) fn stats(&self) -> SlabStats {
        self.slab.stats()
    }

    /// Drops a node at once.
    ///
    /// # Safety
    /// Nobody can reach it, now or later, and it is not in the garbage.
    pub(super) unsafe fn drop_now(&self, handle: u32) {
        // SAFETY: the caller's.
        unsafe { self.slab.free(handle) };
    }
}

impl<K, V> Drop for Nodes<K, V> {
    fn drop(&mut self) {
        let Self { slab, garbage } = self;
        // SAFETY: `&mut self`: no guard can be looking at this map any more. Each is in the garbage once.
        go_on(|| garbage.drain(|x| unsafe { slab.free(x) }));
    }
}

/// Runs `f`, which calls destructors one after another. If one panics, `f` runs once more while that unwinds, so that the
/// rest is dropped too. (A second panic aborts the process, as one in the elements of a `Vec` does.)
pub(super) fn go_on(f: impl FnMut()) {
    struct Again<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Again<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let mut again = Again(f);
    (again.0)();
    core::mem::forget(again);
}

/// A node that its inserter still owns. Dropped, it takes key and value with it.
#[derive(Debug)]
pub(super) struct Pending<'m, K, V> {
    nodes: &'m Nodes<K, V>,
    handle: u32,
}

impl<K, V> Pending<'_, K, V> {
    #[inline]
    pub(super) fn handle(&self) -> u32 {
        self.handle
    }

    #[inline]
    pub(super) fn key(&self) -> &K {
        // SAFETY: our own.
        unsafe { self.nodes.key(self.handle) }
    }

    /// The node is in the table now and belongs to it.
    #[inline]
    pub(super) fn linked(self) -> u32 {
        core::mem::ManuallyDrop::new(self).handle
    }

    /// Key and value back.
    pub(super) fn into_inner(self) -> (K, V) {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: our own, never published, and forgotten here.
        unsafe { this.nodes.slab.take(this.handle) }
    }
}

impl<K, V> Drop for Pending<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: our own, and never published.
        unsafe { self.nodes.drop_now(self.handle) };
    }
}
