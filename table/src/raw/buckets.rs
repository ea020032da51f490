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
    pub(super) fraction_bits: u32,
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
            #[cfg(feature = "ablation")]
            forgets_fractions: false,
        })
    }

    fn successor(&self, from: usize, len: usize) -> Result<Self, AllocError> {
        let fresh = self.fresh_fraction_bits();
        Ok(Self {
            lines: ZeroedArray::try_new(len, Pages::Small)?,
            fraction_bits: match doublings(from, len, self.fraction_bits) {
                Some(k) => (self.fraction_bits - k).min(fresh),
                None => fresh,
            },
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

/// By how many bits the bucket number grows, if the entries' fractions say all that a move needs to know.
pub(super) fn doublings(from: usize, to: usize, bits: u32) -> Option<u32> {
    let k = (to / from).checked_ilog2()?;
    (k > 0 && k <= bits && from.checked_shl(k) == Some(to) && to >> k == from).then_some(k)
}
