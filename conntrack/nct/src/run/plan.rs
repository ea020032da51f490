//! Which rounds are measured, in which order.
//!
//! Machines are noisy and drift, so stores alternate: A B, B A, A B, … at each number of threads in turn. Two rounds that are compared ran next to
//! each other, and each store goes first as often as the other.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nulls_conntrack::Config;

use super::Options;
use super::report::{
    Environment, FORMAT, Point, Report, RoundResult, StoreResult, problems, ratios,
};
use super::stores::{Room, StoreKind};
use super::worker::{self, Memory, Round, Usage};
use crate::workload::stream::{Lane, Stream};

/// Most threads; the tracker has no such limit, but nobody wants a typing mistake to start a million.
const MAX_THREADS: usize = 1024;

/// A checked set of options.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    options: &'a Options,
    sizes: Vec<u64>,
    threads: Vec<usize>,
    stores: Vec<StoreKind>,
}

/// Rounds of all stores at one number of threads.
struct Column<'a> {
    threads: usize,
    lanes: Vec<Lane<'a>>,
    rounds: Vec<Vec<RoundResult>>,
}

impl<'a> Plan<'a> {
    /// Fills in defaults. An error is a message for the user.
    pub(crate) fn new(options: &'a Options) -> Result<Plan<'a>, String> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut threads: Vec<usize> = options.threads.iter().map(|n| n.get()).collect();
        if threads.is_empty() {
            threads = if cpus > 1 { vec![1, 2] } else { vec![1] };
        }
        if let Some(n) = threads.iter().find(|&&n| n > MAX_THREADS) {
            return Err(format!("{n} threads are more than {MAX_THREADS}"));
        }
        let mut stores: Vec<StoreKind> = Vec::new();
        for &store in &options.store {
            if !stores.contains(&store) {
                stores.push(store);
            }
        }
        let sizes = match options.size.as_slice() {
            [] => options.workload.sizes().to_vec(),
            sizes => sizes.to_vec(),
        };
        Ok(Plan {
            options,
            sizes,
            threads,
            stores,
        })
    }

    /// Measures, until done or until `stop` is set.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Result<Report, String> {
        let mut report = Report {
            format: FORMAT,
            environment: Environment::here(),
            workload: self.options.workload,
            size_means: self.options.workload.size_means(),
            seed: self.options.seed,
            verify_checksums: self.options.verify_checksums,
            burst: self.options.burst,
            grow: self.options.grow,
            interrupted: false,
            problems: Vec::new(),
            points: Vec::new(),
        };
        let bar = Progress::new(self);
        for &size in &self.sizes {
            report.points.extend(self.measure_size(size, &bar, stop));
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        bar.bar.finish_and_clear();
        report.interrupted = stop.load(Ordering::Relaxed);
        report.problems = problems(&report.points, self.options.workload.fills_the_table());
        Ok(report)
    }

    fn measure_size(&self, size: u64, bar: &Progress, stop: &AtomicBool) -> Vec<Point> {
        bar.says(format!("{size}: making packets"));
        let go_on = |_| {
            bar.bar.tick();
            !stop.load(Ordering::Relaxed)
        };
        let options = self.options;
        let Some(stream) = options
            .workload
            .generate(size, options.packets, options.seed, go_on)
        else {
            return Vec::new();
        };
        let mut columns: Vec<Column<'_>> = self
            .threads
            .iter()
            .map(|&threads| Column {
                threads,
                lanes: stream.lanes(threads),
                rounds: vec![Vec::new(); self.stores.len()],
            })
            .collect();
        let whole = stream.lanes(1).remove(0);
        let harness = worker::overhead(&whole);
        bar.says(format!("{size}: measuring memory"));
        let memory: Option<Vec<Option<Usage>>> = self
            .stores
            .iter()
            .map(|store| {
                if options.no_memory {
                    return Some(None);
                }
                let job = Memory { lane: &whole, stop };
                let room = self.room(size, &stream);
                store.run(room, self.config(size), job).map(Some)
            })
            .collect();
        let Some(memory) = memory else {
            return Vec::new();
        };
        self.rounds(size, &stream, &mut columns, bar, stop);
        columns
            .into_iter()
            .filter_map(|column| {
                let results: Option<Vec<StoreResult>> = self
                    .stores
                    .iter()
                    .zip(&memory)
                    .zip(column.rounds)
                    .map(|((&store, &memory), rounds)| StoreResult::new(store, memory, rounds))
                    .collect();
                let results = results?;
                Some(Point {
                    size,
                    threads: column.threads,
                    traffic: stream.summary.clone(),
                    harness_nanoseconds: harness,
                    ratios: ratios(&results),
                    results,
                })
            })
            .collect()
    }

    fn rounds(
        &self,
        size: u64,
        stream: &Stream,
        columns: &mut [Column<'_>],
        bar: &Progress,
        stop: &AtomicBool,
    ) {
        let budget = Duration::from_secs_f64(self.options.seconds / self.sizes.len() as f64);
        let mut measured = Duration::ZERO;
        let mut sequence = 0;
        let enough = |turn: u32, measured: Duration| match self.options.rounds {
            Some(rounds) => turn >= rounds,
            // Each store goes first equally often.
            None => turn >= 2 && turn.is_multiple_of(2) && measured >= budget,
        };
        for turn in 0.. {
            if enough(turn, measured) {
                return;
            }
            for column in columns.iter_mut() {
                let order: Vec<usize> = match turn % 2 {
                    0 => (0..self.stores.len()).collect(),
                    _ => (0..self.stores.len()).rev().collect(),
                };
                for at in order {
                    let store = self.stores[at];
                    bar.says(format!(
                        "{size}: {} on {} thread(s)",
                        store.name(),
                        column.threads
                    ));
                    let round = Round {
                        lanes: &column.lanes,
                        end: stream.end(),
                        options: worker::Options {
                            verify_checksums: self.options.verify_checksums,
                            burst: self.options.burst.map(usize::from),
                        },
                        stop,
                    };
                    let Some(outcome) =
                        store.run(self.room(size, stream), self.config(size), round)
                    else {
                        return;
                    };
                    measured += outcome.elapsed;
                    bar.advance(outcome.elapsed);
                    column.rounds[at].push(RoundResult::new(sequence, &outcome));
                    sequence += 1;
                }
            }
        }
    }

    fn room(&self, size: u64, stream: &Stream) -> Room {
        // No stream makes more entries than it has flows.
        let most = u32::try_from(stream.summary.flows + 1024).unwrap_or(u32::MAX / 2);
        let expected = if self.options.grow { 0 } else { size };
        Room {
            most,
            expected: u32::try_from(expected).map_or(most, |n| n.min(most)),
        }
    }

    fn config(&self, size: u64) -> Config {
        Config {
            // The same for all stores, so that none has a luckier hash.
            seed: Some((self.options.seed, !self.options.seed)),
            max: if self.options.workload.fills_the_table() {
                size as usize
            } else {
                0
            },
            ..Config::default()
        }
    }
}

/// A bar on terminals, nothing elsewhere.
struct Progress {
    bar: ProgressBar,
    /// The bar counts rounds, not milliseconds.
    by_rounds: bool,
}

impl Progress {
    fn new(plan: &Plan<'_>) -> Progress {
        let rounds = plan.options.rounds.map(|n| {
            u64::from(n) * (plan.sizes.len() * plan.threads.len() * plan.stores.len()) as u64
        });
        let (length, template) = match rounds {
            Some(n) => (n, "{bar:30} {pos}/{len} rounds  {wide_msg}"),
            None => (
                (plan.options.seconds * 1000.0) as u64,
                "{bar:30} {percent:>3} %  {wide_msg}",
            ),
        };
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Progress {
            bar,
            by_rounds: rounds.is_some(),
        }
    }

    fn says(&self, what: String) {
        self.bar.set_message(what);
        self.bar.tick();
    }

    fn advance(&self, measured: Duration) {
        self.bar.inc(if self.by_rounds {
            1
        } else {
            measured.as_millis() as u64
        });
    }
}
