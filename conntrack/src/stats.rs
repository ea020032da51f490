//! Statistics by the kernel's names (`struct ip_conntrack_stat`), counted per group of threads, so that packets of different threads do not meet.
//! All of it is Relaxed: sums of numbers that publish nothing.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const SHARDS: usize = 16;

macro_rules! stats {
    ($($field:ident $var:ident $doc:literal,)*) => {
        /// A counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Stat { $(#[doc = $doc] $var,)* }

        /// Sums of all counters.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct StatsSnapshot { $(#[doc = $doc] pub $field: u64,)* }

        const COUNT: usize = [$(Stat::$var,)*].len();

        impl Stats {
            /// Sums over all threads.
            #[must_use]
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($field: self.sum(Stat::$var),)* }
            }

            /// What each group of threads has counted, in no particular order; groups that have counted nothing are left out.
            #[must_use]
            pub fn groups(&self) -> Vec<StatsSnapshot> {
                let of = |c: &CachePadded<[AtomicU64; COUNT]>| StatsSnapshot {
                    $($field: c[Stat::$var as usize].load(Ordering::Relaxed),)*
                };
                let all = self.0.iter().map(of);
                all.filter(|s| *s != StatsSnapshot::default()).collect()
            }
        }

        impl StatsSnapshot {
            /// Names and values, in the order of `conntrack -S`.
            #[must_use]
            pub fn pairs(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }
    };
}

stats! {
    found Found "Hits of the search for a tuple that address translation would like to use.",
    invalid Invalid "Packets that could not be tracked.",
    insert Insert "Entries made by the control plane.",
    insert_failed InsertFailed "Entries that were not linked.",
    drop Drop "Packets dropped by the tracker itself.",
    early_drop EarlyDrop "Entries evicted because the table was full.",
    error Error "ICMP errors that match no connection, or are malformed.",
    search_restart SearchRestart "Look-ups that began again.",
    clash_resolve ClashResolve "Clashes that were resolved.",
    chaintoolong ChainTooLong "Entries not linked because a chain was too long.",
    expect_new ExpectNew "Connections that were expected.",
    expect_create ExpectCreate "Expectations made.",
    expect_delete ExpectDelete "Expectations removed.",
}

/// The counters of one namespace.
#[derive(Debug)]
pub struct Stats(Box<[CachePadded<[AtomicU64; COUNT]>]>);

impl Default for Stats {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| CachePadded::default()).collect())
    }
}

fn shard() -> usize {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local!(static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) as usize % SHARDS);
    MINE.try_with(|m| *m).unwrap_or(0)
}

impl Stats {
    /// Adds `n`.
    pub fn add(&self, s: Stat, n: u64) {
        self.0[shard()][s as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self, s: Stat) {
        self.add(s, 1);
    }

    fn sum(&self, s: Stat) -> u64 {
        self.0
            .iter()
            .map(|c| c[s as usize].load(Ordering::Relaxed))
            .sum()
    }
}
