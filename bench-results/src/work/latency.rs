//! Latency on a fixed schedule: an operation that is due while an earlier one still runs has waited, and that counts.

use super::{Sample, Spec};
use crate::contender::{Map, Session};
use crate::measure::{Outcome, share, timed};
use crate::workload::{permuted, present, value_of};
use core::hint::{black_box, spin_loop};
use core::time::Duration;
use hdrhistogram::Histogram;
use std::sync::Mutex;
use std::time::Instant;

/// The contender that does nothing: what the machine itself adds.
pub const MACHINE: &str = "machine";

/// Entries that are there from the beginning, for the readers.
const EVER: usize = 1000;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("valid bounds")
}

/// Runs `step(i)` for each `i` at its time: latencies from when it was due.
fn on_schedule(count: usize, rate: u32, mut step: impl FnMut(usize)) -> Histogram<u64> {
    let mut h = histogram();
    let every = Duration::from_secs(1) / rate;
    let start = Instant::now();
    let mut due = Duration::ZERO;
    for i in 0..count {
        while start.elapsed() < due {
            spin_loop();
        }
        step(i);
        let late = start.elapsed().saturating_sub(due);
        h.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
        due += every;
    }
    h
}

/// Both kinds of threads, `writers` first.
fn both(writers: usize, readers: usize, work: impl Fn(usize) -> Histogram<u64> + Sync) -> Sample {
    let all = [Mutex::new(histogram()), Mutex::new(histogram())];
    let time = timed(writers + readers, |t| {
        let h = work(t);
        let role = usize::from(t >= writers);
        *all[role].lock().expect("no thread failed") += h;
        Nothing
    });
    let mut sample = Sample::one("seconds", time.as_secs_f64());
    for (h, role) in all.iter().zip(["insert", "lookup"]) {
        let h = h.lock().expect("no thread failed");
        if h.is_empty() {
            continue;
        }
        for (name, q) in [
            ("p50", 0.5),
            ("p99", 0.99),
            ("p99_9", 0.999),
            ("p99_99", 0.9999),
        ] {
            sample
                .values
                .insert(format!("{role}_{name}"), h.value_at_quantile(q) as f64);
        }
        sample.values.insert(format!("{role}_max"), h.max() as f64);
        let curve = (0..=24)
            .map(|i| {
                // One point per quarter of a decade of rarity.
                let rarity = 10f64.powf(f64::from(i) / 4.0);
                (rarity, h.value_at_quantile(1.0 - 1.0 / rarity) as f64)
            })
            .filter(|p| p.0 <= h.len() as f64)
            .collect();
        sample.series.insert(format!("{role}_ns"), curve);
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
    let sample = both(spec.threads, readers, |t| {
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
    let expected = keys.iter().fold((0..EVER as u64).sum(), |a: u64, &k| {
        a.wrapping_add(value_of(k))
    });
    assert_eq!(
        map.session().sum(),
        expected,
        "{}: an insertion was lost",
        M::NAME
    );
    sample
}

fn ever(i: u64) -> u64 {
    present((1 << 40) + i)
}

/// The same schedule with nothing to do.
pub(super) fn machine(spec: &Spec, rate: u32, readers: usize) -> Sample {
    both(spec.threads, readers, |_| {
        on_schedule(spec.entries / spec.threads, rate, |i| {
            black_box(i);
        })
    })
}
