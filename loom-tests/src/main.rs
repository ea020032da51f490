//! Command line of the driver; see the library for what the modes do.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use loom_tests::models::{self, Bound};
use loom_tests::{Options, Tally, mutants, stress, workspace};
use std::process::ExitCode;

/// Checks the concurrent code of the table as shipped: exhaustively in small models, and under stress.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Run the models with at most two preemptions.
    Fast(Common),
    /// Run the models with at most three preemptions, or as many as each can afford.
    Full {
        #[command(flatten)]
        common: Common,
        /// Preemptions for every model: a number, or `none` for no bound.
        #[arg(long, value_parser = parse_bound)]
        bound: Option<Bound>,
    },
    /// Run the self-test of the checker only.
    Selftest(Common),
    /// Switch seeded bugs on, one at a time: the models must fail.
    Mutants {
        #[command(flatten)]
        common: Common,
        /// Try every mutant on every model, not only until one of them catches it.
        #[arg(long, conflicts_with = "claimed")]
        all: bool,
        /// Try the mutants only that a model claims to catch.
        #[arg(long)]
        claimed: bool,
    },
    /// Run real threads with injected pauses, then again with each seeded bug, which must be caught.
    Stress {
        #[command(flatten)]
        common: Common,
        /// Seconds for each scenario on the code as shipped.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Seconds in which a seeded bug must be caught.
        #[arg(long, default_value_t = 30)]
        bug_seconds: u64,
    },
    /// Print every model and what it proves.
    List(Common),
    /// Print one execution of one model step by step.
    Trace {
        #[command(flatten)]
        common: Common,
        /// Number of the execution: for a failure, the number of executions in the table.
        #[arg(long)]
        execution: u64,
        /// Preemptions: a number, or `none` for no bound.
        #[arg(long, value_parser = parse_bound)]
        bound: Option<Bound>,
        /// A mutant to switch on.
        #[arg(long)]
        mutant: Option<String>,
    },
    /// Lint the models and the stress scenarios, which ordinary builds do not contain.
    Lint,
}

#[derive(Args)]
struct Common {
    /// Run the models whose names contain one of these; all of them if none is given.
    filters: Vec<String>,
    /// Runs at a time.
    #[arg(short, long, default_value_t = std::thread::available_parallelism().map_or(1, |n| n.get()))]
    jobs: usize,
    /// Use loom as published. The self-test then fails, which shows that it has power.
    #[arg(long)]
    stock: bool,
    /// Multiplies the time limit of every model.
    #[arg(long, default_value_t = 1.0)]
    patience: f64,
}

impl From<Common> for Options {
    fn from(c: Common) -> Self {
        Options {
            filters: c.filters,
            jobs: c.jobs,
            stock: c.stock,
            patience: c.patience.clamp(0.01, 1000.0),
        }
    }
}

fn parse_bound(text: &str) -> Result<Bound, String> {
    match text {
        "none" => Ok(Bound::None),
        n => n.parse().map(Bound::Preemptions).map_err(|e| e.to_string()),
    }
}

fn run(mode: Mode) -> Result<Option<Tally>> {
    match mode {
        Mode::Fast(c) => models::run(&c.into(), Bound::Fast).map(Some),
        Mode::Full { common, bound } => {
            models::run(&common.into(), bound.unwrap_or(Bound::Full)).map(Some)
        }
        Mode::Selftest(c) => models::only_self_test(&c.into()).map(Some),
        Mode::Mutants {
            common,
            all,
            claimed,
        } => {
            let extent = match (all, claimed) {
                (true, _) => mutants::Extent::All,
                (_, true) => mutants::Extent::Claimed,
                _ => mutants::Extent::UntilCaught,
            };
            mutants::run(&common.into(), extent).map(Some)
        }
        Mode::Stress {
            common,
            seconds,
            bug_seconds,
        } => stress::run(&common.into(), seconds, bug_seconds).map(Some),
        Mode::List(c) => models::list(&c.into()).map(|()| None),
        Mode::Trace {
            common,
            execution,
            bound,
            mutant,
        } => models::trace(
            &common.into(),
            bound.unwrap_or(Bound::Fast),
            execution,
            mutant.as_deref(),
        )
        .map(|()| None),
        Mode::Lint => {
            let ws = workspace::Workspace::locate()?;
            ws.lint(workspace::Flavour::Corrected)?;
            ws.lint(workspace::Flavour::Threads)?;
            Ok(None)
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().mode) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(tally)) => {
            println!("\n{tally}");
            if tally.failed == 0 && tally.passed > 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(2)
        }
    }
}
