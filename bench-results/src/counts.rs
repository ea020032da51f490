//! `counts`: instructions per operation, from the summaries that callgrind's runner left, stored and compared.

use crate::store;
use anyhow::{Context, Result, bail, ensure};
use bench_results::environment::Environment;
use bench_results::measure::COUNTED_OPERATIONS;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The folder in which the runner left its summaries (`--save-summary=json`).
    #[arg(long, global = true, default_value = "target/iai")]
    summaries: PathBuf,
    /// The stored counts.
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results/instructions.json"))]
    stored: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Stores the counts.
    Record,
    /// Compares with the stored counts, and fails when instructions have risen.
    Check {
        /// How many percent more instructions are too many.
        #[arg(long, default_value_t = 5.0)]
        percent: f64,
    },
    /// Prints which flavour of fence nulls uses in this process: for runs under valgrind.
    #[command(hide = true)]
    Flavour,
}

/// Counts of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Counts {
    instructions: f64,
    loads: f64,
    stores: f64,
    /// Data accesses that miss the simulated first-level cache.
    l1_misses: f64,
    /// Data accesses that miss the simulated last-level cache.
    last_level_misses: f64,
}

/// The result file.
#[derive(Debug, Serialize, Deserialize)]
struct Results {
    environment: Environment,
    /// The version of valgrind.
    valgrind: String,
    /// How readers and reclaimers of nulls were ordered under valgrind.
    flavour_under_valgrind: String,
    /// Per operation, by `<figure>/<entries>/<contender>`.
    counts: BTreeMap<String, Counts>,
}

/// The subcommand.
pub fn run(a: &Arguments) -> Result<()> {
    match a.action {
        Action::Record => {
            let results = Results {
                environment: Environment::here(),
                valgrind: output(Command::new("valgrind").arg("--version"))?,
                flavour_under_valgrind: output(
                    Command::new("valgrind")
                        .args(["-q", "--tool=none", "--"])
                        .arg(std::env::current_exe()?)
                        .args(["counts", "flavour"]),
                )?,
                counts: gather(&a.summaries)?,
            };
            print(&results.counts, None);
            store::write(&a.stored, &results)
        }
        Action::Check { percent } => check(a, percent),
        Action::Flavour => {
            println!("{}", format!("{:?}", nulls::rcu::flavour()).to_lowercase());
            Ok(())
        }
    }
}

fn output(command: &mut Command) -> Result<String> {
    let out = command
        .output()
        .context("valgrind: see .ci/install-bench-tools")?;
    ensure!(out.status.success(), "{command:?}: {}", out.status);
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn check(a: &Arguments, percent: f64) -> Result<()> {
    let text = std::fs::read(&a.stored).with_context(|| a.stored.display().to_string())?;
    let stored: Results = serde_json::from_slice(&text)?;
    let now = gather(&a.summaries)?;
    print(&now, Some(&stored.counts));
    if stored.environment.rustc != env!("BENCH_RUSTC") {
        println!(
            "the stored counts are of {}, these of {}",
            stored.environment.rustc,
            env!("BENCH_RUSTC")
        );
    }
    let failures = regressions(&stored.counts, &now, percent);
    if failures.is_empty() {
        println!("{} passed, 0 failed", stored.counts.len());
        return Ok(());
    }
    for f in &failures {
        eprintln!("{f}");
    }
    bail!(
        "{} of {} counts are worse; if that is meant, store them with `counts record`",
        failures.len(),
        stored.counts.len()
    )
}

/// What is wrong with `now`. Contenders beside nulls are there for the record: their counts do not fail.
fn regressions(
    stored: &BTreeMap<String, Counts>,
    now: &BTreeMap<String, Counts>,
    percent: f64,
) -> Vec<String> {
    let ours = stored.iter().filter(|(name, _)| {
        name.rsplit('/')
            .next()
            .is_some_and(|c| c.starts_with("nulls"))
    });
    ours.filter_map(|(name, old)| match now.get(name) {
        None => Some(format!("{name}: stored, and not counted now")),
        Some(new) if new.instructions > old.instructions * (1.0 + percent / 100.0) => {
            Some(format!(
                "{name}: {:.1} instructions, stored {:.1}",
                new.instructions, old.instructions
            ))
        }
        Some(_) => None,
    })
    .collect()
}

/// The counts in a folder of summaries.
fn gather(folder: &Path) -> Result<BTreeMap<String, Counts>> {
    let mut counts = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| {
            format!(
                "{}: run the `instructions` benchmark first",
                folder.display()
            )
        })?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|n| n == "summary.json") {
                let summary: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
                let (name, c) = parse(&summary).with_context(|| path.display().to_string())?;
                counts.insert(name, c);
            }
        }
    }
    ensure!(
        !counts.is_empty(),
        "no summaries below {}",
        folder.display()
    );
    Ok(counts)
}

/// One summary: its name and its counts per operation.
fn parse(summary: &Value) -> Result<(String, Counts)> {
    let function = summary["function_name"].as_str().context("function_name")?;
    let contender = summary["id"].as_str().context("id")?.replace('_', "-");
    let (figure, entries) = function
        .rsplit_once('_')
        .context("a function named figure_entries")?;
    let entries: usize = entries.parse()?;
    let operations = match figure {
        "hit" | "miss" | "update" | "replace" | "track_packet" => COUNTED_OPERATIONS,
        "insert_growing" | "insert_presized" | "remove" | "iterate" => entries,
        _ => bail!("unknown figure {figure}"),
    };
    let events = &summary["profiles"][0]["summaries"]["total"]["summary"]["Callgrind"];
    let count = |event: &str| -> Result<f64> {
        let metrics = &events[event]["metrics"];
        // `Left` is a run with nothing to compare with, `Both` begins with the new run.
        let new = metrics
            .get("Left")
            .or_else(|| metrics.get("Both").and_then(|b| b.get(0)));
        let n = new
            .and_then(|n| n.get("Int"))
            .and_then(Value::as_u64)
            .with_context(|| format!("event {event}"))?;
        Ok(n as f64 / operations as f64)
    };
    let counts = Counts {
        instructions: count("Ir")?,
        loads: count("Dr")?,
        stores: count("Dw")?,
        l1_misses: count("D1mr")? + count("D1mw")?,
        last_level_misses: count("DLmr")? + count("DLmw")?,
    };
    Ok((
        format!("{}/{entries}/{contender}", figure.replace('_', "-")),
        counts,
    ))
}

fn print(counts: &BTreeMap<String, Counts>, stored: Option<&BTreeMap<String, Counts>>) {
    println!(
        "{:<40} {:>12} {:>8} {:>8} {:>8} {:>8}",
        "per operation", "instructions", "loads", "stores", "L1 miss", "LL miss"
    );
    for (name, c) in counts {
        print!(
            "{name:<40} {:>12.1} {:>8.1} {:>8.1} {:>8.2} {:>8.2}",
            c.instructions, c.loads, c.stores, c.l1_misses, c.last_level_misses
        );
        match stored.and_then(|s| s.get(name)) {
            Some(old) => println!(
                "  {:+.1} %",
                100.0 * (c.instructions / old.instructions - 1.0)
            ),
            None => println!(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: f64) -> Counts {
        Counts {
            instructions,
            loads: 0.0,
            stores: 0.0,
            l1_misses: 0.0,
            last_level_misses: 0.0,
        }
    }

    #[test]
    fn the_gate_fails_on_more_instructions_and_on_missing_counts() {
        let stored: BTreeMap<_, _> = [
            ("hit/1000/nulls", 100.0),
            ("hit/1000/dashmap", 100.0),
            ("miss/1000/nulls", 50.0),
        ]
        .map(|(n, c)| (n.to_owned(), counts(c)))
        .into();
        let mut now = stored.clone();
        assert!(regressions(&stored, &now, 5.0).is_empty());
        now.insert("hit/1000/nulls".into(), counts(104.0));
        now.insert("hit/1000/dashmap".into(), counts(200.0));
        assert!(regressions(&stored, &now, 5.0).is_empty());
        now.insert("hit/1000/nulls".into(), counts(106.0));
        assert_eq!(regressions(&stored, &now, 5.0).len(), 1);
        now.remove("miss/1000/nulls");
        assert_eq!(regressions(&stored, &now, 5.0).len(), 2);
    }

    #[test]
    fn a_summary_is_read() {
        let event =
            |n: u64| serde_json::json!({ "metrics": { "Both": [{ "Int": n }, { "Int": 1 }] } });
        let summary = serde_json::json!({
            "function_name": "insert_growing_1000",
            "id": "nulls_held",
            "profiles": [{ "summaries": { "total": { "summary": { "Callgrind": {
                "Ir": event(50_000), "Dr": event(7000), "Dw": event(3000),
                "D1mr": event(100), "D1mw": event(200), "DLmr": event(0), "DLmw": event(10),
            } } } } }],
        });
        let (name, c) = parse(&summary).unwrap();
        assert_eq!(name, "insert-growing/1000/nulls-held");
        assert_eq!((c.instructions, c.loads, c.stores), (50.0, 7.0, 3.0));
        assert!((c.l1_misses - 0.3).abs() < 1e-9 && (c.last_level_misses - 0.01).abs() < 1e-9);
    }
}
