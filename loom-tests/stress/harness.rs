//! What every stress scenario is made of, and how one is run.
//!
//! A scenario runs its threads until its time is over, on the table's own atomics, with pauses injected between the
//! loads that matter. Without those pauses two of the seeded bugs were never met. A scenario in which no thread
//! gets on any more fails as well: some bugs show as a wait that never ends.

use std::collections::BTreeMap;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// What a run of a scenario must come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Passes,
    /// Wrong on purpose: it has to be noticed.
    Caught,
}

pub struct Scenario {
    /// Name, with the file as its first part.
    pub name: &'static str,
    /// What holds at every moment, in one line.
    pub proves: &'static str,
    /// Threads that work.
    pub threads: usize,
    /// Outcomes all of which must be seen; no other may be noted.
    pub outcomes: &'static [&'static str],
    /// Seeded bugs that must be caught.
    pub kills: &'static [&'static str],
    pub expect: Expect,
    pub body: fn(&Run),
}

impl Scenario {
    pub const DEFAULT: Scenario = Scenario {
        name: "",
        proves: "",
        threads: 3,
        outcomes: &[],
        kills: &[],
        expect: Expect::Passes,
        body: |_| {},
    };
}

/// A running scenario.
pub struct Run {
    until: Instant,
    stop: AtomicBool,
}

static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static SEEN: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// How long nothing may happen.
const STALL: Duration = Duration::from_secs(15);

impl Run {
    /// Counts an operation; false when time is over.
    pub fn go_on(&self) -> bool {
        OPERATIONS.fetch_add(1, Relaxed);
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

/// Notes an outcome.
pub fn saw(outcome: &'static str) {
    *SEEN
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .entry(outcome)
        .or_default() += 1;
}

/// Runs a scenario and ends the process: 0 passed, 1 failed.
pub fn run(scenario: &'static Scenario, seconds: u64, mutant: Option<&'static str>) -> ! {
    let start = Instant::now();
    std::panic::set_hook(Box::new(move |info| {
        let what = info.payload();
        let text = what
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| what.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without text");
        fail(start, text);
    }));
    nulls::checking::set_mutant(mutant);
    let run = Run {
        until: start + Duration::from_secs(seconds),
        stop: AtomicBool::new(false),
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| watch(&run, &done, start));
        (scenario.body)(&run);
        done.store(true, Relaxed);
    });
    // Outcomes are for the code as shipped: a bug is caught by what it breaks, not by what was not seen.
    if mutant.is_some() {
        report(start);
        exit(0);
    }
    let seen = SEEN.lock().unwrap_or_else(|e| e.into_inner()).clone();
    for o in scenario.outcomes.iter().filter(|o| !seen.contains_key(*o)) {
        println!("@unseen\t{o}");
    }
    for o in seen.keys().filter(|o| !scenario.outcomes.contains(o)) {
        println!("@undeclared\t{o}");
    }
    let ok = scenario.outcomes.iter().all(|o| seen.contains_key(o))
        && seen.len() == scenario.outcomes.len();
    report(start);
    exit(i32::from(!ok));
}

/// Ends the run when its time is over, and fails it when nothing moves any more.
fn watch(run: &Run, done: &AtomicBool, start: Instant) {
    let mut last = (0, Instant::now());
    while !done.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        let now = Instant::now();
        if now >= run.until {
            run.stop.store(true, Relaxed);
        }
        let operations = OPERATIONS.load(Relaxed);
        if operations != last.0 {
            last = (operations, now);
        } else if now - last.1 > STALL {
            fail(start, "no thread gets on any more");
        }
    }
}

/// Reports a failure, once, and ends the process.
fn fail(start: Instant, text: &str) -> ! {
    static FAILED: AtomicBool = AtomicBool::new(false);
    if FAILED.swap(true, SeqCst) {
        // Another thread is reporting; it ends this one too.
        loop {
            std::thread::park();
        }
    }
    println!("@panic\t{}\tstress", text.replace(['\n', '\t'], " "));
    report(start);
    exit(1);
}

fn report(start: Instant) {
    let seen: Vec<String> = SEEN
        .try_lock()
        .map(|s| s.iter().map(|(k, v)| format!("{k}={v}")).collect())
        .unwrap_or_default();
    println!(
        "@result\t{}\t{}\t{}\t{}",
        OPERATIONS.load(Relaxed),
        start.elapsed().as_millis(),
        nulls::checking::mutant_hits(),
        seen.join(",")
    );
}
