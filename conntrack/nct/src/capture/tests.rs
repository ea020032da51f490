//! Capture files built byte by byte: every variant of the two formats, and damage in every place.

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;

use super::source::{Capture, CaptureError, Fault, MAX_RECORD};

/// Gives one byte per read, as a slow pipe may.
struct Drip(Cursor<Vec<u8>>);

impl Read for Drip {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = buf.len().min(1);
        self.0.read(&mut buf[..n])
    }
}

type Packet = (Option<i64>, u16, Vec<u8>, u32);

fn drain(input: Box<dyn Read>) -> (Vec<Packet>, Option<CaptureError>) {
    let mut out = Vec::new();
    let mut capture = match Capture::new("test".into(), input) {
        Ok(c) => c,
        Err(e) => return (out, Some(e)),
    };
    loop {
        match capture.next() {
            Ok(Some(r)) => {
                out.push((r.time, r.link, r.data.to_vec(), r.wire_len));
            }
            Ok(None) => return (out, None),
            Err(e) => {
                assert!(
                    matches!(capture.next(), Ok(None)),
                    "nothing follows an error"
                );
                return (out, Some(e));
            }
        }
    }
}

fn read(bytes: &[u8]) -> (Vec<Packet>, Option<CaptureError>) {
    drain(Box::new(Cursor::new(bytes.to_vec())))
}

#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn u16(self, v: u16) -> [u8; 2] {
        if self.big {
            v.to_be_bytes()
        } else {
            v.to_le_bytes()
        }
    }
    fn u32(self, v: u32) -> [u8; 4] {
        if self.big {
            v.to_be_bytes()
        } else {
            v.to_le_bytes()
        }
    }
    fn u64(self, v: u64) -> [u8; 8] {
        if self.big {
            v.to_be_bytes()
        } else {
            v.to_le_bytes()
        }
    }

    fn pcap(self, magic: u32, link: u32) -> Vec<u8> {
        let mut f = self.u32(magic).to_vec();
        f.extend(self.u16(2));
        f.extend(self.u16(4));
        f.extend([0; 8]);
        f.extend(self.u32(65_535));
        f.extend(self.u32(link));
        f
    }

    fn pcap_record(self, sec: u32, frac: u32, data: &[u8], wire: u32) -> Vec<u8> {
        let mut f = Vec::new();
        for v in [sec, frac, data.len() as u32, wire] {
            f.extend(self.u32(v));
        }
        f.extend(data);
        f
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = body.len().next_multiple_of(4) - body.len();
        let len = (body.len() + padding + 12) as u32;
        let mut b = self.u32(kind).to_vec();
        b.extend(self.u32(len));
        b.extend(body);
        b.extend(vec![0; padding]);
        b.extend(self.u32(len));
        b
    }

    fn section(self) -> Vec<u8> {
        let mut body = self.u32(0x1a2b_3c4d).to_vec();
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(self, link: u16, snaplen: u32, options: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = self.u16(link).to_vec();
        body.extend([0, 0]);
        body.extend(self.u32(snaplen));
        for (code, value) in options {
            body.extend(self.u16(*code));
            body.extend(self.u16(value.len() as u16));
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            body.extend([0; 4]);
        }
        self.block(1, &body)
    }

    fn enhanced(self, id: u32, ticks: u64, data: &[u8]) -> Vec<u8> {
        let mut body = self.u32(id).to_vec();
        body.extend(self.u32((ticks >> 32) as u32));
        body.extend(self.u32(ticks as u32));
        body.extend(self.u32(data.len() as u32));
        body.extend(self.u32(data.len() as u32 + 9));
        body.extend(data);
        self.block(6, &body)
    }
}

const LE: Order = Order { big: false };
const BE: Order = Order { big: true };

fn small_pcap() -> Vec<u8> {
    let mut f = LE.pcap(0xa1b2_c3d4, 1);
    f.extend(LE.pcap_record(10, 5, b"first", 5));
    f.extend(LE.pcap_record(11, 6, b"second!", 700));
    f
}

fn small_pcapng() -> Vec<u8> {
    let mut f = LE.section();
    f.extend(LE.interface(101, 0, &[]));
    f.extend(LE.enhanced(0, 7_000_000, b"hello"));
    f.extend(LE.block(5, &[0; 12]));
    f.extend(LE.enhanced(0, 8_000_001, b"worlds"));
    f
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    z.write_all(bytes).unwrap();
    z.finish().unwrap()
}

#[test]
fn pcap_in_both_byte_orders_and_resolutions() {
    for order in [LE, BE] {
        for (magic, nanos) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
            let mut f = order.pcap(magic, 0x0400_0000 | 113);
            f.extend(order.pcap_record(3_000_000_000, 5, b"abc", 60));
            let (packets, error) = read(&f);
            assert!(error.is_none(), "{error:?}");
            let time = 3_000_000_000_000_000_000 + nanos;
            assert_eq!(packets, [(Some(time), 113, b"abc".to_vec(), 60)]);
        }
    }
}

#[test]
fn pcapng_in_both_byte_orders_with_time_resolutions_and_offsets() {
    for order in [LE, BE] {
        let mut f = order.section();
        f.extend(order.interface(1, 0, &[]));
        f.extend(order.interface(101, 0, &[(9, vec![9]), (14, order.u64(100).to_vec())]));
        f.extend(order.interface(12, 0, &[(9, vec![0x80 | 10])]));
        f.extend(order.enhanced(0, 1_500_000, b"us"));
        f.extend(order.enhanced(1, 1_500_000_007, b"ns"));
        f.extend(order.enhanced(2, 1024 + 512, b"1/1024 s"));
        let (packets, error) = read(&f);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(
            packets,
            [
                (Some(1_500_000_000), 1, b"us".to_vec(), 11),
                (Some(101_500_000_007), 101, b"ns".to_vec(), 11),
                (Some(1_500_000_000), 12, b"1/1024 s".to_vec(), 17),
            ]
        );
    }
}

#[test]
fn a_new_section_brings_its_own_interfaces_and_byte_order() {
    let mut f = small_pcapng();
    f.extend(BE.section());
    f.extend(BE.interface(1, 0, &[]));
    f.extend(BE.enhanced(0, 9_000_000, b"x"));
    let (packets, error) = read(&f);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(packets.len(), 3);
    assert_eq!(packets[2], (Some(9_000_000_000), 1, b"x".to_vec(), 10));
}

#[test]
fn simple_and_obsolete_packet_blocks() {
    let mut f = LE.section();
    f.extend(LE.interface(101, 6, &[]));
    let mut simple = LE.u32(100).to_vec();
    simple.extend(b"123456");
    f.extend(LE.block(3, &simple));
    let mut old = LE.u16(0).to_vec();
    old.extend(LE.u16(0));
    for v in [0, 2_000_000, 3, 99] {
        old.extend(LE.u32(v));
    }
    old.extend(b"old");
    f.extend(LE.block(2, &old));
    let (packets, error) = read(&f);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(
        packets,
        [
            (None, 101, b"123456".to_vec(), 100),
            (Some(2_000_000_000), 101, b"old".to_vec(), 99)
        ]
    );
}

#[test]
fn compressed_and_dripping_input_read_the_same() {
    for f in [small_pcap(), small_pcapng()] {
        let plain = read(&f).0;
        assert_eq!(plain.len(), 2);
        assert_eq!(read(&gzip(&f)).0, plain);
        assert_eq!(drain(Box::new(Drip(Cursor::new(f.clone())))).0, plain);
        assert_eq!(drain(Box::new(Drip(Cursor::new(gzip(&f))))).0, plain);
        // Files glued together by `cat a.gz b.gz` are one stream.
        let (head, tail) = f.split_at(50);
        assert_eq!(read(&[gzip(head), gzip(tail)].concat()).0, plain);
    }
}

#[test]
fn truncation_anywhere_keeps_what_came_before_and_names_the_place() {
    for f in [small_pcap(), small_pcapng()] {
        let ends: Vec<usize> = (0..=f.len())
            .filter(|&n| read(&f[..n]).1.is_none())
            .collect();
        for n in 0..f.len() {
            let (packets, error) = read(&f[..n]);
            match error {
                None => assert!(ends.contains(&n)),
                Some(e) if n == 0 => assert!(matches!(e.fault, Fault::Empty)),
                Some(e) => {
                    assert!(matches!(e.fault, Fault::Truncated), "{n}: {e}");
                    assert!(e.packet == 0 || e.packet as usize == packets.len() + 1);
                    assert!(e.offset <= n as u64);
                }
            }
        }
        // Only whole files end without complaint: after the header and after each record.
        assert!(ends.len() <= 5, "{ends:?}");
    }
    let (packets, error) = read(&small_pcap()[..24 + 21 + 3]);
    let error = error.unwrap();
    assert_eq!((packets.len(), error.packet, error.offset), (1, 2, 45));
    assert_eq!(
        error.to_string(),
        "test: packet 2 at byte offset 45: the file ends in the middle of a record"
    );
}

#[test]
fn truncated_compression_keeps_what_came_before() {
    let mut f = LE.pcap(0xa1b2_c3d4, 1);
    let noise: Vec<u8> = (0..60_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for i in 0..10 {
        f.extend(LE.pcap_record(i, 0, &noise, 60_000));
    }
    let z = gzip(&f);
    let (packets, error) = read(&z[..z.len() * 2 / 3]);
    assert!((1..10).contains(&packets.len()), "{}", packets.len());
    assert!(matches!(error.unwrap().fault, Fault::Truncated));
}

#[test]
fn lengths_are_judged_before_memory_is_spent() {
    let mut f = LE.pcap(0xa1b2_c3d4, 1);
    f.extend(LE.pcap_record(1, 1, b"ok", 2));
    let place = f.len() as u64;
    let mut bad = LE.pcap_record(2, 2, b"", 0);
    bad[8..12].copy_from_slice(&[0xff; 4]);
    f.extend(bad);
    let (packets, error) = read(&f);
    let error = error.unwrap();
    assert_eq!((packets.len(), error.packet, error.offset), (1, 2, place));
    assert!(matches!(error.fault, Fault::TooLarge(n) if n > MAX_RECORD as u64));
}

#[test]
fn a_record_larger_than_the_buffer_is_read() {
    let big = vec![7; 400_000];
    let mut f = BE.pcap(0xa1b2_c3d4, 1);
    f.extend(BE.pcap_record(1, 1, &big, big.len() as u32));
    f.extend(BE.pcap_record(1, 2, b"after", 5));
    let (packets, error) = read(&f);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(
        (packets.len(), packets[0].2.len(), &packets[1].2[..]),
        (2, 400_000, &b"after"[..])
    );
}

#[test]
fn contradictions_are_malformed_not_truncated() {
    // A packet longer than its block.
    let mut f = small_pcapng();
    let mut lying = LE.enhanced(0, 1, b"abcd");
    lying[20..24].copy_from_slice(&LE.u32(4000));
    f.extend(lying);
    f.extend(small_pcapng());
    // An interface nobody described; a packet before any.
    let mut g = LE.section();
    g.extend(LE.enhanced(0, 1, b"abcd"));
    // A block shorter than its own header.
    let mut h = small_pcapng();
    h.extend(LE.u32(6));
    h.extend(LE.u32(4));
    h.extend([0; 40]);
    for (f, before) in [(f, 2), (g, 0), (h, 2)] {
        let (packets, error) = read(&f);
        let error = error.unwrap();
        assert!(matches!(error.fault, Fault::Malformed(_)), "{error}");
        assert_eq!(packets.len(), before);
    }
}

#[test]
fn other_files_are_refused() {
    let (_, error) = read(b"#!/bin/sh\nexit 0\n");
    assert!(matches!(
        error.unwrap().fault,
        Fault::NotACapture([b'#', b'!', b'/', b'b'])
    ));
}

proptest! {
    #[test]
    fn damage_never_panics_or_hangs(
        which in 0usize..3,
        hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut f = match which {
            0 => small_pcap(),
            1 => small_pcapng(),
            _ => gzip(&small_pcapng()),
        };
        for (at, value) in hits {
            let at = at.index(f.len());
            f[at] = value;
        }
        let (packets, _) = read(&f);
        prop_assert!(packets.len() <= 4);
    }

    #[test]
    fn any_bytes_never_panic(mut f in proptest::collection::vec(any::<u8>(), 0..400), kind in 0usize..3) {
        let head = match kind {
            0 => LE.pcap(0xa1b2_c3d4, 1),
            1 => LE.section(),
            _ => Vec::new(),
        };
        f.splice(0..0, head);
        read(&f);
    }
}
