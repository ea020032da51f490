//! The `nct` tool: [`run`] drives the connection table with realistic traffic, [`replay`] tracks captured packets.

use std::process::ExitCode;

use clap::Parser;

mod capture;
mod cli;
mod replay;
mod run;
mod store_any;
mod store_dashmap;
mod workload;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match &cli.command {
        None => run::main(&cli.run),
        Some(cli::Command::Replay(options)) => replay::main(options),
    }
}
