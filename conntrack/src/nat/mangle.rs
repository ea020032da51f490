//! Rewriting packets (`nf_nat_proto.c`). Checksums are updated by the difference, so that a wrong one stays wrong; only SCTP's is made anew.

use super::Manip;
use crate::checksum;
use crate::parse;
use crate::tuple::{Family, Tuple, ipproto};
use std::net::IpAddr;

/// Rewrites the packet whose IP header is at `l3` so that its `manip` end is that of `target`. False: it is too short for that.
pub(super) fn packet(
    data: &mut [u8],
    l3: usize,
    family: Family,
    target: &Tuple,
    manip: Manip,
) -> bool {
    let shortest = match family {
        Family::Ipv4 => 20,
        Family::Ipv6 => 40,
    };
    if data.len() < l3 + shortest {
        return false;
    }
    // A later fragment in a quotation has no transport header to change.
    if let Some((_, l4)) = parse::l4proto(data, l3, family) {
        let difference = address_difference(data, l3, family, target, manip);
        if !transport(data, l4, target, manip, &difference) {
            return false;
        }
    }
    addresses(data, l3, family, target, manip);
    true
}

/// Old and new bytes of what changes.
struct Difference(Vec<u8>, Vec<u8>);

impl Difference {
    /// The checksum that `old` becomes (RFC 1624).
    fn apply(&self, old: u16) -> u16 {
        let minus: u64 = self
            .0
            .chunks(2)
            .map(|w| u64::from(!u16::from_be_bytes([w[0], w[1]])))
            .sum();
        !checksum::fold(checksum::sum(&self.1, minus + u64::from(!old)))
    }
}

fn address_at(family: Family, manip: Manip) -> (usize, usize) {
    match (family, manip) {
        (Family::Ipv4, Manip::Src) => (12, 4),
        (Family::Ipv4, Manip::Dst) => (16, 4),
        (Family::Ipv6, Manip::Src) => (8, 16),
        (Family::Ipv6, Manip::Dst) => (24, 16),
    }
}

fn address_difference(
    data: &[u8],
    l3: usize,
    family: Family,
    target: &Tuple,
    manip: Manip,
) -> Difference {
    let (at, len) = address_at(family, manip);
    let new = match manip {
        Manip::Src => target.src(),
        Manip::Dst => target.dst(),
    };
    let new = match new {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    Difference(data[l3 + at..l3 + at + len].to_vec(), new)
}

/// Rewrites the address alone; the caller has made sure that the IP header is there.
pub(super) fn addresses(data: &mut [u8], l3: usize, family: Family, target: &Tuple, manip: Manip) {
    let difference = address_difference(data, l3, family, target, manip);
    if family == Family::Ipv4 {
        update(data, l3 + 10, &difference);
    }
    let (at, len) = address_at(family, manip);
    data[l3 + at..l3 + at + len].copy_from_slice(&difference.1);
}

fn update(data: &mut [u8], at: usize, difference: &Difference) {
    let old = u16::from_be_bytes([data[at], data[at + 1]]);
    data[at..at + 2].copy_from_slice(&difference.apply(old).to_be_bytes());
}

/// Rewrites the port or id at `l4`, and the checksum as far as the packet goes.
fn transport(
    data: &mut [u8],
    l4: usize,
    target: &Tuple,
    manip: Manip,
    addresses: &Difference,
) -> bool {
    // Eight bytes are what a quotation guarantees.
    let room = data.len().saturating_sub(l4);
    let port_at = l4 + if manip == Manip::Src { 0 } else { 2 };
    let port = if manip == Manip::Src {
        target.src_l4()
    } else {
        target.dst_l4()
    };
    match target.protonum() {
        ipproto::TCP
        | ipproto::UDP
        | ipproto::UDPLITE
        | ipproto::SCTP
        | ipproto::ICMP
        | ipproto::ICMPV6
        | ipproto::GRE
            if room < 8 =>
        {
            return false;
        }
        ipproto::TCP => {
            let ports = set(data, port_at, port);
            if room >= 20 {
                update(data, l4 + 16, addresses);
                update(data, l4 + 16, &ports);
            }
        }
        ipproto::UDP | ipproto::UDPLITE => {
            let ports = set(data, port_at, port);
            let unused = target.protonum() == ipproto::UDP && data[l4 + 6..l4 + 8] == [0, 0];
            if !unused {
                update(data, l4 + 6, addresses);
                update(data, l4 + 6, &ports);
                if data[l4 + 6..l4 + 8] == [0, 0] {
                    data[l4 + 6..l4 + 8].copy_from_slice(&[0xff, 0xff]);
                }
            }
        }
        ipproto::SCTP => {
            set(data, port_at, port);
            if room >= 12 {
                data[l4 + 8..l4 + 12].fill(0);
                let sum = crc32c::crc32c(&data[l4..]);
                data[l4 + 8..l4 + 12].copy_from_slice(&sum.to_le_bytes());
            }
        }
        ipproto::ICMP => {
            if matches!(data[l4], 0 | 8 | 13..=18) {
                let id = set(data, l4 + 4, target.src_l4());
                update(data, l4 + 2, &id);
            }
        }
        ipproto::ICMPV6 => {
            update(data, l4 + 2, addresses);
            if matches!(data[l4], 128 | 129) {
                let id = set(data, l4 + 4, target.src_l4());
                update(data, l4 + 2, &id);
            }
        }
        // Version 0 has no key that is translated, version 1 (PPTP) its destination's call id.
        ipproto::GRE => match data[l4 + 1] & 7 {
            0 => {}
            1 if manip == Manip::Dst => {
                set(data, l4 + 6, target.dst_l4());
            }
            1 => {}
            _ => return false,
        },
        _ => {}
    }
    true
}

/// Writes a number and tells what changed.
fn set(data: &mut [u8], at: usize, value: u16) -> Difference {
    let difference = Difference(data[at..at + 2].to_vec(), value.to_be_bytes().to_vec());
    data[at..at + 2].copy_from_slice(&difference.1);
    difference
}

/// Makes the checksum of the ICMP message at `l4` anew, after its quotation has changed.
pub(super) fn icmp_checksum(data: &mut [u8], l4: usize, family: Family) {
    data[l4 + 2..l4 + 4].fill(0);
    let message = &data[l4..];
    let pseudo = match (family, parse::outer_addrs(data, family)) {
        (Family::Ipv6, Some(t)) => {
            checksum::pseudo(t.src(), t.dst(), ipproto::ICMPV6, message.len() as u32)
        }
        _ => 0,
    };
    let sum = !checksum::fold(checksum::sum(message, pseudo));
    data[l4 + 2..l4 + 4].copy_from_slice(&sum.to_be_bytes());
}
