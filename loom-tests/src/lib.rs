#![doc = include_str!("../README.md")]

pub mod correction;
pub mod coverage;
pub mod long;
pub mod models;
pub mod mutants;
pub mod report;
pub mod runner;
pub mod sanitizers;
pub mod stress;
pub mod workspace;

use anyhow::{Result, ensure};
use runner::{Contents, Model, Run};
use workspace::Program;

/// What all modes have in common.
#[derive(Debug, Clone)]
pub struct Options {
    /// Parts of names: a model is run if its name contains one of them. Empty: all models.
    pub filters: Vec<String>,
    /// Runs at a time.
    pub jobs: usize,
    /// Use loom as published, to see what it misses.
    pub stock: bool,
    /// Multiplies every time limit: more than 1 for a slow or busy machine.
    pub patience: f64,
    /// Write the tables into the README too.
    pub write: bool,
    /// Nothing is begun after this.
    pub deadline: Option<std::time::Instant>,
}

impl Options {
    fn selects(&self, model: &Model) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| model.name.contains(f.as_str()))
    }

    fn limit(&self, model: &Model) -> std::time::Duration {
        model.limit.mul_f64(self.patience)
    }

    /// Whether the time given to the whole is over.
    fn is_over(&self) -> bool {
        self.deadline
            .is_some_and(|d| std::time::Instant::now() >= d)
    }

    fn flavour(&self) -> workspace::Flavour {
        if self.stock {
            workspace::Flavour::Stock
        } else {
            workspace::Flavour::Corrected
        }
    }

    /// The models that are selected, without the self-test.
    fn select<'a>(&self, contents: &'a Contents) -> Result<Vec<&'a Model>> {
        let chosen: Vec<&Model> = contents
            .models
            .iter()
            .filter(|m| !m.is_litmus() && self.selects(m))
            .collect();
        let litmus = contents
            .models
            .iter()
            .any(|m| m.is_litmus() && self.selects(m));
        ensure!(
            litmus || !chosen.is_empty(),
            "no name contains {:?}",
            self.filters
        );
        Ok(chosen)
    }
}

/// How many checks came out as they should.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that did.
    pub passed: usize,
    /// Those that did not.
    pub failed: usize,
    /// Those that were not run, because the time was over.
    pub skipped: usize,
}

impl Tally {
    /// Counts one check.
    pub fn count(&mut self, ok: bool) {
        if ok {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Names the checker, loudly if it is not the one that was wanted.
fn announce(program: &Program) {
    println!("checker: {}", program.checker);
    if let Some(why) = &program.refused {
        println!("\n!!! THE CORRECTION OF LOOM COULD NOT BE APPLIED: {why}");
        println!(
            "!!! Stock loom is used. It explores too little, the self-test will say so, and this run fails.\n"
        );
    }
}

/// One finished check, as the tables show it.
struct Checked<'a> {
    model: &'a Model,
    bound: String,
    run: Run,
}

impl Checked<'_> {
    fn ok(&self) -> bool {
        self.run.as_expected(self.model)
    }

    fn is_skipped(&self) -> bool {
        self.run.end == runner::End::Skipped
    }

    fn count(&self, tally: &mut Tally) {
        if self.is_skipped() {
            tally.skipped += 1;
        } else {
            tally.count(self.ok());
        }
    }

    fn verdict(&self) -> &'static str {
        if self.is_skipped() {
            return "not run";
        }
        match (self.ok(), self.model.must_fail) {
            (true, false) => "ok",
            (true, true) => "ok (caught)",
            (false, false) => "FAILED",
            (false, true) => "FAILED (not caught)",
        }
    }
}

/// Prints a table of finished checks, then why each of the failed ones failed.
fn print_checked(checked: &[Checked<'_>]) {
    let mut table = report::Table::new(&[
        "model",
        "threads",
        "bound",
        "executions",
        "time",
        "outcomes",
        "verdict",
    ]);
    for c in checked {
        table.row([
            c.model.name.clone(),
            c.model.threads.to_string(),
            c.bound.clone(),
            report::grouped(c.run.executions),
            format!("{:.2} s", c.run.time.as_secs_f64()),
            if c.run.caught() {
                report::shortened(&c.run.reason())
            } else {
                c.run.seen.clone()
            },
            c.verdict().to_owned(),
        ]);
    }
    println!("\n{table}");
    for c in checked.iter().filter(|c| !c.ok() && !c.is_skipped()) {
        println!("{}: {}", c.model.name, c.model.proves);
        println!(
            "    {}",
            if c.model.must_fail {
                "nothing was caught".to_owned()
            } else {
                c.run.reason()
            }
        );
    }
}

/// A table of models for the README: what each proves, and what it took.
fn models_in_markdown<'a>(checked: impl Iterator<Item = &'a Checked<'a>>) -> String {
    let mut table = report::Table::new(&[
        "model",
        "holds in every execution",
        "threads",
        "executions",
        "time",
        "must catch",
    ]);
    for c in checked {
        table.row([
            format!("`{}`", c.model.name),
            c.model.proves.clone(),
            c.model.threads.to_string(),
            report::grouped(c.run.executions),
            format!("{:.2} s", c.run.time.as_secs_f64()),
            c.model.kills.join(", "),
        ]);
    }
    table.markdown()
}
