//! A classic hlist-nulls table as an ablation: one entry per node, singly linked, a marker at the end that names the
//! bucket, in an array of heads that never changes its length.
//!
//! What it leaves out is to its advantage: nodes live until the map is dropped (no grace periods, no pins, no reuse),
//! and there is no resize to look out for. Load factor 0.5 as told beforehand, so it is measured presized. Look-ups walk
//! as `hlist_nulls_for_each_entry_rcu` does and compare the marker with the bucket at the end; writers take one of 1024
//! spin locks, as the kernel's connection table does.

use super::{Map, Session, hasher};
use crate::key::Key;
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use foldhash::fast::FixedState;
use std::sync::Mutex;

const LOCKS: usize = 1024;
const ARENAS: usize = 8;
const CHUNK: usize = 4096;

/// One entry.
struct Node<K> {
    /// The next node's address, or `bucket << 1 | 1`.
    next: AtomicUsize,
    key: K,
    value: AtomicU64,
}

/// See the module.
pub struct Classic<K: Key> {
    heads: Box<[AtomicUsize]>,
    locks: Box<[AtomicBool]>,
    /// Chunks that are full up to their length and never reallocated; by thread, so that inserts do not contend.
    arenas: [Mutex<Vec<Vec<Node<K>>>>; ARENAS],
    hasher: FixedState,
}

impl<K: Key> core::fmt::Debug for Classic<K> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "classic table of {} heads", self.heads.len())
    }
}

/// Holds one of the locks.
struct Locked<'a>(&'a AtomicBool);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Release: what was written under the lock is seen by the next holder's Acquire.
        self.0.store(false, Ordering::Release);
    }
}

impl<K: Key> Classic<K> {
    fn bucket(&self, key: &K) -> usize {
        let hash = self.hasher.hash_one(key);
        nulls::scale::reciprocal_scale(hash, self.heads.len() as u64) as usize
    }

    fn lock(&self, bucket: usize) -> Locked<'_> {
        let lock = &self.locks[bucket % LOCKS];
        let mut spins = 0u32;
        // Acquire: pairs with the Release of the last holder.
        while lock.swap(true, Ordering::Acquire) {
            while lock.load(Ordering::Relaxed) {
                core::hint::spin_loop();
                spins += 1;
                if spins.is_multiple_of(1 << 10) {
                    std::thread::yield_now();
                }
            }
        }
        Locked(lock)
    }

    /// The node of a key in the bucket, and the word that links to it.
    #[inline(always)]
    fn find(&self, bucket: usize, key: &K) -> Option<(&AtomicUsize, &Node<K>)> {
        'again: loop {
            let mut from = &self.heads[bucket];
            loop {
                // Acquire: pairs with the Release that linked the node; its contents are seen.
                let link = from.load(Ordering::Acquire);
                if link & 1 != 0 {
                    if link >> 1 != bucket {
                        continue 'again;
                    }
                    return None;
                }
                // SAFETY: a link without the low bit is the address of a node of the arenas, which live as long as `self`
                // and never move.
                let node = unsafe { &*(link as *const Node<K>) };
                if node.key == *key {
                    return Some((from, node));
                }
                from = &node.next;
            }
        }
    }

    fn node(&self, next: usize, key: K, value: u64) -> usize {
        let arena = &self.arenas[nulls::rcu::thread_index() % ARENAS];
        let mut chunks = arena.lock().expect("no panic under the lock");
        if chunks.last().is_none_or(|c| c.len() == c.capacity()) {
            chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = chunks.last_mut().expect("pushed above");
        chunk.push(Node {
            next: AtomicUsize::new(next),
            key,
            value: AtomicU64::new(value),
        });
        // The chunk is not full before the push, so that nodes never move. Exposed: links hold addresses.
        chunk
            .as_ptr()
            .wrapping_add(chunk.len() - 1)
            .expose_provenance()
    }
}

impl<K: Key> Map<K> for Classic<K> {
    const NAME: &'static str = "classic";
    type Session<'a> = &'a Self;

    fn empty() -> Self {
        Self::presized(1 << 10)
    }

    fn presized(entries: usize) -> Self {
        let heads = (entries.max(1) * 2).next_power_of_two();
        Self {
            heads: (0..heads).map(|b| AtomicUsize::new(b << 1 | 1)).collect(),
            locks: (0..LOCKS).map(|_| AtomicBool::new(false)).collect(),
            arenas: core::array::from_fn(|_| Mutex::new(Vec::new())),
            hasher: hasher(),
        }
    }

    #[inline]
    fn session(&self) -> &Self {
        self
    }
}

impl<K: Key> Session<K> for &Classic<K> {
    #[inline(always)]
    fn get(&self, key: &K) -> Option<u64> {
        // Relaxed: the value stands for itself.
        self.find(self.bucket(key), key)
            .map(|(_, n)| n.value.load(Ordering::Relaxed))
    }

    #[inline]
    fn insert(&self, key: K, value: u64) -> Option<u64> {
        let bucket = self.bucket(&key);
        let _locked = self.lock(bucket);
        if let Some((_, node)) = self.find(bucket, &key) {
            return Some(node.value.swap(value, Ordering::Relaxed));
        }
        let head = &self.heads[bucket];
        let node = self.node(head.load(Ordering::Relaxed), key, value);
        // Release: publishes the node's contents.
        head.store(node, Ordering::Release);
        None
    }

    #[inline]
    fn increment(&self, key: &K) -> bool {
        // Relaxed: the value stands for itself.
        self.find(self.bucket(key), key)
            .map(|(_, n)| n.value.fetch_add(1, Ordering::Relaxed))
            .is_some()
    }

    #[inline]
    fn remove(&self, key: &K) -> Option<u64> {
        let bucket = self.bucket(key);
        let _locked = self.lock(bucket);
        let (from, node) = self.find(bucket, key)?;
        // Release: readers that come this way see what follows. The node keeps its link for those that stand on it.
        from.store(node.next.load(Ordering::Relaxed), Ordering::Release);
        Some(node.value.load(Ordering::Relaxed))
    }

    fn sum(&self) -> u64 {
        let mut sum = 0u64;
        for head in &self.heads {
            let mut link = head.load(Ordering::Acquire);
            while link & 1 == 0 {
                // SAFETY: as in `find`.
                let node = unsafe { &*(link as *const Node<K>) };
                sum = sum.wrapping_add(node.value.load(Ordering::Relaxed));
                link = node.next.load(Ordering::Acquire);
            }
        }
        sum
    }
}
