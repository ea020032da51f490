//! `criterion`: what `cargo bench -p bench-results` measured last, taken out of the folders where criterion leaves it, into one file.

use crate::store::write;
use anyhow::{Context, Result, ensure};
use bench_results::environment::Environment;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where criterion left its results [default: criterion/ in the target folder of this program]
    from: Option<PathBuf>,
    /// The folder for criterion.json
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
}

/// A time in nanoseconds an operation, with criterion's interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

/// One benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// What is done, such as `hit/1000/1-thread`.
    pub group: String,
    /// The contender.
    pub contender: String,
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Where the file was made, which is where the benchmarks ran.
    pub environment: Environment,
    pub benchmarks: Vec<Benchmark>,
}

impl Results {
    /// The median of a benchmark.
    pub fn median(&self, group: &str, contender: &str) -> Option<f64> {
        self.benchmarks
            .iter()
            .find(|b| b.group == group && b.contender == contender)
            .map(|b| b.estimate.median)
    }
}

/// What is stored in a folder of results.
pub fn stored(folder: &Path) -> Result<Option<Results>> {
    let path = folder.join("criterion.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)?;
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| path.display().to_string())
}

/// The subcommand.
pub fn run(a: &Arguments) -> Result<()> {
    let from = match &a.from {
        Some(from) => from.clone(),
        None => std::env::current_exe()?
            .ancestors()
            .nth(2)
            .context("a program in a target folder")?
            .join("criterion"),
    };
    let benchmarks = collected(&from)?;
    ensure!(
        !benchmarks.is_empty(),
        "{} holds no results: cargo bench -p bench-results",
        from.display()
    );
    println!("{} benchmarks", benchmarks.len());
    let results = Results {
        environment: Environment::here(),
        benchmarks,
    };
    write(&a.out.join("criterion.json"), &results)
}

/// Every benchmark below a folder, sorted by name with numbers as numbers.
fn collected(folder: &Path) -> Result<Vec<Benchmark>> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.file_name().is_some_and(|n| n == "new") {
                all.extend(benchmark(&path)?);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    let key = |b: &Benchmark| {
        let mut parts = b.group.split('/').map(str::to_owned);
        let figure = parts.next();
        let entries = parts.next().and_then(|n| n.parse::<u64>().ok());
        (parts.next(), figure, entries, b.contender.clone())
    };
    all.sort_by_key(key);
    Ok(all)
}

/// The benchmark whose latest results lie in `folder`; none if it was never finished.
fn benchmark(folder: &Path) -> Result<Option<Benchmark>> {
    let read = |name: &str| -> Result<Option<Value>> {
        let path = folder.join(name);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)?;
        Ok(Some(
            serde_json::from_str(&text).with_context(|| path.display().to_string())?,
        ))
    };
    let (Some(what), Some(estimates)) = (read("benchmark.json")?, read("estimates.json")?) else {
        return Ok(None);
    };
    let text = |name: &str| what[name].as_str().map(str::to_owned);
    let median = &estimates["median"];
    // Criterion's times are of one iteration, which may be many operations.
    let each = what["throughput"]["Elements"].as_f64().unwrap_or(1.0);
    let number = |v: &Value| {
        v.as_f64()
            .map(|v| v / each)
            .context("an estimate without a number")
    };
    Ok(Some(Benchmark {
        group: text("group_id").context("a benchmark without a group")?,
        contender: text("value_str")
            .or_else(|| text("function_id"))
            .context("a benchmark without a name")?,
        estimate: Estimate {
            median: number(&median["point_estimate"])?,
            low: number(&median["confidence_interval"]["lower_bound"])?,
            high: number(&median["confidence_interval"]["upper_bound"])?,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_are_found_and_their_times_are_of_one_operation() {
        let folder = std::env::temp_dir().join(format!("criterion-{}", std::process::id()));
        for (name, entries, elements) in [
            ("hit_100000", 100_000, 1),
            ("hit_1000", 1000, 1),
            ("insert", 5, 10),
        ] {
            let new = folder.join(name).join("nulls").join("new");
            std::fs::create_dir_all(&new).unwrap();
            let figure = name.split('_').next().unwrap();
            std::fs::write(
                new.join("benchmark.json"),
                format!(
                    r#"{{"group_id": "{figure}/{entries}/1-thread", "function_id": null, "value_str": "nulls", "throughput": {{"Elements": {elements}}}}}"#
                ),
            )
            .unwrap();
            std::fs::write(
                new.join("estimates.json"),
                r#"{"median": {"point_estimate": 50.0, "confidence_interval": {"lower_bound": 40.0, "upper_bound": 60.0}}}"#,
            )
            .unwrap();
        }
        let all = collected(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let groups: Vec<&str> = all.iter().map(|b| b.group.as_str()).collect();
        assert_eq!(
            groups,
            [
                "hit/1000/1-thread",
                "hit/100000/1-thread",
                "insert/5/1-thread"
            ]
        );
        assert_eq!(all[0].estimate.median, 50.0);
        let ten = Estimate {
            median: 5.0,
            low: 4.0,
            high: 6.0,
        };
        assert_eq!(all[2].estimate, ten);
    }
}
