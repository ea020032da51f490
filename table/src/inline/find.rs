//! Looking up: no lock, no wait, no write to shared memory.
//!
//! A look-up takes the ticket, then tags, key and value, and then looks whether the ticket is still the same (a writer in
//! the bucket does not matter, see [`bucket`](super::bucket)). A hit linearizes where it loads the value, or, if the value
//! has no size or the writer in the bucket removes the key, where it loads the tags; a miss where it loads the tags that the key's
//! slot belongs to. It repeats only if a writer has finished meanwhile.

use super::InlineMap;
use super::bucket::{Bucket, Head, Line, MOVED, spill_of};
use crate::raw::local;
use crate::rcu::{Guard, Pinned};
use crate::sync::check::mutant;
use crate::tags::{Tags, WideTag};
use bytemuck::NoUninit;

/// What a look at a bucket came to.
pub(super) enum Look<T> {
    Found(T),
    Absent,
    /// A writer changed the bucket meanwhile, or it has moved.
    Again,
}

/// The slot of a line whose key `eq` accepts.
#[inline(always)]
pub(super) fn seek<K: NoUninit, V: NoUninit>(
    head: &Head,
    seen: u64,
    line: Line<'_, K, V>,
    tags: Tags,
    tag: WideTag,
    eq: &mut impl FnMut(&K) -> bool,
) -> Look<usize> {
    for i in tags.matching(tag) {
        let key = line.slot(i).key();
        if !head.is_whole::<K, V>(seen) {
            return Look::Again;
        }
        // SAFETY: the slot's tag was seen, so an entry has been stored in it whole, and every word since is of some entry;
        // several words belong to one, since the ticket is as it was before the tags were loaded.
        if eq(unsafe { key.assume_init_ref() }) {
            return Look::Found(i);
        }
    }
    Look::Absent
}

impl<K: NoUninit, V: NoUninit, S> InlineMap<K, V, S> {
    /// The value of the key of this hash that `eq` accepts.
    ///
    /// `FETCH`: the slots are fetched beside the head, before the tags say which one is wanted, if any. In maps larger than the
    /// caches that helps hits, whose two cache misses fall together, and costs misses, which need no slot.
    #[inline(always)]
    pub(super) fn find<const FETCH: bool>(
        &self,
        guard: &Guard,
        hash: u64,
        mut eq: impl FnMut(&K) -> bool,
    ) -> Option<V> {
        // The common case in as few instructions as it takes, since cache misses of successive look-ups overlap only within
        // the processor's window: the bucket has not moved, nobody finished in it meanwhile, and it has no spill line or the
        // key is not there. All else goes to one place, so that what is found need not be told apart once more.
        let bucket = self.root_bucket(guard.pinned(), hash);
        let head = bucket.head;
        let line = bucket.line();
        let seen = head.ticket();
        if seen & MOVED == 0 || mutant("inline:ignore-moved") {
            if FETCH {
                line.prefetch();
            }
            let tag = WideTag::of_marked(hash);
            match seek(head, seen, line, line.tags(), tag, &mut eq) {
                Look::Found(i) => {
                    if let Look::Found(value) = Self::take_out(head, seen, line, i) {
                        return Some(value);
                    }
                }
                Look::Absent if spill_of(seen) == 0 && head.is_still(seen) => return None,
                _ => {}
            }
        }
        self.find_anew(guard.pinned(), hash, eq)
    }

    /// The general case, from the start.
    #[cold]
    #[inline(never)]
    fn find_anew(&self, guard: Pinned<'_>, hash: u64, mut eq: impl FnMut(&K) -> bool) -> Option<V> {
        let mut array = self.generations.root_array(guard);
        loop {
            let b = array.bucket(hash);
            if array.head(b).ticket() & MOVED != 0 {
                // MOVED is set after `next`, and we saw it with Acquire.
                if let Some(next) = array.next() {
                    array = next;
                }
                continue;
            }
            match self.look(Self::bucket(array, b), WideTag::of_marked(hash), &mut eq) {
                Look::Found(value) => return Some(value),
                Look::Absent => return None,
                Look::Again => local::count_restart(),
            }
        }
    }

    /// One look at a bucket.
    #[inline]
    fn look(
        &self,
        bucket: Bucket<'_, K, V>,
        tag: WideTag,
        eq: &mut impl FnMut(&K) -> bool,
    ) -> Look<V> {
        let head = bucket.head;
        let seen = head.ticket();
        if seen & MOVED != 0 && !mutant("inline:ignore-moved") {
            return Look::Again;
        }
        let line = bucket.line();
        match seek(head, seen, line, line.tags(), tag, eq) {
            Look::Found(i) => Self::take_out(head, seen, line, i),
            Look::Again => Look::Again,
            Look::Absent if spill_of(seen) != 0 => self.look_behind(head, seen, tag, eq),
            Look::Absent if head.is_still(seen) => Look::Absent,
            Look::Absent => Look::Again,
        }
    }

    /// The value in a slot that was found.
    #[inline(always)]
    fn take_out(head: &Head, seen: u64, line: Line<'_, K, V>, i: usize) -> Look<V> {
        let value = line.slot(i).value();
        if !head.is_still(seen) {
            return Look::Again;
        }
        // SAFETY: the slot's tag was seen, so a value was stored in its one word, as every store since.
        Look::Found(unsafe { value.assume_init() })
    }

    /// Goes on in the spill lines.
    #[cold]
    #[inline(never)]
    fn look_behind(
        &self,
        head: &Head,
        seen: u64,
        tag: WideTag,
        eq: &mut impl FnMut(&K) -> bool,
    ) -> Look<V> {
        let mut handle = spill_of(seen);
        while handle != 0 {
            let spill = self.spill(handle);
            let line = spill.line(handle);
            match seek(head, seen, line, line.tags(), tag, eq) {
                Look::Found(i) => return Self::take_out(head, seen, line, i),
                Look::Again => return Look::Again,
                Look::Absent => {}
            }
            handle = spill.next();
            // Also before the handle is used: of a line that was recycled it may be anything.
            if !head.is_still(seen) {
                return Look::Again;
            }
        }
        Look::Absent
    }

    /// Looks up many keys, whose cache misses overlap: first all heads are fetched, then the slots that they point to, then
    /// each key is found as by [`find`](Self::find).
    pub(super) fn find_many(
        &self,
        guard: &Guard,
        hashes: &[u64],
        eq: impl Fn(usize, &K) -> bool,
        mut found: impl FnMut(usize, Option<V>),
    ) {
        /// As many as a core has line-fill buffers, roughly.
        const BATCH: usize = 16;
        for (c, chunk) in hashes.chunks(BATCH).enumerate() {
            // A bucket that has moved meanwhile costs a wasted prefetch only.
            for &hash in chunk {
                self.root_bucket(guard.pinned(), hash).prefetch();
            }
            for &hash in chunk {
                let line = self.root_bucket(guard.pinned(), hash).line();
                if let Some(i) = line.tags().matching(WideTag::of_marked(hash)).next() {
                    line.slot(i).prefetch();
                }
            }
            for (i, &hash) in chunk.iter().enumerate() {
                let i = c * BATCH + i;
                found(i, self.find::<false>(guard, hash, |key| eq(i, key)));
            }
        }
    }
}
