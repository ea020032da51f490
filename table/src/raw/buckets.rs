//! The memory of a generation of the raw table: first lines, and how much their fraction bytes are worth.

use super::line::Line;
use super::ticket;
use crate::generations;
use crate::mem::{AllocError, Pages, ZeroedArray};

/// Bits of a fraction byte.
pub(super) const FRACTION_BITS: u32 = 8;

/// A generation of the raw table.
pub(super) type Array = generations::Array<Buckets>;

/// The buckets of one generation.
#[derive(Debug)]
pub(super) struct Buckets {
    lines: ZeroedArray<Line>,
    /// How many high bits of a *moved* entry's fraction byte are valid. Entries inserted here have all of them.
    fraction_bits: u32,
    /// How entries come here from the generation before without being asked for their hashes.
    pub(super) by_fractions: Option<Doublings>,
    /// See [`Table::forget_fractions`](super::Table::forget_fractions).
    #[cfg(feature = "ablation")]
    pub(super) forgets_fractions: bool,
}

impl Buckets {
    /// The first lines of all buckets.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Valid bits of a fraction that a move makes from the entry's hash.
    fn fresh_fraction_bits(&self) -> u32 {
        #[cfg(feature = "ablation")]
        if self.forgets_fractions {
            return 0;
        }
        FRACTION_BITS
    }
}

impl generations::Cells for Buckets {
    type Head = Line;

    fn bytes_for(len: usize) -> usize {
        len.saturating_mul(size_of::<Line>())
    }

    fn try_new(len: usize, pages: Pages) -> Result<Self, AllocError> {
        Ok(Self {
            lines: ZeroedArray::try_new(len, pages)?,
            fraction_bits: FRACTION_BITS,
            by_fractions: None,
            #[cfg(feature = "ablation")]
            forgets_fractions: false,
        })
    }

    fn successor(&self, from: usize, len: usize) -> Result<Self, AllocError> {
        let by_fractions = Doublings::between(from, len, self.fraction_bits);
        let fresh = self.fresh_fraction_bits();
        Ok(Self {
            lines: ZeroedArray::try_new(len, Pages::Small)?,
            fraction_bits: by_fractions.map_or(fresh, |d| d.bits(self.fraction_bits).min(fresh)),
            by_fractions,
            #[cfg(feature = "ablation")]
            forgets_fractions: self.forgets_fractions,
        })
    }

    #[inline(always)]
    fn heads(&self) -> *const Line {
        self.lines.as_ptr()
    }

    fn has_moved(head: &Line) -> bool {
        ticket::load(head) & ticket::MOVED != 0
    }

    fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    fn release_slice(&mut self, max_bytes: usize) -> bool {
        self.lines.release_slice(max_bytes)
    }
}

/// The eight bits of a hash below its bucket, of `len`: where in the bucket's interval it lies.
#[inline(always)]
pub(super) fn fraction(len: usize, hash: u64) -> u8 {
    (hash.wrapping_mul(len as u64) >> (64 - FRACTION_BITS)) as u8
}

/// A change of the length by a power of two, of which a fraction byte knows enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doublings {
    /// To so many powers of two more.
    Up(u32),
    /// To so many fewer.
    Down(u32),
}

impl Doublings {
    /// From one length to another, if `bits` of each fraction byte suffice.
    fn between(from: usize, to: usize, bits: u32) -> Option<Self> {
        let times = |few: usize, many: usize| {
            let k = (many / few).checked_ilog2()?;
            let is_all = few.checked_shl(k) == Some(many) && many >> k == few;
            (is_all && (1..=FRACTION_BITS).contains(&k)).then_some(k)
        };
        match (times(from, to), times(to, from)) {
            (Some(k), _) if k <= bits => Some(Self::Up(k)),
            (_, Some(k)) => Some(Self::Down(k)),
            _ => None,
        }
    }

    /// How many bits of a fraction are valid afterwards, of `bits` before.
    fn bits(self, bits: u32) -> u32 {
        match self {
            Self::Up(k) => bits - k,
            Self::Down(k) => (bits + k).min(FRACTION_BITS),
        }
    }

    /// The bucket and the fraction of an entry that was in bucket `b`. What a hash has of bits below the bucket is the bucket's number
    /// and the fraction, one after the other, whatever the length.
    #[inline(always)]
    pub(super) fn apply(self, b: usize, fraction: u8) -> (usize, u8) {
        let all = b << FRACTION_BITS | usize::from(fraction);
        match self {
            Self::Up(k) => (all >> (FRACTION_BITS - k), (u32::from(fraction) << k) as u8),
            Self::Down(k) => (b >> k, (all >> k) as u8),
        }
    }
}

#[cfg(all(test, not(nulls_loom)))]
mod tests {
    use super::*;
    use crate::scale::reciprocal_scale;

    #[test]
    fn steps_that_fractions_suffice_for() {
        let between = Doublings::between;
        assert_eq!(between(1, 2, 8), Some(Doublings::Up(1)));
        assert_eq!(between(3, 24, 3), Some(Doublings::Up(3)));
        assert_eq!(between(3, 24, 2), None);
        assert_eq!(between(1, 1 << 9, 8), None);
        assert_eq!(between(12, 3, 0), Some(Doublings::Down(2)));
        assert_eq!(between(1 << 9, 1, 8), None);
        for (from, to) in [(5, 5), (2, 3), (3, 2), (2, 6), (6, 2), (1000, 1001)] {
            assert_eq!(between(from, to, 8), None, "{from} to {to}");
        }
    }

    /// What follows from bucket and fraction is what follows from the hash, as far as bits are valid.
    #[test]
    fn a_step_by_fractions_is_one_by_hashes() {
        let mut hash = 1u64;
        for _ in 0..1000 {
            hash = hash.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(99);
            for (from, to) in [(1, 2), (3, 24), (7, 7 << 8), (96, 3), (1 << 20, 1 << 18)] {
                let step = Doublings::between(from, to, FRACTION_BITS).unwrap();
                let b = reciprocal_scale(hash, from as u64) as usize;
                let (target, moved) = step.apply(b, fraction(from, hash));
                assert_eq!(target as u64, reciprocal_scale(hash, to as u64));
                let valid = !(0xffu32 >> step.bits(FRACTION_BITS)) as u8;
                assert_eq!(moved & valid, fraction(to, hash) & valid);
            }
        }
    }
}
