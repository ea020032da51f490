//! Measurements that other programs make: the tracker's own, and a C program with the C maps.

use anyhow::{Context, Result, bail, ensure};
use bench_results::key::KeyKind;
use bench_results::work::{Sample, Spec, Traffic, Work};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The C maps, and what each of them is compiled and linked with.
const C_MAPS: &[(&str, &str, &[&str])] = &[
    (
        "rculfhash",
        "PEER_RCULFHASH",
        &["liburcu-qsbr", "liburcu-cds"],
    ),
    ("rte_hash", "PEER_RTE_HASH", &["libdpdk"]),
];

/// Names of the C maps that can take part.
pub fn all_c_maps() -> Vec<String> {
    C_MAPS.iter().map(|m| m.0.to_owned()).collect()
}

/// Names of the C maps whose Debian packages are here; says which are not.
pub fn c_maps() -> Vec<String> {
    C_MAPS
        .iter()
        .filter_map(
            |&(name, define, packages)| match build(name, define, packages) {
                Ok(()) => Some(name.to_owned()),
                Err(e) => {
                    println!("without {name}: {e:#}");
                    None
                }
            },
        )
        .collect()
}

fn folder() -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    Ok(me.parent().context("a program in a folder")?.to_owned())
}

fn program(name: &str) -> Result<PathBuf> {
    Ok(folder()?.join(format!("peer-{name}")))
}

/// Builds the C program for one map next to this one.
fn build(name: &str, define: &str, packages: &[&str]) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/peers.c");
    let flags = Command::new("pkg-config")
        .args(["--cflags", "--libs"])
        .args(packages)
        .output()
        .context("pkg-config is not installed")?;
    ensure!(
        flags.status.success(),
        "the packages of {packages:?} are not installed"
    );
    let flags = String::from_utf8_lossy(&flags.stdout).into_owned();
    let out = Command::new("cc")
        .args(["-O3", "-std=gnu11", "-Wall", "-pthread"])
        .arg(format!("-D{define}"))
        .arg("-o")
        .arg(program(name)?)
        .arg(source)
        .args(flags.split_whitespace())
        .arg("-lm")
        .output()
        .context("no C compiler")?;
    ensure!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
            .lines()
            .next()
            .unwrap_or("cc failed")
    );
    Ok(())
}

/// A command that makes the measurement and prints JSON, if another program makes it. The tracker measures memory, which hardly varies and takes
/// the whole warm-up again, in the first repetition only.
pub fn command(spec: &Spec, repetition: usize) -> Result<Option<Command>> {
    match spec.work {
        Work::Conntrack { traffic } => {
            let mut c = Command::new(tracker()?);
            c.args(["--json", "--rounds", "1", "--workload", name_of(traffic)])
                .args(["--store", &spec.contender])
                .args(["--size", &spec.entries.to_string()])
                .args(["--threads", &spec.threads.to_string()])
                .args([
                    "--packets",
                    if is_short(spec) { "100000" } else { "500000" },
                ]);
            without_memory(&mut c, repetition);
            Ok(Some(c))
        }
        Work::Established { burst } => {
            let mut c = Command::new(tracker()?);
            c.args(["--json", "--rounds", "1", "--workload", "nat-ladder"])
                .args(["--burst", &burst.to_string()])
                .args(["--store", &spec.contender])
                .args(["--size", &spec.entries.to_string()])
                .args(["--threads", &spec.threads.to_string()])
                .args([
                    "--packets",
                    if is_short(spec) { "100000" } else { "1000000" },
                ]);
            without_memory(&mut c, repetition);
            Ok(Some(c))
        }
        Work::Peers { zipf, bulk } if C_MAPS.iter().any(|m| m.0 == spec.contender) => {
            let mut c = Command::new(program(&spec.contender)?);
            c.arg(spec.entries.to_string())
                .arg(spec.threads.to_string())
                .arg(if spec.key == KeyKind::U64 { "8" } else { "16" })
                .arg(if zipf { "zipf" } else { "uniform" })
                .arg(if bulk { "bulk" } else { "single" })
                .arg(spec.ms.to_string());
            Ok(Some(c))
        }
        _ => Ok(None),
    }
}

/// Whether it is one of a quick run.
fn is_short(spec: &Spec) -> bool {
    spec.ms < 50
}

fn without_memory(c: &mut Command, repetition: usize) {
    if repetition > 0 {
        c.arg("--no-memory");
    }
}

fn name_of(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::Campus => "campus",
        Traffic::Sfr => "sfr",
        Traffic::Dns => "dns",
        Traffic::SynFlood => "syn-flood",
        Traffic::Elephants => "elephants",
        Traffic::NatLadder => "nat-ladder",
        Traffic::Caida => "caida",
    }
}

fn tracker() -> Result<PathBuf> {
    let path = folder()?.join("nct");
    ensure!(path.exists(), "{} is not built", path.display());
    Ok(path)
}

/// Builds the tracker's program with the profile of this one, so that it is of the same source.
pub fn build_tracker() -> Result<()> {
    println!("building nct, if it is not there or older than its source");
    let target = folder()?;
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.args(["build", "--locked", "-p", "nct"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env(
            "CARGO_TARGET_DIR",
            target.parent().context("a target folder")?,
        );
    if !cfg!(debug_assertions) {
        c.arg("--release");
    }
    ensure!(c.status()?.success(), "building nct failed");
    Ok(())
}

/// Whether the tracker's own program measures this.
pub fn is_tracking(work: Work) -> bool {
    matches!(work, Work::Conntrack { .. } | Work::Established { .. })
}

/// What the program's answer says.
pub fn sample(spec: &Spec, answer: &[u8]) -> Result<Sample> {
    if !is_tracking(spec.work) {
        return Ok(serde_json::from_slice(answer)?);
    }
    let v: Value = serde_json::from_slice(answer)?;
    let problems = v["problems"].as_array().context("no list of problems")?;
    if !problems.is_empty() {
        bail!("the tracker says: {problems:?}");
    }
    let point = &v["points"][0];
    let result = &point["results"][0];
    let round = &result["rounds"][0];
    let number = |v: &Value| {
        v.as_f64()
            .context("a number is missing from the tracker's answer")
    };
    let ns = &round["nanoseconds"];
    let rate = number(&round["packets_per_second"])?;
    let wall = spec.threads as f64 * 1e9 / rate;
    let (own, whole) = match spec.work {
        Work::Established { .. } => {
            let tally = &round["tally"];
            let updated = number(&tally["established"])? - number(&tally["stale"])?;
            ensure!(
                updated == number(&round["packets"])?,
                "not every packet updated an established entry: {tally}"
            );
            (number(&round["tracker_nanoseconds"])?, Some(wall))
        }
        _ => (wall, None),
    };
    let sample = whole
        .into_iter()
        .fold(Sample::default(), |s, wall| s.with("wall_ns", wall));
    // What it takes to begin a connection, where any did.
    let sample = match round["new_nanoseconds"]["mean"].as_f64() {
        Some(mean) => sample.with("new_ns", mean),
        None => sample,
    };
    // Where it was to be measured.
    let sample = match result["bytes_per_entry"].as_f64() {
        Some(bytes) => sample.with("bytes_per_entry", bytes),
        None => sample,
    };
    Ok(sample
        .with("ns", own)
        .with("packets_per_second", rate)
        .with("packet_p50", number(&ns["median"])?)
        .with("packet_p99", number(&ns["p99"])?)
        .with("packet_p99_9", number(&ns["p999"])?)
        .with("packet_max", number(&ns["maximum"])?)
        .with("harness_ns", number(&point["harness_nanoseconds"])?)
        .with("entries", number(&round["entries"])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_results::measure::Build;

    #[test]
    fn the_tracker_s_answer_is_understood() {
        let spec = Spec {
            work: Work::Conntrack {
                traffic: Traffic::Dns,
            },
            key: KeyKind::U64,
            entries: 10,
            threads: 2,
            build: Build::Grown,
            ms: 1,
            contender: "nulls".into(),
        };
        let answer = br#"{"problems": [], "points": [{"harness_nanoseconds": 5.0, "results": [{"bytes_per_entry": 300.0,
            "rounds": [{"packets_per_second": 4e6, "entries": 7,
                "nanoseconds": {"mean": 1, "median": 2, "p99": 3, "p999": 4, "maximum": 5},
                "new_nanoseconds": {"mean": 600}}]}]}]}"#;
        let s = sample(&spec, answer).unwrap();
        assert_eq!((s.values["ns"], s.values["packet_p99_9"]), (500.0, 4.0));
        assert_eq!(s.values["new_ns"], 600.0);
        assert!(sample(&spec, br#"{"problems": ["lost"]}"#).is_err());
    }

    #[test]
    fn of_bursts_the_tracker_s_own_time_counts_and_every_packet_must_update_its_entry() {
        let spec = Spec {
            work: Work::Established { burst: 32 },
            key: KeyKind::U64,
            entries: 10,
            threads: 2,
            build: Build::Grown,
            ms: 1,
            contender: "nulls".into(),
        };
        let answer = |stale: u32| {
            format!(
                r#"{{"problems": [], "points": [{{"harness_nanoseconds": 5.0, "results": [{{"bytes_per_entry": 300.0,
                    "rounds": [{{"packets_per_second": 4e6, "packets": 9, "entries": 7, "tracker_nanoseconds": 80.5,
                        "tally": {{"established": 9, "stale": {stale}}},
                        "nanoseconds": {{"mean": 1, "median": 2, "p99": 3, "p999": 4, "maximum": 5}}}}]}}]}}]}}"#
            )
        };
        let s = sample(&spec, answer(0).as_bytes()).unwrap();
        assert_eq!((s.values["ns"], s.values["wall_ns"]), (80.5, 500.0));
        assert!(sample(&spec, answer(1).as_bytes()).is_err());
    }
}
