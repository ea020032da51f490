//! `bench-results`: measures, and writes what it measured with its circumstances.
//!
//! ```text
//! cargo run --release -p bench-results                        everything, every contender, in turns and fresh processes
//! cargo run --release -p bench-results -- --quick             the essence of it in under ten minutes
//! cargo run --release -p bench-results -- report              tables, plots and README from the raw results
//! cargo run --release -p bench-results -- ratios              one figure against another, while working on it
//! cargo run --release -p bench-results -- growth              the longest insert while growing to ten millions
//! cargo run --release -p bench-results -- counts record       instruction counts from the last callgrind run: store
//! cargo run --release -p bench-results -- counts check        … and compare
//! ```

mod counts;
mod criterion;
mod drive;
mod estimate;
mod external;
mod plan;
mod ratios;
mod raw;
mod report;
mod store;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: drive::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tables, plots and the README from the raw results.
    Report(report::Arguments),
    /// Measures some figures for some contenders, in turns and in fresh processes, and their ratios.
    Ratios(ratios::Arguments),
    /// Stores what `cargo bench -p bench-results` measured last.
    Criterion(criterion::Arguments),
    /// Instruction counts: stores them, or compares them with the stored ones.
    Counts(counts::Arguments),
    /// One process of a run, told in JSON on the standard input, answered on the standard output.
    #[command(hide = true)]
    Sample,
    /// One measurement in this process, told in JSON on the standard input, answered on the standard output.
    #[command(hide = true)]
    Once,
}

/// The folder of results in the source tree.
fn results() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results"))
}

fn main() -> Result<()> {
    let arguments = CommandLine::parse();
    match arguments.command {
        None => drive::run(&arguments.run),
        Some(Command::Report(arguments)) => report::run(&arguments),
        Some(Command::Ratios(arguments)) => ratios::run(&arguments),
        Some(Command::Criterion(arguments)) => criterion::run(&arguments),
        Some(Command::Counts(arguments)) => counts::run(&arguments),
        Some(Command::Sample) => drive::sample(),
        Some(Command::Once) => ratios::once(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::CommandLine::command().debug_assert();
    }
}
