//! The stress scenarios as one program. The driver builds it, asks for `list` and runs each in a process of its own.

mod harness;
mod litmus;
mod map;
mod pool;
mod table;

use harness::{Expect, Scenario};

const ALL: &[&[Scenario]] = &[
    litmus::SCENARIOS,
    table::SCENARIOS,
    pool::SCENARIOS,
    map::SCENARIOS,
];

/// `list`, or `run NAME SECONDS [mutant NAME]`.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let all = || ALL.iter().copied().flatten();
    match args.as_slice() {
        ["list"] => {
            for s in all() {
                let kind = match s.expect {
                    Expect::Passes => "passes",
                    Expect::Caught => "caught",
                };
                let (outcomes, kills) = (s.outcomes.join(","), s.kills.join(","));
                println!(
                    "@model\t{}\t{kind}\t{}\t0\t0\t{outcomes}\t{kills}\t{}",
                    s.name, s.threads, s.proves
                );
            }
        }
        ["run", name, seconds, rest @ ..] => {
            let scenario = all().find(|s| s.name == *name).expect("no such scenario");
            let mutant = match rest {
                [] => None,
                // Lives as long as the process: the checking build keeps its address.
                ["mutant", m] => Some(&*Box::leak((*m).to_owned().into_boxed_str())),
                _ => panic!("unknown options {rest:?}"),
            };
            harness::run(
                scenario,
                seconds.parse().expect("a number of seconds"),
                mutant,
            );
        }
        _ => panic!("usage: list | run NAME SECONDS [mutant NAME]"),
    }
}
