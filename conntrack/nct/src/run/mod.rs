//! The default command. Placeholder: the workload lives on another branch.

use std::process::ExitCode;

/// Options of the default command.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {}

/// Runs the default command.
pub(crate) fn main(_options: &Options) -> ExitCode {
    ExitCode::SUCCESS
}
