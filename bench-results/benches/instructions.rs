//! Instructions and simulated cache misses per operation, under callgrind: they do not depend on what else the machine
//! does. `.ci/instruction-gate` compares them with the stored ones.
//!
//! Each benchmark is named `<figure>_<entries>` with the contender as its case; the map is filled, and dropped, outside
//! of what is counted. [`OPERATIONS`] says how many operations one run makes.

#![allow(missing_docs, reason = "the macros make public modules")]

use bench_results::contender::{
    Dash, Inline, InlineHeld, Map, Nulls, NullsAtomic, NullsHeld, Session,
};
use bench_results::measure::{Build, filled};
use bench_results::workload::{Presence, Stream, folded, mix64, permuted, value_of};
use iai_callgrind::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use nulls_conntrack::checksum::{fold, sum};
use nulls_conntrack::{Config, Family, Hook, NullsStore, Packet, PacketState, Tracker, Verdict};
use std::hint::black_box;

/// Operations of one run of the look-up and update figures; the others take as many as there are entries.
const OPERATIONS: usize = bench_results::measure::COUNTED_OPERATIONS;

/// A filled map and the keys to work through.
struct Work<M> {
    map: M,
    keys: Vec<u64>,
}

fn lookups<M: Map>(entries: usize, presence: Presence) -> Work<M> {
    let mut keys = Stream::with_length(entries, presence, 1, OPERATIONS)
        .keys()
        .to_vec();
    keys.truncate(OPERATIONS);
    let work = Work {
        map: filled::<M>(entries, Build::Presized),
        keys,
    };
    warm(&work.map);
    work
}

/// The thread's record, and whatever else a map makes at a first use.
fn warm<M: Map>(map: &M) {
    assert_eq!(map.session().get(&bench_results::workload::absent(0)), None);
}

fn hits<M: Map>(entries: usize) -> Work<M> {
    lookups(entries, Presence::Hit)
}

fn misses<M: Map>(entries: usize) -> Work<M> {
    lookups(entries, Presence::Miss)
}

fn grown<M: Map>(entries: usize) -> Work<M> {
    let work = Work {
        map: M::empty(),
        keys: permuted(entries, 3),
    };
    warm(&work.map);
    work
}

fn presized<M: Map>(entries: usize) -> Work<M> {
    let work = Work {
        map: M::presized(entries),
        keys: permuted(entries, 3),
    };
    warm(&work.map);
    work
}

fn full<M: Map>(entries: usize) -> Work<M> {
    Work {
        map: filled::<M>(entries, Build::Grown),
        keys: permuted(entries, 2),
    }
}

#[inline(always)]
fn get<M: Map>(work: Work<M>) -> (Work<M>, u64) {
    let session = black_box(&work.map).session();
    let sum = work
        .keys
        .iter()
        .fold(0u64, |sum, &k| sum.wrapping_add(folded(session.get(&k))));
    drop(session);
    (work, sum)
}

#[inline(always)]
fn insert<M: Map>(work: Work<M>) -> (Work<M>, u64) {
    let session = black_box(&work.map).session();
    let n = work
        .keys
        .iter()
        .filter(|&&k| session.insert(k, value_of(k)).is_none())
        .count();
    drop(session);
    (work, n as u64)
}

#[inline(always)]
fn update<M: Map>(work: Work<M>) -> (Work<M>, u64) {
    let session = black_box(&work.map).session();
    let n = work.keys.iter().filter(|&&k| session.increment(&k)).count();
    drop(session);
    (work, n as u64)
}

#[inline(always)]
fn replace<M: Map>(work: Work<M>) -> (Work<M>, u64) {
    let session = black_box(&work.map).session();
    let n = work
        .keys
        .iter()
        .filter(|&&k| session.insert(k, value_of(k)).is_some())
        .count();
    drop(session);
    (work, n as u64)
}

#[inline(always)]
fn remove<M: Map>(work: Work<M>) -> (Work<M>, u64) {
    let session = black_box(&work.map).session();
    let n = work
        .keys
        .iter()
        .filter(|&&k| session.remove(&k).is_some())
        .count();
    drop(session);
    (work, n as u64)
}

#[inline(always)]
fn iterate<M: Map>(work: Work<M>) -> (Work<M>, u64) {
    let sum = black_box(&work.map).session().sum();
    (work, sum)
}

/// Checks a sum of values, outside of what is counted.
fn check_sum<M: Map>((work, sum): (Work<M>, u64)) {
    let expected = work
        .keys
        .iter()
        .fold(0u64, |a, &k| a.wrapping_add(value_of(k)));
    assert_eq!(sum, expected, "{}", M::NAME);
}

/// Checks that every operation did what it should.
fn check_count<M: Map>((work, n): (Work<M>, u64)) {
    assert_eq!(n, work.keys.len() as u64, "{}", M::NAME);
}

macro_rules! figure {
    ($name:ident, $small:ident, $large:ident, $setup:ident, $op:ident, $check:ident, $($id:ident: $map:ty),+) => {
        #[library_benchmark]
        $(#[bench::$id(args = (1_000), setup = $setup::<$map>, teardown = $check::<$map>)])+
        fn $small<M: Map>(work: Work<M>) -> (Work<M>, u64) {
            black_box($op(work))
        }

        #[library_benchmark]
        $(#[bench::$id(args = (100_000), setup = $setup::<$map>, teardown = $check::<$map>)])+
        fn $large<M: Map>(work: Work<M>) -> (Work<M>, u64) {
            black_box($op(work))
        }

        library_benchmark_group!(name = $name; benchmarks = $small, $large);
    };
}

figure!(hit, hit_1000, hit_100000, hits, get, check_sum, nulls: Nulls, nulls_held: NullsHeld, nulls_inline: Inline, nulls_inline_held: InlineHeld, dashmap: Dash<0>);
figure!(miss, miss_1000, miss_100000, misses, get, check_count, nulls: Nulls, nulls_held: NullsHeld, nulls_inline: Inline, nulls_inline_held: InlineHeld, dashmap: Dash<0>);
figure!(insert_growing, insert_growing_1000, insert_growing_100000, grown, insert, check_count,
    nulls: Nulls, nulls_inline: Inline, dashmap: Dash<0>);
figure!(insert_presized, insert_presized_1000, insert_presized_100000, presized, insert, check_count,
    nulls: Nulls, nulls_inline: Inline, dashmap: Dash<0>);
figure!(update, update_1000, update_100000, hits, update, check_count,
    nulls: Nulls, nulls_inline: Inline, nulls_atomic: NullsAtomic, dashmap: Dash<0>);
figure!(replace, replace_1000, replace_100000, hits, replace, check_count, nulls: Nulls, nulls_inline: Inline, dashmap: Dash<0>);
figure!(remove_all, remove_1000, remove_100000, full, remove, check_count, nulls: Nulls, nulls_inline: Inline, dashmap: Dash<0>);
figure!(iterate_all, iterate_1000, iterate_100000, full, iterate, check_sum,
    nulls: Nulls, nulls_held: NullsHeld, nulls_inline: Inline, nulls_inline_held: InlineHeld, dashmap: Dash<0>);

/// A tracker with open UDP connections, and packets of them.
struct Traffic {
    tracker: Tracker<NullsStore<()>>,
    packets: Vec<Vec<u8>>,
}

/// An IPv4 packet with UDP and no data; its transport checksum is 0: none.
fn udp(source: u32, source_port: u16, destination: u32, destination_port: u16) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0];
    p.extend(source.to_be_bytes());
    p.extend(destination.to_be_bytes());
    let check = !fold(sum(&p, 0));
    p[10..12].copy_from_slice(&check.to_be_bytes());
    for word in [source_port, destination_port, 8, 0] {
        p.extend(word.to_be_bytes());
    }
    p
}

/// The packet of connection `i`, or its answer.
fn packet_of(i: u64, answer: bool) -> Vec<u8> {
    let (client, port) = (0x0a00_0000 + (i >> 6) as u32, 1024 + (i & 63) as u16);
    let server = 0xc0a8_0001;
    if answer {
        udp(server, 53, client, port)
    } else {
        udp(client, port, server, 53)
    }
}

/// Through the tracker as through a router. True: of an established connection.
fn pass(tracker: &Tracker<NullsStore<()>>, bytes: &[u8]) -> bool {
    let mut packet = Packet::new(bytes, Family::Ipv4, 1_000_000_000);
    tracker.track(&mut packet, Hook::PreRouting) == Verdict::Accept
        && tracker.confirm(&mut packet, Hook::PostRouting) == Verdict::Accept
        && packet.state() == PacketState::Established
}

/// Connections that have seen both directions, and packets of random ones, every other one an answer.
fn established(connections: usize) -> Traffic {
    let store = NullsStore::new(1 << 20, connections.div_ceil(2)).expect("memory");
    let config = Config {
        seed: Some((1, 2)),
        ..Config::default()
    };
    let tracker = Tracker::new(store, config);
    for i in 0..connections as u64 {
        pass(&tracker, &packet_of(i, false));
        assert!(pass(&tracker, &packet_of(i, true)));
    }
    let packets = (0..OPERATIONS as u64)
        .map(|j| {
            let i = nulls::scale::reciprocal_scale(mix64(j), connections as u64);
            packet_of(i, j % 2 == 0)
        })
        .collect();
    Traffic { tracker, packets }
}

#[inline(always)]
fn track(traffic: Traffic) -> (Traffic, usize) {
    let n = traffic
        .packets
        .iter()
        .filter(|p| pass(black_box(&traffic.tracker), p))
        .count();
    (traffic, n)
}

fn all_established((traffic, n): (Traffic, usize)) {
    assert_eq!(n, traffic.packets.len());
}

#[library_benchmark]
#[bench::nulls(args = (1_000), setup = established, teardown = all_established)]
fn track_packet_1000(traffic: Traffic) -> (Traffic, usize) {
    black_box(track(traffic))
}

#[library_benchmark]
#[bench::nulls(args = (100_000), setup = established, teardown = all_established)]
fn track_packet_100000(traffic: Traffic) -> (Traffic, usize) {
    black_box(track(traffic))
}

library_benchmark_group!(name = track_packet; benchmarks = track_packet_1000, track_packet_100000);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=yes"]));
    library_benchmark_groups =
        hit, miss, insert_growing, insert_presized, update, replace, remove_all, iterate_all, track_packet
);
