//! The models as one program. The driver builds it, asks for `list` and runs each model in a process of its own.

mod conntrack;
mod entries;
mod finish;
mod harness;
mod inline;
mod kernel;
mod latch;
mod litmus;
mod map;
mod pool;
mod rcu;
mod resize;
mod steps;
mod table;
#[path = "../shared/unspread.rs"]
mod unspread;
#[path = "../shared/verdict.rs"]
mod verdict;
mod walk;

use harness::{Model, Options};

/// The models of the kernel's algorithms.
const KERNEL: &[&[&[Model]]] = &[
    &kernel::chain::MODELS,
    &kernel::life::MODELS,
    &kernel::owners::MODELS,
    &kernel::resize::MODELS,
    &kernel::sequential::MODELS,
];

/// The litmus programs, and the models of the shipped code.
const SHIPPED: &[&[Model]] = &[
    litmus::MODELS,
    rcu::MODELS,
    pool::MODELS,
    latch::MODELS,
    walk::MODELS,
    resize::MODELS,
    finish::MODELS,
    entries::MODELS,
    steps::MODELS,
    map::MODELS,
    inline::MODELS,
    conntrack::MODELS,
];

fn all() -> impl Iterator<Item = &'static Model> {
    let kernel = KERNEL.iter().copied().flatten().copied().flatten();
    SHIPPED.iter().copied().flatten().chain(kernel)
}

fn list() {
    for m in all() {
        println!(
            "@model\t{}\t{}\t{}\t{}/{}\t{}\t{}\t{}\t{}",
            m.name,
            m.expect.name(),
            m.threads,
            m.fast_bound,
            m.full_bound,
            m.limit,
            m.outcomes.join(","),
            m.kills.join(","),
            m.proves
        );
    }
    // What is relaxed already cannot be weakened.
    for (name, order) in nulls::checking::ORDERINGS {
        if *order != std::sync::atomic::Ordering::Relaxed {
            println!("@mutant\t{name}");
        }
    }
}

/// `list`, or `run NAME BOUND|none [mutant NAME] [reach yes] [trace N]`.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (name, bound, mut rest) = match args.as_slice() {
        ["list"] => return list(),
        ["run", name, bound, rest @ ..] => (*name, *bound, rest),
        _ => panic!("usage: list | run NAME BOUND|none [mutant NAME] [reach yes] [trace N]"),
    };
    let model = all().find(|m| m.name == name).expect("no such model");
    let mut options = Options {
        bound: (bound != "none").then(|| bound.parse().expect("a bound is a number or none")),
        mutant: None,
        reach: false,
        trace: None,
    };
    while let [key, value, more @ ..] = rest {
        match *key {
            "mutant" => options.mutant = Some(verdict::mutant(value)),
            "reach" => options.reach = *value == "yes",
            "trace" => options.trace = Some(value.parse().expect("an execution's number")),
            other => panic!("unknown option {other}"),
        }
        rest = more;
    }
    harness::run(model, options)
}
