//! What every model is made of, and how one is run.
//!
//! A model passes when no execution fails, at least `floor` executions were made, and every outcome in `outcomes` was
//! seen. The last two guard against a model that is true because it explores nothing.

use crate::verdict::{self, COUNT, Expect, HITS};
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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

// As what `verdict` holds, outside of the model.
static MUTANT: Mutex<Option<&'static str>> = Mutex::new(None);
static ARMED: AtomicBool = AtomicBool::new(false);
static REACH: AtomicBool = AtomicBool::new(false);

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
pub fn run(model: &'static Model, options: Options) -> ! {
    let start = Instant::now();
    verdict::panics_end_the_run(start);

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
        let n = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
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
    let mut ok = verdict::saw_what_it_should(model.outcomes);
    // A mutant may well end an exploration early without being wrong: the floor is for the code as shipped.
    let n = COUNT.load(Ordering::Relaxed);
    if n < model.floor && options.mutant.is_none() {
        println!("@floor\t{n} executions, at least {} expected", model.floor);
        ok = false;
    }
    verdict::report(start);
    exit(i32::from(!ok));
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
