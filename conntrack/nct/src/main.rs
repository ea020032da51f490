//! The `nct` tool: [`run`] drives the connection table with realistic traffic, [`replay`] tracks captured packets,
//! [`watch`] shows and exports the connections of captures and of live interfaces.

use std::process::ExitCode;

use clap::Parser;

mod capture;
mod cli;
mod docs;
mod replay;
mod run;
mod store_any;
mod store_dashmap;
mod store_papaya;
mod watch;
mod workload;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match &cli.command {
        None => run::main(&cli.run),
        Some(cli::Command::Replay(options)) => replay::main(options),
        Some(cli::Command::List(options)) => watch::list(options),
        Some(cli::Command::Events(options)) => watch::events(options),
        Some(cli::Command::Stats(options)) => watch::stats(options),
        Some(cli::Command::Flows(options)) => watch::flows(options),
        #[cfg(target_os = "linux")]
        Some(cli::Command::Live(options)) => watch::live(options),
        #[cfg(target_os = "linux")]
        Some(cli::Command::Top(options)) => watch::live(&watch::args::Live {
            show: watch::args::Show::Top,
            ..options.clone()
        }),
        Some(cli::Command::Completions { shell }) => docs::completions(*shell),
        Some(cli::Command::Man) => docs::man(),
    }
}
