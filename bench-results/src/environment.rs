//! Where and when something was measured: stands beside every result.

use serde::{Deserialize, Serialize};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The machine, the tools and the state of the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The processor's name for itself.
    pub cpu: String,
    /// Processors available to the process.
    pub cpus: usize,
    /// The machine's memory in KiB.
    pub memory_kib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The kernel's policy for transparent huge pages.
    pub huge_pages: String,
    /// The compiler of this binary.
    pub rustc: String,
    /// Flags given to the compiler beside those of the profile.
    pub rustflags: String,
    /// Cargo's profile family.
    pub profile: String,
    /// When the measurement began, in UTC.
    pub date: String,
    /// The commit measured; `-dirty` if there were changes beside it.
    pub commit: String,
    /// How readers and reclaimers of nulls were ordered in this process: `membarrier` or `fence`.
    pub flavour: String,
    /// The share of processor time that others used in the second before the measurement, in percent.
    pub busy_percent: f64,
}

impl Environment {
    /// Looks around. Takes a second, in which it watches how busy the machine is.
    #[must_use]
    pub fn here() -> Self {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        let field = |path, name: &str| {
            file(path)
                .lines()
                .find_map(|l| {
                    l.strip_prefix(name)
                        .map(|v| v.trim_start_matches([' ', '\t', ':']).to_owned())
                })
                .unwrap_or_else(|| "unknown".into())
        };
        Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_kib: field("/proc/meminfo", "MemTotal")
                .split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            huge_pages: file("/sys/kernel/mm/transparent_hugepage/enabled")
                .trim()
                .to_owned(),
            rustc: env!("BENCH_RUSTC").into(),
            rustflags: env!("BENCH_RUSTFLAGS").into(),
            profile: env!("BENCH_PROFILE").into(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: commit(),
            flavour: format!("{:?}", nulls::rcu::flavour()).to_lowercase(),
            busy_percent: busy(Duration::from_secs(1)),
        }
    }

    /// Whether the machine had something else to do, so that timings mean nothing.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy_percent > 5.0
    }
}

fn git(args: &[&str]) -> Option<String> {
    let out = Command::new("git")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// The commit checked out. Results that an earlier measurement has just written do not make it dirty.
#[must_use]
pub fn commit() -> String {
    let Some(head) = git(&["rev-parse", "HEAD"]) else {
        return "unknown".into();
    };
    match git(&[
        "status",
        "--porcelain",
        "--",
        ":/",
        ":!/bench-results/results",
    ]) {
        Some(changes) if changes.is_empty() => head,
        _ => head + "-dirty",
    }
}

/// The share of processor time in use during `time`, while this process sleeps, in percent.
fn busy(time: Duration) -> f64 {
    let Some((idle0, all0)) = ticks() else {
        return 0.0;
    };
    std::thread::sleep(time);
    let Some((idle1, all1)) = ticks() else {
        return 0.0;
    };
    let all = all1.saturating_sub(all0).max(1) as f64;
    let idle = idle1.saturating_sub(idle0) as f64;
    (100.0 * (1.0 - idle / all)).clamp(0.0, 100.0)
}

/// Idle and total ticks of all processors since the start.
fn ticks() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    Some((fields.get(3)? + fields.get(4)?, fields.iter().sum()))
}
