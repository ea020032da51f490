//! Hosts, IP packets around transport headers, checksums.

use std::net::IpAddr;

use nulls_conntrack::checksum::{fold, pseudo, sum};

use super::Dice;
use crate::kernel::Side;

pub(super) fn hosts(dice: &mut Dice, v6: bool) -> [IpAddr; 2] {
    let n = dice.below(2);
    let m = dice.below(2);
    let parse = |s: String| s.parse().expect("an address");
    if v6 {
        [
            parse(format!("2001:db8:1::1{n}")),
            parse(format!("2001:db8:2::2{m}")),
        ]
    } else {
        [
            parse(format!("192.0.2.1{n}")),
            parse(format!("198.51.100.2{m}")),
        ]
    }
}

pub(super) fn side(dir: usize) -> Side {
    if dir == 0 { Side::Client } else { Side::Server }
}

/// Source and destination for a direction.
pub(super) fn turned<T: Copy>(ends: [T; 2], dir: usize) -> (T, T) {
    (ends[dir], ends[1 - dir])
}

/// An IP packet.
pub(super) fn ip(src: IpAddr, dst: IpAddr, protonum: u8, l4: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut p;
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            p = vec![0x45, 0];
            p.extend((20 + l4.len() as u16).to_be_bytes());
            p.extend((dice.word() as u16).to_be_bytes());
            p.extend([0, 0, 64, protonum, 0, 0]);
            p.extend(s.octets());
            p.extend(d.octets());
            let check = !fold(sum(&p, 0));
            p[10..12].copy_from_slice(&check.to_be_bytes());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            p = vec![0x60, 0, 0, 0];
            p.extend((l4.len() as u16).to_be_bytes());
            p.extend([protonum, 64]);
            p.extend(s.octets());
            p.extend(d.octets());
        }
        _ => unreachable!("hosts are of one family"),
    }
    p.extend(l4);
    p
}

/// Fills in the checksum at `at`, wrong in a few cases.
pub(super) fn seal(
    src: IpAddr,
    dst: IpAddr,
    protonum: u8,
    l4: &mut [u8],
    at: usize,
    dice: &mut Dice,
) {
    let start = if protonum == 1 {
        0
    } else {
        pseudo(src, dst, protonum, l4.len() as u32)
    };
    let mut check = match !fold(sum(l4, start)) {
        0 if protonum == 17 => 0xffff,
        c => c,
    };
    if dice.percent(2) {
        check ^= dice.pick(&[0x5555, 1]);
    }
    l4[at..at + 2].copy_from_slice(&check.to_be_bytes());
}
