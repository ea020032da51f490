//! What a scenario of the programs `stress` and `schedules` is made of, and how one is run.

use crate::verdict::{self, Expect};
use std::process::exit;
use std::time::{Duration, Instant};

pub struct Scenario {
    /// Name, with what is under test as its first part.
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
    pub body: crate::Body,
}

impl Scenario {
    /// Defaults for the rest of a scenario's fields.
    pub const DEFAULT: Scenario = Scenario {
        name: "",
        proves: "",
        threads: 3,
        outcomes: &[],
        kills: &[],
        expect: Expect::Passes,
        body: crate::NOTHING,
    };
}

/// Does what the driver asks for: `list`, or `run NAME SECONDS [mutant NAME]`, which ends the process with 0 if the scenario
/// passed and 1 if it failed. `work` runs a scenario's body for so long.
pub fn main(all: &[&'static [Scenario]], work: fn(&'static Scenario, Duration)) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut all = all.iter().copied().flatten();
    let (name, seconds, mutant) = match args.as_slice() {
        ["list"] => {
            for s in all {
                println!(
                    "@model\t{}\t{}\t{}\t0\t0\t{}\t{}\t{}",
                    s.name,
                    s.expect.name(),
                    s.threads,
                    s.outcomes.join(","),
                    s.kills.join(","),
                    s.proves
                );
            }
            return;
        }
        ["run", name, seconds] => (*name, seconds, None),
        ["run", name, seconds, "mutant", mutant] => (*name, seconds, Some(verdict::mutant(mutant))),
        _ => panic!("usage: list | run NAME SECONDS [mutant NAME]"),
    };
    let scenario = all.find(|s| s.name == name).expect("no such scenario");
    let seconds = seconds.parse().expect("a number of seconds");
    let start = Instant::now();
    verdict::panics_end_the_run(start);
    nulls::checking::set_mutant(mutant);
    work(scenario, Duration::from_secs(seconds));
    // Outcomes are for the code as shipped: a bug is caught by what it breaks, not by what was not seen.
    let ok = mutant.is_some() || verdict::saw_what_it_should(scenario.outcomes);
    verdict::report(start);
    exit(i32::from(!ok));
}
