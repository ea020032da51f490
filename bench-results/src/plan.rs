//! What the harness measures: every row of work, who takes part in it, how often, and about how long that takes.

use crate::external;
use bench_results::contender::{ALL, KEYED};
use bench_results::key::KeyKind;
use bench_results::measure::Build;
use bench_results::work::ablation::{FRACTIONS, GEOMETRIES, PINS};
use bench_results::work::{
    Mix, Mode, Order, Presence3 as Presence, Published, Spec, Traffic, Work, Ycsb,
};
use std::time::Duration;

/// A row: the same work for several contenders, which take turns.
#[derive(Clone, Debug)]
pub struct Row {
    /// One per contender; they differ in that only.
    pub specs: Vec<Spec>,
    /// Processes of each.
    pub repetitions: usize,
    /// How soon it is measured: 0 for what the targets and each group of tables need, 1 for the rest of the tables, 2 for variations.
    pub rank: usize,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Under ten minutes.
    Quick,
    /// Under three hours.
    Full,
}

/// The maps that are measured at twenty million entries and while they grow.
const LEADING: &[&str] = &["nulls", "dashmap", "papaya", "scc", "scc-index", "kovan"];
/// The maps compared in a quick run.
const QUICK: &[&str] = &["nulls", "dashmap", "papaya", "scc-index", "hashbrown"];

struct Builder {
    size: Size,
    rank: usize,
    rows: Vec<Row>,
}

impl Builder {
    fn full(&self) -> bool {
        self.size == Size::Full
    }

    /// Contenders of `names` that there are and that take part.
    fn among<'a>(&self, names: &[&'a str], extra: &[&'a str]) -> Vec<&'a str> {
        names
            .iter()
            .chain(extra)
            .copied()
            .filter(|n| ALL.contains(n) && (self.full() || QUICK.contains(n)))
            .collect()
    }

    fn row(&mut self, work: Work, key: KeyKind, entries: usize, threads: usize, names: &[&str]) {
        let build = match work {
            Work::Peers { .. } => Build::Presized,
            _ => Build::Grown,
        };
        self.row_built(work, key, entries, threads, build, names);
    }

    fn row_built(
        &mut self,
        work: Work,
        key: KeyKind,
        entries: usize,
        threads: usize,
        build: Build,
        names: &[&str],
    ) {
        let large = entries >= 10_000_000
            || matches!(work, Work::Memory | Work::Timeline | Work::Latency { .. })
            || external::is_tracking(work) && entries > 100_000;
        let repetitions = match self.size {
            Size::Quick => 3,
            Size::Full if large => 3,
            Size::Full => 10,
        };
        let specs = names
            .iter()
            .filter(|&&n| n != "hashbrown" || threads == 1)
            .map(|&n| Spec {
                work,
                key,
                entries,
                threads,
                // The classic table has the length it was told.
                build: if n == "classic" {
                    Build::Presized
                } else {
                    build
                },
                ms: if self.full() { 150 } else { 40 },
                contender: n.into(),
            })
            .collect();
        // A quick run is short anyway.
        let rank = if self.full() { self.rank } else { 0 };
        self.rows.push(Row {
            specs,
            repetitions,
            rank,
        });
    }

    fn look_ups(&mut self) {
        let all = self.among(
            &[
                "nulls",
                "nulls-held",
                "nulls-type-stable",
                "dashmap",
                "papaya",
                "scc",
                "scc-index",
                "flurry",
                "kovan",
                "std-rwlock",
                "std-mutex",
                "parking-lot",
                "classic",
                "hashbrown",
            ],
            &[],
        );
        let few = self.among(LEADING, &["hashbrown", "classic"]);
        let keyed: Vec<&str> = self.among(KEYED, &[]);
        let look = |presence, order, mode| Work::Lookup {
            presence,
            order,
            mode,
            huge_pages: true,
        };
        use KeyKind::{Bytes16, String, Tuple, U64};
        use Mode::{Batch, Dependent, Throughput};
        use Order::{Sequential, Uniform, Zipf};
        use Presence::{Half, Hit, Miss};
        let full = self.full();
        let sizes: &[usize] = if full {
            &[1_000, 100_000, 1_000_000]
        } else {
            &[1_000, 100_000]
        };
        for &n in sizes {
            for presence in [Hit, Miss] {
                self.row(look(presence, Uniform, Throughput), U64, n, 1, &all);
            }
        }
        self.row(look(Hit, Uniform, Throughput), U64, 1_000, 2, &all);
        if !full {
            return;
        }
        self.rank = 1;
        for &n in sizes {
            self.row(look(Half, Uniform, Throughput), U64, n, 1, &few);
        }
        self.row(look(Miss, Uniform, Throughput), U64, 1_000, 2, &few);
        for n in [100_000, 1_000_000] {
            self.row(look(Hit, Uniform, Throughput), U64, n, 2, &few);
        }
        for n in [1_000, 1_000_000] {
            self.row(look(Hit, Uniform, Throughput), U64, n, 4, &few);
            self.row(look(Hit, Sequential, Throughput), U64, n, 1, &few);
        }
        for n in sizes {
            self.row(look(Hit, Uniform, Dependent), U64, *n, 1, &few);
            let with_batches = self.among(&["nulls", "nulls-held", "dashmap", "hashbrown"], &[]);
            self.row(look(Hit, Uniform, Batch), U64, *n, 1, &with_batches);
        }
        for threads in [1, 2] {
            self.row(look(Hit, Zipf, Throughput), U64, 1_000_000, threads, &few);
        }
        for key in [Bytes16, Tuple, String] {
            for n in [1_000, 1_000_000] {
                self.row(look(Hit, Uniform, Throughput), key, n, 1, &keyed);
            }
            self.row(look(Miss, Uniform, Throughput), key, 1_000_000, 1, &keyed);
        }
        for presence in [Hit, Miss, Half] {
            let names = self.among(
                &["nulls", "dashmap", "papaya", "scc-index", "hashbrown"],
                &[],
            );
            self.row(
                look(presence, Uniform, Throughput),
                U64,
                20_000_000,
                1,
                &names,
            );
        }
        let names = self.among(&["nulls", "dashmap", "papaya", "scc-index"], &[]);
        self.row(look(Hit, Uniform, Throughput), U64, 20_000_000, 2, &names);
        // The same without huge pages.
        self.rank = 2;
        for n in [100_000, 1_000_000] {
            let work = Work::Lookup {
                presence: Hit,
                order: Uniform,
                mode: Throughput,
                huge_pages: false,
            };
            self.row_built(work, U64, n, 1, Build::Presized, &["nulls", "hashbrown"]);
            let work = look(Hit, Uniform, Throughput);
            self.row_built(work, U64, n, 1, Build::Presized, &["nulls", "hashbrown"]);
        }
    }

    fn writes(&mut self) {
        self.rank = 0;
        let names = self.among(
            &[
                "nulls",
                "nulls-type-stable",
                "dashmap",
                "papaya",
                "scc",
                "scc-index",
                "flurry",
                "kovan",
                "hashbrown",
            ],
            &[],
        );
        let updating = self.among(&["nulls", "nulls-atomic"], &names[1..]);
        let u64 = KeyKind::U64;
        let (n, threads): (usize, &[usize]) = if self.full() {
            (1_000_000, &[1, 2])
        } else {
            (100_000, &[2])
        };
        for &t in threads {
            self.row(Work::Insert, u64, n, t, &names);
            self.row_built(Work::Insert, u64, n, t, Build::Presized, &names);
            self.row(Work::Remove, u64, n, t, &names);
            self.row(Work::Update, u64, n, t, &updating);
            if self.full() {
                self.row(Work::Replace, u64, n, t, &names);
            }
        }
        let mixes: Vec<Mix> = [Ycsb::A, Ycsb::B, Ycsb::C, Ycsb::D, Ycsb::F]
            .map(|name| Mix::Ycsb { name })
            .into_iter()
            .chain(
                [
                    Published::ReadHeavy,
                    Published::Exchange,
                    Published::RapidGrow,
                    Published::RapidGrowGrowing,
                ]
                .map(|name| Mix::Published { name }),
            )
            .collect();
        let leading = self.among(LEADING, &[]);
        for mix in mixes {
            let work = Work::Mix { mix };
            if !self.full() {
                self.row(work, u64, 1 << 17, 2, &leading);
                continue;
            }
            for threads in [1, 2] {
                self.row(work, u64, 1 << 20, threads, &leading);
            }
        }
        if self.full() {
            self.rank = 1;
            for name in [Published::ReadHeavy, Published::Exchange] {
                let mix = Mix::Published { name };
                self.row(Work::Mix { mix }, u64, 1 << 20, 4, &leading);
            }
            for n in [1_000, 1_000_000] {
                self.row(Work::Iterate, u64, n, 1, &names);
            }
            self.row(Work::Shrink, u64, n, 1, &names);
            let held = ["nulls", "papaya", "flurry", "scc-index"];
            self.row(Work::Garbage, u64, 100_000, 1, &held);
        }
    }

    /// Memory and latency while maps grow.
    fn growth(&mut self) {
        self.rank = 0;
        let u64 = KeyKind::U64;
        let names = self.among(LEADING, &["nulls-type-stable"]);
        let steps: Vec<u32> = if self.full() {
            (0..16).collect()
        } else {
            vec![0, 8]
        };
        for i in steps {
            // From 2^20 on, in sixteen equal ratios to 2^21.
            let n = (f64::from(1 << 20) * (f64::from(i) / 16.0).exp2()).round() as usize;
            self.row(Work::Memory, u64, n, 1, &names);
        }
        let mut machine = vec!["machine"];
        machine.extend(self.among(&["nulls", "dashmap", "papaya", "scc-index"], &[]));
        if self.full() {
            let some = self.among(&["nulls", "dashmap", "papaya", "scc-index"], &[]);
            for threads in [1, 2] {
                self.row(Work::Growth, u64, 16_000_000, threads, &some);
            }
            // Sparse enough that none of them falls behind for long even while it resizes.
            let latency = |readers| Work::Latency {
                rate: 250_000,
                readers,
            };
            self.row(latency(0), u64, 16_000_000, 2, &machine);
            self.rank = 1;
            for threads in [1, 2] {
                self.row(Work::Growth, u64, 10_000_000, threads, &some);
            }
            self.row(latency(1), u64, 4_000_000, 1, &machine);
            self.row(latency(0), u64, 16_000_000, 1, &machine[..4]);
            self.row(Work::Timeline, u64, 10_000_000, 1, &some);
        } else {
            let work = Work::Latency {
                rate: 250_000,
                readers: 1,
            };
            self.row(work, u64, 250_000, 1, &machine);
            let some = self.among(&["nulls", "dashmap", "papaya", "scc-index"], &[]);
            self.row(Work::Growth, u64, 1_000_000, 1, &some);
        }
    }

    fn ablations(&mut self) {
        let u64 = KeyKind::U64;
        let threads: &[usize] = if self.full() { &[1, 2] } else { &[1] };
        for &t in threads {
            self.rank = t - 1;
            for every_us in [0, 10] {
                if t + usize::from(every_us > 0) <= 2 {
                    self.row(Work::Geometry { every_us }, u64, 1, t, GEOMETRIES);
                }
            }
            self.row(Work::Pin, u64, 1_000, t, PINS);
        }
        if !self.full() {
            return;
        }
        self.rank = 1;
        for n in [1_000_000, 4_000_000] {
            self.row(Work::Fractions, u64, n, 1, FRACTIONS);
        }
        self.rank = 2;
        self.row(Work::Pin, u64, 1_000_000, 1, PINS);
        for factor in [125, 150, 200, 300, 400] {
            for fill in [30, 40, 50, 60] {
                let work = Work::FactorFill { factor, fill };
                self.row(work, u64, 1_000_000, 1, &["nulls"]);
            }
        }
    }

    /// The work of the C maps, with them where they are installed.
    fn peers(&mut self, c: &[String]) {
        if !self.full() {
            return;
        }
        let n = 1_000_000;
        for key in [KeyKind::Bytes16, KeyKind::U64] {
            for threads in [1, 2] {
                for (zipf, bulk) in [(false, false), (false, true), (true, false)] {
                    let mut names = self.among(&["nulls", "dashmap", "papaya"], &[]);
                    if bulk {
                        names.truncate(1);
                    }
                    // What a target names, and one single look-up of each key to stand beside it.
                    self.rank = usize::from(zipf || key == KeyKind::U64 || !bulk && threads == 2);
                    names.extend(
                        c.iter()
                            .map(String::as_str)
                            .filter(|c| !bulk || *c == "rte_hash"),
                    );
                    self.row(Work::Peers { zipf, bulk }, key, n, threads, &names);
                }
            }
        }
    }

    /// Each workload at each size on each store. The largest with two threads only.
    fn tracker(&mut self) {
        let stores = ["nulls", "dashmap", "papaya"];
        let u64 = KeyKind::U64;
        let established = Work::Established { burst: 32 };
        if !self.full() {
            let traffic = Traffic::Campus;
            self.row(Work::Conntrack { traffic }, u64, 10_000, 1, &stores);
            self.row(established, u64, 10_000, 1, &stores);
            return;
        }
        self.rank = 0;
        for n in [1_000, 100_000, 1_000_000] {
            for t in [1, 2] {
                self.row(established, u64, n, t, &stores);
            }
        }
        for traffic in [
            Traffic::Elephants,
            Traffic::NatLadder,
            Traffic::Campus,
            Traffic::SynFlood,
            Traffic::Dns,
            Traffic::Sfr,
            Traffic::Caida,
        ] {
            // The ladder's own rungs are near the others' sizes; it has the last one exactly.
            let most = match traffic {
                Traffic::NatLadder => 4_128_768,
                _ => 4_000_000,
            };
            for n in [1_000, 100_000, 1_000_000, most] {
                for t in [1, 2] {
                    self.rank = match (traffic, n, t) {
                        (Traffic::NatLadder, 1_000_000, 2) => 0,
                        (Traffic::Campus, 100_000, 1) => 0,
                        (_, 1_000 | 100_000, _) => 1,
                        (_, 1_000_000, 2) => 1,
                        _ => 2,
                    };
                    if n < most || t == 2 {
                        self.row(Work::Conntrack { traffic }, u64, n, t, &stores);
                    }
                }
            }
        }
    }
}

/// The rows of a run, in the order of the tables. `c` are the C maps that are installed.
pub fn rows(size: Size, c: &[String]) -> Vec<Row> {
    let mut b = Builder {
        size,
        rank: 0,
        rows: Vec::new(),
    };
    b.look_ups();
    b.writes();
    b.growth();
    b.peers(c);
    b.ablations();
    b.tracker();
    b.rows
}

/// In which order rows are measured, and which of their repetitions: `(row, repetition)`. Rows of a rank take turns, and each rank
/// begins when the one before has three repetitions: wherever a run ends, what it measured is spread evenly over the groups.
pub fn turns(rows: &[Row]) -> Vec<(usize, usize)> {
    let mut turns: Vec<(usize, usize)> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, r)| (0..r.repetitions).map(move |i| (row, i)))
        .collect();
    turns.sort_by_key(|&(row, i)| (3 * rows[row].rank + i, rows[row].rank, row));
    turns
}

/// About how long a process takes on the machine that the figures below were taken from (two cores, 3 GHz).
pub fn estimate(spec: &Spec) -> Duration {
    let n = spec.entries as f64;
    let sample = spec.ms as f64 / 1e3;
    // Filling: a tenth of a microsecond an entry while it fits the caches, thrice that beyond.
    let fill = n * if n > 3e5 { 3e-7 } else { 1e-7 };
    let stream = 0.03 + n.min(4e6) * 1e-7;
    let seconds = match spec.work {
        Work::Lookup { .. } | Work::Pin => fill + stream + 1.5 * sample + n.min(4e6) * 1e-7,
        Work::Mix {
            mix: Mix::Published { .. },
        } => 0.1 + n * 6e-7,
        Work::Mix { .. } => fill + 0.3 * spec.threads as f64 + sample + 0.1,
        Work::Peers { .. } => 0.8 + 0.6 * spec.threads as f64 + sample,
        Work::Insert | Work::Remove | Work::Update | Work::Replace => 2.5 * fill + stream + sample,
        Work::Iterate => fill + 1.5 * sample,
        Work::Shrink => 2.5 * fill + 0.1,
        Work::Garbage => n * 4e-6 + 0.1,
        Work::Memory => fill + 0.05,
        Work::Timeline => 1.5 * fill,
        Work::Latency { rate, .. } => {
            n / spec.threads as f64 / f64::from(rate).min(1e6) * 1.03 + n * 3e-8 + 0.5
        }
        Work::Geometry { .. } => 1.2 * sample,
        // Twice: the loop beside it takes as long.
        Work::Growth => n * (1.0e-6 / spec.threads as f64 + 1e-7) + 0.2,
        Work::FactorFill { .. } => n * 1.5e-6,
        Work::Fractions => n * 1e-6,
        Work::Established { .. } => 1.5 + n * 4e-6,
        Work::Conntrack { .. } => 1.0 + n * 4e-6,
    };
    Duration::from_secs_f64(seconds + 0.02)
}

/// About how long all of it takes.
pub fn total(rows: &[Row]) -> Duration {
    rows.iter()
        .map(|r| r.specs.iter().map(estimate).sum::<Duration>() * r.repetitions as u32)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const C: &[&str] = &["rculfhash", "rte_hash"];

    #[test]
    fn runs_keep_within_their_time() {
        let c: Vec<String> = C.iter().map(|s| (*s).to_owned()).collect();
        assert!(total(&rows(Size::Full, &c)) <= Duration::from_secs(3 * 3600));
        assert!(total(&rows(Size::Quick, &c)) < Duration::from_secs(600));
    }

    #[test]
    fn turns_are_spread_evenly() {
        let c: Vec<String> = C.iter().map(|s| (*s).to_owned()).collect();
        let rows = rows(Size::Full, &c);
        let turns = turns(&rows);
        let all: usize = rows.iter().map(|r| r.repetitions).sum();
        assert_eq!(turns.iter().collect::<HashSet<_>>().len(), all);
        // One turn of each row of rank 0 comes first, and every kind of work that has targets or plots is among them.
        let first = rows.iter().filter(|r| r.rank == 0).count();
        assert!(
            turns[..first]
                .iter()
                .all(|t| rows[t.0].rank == 0 && t.1 == 0)
        );
        let time: Duration = rows
            .iter()
            .filter(|r| r.rank == 0)
            .flat_map(|r| &r.specs)
            .map(estimate)
            .sum();
        assert!(3 * time < Duration::from_secs(45 * 60), "{time:?}");
        let kind = |r: &Row| r.specs[0].row().split('/').next().unwrap().to_owned();
        let kinds: HashSet<String> = turns[..first].iter().map(|t| kind(&rows[t.0])).collect();
        for k in [
            "lookup",
            "insert",
            "remove",
            "update",
            "replace",
            "mix",
            "memory",
            "latency",
            "peers",
            "geometry",
            "pin",
            "conntrack",
            "established",
            "growth",
        ] {
            assert!(kinds.contains(k), "{k}");
        }
    }

    #[test]
    fn no_measurement_is_planned_twice_or_too_seldom() {
        let mut seen = HashSet::new();
        for row in rows(Size::Full, &[]) {
            assert!(row.repetitions >= 3);
            for s in row.specs {
                let large = s.entries >= 10_000_000;
                assert!(
                    row.repetitions >= 10 || s.entries > 100_000 || large,
                    "{s:?}"
                );
                assert!(seen.insert(s.clone()), "{s:?}");
            }
        }
    }
}
