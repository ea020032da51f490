//! The stress scenarios as one program. The driver builds it, asks for `list` and runs each in a process of its own.

mod harness;
mod inline;
#[path = "../shared/key.rs"]
mod key;
mod litmus;
mod map;
mod pool;
#[path = "../shared/scenario.rs"]
mod scenario;
mod table;
#[path = "../shared/unspread.rs"]
mod unspread;
#[path = "../shared/verdict.rs"]
mod verdict;

/// A scenario's threads, until its time is over.
type Body = fn(&harness::Run);
const NOTHING: Body = |_| {};

fn main() {
    scenario::main(
        &[
            litmus::SCENARIOS,
            table::SCENARIOS,
            pool::SCENARIOS,
            map::SCENARIOS,
            inline::SCENARIOS,
        ],
        harness::run,
    );
}
