//! The mode `stress`: real threads, with pauses injected between the loads, first on the code as shipped, then with each
//! seeded bug that a scenario claims to catch.

use crate::report::Table;
use crate::runner::{self, Model, Run};
use crate::workspace::{Flavour, Program, Workspace};
use crate::{Checked, Options, Tally, announce, print_checked};
use anyhow::Result;
use std::time::Duration;

/// Time that a scenario may need beyond its budget before it counts as hung.
const GRACE: Duration = Duration::from_secs(30);

fn run_one(
    program: &Program,
    options: &Options,
    model: &Model,
    seconds: u64,
    mutant: Option<&str>,
) -> Result<Run> {
    let mut args = vec!["run".to_owned(), model.name.clone(), seconds.to_string()];
    if let Some(m) = mutant {
        args.extend(["mutant".to_owned(), m.to_owned()]);
    }
    let limit = (Duration::from_secs(seconds) + GRACE).mul_f64(options.patience);
    runner::run(program, &args, limit)
}

/// Builds and runs the scenarios, each for `seconds`, then each seeded bug for up to `bug_seconds`.
///
/// # Errors
///
/// The scenarios cannot be built or run, or none is selected. A failing scenario is no error but counted.
pub fn run(options: &Options, seconds: u64, bug_seconds: u64) -> Result<Tally> {
    let program = Workspace::locate()?.build(Flavour::Threads)?;
    announce(&program);
    let contents = runner::list(&program)?;
    let chosen = options.select(&contents)?;
    let mut tally = Tally::default();

    // Scenarios have several threads each: one at a time, so that they do get in each other's way as they should.
    let all: Vec<&Model> = contents
        .models
        .iter()
        .filter(|m| m.is_litmus())
        .chain(chosen.iter().copied())
        .collect();
    let checked = runner::parallel(&all, 1, |model| {
        Ok(Checked {
            model,
            bound: format!("{seconds} s"),
            run: run_one(&program, options, model, seconds, None)?,
        })
    })?;
    print_checked(&checked);
    checked.iter().for_each(|c| tally.count(c.ok()));

    let claims: Vec<(&Model, &String)> = chosen
        .iter()
        .flat_map(|m| m.kills.iter().map(move |k| (*m, k)))
        .collect();
    if claims.is_empty() {
        return Ok(tally);
    }
    let runs = runner::parallel(&claims, 1, |(model, bug)| {
        run_one(&program, options, model, bug_seconds, Some(bug))
    })?;
    let mut table = Table::new(&["seeded bug", "scenario", "met", "time", "verdict", "as"]);
    for ((model, bug), run) in claims.iter().zip(&runs) {
        // Hanging is how some of these bugs show; unlike with models there is no exploration that merely takes long.
        let caught = run.caught() || run.end == runner::End::TimedOut;
        tally.count(caught);
        table.row([
            (*bug).clone(),
            model.name.clone(),
            crate::report::grouped(run.hits),
            format!("{:.2} s", run.time.as_secs_f64()),
            if caught { "caught" } else { "SURVIVES" }.to_owned(),
            run.reason(),
        ]);
    }
    println!("\n{table}");
    Ok(tally)
}
