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
        let run = if options.is_over() {
            Run::skipped()
        } else {
            run_one(&program, options, model, seconds, None)?
        };
        Ok(Checked {
            model,
            bound: format!("{seconds} s"),
            run,
        })
    })?;
    print_checked(&checked);
    checked.iter().for_each(|c| c.count(&mut tally));

    let claims: Vec<(&Model, &String)> = chosen
        .iter()
        .flat_map(|m| m.kills.iter().map(move |k| (*m, k)))
        .collect();
    if claims.is_empty() {
        return Ok(tally);
    }
    let runs = runner::parallel(&claims, 1, |(model, bug)| {
        if options.is_over() {
            return Ok(Run::skipped());
        }
        run_one(&program, options, model, bug_seconds, Some(bug))
    })?;
    let mut table = Table::new(&["seeded bug", "scenario", "met", "time", "verdict", "as"]);
    for ((model, bug), run) in claims.iter().zip(&runs) {
        if run.end == runner::End::Skipped {
            tally.skipped += 1;
            continue;
        }
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
    if options.write && options.filters.is_empty() {
        let text = format!("{}\n{}", in_markdown(&checked), table.markdown());
        crate::report::write_readme("stress", &text)?;
    }
    Ok(tally)
}

fn in_markdown(checked: &[Checked<'_>]) -> String {
    let mut table = Table::new(&[
        "scenario",
        "holds at every moment",
        "threads",
        "operations",
        "time",
    ]);
    for c in checked.iter().filter(|c| !c.model.is_litmus()) {
        table.row([
            format!("`{}`", c.model.name),
            c.model.proves.clone(),
            c.model.threads.to_string(),
            crate::report::grouped(c.run.executions),
            format!("{:.0} s", c.run.time.as_secs_f64()),
        ]);
    }
    table.markdown()
}

/// Builds the scenarios for random schedules and runs each for `seconds` under every scheduler, then each seeded bug that it
/// claims.
///
/// # Errors
///
/// The scenarios cannot be built or run, or none is selected. A failing scenario is no error but counted.
pub fn shuttle(options: &Options, seconds: u64) -> Result<Tally> {
    let program = Workspace::locate()?.build(Flavour::Shuttle)?;
    announce(&program);
    let contents = runner::list(&program)?;
    let chosen = options.select(&contents)?;
    let mut tally = Tally::default();
    let checked = runner::parallel(&chosen, options.jobs, |model| {
        let run = if options.is_over() {
            Run::skipped()
        } else {
            run_one(&program, options, model, seconds, None)?
        };
        Ok(Checked {
            model,
            bound: format!("{seconds} s"),
            run,
        })
    })?;
    print_checked(&checked);
    checked.iter().for_each(|c| c.count(&mut tally));
    let claims: Vec<(&Model, &String)> = chosen
        .iter()
        .flat_map(|m| m.kills.iter().map(move |k| (*m, k)))
        .collect();
    let runs = runner::parallel(&claims, options.jobs, |(model, bug)| {
        if options.is_over() {
            return Ok(Run::skipped());
        }
        run_one(&program, options, model, seconds.max(30), Some(bug))
    })?;
    let mut table = Table::new(&[
        "seeded bug",
        "scenario",
        "schedules",
        "time",
        "verdict",
        "as",
    ]);
    for ((model, bug), run) in claims.iter().zip(&runs) {
        if run.end == runner::End::Skipped {
            tally.skipped += 1;
            continue;
        }
        tally.count(run.caught());
        table.row([
            (*bug).clone(),
            model.name.clone(),
            crate::report::grouped(run.executions),
            format!("{:.2} s", run.time.as_secs_f64()),
            if run.caught() { "caught" } else { "SURVIVES" }.to_owned(),
            crate::report::shortened(&run.reason()),
        ]);
    }
    println!("\n{table}");
    if options.write && options.filters.is_empty() {
        let text = format!("{}\n{}", in_markdown(&checked), table.markdown());
        crate::report::write_readme("shuttle", &text)?;
    }
    Ok(tally)
}
