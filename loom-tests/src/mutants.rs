//! The mode `mutants`: the kill matrix.
//!
//! A mutant is a weakened ordering (`order:…`) or a seeded bug (`mutant("…")` in the table's sources). Every mutant that
//! a model claims to catch must make that model fail. Every other mutant is tried on all models. One that nothing
//! catches is a survivor, and needs a written reason in `survivors.txt`.

use crate::models::{Bound, open, run_for_reach, run_one, self_test};
use crate::report::{Table, shortened, write_readme};
use crate::runner::{self, End, Model, Run};
use crate::workspace::{Program, Workspace};
use crate::{Checked, Options, Tally, print_checked};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The seeded bugs named in the sources below `dir`.
///
/// # Errors
///
/// A file cannot be read.
pub fn seeded_bugs(dir: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut seeded_bugs(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.extend(bugs_in(&fs::read_to_string(&path)?));
        }
    }
    Ok(found)
}

/// The names in all `mutant("name")` of a source text, comments aside.
fn bugs_in(text: &str) -> Vec<String> {
    text.lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .flat_map(|l| l.split("mutant(\"").skip(1))
        .filter_map(|rest| rest.split_once('"').map(|(name, _)| name.to_owned()))
        .collect()
}

/// Reads the list of accepted survivors: `name: reason`, one on a line; `#` starts a comment.
///
/// # Errors
///
/// A line without a reason, or the same name twice.
pub fn parse_survivors(text: &str) -> Result<BTreeMap<String, String>> {
    let mut accepted = BTreeMap::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        // A name may contain a colon but no blank.
        let (name, reason) = line
            .split_once(": ")
            .with_context(|| format!("survivor without a reason: {line}"))?;
        ensure!(
            !reason.trim().is_empty(),
            "survivor without a reason: {line}"
        );
        let old = accepted.insert(name.to_owned(), reason.trim().to_owned());
        ensure!(old.is_none(), "{name} is listed twice");
    }
    Ok(accepted)
}

/// A run of a model that is to show a mutant: at two preemptions, and if it shows nothing at as many as the model can
/// afford.
fn try_model(program: &Program, options: &Options, model: &Model, name: &str) -> Result<Run> {
    let run = run_one(program, options, model, Bound::Fast, Some(name))?;
    if run.end != End::Clean || run.hits == 0 || model.full_bound <= model.fast_bound {
        return Ok(run);
    }
    run_one(program, options, model, Bound::Full, Some(name))
}

/// A model that takes longer is tried with the mutants that it claims, and with all of them if every pair is wanted.
const QUICK: Duration = Duration::from_secs(10);

/// All that is known of one mutant.
struct Mutant<'a> {
    name: &'a str,
    claimed: Vec<&'a Model>,
    tried: Vec<(&'a Model, Run)>,
    /// The time was over before all that could catch it were tried.
    cut_short: bool,
}

impl Mutant<'_> {
    fn killers(&self) -> Vec<&str> {
        self.tried
            .iter()
            .filter(|(_, r)| r.caught())
            .map(|(m, _)| m.name.as_str())
            .collect()
    }

    fn in_a_line(&self) -> String {
        let time: Duration = self.tried.iter().map(|(_, r)| r.time).sum();
        let killers = self.killers();
        let verdict = if killers.is_empty() {
            "caught by nothing".to_owned()
        } else {
            format!("caught by {}", killers.join(" "))
        };
        format!(
            "{verdict} ({} tried, {:.1} s)",
            self.tried.len(),
            time.as_secs_f64()
        )
    }
}

/// Which pairs of mutant and model are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every claim of a model, and nothing else.
    Claimed,
    /// Every mutant on the models that claim it, then on the others, until one catches it.
    UntilCaught,
    /// All pairs.
    All,
}

/// Runs the kill matrix.
///
/// # Errors
///
/// The models cannot be built or run, or the list of survivors cannot be read.
pub fn run(options: &Options, extent: Extent) -> Result<Tally> {
    let workspace = Workspace::locate()?;
    let accepted = parse_survivors(&fs::read_to_string(
        workspace.package().join("survivors.txt"),
    )?)?;
    let (program, contents) = open(options)?;
    let models: Vec<&Model> = contents
        .models
        .iter()
        .filter(|m| !m.is_litmus() && !m.is_kernel())
        .collect();
    let mut names: BTreeSet<String> = contents.mutants.iter().cloned().collect();
    for sources in workspace.sources() {
        names.append(&mut seeded_bugs(&sources)?);
    }

    let mut tally = Tally::default();
    self_test(&program, &contents, options, &mut tally)?;

    // A model that fails by itself would catch everything.
    let base = runner::parallel(&models, options.jobs, |model| {
        Ok(Checked {
            model,
            bound: model.fast_bound.to_string(),
            run: run_for_reach(&program, options, model)?,
        })
    })?;
    print_checked(&base);
    base.iter().for_each(|c| tally.count(c.ok()));
    // Quick ones first: an unclaimed mutant is tried until one of them catches it.
    let mut sound: Vec<&Checked<'_>> = base.iter().filter(|c| c.ok()).collect();
    sound.sort_by_key(|c| c.run.time);

    for (model, name) in models
        .iter()
        .flat_map(|m| m.kills.iter().map(move |k| (m, k)))
    {
        if !names.contains(name) {
            println!(
                "{} claims to catch {name}, which does not exist",
                model.name
            );
            tally.count(false);
        }
    }
    for name in accepted.keys().filter(|n| !names.contains(*n)) {
        println!("survivors.txt lists {name}, which does not exist");
        tally.count(false);
    }

    let claimed: BTreeSet<&String> = models.iter().flat_map(|m| &m.kills).collect();
    let selected: Vec<&String> = names
        .iter()
        .filter(|n| options.filters.is_empty() || options.filters.iter().any(|f| n.contains(f)))
        .filter(|n| extent != Extent::Claimed || claimed.contains(n))
        .collect();
    let results = runner::parallel(&selected, options.jobs, |name| {
        let mutant = try_mutant(&program, options, &sound, name, extent)?;
        println!("{name}: {}", mutant.in_a_line());
        Ok(mutant)
    })?;
    let text = report(&results, &accepted, &mut tally);
    let whole = results.iter().all(|m| !m.cut_short);
    if options.write && options.filters.is_empty() && whole {
        write_readme("matrix", &text)?;
    }
    Ok(tally)
}

/// Tries a mutant on the models that claim it, and on the others if none does: those that meet it, and unless all pairs are wanted
/// those that take no more than [`QUICK`].
fn try_mutant<'a>(
    program: &Program,
    options: &Options,
    models: &[&Checked<'a>],
    name: &'a str,
    extent: Extent,
) -> Result<Mutant<'a>> {
    let (claimed, others): (Vec<&Checked<'a>>, Vec<&Checked<'a>>) = models
        .iter()
        .partition(|c| c.model.kills.iter().any(|k| k == name));
    let claimed: Vec<&Model> = claimed.iter().map(|c| c.model).collect();
    let others = others
        .iter()
        .filter(|c| c.run.reached.iter().any(|r| r == name))
        .filter(|c| extent == Extent::All || c.run.time <= QUICK)
        .map(|c| c.model);
    let mut mutant = Mutant {
        name,
        claimed: claimed.clone(),
        tried: Vec::new(),
        cut_short: false,
    };
    for model in claimed {
        if extent == Extent::UntilCaught && !mutant.killers().is_empty() {
            break;
        }
        if options.is_over() {
            mutant.cut_short = true;
            return Ok(mutant);
        }
        let run = try_model(program, options, model, name)?;
        mutant.tried.push((model, run));
    }
    for model in others {
        if extent == Extent::UntilCaught && !mutant.killers().is_empty()
            || extent == Extent::Claimed
        {
            break;
        }
        if options.is_over() {
            mutant.cut_short = true;
            break;
        }
        let run = run_one(program, options, model, Bound::Fast, Some(name))?;
        mutant.tried.push((model, run));
    }
    Ok(mutant)
}

/// Prints the matrix and counts; returns it in Markdown.
fn report(
    results: &[Mutant<'_>],
    accepted: &BTreeMap<String, String>,
    tally: &mut Tally,
) -> String {
    let mut table = Table::new(&["mutant", "verdict", "tried", "reached", "caught by", "as"]);
    let mut notes = Vec::new();
    let (mut killed, mut excused) = (0, 0);
    for m in results {
        let killers = m.killers();
        if m.cut_short && killers.is_empty() {
            tally.skipped += 1;
            notes.push(format!("{}: the time is over", m.name));
            continue;
        }
        for model in &m.claimed {
            if !m.tried.iter().any(|(tried, _)| tried.name == model.name) {
                continue;
            }
            let ok = killers.contains(&model.name.as_str());
            tally.count(ok);
            if !ok {
                notes.push(format!(
                    "{} claims to catch {} and does not",
                    model.name, m.name
                ));
            }
        }
        let verdict = match (killers.is_empty(), accepted.get(m.name)) {
            (false, None) => "caught",
            (false, Some(_)) => {
                tally.count(false);
                notes.push(format!("survivors.txt lists {}, which is caught", m.name));
                "caught"
            }
            (true, Some(reason)) => {
                excused += 1;
                notes.push(format!("{} survives: {reason}", m.name));
                "survives, with reason"
            }
            (true, None) => {
                tally.count(false);
                "SURVIVES"
            }
        };
        killed += usize::from(!killers.is_empty());
        if m.claimed.is_empty() && !killers.is_empty() {
            tally.count(true);
        }
        let first = m.tried.iter().find(|(_, r)| r.caught());
        let reached = m.tried.iter().filter(|(_, r)| r.hits > 0).count();
        table.row([
            m.name.to_owned(),
            verdict.to_owned(),
            m.tried.len().to_string(),
            reached.to_string(),
            killers.join(" "),
            first.map_or(String::new(), |(_, r)| shortened(&r.reason())),
        ]);
    }
    println!("\n{table}");
    notes.iter().for_each(|n| println!("{n}"));
    let sum = format!(
        "{killed} of {} mutants caught, {excused} survive with a written reason",
        results.len()
    );
    println!("{sum}");
    let mut text = format!("{}\n{sum}.\n", table.markdown());
    for (name, reason) in accepted {
        text += &format!("* `{name}` survives: {reason}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bugs_are_found_in_code_only() {
        let text = "if mutant(\"a\") || check::mutant(\"b\") {\n    // mutant(\"c\")\n fn mutant(name: &str)";
        assert_eq!(bugs_in(text), ["a", "b"]);
    }

    #[test]
    fn survivors_need_a_reason() {
        let read = parse_survivors("# comment\n\norder:x: x86 only\nbug: because\n").unwrap();
        assert_eq!(read["order:x"], "x86 only");
        assert_eq!(read["bug"], "because");
        assert!(parse_survivors("order:x").is_err());
        assert!(parse_survivors("order:x:  ").is_err());
        assert!(parse_survivors("a: b\na: c").is_err());
    }
}
