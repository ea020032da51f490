//! Buckets whose entries lie in them: a head, eight slots, and spill lines behind.
//!
//! The heads of a generation are an array of their own, 16 bytes each, so that a look-up that finds nothing touches nothing
//! else. The slots lie *below* the heads in the same allocation, the last bucket's first: a bucket's slots are found from
//! the address of the first head alone.
//!
//! ```text
//! slots of bucket len-1 … slots of bucket 1 │ slots of bucket 0 │ len │ head 0 │ head 1 │ … head len-1
//!                                                                     └ the address that the latch publishes
//! ```
//!
//! The number of buckets lies there too, in a cache line of its own. So one word, the address, says all that a look-up needs to know
//! of a generation.
//!
//! The ticket of a bucket is one word: lock and MOVED, a count of 30 bits, and above them the handle of the first spill
//! line, so that a change of the chain shows in the ticket by itself. Who writes what:
//!
//! | word | written | by |
//! |---|---|---|
//! | ticket | taken by compare-and-swap, left by a store | whoever locks the bucket |
//! | tags, slots | stores | the holder of the bucket's lock, or the one owner of an unlinked line |
//! | `next` of a spill line | stores | the same |
//!
//! Under one lock, no key's presence changes in more than one word of tags, and no slot is rewritten whose tag was set when
//! the lock was taken. Hence a look-up may go by the ticket without its lock bit: while a writer is in the bucket, what
//! the look-up puts together from the words it loads is still one state of its key.

use super::entry::{Layout, Slot, Word};
use crate::generations::Cells;
use crate::mem::{AllocError, Pages, Zeroable, ZeroedArray};
use crate::slab;
use crate::sync::check::{mutant, pause};
use crate::sync::{AtomicU64, order};
use crate::tags::{SLOTS, Tags};
use bytemuck::NoUninit;
use core::marker::PhantomData;
use core::sync::atomic::Ordering::Relaxed;

/// Somebody is writing to the bucket.
pub(super) const LOCK: u64 = 1;
/// The bucket's entries live in the next generation. Never taken back.
pub(super) const MOVED: u64 = 2;
/// One change of the bucket.
const STEP: u32 = 4;

/// Words of a spill line's slots: two cache lines with the rest.
pub(super) const SPILL_WORDS: usize = if cfg!(nulls_loom) { 6 } else { 14 };

/// Words between the first bucket's slots and its head, the last of which is the number of buckets: a cache line, which nobody
/// writes.
const FRONT: usize = 8;

/// The number of buckets of the generation whose heads begin at `heads`.
///
/// # Safety
/// They are [`Cells::heads`] of a generation of an inline map that lives.
#[inline(always)]
pub(super) unsafe fn len(heads: *const Head) -> u64 {
    // SAFETY: by the contract, as `Buckets::try_new` lays it out; written before the generation was published, and never again,
    // so that a plain read will do, which the processor multiplies with in one instruction.
    unsafe { (*heads.cast::<Word>().sub(1)).constant() }
}

/// What a bucket begins with.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Head {
    ticket: AtomicU64,
    tags: AtomicU64,
}

/// The handle of the first spill line that a ticket names; 0: none.
#[inline(always)]
pub(super) fn spill_of(ticket: u64) -> u32 {
    (ticket >> 32) as u32
}

impl Head {
    /// The ticket.
    #[inline(always)]
    pub(super) fn ticket(&self) -> u64 {
        pause();
        self.ticket.load(order::inline_ticket_load())
    }

    /// Whether the bucket is as it was when its ticket was `seen`, but for what a writer that is still in it may have done.
    #[inline(always)]
    pub(super) fn is_still(&self, seen: u64) -> bool {
        pause();
        (self.ticket.load(order::inline_ticket_again()) ^ seen) & !LOCK == 0
            || mutant("inline:skip-validation")
    }

    /// Whether a key of so many words, just read, is one key.
    #[inline(always)]
    pub(super) fn is_whole<K, V>(&self, seen: u64) -> bool {
        Layout::<K, V>::KEY == 1 || mutant("inline:compare-torn-keys") || self.is_still(seen)
    }

    /// Takes the bucket's lock if its ticket is still `seen`, which is neither locked nor moved.
    #[inline(always)]
    pub(super) fn take(&self, seen: u64) -> bool {
        debug_assert_eq!(seen & (LOCK | MOVED), 0);
        pause();
        let mut expected = seen;
        if mutant("inline:take-from-any-version") {
            expected = self.ticket.load(Relaxed);
            if expected & (LOCK | MOVED) != 0 {
                return false;
            }
        }
        self.ticket
            .compare_exchange(expected, expected | LOCK, order::inline_take(), Relaxed)
            .is_ok()
    }

    /// Gives the lock back: the ticket was `seen` when it was taken, the bucket has changed, and its spill lines begin with
    /// `spill` now.
    #[inline(always)]
    pub(super) fn leave(&self, seen: u64, spill: u32) {
        pause();
        self.ticket
            .store(stepped(seen, spill), order::inline_leave());
    }

    /// Gives the lock back without a change.
    #[inline(always)]
    pub(super) fn abandon(&self, seen: u64) {
        self.ticket.store(seen, order::inline_leave());
    }

    /// Gives the lock back and says that the bucket lives in the next generation from now on.
    #[inline(always)]
    pub(super) fn leave_moved(&self, seen: u64) {
        pause();
        self.ticket
            .store(stepped(seen, 0) | MOVED, order::inline_leave());
    }

    /// Gives a bucket that nobody else knows its first spill line.
    pub(super) fn begin_with(&self, spill: u32) {
        self.ticket
            .store(u64::from(spill) << 32, order::inline_leave());
    }
}

/// The ticket after a change.
#[inline(always)]
fn stepped(seen: u64, spill: u32) -> u64 {
    let step = if mutant("inline:leave-without-step") {
        0
    } else {
        STEP
    };
    u64::from((seen as u32).wrapping_add(step)) | u64::from(spill) << 32
}

/// Loads the tags of a line.
#[inline(always)]
pub(super) fn tags_of(word: &AtomicU64) -> Tags {
    pause();
    Tags::new(word.load(order::inline_tags_load()))
}

/// A line: the head's own slots, or those of a spill line.
#[derive(Debug)]
pub(super) struct Line<'g, K, V> {
    pub(super) tags: &'g AtomicU64,
    first: *const Word,
    /// The spill line's handle; 0: the head's.
    pub(super) handle: u32,
    _entry: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Line<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Line<'_, K, V> {}

impl<'g, K: NoUninit, V: NoUninit> Line<'g, K, V> {
    /// How many slots the line has.
    #[inline(always)]
    pub(super) fn slots(self) -> usize {
        if self.handle == 0 {
            SLOTS
        } else {
            Spill::slots::<K, V>()
        }
    }

    /// Slot `i`.
    #[inline(always)]
    pub(super) fn slot(self, i: usize) -> Slot<'g, K, V> {
        debug_assert!(i < self.slots());
        // SAFETY: within the line's slots, which live for `'g` and hold entries of these types only: lines are a table's own.
        unsafe { Slot::at(self.first.add(i * Layout::<K, V>::SLOT)) }
    }

    /// Brings the slots near: two cache lines, which hold eight entries of sixteen bytes.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        crate::prefetch::read(self.first);
        crate::prefetch::read(self.first.wrapping_add(FRONT));
    }

    /// The tags, for a reader.
    #[inline(always)]
    pub(super) fn tags(self) -> Tags {
        tags_of(self.tags)
    }

    /// The tags as the holder of the bucket's lock sees them.
    #[inline(always)]
    pub(super) fn tags_locked(self) -> u64 {
        // Relaxed: only the holder of the lock writes tags, and the ticket it was taken from was seen after all who did before.
        self.tags.load(Relaxed)
    }

    /// A free slot, by these tags.
    #[inline(always)]
    pub(super) fn free(self, tags: Tags) -> Option<usize> {
        tags.empty().next().filter(|&i| i < self.slots())
    }

    /// Puts an entry into the free slot `i`: the words first, then the tag, which publishes it.
    ///
    /// The caller holds the bucket's lock, or owns the unlinked line.
    #[inline(always)]
    pub(super) fn set(self, i: usize, tag: u8, write: impl Fn(Slot<'g, K, V>)) {
        let early = mutant("inline:tag-before-words");
        if !early {
            write(self.slot(i));
        }
        let tags = self.tags_locked() | u64::from(tag) << (8 * i);
        self.tags.store(tags, order::inline_tags_store());
        if early {
            write(self.slot(i));
        }
    }

    /// Fills an empty line without reading it. The caller owns the bucket: nobody else writes it, and readers come to it
    /// only later, or from a former life of a spill line.
    #[inline(always)]
    pub(super) fn fill<'f>(self, entries: impl Iterator<Item = (u8, Slot<'f, K, V>)>)
    where
        K: 'f,
        V: 'f,
    {
        let mut tags = 0;
        for (i, (tag, from)) in entries.enumerate() {
            self.slot(i).copy(from);
            tags |= u64::from(tag) << (8 * i);
        }
        self.publish(tags);
    }

    /// Sets all tags at once, those of slots that were written before among them. The caller holds the bucket's lock, or owns it.
    #[inline(always)]
    pub(super) fn publish(self, tags: u64) {
        self.tags.store(tags, order::inline_tags_store());
    }

    /// Removes everything. The caller holds the bucket's lock.
    pub(super) fn clear_all(self) {
        self.tags.store(0, order::inline_tags_store());
    }

    /// Removes what is in slot `i`. The words stay until the slot is used again.
    ///
    /// The caller holds the bucket's lock.
    #[inline(always)]
    pub(super) fn clear(self, i: usize) {
        let tags = self.tags_locked() & !(0xff << (8 * i));
        self.tags.store(tags, order::inline_tags_store());
    }
}

/// A bucket of a generation.
#[derive(Debug)]
pub(super) struct Bucket<'g, K, V> {
    pub(super) head: &'g Head,
    first: *const Word,
    _entry: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Bucket<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Bucket<'_, K, V> {}

impl<'g, K: NoUninit, V: NoUninit> Bucket<'g, K, V> {
    /// Bucket `b` of the generation whose heads begin at `heads`.
    ///
    /// # Safety
    /// They are [`Cells::heads`] of a generation of these types with more than `b` buckets, which lives for `'g`.
    #[inline(always)]
    pub(super) unsafe fn at(heads: *const Head, b: usize) -> Self {
        // SAFETY: by the contract: the head is one of the array, and so many slots lie below the front line.
        unsafe {
            Self {
                head: &*heads.add(b),
                first: heads
                    .cast::<Word>()
                    .sub(FRONT + (b + 1) * SLOTS * Layout::<K, V>::SLOT),
                _entry: PhantomData,
            }
        }
    }

    /// The bucket's own line.
    #[inline(always)]
    pub(super) fn line(self) -> Line<'g, K, V> {
        Line {
            tags: &self.head.tags,
            first: self.first,
            handle: 0,
            _entry: PhantomData,
        }
    }

    /// Brings the head near.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        crate::prefetch::read(self.head);
    }
}

/// The memory of a generation.
#[derive(Debug)]
pub(crate) struct Buckets<K, V> {
    words: ZeroedArray<Word>,
    len: usize,
    _entry: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Buckets<K, V> {
    /// Words of a bucket's slots.
    const SLOTS: usize = SLOTS * Layout::<K, V>::SLOT;
    /// Words of a bucket: its slots, and its head.
    const WORDS: usize = Self::SLOTS + size_of::<Head>() / size_of::<Word>();
}

impl<K, V> Cells for Buckets<K, V> {
    type Head = Head;

    fn bytes_for(len: usize) -> usize {
        len.saturating_mul(Self::WORDS)
            .saturating_add(FRONT)
            .saturating_mul(size_of::<Word>())
    }

    fn try_new(len: usize, pages: Pages) -> Result<Self, AllocError> {
        let words = len
            .checked_mul(Self::WORDS)
            .and_then(|words| words.checked_add(FRONT))
            .ok_or(AllocError::System)?;
        let words = ZeroedArray::<Word>::try_new(words, pages)?;
        // Relaxed: nobody else knows the array yet.
        words[len * Self::SLOTS + FRONT - 1]
            .0
            .store(len as u64, Relaxed);
        Ok(Self {
            words,
            len,
            _entry: PhantomData,
        })
    }

    fn successor(&self, _: usize, len: usize) -> Result<Self, AllocError> {
        Self::try_new(len, Pages::Small)
    }

    fn heads(&self) -> *const Head {
        self.words
            .as_ptr()
            .wrapping_add(self.len * Self::SLOTS + FRONT)
            .cast()
    }

    fn has_moved(head: &Head) -> bool {
        head.ticket() & MOVED != 0
    }

    fn bytes(&self) -> usize {
        self.words.bytes()
    }

    fn release_slice(&mut self, max_bytes: usize) -> bool {
        self.words.release_slice(max_bytes)
    }
}

/// A line of slots for a bucket whose own are full. Type-stable: a look-up may stand on it while it is recycled, and knows
/// by its bucket's ticket.
#[derive(Debug)]
pub(super) struct Spill {
    tags: AtomicU64,
    /// The handle of the bucket's next spill line, 0 at the end; or of the next free one.
    next: AtomicU64,
    words: [Word; SPILL_WORDS],
}

// SAFETY: zeroed bytes are atomic zeros, and there is no destructor.
unsafe impl Zeroable for Spill {
    #[cfg(nulls_loom)]
    fn zeroed() -> Self {
        Self {
            tags: AtomicU64::new(0),
            next: AtomicU64::new(0),
            words: core::array::from_fn(|_| Word::zeroed()),
        }
    }
}

// SAFETY: `next` keeps what is stored in it while the line is free: nobody links a free line.
unsafe impl slab::Slot for Spill {
    unsafe fn next_free(&self) -> u32 {
        // Relaxed: the list's lock orders it.
        self.next.load(Relaxed) as u32
    }

    unsafe fn set_next_free(&self, next: u32) {
        // As when a line is linked: a look-up may stand here.
        self.next.store(u64::from(next), order::inline_next_store());
    }
}

impl Spill {
    /// How many entries of these types a spill line holds.
    pub(super) const fn slots<K, V>() -> usize {
        let n = SPILL_WORDS / Layout::<K, V>::SLOT;
        if n < SLOTS { n } else { SLOTS }
    }

    /// The next line's handle.
    #[inline(always)]
    pub(super) fn next(&self) -> u32 {
        pause();
        self.next.load(order::inline_next_load()) as u32
    }

    /// Links another line behind. The caller holds the bucket's lock, or owns the unlinked line.
    pub(super) fn set_next(&self, next: u32) {
        self.next.store(u64::from(next), order::inline_next_store());
    }

    /// The line's slots.
    #[inline(always)]
    pub(super) fn line<K: NoUninit, V: NoUninit>(&self, handle: u32) -> Line<'_, K, V> {
        Line {
            tags: &self.tags,
            first: self.words.as_ptr(),
            handle,
            _entry: PhantomData,
        }
    }

    /// Empties the line before it is given back. Nobody links it any more; look-ups may stand here.
    pub(super) fn wipe(&self) {
        self.tags.store(0, order::inline_tags_store());
    }
}
