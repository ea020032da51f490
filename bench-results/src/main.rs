//! `bench-results`: measures, and writes what it measured with its circumstances.
//!
//! ```text
//! cargo run --release -p bench-results -- ratios              every figure, contenders alternating in fresh processes
//! cargo run --release -p bench-results -- growth              the longest insert while growing to ten millions
//! cargo run --release -p bench-results -- counts record       instruction counts from the last callgrind run: store
//! cargo run --release -p bench-results -- counts check        … and compare
//! ```

mod counts;
mod growth;
mod ratios;
mod store;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures every figure for every contender, in turns and in fresh processes, and their ratios.
    Ratios(ratios::Arguments),
    /// Measures how long single insertions take while a map grows, beside the stalls of the machine itself.
    Growth(growth::Arguments),
    /// Instruction counts: stores them, or compares them with the stored ones.
    Counts(counts::Arguments),
    /// One measurement in this process, told in JSON on the standard input, answered on the standard output.
    #[command(hide = true)]
    Once,
    /// One growth in this process, told and answered likewise.
    #[command(hide = true)]
    GrowOnce,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Ratios(arguments) => ratios::run(&arguments),
        Command::Growth(arguments) => growth::run(&arguments),
        Command::Counts(arguments) => counts::run(&arguments),
        Command::Once => ratios::once(),
        Command::GrowOnce => growth::once(),
    }
}
