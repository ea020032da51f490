//! Writes: insertion from empty and into a presized map, removal, updates.

use bench_results::contender::{Dash, Inline, Map, Nulls, NullsAtomic};
use bench_results::measure::{Build, filled, insert_time, overwrite_time, remove_time};
use bench_results::workload::{Presence, Stream, permuted};
use core::time::Duration;
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};

const ENTRIES: usize = 1_000_000;

/// Insertion of a million keys, or their removal: one iteration is the whole million.
fn turnover<M: Map>(c: &mut Criterion, figure: &str, build: Build) {
    let mut group = c.benchmark_group(format!("{figure}/{ENTRIES}/1-thread"));
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.sampling_mode(SamplingMode::Flat);
    let keys = permuted(ENTRIES, 3);
    let others = permuted(ENTRIES, 2);
    group.bench_function(BenchmarkId::from_parameter(M::NAME), |b| {
        b.iter_custom(|count| {
            let once = || {
                if figure == "remove" {
                    remove_time(&filled::<M>(ENTRIES, build), &others, 1)
                } else if build == Build::Presized {
                    insert_time(&M::presized(ENTRIES), &keys, 1)
                } else {
                    insert_time(&M::empty(), &keys, 1)
                }
            };
            (0..count).map(|_| once()).sum::<Duration>()
        });
    });
    group.finish();
}

fn turnovers(c: &mut Criterion) {
    for (figure, build) in [
        ("insert-growing", Build::Grown),
        ("insert-presized", Build::Presized),
        ("remove", Build::Grown),
    ] {
        turnover::<Nulls>(c, figure, build);
        turnover::<Inline>(c, figure, build);
        turnover::<Dash<0>>(c, figure, build);
    }
}

/// Updates of keys that are there, uniform over the map.
fn overwrite<M: Map>(c: &mut Criterion, increment: bool) {
    let figure = if increment { "update" } else { "replace" };
    let mut group = c.benchmark_group(format!("{figure}/{ENTRIES}/1-thread"));
    group.throughput(Throughput::Elements(1));
    let map = filled::<M>(ENTRIES, Build::Presized);
    let stream = Stream::new(ENTRIES, Presence::Hit, 1);
    group.bench_function(BenchmarkId::from_parameter(M::NAME), |b| {
        b.iter_custom(|count| overwrite_time(&map, &stream, 1, 0, count, increment));
    });
    group.finish();
}

fn overwrites(c: &mut Criterion) {
    for increment in [true, false] {
        overwrite::<Nulls>(c, increment);
        overwrite::<Inline>(c, increment);
        overwrite::<Dash<0>>(c, increment);
        overwrite::<NullsAtomic>(c, increment);
    }
}

criterion_group!(
    name = benches;
    config = bench_results::quick_criterion!();
    targets = turnovers, overwrites
);
criterion_main!(benches);
