//! One network namespace: its number, knobs, counters and count of entries.

use crate::helper::keymap::Keymap;
use crate::nat::source::Sources;
use crate::stats::Stats;
use crate::sysctl::Sysctls;
use crate::tuple::{Tuple, ipproto};
use crate::zone::NetId;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicUsize, Ordering};

/// State of one namespace, shared by its tracker and its entries.
#[derive(Debug, Default)]
pub struct Net {
    pub(crate) id: NetId,
    pub(crate) sysctl: Sysctls,
    pub(crate) stats: Stats,
    pub(crate) sources: Sources,
    /// Calls of PPTP, which complete the tuples of GRE packets.
    pub(crate) keymap: Keymap,
    /// Apart from what every packet reads, as every connection that begins or ends writes it.
    count: CachePadded<AtomicUsize>,
}

impl Net {
    pub(crate) fn new(id: NetId) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// A packet's tuple with what only the namespace knows of it: the source key of a PPTP call.
    #[inline]
    pub(crate) fn complete(&self, mut t: Tuple) -> Tuple {
        if t.protonum() == ipproto::GRE {
            // Only the word with the source key: every other packet's tuple stays in registers.
            t.0[2] = self.keymap.complete(t).0[2];
        }
        t
    }

    /// Counts a new entry, before it is allocated. Returns the count with it.
    pub(crate) fn entry_made(&self) -> usize {
        // Relaxed, here and below: the number decides who is one too many, and publishes nothing.
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The reverse, when an entry's memory is given back or was not to be had.
    pub(crate) fn entry_freed(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Entries that exist, those not yet linked and those still referenced included (`nf_conntrack_count`).
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
