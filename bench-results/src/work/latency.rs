//! Latency on a fixed schedule: an operation that is due while an earlier one still runs has waited, and that counts.
//!
//! Two things are told apart. The *latency* of an operation runs from when it was due, so that everything that had to wait behind a stall shows it; on a schedule
//! that is too dense for the map it grows with the backlog, and says little of any single operation. The *longest* operation is the longest time between the
//! readings of the clock right before and right after one. The clock is read all the while an operation is waited for, and the longest gap between two of
//! those readings is what the machine did by itself, in the same process and time.

use super::times::{Times, nanoseconds};
use super::{Sample, Spec};
use crate::contender::{Map, Session};
use crate::measure::{Outcome, nothing_is_lost, share, timed};
use crate::workload::{permuted, present, value_of};
use core::hint::{black_box, spin_loop};
use core::time::Duration;
use std::sync::Mutex;
use std::time::Instant;

/// The contender that does nothing: what the machine itself adds.
pub const MACHINE: &str = "machine";

/// Entries that are there from the beginning, for the readers.
const EVER: usize = 1000;

/// What was noted on a schedule.
struct Kept {
    /// From when operations were due to their ends.
    latency: Times,
    /// The longest operation.
    longest: Duration,
    /// The longest gap between two readings of the clock with no operation between them.
    idle: Duration,
}

impl Kept {
    fn new() -> Self {
        Self {
            latency: Times::new(),
            longest: Duration::ZERO,
            idle: Duration::ZERO,
        }
    }

    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.longest = self.longest.max(other.longest);
        self.idle = self.idle.max(other.idle);
    }
}

/// Runs `step(i)` for each `i` at its time.
fn on_schedule(count: usize, rate: u32, mut step: impl FnMut(usize)) -> Kept {
    let mut kept = Kept::new();
    let every = Duration::from_secs(1) / rate;
    let start = Instant::now();
    let (mut due, mut last) = (Duration::ZERO, Duration::ZERO);
    for i in 0..count {
        loop {
            let now = start.elapsed();
            kept.idle = kept.idle.max(now - last);
            last = now;
            if now >= due {
                break;
            }
            spin_loop();
        }
        step(i);
        let end = start.elapsed();
        kept.longest = kept.longest.max(end - last);
        last = end;
        kept.latency.note(end.saturating_sub(due));
        due += every;
    }
    kept
}

/// Both kinds of threads, `writers` first.
fn both(
    writers: usize,
    readers: usize,
    work: impl Fn(usize) -> Kept + Sync,
) -> (Duration, [Kept; 2]) {
    let all = [Mutex::new(Kept::new()), Mutex::new(Kept::new())];
    let time = timed(writers + readers, |t| {
        let kept = work(t);
        let role = usize::from(t >= writers);
        all[role].lock().expect("no thread failed").add(&kept);
        Nothing
    });
    (
        time,
        all.map(|kept| kept.into_inner().expect("no thread failed")),
    )
}

fn sample((time, kept): (Duration, [Kept; 2]), readers: usize) -> Sample {
    let mut sample = Sample::one("seconds", time.as_secs_f64());
    let roles = ["insert", "lookup"].into_iter().take(1 + readers.min(1));
    for (kept, role) in kept.iter().zip(roles) {
        kept.latency.tell(role, &mut sample);
        for (name, time) in [("longest", kept.longest), ("idle_longest", kept.idle)] {
            sample
                .values
                .insert(format!("{role}_{name}"), nanoseconds(time) as f64);
        }
    }
    sample
}

struct Nothing;

impl Outcome for Nothing {
    fn check(&self) {}
}

/// A map that grows, its insertions and look-ups on schedule.
pub(super) fn run<M: Map>(spec: &Spec, rate: u32, readers: usize) -> Sample {
    let map = M::empty();
    let keys = permuted(spec.entries, 1);
    {
        let session = map.session();
        for i in 0..EVER as u64 {
            session.insert(ever(i), i);
        }
    }
    let kept = both(spec.threads, readers, |t| {
        let session = map.session();
        if t < spec.threads {
            let mine = share(&keys, t, spec.threads);
            on_schedule(mine.len(), rate, |i| {
                let old = session.insert(mine[i], value_of(mine[i]));
                assert_eq!(old, None, "{}: a key twice", M::NAME);
            })
        } else {
            on_schedule(spec.entries / spec.threads, rate, |i| {
                let i = (i % EVER) as u64;
                assert_eq!(session.get(&ever(i)), Some(i), "{}: a false miss", M::NAME);
            })
        }
    });
    nothing_is_lost(&map, &keys, (0..EVER as u64).sum());
    super::lookup::spent(map);
    sample(kept, readers)
}

fn ever(i: u64) -> u64 {
    present((1 << 40) + i)
}

/// The same schedule with nothing to do. Any gap between two readings of the clock is a stall of the machine, wherever it falls.
pub(super) fn machine(spec: &Spec, rate: u32, readers: usize) -> Sample {
    let (time, mut kept) = both(spec.threads, readers, |_| {
        on_schedule(spec.entries / spec.threads, rate, |i| {
            black_box(i);
        })
    });
    for kept in &mut kept {
        kept.longest = kept.longest.max(kept.idle);
    }
    sample((time, kept), readers)
}
