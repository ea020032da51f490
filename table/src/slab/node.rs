//! Slots for values that live until their grace period ends.

use core::mem::ManuallyDrop;

use crate::budget::{Account, Budget};
use crate::mem::{AllocError, Zeroable};
use crate::sync::UnsafeCell;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Exhausted, Slab, SlabStats, Slot};

/// A slot: a value, or a link of the free list in the same memory.
pub struct Node<T>(UnsafeCell<Content<T>>);

union Content<T> {
    value: ManuallyDrop<T>,
    next: u32,
}

// SAFETY: zeroed bytes are a link of 0; and a union drops nothing.
unsafe impl<T> Zeroable for Node<T> {
    #[cfg(nulls_loom)]
    fn zeroed() -> Self {
        Self(UnsafeCell::new(Content { next: 0 }))
    }
}

// SAFETY: dead slots hold a link, and nobody else reads them: the grace period has passed.
unsafe impl<T> Slot for Node<T> {
    unsafe fn next_free(&self) -> u32 {
        // SAFETY: in a free list, whose lock is held: a link, and nobody writes it.
        self.0.with(|p| unsafe { (*p).next })
    }

    unsafe fn set_next_free(&self, next: u32) {
        // SAFETY: dead, and the caller's alone.
        self.0.with_mut(|p| unsafe { (*p).next = next });
    }
}

/// Values in slots, each written before its handle is published and dropped after nobody can hold it.
///
/// Dropping the slab drops no values: whoever knows which handles live [frees](Self::free) them first.
pub struct NodeSlab<T> {
    slab: Slab<Node<T>>,
}

// SAFETY: the slab owns values and moves them between threads.
unsafe impl<T: Send> Send for NodeSlab<T> {}
// SAFETY: a shared slab gives `&T` to many threads, and takes and gives values by `&self`.
unsafe impl<T: Send + Sync> Sync for NodeSlab<T> {}

impl<T> NodeSlab<T> {
    /// A slab of at most `limit` values, which takes memory as it grows.
    ///
    /// # Errors
    /// No memory for the shards.
    pub fn try_new(limit: u32) -> Result<Self, AllocError> {
        Ok(Self {
            slab: Slab::try_new(limit)?,
        })
    }

    /// The same within a budget.
    pub(crate) fn try_new_within(limit: u32, budget: &Arc<Budget>) -> Result<Self, AllocError> {
        let account = Account::Entries(budget.clone(), size_of::<Node<T>>());
        Ok(Self {
            slab: Slab::try_new_paid(limit, Some(account))?,
        })
    }

    /// Takes memory for `slots` values now, in huge pages where that pays.
    ///
    /// # Errors
    /// The system has no memory; what was taken stays.
    pub fn reserve(&self, slots: u32) -> Result<(), AllocError> {
        self.slab.reserve(slots)
    }

    /// Stores a value.
    ///
    /// # Errors
    /// The value comes back when no slot can be had.
    #[inline]
    pub fn alloc(&self, value: T) -> Result<u32, (T, Exhausted)> {
        self.alloc_for(crate::rcu::thread_index(), value)
    }

    /// As [`alloc`](Self::alloc), for the thread of this index.
    ///
    /// # Errors
    /// The value comes back when no slot can be had.
    #[inline(always)]
    pub(crate) fn alloc_for(&self, thread: usize, value: T) -> Result<u32, (T, Exhausted)> {
        let handle = match self.slab.alloc_for(thread) {
            Ok(handle) => handle,
            Err(exhausted) => return Err((value, exhausted)),
        };
        // SAFETY: just given out to us.
        let slot = unsafe { self.slab.slot(handle).as_ref() };
        // SAFETY: dead, and nobody else knows the handle yet.
        slot.0
            .with_mut(|p| unsafe { (*p).value = ManuallyDrop::new(value) });
        Ok(handle)
    }

    /// The value of a live handle.
    ///
    /// # Safety
    /// The handle was published by its allocator (release, and acquired by the caller) and will not be freed while the result
    /// is used: it is the caller's own, or was reachable since the caller was pinned.
    #[inline(always)]
    pub unsafe fn get(&self, handle: u32) -> &T {
        // SAFETY: given out, by the contract.
        let slot = unsafe { self.slab.slot(handle).as_ref() };
        // SAFETY: alive, by the contract, so it holds a value that nobody writes.
        slot.0
            .with(|p| unsafe { &*(&raw const (*p).value).cast::<T>() })
    }

    /// The value of a live handle, exclusively.
    ///
    /// # Safety
    /// The handle is live, and nobody else uses the value.
    pub unsafe fn get_mut(&mut self, handle: u32) -> &mut T {
        // SAFETY: given out, by the contract.
        let slot = unsafe { self.slab.slot(handle).as_ref() };
        // SAFETY: alive and the caller's alone, by the contract.
        slot.0
            .with_mut(|p| unsafe { &mut *(&raw mut (*p).value).cast::<T>() })
    }

    /// The address of a live or dead slot, to prefetch it.
    ///
    /// # Safety
    /// The handle was given out at some time.
    #[inline(always)]
    pub unsafe fn address(&self, handle: u32) -> *const T {
        // SAFETY: given out, by the contract.
        unsafe { self.slab.slot(handle) }
            .as_ptr()
            .cast_const()
            .cast()
    }

    /// Takes the value out and the slot back.
    ///
    /// # Safety
    /// The handle is live, nobody can use the value any more (its grace period has ended, or it was never published), and
    /// it is not used again.
    #[inline]
    pub unsafe fn take(&self, handle: u32) -> T {
        // SAFETY: given out, by the contract.
        let slot = unsafe { self.slab.slot(handle).as_ref() };
        // SAFETY: alive, and the caller's alone; the slot is dead from here on.
        let value = slot
            .0
            .with_mut(|p| unsafe { ManuallyDrop::take(&mut (*p).value) });
        // SAFETY: dead, and not freed before.
        unsafe { self.slab.free(handle) };
        value
    }

    /// Drops the value and takes the slot back. The destructor runs outside of all locks, and may use the slab.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    #[inline]
    pub unsafe fn free(&self, handle: u32) {
        // SAFETY: the caller's.
        drop(unsafe { self.take(handle) });
    }

    /// Drops many values and takes their slots back, from the end of the list. When a destructor panics, the list is left
    /// with those that are still alive.
    ///
    /// # Safety
    /// As for [`take`](Self::take), for each of them.
    pub unsafe fn free_many(&self, handles: &mut Vec<u32>) {
        // A model looks at each slot, to see whether somebody still reads it.
        if core::mem::needs_drop::<T>() || cfg!(nulls_loom) {
            while let Some(handle) = handles.pop() {
                // SAFETY: the caller's.
                unsafe { self.free(handle) };
            }
        } else {
            // SAFETY: the caller's; nothing has to be done for a value without a destructor.
            unsafe { self.slab.free_many(handles) };
            handles.clear();
        }
    }

    /// What the slab holds.
    pub fn stats(&self) -> SlabStats {
        self.slab.stats()
    }
}

impl<T> core::fmt::Debug for NodeSlab<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.slab.fmt(f)
    }
}
