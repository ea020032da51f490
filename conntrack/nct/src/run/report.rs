//! The result of a run as data: `nct --json` prints a [`Report`].
//!
#![doc = include_str!("../../JSON.md")]

use hdrhistogram::Histogram;
use serde::Serialize;

use super::stores::StoreKind;
use super::worker::{Collections, Outcome, Tally, Usage};
use crate::workload::Workload;
use crate::workload::stream::Summary;

/// Changes when a field changes its meaning or goes away.
pub(crate) const FORMAT: u32 = 1;

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    pub(crate) environment: Environment,
    pub(crate) workload: Workload,
    pub(crate) size_means: &'static str,
    pub(crate) seed: u64,
    pub(crate) verify_checksums: bool,
    /// Packets handed to the tracker at once, if not one by one.
    pub(crate) burst: Option<u16>,
    /// Stores began with room for nothing, not for `size` entries.
    pub(crate) grow: bool,
    /// Stopped before the end; what is here was measured completely.
    pub(crate) interrupted: bool,
    /// What is wrong with the results; empty if nothing is.
    pub(crate) problems: Vec<String>,
    pub(crate) points: Vec<Point>,
}

/// Where it ran.
#[derive(Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) version: &'static str,
    pub(crate) optimised: bool,
    pub(crate) os: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) unix_seconds: u64,
}

impl Environment {
    pub(crate) fn here() -> Environment {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("model name")?
                    .split_once(':')
                    .map(|(_, name)| name.trim().to_owned())
            })
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Environment {
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            os: format!(
                "{} {}",
                std::env::consts::OS,
                read("/proc/sys/kernel/osrelease").trim()
            )
            .trim()
            .to_owned(),
            cpu,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            unix_seconds: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        }
    }
}

/// One size with one number of threads.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) size: u64,
    pub(crate) threads: usize,
    pub(crate) traffic: Summary,
    /// Nanoseconds of each packet that are the harness's, not the tracker's.
    pub(crate) harness_nanoseconds: f64,
    pub(crate) results: Vec<StoreResult>,
    pub(crate) ratios: Vec<Ratio>,
}

/// All rounds of one store at one point.
#[derive(Debug, Serialize)]
pub(crate) struct StoreResult {
    pub(crate) store: StoreKind,
    /// `None`: it was not to be measured.
    pub(crate) memory: Option<Usage>,
    pub(crate) bytes_per_entry: Option<f64>,
    pub(crate) packets_per_second: Spread,
    /// Of one packet, in nanoseconds: the median over rounds of each round's figure.
    pub(crate) nanoseconds: Times,
    /// Time that CPUs spent for each packet, collector included; hardly disturbed by what else the machine does.
    pub(crate) cpu_nanoseconds: Option<Spread>,
    pub(crate) entries: u64,
    pub(crate) buckets: u64,
    pub(crate) rounds: Vec<RoundResult>,
}

/// One round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RoundResult {
    /// Position in the sequence of all rounds of the run.
    pub(crate) sequence: usize,
    pub(crate) seconds: f64,
    pub(crate) packets: u64,
    pub(crate) packets_per_second: f64,
    pub(crate) nanoseconds: Times,
    /// Of packets in state NEW; `None` without any, and in bursts.
    pub(crate) new_nanoseconds: Option<Times>,
    pub(crate) cpu_nanoseconds: Option<f64>,
    /// In bursts: what the tracker took for a packet, on the thread that passed it; nothing of the harness is in it.
    pub(crate) tracker_nanoseconds: Option<f64>,
    pub(crate) tally: Tally,
    pub(crate) collections: Collections,
    /// Before the measured part.
    pub(crate) tidying: Collections,
    pub(crate) entries: u64,
    pub(crate) buckets: u64,
}

/// Quantiles of the time of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Times {
    pub(crate) mean: f64,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) maximum: f64,
}

impl Times {
    fn new(times: &Histogram<u64>) -> Times {
        let at = |q: f64| times.value_at_quantile(q) as f64;
        Times {
            mean: times.mean(),
            median: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            maximum: times.max() as f64,
        }
    }
}

/// A median with what it is the median of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// Packets per second of one store divided by another's, over pairs of neighbouring rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) store: StoreKind,
    pub(crate) against: StoreKind,
    pub(crate) pairs: usize,
    #[serde(flatten)]
    pub(crate) ratio: Spread,
}

impl RoundResult {
    pub(crate) fn new(sequence: usize, outcome: &Outcome) -> RoundResult {
        let seconds = outcome.elapsed.as_secs_f64();
        RoundResult {
            sequence,
            seconds,
            packets: outcome.packets,
            packets_per_second: outcome.packets as f64 / seconds.max(1e-9),
            nanoseconds: Times::new(&outcome.times),
            new_nanoseconds: (!outcome.openings.is_empty()).then(|| Times::new(&outcome.openings)),
            cpu_nanoseconds: outcome
                .cpu
                .map(|cpu| cpu.as_nanos() as f64 / outcome.packets.max(1) as f64),
            tracker_nanoseconds: (outcome.tracker > 0)
                .then(|| outcome.tracker as f64 / outcome.packets.max(1) as f64),
            tally: outcome.tally,
            collections: outcome.collections,
            tidying: outcome.tidying,
            entries: outcome.entries,
            buckets: outcome.buckets,
        }
    }
}

/// The middle of `values`, or the mean of the two middles; 0 if there are none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Spread {
        Spread {
            median: median(values.iter().copied()),
            lowest: values.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0),
            highest: values.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0),
        }
    }
}

impl StoreResult {
    /// `None` without rounds.
    pub(crate) fn new(
        store: StoreKind,
        memory: Option<Usage>,
        rounds: Vec<RoundResult>,
    ) -> Option<StoreResult> {
        let last = rounds.last()?;
        let rates: Vec<f64> = rounds.iter().map(|r| r.packets_per_second).collect();
        let cpu: Option<Vec<f64>> = rounds.iter().map(|r| r.cpu_nanoseconds).collect();
        let of = |f: fn(&Times) -> f64| median(rounds.iter().map(|r| f(&r.nanoseconds)));
        Some(StoreResult {
            store,
            memory,
            bytes_per_entry: memory.map(|m| m.bytes as f64 / m.entries.max(1) as f64),
            packets_per_second: Spread::of(&rates),
            nanoseconds: Times {
                mean: of(|t| t.mean),
                median: of(|t| t.median),
                p99: of(|t| t.p99),
                p999: of(|t| t.p999),
                maximum: of(|t| t.maximum),
            },
            cpu_nanoseconds: cpu.as_deref().map(Spread::of),
            entries: last.entries,
            buckets: last.buckets,
            rounds,
        })
    }
}

/// Ratios of the first store to each of the others: round `i` of one with round `i` of the other, which ran next to it.
pub(crate) fn ratios(results: &[StoreResult]) -> Vec<Ratio> {
    let Some((first, others)) = results.split_first() else {
        return Vec::new();
    };
    others
        .iter()
        .map(|other| {
            let ratios: Vec<f64> = first
                .rounds
                .iter()
                .zip(&other.rounds)
                .map(|(a, b)| a.packets_per_second / b.packets_per_second.max(1e-9))
                .collect();
            Ratio {
                store: first.store,
                against: other.store,
                pairs: ratios.len(),
                ratio: Spread::of(&ratios),
            }
        })
        .collect()
}

/// Compares the counts of all rounds of one size, which saw the same packets. With a full table it depends on the order of buckets which SYNs
/// get in, but neither their number together with those dropped, nor anything else.
pub(crate) fn problems(points: &[Point], table_is_full: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for points in points.chunk_by(|a, b| a.size == b.size) {
        let mut expected: Option<(Tally, u64)> = None;
        for point in points {
            for result in &point.results {
                for round in &result.rounds {
                    let mut seen = (round.tally, round.entries);
                    if table_is_full {
                        seen.0.new += seen.0.dropped;
                        seen.0.dropped = 0;
                        seen.1 = 0;
                    }
                    let place = || {
                        format!(
                            "size {}, {} threads, {}",
                            point.size,
                            point.threads,
                            result.store.name()
                        )
                    };
                    let expected = expected.get_or_insert(seen);
                    if *expected != seen {
                        problems.push(format!("{}: {seen:?} instead of {expected:?}", place()));
                    }
                    if round.tally.invalid > 0 {
                        problems.push(format!(
                            "{}: {} packets are INVALID",
                            place(),
                            round.tally.invalid
                        ));
                    }
                    if round.tally.stale > 0 {
                        problems.push(format!(
                            "{}: {} packets did not update their entry",
                            place(),
                            round.tally.stale
                        ));
                    }
                    if round.tally.dropped > 0 && !table_is_full {
                        problems.push(format!(
                            "{}: {} packets were dropped",
                            place(),
                            round.tally.dropped
                        ));
                    }
                }
            }
        }
    }
    problems.dedup();
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    fn round(rate: f64, new: u64, dropped: u64, entries: u64) -> RoundResult {
        RoundResult {
            sequence: 0,
            seconds: 1.0,
            packets: 10,
            packets_per_second: rate,
            nanoseconds: Times::default(),
            new_nanoseconds: None,
            cpu_nanoseconds: None,
            tracker_nanoseconds: None,
            tally: Tally {
                new,
                dropped,
                ..Tally::default()
            },
            collections: Collections::default(),
            tidying: Collections::default(),
            entries,
            buckets: 1,
        }
    }

    fn point(a: Vec<RoundResult>, b: Vec<RoundResult>) -> Point {
        let memory = Some(Usage {
            bytes: 100,
            entries: 2,
        });
        let results = vec![
            StoreResult::new(StoreKind::Nulls, memory, a).unwrap(),
            StoreResult::new(StoreKind::Dashmap, memory, b).unwrap(),
        ];
        Point {
            size: 1,
            threads: 1,
            traffic: Summary::default(),
            harness_nanoseconds: 0.0,
            ratios: ratios(&results),
            results,
        }
    }

    #[test]
    fn ratios_pair_neighbouring_rounds() {
        let point = point(
            vec![
                round(20.0, 1, 0, 1),
                round(30.0, 1, 0, 1),
                round(80.0, 1, 0, 1),
            ],
            vec![
                round(10.0, 1, 0, 1),
                round(10.0, 1, 0, 1),
                round(20.0, 1, 0, 1),
            ],
        );
        let ratio = &point.ratios[0];
        assert_eq!(
            (
                ratio.pairs,
                ratio.ratio.median,
                ratio.ratio.lowest,
                ratio.ratio.highest
            ),
            (3, 3.0, 2.0, 4.0)
        );
        assert_eq!(point.results[0].bytes_per_entry, Some(50.0));
    }

    #[test]
    fn different_counts_are_a_problem() {
        let same = || vec![round(1.0, 5, 0, 7)];
        assert!(problems(&[point(same(), same())], false).is_empty());
        for other in [
            round(1.0, 6, 0, 7),
            round(1.0, 5, 0, 8),
            round(1.0, 5, 1, 7),
        ] {
            assert!(!problems(&[point(same(), vec![other])], false).is_empty());
        }
        // A full table: what one store lets in the other may drop.
        assert!(problems(&[point(same(), vec![round(1.0, 3, 2, 9)])], true).is_empty());
        assert!(!problems(&[point(same(), vec![round(1.0, 3, 1, 7)])], true).is_empty());
    }
}
