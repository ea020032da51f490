//! How a stress scenario runs.
//!
//! Its threads work until its time is over, on the table's own atomics, with pauses injected between the
//! loads that matter. Without those pauses two of the seeded bugs were never met. A scenario in which no thread
//! gets on any more fails as well: some bugs show as a wait that never ends.

use crate::scenario::Scenario;
use crate::verdict::COUNT;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

/// A running scenario.
pub struct Run {
    until: Instant,
    stop: AtomicBool,
}

/// How long nothing may happen.
const STALL: Duration = Duration::from_secs(15);

impl Run {
    /// Counts an operation; false when time is over.
    pub fn go_on(&self) -> bool {
        COUNT.fetch_add(1, Relaxed);
        !self.stop.load(Relaxed)
    }

    /// A number from a thread's own sequence, below `bound`.
    pub fn random(state: &mut u64, bound: u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        ((u128::from(*state) * u128::from(bound)) >> 64) as u64
    }

    /// Runs `threads` threads with their numbers until all have ended.
    pub fn threads(&self, threads: usize, work: impl Fn(usize) + Sync) {
        std::thread::scope(|s| {
            for i in 0..threads {
                let work = &work;
                s.spawn(move || work(i));
            }
        });
    }

    /// The seed of thread `i`'s sequence, different in each run.
    pub fn seed(i: usize) -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = now.map_or(1, |d| d.as_nanos() as u64);
        (nanos ^ (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1
    }
}

/// Runs a scenario for `time`.
pub fn run(scenario: &'static Scenario, time: Duration) {
    let run = Run {
        until: Instant::now() + time,
        stop: AtomicBool::new(false),
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| watch(&run, &done));
        (scenario.body)(&run);
        done.store(true, Relaxed);
    });
}

/// Ends the run when its time is over, and fails it when nothing moves any more.
fn watch(run: &Run, done: &AtomicBool) {
    let mut last = (0, Instant::now());
    while !done.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        let now = Instant::now();
        if now >= run.until {
            run.stop.store(true, Relaxed);
        }
        let operations = COUNT.load(Relaxed);
        if operations != last.0 {
            last = (operations, now);
        } else if now - last.1 > STALL {
            panic!("no thread gets on any more");
        }
    }
}
