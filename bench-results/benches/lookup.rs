//! Look-ups: hits and misses, one thread, and two on one table.
//!
//! `nulls` pins for every look-up: the figure to compare with dashmap, which locks for every look-up. `nulls-held`
//! keeps its guard. Benchmarks run one after the other, so that ratios come from the binary's `ratios`, which
//! alternates; here contenders take turns at going first.

use bench_results::contender::{Dash, Map, Nulls, NullsHeld};
use bench_results::measure::{Build, filled, lookup_time};
use bench_results::workload::{Presence, Stream};
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
    // Few and long samples: starting threads is not timed, but the first microseconds of a sample are not typical.
    group.sample_size(20);
    group.bench_function(BenchmarkId::from_parameter(M::NAME), |b| {
        b.iter_custom(|count| lookup_time(&map, &stream, threads, count));
    });
    group.finish();
}

type Bench = fn(&mut Criterion, Presence, usize, usize);

fn lookups(c: &mut Criterion) {
    let mut contenders: [Bench; 3] = [bench::<Nulls>, bench::<Dash<0>>, bench::<NullsHeld>];
    for entries in SIZES {
        for presence in [Presence::Hit, Presence::Miss] {
            contenders.iter().for_each(|b| b(c, presence, entries, 1));
            contenders.reverse();
        }
    }
}

fn shared(c: &mut Criterion) {
    let mut contenders: [Bench; 4] = [
        bench::<Nulls>,
        bench::<Dash<0>>,
        bench::<NullsHeld>,
        bench::<Dash<256>>,
    ];
    for presence in [Presence::Hit, Presence::Miss] {
        contenders.iter().for_each(|b| b(c, presence, 1_000, 2));
        contenders.reverse();
    }
}

criterion_group!(benches, lookups, shared);
criterion_main!(benches);
