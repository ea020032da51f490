//! What the three checking programs tell the driver, and how: lines that begin with `@`, with tabs between their fields.
//!
//! All of this is outside of what is checked: plain `std`, no branching point.

use std::collections::BTreeMap;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::time::Instant;

/// What a run must come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing fails.
    Passes,
    /// Wrong on purpose: the checker has to notice.
    Caught,
}

impl Expect {
    /// As `list` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Caught => "caught",
        }
    }
}

/// Executions, operations or schedules: what the program counts.
pub static COUNT: AtomicU64 = AtomicU64::new(0);
/// How often the mutant was met, as far as the table does not count it any more: switching it begins a new count.
pub static HITS: AtomicUsize = AtomicUsize::new(0);
static SEEN: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Notes an outcome.
pub fn saw(outcome: &'static str) {
    *SEEN
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .entry(outcome)
        .or_default() += 1;
}

/// A mutant's name for [`nulls::checking::set_mutant`], which keeps its address: it lives as long as the process.
pub fn mutant(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

/// Makes the first panic, in whatever thread, the end of the process, reported from the hook. Unwinding through a checker
/// would run the destructors of a half-finished execution and could abort with a second, misleading panic.
pub fn panics_end_the_run(start: Instant) {
    static FAILED: AtomicBool = AtomicBool::new(false);
    std::panic::set_hook(Box::new(move |info| {
        if FAILED.swap(true, SeqCst) {
            // Another thread is reporting; it ends this one too.
            loop {
                std::thread::park();
            }
        }
        let what = info.payload();
        let text = what
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| what.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without text");
        let place = info
            .location()
            .map_or(String::new(), |l| format!("{}:{}", l.file(), l.line()));
        // From the package's folder on: `table/src/…`, `models/…`.
        let from = place.rmatch_indices('/').nth(2).map_or(0, |(at, _)| at + 1);
        let place = &place[from..];
        println!("@panic\t{}\t{place}", text.replace(['\n', '\t'], " "));
        report(start);
        exit(1);
    }));
}

/// Whether all of `outcomes` were seen and no other; says so if not.
pub fn saw_what_it_should(outcomes: &[&'static str]) -> bool {
    let seen = SEEN.lock().unwrap_or_else(|e| e.into_inner());
    let mut ok = true;
    for o in outcomes.iter().filter(|o| !seen.contains_key(*o)) {
        println!("@unseen\t{o}");
        ok = false;
    }
    for o in seen.keys().filter(|o| !outcomes.contains(o)) {
        println!("@undeclared\t{o}");
        ok = false;
    }
    ok
}

/// The last line of a run.
pub fn report(start: Instant) {
    // A thread may have failed while it held the lock.
    let seen: Vec<String> = SEEN
        .try_lock()
        .map(|s| s.iter().map(|(k, v)| format!("{k}={v}")).collect())
        .unwrap_or_default();
    println!(
        "@result\t{}\t{}\t{}\t{}",
        COUNT.load(Relaxed),
        start.elapsed().as_millis(),
        HITS.load(Relaxed) + nulls::checking::mutant_hits(),
        seen.join(",")
    );
}
