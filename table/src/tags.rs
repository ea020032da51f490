//! The tags of a line's slots: one byte each, which says whether the slot is used and seven low bits of the hash. All are
//! compared at once.

/// Slots of a line. Models use two, so that chains grow within a few operations.
pub(crate) const SLOTS: usize = if cfg!(nulls_loom) { 2 } else { 8 };

/// The high bit of each tag byte: set in every tag, clear in an empty slot.
const HIGH: u64 = 0x8080_8080_8080_8080;
/// The low bit of each tag byte.
const LOW: u64 = 0x0101_0101_0101_0101;
/// The high bits of the bytes that are slots.
const USED: u64 = if SLOTS == 8 {
    HIGH
} else {
    HIGH & ((1 << (8 * SLOTS)) - 1)
};

/// The slots of a line that a look-up is interested in: one bit each, `STRIDE` bits apart, the last one in bit
/// `STRIDE * SLOTS - 1` at the highest. Bits above mean nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<const STRIDE: u32>(u64);

impl<const STRIDE: u32> Iterator for Slots<STRIDE> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        // The bits that mean something fit exactly into a byte or a word, so that this costs no masking.
        let bits = if STRIDE == 1 {
            self.0 as u8 as u64
        } else {
            self.0
        };
        if bits == 0 {
            return None;
        }
        // SAFETY: part of it is not zero.
        unsafe { core::hint::assert_unchecked(self.0 != 0) };
        let i = (self.0.trailing_zeros() / STRIDE) as usize;
        self.0 &= self.0 - 1;
        // SAFETY: the lowest bit that is set is one that means something.
        unsafe { core::hint::assert_unchecked(i < SLOTS) };
        Some(i)
    }
}

/// The eight tag bytes of a line as one word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tags(u64);

impl Tags {
    /// The tags in a word.
    #[inline(always)]
    pub(crate) fn new(word: u64) -> Self {
        Self(word)
    }

    /// The slots whose tag is `tag`.
    #[inline(always)]
    #[cfg(all(target_arch = "x86_64", not(nulls_loom)))]
    pub(crate) fn matching(self, tag: WideTag) -> Slots<1> {
        use core::arch::x86_64::{
            _mm_cmpeq_epi8, _mm_cvtsi32_si128, _mm_cvtsi64_si128, _mm_movemask_epi8,
            _mm_shufflelo_epi16, _mm_unpacklo_epi8,
        };
        // Beside being exact this spares the multiplier, which hashing keeps busy. Only the lower eight bytes count.
        // SAFETY: SSE2 is part of the architecture.
        Slots(unsafe {
            let twice = _mm_cvtsi32_si128(tag.0 as i32);
            let eight = _mm_shufflelo_epi16::<0>(_mm_unpacklo_epi8(twice, twice));
            let equal = _mm_cmpeq_epi8(_mm_cvtsi64_si128(self.0 as i64), eight);
            _mm_movemask_epi8(equal) as u64
        })
    }

    /// The slots whose tag is `tag`, and now and then a used one whose tag differs in its lowest bit: the subtraction carries,
    /// and the tags are only a filter. An empty slot is never among them.
    #[inline(always)]
    #[cfg(not(all(target_arch = "x86_64", not(nulls_loom))))]
    pub(crate) fn matching(self, tag: WideTag) -> Slots<8> {
        let x = self.0 ^ (LOW * tag.0 as u8 as u64);
        Slots(x.wrapping_sub(LOW) & !x & USED)
    }

    /// The slots that hold, or are about to hold or to lose, a handle.
    #[inline(always)]
    pub(crate) fn used(self) -> Slots<8> {
        Slots(self.0 & USED)
    }

    /// The slots without a tag.
    #[inline(always)]
    pub(crate) fn empty(self) -> Slots<8> {
        Slots(!self.0 & USED)
    }

    /// How many slots have a tag.
    #[inline(always)]
    pub(crate) fn count(self) -> usize {
        // One bit per byte, added up by a multiplication: a population count is a long sequence on the x86-64 baseline.
        (((self.0 & USED) >> 7).wrapping_mul(LOW) >> 56) as usize
    }

    /// The tag of slot `i`.
    #[inline(always)]
    pub(crate) fn tag(self, i: usize) -> u8 {
        (self.0 >> (8 * i)) as u8
    }
}

/// A tag in the low byte of a word whose other bits mean nothing: clearing them would cost each look-up an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WideTag(u32);

impl WideTag {
    /// The tag of a hash.
    #[inline(always)]
    pub(crate) fn of(hash: u64) -> Self {
        Self::of_marked(Self::mark(hash))
    }

    /// The hash with the bit set that makes its low byte a tag, for who goes by marked hashes everywhere: the mark can carry a
    /// hash over the border of a bucket.
    #[inline(always)]
    pub(crate) fn mark(hash: u64) -> u64 {
        hash | 0x80
    }

    /// The tag of a marked hash.
    #[inline(always)]
    pub(crate) fn of_marked(hash: u64) -> Self {
        debug_assert!(hash & 0x80 != 0);
        Self(hash as u32)
    }
}

/// The tag of a hash: its seven low bits (the bucket takes the high ones), never zero.
#[inline(always)]
pub(crate) fn tag_of(hash: u64) -> u8 {
    WideTag::of(hash).0 as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tag is found in every slot, whatever the other slots hold.
    #[test]
    fn no_tag_is_missed() {
        for other in [0u64, 0x80, 0x81, 0xfe, 0xff] {
            for tag in 0x80..=0xffu8 {
                for slot in 0..SLOTS {
                    let word = (LOW * other) & !(0xff << (8 * slot)) | (tag as u64) << (8 * slot);
                    let matching = Tags(word).matching(WideTag(tag as u32 | 0x500));
                    assert!(
                        matching.into_iter().all(|i| word >> (8 * i) & 0x80 != 0),
                        "an empty slot: {other:x} {tag:x} {slot}"
                    );
                    assert!(
                        Tags(word)
                            .matching(WideTag(tag as u32 | 0x500))
                            .any(|i| i == slot),
                        "{other:x} {tag:x} {slot}"
                    );
                }
            }
        }
    }
}
