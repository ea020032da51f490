//! What every model is made of, and how one is run.
//!
//! A model passes when no execution fails, at least `floor` executions were made, and every outcome in `outcomes` was
//! seen. The last two guard against a model that is true because it explores nothing.

use std::collections::BTreeMap;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What a run of a model must come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No execution fails.
    Passes,
    /// Some execution fails: the model is wrong on purpose, and the checker has to notice.
    Caught,
}

/// One model: a small program on the shipped code, explored in all its executions.
pub struct Model {
    /// Name, with the file as its first part.
    pub name: &'static str,
    /// What holds in every execution, in one line.
    pub proves: &'static str,
    /// Threads, the first one included.
    pub threads: usize,
    /// Preemption bound of the mode `fast`: 2, unless that takes minutes.
    pub fast_bound: usize,
    /// Preemption bound of the mode `full`.
    pub full_bound: usize,
    /// Longest execution, in branching points. Reaching it is a failure.
    pub max_branches: usize,
    /// Seconds until the driver gives up, which is a failure.
    pub limit: u64,
    /// Least number of executions in the mode `fast`.
    pub floor: u64,
    /// Outcomes all of which must be seen; no other may be noted.
    pub outcomes: &'static [&'static str],
    /// Mutants under which this model must fail.
    pub kills: &'static [&'static str],
    pub expect: Expect,
    /// One execution.
    pub body: fn(),
}

impl Model {
    /// Defaults for the rest of a model's fields.
    pub const DEFAULT: Model = Model {
        name: "",
        proves: "",
        threads: 2,
        fast_bound: 2,
        full_bound: 3,
        max_branches: 2_000,
        limit: 120,
        floor: 2,
        outcomes: &[],
        kills: &[],
        expect: Expect::Passes,
        body: || {},
    };
}

// All of this is outside of the model: plain `std`, no branching point.
static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
static SEEN: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());
static MUTANT: Mutex<Option<&'static str>> = Mutex::new(None);
static ARMED: AtomicBool = AtomicBool::new(false);
static HITS: AtomicUsize = AtomicUsize::new(0);
static QUIET: AtomicBool = AtomicBool::new(false);
static REACH: AtomicBool = AtomicBool::new(false);

/// Notes an outcome of the running execution.
pub fn saw(outcome: &'static str) {
    *SEEN
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .entry(outcome)
        .or_default() += 1;
}

/// Options of a run.
pub struct Options {
    pub bound: Option<usize>,
    pub mutant: Option<&'static str>,
    /// Tell which mutants are met.
    pub reach: bool,
    /// Executions to print step by step.
    pub trace: Option<u64>,
}

/// Runs a model and ends the process: 0 passed, 1 failed.
///
/// The first panic is reported from the hook and ends the process there. Unwinding through the checker would run the
/// destructors of a half-finished execution and could abort with a second, misleading panic.
pub fn run(model: &'static Model, options: Options) -> ! {
    let start = Instant::now();
    let mutated = options.mutant.is_some();
    std::panic::set_hook(Box::new(move |info| {
        if QUIET.swap(true, Ordering::SeqCst) {
            return;
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

    *MUTANT.lock().unwrap_or_else(|e| e.into_inner()) = options.mutant;
    REACH.store(options.reach, Ordering::SeqCst);
    let mut builder = loom::model::Builder::new();
    builder.max_threads = model.threads;
    builder.max_branches = model.max_branches;
    builder.preemption_bound = options.bound;
    // Their ends look like passes, so none is used; the driver's time limit is a failure.
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.checkpoint_file = None;
    builder.location = options.trace.is_some();
    builder.log = options.trace.is_some();
    let trace = options.trace;
    builder.check(move || {
        let n = EXECUTIONS.fetch_add(1, Ordering::Relaxed) + 1;
        if n.is_multiple_of(1000) {
            println!("@progress\t{n}");
        }
        if trace == Some(n) {
            trace_from_here();
        }
        disarm();
        (model.body)();
    });

    if options.reach {
        println!(
            "@reached\t{}",
            nulls::checking::recorded_mutants().join(",")
        );
    }
    let seen = SEEN.lock().unwrap_or_else(|e| e.into_inner()).clone();
    let mut ok = true;
    for o in model.outcomes.iter().filter(|o| !seen.contains_key(*o)) {
        println!("@unseen\t{o}");
        ok = false;
    }
    for o in seen.keys().filter(|o| !model.outcomes.contains(o)) {
        println!("@undeclared\t{o}");
        ok = false;
    }
    // A mutant may well end an exploration early without being wrong: the floor is for the code as shipped.
    let n = EXECUTIONS.load(Ordering::Relaxed);
    if n < model.floor && !mutated {
        println!("@floor\t{n} executions, at least {} expected", model.floor);
        ok = false;
    }
    report(start);
    exit(i32::from(!ok));
}

fn report(start: Instant) {
    let seen: Vec<String> = SEEN
        .try_lock()
        .map(|s| s.iter().map(|(k, v)| format!("{k}={v}")).collect())
        .unwrap_or_default();
    println!(
        "@result\t{}\t{}\t{}\t{}",
        EXECUTIONS.load(Ordering::Relaxed),
        start.elapsed().as_millis(),
        HITS.load(Ordering::Relaxed) + nulls::checking::mutant_hits(),
        seen.join(",")
    );
}

/// Prints the checker's own log from now on.
fn trace_from_here() {
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .without_time()
        .with_target(false)
        .with_writer(std::io::stderr)
        .finish();
    // Fails only when a log is set already, which then does the same.
    let _ = tracing_subscriber::util::SubscriberInitExt::try_init(log);
}

/// Switches the mutant off until the first thread is spawned: the world that a model begins with is made correctly.
fn disarm() {
    HITS.fetch_add(nulls::checking::mutant_hits(), Ordering::Relaxed);
    nulls::checking::set_mutant(None);
    nulls::checking::record_mutants(false);
    ARMED.store(false, Ordering::Relaxed);
}

/// Spawns a thread of the model.
pub fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> loom::thread::JoinHandle<T> {
    if !ARMED.swap(true, Ordering::Relaxed) {
        nulls::checking::set_mutant(*MUTANT.lock().unwrap_or_else(|e| e.into_inner()));
        nulls::checking::record_mutants(REACH.load(Ordering::Relaxed));
    }
    loom::thread::spawn(f)
}
