//! About how long measurements take.

use crate::plan::Row;
use bench_results::key::KeyKind;
use bench_results::work::{Mix, Spec, Traffic, Work, Ycsb};
use std::time::Duration;

/// Nanoseconds that an insertion into a large map takes while it grows, by contender, on the machine that the figures below were taken from.
fn growing(contender: &str) -> f64 {
    match contender {
        "papaya" | "kovan" => 900.0,
        "flurry" => 1900.0,
        "dashmap" => 110.0,
        "hashbrown" | "std-rwlock" | "std-mutex" | "parking-lot" => 80.0,
        "scc" | "scc-index" | "nulls-inline" | "nulls-inline-held" => 220.0,
        "classic" => 150.0,
        _ => 300.0,
    }
}

/// About how long a process takes on that machine (two cores, 3 GHz).
pub fn of_process(spec: &Spec) -> Duration {
    let name = spec.contender.as_str();
    let (n, t) = (spec.entries as f64, spec.threads as f64);
    let window = spec.ms as f64 / 1e3;
    let fill = n * growing(name) * if n > 3e5 { 1e-9 } else { 5e-10 };
    // A round of accesses, which are made, warm up, and are measured at least once.
    let length = n.clamp(1e6, 2e6);
    let slower = match name {
        "flurry" => 5.0,
        "papaya" | "scc" => 1.5,
        _ => 1.0,
    };
    let access = slower
        * match spec.entries {
            0..=1_000 => 1.2e-8,
            1_001..=300_000 => 2.5e-8,
            300_001..=4_000_000 => 1.1e-7,
            _ => 2e-7,
        };
    let round = length * access;
    let accesses = length * 4e-8 + round + round.max(window);
    let string = match spec.key {
        KeyKind::String => n * 1.5e-6,
        _ => 0.0,
    };
    let seconds = match spec.work {
        Work::Lookup { .. } | Work::Pin => fill + accesses + string + n * 5e-8,
        Work::Mix {
            mix: Mix::Published { .. },
        } => 0.1 + 0.7 * fill,
        Work::Mix {
            mix: Mix::Ycsb {
                name: Ycsb::A | Ycsb::F,
            },
        } => fill * (1.0 + 0.5 * t) + 0.2 + 0.12 * t,
        Work::Mix { .. } => fill * (1.0 + 0.2 * t) + 0.12 + 0.13 * t,
        Work::Peers { bulk, .. } => match name {
            "rculfhash" => 4.2,
            "rte_hash" if bulk => 1.1,
            "rte_hash" => 1.8,
            _ => 0.7 * fill + 0.3 + 0.15 * t,
        },
        // Twice, the first to warm up.
        Work::Insert => 2.2 * fill + 0.1,
        Work::Remove => 2.2 * fill + 0.8,
        // Two quarters of a round.
        Work::Update | Work::Replace => 1.3 * fill + 0.2 + fill * t,
        Work::Iterate => fill + 0.1 + 1.5 * window,
        Work::Shrink => 2.5 * fill + 0.1,
        Work::Garbage => 0.1 + 30.0 * fill,
        Work::Memory => 1.2 * fill + 0.05,
        Work::Timeline => 1.2 * fill,
        Work::Latency { rate, .. } => n / t / f64::from(rate) * 1.01 + n * 1e-7,
        Work::Geometry { .. } => 1.2 * window,
        // Twice: the loop beside it takes as long. Two threads share the insertions, not the cache misses.
        Work::Growth => {
            let each = match name {
                "dashmap" => 6e-7,
                "scc-index" => 6.5e-7,
                "papaya" => 1.35e-6,
                _ => 4.6e-7,
            };
            2.0 * n * each * if spec.threads == 1 { 1.0 } else { 0.75 } + n * 6e-8
        }
        Work::FactorFill { .. } => 0.1 + n * 4e-7,
        Work::Fractions => 0.1 + n * 4.5e-7,
        Work::Established { .. } | Work::Conntrack { .. } => {
            let each = match spec.work {
                Work::Conntrack {
                    traffic: Traffic::Campus,
                } => 1.2e-5,
                _ => 4.2e-6,
            };
            0.27 + n * each * if name == "papaya" { 2.4 } else { 1.0 }
        }
    };
    Duration::from_secs_f64(seconds + 0.03)
}

/// About how long all of it takes.
pub fn of_rows(rows: &[Row]) -> Duration {
    rows.iter()
        .map(|r| r.specs.iter().map(of_process).sum::<Duration>() * r.repetitions as u32)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Size, rows};

    #[test]
    fn runs_keep_within_their_time() {
        let c = ["rculfhash", "rte_hash"].map(str::to_owned);
        assert!(of_rows(&rows(Size::Full, &c)) <= Duration::from_secs(70 * 60));
        assert!(of_rows(&rows(Size::Quick, &c)) < Duration::from_secs(600));
    }
}
