//! Translation: which tuple a connection gets.

use super::support::*;
use nulls_conntrack::hooks::HookFn;
use nulls_conntrack::nat::{Manip, Nat, PortChoice, Question, Range};
use nulls_conntrack::{
    Family, Hook, Layout, NullsStore, Packet, Pipeline, Tracker, Verdict, status,
};
use std::net::IpAddr;

type Table = NullsStore<u32>;

struct Net {
    ct: Nulls,
    pipeline: Pipeline<Table>,
}

impl Net {
    fn new(rule: impl Fn(&Question) -> Option<Range> + Send + Sync + 'static) -> Self {
        let mut pipeline = Pipeline::new(Layout::Linux618);
        let nat = Nat::new(rule);
        nat.register(&mut pipeline, Family::Ipv4);
        nat.register(&mut pipeline, Family::Ipv6);
        Self {
            ct: nulls(),
            pipeline,
        }
    }

    /// For whatever leaves.
    fn source(range: Range) -> Self {
        Self::new(move |q| (q.manip == Manip::Src && q.tuple.src() != D).then_some(range))
    }

    fn send(&self, data: &[u8], now: Nanos, oif: u32) -> Verdict {
        let mut pkt = Packet::new(data, family(data), now);
        pkt.oif = oif;
        self.pipeline.forward(&self.ct, &mut pkt)
    }

    /// What the connection that begins with `data` is mapped to.
    fn mapped(&self, data: &[u8]) -> Option<(IpAddr, u16)> {
        let mut pkt = Packet::new(data, family(data), 0);
        let verdict = self.pipeline.forward(&self.ct, &mut pkt);
        let reply = pkt.conn()?.tuple(Direction::Reply);
        (verdict == Verdict::Accept).then(|| (reply.dst(), reply.dst_l4()))
    }
}

fn a(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Sources, destinations and the addresses that Linux 6.18 chose for them.
#[test]
fn of_several_addresses_the_kernels_is_chosen() {
    type Pairs = [(&'static str, &'static str, &'static str); 4];
    let cases: [(&str, &str, bool, Pairs); 4] = [
        (
            "203.0.113.5",
            "203.0.113.20",
            true,
            [
                ("192.0.2.32", "198.51.100.40", "203.0.113.13"),
                ("192.0.2.38", "198.51.100.34", "203.0.113.19"),
                ("192.0.2.27", "198.51.100.12", "203.0.113.9"),
                ("192.0.2.28", "198.51.100.27", "203.0.113.11"),
            ],
        ),
        (
            "203.0.113.5",
            "203.0.113.20",
            false,
            [
                ("192.0.2.12", "198.51.100.29", "203.0.113.16"),
                ("192.0.2.38", "198.51.100.10", "203.0.113.18"),
                ("192.0.2.29", "198.51.100.21", "203.0.113.15"),
                ("192.0.2.22", "198.51.100.20", "203.0.113.18"),
            ],
        ),
        (
            "2001:db8:3::5",
            "2001:db8:3::5:6:7:8",
            false,
            [
                (
                    "2001:db8:1::1f",
                    "2001:db8:2::14",
                    "2001:db8:3:0:1:3fd5:3ff7:157d",
                ),
                (
                    "2001:db8:1::14",
                    "2001:db8:2::1b",
                    "2001:db8:3:0:2:fb5e:98ab:a8c9",
                ),
                (
                    "2001:db8:1::20",
                    "2001:db8:2::28",
                    "2001:db8:3:0:1:55b2:4456:8dd0",
                ),
                (
                    "2001:db8:1::17",
                    "2001:db8:2::18",
                    "2001:db8:3::ba3c:253f:2477",
                ),
            ],
        ),
        (
            "2001:db8:3::5",
            "2001:db8:3::ffff:1",
            false,
            [
                ("2001:db8:1::19", "2001:db8:2::1f", "2001:db8:3::383e:d275"),
                ("2001:db8:1::19", "2001:db8:2::1b", "2001:db8:3::43f:1a30"),
                ("2001:db8:1::1e", "2001:db8:2::16", "2001:db8:3::3445:6f94"),
                ("2001:db8:1::16", "2001:db8:2::19", "2001:db8:3::d41d:e7bc"),
            ],
        ),
    ];
    for (first, last, persistent, pairs) in cases {
        let range = Range {
            persistent,
            ..Range::between(a(first), a(last))
        };
        for (n, (src, dst, to)) in pairs.into_iter().enumerate() {
            // Each source by itself, so that no earlier mapping is reused.
            let net = Net::source(range);
            let port = 2000 + n as u16;
            assert_eq!(
                net.mapped(&udp(a(src), port, a(dst), 53, 1)),
                Some((a(to), port)),
                "{src} {dst}"
            );
        }
    }
}

#[test]
fn a_source_keeps_its_mapping_for_all_destinations() {
    let net = Net::source(Range::to(E).ports(5000, 60_000));
    let first = net.mapped(&udp(C, 9, D, 53, 1)).expect("mapped");
    for port in 54..100 {
        assert_eq!(net.mapped(&udp(C, 9, D, port, 1)), Some(first));
    }
    // Another port is another source; once all connections are gone nothing is remembered.
    net.mapped(&udp(C, 10, D, 53, 1)).expect("mapped");
    assert_eq!(net.ct.delete_if(0, |_| true), 48);
    let again: Vec<_> = (0..4)
        .map(|_| {
            let to = net.mapped(&udp(C, 9, D, 53, 1));
            net.ct.delete_if(0, |_| true);
            to
        })
        .collect();
    assert!(
        again.iter().any(|to| *to != Some(first)),
        "four times the same of 55 001 ports: {again:?}"
    );
}

#[test]
fn ports_stay_in_their_range_and_in_their_class() {
    let net = Net::source(Range::to(E).ports(7000, 7009));
    let mut used: Vec<u16> = (0..10)
        .map(|n| {
            net.mapped(&udp(C, 100 + n, D, 53, 1))
                .expect("a free port")
                .1
        })
        .collect();
    used.sort_unstable();
    assert!(used.iter().copied().eq(7000..=7009), "{used:?}");
    assert_eq!(net.mapped(&udp(C, 200, D, 53, 1)), None, "no port is left");
    assert_eq!(net.ct.stats().insert_failed, 1);
    assert!(
        net.mapped(&udp(C, 200, D, 54, 1)).is_some(),
        "to others there are"
    );

    // Without a range: taken ports give way to ports of their kind.
    let net = Net::source(Range::to(E));
    for (port, low, high) in [(80, 1, 511), (700, 600, 1023), (5000, 1024, 65_535)] {
        assert_eq!(net.mapped(&udp(C, port, D, 53, 1)), Some((E, port)));
        let (_, other) = net
            .mapped(&udp(a("10.0.0.9"), port, D, 53, 1))
            .expect("another port");
        assert!(
            other != port && (low..=high).contains(&other),
            "{port} {other}"
        );
    }
}

#[test]
fn destinations_take_the_first_free_port_and_shifted_ranges_keep_distances() {
    let to = |range: Range| Net::new(move |q| (q.manip == Manip::Dst).then_some(range));
    let net = to(Range::to(E).ports(5000, 5003));
    for port in 5000..=5003 {
        let mut pkt_data = udp(C, 1000, D, 0, 1);
        pkt_data[22..24].copy_from_slice(&(60 + port - 5000u16).to_be_bytes());
        pkt_data[26..28].fill(0);
        let mut pkt = Packet::new(&pkt_data, Family::Ipv4, 0);
        assert_eq!(net.pipeline.forward(&net.ct, &mut pkt), Verdict::Accept);
        let reply = pkt.conn().expect("an entry").tuple(Direction::Reply);
        assert_eq!((reply.src(), reply.src_l4()), (E, port));
    }
    let shifted = Range {
        choice: PortChoice::Shifted(100),
        ..Range::to(E).ports(5000, 5099)
    };
    let net = to(shifted);
    for port in [100, 142, 199] {
        let data = udp(C, 1000, D, port, 1);
        let mut pkt = Packet::new(&data, Family::Ipv4, 0);
        net.pipeline.forward(&net.ct, &mut pkt);
        let reply = pkt.conn().expect("an entry").tuple(Direction::Reply);
        assert_eq!(reply.src_l4(), 4900 + port);
    }
}

#[test]
fn random_ports_are_chosen_even_if_the_present_one_is_free() {
    let net = Net::source(Range {
        choice: PortChoice::Random,
        ..Range::to(E)
    });
    let kept = (0..20)
        .filter(|n| net.mapped(&udp(C, 3000 + n, D, 53, 1)) == Some((E, 3000 + n)))
        .count();
    assert!(kept < 5, "{kept}");
}

/// With one port for everybody, a connection that is over must make room; one that is not, must not.
#[test]
fn a_closed_connection_gives_up_its_port() {
    let seg = |flags, seq, ack| Tcp {
        flags,
        seq,
        ack,
        win: 1000,
        ..Tcp::default()
    };
    let run = |close: bool, seq: u32| {
        let net = Net::source(Range::to(E).ports(7000, 7000));
        let other = a("10.0.0.9");
        let say = |there: bool, t: &Tcp<'_>| {
            let data = if there {
                tcp(C, 1000, D, 80, t)
            } else {
                tcp(D, 80, E, 7000, t)
            };
            assert_eq!(net.send(&data, 0, 0), Verdict::Accept);
        };
        say(true, &seg("S", 99, 0));
        say(false, &seg("SA", 499, 100));
        say(true, &seg("A", 100, 500));
        if close {
            say(true, &seg("FA", 100, 500));
            say(false, &seg("FA", 500, 101));
            say(true, &seg("A", 101, 501));
            assert_eq!(only(&net.ct, 0).timeout, 120);
        }
        net.mapped(&tcp(other, 1000, D, 80, &seg("S", seq, 0)))
            .is_some()
    };
    assert!(!run(false, 5000), "it is in use");
    assert!(run(true, 5000));
    assert!(
        !run(true, 50),
        "older sequence numbers could be taken for the old connection's"
    );
}

#[test]
fn netmap_keeps_the_host() {
    let map = |p, a_, b| Range::netmap(a(p), a(a_), a(b)).addrs.map(|r| r.0);
    assert_eq!(
        map("192.0.2.77", "203.0.113.0", "203.0.113.255"),
        Some(a("203.0.113.77"))
    );
    assert_eq!(
        map("10.1.2.3", "172.16.0.0", "172.31.255.255"),
        Some(a("172.17.2.3"))
    );
    assert_eq!(
        map(
            "2001:db8:1::abcd",
            "2001:db8:9::",
            "2001:db8:9:ffff:ffff:ffff:ffff:ffff"
        ),
        Some(a("2001:db8:9::abcd"))
    );
    assert_eq!(
        map("10.1.2.3", "2001:db8::", "2001:db8::ffff"),
        Some(a("10.1.2.3")),
        "other family"
    );
}

#[test]
fn a_masqueraded_connection_ends_when_it_leaves_by_another_interface() {
    let net = Net::source(Range::masquerade(E));
    let data = udp(C, 1, D, 2, 0);
    assert_eq!(net.send(&data, 0, 5), Verdict::Accept);
    assert_eq!(net.send(&data, 0, 5), Verdict::Accept);
    assert_eq!(net.send(&data, 0, 6), Verdict::Drop);
    assert_eq!(net.ct.net().count(), 0);
    // The interface goes.
    assert_eq!(net.send(&data, 0, 6), Verdict::Accept);
    assert_eq!(net.send(&udp(C, 2, D, 2, 0), 0, 5), Verdict::Accept);
    assert_eq!(net.ct.forget_masqueraded(6, 0), 1);
    assert_eq!(only(&net.ct, 0).tuples[0].src_l4(), 2);
    assert!(only(&net.ct, 0).status & status::SRC_NAT != 0);
    // No interface at all is not one that is shared by all others.
    assert_eq!(net.ct.forget_masqueraded(0, 0), 0);
}

/// Something else may be hung where translation is.
#[test]
fn translation_is_a_hook_like_others() {
    struct Count;
    impl HookFn<Table> for Count {
        fn call<'t>(
            &self,
            _: &'t Tracker<Table>,
            pkt: &mut Packet<'_, 't, Table>,
            _: Hook,
        ) -> Verdict {
            pkt.mark += 1;
            Verdict::Accept
        }
    }
    let mut net = Net::source(Range::to(E));
    net.pipeline.register_boxed(
        Hook::PostRouting,
        99,
        "count",
        Some(Family::Ipv4),
        Box::new(Count),
    );
    let data = udp(C, 1, D, 2, 0);
    let mut pkt = Packet::new(&data, Family::Ipv4, 0);
    net.pipeline.forward(&net.ct, &mut pkt);
    assert_eq!((pkt.mark, &pkt.data()[12..16]), (1, &[10, 0, 0, 3][..]));
}
