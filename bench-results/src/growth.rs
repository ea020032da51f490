//! `growth`: how long single insertions take while a map grows from empty.
//!
//! The machine stalls too (interrupts, the host), so beside each growth runs a loop that does nothing but read the
//! clock, for as long and on as many threads: the longest gap between two of its readings is the floor below which no
//! longest insertion can be told from the machine's own doing.

use crate::store::{Output, in_fresh_process, quartiles};
use anyhow::{Context, Result, ensure};
use bench_results::contender::{self, Map, Session};
use bench_results::dispatch;
use bench_results::environment::Environment;
use bench_results::measure::{share, timed};
use bench_results::workload::{permuted, value_of};
use clap::Args;
use core::time::Duration;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::io::{Read, stdin};
use std::sync::Mutex;
use std::time::Instant;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    output: Output,
    /// The contenders.
    #[arg(long, value_delimiter = ',', default_values = ["nulls", "dashmap"])]
    contenders: Vec<String>,
    /// Entries at the end.
    #[arg(long, default_value_t = 10_000_000)]
    entries: usize,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Growths of every contender, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What a fresh process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Task {
    contender: String,
    entries: usize,
    threads: usize,
}

/// Times in nanoseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Spread {
    p50: u64,
    p99: u64,
    p99_9: u64,
    p99_99: u64,
    /// Exact, not rounded to the histogram's three digits.
    max: u64,
}

/// One growth.
#[derive(Debug, Serialize, Deserialize)]
struct Growth {
    #[serde(flatten)]
    task: Task,
    /// Wall time of the whole growth.
    seconds: f64,
    /// Single insertions.
    insert: Spread,
    /// Gaps between readings of the clock in a loop that does nothing else, for as long, on as many threads.
    floor: Spread,
    /// The most buckets that one insertion moved; of maps that count them.
    most_moved: Option<u64>,
    /// Keys inserted before the longest insertion, in its own thread.
    longest_at: usize,
}

#[derive(Debug, Serialize)]
struct Results {
    environment: Environment,
    growths: Vec<Growth>,
}

/// What one thread noted.
#[derive(Debug)]
struct Notes {
    histogram: Histogram<u64>,
    max: u64,
    max_at: usize,
    most_moved: Option<u64>,
}

impl Notes {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        Self {
            histogram,
            max: 0,
            max_at: 0,
            most_moved: None,
        }
    }

    #[inline]
    fn note(&mut self, time: Duration, at: usize) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(ns);
        if ns > self.max {
            (self.max, self.max_at) = (ns, at);
        }
    }

    fn add(mut self, other: &Self) -> Self {
        self.histogram += &other.histogram;
        if other.max > self.max {
            (self.max, self.max_at) = (other.max, other.max_at);
        }
        self.most_moved = self.most_moved.max(other.most_moved);
        self
    }

    fn spread(&self) -> Spread {
        let at = |q| self.histogram.value_at_quantile(q);
        Spread {
            p50: at(0.5),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: self.max,
        }
    }
}

/// Runs `work` on as many threads and adds up their notes.
fn noted(threads: usize, work: impl Fn(usize, &mut Notes) + Sync) -> (Duration, Notes) {
    let all = Mutex::new(Vec::new());
    let time = timed(threads, |t| {
        let mut notes = Notes::new();
        work(t, &mut notes);
        all.lock().expect("no thread failed").push(notes);
    });
    let all = all.into_inner().expect("no thread failed");
    (time, all.iter().fold(Notes::new(), Notes::add))
}

fn grow<M: Map>(task: Task) -> Growth {
    let map = M::empty();
    let keys = permuted(task.entries, 1);
    let (time, notes) = noted(task.threads, |t, notes| {
        let session = map.session();
        for (i, &k) in share(&keys, t, task.threads).iter().enumerate() {
            let before = M::moved();
            let start = Instant::now();
            let old = session.insert(k, value_of(k));
            notes.note(start.elapsed(), i);
            assert_eq!(old, None, "{}: a key twice", M::NAME);
            let moved = M::moved().zip(before).map(|(after, before)| after - before);
            notes.most_moved = notes.most_moved.max(moved);
        }
    });
    let sum = keys.iter().fold(0u64, |a, &k| a.wrapping_add(value_of(k)));
    assert_eq!(
        map.session().sum(),
        sum,
        "{}: an insertion was lost",
        M::NAME
    );
    drop(map);
    let (_, floor) = noted(task.threads, |_, notes| {
        let begin = Instant::now();
        let mut last = begin;
        while last - begin < time {
            let now = Instant::now();
            notes.note(now - last, 0);
            last = now;
        }
    });
    Growth {
        task,
        seconds: time.as_secs_f64(),
        insert: notes.spread(),
        floor: floor.spread(),
        most_moved: notes.most_moved,
        longest_at: notes.max_at,
    }
}

/// The subcommand.
pub fn run(a: &Arguments) -> Result<()> {
    for name in &a.contenders {
        ensure!(
            contender::ALL.contains(&name.as_str()),
            "no contender {name}; there are {:?}",
            contender::ALL
        );
    }
    ensure!(
        a.rounds > 0 && a.entries > 0,
        "at least one round and one entry"
    );
    ensure!(a.threads.iter().all(|&n| n > 0), "threads from 1 on");
    let environment = a.output.environment()?;
    let mut growths: Vec<Growth> = Vec::new();
    let mut turn = a.contenders.clone();
    for &threads in &a.threads {
        for _ in 0..a.rounds {
            for contender in &turn {
                let task = Task {
                    contender: contender.clone(),
                    entries: a.entries,
                    threads,
                };
                let growth = in_fresh_process("grow-once", &task)?;
                print(&growth);
                growths.push(growth);
            }
            turn.reverse();
        }
        for contender in &a.contenders {
            let of = |f: fn(&Growth) -> u64| {
                let mine = growths
                    .iter()
                    .filter(|g| g.task.contender == *contender && g.task.threads == threads);
                quartiles(&mine.map(|g| f(g) as f64 / 1e6).collect::<Vec<_>>()).1
            };
            println!(
                "{contender} x{threads}: longest insertion {:.3} ms in the median round, the machine's floor {:.3} ms",
                of(|g| g.insert.max),
                of(|g| g.floor.max)
            );
        }
    }
    a.output.write(
        "growth.json",
        &Results {
            environment,
            growths,
        },
    )
}

fn print(g: &Growth) {
    let Spread {
        p50,
        p99,
        p99_9,
        p99_99,
        max,
    } = g.insert;
    print!(
        "{:<14} x{} {:.2} s  p50 {p50} p99 {p99} p99.9 {p99_9} p99.99 {p99_99} max {max} ns (at {})  floor p99.99 {} max {} ns",
        g.task.contender, g.task.threads, g.seconds, g.longest_at, g.floor.p99_99, g.floor.max
    );
    println!(
        "{}",
        g.most_moved
            .map(|m| format!("  moved at most {m} buckets"))
            .unwrap_or_default()
    );
}

/// The fresh process's part.
pub fn once() -> Result<()> {
    let mut task = String::new();
    stdin().read_to_string(&mut task)?;
    let task: Task = serde_json::from_str(&task)?;
    let growth = dispatch!(task.contender.clone().as_str(), M => grow::<M>(task))
        .context("no such contender")?;
    println!("{}", serde_json::to_string(&growth)?);
    Ok(())
}
