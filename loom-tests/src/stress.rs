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

/// How scenarios of one program are run, and what their runs mean.
struct Kind {
    flavour: Flavour,
    /// Runs at a time.
    jobs: usize,
    /// Seconds for each scenario on the code as shipped.
    seconds: u64,
    /// Seconds in which a seeded bug must be caught.
    bug_seconds: u64,
    /// Whether a run that never ends shows a bug.
    hangs_count: bool,
    /// What a scenario counts.
    unit: &'static str,
    /// The tables' place in the README.
    section: &'static str,
}

/// Builds and runs the scenarios on real threads, each for `seconds`, then each seeded bug for up to `bug_seconds`.
///
/// # Errors
///
/// The scenarios cannot be built or run, or none is selected. A failing scenario is no error but counted.
pub fn run(options: &Options, seconds: u64, bug_seconds: u64) -> Result<Tally> {
    let kind = Kind {
        flavour: Flavour::Threads,
        // Scenarios have several threads each: one at a time, so that they do get in each other's way as they should.
        jobs: 1,
        seconds,
        bug_seconds,
        // Hanging is how some of these bugs show; unlike with models there is no exploration that merely takes long.
        hangs_count: true,
        unit: "operations",
        section: "stress",
    };
    run_all(options, &kind)
}

/// Builds the scenarios for random schedules and runs each for `seconds`, then each seeded bug that it claims.
///
/// # Errors
///
/// The scenarios cannot be built or run, or none is selected. A failing scenario is no error but counted.
pub fn shuttle(options: &Options, seconds: u64) -> Result<Tally> {
    let kind = Kind {
        flavour: Flavour::Shuttle,
        jobs: options.jobs,
        seconds,
        bug_seconds: seconds.max(30),
        hangs_count: false,
        unit: "schedules",
        section: "shuttle",
    };
    run_all(options, &kind)
}

fn run_all(options: &Options, kind: &Kind) -> Result<Tally> {
    let program = Workspace::locate()?.build(kind.flavour)?.keep()?;
    announce(&program);
    let contents = runner::list(&program)?;
    let chosen = options.select(&contents)?;
    let mut tally = Tally::default();
    // The self-test first, whatever is selected.
    let litmus = contents.models.iter().filter(|m| m.is_litmus());
    let all: Vec<&Model> = litmus.chain(chosen.iter().copied()).collect();
    let checked = runner::parallel(&all, kind.jobs, |model| {
        let run = if options.is_over() {
            Run::skipped()
        } else {
            run_one(&program, options, model, kind.seconds, None)?
        };
        Ok(Checked {
            model,
            bound: format!("{} s", kind.seconds),
            run,
        })
    })?;
    print_checked(&checked);
    checked.iter().for_each(|c| c.count(&mut tally));

    let claims: Vec<(&Model, &String)> = chosen
        .iter()
        .flat_map(|m| m.kills.iter().map(move |k| (*m, k)))
        .collect();
    let runs = runner::parallel(&claims, kind.jobs, |(model, bug)| {
        if options.is_over() {
            return Ok(Run::skipped());
        }
        run_one(&program, options, model, kind.bug_seconds, Some(bug))
    })?;
    let mut table = Table::new(&["seeded bug", "scenario", kind.unit, "time", "verdict", "as"]);
    for ((model, bug), run) in claims.iter().zip(&runs) {
        if run.end == runner::End::Skipped {
            tally.skipped += 1;
            continue;
        }
        let caught = run.caught() || kind.hangs_count && run.end == runner::End::TimedOut;
        tally.count(caught);
        table.row([
            (*bug).clone(),
            model.name.clone(),
            crate::report::grouped(run.executions),
            format!("{:.2} s", run.time.as_secs_f64()),
            if caught { "caught" } else { "SURVIVES" }.to_owned(),
            crate::report::shortened(&run.reason()),
        ]);
    }
    if !claims.is_empty() {
        println!("\n{table}");
    }
    if options.write && options.filters.is_empty() {
        let shipped = in_markdown(&checked, kind.unit);
        let text = format!("{shipped}\n{}", table.markdown());
        crate::report::write_readme(kind.section, &text)?;
    }
    Ok(tally)
}

fn in_markdown(checked: &[Checked<'_>], unit: &str) -> String {
    let mut table = Table::new(&["scenario", "holds at every moment", "threads", unit, "time"]);
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
