//! A run: every process of the plan, one after the other, its result appended to the raw data.

use crate::estimate;
use crate::external;
use crate::plan::{self, Row, Size};
use crate::raw::{self, Appender, Line};
use anyhow::{Context, Result, bail, ensure};
use bench_results::environment::Environment;
use bench_results::work::{Sample, Spec};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One repetition of a row: what is left of it.
struct Turn<'a> {
    row: usize,
    repetition: usize,
    /// Contenders in their order, which is reversed every other time: neighbours in time are what is compared, and nobody always
    /// goes first.
    specs: Vec<&'a Spec>,
    time: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Fewer rows, sizes and repetitions: under ten minutes
    #[arg(long)]
    pub quick: bool,
    /// Print the plan and its expected time, and measure nothing
    #[arg(long)]
    pub plan: bool,
    /// Only rows whose name contains this (see --plan); may be given several times
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Only these contenders
    #[arg(long, value_name = "NAME,NAME…", value_delimiter = ',')]
    pub contenders: Vec<String>,
    /// At most about this long, such as 45m: what matters most comes first, repetitions are spread evenly, and a further run goes on
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub budget: Option<Duration>,
    /// Processes per contender and row, instead of the plan's
    #[arg(long, value_name = "N")]
    pub repetitions: Option<usize>,
    /// The file of raw results, which is continued if it is there [default: results/<host>-<date>.jsonl, -quick with --quick; yesterday's goes on if it is of the same commit]
    #[arg(long, value_name = "FILE")]
    pub raw: Option<PathBuf>,
    /// Measure although the machine is busy with other things. The results say so
    #[arg(long)]
    pub busy_ok: bool,
}

/// The file of a run that begins today.
fn default_raw(quick: bool) -> Result<PathBuf> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let quick = if quick { "-quick" } else { "" };
    let of = |time| {
        let date = humantime::format_rfc3339_seconds(time).to_string();
        crate::results().join(format!("{host}-{}{quick}.jsonl", &date[..10]))
    };
    let now = std::time::SystemTime::now();
    let (today, yesterday) = (of(now), of(now - Duration::from_secs(86_400)));
    // A run that goes on past midnight.
    let begun = raw::read(&yesterday)?
        .into_iter()
        .rev()
        .find_map(|l| match l {
            Line::Environment { environment, .. } => Some(environment.commit),
            _ => None,
        });
    let same = begun.is_some_and(|c| c == bench_results::environment::commit());
    Ok(if same && !today.exists() {
        yesterday
    } else {
        today
    })
}

/// The subcommand that there is when none is given.
pub fn run(a: &Arguments) -> Result<()> {
    let size = if a.quick { Size::Quick } else { Size::Full };
    let c = external::c_maps();
    let rows = chosen(a, plan::rows(size, &c));
    ensure!(!rows.is_empty(), "no row of the plan was chosen");
    let path = a.raw.clone().map_or_else(|| default_raw(a.quick), Ok)?;
    let before = raw::read(&path)?;
    let (done, took) = finished(&before);
    let todo = turns(&rows, &done, &took, a.budget);
    print_plan(a, &rows, &todo, &done);
    let left: Duration = todo.iter().map(|t| t.time).sum();
    let todo: usize = todo.iter().map(|t| t.specs.len()).sum();
    println!(
        "{} rows, {todo} processes to run, about {}; results go to {}",
        rows.len(),
        humantime::format_duration(Duration::from_secs(left.as_secs())),
        path.display()
    );
    if a.plan || todo == 0 {
        return Ok(());
    }
    if !cfg!(debug_assertions) || a.busy_ok {
        if rows.iter().any(|r| external::is_tracking(r.specs[0].work)) {
            external::build_tracker()?;
        }
    } else {
        bail!("built without optimisation: use --release");
    }
    let environment = Environment::here();
    if environment.is_busy() && !a.busy_ok {
        bail!(
            "the machine is busy ({:.0} % of its time goes elsewhere): timings would mean nothing. Wait, or give --busy-ok",
            environment.busy_percent
        );
    }
    let mut out = Appender::open(&path)?;
    out.add(&Line::Environment {
        environment,
        plan: if a.quick { "quick" } else { "full" }.into(),
        versions: versions(),
        busy_ok: a.busy_ok,
    })?;
    let failures = measure(&rows, &done, &took, a.budget, &mut out)?;
    ensure!(
        failures == 0,
        "{failures} processes failed; a further run tries them again"
    );
    println!("now: cargo run --release -p bench-results -- report");
    Ok(())
}

fn chosen(a: &Arguments, rows: Vec<Row>) -> Vec<Row> {
    rows.into_iter()
        .filter_map(|mut r| {
            let name = r.specs.first()?.row();
            if !a.only.is_empty() && !a.only.iter().any(|t| name.contains(t)) {
                return None;
            }
            if !a.contenders.is_empty() {
                r.specs.retain(|s| a.contenders.contains(&s.contender));
            }
            r.repetitions = a.repetitions.unwrap_or(r.repetitions);
            (!r.specs.is_empty()).then_some(r)
        })
        .collect()
}

type Done = HashSet<(Spec, usize)>;
type Took = HashMap<Spec, f64>;

/// What earlier runs finished, and how long it took.
fn finished(lines: &[Line]) -> (Done, Took) {
    let mut done = HashSet::new();
    let mut took = HashMap::new();
    for line in lines {
        if let Line::Sample {
            spec,
            repetition,
            seconds,
            ..
        } = line
        {
            done.insert((spec.clone(), *repetition));
            took.insert(spec.clone(), *seconds);
        }
    }
    (done, took)
}

fn expected(spec: &Spec, took: &Took) -> Duration {
    took.get(spec).map_or_else(
        || estimate::of_process(spec),
        |s| Duration::from_secs_f64(*s),
    )
}

/// What is left to do, in the order of the plan; as much of it as fits into the budget.
fn turns<'a>(rows: &'a [Row], done: &Done, took: &Took, budget: Option<Duration>) -> Vec<Turn<'a>> {
    let mut spent = Duration::ZERO;
    plan::turns(rows)
        .into_iter()
        .filter_map(|(row, repetition)| {
            let mut specs: Vec<&Spec> = rows[row].specs.iter().collect();
            if repetition % 2 == 1 {
                specs.reverse();
            }
            specs.retain(|s| !done.contains(&((*s).clone(), repetition)));
            let time = specs.iter().map(|s| expected(s, took)).sum();
            let fits = budget.is_none_or(|b| spent + time <= b);
            (fits && !specs.is_empty()).then(|| {
                spent += time;
                Turn {
                    row,
                    repetition,
                    specs,
                    time,
                }
            })
        })
        .collect()
}

fn print_plan(a: &Arguments, rows: &[Row], todo: &[Turn<'_>], done: &Done) {
    if !a.plan && !todo.is_empty() {
        let whole = estimate::of_rows(rows);
        println!(
            "the whole plan takes about {}; --plan lists it",
            humantime::format_duration(Duration::from_secs(whole.as_secs()))
        );
        return;
    }
    println!(" seconds  rank  done + now of all  row  contenders");
    for (at, r) in rows.iter().enumerate() {
        let names: Vec<&str> = r.specs.iter().map(|s| s.contender.as_str()).collect();
        let time = estimate::of_rows(std::slice::from_ref(r));
        let whole = |i: &usize| r.specs.iter().all(|s| done.contains(&(s.clone(), *i)));
        println!(
            "{:>6.0} s  {}  {:>2} + {:>2} of {:>2}  {:<58} {}",
            time.as_secs_f64(),
            r.rank,
            (0..r.repetitions).filter(whole).count(),
            todo.iter().filter(|t| t.row == at).count(),
            r.repetitions,
            r.specs[0].row(),
            names.join(" ")
        );
    }
}

/// Names and versions of what takes part.
fn versions() -> Vec<String> {
    const NAMES: &[&str] = &[
        "dashmap",
        "papaya",
        "scc",
        "flurry",
        "kovan-map",
        "parking_lot",
        "hashbrown",
        "crossbeam-epoch",
        "seize",
        "seqlock",
        "foldhash",
    ];
    let lock = include_str!("../../Cargo.lock");
    let mut versions = Vec::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(n) = line.strip_prefix("name = ") {
            name = n.trim_matches('"');
        } else if let Some(v) = line.strip_prefix("version = ")
            && NAMES.contains(&name)
        {
            versions.push(format!("{name} {}", v.trim_matches('"')));
        }
    }
    versions
}

/// Runs what is missing, until the budget is used up. Times turn out other than expected, so each turn is weighed anew.
fn measure(
    rows: &[Row],
    done: &Done,
    took: &Took,
    budget: Option<Duration>,
    out: &mut Appender,
) -> Result<usize> {
    let turns = turns(rows, done, took, None);
    let all: Duration = turns.iter().map(|t| t.time).sum();
    let bar = ProgressBar::new(budget.unwrap_or(all).min(all).as_millis() as u64);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed} gone  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let begin = Instant::now();
    let mut took = took.clone();
    let mut failures = 0;
    for turn in turns {
        let time: Duration = turn.specs.iter().map(|s| expected(s, &took)).sum();
        if budget.is_some_and(|b| begin.elapsed() + time > b) {
            continue;
        }
        let name = rows[turn.row].specs[0].row();
        let repetition = turn.repetition;
        for spec in turn.specs {
            bar.set_message(format!("{name}  {}", spec.contender));
            let start = Instant::now();
            let result = in_a_process(spec, repetition);
            let seconds = start.elapsed().as_secs_f64();
            took.insert(spec.clone(), seconds);
            let line = match result {
                Ok(sample) => Line::Sample {
                    spec: spec.clone(),
                    repetition,
                    seconds,
                    sample,
                },
                Err(e) => {
                    failures += 1;
                    bar.println(format!("{name}  {}: {e:#}", spec.contender));
                    Line::Failure {
                        spec: spec.clone(),
                        repetition,
                        error: format!("{e:#}"),
                    }
                }
            };
            out.add(&line)?;
        }
        match budget {
            Some(_) => bar.set_position(begin.elapsed().as_millis() as u64),
            None => bar.inc(turn.time.as_millis() as u64),
        }
    }
    bar.finish_and_clear();
    Ok(failures)
}

/// Has a fresh process make the measurement.
fn in_a_process(spec: &Spec, repetition: usize) -> Result<Sample> {
    let external = external::command(spec, repetition)?;
    let other = external.is_some();
    let mut command = external.map_or_else(
        || {
            let mut c = Command::new(std::env::current_exe()?);
            c.arg("sample");
            Ok::<_, std::io::Error>(c)
        },
        Ok,
    )?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    if !other {
        stdin.write_all(&serde_json::to_vec(spec)?)?;
    }
    drop(stdin);
    let out = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success(),
        "{}: {}",
        out.status,
        said.lines().find(|l| !l.trim().is_empty()).unwrap_or("")
    );
    if other {
        external::sample(spec, &out.stdout)
    } else {
        Ok(serde_json::from_slice(&out.stdout)?)
    }
}

/// The fresh process's part.
pub fn sample() -> Result<()> {
    let spec: Spec = serde_json::from_reader(std::io::stdin())?;
    println!(
        "{}",
        serde_json::to_string(&bench_results::work::run(&spec)?)?
    );
    Ok(())
}
