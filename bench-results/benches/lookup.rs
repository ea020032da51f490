//! Look-ups: hits and misses, one thread, and two on one table.
//!
//! `nulls` and `nulls-inline` pin for every look-up: the figures to compare with dashmap, which locks for every look-up.
//! `nulls-held` and `nulls-inline-held` keep their guard. Benchmarks run one after the other, so that ratios come from the binary's `ratios`, which
//! alternates; here contenders take turns at going first.

use bench_results::contender::{
    Alone, BATCH, Dash, Inline, InlineHeld, Map, Nulls, NullsHeld, Session,
};
use bench_results::measure::{Build, filled, lookup_time};
use bench_results::workload::{Presence, Stream, permuted};
use core::hint::black_box;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// One contender's look-ups on a table of its own.
fn bench<M: Map>(c: &mut Criterion, presence: Presence, entries: usize, threads: usize) {
    let figure = match presence {
        Presence::Hit => "hit",
        Presence::Miss => "miss",
    };
    let mut group = c.benchmark_group(format!("{figure}/{entries}/{threads}-thread"));
    group.throughput(Throughput::Elements(1));
    let map = filled::<M>(entries, Build::Presized);
    let stream = Stream::new(entries, presence, 1);
    group.bench_function(BenchmarkId::from_parameter(M::NAME), |b| {
        b.iter_custom(|count| lookup_time(&map, &stream, threads, count));
    });
    group.finish();
}

type Bench = fn(&mut Criterion, Presence, usize, usize);

fn lookups(c: &mut Criterion) {
    let mut contenders: [Bench; 6] = [
        bench::<Nulls>,
        bench::<Dash<0>>,
        bench::<Inline>,
        bench::<NullsHeld>,
        bench::<InlineHeld>,
        bench::<Alone<u64>>,
    ];
    for entries in SIZES {
        for presence in [Presence::Hit, Presence::Miss] {
            contenders.iter().for_each(|b| b(c, presence, entries, 1));
            contenders.reverse();
        }
    }
}

fn shared(c: &mut Criterion) {
    let mut contenders: [Bench; 6] = [
        bench::<Nulls>,
        bench::<Dash<0>>,
        bench::<Inline>,
        bench::<NullsHeld>,
        bench::<InlineHeld>,
        bench::<Dash<256>>,
    ];
    for presence in [Presence::Hit, Presence::Miss] {
        contenders.iter().for_each(|b| b(c, presence, 1_000, 2));
        contenders.reverse();
    }
}

/// Look-ups in batches, where the map has an interface for them, and iteration over everything.
fn bulk<M: Map>(c: &mut Criterion) {
    for entries in SIZES {
        let map = filled::<M>(entries, Build::Presized);
        let keys: Vec<u64> = permuted(entries, 5).into_iter().take(BATCH).collect();
        let mut group = c.benchmark_group(format!("batch/{entries}/1-thread"));
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(BenchmarkId::from_parameter(M::NAME), |b| {
            let session = map.session();
            b.iter(|| session.batch(black_box(&keys)));
        });
        group.finish();
        let mut group = c.benchmark_group(format!("iterate/{entries}/1-thread"));
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(BenchmarkId::from_parameter(M::NAME), |b| {
            let session = map.session();
            b.iter(|| session.sum());
        });
        group.finish();
    }
}

fn bulks(c: &mut Criterion) {
    bulk::<Nulls>(c);
    bulk::<Inline>(c);
    bulk::<Dash<0>>(c);
}

criterion_group!(
    name = benches;
    config = bench_results::quick_criterion!();
    targets = lookups, shared, bulks
);
criterion_main!(benches);
