//! What helpers read, and what follows from it.

use super::ftp::{self, Line};
use super::*;
use crate::hooks::{Layout, Pipeline, prio};
use crate::store::LockedStore;
use crate::tracker::Config;
use crate::tuple::{Family, Tuple, ipproto};
use crate::{Conn, PacketState, checksum};
use proptest::prelude::*;
use std::net::IpAddr;

const V4: Family = Family::Ipv4;
const SEC: u64 = 1_000_000_000;

fn read(text: &[u8], dir: Direction, family: Family) -> Line {
    ftp::read(text, dir, family).0
}

fn said(addr: &str, port: u16) -> Line {
    Line::Announcement(Some(addr.parse().unwrap()), port)
}

#[test]
fn ftp_commands() {
    use Direction::Original;
    let line = |t: &str| read(t.as_bytes(), Original, V4);
    assert_eq!(
        line("PORT 192,0,2,10,195,81\r\n"),
        said("192.0.2.10", 50001)
    );
    assert_eq!(
        line("port 192,0,2,10,300,10\r\n"),
        said("192.0.2.10", 11274),
        "numbers wrap around as the kernel's do"
    );
    assert_eq!(
        line("EPRT |1|192.0.2.10|50001|\r\n"),
        said("192.0.2.10", 50001)
    );
    assert_eq!(
        read(b"EPRT |2|2001:db8::1|50001|\r\n", Original, Family::Ipv6),
        said("2001:db8::1", 50001)
    );
    for partial in [
        "P",
        "PORT",
        "PORT 192,0,",
        "PORT 192,0,2,10,195,81",
        "EPRT |1|192.0.2.10|",
        "EPRT |2|::1|5|\r\n",
        "EPRT |1|1.2.3.4|0|\r\n",
    ] {
        assert!(matches!(line(partial), Line::Partial(_)), "{partial}");
    }
    for other in [
        "LIST PORT 192,0,2,10,200,14\r\n",
        "USER x\r\n",
        "227 (192,0,2,10,200,13)\r\n",
    ] {
        assert_eq!(line(other), Line::Other, "{other}");
    }
}

#[test]
fn ftp_answers() {
    let line = |t: &str| read(t.as_bytes(), Direction::Reply, V4);
    assert_eq!(
        line("227 Entering Passive Mode (198,51,100,20,199,57).\r\n"),
        said("198.51.100.20", 51001)
    );
    assert_eq!(
        line("229 Entering (|||50001|)\r\n"),
        Line::Announcement(None, 50001)
    );
    assert!(matches!(line("227 no numbers here\r\n"), Line::Partial(_)));
    assert!(matches!(
        line("229 Entering (||50001|)\r\n"),
        Line::Partial(_)
    ));
    assert_eq!(line("PORT 1,2,3,4,5,6\r\n"), Line::Other);
}

#[test]
fn irc_offers() {
    let text = b"PRIVMSG bob :\x01DCC SEND f.txt 3221225994 54000 1024\x01\r\n";
    let read = |text: &[u8]| -> Vec<(IpAddr, u16)> {
        let offers = irc::offers(text);
        offers.iter().map(|o| (o.addr.into(), o.port)).collect()
    };
    assert_eq!(read(text), [("192.0.2.10".parse().unwrap(), 54000)]);
    let none = [
        &b"NOTICE bob :\x01DCC SEND f.txt 3221225994 54000 1024\x01\r\n"[..],
        b"PRIVMSG bob :hello, this is only some text, no offer\r\n",
        // No line end.
        b"PRIVMSG bob :\x01DCC SEND f.txt 3221225994 54000 1024",
    ];
    for text in none {
        assert_eq!(read(text), []);
    }
}

#[test]
fn amanda_ports() {
    assert_eq!(
        amanda::ports(b"Amanda 2.4\nCONNECT DATA 55000 MESG 55001 INDEX 55002\n"),
        [55000, 55001, 55002]
    );
    assert_eq!(amanda::ports(b"CONNECT DATA 0 MESG 55001\n"), []);
    assert_eq!(amanda::ports(b"CONNECT DATA 55000"), [], "no line end");
}

type Table = LockedStore<()>;

struct Net {
    ct: Tracker<Table>,
    pipeline: Pipeline<Table>,
    now: u64,
}

fn udp(src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let len = 28 + payload.len() as u16;
    let mut p = vec![0x45, 0];
    p.extend(len.to_be_bytes());
    p.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    p.extend(src);
    p.extend(dst);
    let sum = !checksum::fold(checksum::sum(&p, 0));
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    for word in [sport, dport, len - 20, 0] {
        p.extend(word.to_be_bytes());
    }
    p.extend(payload);
    p
}

impl Net {
    /// Requests to port 69 get the TFTP helper.
    fn new() -> Self {
        let ct = Tracker::new(LockedStore::new(1024), Config::default());
        register(&ct);
        let mut pipeline = Pipeline::new(Layout::Linux618);
        pipeline.register(
            Hook::PreRouting,
            prio::MANGLE,
            "rule",
            |_: &Tracker<Table>, pkt: &mut Packet<'_, '_, Table>, _: Hook| {
                if let Some(c) = pkt
                    .conn()
                    .filter(|c| c.tuple(Direction::Original).dst_l4() == 69)
                {
                    c.set_helper("tftp");
                }
                Verdict::Accept
            },
        );
        Self {
            ct,
            pipeline,
            now: SEC,
        }
    }

    fn send(&self, p: &[u8]) -> PacketState {
        let mut pkt = Packet::new(p, V4, self.now);
        assert_eq!(self.pipeline.forward(&self.ct, &mut pkt), Verdict::Accept);
        pkt.state()
    }

    fn find(&self, p: &[u8]) -> Option<(IpAddr, bool, u32)> {
        let t: Tuple = parse::tuple(p, 0, 20, V4, ipproto::UDP)?;
        let (c, _) = self.ct.find(&t, crate::Zone::DEFAULT, self.now)?;
        let c: &Conn<()> = &c;
        let master = c.inner().master();
        Some((
            master.map_or(c.tuple(Direction::Original).src(), |m| m.src()),
            master.is_some(),
            c.mark(),
        ))
    }
}

const CLIENT: [u8; 4] = [192, 0, 2, 10];
const SERVER: [u8; 4] = [198, 51, 100, 20];
const REQUEST: &[u8] = b"\0\x01file\0octet\0";

#[test]
fn an_announced_connection_is_related_once_and_inherits() {
    let net = Net::new();
    let request = udp(CLIENT, SERVER, 4000, 69, REQUEST);
    assert_eq!(net.send(&request), PacketState::New);
    assert_eq!(net.ct.expectations(net.now).len(), 1);
    let (c, _) = net
        .ct
        .find(
            &parse::tuple(&request, 0, 20, V4, 17).unwrap(),
            crate::Zone::DEFAULT,
            net.now,
        )
        .unwrap();
    c.set_mark(7);
    let stranger = udp([198, 51, 100, 21], CLIENT, 1234, 4000, b"x");
    assert_eq!(net.send(&stranger), PacketState::New, "from another host");
    let data = udp(SERVER, CLIENT, 1234, 4000, b"x");
    assert_eq!(net.send(&data), PacketState::Related);
    assert_eq!(net.find(&data), Some((CLIENT.into(), true, 7)));
    assert_eq!(
        net.send(&udp(SERVER, CLIENT, 1235, 4000, b"x")),
        PacketState::New,
        "an expectation serves once"
    );
    let s = net.ct.stats();
    assert_eq!((s.expect_create, s.expect_new, s.expect_delete), (1, 1, 1));
}

#[test]
fn expectations_end_with_their_time_and_with_their_master() {
    let mut net = Net::new();
    net.send(&udp(CLIENT, SERVER, 4000, 69, REQUEST));
    net.now += 301 * SEC;
    assert_eq!(net.ct.expectations(net.now), []);
    assert_eq!(
        net.send(&udp(SERVER, CLIENT, 1234, 4000, b"x")),
        PacketState::New
    );
    net.send(&udp(CLIENT, SERVER, 4001, 69, REQUEST));
    assert_eq!(net.ct.expectations(net.now).len(), 1);
    net.ct.delete_if(net.now, |_| true);
    assert_eq!(net.ct.expectations(net.now), []);
    assert_eq!(
        net.send(&udp(SERVER, CLIENT, 1234, 4001, b"x")),
        PacketState::New
    );
}

#[test]
fn a_repetition_replaces_and_the_limit_refuses() {
    let net = Net::new();
    for _ in 0..3 {
        net.send(&udp(CLIENT, SERVER, 4000, 69, REQUEST));
    }
    assert_eq!(net.ct.expectations(net.now).len(), 1);
    net.ct.set_sysctl("nf_conntrack_expect_max", "1").unwrap();
    let request = udp(CLIENT, SERVER, 4002, 69, REQUEST);
    let mut pkt = Packet::new(&request, V4, net.now);
    assert_eq!(net.pipeline.forward(&net.ct, &mut pkt), Verdict::Drop);
    assert_eq!(
        pkt.reason().map(ToString::to_string).as_deref(),
        Some("nf_ct_tftp: dropping packet: cannot add expectation")
    );
}

proptest! {
    #[test]
    fn any_text_is_survived(mut text in proptest::collection::vec(any::<u8>(), 0..80), head in 0usize..8, reply in any::<bool>(), six in any::<bool>()) {
        let heads: [&[u8]; 8] = [b"", b"PORT ", b"EPRT |1|", b"EPRT |2|", b"227 ", b"229 (|||", b"PRIVMSG a :\x01DCC SEND ", b"CONNECT DATA "];
        text.splice(0..0, heads[head].iter().copied());
        read(&text, if reply { Direction::Reply } else { Direction::Original }, if six { Family::Ipv6 } else { V4 });
        irc::offers(&text);
        amanda::ports(&text);
        pptp::survives(&text, reply);
    }
}
