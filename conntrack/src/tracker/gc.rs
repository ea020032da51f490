//! Getting rid of entries: the garbage collector (`gc_worker`), and eviction when the table is full (`early_drop`).

use super::{Core, Tracker};
use crate::clock::{HZ, Jiffies, Nanos};
use crate::stats::Stat;
use crate::status::{ASSURED, CONFIRMED, DYING};
use crate::store::{Peek, Store};
use crate::sync::mutant;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Buckets that are searched for something to evict.
const EVICTION_RANGE: usize = 8;
const INTERVAL_MAX: i64 = 60 * HZ as i64;
const INTERVAL_MIN: i64 = HZ as i64;
const INTERVAL_CLAMP: i64 = 300 * HZ as i64;
/// So many entries are assumed to expire after `INTERVAL_MAX` as a scan begins.
const INITIAL_COUNT: i64 = 100;
const TIME_BUDGET: Duration = Duration::from_millis(10);
/// Evictions per run.
const BUDGET: usize = 64_000 / HZ as usize;

/// What the collector remembers from run to run.
#[derive(Debug, Default)]
pub(super) struct GcState {
    next: u64,
    running: bool,
    avg: i64,
    count: i64,
    start: Nanos,
}

/// What a garbage collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Entries removed.
    pub evicted: usize,
    /// Nanoseconds until the next run is due (`next_run` of the kernel's worker).
    pub next_in: Nanos,
    /// Did this run reach the end of the table?
    pub whole: bool,
}

impl<S> Core<S> {
    /// The table was full: the collector shall also take what is closing.
    pub(super) fn ask_gc_to_make_room(&self) {
        if !self.make_room.load(Ordering::Relaxed) {
            self.make_room.store(true, Ordering::Relaxed);
        }
    }
}

fn expired(p: Peek, now: Jiffies) -> bool {
    Jiffies(p.timeout).until(now) <= 0
}

fn live(p: Peek) -> bool {
    p.status & (CONFIRMED | DYING) == CONFIRMED
}

impl<S: Store> Tracker<S> {
    /// One run of the garbage collector (`gc_worker`), for all namespaces of the table: it ends after 10 ms or 256 evictions and goes on
    /// from there the next time. Only one run happens at a time; a second caller returns at once.
    pub fn gc(&self, now: Nanos) -> GcReport {
        let Some(mut gc) = self.core.gc.try_lock() else {
            return GcReport::default();
        };
        self.expire_expectations(now);
        let began = Instant::now();
        let tick = Jiffies::at(now);
        if !gc.running {
            *gc = GcState {
                next: 0,
                running: true,
                avg: INTERVAL_MAX,
                count: INITIAL_COUNT,
                start: now,
            };
        }
        let max = self.core.max.load(Ordering::Relaxed);
        let nearly_full = self
            .core
            .make_room
            .load(Ordering::Relaxed)
            .then_some(max / 100 * 95);
        let mut evicted = 0;
        let mut found = Vec::new();
        loop {
            let (avg, count) = (gc.avg, gc.count);
            let (mut avg, mut count) = (avg, count);
            let next = self.core.store.step(
                gc.next,
                &mut |p, _| {
                    if !live(p) {
                        return false;
                    }
                    if expired(p, tick) {
                        return true;
                    }
                    let left = i64::from(Jiffies(p.timeout).until(tick))
                        .clamp(INTERVAL_MIN, INTERVAL_CLAMP);
                    count += 1;
                    avg += (left - avg) / count;
                    nearly_full.is_some()
                },
                &mut found,
            );
            (gc.avg, gc.count) = (avg, count);
            for (entry, _) in found.drain(..) {
                let gone = if mutant("ct:gc-trusts-its-first-look") {
                    self.delete(&entry, now)
                } else if entry.is_expired(now) {
                    self.delete_expired(&entry, now)
                } else {
                    nearly_full.is_some_and(|limit| self.may_evict(&entry, limit))
                        && self.delete(&entry, now)
                };
                evicted += usize::from(gone);
            }
            let Some(next) = next else { break };
            gc.next = next;
            // Models must not depend on the time of day.
            let late = !cfg!(nulls_loom) && began.elapsed() > TIME_BUDGET;
            if evicted > BUDGET || late {
                let age = now.saturating_sub(gc.start) / 1_000_000_000;
                let next_in = if evicted > BUDGET && age < 60 {
                    Jiffies(1).as_nanos()
                } else {
                    0
                };
                if next_in != 0 {
                    self.core.make_room.store(false, Ordering::Relaxed);
                }
                return GcReport {
                    evicted,
                    next_in,
                    whole: false,
                };
            }
        }
        gc.running = false;
        self.core.make_room.store(false, Ordering::Relaxed);
        let took = i64::from(tick.until(Jiffies::at(gc.start))).max(1);
        let delay = (gc.avg.clamp(INTERVAL_MIN, INTERVAL_MAX) - took).max(1);
        GcReport {
            evicted,
            next_in: Jiffies(delay as u32).as_nanos(),
            whole: true,
        }
    }

    /// Runs the collector until it has seen the whole table; returns the number of entries removed.
    pub fn gc_all(&self, now: Nanos) -> usize {
        let mut evicted = 0;
        loop {
            let report = self.gc(now);
            evicted += report.evicted;
            if report.whole || report == GcReport::default() {
                return evicted;
            }
        }
    }

    /// In a table that is nearly full: not assured, or about to close anyway.
    fn may_evict(&self, entry: &S::Ref<'_>, limit: usize) -> bool {
        let inner = entry.inner();
        let count = inner.net.as_ref().map_or(0, |n| n.count());
        count >= limit && (!entry.has(ASSURED) || inner.proto.can_early_drop())
    }

    /// Makes room for a new entry of this namespace (`early_drop`): evicts all that is not assured in the first of eight buckets that has any,
    /// beginning with the new entry's own.
    pub(super) fn early_drop(&self, hash: u64, now: Nanos) -> bool {
        let tick = Jiffies::at(now);
        let mut found = Vec::new();
        for n in 0..EVICTION_RANGE {
            let wanted = &mut |p: Peek, _| {
                live(p) && (expired(p, tick) || (p.status & ASSURED == 0 && p.net == self.net.id.0))
            };
            self.core.store.bucket(hash, n, wanted, &mut found);
            let mut drops = 0;
            for (entry, _) in found.drain(..) {
                if entry.is_expired(now) {
                    self.delete_expired(&entry, now);
                } else if entry.net_id() == self.net.id && self.delete(&entry, now) {
                    drops += 1;
                }
            }
            if drops > 0 {
                self.net.stats.add(Stat::EarlyDrop, drops);
                return true;
            }
        }
        false
    }
}
