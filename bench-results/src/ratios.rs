//! `ratios`: A B A B, each in a fresh process, and the ratios of neighbours.
//!
//! Neighbouring runs see the same machine, so a drift (heat, a neighbour on the host) falls out of their ratio. A
//! fresh process each time makes the layout of memory vary, which within one process would be one unknown constant.

use crate::store::{self, Output, in_fresh_process, quartiles};
use anyhow::{Context, Result, ensure};
use bench_results::contender;
use bench_results::dispatch;
use bench_results::environment::Environment;
use bench_results::measure::{Build, Figure, Plan};
use clap::Args;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, stdin};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    output: Output,
    /// The contenders; each figure uses those of them that it is meant for.
    #[arg(long, value_delimiter = ',', default_values = contender::ALL)]
    contenders: Vec<String>,
    /// What the others are divided by.
    #[arg(long, default_value = "nulls")]
    base: String,
    /// The figures.
    #[arg(long, value_enum, value_delimiter = ',')]
    figures: Vec<Figure>,
    /// Numbers of entries.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000])]
    entries: Vec<usize>,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// How maps come to their size.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Build::Grown, Build::Presized])]
    builds: Vec<Build>,
    /// Turns of every contender.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Samples in each turn, of which the median counts.
    #[arg(long, default_value_t = 5)]
    samples: usize,
    /// The length of a sample in milliseconds, about.
    #[arg(long, default_value_t = 100)]
    sample_ms: u64,
    /// A short run that shows that everything works: one round of short samples, at most 100,000 entries.
    #[arg(long)]
    quick: bool,
}

/// What a fresh process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    contender: String,
    plan: Plan,
}

/// One figure of all contenders.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    plan: Plan,
    /// Nanoseconds per operation and thread: the median of each round, in the order of the rounds.
    nanoseconds: BTreeMap<String, Vec<f64>>,
    /// Contender divided by base, round by round: quartiles. Above 1 the base is faster.
    ratios: BTreeMap<String, Ratio>,
}

#[derive(Debug, Serialize)]
struct Ratio {
    lower_quartile: f64,
    median: f64,
    upper_quartile: f64,
}

#[derive(Debug, Serialize)]
struct Results {
    environment: Environment,
    base: String,
    rows: Vec<Row>,
}

/// Whether a contender is meant for a figure.
fn fits(contender: &str, figure: Figure, threads: usize) -> bool {
    match contender {
        // Memory that is retired under one guard is never reused: not how one writes.
        "nulls-held" | "nulls-inline-held" => {
            matches!(figure, Figure::Hit | Figure::Miss | Figure::Iterate)
        }
        // Differs from `nulls` in how it updates.
        "nulls-atomic" => figure == Figure::Update,
        // More shards help against contention only.
        "dashmap-256" => threads > 1,
        _ => true,
    }
}

/// Every combination asked for.
fn plans(a: &Arguments) -> Vec<Plan> {
    const FIGURES: [Figure; 7] = [
        Figure::Hit,
        Figure::Miss,
        Figure::Insert,
        Figure::Update,
        Figure::Replace,
        Figure::Remove,
        Figure::Iterate,
    ];
    let figures = if a.figures.is_empty() {
        FIGURES.to_vec()
    } else {
        a.figures.clone()
    };
    let (sample, samples) = if a.quick {
        (Duration::from_millis(2), 1)
    } else {
        (Duration::from_millis(a.sample_ms), a.samples)
    };
    let mut plans = Vec::new();
    for &figure in &figures {
        for &entries in a.entries.iter().filter(|&&n| !a.quick || n <= 100_000) {
            for &threads in &a.threads {
                for &build in &a.builds {
                    plans.push(Plan {
                        figure,
                        entries,
                        threads,
                        build,
                        sample,
                        samples,
                    });
                }
            }
        }
    }
    plans
}

/// The subcommand.
pub fn run(a: &Arguments) -> Result<()> {
    ensure!(
        a.contenders.contains(&a.base),
        "the base must be among the contenders"
    );
    for name in &a.contenders {
        ensure!(
            contender::ALL.contains(&name.as_str()),
            "no contender {name}; there are {:?}",
            contender::ALL
        );
    }
    ensure!(
        a.rounds > 0 && a.samples > 0,
        "at least one round and one sample"
    );
    ensure!(
        a.entries.iter().all(|&n| n > 0) && a.threads.iter().all(|&n| n > 0),
        "entries and threads from 1 on"
    );
    let environment = a.output.environment()?;
    let mut rows = Vec::new();
    for plan in plans(a) {
        let row = row(a, plan)?;
        print(&row);
        rows.push(row);
    }
    a.output.write(
        "ratios.json",
        &Results {
            environment,
            base: a.base.clone(),
            rows,
        },
    )
}

fn row(a: &Arguments, plan: Plan) -> Result<Row> {
    let mut turn: Vec<&String> = a
        .contenders
        .iter()
        .filter(|c| **c == a.base || fits(c, plan.figure, plan.threads))
        .collect();
    let mut nanoseconds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..if a.quick { 1 } else { a.rounds } {
        for &contender in &turn {
            let samples: Vec<f64> = in_fresh_process(
                "once",
                &Task {
                    contender: contender.clone(),
                    plan,
                },
            )
            .context(contender.clone())?;
            nanoseconds
                .entry(contender.clone())
                .or_default()
                .push(quartiles(&samples).1);
        }
        // Whoever was last is first: neighbours stay neighbours, and nobody always goes first.
        turn.reverse();
    }
    let base = nanoseconds[&a.base].clone();
    let ratios = nanoseconds
        .iter()
        .filter(|(name, _)| **name != a.base)
        .map(|(name, ns)| {
            let each: Vec<f64> = ns
                .iter()
                .zip(&base)
                .map(|(other, base)| other / base)
                .collect();
            let (lower_quartile, median, upper_quartile) = quartiles(&each);
            (
                name.clone(),
                Ratio {
                    lower_quartile,
                    median,
                    upper_quartile,
                },
            )
        })
        .collect();
    Ok(Row {
        plan,
        nanoseconds,
        ratios,
    })
}

fn print(row: &Row) {
    let Plan {
        figure,
        entries,
        threads,
        build,
        ..
    } = row.plan;
    print!(
        "{:<30}",
        format!("{figure:?} {entries} x{threads} {build:?}").to_lowercase()
    );
    for (name, ns) in &row.nanoseconds {
        print!("  {name} {:.1} ns", store::quartiles(ns).1);
        if let Some(r) = row.ratios.get(name) {
            print!(
                " ({:.2}x, {:.2} to {:.2})",
                r.median, r.lower_quartile, r.upper_quartile
            );
        }
    }
    println!();
}

/// The fresh process's part.
pub fn once() -> Result<()> {
    let mut task = String::new();
    stdin().read_to_string(&mut task)?;
    let task: Task = serde_json::from_str(&task)?;
    let samples = dispatch!(task.contender.as_str(), M => task.plan.run::<M>())
        .context("no such contender")?;
    println!("{}", serde_json::to_string(&samples)?);
    Ok(())
}
