//! Memory as the system sees it.

use super::{Sample, Spec};
use crate::contender::{Map, Session};
use crate::workload::{present, value_of};
use anyhow::{Result, ensure};
use std::time::Instant;

/// Resident bytes of this process.
pub(super) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    pages * page_size()
}

fn page_size() -> u64 {
    // SAFETY: asks for a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Lets this process have no huge pages from now on.
pub(super) fn forbid_huge_pages() -> Result<()> {
    // SAFETY: takes numbers only.
    let r = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    ensure!(
        r == 0,
        "PR_SET_THP_DISABLE: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// The median of four runs after a first.
pub(super) fn median_of_rest(mut run: impl FnMut() -> f64) -> f64 {
    run();
    let mut all: Vec<f64> = (0..4).map(|_| run()).collect();
    all.sort_by(f64::total_cmp);
    (all[1] + all[2]) / 2.0
}

/// Bytes per entry of a map that grew from empty. Keys are made on the way: nothing else is in memory.
pub(super) fn per_entry<M: Map>(spec: &Spec) -> Sample {
    let map = M::empty();
    let before = resident();
    {
        let session = map.session();
        for i in 0..spec.entries as u64 {
            session.insert(present(i), value_of(present(i)));
        }
    }
    map.settle();
    let bytes = resident().saturating_sub(before);
    let first = map.session().get(&present(0));
    assert_eq!(first, Some(value_of(present(0))), "{}", M::NAME);
    super::lookup::spent(map);
    Sample::one("bytes_per_entry", bytes as f64 / spec.entries as f64)
}

/// Resident memory by time: `entries` from empty, with a look at every two-hundredth.
pub(super) fn timeline<M: Map>(spec: &Spec) -> Sample {
    let map = M::empty();
    let before = resident();
    let mut curve = Vec::new();
    let step = (spec.entries as u64 / 200).max(1);
    let start = Instant::now();
    {
        let session = map.session();
        for i in 0..spec.entries as u64 {
            session.insert(present(i), value_of(present(i)));
            if i % step == step - 1 {
                let mib = resident().saturating_sub(before) as f64 / f64::from(1 << 20);
                curve.push((start.elapsed().as_secs_f64(), mib));
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let peak = curve.iter().map(|c| c.1).fold(0.0, f64::max);
    map.settle();
    let end = resident().saturating_sub(before) as f64 / f64::from(1 << 20);
    assert_eq!(
        map.session().get(&present(0)),
        Some(value_of(present(0))),
        "{}",
        M::NAME
    );
    super::lookup::spent(map);
    let mut sample = Sample::one("peak_mib", peak)
        .with("end_mib", end)
        .with("seconds", seconds);
    sample.series.insert("resident_mib".into(), curve);
    sample
}
