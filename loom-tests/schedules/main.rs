//! Scenarios too large for the models, under random schedules: the table on shuttle's atomics.
//!
//! Every access to an atomic is a place where another thread may run. All of them are in one order, so no ordering is tested
//! here; what is tested is the algorithm, with more threads, more operations, and longer chains of resizes than a model can
//! afford. Half of the time schedules are uniformly random, half of it priorities change at three random places (PCT).

#[path = "../../table/examples/linearizability/history.rs"]
#[allow(dead_code, reason = "an example shows more than one user needs")]
mod history;
#[path = "../shared/key.rs"]
mod key;
mod litmus;
#[path = "../shared/scenario.rs"]
mod scenario;
mod scenarios;
#[path = "../shared/unspread.rs"]
mod unspread;
#[path = "../shared/verdict.rs"]
mod verdict;

use scenario::Scenario;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// One execution of a scenario.
type Body = fn();
const NOTHING: Body = || {};

/// Schedules between two looks at the time.
const BATCH: usize = 50;

/// Executes a scenario under one schedule after the other for `time`.
fn run(scenario: &'static Scenario, time: Duration) {
    let start = Instant::now();
    let body = move || {
        verdict::COUNT.fetch_add(1, Relaxed);
        (scenario.body)();
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
}

fn main() {
    scenario::main(&[litmus::SCENARIOS, scenarios::ALL], run);
}
