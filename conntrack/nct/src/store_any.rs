//! A store that is chosen when the program runs, for commands in which the choice costs nothing that matters.

use std::ops::Deref;

use clap::ValueEnum;
use nulls_conntrack::conn::Conn;
use nulls_conntrack::store::{InsertError, NullsNew, NullsRef, NullsStore, Peek, Store};
use nulls_conntrack::tuple::Direction;
use nulls_conntrack::zone::{Key, Link};

use crate::store_dashmap::{DashRef, DashStore};

/// Which store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnyKind {
    /// The table of this project
    #[default]
    Nulls,
    /// dashmap
    Dashmap,
}

/// One of the stores.
#[derive(Debug)]
pub(crate) enum AnyStore<U: Default + Send + Sync + 'static = ()> {
    /// The table of this project.
    Nulls(Box<NullsStore<U>>),
    /// dashmap.
    Dashmap(DashStore<U>),
}

impl<U: Default + Send + Sync + 'static> AnyStore<U> {
    /// An empty store of that kind, without a limit of its own, that begins with `buckets` buckets (dashmap: slots for as many entries).
    ///
    /// # Errors
    /// No memory for the buckets.
    pub(crate) fn new(kind: AnyKind, buckets: usize) -> Result<Self, nulls::AllocError> {
        Ok(match kind {
            AnyKind::Nulls => AnyStore::Nulls(Box::new(NullsStore::new(u32::MAX, buckets)?)),
            AnyKind::Dashmap => AnyStore::Dashmap(DashStore::with_capacity(buckets, None)),
        })
    }
}

/// A counted reference of one of them.
#[derive(Debug)]
pub(crate) enum AnyRef<'a, U: Default + Send + Sync + 'static> {
    Nulls(NullsRef<'a, U>),
    Dashmap(DashRef<U>),
}

/// A fresh entry of one of them.
#[derive(Debug)]
pub(crate) enum AnyNew<'a, U: Default + Send + Sync + 'static> {
    Nulls(NullsNew<'a, U>),
    Dashmap(DashRef<U>),
}

impl<U: Default + Send + Sync + 'static> Clone for AnyRef<'_, U> {
    fn clone(&self) -> Self {
        match self {
            AnyRef::Nulls(r) => AnyRef::Nulls(r.clone()),
            AnyRef::Dashmap(r) => AnyRef::Dashmap(r.clone()),
        }
    }
}

impl<U: Default + Send + Sync + 'static> Deref for AnyRef<'_, U> {
    type Target = Conn<U>;

    fn deref(&self) -> &Conn<U> {
        match self {
            AnyRef::Nulls(r) => r,
            AnyRef::Dashmap(r) => r,
        }
    }
}

impl<U: Default + Send + Sync + 'static> Deref for AnyNew<'_, U> {
    type Target = Conn<U>;

    fn deref(&self) -> &Conn<U> {
        match self {
            AnyNew::Nulls(new) => new,
            AnyNew::Dashmap(new) => new,
        }
    }
}

/// Two values that came from one store.
const MIXED: &str = "a reference of another store";

fn any_error<'a, R, U: Default + Send + Sync + 'static>(
    error: InsertError<R>,
    wrap: impl FnOnce(R) -> AnyRef<'a, U>,
) -> InsertError<AnyRef<'a, U>> {
    match error {
        InsertError::Clash { winner, at } => InsertError::Clash {
            winner: wrap(winner),
            at,
        },
        InsertError::ChainTooLong => InsertError::ChainTooLong,
        InsertError::Full => InsertError::Full,
    }
}

// SAFETY: words are made by the chosen store's references and given back to the same store, which keeps its own promise.
unsafe impl<U: Default + Send + Sync + 'static> Store for AnyStore<U> {
    type User = U;
    type Ref<'a> = AnyRef<'a, U>;
    type New<'a> = AnyNew<'a, U>;

    fn alloc(&self) -> Option<AnyNew<'_, U>> {
        match self {
            AnyStore::Nulls(s) => s.alloc().map(AnyNew::Nulls),
            AnyStore::Dashmap(s) => s.alloc().map(AnyNew::Dashmap),
        }
    }

    fn publish<'a>(&'a self, new: AnyNew<'a, U>) -> AnyRef<'a, U> {
        match (self, new) {
            (AnyStore::Nulls(s), AnyNew::Nulls(new)) => AnyRef::Nulls(s.publish(new)),
            (AnyStore::Dashmap(s), AnyNew::Dashmap(new)) => AnyRef::Dashmap(s.publish(new)),
            _ => unreachable!("{MIXED}"),
        }
    }

    fn count(r: &AnyRef<'_, U>) -> u32 {
        match r {
            AnyRef::Nulls(r) => NullsStore::count(r),
            AnyRef::Dashmap(r) => DashStore::count(r),
        }
    }

    fn find(&self, hash: u64, key: &Key) -> Option<(AnyRef<'_, U>, Direction)> {
        match self {
            AnyStore::Nulls(s) => s.find(hash, key).map(|(r, d)| (AnyRef::Nulls(r), d)),
            AnyStore::Dashmap(s) => s.find(hash, key).map(|(r, d)| (AnyRef::Dashmap(r), d)),
        }
    }

    fn insert<'a>(
        &'a self,
        r: &AnyRef<'a, U>,
        original: &Link,
        reply: &Link,
        chain_limit: usize,
    ) -> Result<(), InsertError<AnyRef<'a, U>>> {
        match (self, r) {
            (AnyStore::Nulls(s), AnyRef::Nulls(r)) => s
                .insert(r, original, reply, chain_limit)
                .map_err(|e| any_error(e, AnyRef::Nulls)),
            (AnyStore::Dashmap(s), AnyRef::Dashmap(r)) => s
                .insert(r, original, reply, chain_limit)
                .map_err(|e| any_error(e, AnyRef::Dashmap)),
            _ => unreachable!("{MIXED}"),
        }
    }

    fn insert_reply<'a>(
        &'a self,
        r: &AnyRef<'a, U>,
        reply: &Link,
    ) -> Result<(), InsertError<AnyRef<'a, U>>> {
        match (self, r) {
            (AnyStore::Nulls(s), AnyRef::Nulls(r)) => s
                .insert_reply(r, reply)
                .map_err(|e| any_error(e, AnyRef::Nulls)),
            (AnyStore::Dashmap(s), AnyRef::Dashmap(r)) => s
                .insert_reply(r, reply)
                .map_err(|e| any_error(e, AnyRef::Dashmap)),
            _ => unreachable!("{MIXED}"),
        }
    }

    fn remove(&self, r: &AnyRef<'_, U>, original: Option<&Link>, reply: &Link) {
        match (self, r) {
            (AnyStore::Nulls(s), AnyRef::Nulls(r)) => s.remove(r, original, reply),
            (AnyStore::Dashmap(s), AnyRef::Dashmap(r)) => s.remove(r, original, reply),
            _ => unreachable!("{MIXED}"),
        }
    }

    fn step<'a>(
        &'a self,
        cursor: u64,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(AnyRef<'a, U>, Direction)>,
    ) -> Option<u64> {
        match self {
            AnyStore::Nulls(s) => {
                let mut found = Vec::new();
                let next = s.step(cursor, wanted, &mut found);
                out.extend(found.into_iter().map(|(r, d)| (AnyRef::Nulls(r), d)));
                next
            }
            AnyStore::Dashmap(s) => {
                let mut found = Vec::new();
                let next = s.step(cursor, wanted, &mut found);
                out.extend(found.into_iter().map(|(r, d)| (AnyRef::Dashmap(r), d)));
                next
            }
        }
    }

    fn cursor_at(&self, hash: u64) -> u64 {
        match self {
            AnyStore::Nulls(s) => s.cursor_at(hash),
            AnyStore::Dashmap(s) => s.cursor_at(hash),
        }
    }

    fn bucket<'a>(
        &'a self,
        hash: u64,
        n: usize,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(AnyRef<'a, U>, Direction)>,
    ) {
        match self {
            AnyStore::Nulls(s) => {
                let mut found = Vec::new();
                s.bucket(hash, n, wanted, &mut found);
                out.extend(found.into_iter().map(|(r, d)| (AnyRef::Nulls(r), d)));
            }
            AnyStore::Dashmap(s) => {
                let mut found = Vec::new();
                s.bucket(hash, n, wanted, &mut found);
                out.extend(found.into_iter().map(|(r, d)| (AnyRef::Dashmap(r), d)));
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            AnyStore::Nulls(s) => s.len(),
            AnyStore::Dashmap(s) => s.len(),
        }
    }

    fn buckets(&self) -> usize {
        match self {
            AnyStore::Nulls(s) => s.buckets(),
            AnyStore::Dashmap(s) => s.buckets(),
        }
    }

    fn into_word(r: AnyRef<'_, U>) -> usize {
        match r {
            AnyRef::Nulls(r) => NullsStore::into_word(r),
            AnyRef::Dashmap(r) => DashStore::into_word(r),
        }
    }

    unsafe fn from_word(&self, word: usize) -> AnyRef<'_, U> {
        match self {
            // SAFETY: the caller's promise; a word of this store came from a reference of the store inside it.
            AnyStore::Nulls(s) => AnyRef::Nulls(unsafe { s.from_word(word) }),
            // SAFETY: as above.
            AnyStore::Dashmap(s) => AnyRef::Dashmap(unsafe { s.from_word(word) }),
        }
    }

    unsafe fn peek_word(&self, word: usize) -> &Conn<U> {
        match self {
            // SAFETY: as in `from_word`.
            AnyStore::Nulls(s) => unsafe { s.peek_word(word) },
            // SAFETY: as in `from_word`.
            AnyStore::Dashmap(s) => unsafe { s.peek_word(word) },
        }
    }
}
