//! Scenarios too large for the models, under random schedules: the table on shuttle's atomics.
//!
//! Every access to an atomic is a place where another thread may run. All of them are in one order, so no ordering is tested
//! here; what is tested is the algorithm, with more threads, more operations, and longer chains of resizes than a model can
//! afford. Half of the time schedules are uniformly random, half of it priorities change at three random places (PCT).

#[path = "../../table/examples/linearizability/history.rs"]
#[allow(dead_code, reason = "an example shows more than one user needs")]
mod history;
mod scenarios;

use std::collections::BTreeMap;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// A scenario: what holds in every schedule.
pub struct Scenario {
    pub name: &'static str,
    pub proves: &'static str,
    pub threads: usize,
    pub outcomes: &'static [&'static str],
    /// Seeded bugs that must be caught.
    pub kills: &'static [&'static str],
    /// One execution.
    pub body: fn(),
}

static SCHEDULES: AtomicU64 = AtomicU64::new(0);
static SEEN: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Notes an outcome.
pub fn saw(outcome: &'static str) {
    *SEEN
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .entry(outcome)
        .or_default() += 1;
}

/// Schedules between two looks at the time.
const BATCH: usize = 50;

fn run(s: &'static Scenario, time: Duration, mutant: Option<&'static str>) -> ! {
    static QUIET: AtomicBool = AtomicBool::new(false);
    let start = Instant::now();
    std::panic::set_hook(Box::new(move |info| {
        if QUIET.swap(true, SeqCst) {
            return;
        }
        let what = info.payload();
        let text = what
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| what.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without text");
        println!("@panic\t{}\tschedules", text.replace(['\n', '\t'], " "));
        report(start);
        exit(1);
    }));
    nulls::checking::set_mutant(mutant);
    let body = move || {
        SCHEDULES.fetch_add(1, Relaxed);
        (s.body)();
    };
    let mut pct = false;
    while start.elapsed() < time {
        if pct {
            shuttle::check_pct(body, BATCH, 3);
        } else {
            shuttle::check_random(body, BATCH);
        }
        pct = !pct;
    }
    if mutant.is_some() {
        report(start);
        exit(0);
    }
    let seen = SEEN.lock().unwrap_or_else(|e| e.into_inner()).clone();
    for o in s.outcomes.iter().filter(|o| !seen.contains_key(*o)) {
        println!("@unseen\t{o}");
    }
    for o in seen.keys().filter(|o| !s.outcomes.contains(o)) {
        println!("@undeclared\t{o}");
    }
    let ok = seen.len() == s.outcomes.len() && s.outcomes.iter().all(|o| seen.contains_key(o));
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
        SCHEDULES.load(Relaxed),
        start.elapsed().as_millis(),
        nulls::checking::mutant_hits(),
        seen.join(",")
    );
}

/// `list`, or `run NAME SECONDS [mutant NAME]`.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["list"] => {
            for s in scenarios::ALL {
                println!(
                    "@model\t{}\tpasses\t{}\t0\t0\t{}\t{}\t{}",
                    s.name,
                    s.threads,
                    s.outcomes.join(","),
                    s.kills.join(","),
                    s.proves
                );
            }
        }
        ["run", name, seconds, rest @ ..] => {
            let s = scenarios::ALL
                .iter()
                .find(|s| s.name == *name)
                .expect("no such scenario");
            let mutant = match rest {
                [] => None,
                // Lives as long as the process: the checking build keeps its address.
                ["mutant", m] => Some(&*Box::leak((*m).to_owned().into_boxed_str())),
                _ => panic!("unknown options {rest:?}"),
            };
            let seconds = seconds.parse().expect("a number of seconds");
            run(s, Duration::from_secs(seconds), mutant)
        }
        _ => panic!("usage: list | run NAME SECONDS [mutant NAME]"),
    }
}
