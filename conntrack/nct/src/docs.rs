//! What is made from the command line's own description: completions and the manual page.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Prints completions for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nct", &mut out);
    print(&out)
}

/// Prints the manual page: the command and, one after the other, its subcommands.
pub(crate) fn man() -> ExitCode {
    let mut out = Vec::new();
    match render(&mut out) {
        Ok(()) => print(&out),
        Err(e) => {
            eprintln!("nct: {e}");
            ExitCode::FAILURE
        }
    }
}

fn render(out: &mut Vec<u8>) -> io::Result<()> {
    let mut all = Cli::command();
    all.build();
    let subcommands: Vec<Command> = all.get_subcommands().cloned().collect();
    let page = clap_mangen::Man::new(all);
    page.render(out)?;
    for c in subcommands.into_iter().filter(|c| c.get_name() != "help") {
        let about = c.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(out, ".SH \"NCT {}\"\n{about}", c.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(c);
        page.render_synopsis_section(out)?;
        page.render_options_section(out)?;
        page.render_extra_section(out)?;
    }
    Ok(())
}

fn print(bytes: &[u8]) -> ExitCode {
    match io::stdout().write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("nct: cannot write: {e}");
            ExitCode::FAILURE
        }
    }
}
