//! Datagrams cut in every way.

use super::*;
use proptest::prelude::*;

const SEC: Nanos = 1_000_000_000;

fn v4(id: u16, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, 0];
    p[2..4].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
    p.extend(id.to_be_bytes());
    p.extend(((offset / 8) | if more { 0x2000 } else { 0 }).to_be_bytes());
    p.extend([64, 17, 0, 0, 192, 0, 2, 10, 198, 51, 100, 20]);
    p.extend(data);
    p
}

fn v6(id: u32, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend((8 + data.len() as u16).to_be_bytes());
    p.extend([44, 64]);
    p.extend([1; 32]);
    p.extend([17, 0]);
    p.extend((offset | u16::from(more)).to_be_bytes());
    p.extend(id.to_be_bytes());
    p.extend(data);
    p
}

fn feed6(d: &Defrag, p: &[u8]) -> Gathered {
    d.ipv6(p, 0, 1, 0, 60, 4 << 20)
}

#[track_caller]
fn whole4(g: Gathered) -> Vec<u8> {
    let Gathered::Datagram(p, _) = g else {
        panic!("{g:?}")
    };
    assert_eq!(checksum(&p), 0xffff, "the header's checksum is right");
    assert_eq!(usize::from(u16::from_be_bytes([p[2], p[3]])), p.len());
    assert_eq!([p[6] & 0x3f, p[7]], [0, 0], "no fragment any more");
    p[20..].to_vec()
}

fn checksum(p: &[u8]) -> u16 {
    crate::checksum::fold(crate::checksum::sum(&p[..20], 0))
}

#[test]
fn the_completing_fragment_carries_the_datagram() {
    let d = Defrag::new(Config::default());
    assert_eq!(d.ipv4(&v4(7, 16, false, b"last"), 0, 0), Gathered::Kept);
    assert_eq!(d.ipv4(&v4(7, 0, true, b"01234567"), 0, 0), Gathered::Kept);
    assert_eq!(d.ipv4(&v4(8, 8, true, b"other---"), 0, 0), Gathered::Kept);
    assert_eq!(
        whole4(d.ipv4(&v4(7, 8, true, b"89abcdef"), 0, 0)),
        b"0123456789abcdeflast"
    );
    let Gathered::Datagram(p, _) = feed6(&d, &v6(1, 0, false, b"atomic--")) else {
        panic!()
    };
    assert_eq!(
        (p[6], &p[4..6], &p[40..]),
        (17, &[0, 8][..], &b"atomic--"[..])
    );
}

#[test]
fn zones_do_not_mix() {
    let d = Defrag::new(Config::default());
    assert_eq!(d.ipv4(&v4(7, 0, true, b"01234567"), 1, 0), Gathered::Kept);
    assert_eq!(d.ipv4(&v4(7, 8, false, b"89"), 2, 0), Gathered::Kept);
    assert_eq!(whole4(d.ipv4(&v4(7, 8, false, b"ab"), 1, 0)), b"01234567ab");
}

#[test]
fn repetitions_are_ignored_and_overlaps_kill() {
    let d = Defrag::new(Config::default());
    assert_eq!(feed6(&d, &v6(7, 0, true, b"01234567")), Gathered::Kept);
    assert_eq!(feed6(&d, &v6(7, 0, true, b"01234567")), Gathered::Kept);
    assert!(matches!(
        feed6(&d, &v6(7, 8, false, b"x")),
        Gathered::Datagram(..)
    ));
    assert_eq!(
        feed6(&d, &v6(8, 0, true, b"0123456789abcdef")),
        Gathered::Kept
    );
    assert_eq!(
        feed6(&d, &v6(8, 8, false, b"0123456789")),
        Gathered::Refused
    );
    // The rest of a killed datagram waits in vain, alone.
    assert_eq!(feed6(&d, &v6(8, 16, false, b"z")), Gathered::Kept);
}

#[test]
fn a_second_end_kills() {
    let d = Defrag::new(Config::default());
    assert_eq!(d.ipv4(&v4(7, 8, false, b"end"), 0, 0), Gathered::Kept);
    assert_eq!(
        d.ipv4(&v4(7, 16, false, b"later end"), 0, 0),
        Gathered::Refused
    );
    assert_eq!(d.bytes(), 0);
}

#[test]
fn ipv6_lets_odd_and_cut_fragments_pass() {
    let d = Defrag::new(Config::default());
    assert_eq!(feed6(&d, &v6(7, 8, true, b"01234567")), Gathered::Kept);
    assert_eq!(
        feed6(&d, &v6(7, 0, true, b"0123456789abc")),
        Gathered::Untouched
    );
    assert_eq!(d.bytes(), 0, "the others are forgotten");
    assert_eq!(feed6(&d, &v6(7, 0, true, b"short")), Gathered::Untouched);
    assert_eq!(
        feed6(&d, &v6(7, 65_528, false, b"past the end")),
        Gathered::Refused
    );
}

#[test]
fn incomplete_datagrams_are_given_up_in_time() {
    let d = Defrag::new(Config {
        timeout: 30,
        ..Config::default()
    });
    assert_eq!(d.ipv4(&v4(7, 0, true, b"01234567"), 0, SEC), Gathered::Kept);
    assert_eq!(
        d.ipv4(&v4(7, 8, false, b"89"), 0, 31 * SEC),
        Gathered::Kept,
        "alone: the first is gone"
    );
    assert!(matches!(
        d.ipv4(&v4(7, 0, true, b"01234567"), 0, 60 * SEC),
        Gathered::Datagram(..)
    ));
}

#[test]
fn memory_is_bounded() {
    let d = Defrag::new(Config {
        timeout: 30,
        high_thresh: 10_000,
    });
    for id in 0..1000 {
        d.ipv4(&v4(id, 0, true, &[0; 400]), 0, 0);
    }
    assert!(d.bytes() <= 10_000 + 400 + OVERHEAD, "{}", d.bytes());
    assert_eq!(
        d.ipv4(&v4(0, 400, false, b"x"), 0, 0),
        Gathered::Refused,
        "nothing more until something expires"
    );
    assert_eq!(
        d.ipv4(&v4(5000, 0, true, &[0; 8]), 0, 31 * SEC),
        Gathered::Kept
    );
}

#[test]
fn congestion_marks_combine() {
    assert_eq!(ecn(1 << 2), Some(0));
    assert_eq!(
        ecn(1 << 3),
        Some(0),
        "alike in all fragments: the header has it"
    );
    assert_eq!(ecn(1 << 3 | 1 << 2), Some(3));
    assert_eq!(ecn(1 << 3 | 1), None);
    assert_eq!(ecn(1 | 1 << 2), Some(0));
}

proptest! {
    #[test]
    fn any_order_gives_the_same_datagram(
        cuts in proptest::collection::btree_set(1u16..40, 0..8),
        tail in 1usize..20,
        order in any::<u64>(),
        six in any::<bool>(),
    ) {
        let edges: Vec<usize> = cuts.iter().map(|&c| usize::from(c) * 8).collect();
        let len = edges.last().copied().unwrap_or(0) + tail + 12;
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let starts: Vec<usize> = std::iter::once(0).chain(edges).collect();
        let mut fragments: Vec<Vec<u8>> = starts.iter().enumerate().map(|(i, &start)| {
            let end = starts.get(i + 1).copied().unwrap_or(len);
            let more = end != len;
            if six { v6(9, start as u16, more, &data[start..end]) } else { v4(9, start as u16, more, &data[start..end]) }
        }).collect();
        let mut seed = order;
        fragments.sort_by_cached_key(|_| { seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); seed });
        if !six && fragments.len() == 1 {
            return Ok(());
        }
        let d = Defrag::new(Config::default());
        let last = fragments.pop().unwrap();
        for f in &fragments {
            prop_assert_eq!(if six { feed6(&d, f) } else { d.ipv4(f, 0, 0) }, Gathered::Kept);
        }
        let got = if six { feed6(&d, &last) } else { d.ipv4(&last, 0, 0) };
        let Gathered::Datagram(p, _) = got else { return Err(TestCaseError::fail("not complete")) };
        prop_assert_eq!(&p[if six { 40 } else { 20 }..], &data[..]);
        prop_assert_eq!(d.bytes(), 0);
    }

    #[test]
    fn any_bytes_are_survived(packets in proptest::collection::vec(
        (any::<bool>(), 0u16..6, 0u16..80, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60), 0usize..120), 0..40)) {
        let d = Defrag::new(Config { timeout: 1, high_thresh: 5_000 });
        for (n, (six, id, offset, more, data, cut)) in packets.iter().enumerate() {
            let mut p = if *six { v6(u32::from(*id), offset & !7, *more, data) } else { v4(*id, offset & !7, *more, data) };
            p.truncate(p.len().min(20 + cut));
            if *six { d.ipv6(&p, 0, 1, n as u64 * SEC / 8, 1, 5_000); } else { d.ipv4(&p, 0, n as u64 * SEC / 8); }
        }
        let waiting: usize = [&d.v4, &d.v6].iter().map(|w| w.lock().datagrams.values().map(|p| p.cost(OVERHEAD)).sum::<usize>()).sum();
        prop_assert_eq!(d.bytes(), waiting);
    }
}
