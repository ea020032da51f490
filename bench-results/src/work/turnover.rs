//! Maps that fill, empty and shrink.

use super::memory::{median_of_rest, resident};
use super::{Sample, Spec, Work};
use crate::contender::{Map, Session};
use crate::measure::{Build, Figure, Plan, filled};
use crate::workload::{folded, permuted, value_of};
use core::time::Duration;
use std::time::Instant;

/// The figures that [`Plan`] knows.
pub(super) fn run<M: Map>(spec: &Spec) -> Sample {
    let plan = Plan {
        figure: match spec.work {
            Work::Insert => Figure::Insert,
            Work::Remove => Figure::Remove,
            Work::Update => Figure::Update,
            Work::Replace => Figure::Replace,
            _ => Figure::Iterate,
        },
        entries: spec.entries,
        threads: spec.threads,
        build: spec.build,
        sample: Duration::from_millis(spec.ms),
        samples: 1,
    };
    let ns = plan.run::<M>()[0];
    Sample::one("ns", ns).with("mops", spec.threads as f64 * 1e3 / ns)
}

/// Keeps one entry in sixteen, gives room back, and looks at what that took and left.
pub(super) fn shrink<M: Map>(spec: &Spec) -> Sample {
    let before = resident();
    let map: M = filled(spec.entries, Build::Grown);
    let keys = permuted(spec.entries, 5);
    let (stay, go) = keys.split_at(spec.entries.div_ceil(16));
    let full = resident();
    let start = Instant::now();
    {
        let session = map.session();
        for k in go {
            assert_eq!(session.remove(k), Some(value_of(*k)), "{}", M::NAME);
        }
    }
    let removed = start.elapsed();
    map.shrink();
    map.settle();
    let shrunk = start.elapsed() - removed;
    let left = resident();
    let session = map.session();
    let look = median_of_rest(|| {
        let start = Instant::now();
        let sum = stay
            .iter()
            .fold(0u64, |a, k| a.wrapping_add(folded(session.get(k))));
        let time = start.elapsed();
        let expected = stay.iter().fold(0u64, |a, k| a.wrapping_add(value_of(*k)));
        assert_eq!(sum, expected, "{}: entries that stay", M::NAME);
        time.as_secs_f64() * 1e9 / stay.len() as f64
    });
    let mib = |bytes: u64| bytes.saturating_sub(before) as f64 / f64::from(1 << 20);
    drop(session);
    super::lookup::spent(map);
    Sample::one("ns", removed.as_secs_f64() * 1e9 / go.len() as f64)
        .with("shrink_ms", shrunk.as_secs_f64() * 1e3)
        .with("full_mib", mib(full))
        .with("left_mib", mib(left))
        .with("lookup_ns", look)
}
