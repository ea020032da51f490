//! The latch by itself, for models of its orderings: a whole table publishes too rarely for them.

use crate::generations::latch::{self, Snapshot};

/// A latch over numbered snapshots.
#[derive(Debug)]
pub struct Latch(latch::Latch<usize, usize>);

/// Snapshot number `n`: all its words tell which it is, and none is ever followed.
fn numbered(n: usize) -> Snapshot<usize, usize> {
    Snapshot {
        array: core::ptr::without_provenance_mut(n * 64),
        heads: core::ptr::without_provenance_mut(n * 64),
        len: n,
    }
}

/// The number of a snapshot.
///
/// # Panics
/// If its words are of different snapshots.
fn number(array: usize, lines: usize, len: usize) -> usize {
    assert!(
        array == len * 64 && lines == len * 64,
        "words of different snapshots: {} {} {len}",
        array / 64,
        lines / 64
    );
    len
}

impl Latch {
    /// A latch that names snapshot `n`.
    pub fn new(n: usize) -> Self {
        Self(latch::Latch::new(numbered(n)))
    }

    /// The number of the root.
    pub fn load(&self) -> usize {
        let s = self.0.load();
        number(s.array.addr(), s.heads.addr(), s.len)
    }

    /// The number of the only generation, if there is but one.
    pub fn try_settled(&self) -> Option<usize> {
        let (lines, len) = self.0.try_settled()?;
        Some(number(lines.addr(), lines.addr(), len))
    }

    /// Says that a resize begins. For one thread at a time.
    pub fn unsettle(&self) {
        self.0.unsettle();
    }

    /// Publishes snapshot `n`. For one thread at a time.
    pub fn publish(&self, n: usize) {
        self.0.publish(numbered(n));
    }
}
