//! `nct replay`: captured packets through the tracker.
//!
//! [`captures`] replays capture files, [`cases`] recordings of a kernel with their rules and operations. Both send every
//! packet through a [`router::Router`] and differ in who decides what happens between the hooks.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use crate::cli::Replay;

mod captures;
pub(crate) mod case;
mod cases;
pub(crate) mod feed;
mod journal;
mod nat;
mod op;
mod options;
mod record;
mod route;
pub(crate) mod router;
mod rules;
pub(crate) mod settings;
pub(crate) mod summary;
pub(crate) mod table;
mod texts;
pub(crate) mod trace;

/// What ends a replay early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told.
    Message(String),
    /// Output could not be written.
    Output(io::Error),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Output(e)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(e: serde_json::Error) -> Self {
        Self::Output(e.into())
    }
}

/// Runs the subcommand.
pub(crate) fn main(options: &Replay) -> ExitCode {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let done = if options.case.is_empty() {
        captures::run(options, &mut out)
    } else if options.texts {
        texts::run(options, &mut out)
    } else {
        cases::run(options, &mut out)
    };
    let done = done.and_then(|ok| {
        out.flush()?;
        Ok(ok)
    });
    exit_code(done)
}

/// The exit code of a command's result; failures are told.
pub(crate) fn exit_code(done: Result<bool, Failure>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read our output has seen enough.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(e)) => {
            eprintln!("nct: cannot write: {e}");
            ExitCode::FAILURE
        }
        Err(Failure::Message(message)) => {
            eprintln!("nct: {message}");
            ExitCode::FAILURE
        }
    }
}
