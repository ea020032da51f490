//! Keys and values as words: how an entry lies in its slot.
//!
//! A slot is a row of atomic words, first the key's, then the value's (one, or none if the value has no size). A look-up
//! may read it while it is rewritten; each word it gets was stored as a whole at some time, and the bucket's ticket says
//! whether they belong together.

use crate::mem::Zeroable;
use crate::sync::check::pause;
use crate::sync::{AtomicU64, order};
use bytemuck::NoUninit;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Relaxed;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// One word of a slot, or of a head.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Word(pub(super) AtomicU64);

impl Word {
    /// The word's value.
    ///
    /// # Safety
    /// Whoever may have written it did so before now.
    #[inline(always)]
    pub(super) unsafe fn constant(&self) -> u64 {
        #[cfg(not(nulls_loom))]
        // SAFETY: by the contract, nobody writes meanwhile.
        return unsafe { self.0.as_ptr().read() };
        #[cfg(nulls_loom)]
        self.0.load(Relaxed)
    }
}

// SAFETY: zeroed bytes are an atomic zero, and there is no destructor.
unsafe impl Zeroable for Word {
    #[cfg(nulls_loom)]
    fn zeroed() -> Self {
        Self(AtomicU64::new(0))
    }
}

/// How many words the parts of an entry take.
pub(super) struct Layout<K, V>(PhantomData<(K, V)>);

impl<K, V> Layout<K, V> {
    /// Words of the key.
    pub(super) const KEY: usize = size_of::<K>().div_ceil(WORD);
    /// Words of the value.
    pub(super) const VALUE: usize = size_of::<V>().div_ceil(WORD);
    /// Words of a slot.
    pub(super) const SLOT: usize = Self::KEY + Self::VALUE;
    /// What is refused when the program is compiled.
    pub(super) const SUPPORTED: () = {
        assert!(Self::KEY > 0, "a key of no size");
        assert!(Self::VALUE <= 1, "a value of more than eight bytes");
        assert!(
            Self::SLOT <= super::bucket::SPILL_WORDS,
            "a key that is too large: boxed keys belong into a HashMap"
        );
    };
}

/// A slot, which may be in use or not.
pub(super) struct Slot<'g, K, V> {
    /// The first of `Layout::SLOT` words that live for `'g`.
    first: *const Word,
    _words: PhantomData<&'g Word>,
    _entry: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Slot<'_, K, V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Slot<'_, K, V> {}

impl<K, V> core::fmt::Debug for Slot<'_, K, V> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Slot").field(&self.first).finish()
    }
}

impl<'g, K: NoUninit, V: NoUninit> Slot<'g, K, V> {
    /// The slot that begins at `first`.
    ///
    /// # Safety
    /// `Layout::<K, V>::SLOT` words begin there, live for `'g`, and have held nothing but zero and entries of these types.
    #[inline(always)]
    pub(super) unsafe fn at(first: *const Word) -> Self {
        Self {
            first,
            _words: PhantomData,
            _entry: PhantomData,
        }
    }

    #[inline(always)]
    fn word(self, i: usize) -> &'g AtomicU64 {
        pause();
        debug_assert!(i < Layout::<K, V>::SLOT);
        // SAFETY: within the slot, by the contract of `at`.
        unsafe { &(*self.first.add(i)).0 }
    }

    /// The key's words as they are now. A key of one word is a key if the slot's tag was seen before; one of several may be
    /// made of two keys, unless the ticket says otherwise afterwards.
    #[inline(always)]
    pub(super) fn key(self) -> MaybeUninit<K> {
        decode(|i| self.word(i).load(order::inline_word_load()))
    }

    /// The value's word as it is now: a value if the slot's tag was seen before.
    #[inline(always)]
    pub(super) fn value(self) -> MaybeUninit<V> {
        decode(|i| {
            self.word(Layout::<K, V>::KEY + i)
                .load(order::inline_word_load())
        })
    }

    /// Writes an entry. The caller holds the bucket's lock, or owns the unlinked line, and the slot's tag is clear.
    #[inline(always)]
    pub(super) fn store(self, key: &K, value: &V) {
        for i in 0..Layout::<K, V>::KEY {
            self.word(i)
                .store(encode(key, i), order::inline_word_store());
        }
        self.store_value(value);
    }

    /// Writes the value, by one store. The caller holds the bucket's lock.
    #[inline(always)]
    pub(super) fn store_value(self, value: &V) {
        for i in 0..Layout::<K, V>::VALUE {
            self.word(Layout::<K, V>::KEY + i)
                .store(encode(value, i), order::inline_word_store());
        }
    }

    /// Copies the entry of `from`, whose bucket's lock the caller holds, as by [`store`](Self::store).
    #[inline(always)]
    pub(super) fn copy(self, from: Slot<'_, K, V>) {
        for i in 0..Layout::<K, V>::SLOT {
            // Relaxed: nobody else writes it while the lock is held, and taking it came after all who did.
            let word = from.word(i).load(Relaxed);
            self.word(i).store(word, order::inline_word_store());
        }
    }

    /// Brings the slot near.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        crate::prefetch::read(self.first);
    }
}

/// Word `i` of a value's bytes; the last is filled up with zeros.
#[inline(always)]
fn encode<T: NoUninit>(value: &T, i: usize) -> u64 {
    let bytes = bytemuck::bytes_of(value);
    let mut word = [0; WORD];
    let part = &bytes[i * WORD..bytes.len().min((i + 1) * WORD)];
    word[..part.len()].copy_from_slice(part);
    u64::from_ne_bytes(word)
}

/// What `words` are the bytes of.
#[inline(always)]
fn decode<T: NoUninit>(word: impl Fn(usize) -> u64) -> MaybeUninit<T> {
    let mut value = MaybeUninit::<T>::uninit();
    for i in 0..size_of::<T>().div_ceil(WORD) {
        let bytes = word(i).to_ne_bytes();
        let n = WORD.min(size_of::<T>() - i * WORD);
        // SAFETY: `n` bytes from `i * WORD` on are within the value, and no more than the word's.
        unsafe {
            value
                .as_mut_ptr()
                .cast::<u8>()
                .add(i * WORD)
                .copy_from_nonoverlapping(bytes.as_ptr(), n);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: NoUninit + PartialEq + core::fmt::Debug>(value: T) {
        let words: Vec<u64> = (0..size_of::<T>().div_ceil(WORD))
            .map(|i| encode(&value, i))
            .collect();
        let back = decode::<T>(|i| words[i]);
        // SAFETY: all words are of one value.
        assert_eq!(unsafe { back.assume_init() }, value);
    }

    #[test]
    fn values_of_all_sizes_come_back() {
        there_and_back(());
        there_and_back(7u8);
        there_and_back(true);
        there_and_back('ß');
        there_and_back(-1i16);
        there_and_back(1.5f32);
        there_and_back(u64::MAX);
        there_and_back(u128::MAX - 5);
        there_and_back([1u8, 2, 3, 4, 5, 6, 7, 8, 9]);
        there_and_back([0x0102_0304u32; 5]);
    }

    #[test]
    fn sizes() {
        assert_eq!(Layout::<u64, u64>::SLOT, 2);
        assert_eq!(Layout::<u8, ()>::SLOT, 1);
        assert_eq!(Layout::<[u8; 13], u32>::SLOT, 3);
    }
}
