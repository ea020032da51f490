//! Translation through whole pipelines: what leaves must be what a receiver accepts, and what comes back must be undone.

use super::*;
use crate::hooks::Layout;
use crate::store::LockedStore;
use crate::tracker::Config;
use crate::{checksum, status};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

type Table = LockedStore<()>;

const CLIENT: &str = "192.0.2.10";
const SERVER: &str = "198.51.100.20";
const PUBLIC: &str = "203.0.113.5";

fn addr(s: &str) -> IpAddr {
    s.parse().unwrap()
}

/// An IP packet around `l4`, whose checksum at `sum_at` is filled in.
fn ip(src: IpAddr, dst: IpAddr, protonum: u8, mut l4: Vec<u8>, sum_at: Option<usize>) -> Vec<u8> {
    if let Some(at) = sum_at {
        let pseudo = if protonum == ipproto::ICMP {
            0
        } else {
            checksum::pseudo(src, dst, protonum, l4.len() as u32)
        };
        let sum = !checksum::fold(checksum::sum(&l4, pseudo));
        l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut p = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let mut h = vec![0x45, 0];
            h.extend((20 + l4.len() as u16).to_be_bytes());
            h.extend([0, 1, 0, 0, 64, protonum, 0, 0]);
            h.extend(s.octets());
            h.extend(d.octets());
            let sum = !checksum::fold(checksum::sum(&h, 0));
            h[10..12].copy_from_slice(&sum.to_be_bytes());
            h
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let mut h = vec![0x60, 0, 0, 0];
            h.extend((l4.len() as u16).to_be_bytes());
            h.extend([protonum, 64]);
            h.extend(s.octets());
            h.extend(d.octets());
            h
        }
        _ => panic!("two families"),
    };
    p.extend(l4);
    p
}

fn udp(src: &str, dst: &str, sport: u16, dport: u16) -> Vec<u8> {
    let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes(), [0, 12], [0, 0]].concat();
    l4.extend(*b"data");
    ip(addr(src), addr(dst), ipproto::UDP, l4, Some(6))
}

/// The tuple of a packet whose checksums are right.
#[track_caller]
fn sound(p: &[u8]) -> Tuple {
    let family = if p[0] >> 4 == 4 {
        Family::Ipv4
    } else {
        Family::Ipv6
    };
    if family == Family::Ipv4 {
        assert_eq!(
            checksum::fold(checksum::sum(&p[..20], 0)),
            0xffff,
            "header checksum"
        );
    }
    let (protonum, l4) = parse::l4proto(p, 0, family).unwrap();
    let t = parse::tuple(p, 0, l4, family, protonum).unwrap();
    let pseudo = if protonum == ipproto::ICMP {
        0
    } else {
        checksum::pseudo(t.src(), t.dst(), protonum, (p.len() - l4) as u32)
    };
    assert_eq!(
        checksum::fold(checksum::sum(&p[l4..], pseudo)),
        0xffff,
        "transport checksum"
    );
    t
}

struct Router {
    ct: Tracker<Table>,
    pipeline: Pipeline<Table>,
}

impl Router {
    fn new(rules: impl Rules + 'static) -> Self {
        let mut pipeline = Pipeline::new(Layout::Linux618);
        let nat = Nat::new(rules);
        nat.register(&mut pipeline, Family::Ipv4);
        nat.register(&mut pipeline, Family::Ipv6);
        Self {
            ct: Tracker::new(LockedStore::new(1024), Config::default()),
            pipeline,
        }
    }

    /// What leaves, and the status of its connection.
    fn send(&self, p: &[u8]) -> Option<(Vec<u8>, u32)> {
        let family = if p[0] >> 4 == 4 {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        let mut pkt = Packet::new(p, family, 1_000_000_000);
        let verdict = self.pipeline.forward(&self.ct, &mut pkt);
        (verdict == Verdict::Accept)
            .then(|| (pkt.data().to_vec(), pkt.conn().map_or(0, |c| c.status())))
    }
}

fn snat(to: &'static str, ports: Option<(u16, u16)>) -> impl Rules {
    move |q: &Question| {
        let outward = q.manip == Manip::Src && q.tuple.src() == addr(CLIENT);
        outward.then(|| Range {
            ports,
            ..Range::to(addr(to))
        })
    }
}

#[test]
fn a_source_is_translated_and_the_answer_back() {
    let r = Router::new(snat(PUBLIC, None));
    let (out, _) = r.send(&udp(CLIENT, SERVER, 5, 53)).unwrap();
    let t = sound(&out);
    assert_eq!(
        (t.src(), t.src_l4(), t.dst()),
        (addr(PUBLIC), 5, addr(SERVER))
    );
    let (back, bits) = r.send(&udp(SERVER, PUBLIC, 53, 5)).unwrap();
    let t = sound(&back);
    assert_eq!(
        (t.src(), t.dst(), t.dst_l4()),
        (addr(SERVER), addr(CLIENT), 5)
    );
    assert_eq!(
        bits & 0x1ff,
        status::SRC_NAT
            | status::SRC_NAT_DONE
            | status::DST_NAT_DONE
            | status::CONFIRMED
            | status::SEEN_REPLY
    );
}

#[test]
fn a_destination_and_its_port_are_translated_and_the_answer_back() {
    let r = Router::new(|q: &Question| {
        (q.manip == Manip::Dst && q.tuple.dst_l4() == 80)
            .then(|| Range::to(addr(SERVER)).ports(8080, 8080))
    });
    let t = sound(&r.send(&udp(CLIENT, PUBLIC, 5, 80)).unwrap().0);
    assert_eq!(
        (t.dst(), t.dst_l4(), t.src()),
        (addr(SERVER), 8080, addr(CLIENT))
    );
    let t = sound(&r.send(&udp(SERVER, CLIENT, 8080, 5)).unwrap().0);
    assert_eq!((t.src(), t.src_l4()), (addr(PUBLIC), 80));
}

#[test]
fn a_taken_source_port_gives_way_within_its_class() {
    let r = Router::new(|q: &Question| (q.manip == Manip::Src).then(|| Range::to(addr(PUBLIC))));
    assert_eq!(
        sound(&r.send(&udp("192.0.2.10", SERVER, 2000, 53)).unwrap().0).src_l4(),
        2000
    );
    let second = sound(&r.send(&udp("192.0.2.11", SERVER, 2000, 53)).unwrap().0).src_l4();
    assert!(second != 2000 && second >= 1024, "{second}");
    let third = sound(&r.send(&udp("192.0.2.10", SERVER, 5, 53)).unwrap().0).src_l4();
    let fourth = sound(&r.send(&udp("192.0.2.11", SERVER, 5, 53)).unwrap().0).src_l4();
    assert!(
        third == 5 && fourth != 5 && fourth < 512,
        "{third} {fourth}"
    );
}

#[test]
fn when_no_port_is_left_the_packet_is_dropped() {
    let r = Router::new(snat(PUBLIC, Some((7000, 7000))));
    assert_eq!(
        sound(&r.send(&udp(CLIENT, SERVER, 5, 53)).unwrap().0).src_l4(),
        7000
    );
    // Another server's answers cannot be mistaken.
    assert_eq!(
        sound(&r.send(&udp(CLIENT, "198.51.100.21", 6, 53)).unwrap().0).src_l4(),
        7000
    );
    assert!(r.send(&udp(CLIENT, SERVER, 6, 53)).is_none());
}

#[test]
fn no_rule_is_a_decision_for_life() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static ON: AtomicBool = AtomicBool::new(false);
    let r = Router::new(|q: &Question| {
        (q.manip == Manip::Src && ON.load(Ordering::Relaxed)).then(|| Range::to(addr(PUBLIC)))
    });
    let (out, bits) = r.send(&udp(CLIENT, SERVER, 5, 53)).unwrap();
    assert_eq!(
        (sound(&out).src(), bits),
        (
            addr(CLIENT),
            status::CONFIRMED | status::SRC_NAT_DONE | status::DST_NAT_DONE
        )
    );
    ON.store(true, Ordering::Relaxed);
    assert_eq!(
        sound(&r.send(&udp(CLIENT, SERVER, 5, 53)).unwrap().0).src(),
        addr(CLIENT)
    );
    assert_eq!(
        sound(&r.send(&udp(CLIENT, SERVER, 6, 53)).unwrap().0).src(),
        addr(PUBLIC)
    );
}

#[test]
fn an_error_about_a_translated_connection_reaches_its_sender_in_its_own_words() {
    for (client, server, public) in [
        (CLIENT, SERVER, PUBLIC),
        ("2001:db8:1::10", "2001:db8:2::20", "2001:db8:3::5"),
    ] {
        let public: &'static str = public;
        let r = Router::new(move |q: &Question| {
            (q.manip == Manip::Src).then(|| Range::to(addr(public)).ports(9, 9))
        });
        let quoted = r.send(&udp(client, server, 5, 53)).unwrap().0;
        let (protonum, kind) = if client == CLIENT {
            (ipproto::ICMP, 3)
        } else {
            (ipproto::ICMPV6, 1)
        };
        let message = [&[kind, 4, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
        let error = ip(addr(server), addr(public), protonum, message, Some(2));
        let (out, _) = r.send(&error).unwrap();
        let t = sound(&out);
        assert_eq!((t.src(), t.dst()), (addr(server), addr(client)));
        let l4 = out.len() - quoted.len();
        let inner = sound(&out[l4..]);
        assert_eq!(
            (inner.src(), inner.src_l4(), inner.dst()),
            (addr(client), 5, addr(server))
        );
    }
}

#[test]
fn a_packet_too_short_to_rewrite_is_dropped() {
    let r = Router::new(snat(PUBLIC, None));
    assert!(
        r.send(&ip(
            addr(CLIENT),
            addr(SERVER),
            ipproto::GRE,
            vec![0, 0, 8, 0, 0],
            None
        ))
        .is_none()
    );
    assert!(
        r.send(&ip(
            addr(CLIENT),
            addr(SERVER),
            ipproto::GRE,
            vec![0, 0, 8, 0, 0, 0, 0, 0],
            None
        ))
        .is_some()
    );
}

fn v4() -> impl Strategy<Value = IpAddr> {
    any::<u32>().prop_map(|a| Ipv4Addr::from(a).into())
}

fn v6() -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(|a| Ipv6Addr::from(a).into())
}

proptest! {
    #[test]
    fn rewriting_keeps_checksums_right(
        (src, dst, new) in prop_oneof![(v4(), v4(), v4()), (v6(), v6(), v6())],
        which in 0usize..4,
        ports in any::<(u16, u16, u16)>(),
        rest in proptest::collection::vec(any::<u8>(), 12..40),
        at_source in any::<bool>(),
    ) {
        let (sport, dport, port) = ports;
        let four = src.is_ipv4();
        let (protonum, sum_at) = match which {
            0 => (ipproto::TCP, 16),
            1 => (ipproto::UDP, 6),
            2 => (ipproto::UDPLITE, 6),
            _ if four => (ipproto::ICMP, 2),
            _ => (ipproto::ICMPV6, 2),
        };
        let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        l4.extend(rest);
        l4.resize(l4.len().max(20), 0);
        if which == 3 {
            l4[0] = if four { 8 } else { 128 };
        }
        l4[sum_at..sum_at + 2].fill(0);
        let mut p = ip(src, dst, protonum, l4, Some(sum_at));
        let manip = if at_source { Manip::Src } else { Manip::Dst };
        let family = if four { Family::Ipv4 } else { Family::Ipv6 };
        let target = match (new, which) {
            (IpAddr::V4(a), 3) => Tuple::v4(a.octets(), a.octets(), protonum, port, 0),
            (IpAddr::V6(a), 3) => Tuple::v6(a.octets(), a.octets(), protonum, port, 0),
            (IpAddr::V4(a), _) => Tuple::v4(a.octets(), a.octets(), protonum, port, port),
            (IpAddr::V6(a), _) => Tuple::v6(a.octets(), a.octets(), protonum, port, port),
        };
        prop_assert!(mangle::packet(&mut p, 0, family, &target, manip));
        let t = sound(&p);
        prop_assert_eq!(if at_source { (t.src(), t.dst()) } else { (t.dst(), t.src()) }, (new, if at_source { dst } else { src }));
    }

    #[test]
    fn any_bytes_are_survived(p in proptest::collection::vec(any::<u8>(), 0..80), six in any::<bool>(), l3 in 0usize..90, protonum in any::<u8>()) {
        let mut p = p;
        let (family, target) = if six {
            (Family::Ipv6, Tuple::v6([1; 16], [2; 16], protonum, 3, 4))
        } else {
            (Family::Ipv4, Tuple::v4([1; 4], [2; 4], protonum, 3, 4))
        };
        let len = p.len();
        mangle::packet(&mut p, l3, family, &target, Manip::Src);
        prop_assert_eq!(p.len(), len);
    }
}
