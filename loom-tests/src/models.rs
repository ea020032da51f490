//! The modes `fast` and `full`: every model on the code as shipped, after the self-test of the checker.

use crate::runner::{self, Contents, Model, Run};
use crate::workspace::{Kept, Program, Workspace};
use crate::{Checked, Options, Tally, announce, print_checked};
use anyhow::Result;

/// How far executions may depart from running each thread to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Two preemptions (one, if two take minutes): what kills nearly all seeded bugs.
    Fast,
    /// Three, or what the model can afford.
    Full,
    /// This many.
    Preemptions(usize),
    /// Every execution that the checker knows.
    None,
}

impl Bound {
    fn of(self, model: &Model) -> String {
        match self {
            Bound::Fast => model.fast_bound.to_string(),
            Bound::Full => model.full_bound.to_string(),
            Bound::Preemptions(n) => n.to_string(),
            Bound::None => "none".to_owned(),
        }
    }
}

/// Runs one model as shipped, and asks which mutants it meets.
pub(crate) fn run_for_reach(program: &Program, options: &Options, model: &Model) -> Result<Run> {
    let args = ["run", &model.name, &Bound::Fast.of(model), "reach", "yes"].map(str::to_owned);
    runner::run(program, &args, options.limit(model))
}

/// Runs one model, with a mutant or without.
pub(crate) fn run_one(
    program: &Program,
    options: &Options,
    model: &Model,
    bound: Bound,
    mutant: Option<&str>,
) -> Result<Run> {
    let mut args = vec!["run".to_owned(), model.name.clone(), bound.of(model)];
    if let Some(m) = mutant {
        args.extend(["mutant".to_owned(), m.to_owned()]);
    }
    runner::run(program, &args, options.limit(model))
}

fn check<'a>(
    program: &Program,
    options: &Options,
    models: &[&'a Model],
    bound: Bound,
) -> Result<Vec<Checked<'a>>> {
    runner::parallel(models, options.jobs, |model| {
        let run = if options.is_over() {
            Run::skipped()
        } else {
            run_one(program, options, model, bound, None)?
        };
        Ok(Checked {
            model,
            bound: bound.of(model),
            run,
        })
    })
}

/// Runs the self-test. Whatever follows is worth something only if all of it passes.
pub(crate) fn self_test(
    program: &Program,
    contents: &Contents,
    options: &Options,
    tally: &mut Tally,
) -> Result<bool> {
    let litmus: Vec<&Model> = contents.models.iter().filter(|m| m.is_litmus()).collect();
    let checked = check(program, options, &litmus, Bound::Fast)?;
    print_checked(&checked);
    let failed = checked.iter().filter(|c| !c.ok()).count();
    checked.iter().for_each(|c| c.count(tally));
    if failed == 0 {
        println!(
            "self-test: the checker sees all that it should ({} cases)",
            checked.len()
        );
    } else {
        println!(
            "self-test: THE CHECKER IS BLIND in {failed} of {} cases; passes prove nothing",
            checked.len()
        );
    }
    Ok(failed == 0)
}

/// Builds the models and runs the self-test only.
///
/// # Errors
///
/// The models cannot be built or run. A failing model is no error but counted.
pub fn only_self_test(options: &Options) -> Result<Tally> {
    let (program, contents) = open(options)?;
    let mut tally = Tally::default();
    self_test(&program, &contents, options, &mut tally)?;
    Ok(tally)
}

/// Builds the models, runs the self-test and every selected model.
///
/// # Errors
///
/// The models cannot be built or run, or no model is selected. A failing model is no error but counted.
pub fn run(options: &Options, bound: Bound) -> Result<Tally> {
    let (program, contents) = open(options)?;
    let chosen = options.select(&contents)?;
    let mut tally = Tally::default();
    let sees = self_test(&program, &contents, options, &mut tally)?;
    if !chosen.is_empty() {
        let checked = check(&program, options, &chosen, bound)?;
        print_checked(&checked);
        checked.iter().for_each(|c| c.count(&mut tally));
        let section = match bound {
            Bound::Fast => Some("models"),
            Bound::Full => Some("full"),
            _ => None,
        };
        if let Some(section) = section.filter(|_| options.write && options.filters.is_empty()) {
            write(section, &checked)?;
        }
        if !sees {
            println!("the checker is blind, see the self-test: the passes above prove nothing");
        }
    }
    Ok(tally)
}

/// Writes the tables of a whole run into the README.
fn write(section: &str, checked: &[Checked<'_>]) -> Result<()> {
    if section == "full" {
        let mut table = crate::report::Table::new(&["model", "preemptions", "executions", "time"]);
        for c in checked.iter().filter(|c| !c.model.is_kernel()) {
            table.row([
                format!("`{}`", c.model.name),
                c.bound.clone(),
                crate::report::grouped(c.run.executions),
                format!("{:.1} s", c.run.time.as_secs_f64()),
            ]);
        }
        return crate::report::write_readme(section, &table.markdown());
    }
    let shipped = checked.iter().filter(|c| !c.model.is_kernel());
    crate::report::write_readme(section, &crate::models_in_markdown(shipped))?;
    let mut table =
        crate::report::Table::new(&["kernel bug", "holds once fixed", "fixed", "as it was"]);
    for c in checked.iter().filter(|c| c.model.is_kernel()) {
        let bug = format!("{}-bug", c.model.name);
        if c.model.name.ends_with("-bug") {
            continue;
        }
        let was = checked.iter().find(|b| b.model.name == bug).unwrap_or(c);
        table.row([
            format!("`{}`", c.model.name),
            c.model.proves.clone(),
            if c.model.must_fail {
                String::new()
            } else {
                format!("{} executions", crate::report::grouped(c.run.executions))
            },
            if was.model.must_fail {
                format!("caught: {}", crate::report::shortened(&was.run.reason()))
            } else {
                String::new()
            },
        ]);
    }
    crate::report::write_readme("kernel", &table.markdown())
}

/// Prints every model with what it proves.
///
/// # Errors
///
/// The models cannot be built or run.
pub fn list(options: &Options) -> Result<()> {
    let (_, contents) = open(options)?;
    for m in contents.models.iter().filter(|m| options.selects(m)) {
        println!(
            "{} ({} threads, full bound {})",
            m.name, m.threads, m.full_bound
        );
        println!("    {}", m.proves);
        if !m.outcomes.is_empty() {
            println!("    must be seen: {}", m.outcomes.join(", "));
        }
        if !m.kills.is_empty() {
            println!("    must catch: {}", m.kills.join(", "));
        }
    }
    Ok(())
}

/// Runs one model and prints its execution number `number` step by step.
///
/// # Errors
///
/// The models cannot be built or run, or not exactly one is selected.
pub fn trace(options: &Options, bound: Bound, number: u64, mutant: Option<&str>) -> Result<()> {
    let (program, contents) = open(options)?;
    let chosen: Vec<&Model> = contents
        .models
        .iter()
        .filter(|m| options.selects(m))
        .collect();
    let &[model] = chosen.as_slice() else {
        anyhow::bail!("a trace is of one model; {} are selected", chosen.len());
    };
    let mut args = vec![
        "run".to_owned(),
        model.name.clone(),
        bound.of(model),
        "trace".to_owned(),
        number.to_string(),
    ];
    if let Some(m) = mutant {
        args.extend(["mutant".to_owned(), m.to_owned()]);
    }
    std::process::Command::new(&program.path)
        .args(&args)
        .status()?;
    Ok(())
}

pub(crate) fn open(options: &Options) -> Result<(Kept, Contents)> {
    let program = Workspace::locate()?.build(options.flavour())?.keep()?;
    announce(&program);
    let contents = runner::list(&program)?;
    Ok((program, contents))
}
