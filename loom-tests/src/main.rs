//! Command line of the driver; see the library for what the modes do.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use loom_tests::models::{self, Bound};
use loom_tests::{Options, Tally, coverage, long, mutants, sanitizers, stress, workspace};
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
    /// Switch seeded bugs on, one at a time: the models must fail. Prints the kill matrix.
    #[command(alias = "mutants")]
    Matrix {
        #[command(flatten)]
        common: Common,
        /// Try every mutant on every model, not only until one of them catches it.
        #[arg(long, conflicts_with = "claimed")]
        all: bool,
        /// Try every claim of a model, and nothing else.
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
    /// Run random schedules of scenarios that are too large for the models.
    Shuttle {
        #[command(flatten)]
        common: Common,
        /// Seconds for each scenario and scheduler.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Run the stress scenarios under the sanitizers of the nightly compiler.
    Sanitizers {
        #[command(flatten)]
        common: Common,
        /// Seconds for each scenario and sanitizer.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Run everything for as long as told: models at their full bounds, the matrix, stress, histories, random schedules.
    Long {
        #[command(flatten)]
        common: Common,
        /// Minutes in all. What cannot be begun in time is listed as not run.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
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
    /// Lint the models and the stress scenarios, which ordinary builds do not contain, and the table that names a check for
    /// every unsafe block and every ordering.
    Lint,
    /// Compare that table with the sources, only.
    Coverage {
        /// Bring the table up to date as far as that can be done without thinking: lines without a check are to be filled in.
        #[arg(long)]
        write: bool,
    },
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
    /// Write the tables into this package's README too.
    #[arg(long)]
    write: bool,
}

impl From<Common> for Options {
    fn from(c: Common) -> Self {
        Options {
            filters: c.filters,
            jobs: c.jobs,
            stock: c.stock,
            patience: c.patience.clamp(0.01, 1000.0),
            write: c.write,
            deadline: None,
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
        Mode::Matrix {
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
        Mode::Shuttle { common, seconds } => stress::shuttle(&common.into(), seconds).map(Some),
        Mode::Sanitizers { common, seconds } => sanitizers::run(&common.into(), seconds).map(Some),
        Mode::Long { common, minutes } => long::run(&common.into(), minutes).map(Some),
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
            ws.lint(workspace::Flavour::Shuttle)?;
            coverage::run(false).map(Some)
        }
        Mode::Coverage { write } => coverage::run(write).map(Some),
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
