//! Datagrams of every protocol, errors about them, fragments and extension headers.

use std::net::IpAddr;

use nulls_conntrack::checksum::{fold, sum};

use super::ip::{hosts, ip, seal, side, turned};
use super::tcp::{ACK, FIN, Flow, RST, SYN, Segment, segment};
use super::{Dice, Sent};
use crate::kernel::Side;

/// A datagram of some protocol, right or nearly so.
fn datagram(src: IpAddr, dst: IpAddr, back: bool, dice: &mut Dice) -> Vec<u8> {
    let v6 = src.is_ipv6();
    let (mut sport, mut dport) = (dice.pick(&[5u16, 53, 1000]), dice.pick(&[5u16, 53, 1000]));
    if back {
        (sport, dport) = (dport, sport);
    }
    let n = dice.pick(&[0, 1, 8, 100]);
    let data = vec![b'd'; n];
    let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    match dice.below(10) {
        0..3 => {
            let length = if dice.percent(70) {
                8 + n as u16
            } else {
                dice.pick(&[0, 7, 8, 9, 500])
            };
            let mut l4 = [ports, length.to_be_bytes().to_vec(), vec![0, 0], data].concat();
            if dice.percent(90) {
                seal(src, dst, 17, &mut l4, 6, dice);
            }
            ip(src, dst, 17, &l4, dice)
        }
        3 => {
            let f = Flow {
                hosts: [src, dst],
                ports: [sport, dport],
                next: [0; 2],
                windows: [1000; 2],
                begins: 0,
            };
            let flags = dice.pick(&[SYN, SYN | ACK, ACK, RST, FIN | ACK, 0]);
            let (seq, ack) = (dice.pick(&[1, 100, 2000]), dice.pick(&[0, 2, 101]));
            segment(
                &f,
                0,
                &Segment {
                    flags,
                    seq,
                    ack,
                    len: n,
                    ..Segment::default()
                },
                dice,
            )
            .1
        }
        4 | 8 => {
            let protonum = if v6 { 58 } else { 1 };
            let query = if v6 { [128, 129] } else { [8, 0] };
            let odd = if v6 {
                vec![133, 135, 137, 139, 140, 130, 143]
            } else {
                vec![13, 14, 15, 16, 17, 18]
            };
            let kind = match dice.below(10) {
                0..6 => query[dice.below(2) as usize],
                6..8 => dice.pick(&odd),
                _ => dice.word() as u8,
            };
            let mut l4 = vec![
                kind,
                dice.pick(&[0, 0, 0, 1, 255]),
                0,
                0,
                0,
                dice.pick(&[1, 2]),
                0,
                1,
            ];
            let more = dice.pick(&[0, 8, 28, 48, 60]);
            l4.extend(dice.bytes(more));
            seal(src, dst, protonum, &mut l4, 2, dice);
            ip(src, dst, protonum, &l4, dice)
        }
        5 => ip(src, dst, 47, &[&[0, 0, 8, 0][..], &data].concat(), dice),
        6 => {
            let mut l4 = vec![
                0x20,
                dice.pick(&[1, 1, 1, 2, 7]),
                0x88,
                dice.pick(&[0x0b, 0x0b, 0x0c]),
                0,
                0,
                0,
                dice.pick(&[1, 2]),
            ];
            l4.extend(&data);
            l4.truncate(if dice.percent(80) {
                l4.len()
            } else {
                dice.below(9) as usize
            });
            ip(src, dst, 47, &l4, dice)
        }
        7 => {
            let mut l4 = [
                ports,
                dice.pick(&[0u16, 8, 9, 3, 200]).to_be_bytes().to_vec(),
                vec![0, 0],
                data,
            ]
            .concat();
            seal(src, dst, 17, &mut l4, 6, dice);
            ip(src, dst, 136, &l4, dice)
        }
        _ => {
            let protonum = if v6 {
                dice.pick(&[2, 4, 33, 50, 89, 103, 253, 255, 1])
            } else {
                dice.pick(&[0, 2, 4, 33, 50, 51, 89, 253, 255, 59, 60, 43, 44])
            };
            let n = dice.pick(&[0, 1, 8, 16, 40]);
            let data = dice.bytes(n);
            ip(src, dst, protonum, &data, dice)
        }
    }
}

/// An error about a packet that was sent, mostly to whoever sent it.
fn icmp_error(inner: &[u8], dice: &mut Dice) -> Option<Sent> {
    let v6 = inner.first()? >> 4 == 6;
    let addr = |at: usize| -> Option<IpAddr> {
        Some(if v6 {
            <[u8; 16]>::try_from(inner.get(8 + 16 * at..24 + 16 * at)?)
                .ok()?
                .into()
        } else {
            <[u8; 4]>::try_from(inner.get(12 + 4 * at..16 + 4 * at)?)
                .ok()?
                .into()
        })
    };
    let [src, dst] = [addr(0)?, addr(1)?];
    let (from, to) = if dice.percent(85) {
        (dst, src)
    } else {
        (src, dst)
    };
    let kind = if v6 {
        dice.pick(&[1, 2, 3, 4, 0, 100, 127, 137])
    } else {
        dice.pick(&[3, 3, 4, 5, 11, 12])
    };
    let mut quoted = inner.to_vec();
    if dice.percent(25) {
        let at = dice.below(quoted.len().min(48) as u32) as usize;
        quoted[at] = dice.word() as u8;
    }
    let whole = quoted.len();
    let cut = dice.pick(&[28, whole, whole]);
    quoted.truncate(if dice.percent(80) {
        cut
    } else {
        dice.below(whole as u32 + 1) as usize
    });
    let mut l4 = vec![kind, dice.pick(&[0, 1, 3, 4]), 0, 0, 0, 0, 0, 0];
    l4.extend(quoted);
    let protonum = if v6 { 58 } else { 1 };
    seal(from, to, protonum, &mut l4, 2, dice);
    let side =
        if from.to_string().starts_with("192.") || from.to_string().starts_with("2001:db8:1:") {
            Side::Client
        } else {
            Side::Server
        };
    Some((side, ip(from, to, protonum, &l4, dice)))
}

/// Splits a packet into fragments of `step` bytes.
fn fragments(p: &[u8], step: usize, dice: &mut Dice) -> Vec<Vec<u8>> {
    let v6 = p[0] >> 4 == 6;
    let head = if v6 { 40 } else { 20 };
    let id = dice.word();
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut at = head;
    while at < p.len() {
        let end = (at + step).min(p.len());
        let (offset, more) = ((at - head) as u16, u16::from(end < p.len()));
        let mut f = p[..head].to_vec();
        if v6 {
            f[6] = 44;
            f.extend([p[6], 0]);
            f.extend((offset | more).to_be_bytes());
            f.extend(id.to_be_bytes());
            f.extend(&p[at..end]);
            let len = (f.len() - 40) as u16;
            f[4..6].copy_from_slice(&len.to_be_bytes());
        } else {
            f.extend(&p[at..end]);
            let len = f.len() as u16;
            f[2..4].copy_from_slice(&len.to_be_bytes());
            f[4..6].copy_from_slice(&(id as u16).to_be_bytes());
            f[6..8].copy_from_slice(&(offset >> 3 | more << 13).to_be_bytes());
            f[10..12].fill(0);
            let check = !fold(sum(&f[..20], 0));
            f[10..12].copy_from_slice(&check.to_be_bytes());
        }
        out.push(f);
        at = end;
    }
    for n in (1..out.len()).rev() {
        out.swap(n, dice.below(n as u32 + 1) as usize);
    }
    if dice.percent(20) {
        out.pop();
    }
    out
}

pub(super) fn story(dice: &mut Dice, count: usize, out: &mut Vec<Sent>) {
    while out.len() < count {
        let recent = out.len().saturating_sub(30);
        if dice.percent(25) && !out.is_empty() {
            let n = recent + dice.below((out.len() - recent) as u32) as usize;
            let inner = out[n].1.clone();
            out.extend(icmp_error(&inner, dice));
            continue;
        }
        let v6 = dice.percent(35);
        let ends = hosts(dice, v6);
        let d = dice.below(2) as usize;
        let (src, dst) = turned(ends, d);
        let mut p = datagram(src, dst, d == 1, dice);
        match dice.below(100) {
            0..4 => p.truncate(1 + dice.below(p.len() as u32) as usize),
            4..8 if !v6 => {
                let total = dice.pick(&[19u16, 20, 24, 28, 60_000]);
                p[2..4].copy_from_slice(&total.to_be_bytes());
                p[10..12].fill(0);
                let check = !fold(sum(&p[..20], 0));
                p[10..12].copy_from_slice(&check.to_be_bytes());
            }
            8..18 if p.len() > 60 => {
                let step = dice.pick(&[8, 16, 24, 40]);
                let pieces = fragments(&p, step, dice);
                out.extend(pieces.into_iter().map(|f| (side(d), f)));
                continue;
            }
            18..30 if v6 => p = extended(&p, dice),
            _ => {}
        }
        out.push((side(d), p));
    }
}

/// Extension headers in an IPv6 packet.
fn extended(p: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut next = p[6];
    let mut body = p[40..].to_vec();
    for _ in 0..1 + dice.below(3) {
        let kind = dice.pick(&[0, 43, 60, 44, 51, 60]);
        let more = dice.pick(&[0u8, 0, 1, 2]);
        let mut h = match kind {
            44 => vec![next, 0, 0, dice.pick(&[0, 0, 0, 8, 6]), 0, 0, 0, 7],
            51 => [vec![next, 1], vec![0; 10]].concat(),
            43 => [
                vec![next, more, dice.pick(&[4, 3]), 0],
                vec![0; usize::from(more) * 8 + 4],
            ]
            .concat(),
            _ => [
                vec![next, more, 1, 4 + more * 8],
                vec![0; 4 + usize::from(more) * 8],
            ]
            .concat(),
        };
        h.extend(body);
        body = h;
        next = kind;
    }
    let mut out = p[..40].to_vec();
    out[6] = next;
    out[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}
