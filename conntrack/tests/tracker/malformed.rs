//! Damaged packets through everything there is: reassembly, tracking, helpers, translation both ways, sequence adjustment. Nothing panics, and nothing
//! is left over.

use super::support::*;
use nulls_conntrack::defrag::{self, Defrag};
use nulls_conntrack::input::ip_rcv;
use nulls_conntrack::nat::{Manip, Nat, Question, Range};
use nulls_conntrack::{
    Family, Hook, Layout, NullsStore, Packet, Pipeline, Store, Template, Tracker, Verdict, helper,
};
use std::net::IpAddr;
use std::sync::Arc;

type Table = NullsStore<u32>;

/// A small generator of numbers, the same on every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const TEXTS: [&str; 12] = [
    "PORT 10,0,0,1,195,81\r\n",
    "EPRT |1|10.0.0.1|50001|\r\n",
    "EPRT |2|2001:db8::1|50001|\r\n",
    "227 Entering Passive Mode (10,0,0,2,195,81)\r\n",
    "229 Extended (|||50001|)\r\n",
    "PORT 99999,9,9,9,99999,9\r\n",
    "PRIVMSG bob :\x01DCC SEND file 167772161 50000\x01\n",
    "Amanda CONNECT DATA 50001 MESG 50002 INDEX 50003 STATE 50004\n",
    "\0\x01file\0octet\0",
    "\r\n",
    "PORT ",
    "229",
];

/// A message of PPTP's control connection whose session and call ids are few, so that some follow each other as they should.
fn control_message(dice: &mut Dice) -> Vec<u8> {
    let kind = dice.below(17) as u16;
    let mut m = vec![0, 0, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d];
    m.extend(kind.to_be_bytes());
    m.extend([0, 0]);
    for _ in 0..dice.pick(&[4, 8, 16, 28, 144, 156, 208]) / 2 {
        m.extend([0, dice.below(3) as u8]);
    }
    // The result of replies, which says in its first byte whether all is well.
    if let Some(result) = m.get_mut(dice.pick(&[14, 16])) {
        *result = 1;
    }
    let len = m.len() as u16;
    m[..2].copy_from_slice(&len.to_be_bytes());
    m
}

/// What a helper may look at.
fn text(dice: &mut Dice, port: u16) -> Vec<u8> {
    if port == 1723 && dice.below(8) != 0 {
        control_message(dice)
    } else {
        dice.pick(&TEXTS).into()
    }
}

fn whole(dice: &mut Dice) -> Vec<u8> {
    let v6 = dice.below(3) == 0;
    let (mut src, mut dst): (IpAddr, IpAddr) = if v6 { (C6, D6) } else { (C, D) };
    let back = dice.below(2) == 0;
    let well_known = dice.pick(&[21, 69, 6667, 10_080, 1723, 53, 80]);
    let (mut sport, mut dport) = (1000 + dice.below(3) as u16, well_known);
    if back {
        (src, dst) = (dst, src);
        (sport, dport) = (dport, sport);
    }
    match dice.below(6) {
        0 | 1 => {
            let t = Tcp {
                flags: dice.pick(&["S", "SA", "A", "PA", "FA", "R", "RA", "", "SF", "PAU"]),
                seq: 1000 + dice.below(200) as u32,
                ack: 1000 + dice.below(200) as u32,
                win: 5000,
                len: 0,
                options: dice.pick(&[
                    &[][..],
                    &[1, 1, 5, 10, 0, 0, 3, 232, 0, 0, 4, 0],
                    &[3, 3, 200, 0],
                    &[2, 0, 0, 0],
                    &[5, 255, 1, 1],
                ]),
            };
            let text = text(dice, well_known);
            let mut p = tcp(
                src,
                sport,
                dst,
                dport,
                &Tcp {
                    len: text.len(),
                    ..t
                },
            );
            let at = p.len() - text.len();
            p[at..].copy_from_slice(&text);
            reseal(&mut p);
            p
        }
        2 => {
            let text = text(dice, well_known);
            let mut p = udp(src, sport, dst, dport, text.len());
            let at = p.len() - text.len();
            p[at..].copy_from_slice(&text);
            reseal(&mut p);
            p
        }
        3 => {
            let inner = whole(dice);
            let cut = dice.below(inner.len() + 1);
            let kind = if v6 {
                dice.pick(&[1, 2, 3, 4, 137, 128])
            } else {
                dice.pick(&[3, 4, 5, 11, 12, 8])
            };
            icmp(src, dst, kind, 0, 7, &inner[..cut])
        }
        4 => ip(
            src,
            dst,
            dice.pick(&[47, 132, 136, 0, 43, 44, 51, 60, 255]),
            &[dice.below(256) as u8; 40],
        ),
        _ => {
            // A fragment, perhaps one of a whole.
            let inner = udp(src, sport, dst, dport, 40);
            fragment(
                &inner,
                dice.below(3) * 16,
                dice.below(2) == 0,
                dice.below(4) as u16,
            )
        }
    }
}

/// Sixteen bytes of a packet's payload as a fragment.
fn fragment(p: &[u8], offset: usize, more: bool, id: u16) -> Vec<u8> {
    let word = (offset as u16) | u16::from(more);
    if p[0] >> 4 == 4 {
        let mut f = p[..20].to_vec();
        f.extend(&p[20 + offset..(36 + offset).min(p.len())]);
        let len = f.len() as u16;
        f[2..4].copy_from_slice(&len.to_be_bytes());
        f[4..6].copy_from_slice(&id.to_be_bytes());
        f[6..8].copy_from_slice(&(word >> 3 | u16::from(more) << 13).to_be_bytes());
        fix_header(&mut f);
        f
    } else {
        let mut f = p[..40].to_vec();
        f[6] = 44;
        f.extend([p[6], 0]);
        f.extend(word.to_be_bytes());
        f.extend(u32::from(id).to_be_bytes());
        f.extend(&p[40 + offset..(56 + offset).min(p.len())]);
        let len = (f.len() - 40) as u16;
        f[4..6].copy_from_slice(&len.to_be_bytes());
        f
    }
}

fn fix_header(p: &mut [u8]) {
    let ihl = usize::from(p[0] & 15) * 4;
    if p[0] >> 4 == 4 && ihl >= 20 && ihl <= p.len() {
        p[10..12].fill(0);
        let sum = !nulls_conntrack::checksum::fold(nulls_conntrack::checksum::sum(&p[..ihl], 0));
        p[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// UDP and TCP: no checksum, so that payloads may change; tracking is told not to look.
fn reseal(p: &mut [u8]) {
    fix_header(p);
}

fn damage(dice: &mut Dice, p: &mut Vec<u8>) {
    match dice.below(4) {
        0 => {}
        1 => {
            for _ in 0..1 + dice.below(3) {
                let at = dice.below(p.len());
                p[at] = dice.next() as u8;
            }
        }
        2 => p.truncate(dice.below(p.len() + 1)),
        _ => {
            let at = dice.below(p.len());
            p[at] ^= 1 << dice.below(8);
        }
    }
    if p.len() >= 20 && dice.below(4) != 0 {
        if p[0] >> 4 == 4 {
            let len = p.len() as u16;
            p[2..4].copy_from_slice(&len.to_be_bytes());
        } else if p.len() >= 40 {
            let len = (p.len() - 40) as u16;
            p[4..6].copy_from_slice(&len.to_be_bytes());
        }
        fix_header(p);
    }
}

#[test]
fn damaged_packets_meet_everything_and_nothing_panics() {
    let ct = nulls();
    helper::register(&ct);
    let defrag = Arc::new(Defrag::new(defrag::Config::default()));
    let mut pipeline = Pipeline::<Table>::new(Layout::Linux618);
    defrag.register(&mut pipeline);
    pipeline.register(
        Hook::PreRouting,
        -300,
        "helpers",
        |_: &Tracker<Table>, pkt: &mut Packet<'_, '_, Table>, _: Hook| {
            let l4 = usize::from(pkt.data()[0] & 15) * 4;
            let at = if pkt.family() == Family::Ipv6 { 40 } else { l4 };
            let port = pkt
                .data()
                .get(at + 2..at + 4)
                .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
            let name = match port {
                21 => Some("ftp"),
                69 => Some("tftp"),
                6667 => Some("irc"),
                10_080 => Some("amanda"),
                1723 => Some("pptp"),
                _ => None,
            };
            pkt.template = Some(Arc::new(Template {
                helper: name.map(Into::into),
                ..Template::default()
            }));
            Verdict::Accept
        },
    );
    let nat = Nat::new(|q: &Question| {
        let to = match (q.manip, q.tuple.src()) {
            (Manip::Src, IpAddr::V4(_)) if q.tuple.src() == C => E,
            (Manip::Src, IpAddr::V6(_)) => "2001:db8:9::1".parse().expect("an address"),
            (Manip::Dst, IpAddr::V4(_)) if q.tuple.dst_l4() == 80 => {
                "10.0.0.8".parse().expect("an address")
            }
            _ => return None,
        };
        Some(Range::to(to))
    });
    nat.register(&mut pipeline, Family::Ipv4);
    nat.register(&mut pipeline, Family::Ipv6);

    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut now) = (0, 0);
    for _ in 0..60_000 {
        let mut p = whole(&mut dice);
        damage(&mut dice, &mut p);
        let family = if dice.below(20) == 0 || p.is_empty() || p[0] >> 4 == 4 {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        now += dice.next() % (S / 20);
        let Ok(data) = ip_rcv(&p, family) else {
            continue;
        };
        let mut pkt = Packet::new(data, family, now);
        pkt.checksum_ok = dice.below(10) != 0;
        if pipeline.forward(&ct, &mut pkt) == Verdict::Accept {
            accepted += 1;
            let _ = pkt.reasons().map(ToString::to_string).count();
            if let Some(origin) = pkt.origin() {
                assert!(!origin.split(pkt.data(), family, 1500, 1).is_empty());
            }
        }
    }
    assert!(accepted > 20_000, "{accepted}");
    assert!(ct.stats().expect_create > 10, "{:?}", ct.stats());
    let shown = ct.dump(now).len();
    assert_eq!(ct.delete_if(now, |_| true), shown);
    assert_eq!(
        (ct.store().len(), ct.net().count(), ct.expectations(now)),
        (0, 0, vec![])
    );
}
