//! The `nct` tool.

use std::process::ExitCode;

use clap::Parser;

mod run;
mod store_dashmap;
mod workload;

/// Realistic traffic through a connection tracker
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    run: run::Options,
}

fn main() -> ExitCode {
    run::main(&Cli::parse().run)
}
