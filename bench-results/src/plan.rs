//! What the harness measures: every row of work, who takes part in it, how often, and in which order.

use crate::external;
use bench_results::contender::{ALL, COPIED, KEYED};
use bench_results::key::KeyKind;
use bench_results::measure::Build;
use bench_results::work::ablation::{FRACTIONS, GEOMETRIES, PINS};
use bench_results::work::{
    Mix, Mode, Order, Presence3 as Presence, Published, Spec, Traffic, Work, Ycsb,
};

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
    /// Under seventy minutes.
    Full,
}

/// The maps that take part in mixes and whenever memory is looked at.
const LEADING: &[&str] = &[
    "nulls",
    "nulls-inline",
    "dashmap",
    "papaya",
    "scc",
    "scc-index",
    "kovan",
];
/// The maps that variations are measured with: the way they vary says something of these.
const VARIED: &[&str] = &["nulls", "nulls-inline", "dashmap", "scc-index", "hashbrown"];
/// The maps compared in a quick run.
const QUICK: &[&str] = &[
    "nulls",
    "nulls-inline",
    "dashmap",
    "papaya",
    "scc-index",
    "hashbrown",
];

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
            .filter(|n| key != KeyKind::String || !COPIED.contains(n))
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
                // Several threads disturb each other in ways that take a while to even out.
                ms: match (self.size, threads) {
                    (Size::Quick, _) => 40,
                    (Size::Full, 1) => 60,
                    (Size::Full, _) => 100,
                },
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
                "nulls-inline",
                "nulls-inline-held",
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
        // In a large map a lock that nobody else wants costs nothing that could be seen, and flurry takes three seconds.
        let of_large: Vec<&str> = all
            .iter()
            .copied()
            .filter(|n| !["flurry", "std-rwlock", "std-mutex", "parking-lot"].contains(n))
            .collect();
        let few = self.among(LEADING, &["hashbrown", "classic"]);
        let varied = self.among(VARIED, &[]);
        let with_papaya = self.among(VARIED, &["papaya"]);
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
                let names = if n == 1_000_000 { &of_large } else { &all };
                self.row(look(presence, Uniform, Throughput), U64, n, 1, names);
            }
        }
        self.row(look(Hit, Uniform, Throughput), U64, 1_000, 2, &all);
        if !full {
            return;
        }
        self.rank = 1;
        for n in [1_000, 100_000] {
            self.row(look(Half, Uniform, Throughput), U64, n, 1, &few);
        }
        self.row(look(Miss, Uniform, Throughput), U64, 1_000, 2, &few);
        self.row(look(Hit, Uniform, Throughput), U64, 100_000, 2, &few);
        self.row(
            look(Hit, Uniform, Throughput),
            U64,
            1_000_000,
            2,
            &with_papaya,
        );
        self.row(look(Hit, Uniform, Throughput), U64, 1_000, 4, &few);
        self.row(look(Hit, Sequential, Throughput), U64, 100_000, 1, &varied);
        for n in sizes {
            self.row(look(Hit, Uniform, Dependent), U64, *n, 1, &varied);
            let with_batches = self.among(
                &[
                    "nulls",
                    "nulls-held",
                    "nulls-inline",
                    "nulls-inline-held",
                    "dashmap",
                    "hashbrown",
                ],
                &[],
            );
            self.row(look(Hit, Uniform, Batch), U64, *n, 1, &with_batches);
        }
        self.row(look(Hit, Zipf, Throughput), U64, 1_000_000, 1, &varied);
        for key in [Bytes16, Tuple, String] {
            self.row(look(Hit, Uniform, Throughput), key, 1_000, 1, &keyed);
            let names = match key {
                // A million strings take long to make.
                String => self.among(&["nulls", "dashmap"], &[]),
                _ => varied.clone(),
            };
            self.row(look(Hit, Uniform, Throughput), key, 1_000_000, 1, &names);
        }
        self.row(
            look(Miss, Uniform, Throughput),
            Tuple,
            1_000_000,
            1,
            &varied,
        );
        for presence in [Hit, Miss] {
            let look = look(presence, Uniform, Throughput);
            let names: Vec<&str> = varied
                .iter()
                .copied()
                .filter(|&n| presence == Hit || n != "scc-index")
                .collect();
            self.row(look, U64, 20_000_000, 1, &names);
        }
        let names = self.among(&["nulls", "nulls-inline", "dashmap"], &[]);
        self.row(look(Hit, Uniform, Throughput), U64, 20_000_000, 2, &names);
        // The same without huge pages.
        self.rank = 2;
        for huge_pages in [false, true] {
            let work = Work::Lookup {
                presence: Hit,
                order: Uniform,
                mode: Throughput,
                huge_pages,
            };
            let names = ["nulls", "nulls-inline", "hashbrown"];
            self.row_built(work, U64, 1_000_000, 1, Build::Presized, &names);
        }
    }

    fn writes(&mut self) {
        self.rank = 0;
        let u64 = KeyKind::U64;
        let (n, threads): (usize, &[usize]) = if self.full() {
            (1_000_000, &[1, 2])
        } else {
            (100_000, &[2])
        };
        for &t in threads {
            let alone = t == 1;
            // One thread writes to papaya and to scc's index when they grow; else it is with two that what they do matters.
            let others: &[&str] = if alone {
                &["dashmap", "scc", "kovan", "hashbrown"]
            } else {
                &["dashmap", "papaya", "scc", "scc-index", "kovan"]
            };
            let names = self.among(&["nulls", "nulls-inline"], others);
            let mut growing = self.among(&["nulls", "nulls-inline", "nulls-type-stable"], others);
            if alone {
                growing.extend(self.among(&["papaya", "scc-index"], &[]));
            }
            let updating = self.among(
                &["nulls", "nulls-inline", "nulls-atomic", "nulls-type-stable"],
                others,
            );
            self.row(Work::Insert, u64, n, t, &growing);
            self.row(Work::Remove, u64, n, t, &names);
            self.row(Work::Update, u64, n, t, &updating);
            if !alone {
                self.row(Work::Replace, u64, n, t, &names);
                self.row_built(Work::Insert, u64, n, t, Build::Presized, &names);
            }
        }
        let ycsb = [Ycsb::A, Ycsb::B, Ycsb::C, Ycsb::D, Ycsb::F].map(|name| Mix::Ycsb { name });
        let published = [
            Published::ReadHeavy,
            Published::Exchange,
            Published::RapidGrow,
            Published::RapidGrowGrowing,
        ]
        .map(|name| Mix::Published { name });
        let leading = self.among(LEADING, &[]);
        let alone = self.among(&["nulls", "nulls-inline", "dashmap", "scc", "kovan"], &[]);
        for mix in ycsb.into_iter().chain(published) {
            let work = Work::Mix { mix };
            if !self.full() {
                self.row(work, u64, 1 << 17, 2, &leading);
                continue;
            }
            // One thread does what it does with the others left out, so half of them say it.
            let telling = matches!(
                mix,
                Mix::Ycsb {
                    name: Ycsb::A | Ycsb::B
                } | Mix::Published {
                    name: Published::Exchange | Published::RapidGrowGrowing
                }
            );
            if telling {
                self.row(work, u64, 1 << 20, 1, &alone);
            }
            self.row(work, u64, 1 << 20, 2, &leading);
        }
        if self.full() {
            self.rank = 1;
            let mix = Mix::Published {
                name: Published::Exchange,
            };
            self.row(Work::Mix { mix }, u64, 1 << 20, 4, &leading);
            let names = self.among(VARIED, &["nulls-type-stable", "papaya", "scc", "flurry"]);
            self.row(Work::Iterate, u64, 1_000, 1, &names);
            let names = self.among(VARIED, &[]);
            self.row(Work::Iterate, u64, n, 1, &names);
            self.row(Work::Shrink, u64, n, 1, &names);
            let held = ["nulls", "nulls-inline", "papaya", "flurry", "scc-index"];
            self.row(Work::Garbage, u64, 100_000, 1, &held);
        }
    }

    /// Memory and latency while maps grow.
    fn growth(&mut self) {
        self.rank = 0;
        let u64 = KeyKind::U64;
        let steps: Vec<u32> = if self.full() {
            (0..16).collect()
        } else {
            vec![0, 8]
        };
        for i in steps {
            let mut names = self.among(
                &["nulls", "nulls-inline", "dashmap", "papaya", "scc-index"],
                &[],
            );
            if i % 4 == 0 {
                names.extend(self.among(&["scc", "kovan", "nulls-type-stable"], &[]));
            }
            // From 2^20 on, in sixteen equal ratios to 2^21.
            let n = (f64::from(1 << 20) * (f64::from(i) / 16.0).exp2()).round() as usize;
            self.row(Work::Memory, u64, n, 1, &names);
        }
        // Sparse enough that none of them falls behind for long even while it resizes.
        let latency = |readers| Work::Latency {
            rate: 250_000,
            readers,
        };
        let some = self.among(
            &["nulls", "nulls-inline", "dashmap", "papaya", "scc-index"],
            &[],
        );
        let mut machine = vec!["machine"];
        machine.extend(&some);
        if self.full() {
            let names = self.among(&["nulls", "nulls-inline", "dashmap"], &[]);
            self.row(Work::Growth, u64, 16_000_000, 1, &names);
            let names = self.among(&["nulls", "nulls-inline", "dashmap", "scc-index"], &[]);
            self.row(Work::Growth, u64, 16_000_000, 2, &names);
            // A schedule takes as long as it takes: that of the largest size has those that a target compares.
            self.row(
                latency(0),
                u64,
                16_000_000,
                2,
                &["machine", "nulls", "nulls-inline"],
            );
            self.row(
                latency(0),
                u64,
                4_000_000,
                1,
                &["machine", "nulls", "nulls-inline"],
            );
            self.rank = 1;
            self.row(latency(1), u64, 1_000_000, 1, &machine);
            self.row(Work::Timeline, u64, 10_000_000, 1, &some);
        } else {
            self.row(latency(1), u64, 250_000, 1, &machine);
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
        self.row(Work::Fractions, u64, 1_000_000, 1, FRACTIONS);
        self.rank = 2;
        // Every factor at one fill, and every fill at one factor.
        for factor in [125, 150, 200, 300, 400] {
            for fill in [30, 40, 50, 60] {
                if fill == 50 || factor == 200 {
                    let work = Work::FactorFill { factor, fill };
                    self.row(work, u64, 1_000_000, 1, &["nulls"]);
                }
            }
        }
    }

    /// The work of the C maps, with them where they are installed.
    fn peers(&mut self, c: &[String]) {
        if !self.full() {
            return;
        }
        let n = 1_000_000;
        let (uniform, bulk, zipf) = ((false, false), (false, true), (true, false));
        use KeyKind::{Bytes16, U64};
        // What a target names and one single look-up to stand beside it, then the rest.
        for (rank, key, threads, (zipf, bulk)) in [
            (0, Bytes16, 1, uniform),
            (0, Bytes16, 1, bulk),
            (0, Bytes16, 2, bulk),
            (1, Bytes16, 2, uniform),
            (1, Bytes16, 1, zipf),
            (1, U64, 1, uniform),
            (1, U64, 1, bulk),
        ] {
            let mut names = self.among(&["nulls", "nulls-inline"], &[]);
            if !bulk {
                names.extend(self.among(&["dashmap"], &[]));
            }
            if rank == 0 && !bulk {
                names.extend(self.among(&["papaya"], &[]));
            }
            // Liburcu's map has no batches, and what keys are and how they are spread makes little difference to it.
            let all = key == Bytes16 && !bulk && !zipf;
            let c = c.iter().map(String::as_str);
            names.extend(c.filter(|&c| all || c == "rte_hash"));
            self.rank = rank;
            self.row(Work::Peers { zipf, bulk }, key, n, threads, &names);
        }
    }

    /// Each workload at two sizes; campus and ladder with two threads too, and the ladder on all its rungs.
    fn tracker(&mut self) {
        let stores = ["nulls", "dashmap", "papaya"];
        // A million entries take papaya half a minute.
        let both = &stores[..2];
        let u64 = KeyKind::U64;
        let established = Work::Established { burst: 32 };
        if !self.full() {
            let traffic = Traffic::Campus;
            self.row(Work::Conntrack { traffic }, u64, 10_000, 1, &stores);
            self.row(established, u64, 10_000, 1, &stores);
            return;
        }
        self.rank = 0;
        for t in [1, 2] {
            self.row(established, u64, 1_000, t, &stores);
            self.row(established, u64, 100_000, t, &stores);
            self.row(established, u64, 1_000_000, t, both);
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
            let work = Work::Conntrack { traffic };
            let ladder = traffic == Traffic::NatLadder;
            let leads = ladder || traffic == Traffic::Campus;
            let names = if leads { &stores[..] } else { both };
            self.rank = 1;
            self.row(work, u64, 1_000, 1, names);
            self.rank = usize::from(traffic != Traffic::Campus);
            self.row(work, u64, 100_000, 1, names);
            if leads {
                self.rank = 1;
                self.row(work, u64, 1_000, 2, names);
                self.row(work, u64, 100_000, 2, both);
            }
            if ladder {
                self.rank = 0;
                self.row(work, u64, 1_000_000, 2, both);
                // The last of the ladder's own rungs.
                self.rank = 2;
                self.row(work, u64, 1_000_000, 1, both);
                self.row(work, u64, 4_128_768, 2, both);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate;
    use std::collections::HashSet;
    use std::time::Duration;

    const C: &[&str] = &["rculfhash", "rte_hash"];

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
            .map(estimate::of_process)
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
