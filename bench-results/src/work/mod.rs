//! What is measured: each [`Spec`] is one measurement of one contender, made in a process of its own by [`run`].

use crate::key::KeyKind;
use crate::measure::Build;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub mod ablation;
pub mod access;
mod garbage;
mod growth;
mod latency;
mod lookup;
mod memory;
mod mix;
mod times;
mod turnover;

pub use lookup::{Mode, Order, Presence3};
pub use mix::{Mix, Published, Ycsb};

/// The kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Work {
    /// Look-ups.
    Lookup {
        /// Whether the keys are there.
        presence: Presence3,
        /// In which order they come.
        order: Order,
        /// How look-ups follow each other.
        mode: Mode,
        /// Whether the process may use huge pages.
        huge_pages: bool,
    },
    /// Several operations in a proportion.
    Mix {
        /// Which.
        mix: Mix,
    },
    /// Insertion of `entries` keys, each thread its share.
    Insert,
    /// Removal of all of them.
    Remove,
    /// Adding one to the values of keys that are there, all threads on all keys.
    Update,
    /// Insertion of keys that are there, all threads on all keys.
    Replace,
    /// Iteration over all entries.
    Iterate,
    /// Removal of fifteen in sixteen, then giving room back.
    Shrink,
    /// Resident memory of a map that grew from empty.
    Memory,
    /// Resident memory over time while a map grows from empty.
    Timeline,
    /// Time of single insertions, one after the other, while the map grows from empty.
    Growth,
    /// Latency of insertions on a fixed schedule while the map grows from empty, and of look-ups beside them.
    Latency {
        /// Insertions per second and thread.
        rate: u32,
        /// Threads that look up meanwhile, at the same rate.
        readers: usize,
    },
    /// Memory held back while one reader stays where it is and others replace values.
    Garbage,
    /// How an address and a length are read together; the contender names the way.
    Geometry {
        /// Microseconds between publications by another thread; 0: none.
        every_us: u32,
    },
    /// What protecting a look-up costs; the contender names the way.
    Pin,
    /// Growing the raw table by a factor whenever a fill is reached.
    FactorFill {
        /// Percent.
        factor: u32,
        /// Percent of the slots in buckets.
        fill: u32,
    },
    /// Growing the raw table as it likes; the contender says whether moves may use the fraction bytes.
    Fractions,
    /// 95 % look-ups, 5 % updates in place, all of keys that are there: the work that the C maps were given.
    Peers {
        /// Zipf 0.99 instead of uniform.
        zipf: bool,
        /// Look-ups in batches of 32.
        bulk: bool,
    },
    /// Packets of established UDP connections, both directions at random, through the tracker in bursts: from headers that lie ready to updated entries. The
    /// contender names the store.
    Established {
        /// Packets handed to the tracker at once.
        burst: u32,
    },
    /// Packets through the connection tracker; the contender names the store.
    Conntrack {
        /// Which traffic.
        traffic: Traffic,
    },
}

/// Workloads of the tracker, by the names that it knows them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the tracker describes them")]
pub enum Traffic {
    Campus,
    Sfr,
    Dns,
    SynFlood,
    Elephants,
    NatLadder,
    Caida,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Spec {
    /// What is done.
    pub work: Work,
    /// What keys are like.
    pub key: KeyKind,
    /// Entries.
    pub entries: usize,
    /// Threads at work at the same time.
    pub threads: usize,
    /// How the map came to its size.
    pub build: Build,
    /// Milliseconds that a sample takes about, where that can be chosen.
    pub ms: u64,
    /// Who does it.
    pub contender: String,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Numbers by name.
    pub values: BTreeMap<String, f64>,
    /// Curves by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub series: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Sample {
    fn one(name: &str, value: f64) -> Self {
        Self::default().with(name, value)
    }

    /// With one more number.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.values.insert(name.into(), value);
        self
    }
}

impl Spec {
    /// The work in a few words, as a file name could have them; the same for all contenders.
    #[must_use]
    pub fn row(&self) -> String {
        let kind = |v: serde_json::Value| match v {
            serde_json::Value::String(s) => s,
            v => v.to_string(),
        };
        let mut parts = Vec::new();
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self.work) {
            if let Some(name) = fields.get("kind") {
                parts.push(kind(name.clone()));
            }
            for (name, v) in fields {
                match (name.as_str(), v) {
                    ("kind", _) => {}
                    (_, serde_json::Value::Bool(false)) if name != "huge_pages" => {}
                    ("huge_pages", serde_json::Value::Bool(true)) => {}
                    ("huge_pages", _) => parts.push("no-huge-pages".into()),
                    (_, serde_json::Value::Bool(true)) => parts.push(name),
                    (_, serde_json::Value::Number(n)) => parts.push(format!("{name}{n}")),
                    (_, serde_json::Value::Object(o)) => {
                        parts.extend(o.into_iter().map(|(_, v)| kind(v)));
                    }
                    (_, v) => parts.push(kind(v)),
                }
            }
        }
        let build = match self.build {
            Build::Grown => "grown",
            Build::Presized => "presized",
        };
        let key = serde_json::to_value(self.key).map_or_else(|_| String::new(), kind);
        parts.extend([
            key,
            self.entries.to_string(),
            format!("x{}", self.threads),
            build.to_owned(),
        ]);
        parts.join("/")
    }
}

/// Makes a measurement in this process.
///
/// # Errors
/// The contender does not do that.
///
/// # Panics
/// When a map returns what it must not.
pub fn run(spec: &Spec) -> Result<Sample> {
    ensure!(
        spec.threads > 0 && spec.entries > 0,
        "threads and entries from 1 on"
    );
    crate::measure::pin_thread(0);
    let name = spec.contender.as_str();
    let unknown = || format!("{name} does not do {}", spec.row());
    match spec.work {
        Work::Lookup {
            presence,
            order,
            mode,
            huge_pages,
        } => {
            if !huge_pages {
                memory::forbid_huge_pages()?;
            }
            let job = lookup::Job {
                presence,
                order,
                mode,
                spec,
            };
            job.run().with_context(unknown)
        }
        Work::Mix { mix } => {
            crate::dispatch!(name, M => mix::run::<M>(spec, mix)).with_context(unknown)
        }
        Work::Peers { zipf, bulk } => {
            let r = match spec.key {
                KeyKind::U64 => {
                    crate::dispatch_copied!(name, u64, M => mix::peers::<u64, M>(spec, zipf, bulk))
                }
                _ => {
                    crate::dispatch_copied!(name, crate::key::Bytes16, M => mix::peers::<crate::key::Bytes16, M>(spec, zipf, bulk))
                }
            };
            r.with_context(unknown)
        }
        Work::Insert | Work::Remove | Work::Update | Work::Replace | Work::Iterate => {
            crate::dispatch!(name, M => turnover::run::<M>(spec)).with_context(unknown)
        }
        Work::Shrink => {
            crate::dispatch!(name, M => turnover::shrink::<M>(spec)).with_context(unknown)
        }
        Work::Memory => {
            crate::dispatch!(name, M => memory::per_entry::<M>(spec)).with_context(unknown)
        }
        Work::Timeline => {
            crate::dispatch!(name, M => memory::timeline::<M>(spec)).with_context(unknown)
        }
        Work::Growth => crate::dispatch!(name, M => growth::run::<M>(spec)).with_context(unknown),
        Work::Latency { rate, readers } if name == latency::MACHINE => {
            Ok(latency::machine(spec, rate, readers))
        }
        Work::Latency { rate, readers } => {
            crate::dispatch!(name, M => latency::run::<M>(spec, rate, readers))
                .with_context(unknown)
        }
        Work::Garbage => garbage::run(spec).with_context(unknown),
        Work::Geometry { every_us } => ablation::geometry(spec, every_us).with_context(unknown),
        Work::Pin => ablation::pin(spec).with_context(unknown),
        Work::FactorFill { factor, fill } => Ok(ablation::factor_fill(spec, factor, fill)),
        Work::Fractions => ablation::fractions(spec).with_context(unknown),
        Work::Conntrack { .. } | Work::Established { .. } => {
            anyhow::bail!("the tracker has a program of its own")
        }
    }
}

#[cfg(test)]
mod tests;
