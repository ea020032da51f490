//! What must hold for every workload, checked on the bytes.

use std::collections::HashMap;

use clap::ValueEnum;

use super::packet::tests::verify;
use super::stream::{EPOCH, Stream, View};
use super::*;

fn stream(workload: Workload, size: u64, packets: u64, seed: u64) -> Stream {
    workload
        .generate(size, packets, seed, |_| true)
        .expect("nobody stops it")
}

fn small(workload: Workload) -> Stream {
    let size = match workload {
        Workload::Elephants => 64,
        _ => 2_000,
    };
    stream(workload, size, 30_000, 7)
}

fn all(stream: &Stream) -> Vec<View<'_>> {
    let lane = stream.lanes(1).remove(0);
    lane.warm_up().chain(lane.measured()).collect()
}

/// A connection as its packets tell it: addresses and ports in one order.
type Flow = (u8, Vec<u8>, Vec<u8>);

struct Parsed<'a> {
    flow: Flow,
    /// From the end that sorts first.
    forward: bool,
    proto: u8,
    layer4: &'a [u8],
    payload: u32,
}

fn parse<'a>(packet: &View<'a>) -> Parsed<'a> {
    let b = packet.bytes;
    let (proto, at, src, dst) = match b[0] >> 4 {
        4 => (b[9], 20, &b[12..16], &b[16..20]),
        _ => (b[6], 40, &b[8..24], &b[24..40]),
    };
    let layer4 = &b[at..];
    let (src_port, dst_port) = match proto {
        6 | 17 => (&layer4[..2], &layer4[2..4]),
        // The echo's identifier belongs to the connection.
        _ => (&layer4[4..6], &layer4[4..6]),
    };
    let (one, other) = ([src, src_port].concat(), [dst, dst_port].concat());
    let forward = one <= other;
    let header = if proto == 6 {
        usize::from(layer4[12] >> 4) * 4
    } else {
        8
    };
    Parsed {
        flow: if forward {
            (proto, one, other)
        } else {
            (proto, other, one)
        },
        forward,
        proto,
        layer4,
        payload: u32::from(packet.wire_len) - (at + header) as u32,
    }
}

#[test]
fn packets_are_valid_and_in_order() {
    for &workload in Workload::value_variants() {
        let stream = small(workload);
        let packets = all(&stream);
        assert_eq!(stream.summary.packets, 30_000, "{workload:?}");
        assert_eq!(
            packets.len() as u64,
            30_000 + stream.summary.warm_up_packets
        );
        let mut last = 0;
        for packet in packets {
            verify(packet.bytes, packet.wire_len);
            assert!(packet.wire_len <= 1500, "{workload:?}: {}", packet.wire_len);
            assert!(packet.time >= last, "{workload:?}");
            last = packet.time;
        }
        assert_eq!(last, stream.end());
    }
}

#[test]
fn the_seed_decides() {
    for &workload in Workload::value_variants() {
        let one = stream(workload, 500, 5_000, 1);
        assert!(
            all(&one) == all(&stream(workload, 500, 5_000, 1)),
            "{workload:?}"
        );
        assert!(
            all(&one) != all(&stream(workload, 500, 5_000, 2)),
            "{workload:?}"
        );
    }
}

#[test]
fn memory_is_bounded_by_the_number_of_packets() {
    for &workload in Workload::value_variants() {
        let stream = small(workload);
        let packets = stream.summary.packets + stream.summary.warm_up_packets;
        // Head, IPv6, TCP with options, rounding, offset.
        assert!(
            stream.summary.memory_bytes <= packets * (16 + 80 + 7 + 4) + 4096,
            "{workload:?}: {}",
            stream.summary.memory_bytes
        );
    }
}

#[test]
fn stopping_gives_nothing() {
    for &workload in Workload::value_variants() {
        assert!(
            workload
                .generate(2_000, 30_000, 1, |packets| packets == 0)
                .is_none()
        );
    }
}

#[test]
fn threads_share_the_connections_out() {
    for &workload in Workload::value_variants() {
        let stream = small(workload);
        let lanes = stream.lanes(3);
        let mut owner: HashMap<Flow, usize> = HashMap::new();
        let mut packets = 0;
        for (i, lane) in lanes.iter().enumerate() {
            for packet in lane.warm_up().chain(lane.measured()) {
                packets += 1;
                assert_eq!(
                    *owner.entry(parse(&packet).flow).or_insert(i),
                    i,
                    "{workload:?}"
                );
            }
        }
        assert_eq!(
            packets,
            stream.summary.packets + stream.summary.warm_up_packets
        );
        assert!(
            lanes.iter().all(|lane| lane.measured().len() > 1_000),
            "{workload:?}"
        );
    }
}

#[test]
fn live_connections_never_wait_for_15_seconds() {
    for &workload in Workload::value_variants() {
        let stream = small(workload);
        let mut last: HashMap<Flow, u64> = HashMap::new();
        for packet in all(&stream) {
            if let Some(before) = last.insert(parse(&packet).flow, packet.time) {
                let wait = packet.time - before;
                assert!(wait < 15_000_000_000, "{workload:?}: {wait}");
            }
        }
    }
}

/// One side of a TCP connection as its peer sees it.
#[derive(Clone, Copy, Default)]
struct End {
    /// One past the highest number sent.
    next: u32,
    /// Highest number acknowledged by the peer, and the window behind it.
    right_edge: u32,
    scale: u32,
    known: bool,
}

#[test]
fn tcp_keeps_to_numbers_and_windows() {
    for workload in [
        Workload::Campus,
        Workload::Sfr,
        Workload::Elephants,
        Workload::Caida,
    ] {
        let stream = small(workload);
        let mut connections: HashMap<Flow, [End; 2]> = HashMap::new();
        let (mut data, mut checked) = (0u64, 0u64);
        for packet in all(&stream) {
            let parsed = parse(&packet);
            if parsed.proto != 6 {
                continue;
            }
            let u32_at =
                |at: usize| u32::from_be_bytes(parsed.layer4[at..at + 4].try_into().unwrap());
            let (seq, ack, flags) = (u32_at(4), u32_at(8), parsed.layer4[13]);
            let window = u32::from(u16::from_be_bytes([parsed.layer4[14], parsed.layer4[15]]));
            let ends = connections.entry(parsed.flow).or_default();
            let (me, peer) = if parsed.forward { (0, 1) } else { (1, 0) };
            let used = parsed.payload + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0);
            if flags & 2 != 0 {
                assert_eq!(parsed.layer4.len(), 40);
                ends[me] = End {
                    next: seq.wrapping_add(1),
                    right_edge: if flags & 16 != 0 {
                        ends[me].right_edge
                    } else {
                        0
                    },
                    scale: u32::from(parsed.layer4[39]),
                    known: true,
                };
                ends[peer].right_edge = ack.wrapping_add(window);
                continue;
            }
            if flags & 4 != 0 {
                // Resets carry the next number, or 0 when they refuse.
                assert!(
                    seq == ends[me].next || !ends[me].known && seq == 0,
                    "{workload:?}"
                );
                continue;
            }
            assert!(
                ends[me].known && ends[peer].known,
                "{workload:?}: data before the handshake"
            );
            // Nothing is lost here: every packet continues where the last one of its side ended.
            assert_eq!(seq, ends[me].next, "{workload:?}");
            ends[me].next = seq.wrapping_add(used);
            assert!(
                (ack.wrapping_sub(ends[peer].next) as i32) <= 0,
                "{workload:?}: acknowledges what was not sent"
            );
            if parsed.payload > 0 {
                assert!(
                    (ends[me].next.wrapping_sub(ends[me].right_edge) as i32) <= 0,
                    "{workload:?}: beyond the window"
                );
                data += 1;
            }
            let edge = ack.wrapping_add(window << ends[me].scale);
            if (edge.wrapping_sub(ends[peer].right_edge) as i32) > 0 {
                ends[peer].right_edge = edge;
            }
            checked += 1;
        }
        assert!(
            data > 5_000 && checked > 10_000,
            "{workload:?}: {data} of {checked}"
        );
    }
}

#[test]
fn arrivals_are_as_fast_as_the_size_wants() {
    // Queries live for 30 s, and a query takes two packets.
    let dns = stream(Workload::Dns, 3_000, 20_000, 1);
    let rate = 10_000.0 / dns.summary.virtual_seconds;
    assert!((rate / 100.0 - 1.0).abs() < 0.05, "{rate}");
    // Steady state: as many packets as the mix has for that number of entries.
    let sfr = stream(Workload::Sfr, 4_000, 60_000, 1);
    let rate = sfr.summary.packets as f64 / sfr.summary.virtual_seconds;
    let entries_at_full_rate: f64 = 79_000.0;
    let expected = 53_596.0 * 4_000.0 / entries_at_full_rate;
    assert!(
        (rate / expected - 1.0).abs() < 0.25,
        "{rate} instead of {expected}"
    );
    let caida = small(Workload::Caida).summary;
    assert!((caida.packets as f64 / caida.virtual_seconds / 484_000.0 - 1.0).abs() < 0.01);
    let new = caida.new_flows as f64 / caida.packets as f64;
    assert!((new - 31.0 / 484.0).abs() < 0.005, "{new}");
}

#[test]
fn a_flood_is_half_of_the_packets_and_never_answered() {
    let flood = small(Workload::SynFlood).summary;
    let share = flood.new_flows as f64 / flood.packets as f64;
    assert!((share - 0.5).abs() < 0.02, "{share}");
    assert!(flood.unreplied_share > 0.9);
    assert!(flood.warm_up_packets > 2_000);
}

#[test]
fn popular_tuples_follow_the_exponent() {
    let stream = stream(Workload::Caida, 2_000, 60_000, 3);
    let mut counts: HashMap<Flow, u64> = HashMap::new();
    for packet in all(&stream).iter().filter(|p| p.time >= EPOCH) {
        *counts.entry(parse(packet).flow).or_default() += 1;
    }
    let most = *counts.values().max().unwrap() as f64;
    // Of 2,000 ranks with s = 1.05 the first has 1 / H = 14.4 % of the packets that open nothing; it is replaced now and then.
    let harmonic: f64 = (1..=2_000).map(|k| f64::from(k).powf(-1.05)).sum();
    let expected = 60_000.0 * (1.0 - 31.0 / 484.0) / harmonic;
    assert!(most <= expected * 1.1, "{most} of {expected}");
    assert!(most >= expected * 0.2, "{most} of {expected}");
}
