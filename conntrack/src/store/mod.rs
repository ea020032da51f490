//! Where entries live.
//!
//! The tracker asks a [`Store`] for three things: memory for entries with counted references, a table in which each entry is linked under two
//! keys, and a walk over that table. [`NullsStore`] is the one to use; [`LockedStore`] is the simplest one, an ordered map behind one lock.

use crate::conn::Conn;
use crate::tuple::Direction;
use crate::zone::{Key, Link};
use std::ops::Deref;

mod arc;
mod locked;
mod nulls;
pub use locked::{LockedRef, LockedStore};
pub use nulls::{NullsNew, NullsRef, NullsStore};

/// What a walk may know of an entry before it holds a reference: a copy of two atomics, true at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Peek {
    /// Status bits.
    pub status: u32,
    /// The deadline (see [`crate::clock::Jiffies`]); relative, not absolute, until the entry is confirmed.
    pub timeout: u32,
    /// The namespace's number.
    pub net: u32,
}

/// Why an entry was not linked.
#[derive(Debug)]
pub enum InsertError<R> {
    /// Another entry is linked under one of the keys.
    Clash {
        /// That entry, counted.
        winner: R,
        /// Which of the new entry's links met it.
        at: Direction,
    },
    /// A chain (a bucket's entries) is longer than the limit.
    ChainTooLong,
    /// No memory, or no room.
    Full,
}

/// Storage and table of a tracker.
///
/// Contract, for concurrent use by any number of threads:
/// * A key equals an entry's link if tuple, zone id of that direction and namespace are equal: [`Conn::matches`].
/// * [`find`](Store::find) returns only entries that are confirmed, and compares the key **again** after it took the reference, if memory is reused
///   while readers look at it.
/// * [`insert`](Store::insert) links both keys or none, as one step for other inserts: two entries with equal keys are never both linked, confirmed or
///   not. While linked, the store holds one reference.
/// * [`remove`](Store::remove) unlinks exactly that entry and drops the store's reference. The tracker calls it once per successful insert.
///
/// # Safety
/// `into_word` must give a word with the low three bits zero and not zero itself, from which `from_word` and `peek_word` get the same entry back; a
/// word owns one reference until `from_word` takes it, and `peek_word` must be valid for as long as it does.
pub unsafe trait Store: Send + Sync + 'static {
    /// Type of the application's slot in each entry.
    type User: Send + Sync + 'static;
    /// A counted reference.
    type Ref<'a>: Deref<Target = Conn<Self::User>> + Clone
    where
        Self: 'a;
    /// A fresh entry which nobody else can reach yet.
    type New<'a>: Deref<Target = Conn<Self::User>>
    where
        Self: 'a;

    /// Memory for an entry, reset; `None` when there is none left.
    fn alloc(&self) -> Option<Self::New<'_>>;
    /// Turns a filled-in entry into a counted reference (count 1, after everything written before).
    fn publish<'a>(&'a self, new: Self::New<'a>) -> Self::Ref<'a>;
    /// Number of references, the caller's and the table's included.
    fn count(r: &Self::Ref<'_>) -> u32;
    /// Do both refer to the same entry?
    fn same(a: &Self::Ref<'_>, b: &Self::Ref<'_>) -> bool {
        std::ptr::eq::<Conn<Self::User>>(&**a, &**b)
    }

    /// The confirmed entry linked under `key`, counted, and which of its directions matched.
    fn find(&self, hash: u64, key: &Key) -> Option<(Self::Ref<'_>, Direction)>;
    /// As [`find`](Store::find) for many keys at once, so that their cache misses may overlap; `found` is called for each, in order.
    fn find_many<'a>(
        &'a self,
        links: &[Link],
        found: &mut dyn FnMut(usize, Option<(Self::Ref<'a>, Direction)>),
    ) {
        for (i, link) in links.iter().enumerate() {
            found(i, self.find(link.hash, &link.key));
        }
    }

    /// A hint: something will be linked under this hash soon.
    fn expect(&self, hash: u64) {
        let _ = hash;
    }

    /// Links an entry under its original and its reply key. A bucket that already holds more than `chain_limit` entries refuses.
    ///
    /// # Errors
    /// See [`InsertError`]; nothing is linked then.
    fn insert<'a>(
        &'a self,
        r: &Self::Ref<'a>,
        original: &Link,
        reply: &Link,
        chain_limit: usize,
    ) -> Result<(), InsertError<Self::Ref<'a>>>;
    /// Links an entry under its reply key only.
    ///
    /// # Errors
    /// See [`InsertError`]; nothing is linked then.
    fn insert_reply<'a>(
        &'a self,
        r: &Self::Ref<'a>,
        reply: &Link,
    ) -> Result<(), InsertError<Self::Ref<'a>>>;
    /// Unlinks the entry: both links, or the reply link alone when `original` is `None`.
    fn remove(&self, r: &Self::Ref<'_>, original: Option<&Link>, reply: &Link);

    /// Walks the next slice of the table. Every link in it is shown to `wanted`, those it wants are counted and appended to `out`. Returns the
    /// cursor of the next slice; `None` at the end. The first cursor is 0. Every link that stays in the table during a whole walk is shown exactly once.
    fn step<'a>(
        &'a self,
        cursor: u64,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(Self::Ref<'a>, Direction)>,
    ) -> Option<u64>;
    /// The cursor of the slice in which `hash` lies.
    fn cursor_at(&self, hash: u64) -> u64;

    /// As [`step`](Store::step), for exactly one bucket: the `n`th behind that of `hash`, the first following the last. For eviction.
    fn bucket<'a>(
        &'a self,
        hash: u64,
        n: usize,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(Self::Ref<'a>, Direction)>,
    ) {
        let mut cursor = self.cursor_at(hash);
        for _ in 0..n {
            cursor = self.step(cursor, &mut |_, _| false, out).unwrap_or(0);
        }
        self.step(cursor, wanted, out);
    }

    /// Number of links (two for each entry, one after a clash).
    fn len(&self) -> usize;
    /// Is nothing linked?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Number of buckets, for `nf_conntrack_buckets`.
    fn buckets(&self) -> usize;

    /// Changes the number of buckets, at least one, while packets go on. False if this store cannot, or there is no memory.
    fn resize(&self, buckets: usize) -> bool {
        let _ = buckets;
        false
    }

    /// Packs a reference into a word.
    fn into_word(r: Self::Ref<'_>) -> usize;
    /// Unpacks a reference.
    ///
    /// # Safety
    /// `word` came from `into_word` on a reference of this store, and its reference was not taken before.
    #[expect(
        clippy::wrong_self_convention,
        reason = "the store is where the word points into"
    )]
    unsafe fn from_word(&self, word: usize) -> Self::Ref<'_>;
    /// Looks at a packed reference without taking it.
    ///
    /// # Safety
    /// As `from_word`; and the word keeps its reference while the result is used.
    unsafe fn peek_word(&self, word: usize) -> &Conn<Self::User>;
}
