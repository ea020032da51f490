//! The simplest store: an ordered map behind one lock. A baseline to compare with, and to test the tracker with.

use super::{InsertError, Peek, Store};
use crate::conn::Conn;
use crate::tuple::Direction;
use crate::zone::{Key, Link};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A counted reference of a [`LockedStore`].
pub type LockedRef<U> = Arc<Conn<U>>;

type Chains<U> = BTreeMap<u64, Vec<(Direction, LockedRef<U>)>>;

/// See the module's documentation.
#[derive(Debug)]
pub struct LockedStore<U = ()> {
    chains: Mutex<Chains<U>>,
    links: AtomicUsize,
    buckets: usize,
}

impl<U> LockedStore<U> {
    /// An empty store with `buckets` chains (at least one).
    #[must_use]
    pub fn new(buckets: usize) -> Self {
        Self {
            chains: Mutex::new(BTreeMap::new()),
            links: AtomicUsize::new(0),
            buckets: buckets.max(1),
        }
    }

    fn bucket_of(&self, hash: u64) -> u64 {
        ((u128::from(hash) * self.buckets as u128) >> 64) as u64
    }

    fn check(
        &self,
        chains: &Chains<U>,
        link: &Link,
        at: Direction,
        limit: usize,
    ) -> Result<(), InsertError<LockedRef<U>>> {
        let Some(chain) = chains.get(&self.bucket_of(link.hash)) else {
            return Ok(());
        };
        match chain.iter().find(|(d, c)| c.matches(*d, &link.key)) {
            Some((_, c)) => Err(InsertError::Clash {
                winner: Arc::clone(c),
                at,
            }),
            None if chain.len() > limit => Err(InsertError::ChainTooLong),
            None => Ok(()),
        }
    }

    fn push(&self, chains: &mut Chains<U>, link: &Link, dir: Direction, c: &LockedRef<U>) {
        chains
            .entry(self.bucket_of(link.hash))
            .or_default()
            .insert(0, (dir, Arc::clone(c)));
        // Relaxed: written under the lock, read as an estimate.
        self.links.fetch_add(1, Ordering::Relaxed);
    }

    fn pull(&self, chains: &mut Chains<U>, link: &Link, dir: Direction, c: &LockedRef<U>) {
        let bucket = self.bucket_of(link.hash);
        let Some(chain) = chains.get_mut(&bucket) else {
            return;
        };
        let before = chain.len();
        chain.retain(|(d, x)| *d != dir || !Arc::ptr_eq(x, c));
        self.links
            .fetch_sub(before - chain.len(), Ordering::Relaxed);
        if chain.is_empty() {
            chains.remove(&bucket);
        }
    }
}

// SAFETY: words are made and read by `arc_entries`.
unsafe impl<U: Send + Sync + 'static> Store for LockedStore<U> {
    crate::arc_entries!(U);

    fn count(r: &Self::Ref<'_>) -> u32 {
        // The table's two links are two of an `Arc`'s counts but one of an entry's.
        let n = Arc::strong_count(r) as u32;
        if r.is_confirmed() && !r.has(crate::status::NAT_CLASH | crate::status::DYING) {
            n - 1
        } else {
            n
        }
    }

    fn find(&self, hash: u64, key: &Key) -> Option<(Self::Ref<'_>, Direction)> {
        let chains = self.chains.lock();
        let chain = chains.get(&self.bucket_of(hash))?;
        chain
            .iter()
            .find(|(d, c)| c.matches(*d, key) && c.is_confirmed())
            .map(|(d, c)| (Arc::clone(c), *d))
    }

    fn insert<'a>(
        &'a self,
        r: &Self::Ref<'a>,
        original: &Link,
        reply: &Link,
        chain_limit: usize,
    ) -> Result<(), InsertError<Self::Ref<'a>>> {
        let mut chains = self.chains.lock();
        self.check(&chains, original, Direction::Original, chain_limit)?;
        self.check(&chains, reply, Direction::Reply, chain_limit)?;
        self.push(&mut chains, original, Direction::Original, r);
        self.push(&mut chains, reply, Direction::Reply, r);
        Ok(())
    }

    fn insert_reply<'a>(
        &'a self,
        r: &Self::Ref<'a>,
        reply: &Link,
    ) -> Result<(), InsertError<Self::Ref<'a>>> {
        let mut chains = self.chains.lock();
        self.check(&chains, reply, Direction::Reply, usize::MAX)?;
        self.push(&mut chains, reply, Direction::Reply, r);
        Ok(())
    }

    fn remove(&self, r: &Self::Ref<'_>, original: Option<&Link>, reply: &Link) {
        let mut chains = self.chains.lock();
        if let Some(l) = original {
            self.pull(&mut chains, l, Direction::Original, r);
        }
        self.pull(&mut chains, reply, Direction::Reply, r);
    }

    fn step<'a>(
        &'a self,
        cursor: u64,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(Self::Ref<'a>, Direction)>,
    ) -> Option<u64> {
        let chains = self.chains.lock();
        let mut range = chains.range(cursor..);
        for (d, c) in range.next()?.1 {
            if wanted(c.peek(), *d) {
                out.push((Arc::clone(c), *d));
            }
        }
        range.next().map(|(b, _)| *b)
    }

    fn cursor_at(&self, hash: u64) -> u64 {
        self.bucket_of(hash)
    }

    fn bucket<'a>(
        &'a self,
        hash: u64,
        n: usize,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(Self::Ref<'a>, Direction)>,
    ) {
        let chains = self.chains.lock();
        let bucket = (self.bucket_of(hash) + n as u64) % self.buckets as u64;
        for (d, c) in chains.get(&bucket).into_iter().flatten() {
            if wanted(c.peek(), *d) {
                out.push((Arc::clone(c), *d));
            }
        }
    }

    fn len(&self) -> usize {
        self.links.load(Ordering::Relaxed)
    }

    fn buckets(&self) -> usize {
        self.buckets
    }
}
