//! One link of a chain: a cache line with tags, handles, fractions and the link to the next.
//!
//! Only this module knows the layout. Who writes what:
//!
//! | field | written | by |
//! |---|---|---|
//! | `ticket` | taken by compare-and-swap, left by a store | whoever locks the bucket; first lines only |
//! | `tags`, `handles`, `fractions` | stores | the holder of the bucket's lock, or the one owner of an unlinked line |
//! | `link` | stores | the holder of the bucket's lock, or the one owner of an unlinked line |
//!
//! `x` is linked exactly if some handle word of a chain that is not MOVED equals `x`. A slot's tag is set before its
//! handle and cleared after it, so that whoever sees the handle's absence through the tags is not early.

use crate::sync::check::{mutant, pause};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, order};
use crate::tags::{SLOTS, Tags};
use core::sync::atomic::Ordering::Relaxed;

/// One 64-byte link of a chain. All zero is valid: an empty first line, whose link means "my own marker".
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Line {
    /// The bucket's ticket in a first line. Overflow lines keep their slab handle here.
    pub(crate) ticket: AtomicU64,
    tags: AtomicU64,
    handles: [AtomicU32; SLOTS],
    link: AtomicPtr<Line>,
    fractions: AtomicU64,
}

// SAFETY: all fields are atomics, whose zero bytes are zero and null; `zeroed` makes the same. No destructor.
unsafe impl crate::mem::Zeroable for Line {
    #[cfg(nulls_loom)]
    fn zeroed() -> Self {
        Self::new()
    }
}

impl Line {
    /// An empty line.
    #[cfg(any(nulls_loom, test))]
    pub(crate) fn new() -> Self {
        Self {
            ticket: AtomicU64::new(0),
            tags: AtomicU64::new(0),
            handles: core::array::from_fn(|_| AtomicU32::new(0)),
            link: AtomicPtr::new(core::ptr::null_mut()),
            fractions: AtomicU64::new(0),
        }
    }

    /// The tags, for a reader.
    #[inline(always)]
    pub(crate) fn tags(&self) -> Tags {
        pause();
        Tags::new(self.tags.load(order::tags_load()))
    }

    /// The handle of slot `i`, 0 when empty, for a reader.
    #[inline(always)]
    pub(crate) fn handle(&self, i: usize) -> u32 {
        pause();
        self.handles[i].load(order::handle_load())
    }

    /// The next line, a marker, or null, for a reader.
    #[inline(always)]
    pub(crate) fn link(&self) -> *mut Line {
        pause();
        self.link.load(order::link_load())
    }

    /// The fraction byte of slot `i`. Meaningful only to whoever validates the ticket afterwards.
    #[inline]
    pub(crate) fn fraction(&self, i: usize) -> u8 {
        (self.fractions.load(Relaxed) >> (8 * i)) as u8
    }

    /// Puts handle `x` into the empty slot `i`.
    ///
    /// The caller holds the bucket's lock, or owns the unlinked line.
    #[inline]
    pub(crate) fn set(&self, i: usize, tag: u8, fraction: u8, x: u32) {
        let shift = 8 * i;
        // Relaxed: read and written under the bucket's lock alone; a mover's unlocked read is validated by the ticket.
        let f = self.fractions.load(Relaxed);
        self.fractions
            .store(f & !(0xff << shift) | (fraction as u64) << shift, Relaxed);
        if mutant("line:handle-before-tag") {
            self.handles[i].store(x, order::handle_set());
        }
        // Relaxed load: only the holder of the lock writes tags.
        let t = self.tags.load(Relaxed);
        self.tags.store(
            t & !(0xff << shift) | (tag as u64) << shift,
            order::tag_set(),
        );
        self.handles[i].store(x, order::handle_set());
    }

    /// Fills an empty line, without reading it.
    ///
    /// The caller owns the bucket: nobody else writes it, and readers come to it only later or from a former life of
    /// an overflow line.
    #[inline]
    pub(crate) fn fill(&self, entries: &Packed) {
        // Relaxed: as in `set`.
        self.fractions.store(entries.fractions, Relaxed);
        self.tags.store(entries.tags, order::tag_set());
        for (to, &x) in self.handles.iter().zip(&entries.handles[..entries.len]) {
            to.store(x, order::handle_set());
        }
    }

    /// Tag, fraction and handle of every entry, as the holder of the bucket's lock sees them.
    #[inline]
    pub(crate) fn entries_locked(&self) -> impl Iterator<Item = (u8, u8, u32)> {
        let tags = self.tags_locked();
        // Relaxed: as `tags_locked`.
        let fractions = self.fractions.load(Relaxed);
        tags.used().map(move |i| {
            let handle = self.handles[i].load(Relaxed);
            (tags.tag(i), (fractions >> (8 * i)) as u8, handle)
        })
    }

    /// Swaps the handle of the used slot `i` for `x`: one store, so that no reader finds neither.
    ///
    /// The caller holds the bucket's lock; the new entry has the same hash.
    #[inline]
    pub(crate) fn replace(&self, i: usize, x: u32) {
        if mutant("line:replace-by-remove-and-insert") {
            self.handles[i].store(0, order::handle_clear());
        }
        self.handles[i].store(x, order::handle_set());
    }

    /// Empties slot `i`: the handle first, then the tag.
    ///
    /// The caller holds the bucket's lock.
    #[inline]
    pub(crate) fn clear(&self, i: usize) {
        // Relaxed load: only the holder of the lock writes tags.
        let t = self.tags.load(Relaxed) & !(0xff << (8 * i));
        if mutant("line:tag-before-handle") {
            self.tags.store(t, order::tag_clear());
        }
        self.handles[i].store(0, order::handle_clear());
        self.tags.store(t, order::tag_clear());
    }

    /// Empties every slot of an unlinked line before it is given back. The link stays: readers may stand here.
    pub(crate) fn wipe(&self) {
        for h in &self.handles {
            h.store(0, order::handle_clear());
        }
        self.tags.store(0, order::tag_clear());
    }

    /// The tags as the holder of the bucket's lock sees them.
    #[inline]
    pub(crate) fn tags_locked(&self) -> Tags {
        // Relaxed: only the holder of the lock writes tags, and taking it acquired what former holders wrote.
        Tags::new(self.tags.load(Relaxed))
    }

    /// The link as the holder of the bucket's lock sees it.
    #[inline]
    pub(crate) fn link_locked(&self) -> *mut Line {
        // Relaxed: as `tags_locked`.
        self.link.load(Relaxed)
    }

    /// Links the empty line `y` right behind this first line, whose own marker is `own`.
    ///
    /// The caller holds the bucket's lock and owns `y`, which must stay empty until it is linked: a handle set before
    /// would be seen by a reader that stands on `y` from its former life, and then be missed by the next look-up.
    #[inline]
    pub(crate) fn link_behind(&self, own: *mut Line, y: &Line) {
        let behind = self.link_locked();
        if mutant("line:tail-insert") {
            // Skips the own lines behind: y goes to the end, as a naive list would do it.
            let mut last = self;
            while !super::nulls::is_end(last.link_locked()) {
                // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
                last = unsafe { &*last.link_locked() };
            }
            y.link.store(own, order::line_link());
            last.link
                .store(core::ptr::from_ref(y).cast_mut(), order::head_link());
            return;
        }
        y.link.store(
            if behind.is_null() { own } else { behind },
            order::line_link(),
        );
        self.link
            .store(core::ptr::from_ref(y).cast_mut(), order::head_link());
    }

    /// Takes the line `y` that follows this one out of the chain. `y` keeps its link for readers that stand on it.
    ///
    /// The caller holds the bucket's lock.
    #[inline]
    pub(crate) fn unlink_next(&self, y: &Line) {
        self.link.store(y.link_locked(), order::unlink());
        if mutant("line:overwrite-link-of-unlinked") {
            y.link.store(core::ptr::null_mut(), Relaxed);
        }
    }

    /// The word in which the line slab keeps its free list: the fractions, which no reader looks at.
    #[inline]
    pub(crate) fn spare(&self) -> &AtomicU64 {
        &self.fractions
    }
}

/// What a line is going to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed {
    tags: u64,
    fractions: u64,
    /// The first `len` count.
    handles: [u32; SLOTS],
    len: usize,
}

impl Packed {
    pub(crate) const EMPTY: Self = Self {
        tags: 0,
        fractions: 0,
        handles: [0; SLOTS],
        len: 0,
    };

    /// Adds an entry, at most [`SLOTS`] in all.
    #[inline(always)]
    pub(crate) fn push(&mut self, tag: u8, fraction: u8, handle: u32) {
        self.tags |= u64::from(tag) << (8 * self.len);
        self.fractions |= u64::from(fraction) << (8 * self.len);
        self.handles[self.len] = handle;
        self.len += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::WideTag;

    #[test]
    #[cfg(not(nulls_loom))]
    fn a_line_is_a_cache_line() {
        assert_eq!(size_of::<Line>(), 64);
        assert_eq!(align_of::<Line>(), 64);
    }

    #[test]
    fn tags_find_their_slots() {
        let l = Line::new();
        l.set(0, 0x81, 0, 10);
        l.set(1, 0xff, 7, 11);
        assert_eq!(
            l.tags().matching(WideTag::of(0x81)).collect::<Vec<_>>(),
            [0]
        );
        assert_eq!(
            l.tags().matching(WideTag::of(0xff)).collect::<Vec<_>>(),
            [1]
        );
        assert_eq!(l.tags().matching(WideTag::of(0x80)).next(), None);
        assert_eq!(l.tags().empty().count(), SLOTS - 2);
        assert_eq!((l.handle(0), l.handle(1), l.fraction(1)), (10, 11, 7));
        l.clear(0);
        assert_eq!(l.tags().used().collect::<Vec<_>>(), [1]);
        assert_eq!(l.tags().count(), 1);
    }
}
