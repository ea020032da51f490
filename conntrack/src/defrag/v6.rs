//! IPv6 fragments (`net/ipv6/netfilter/nf_conntrack_reasm.c`).

use super::pieces::Wrong;
use super::{Fragment, Join, Key};
use std::net::Ipv6Addr;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTH: u8 = 51;
const NONE: u8 = 59;
const DEST: u8 = 60;
const MAX_PAYLOAD: usize = 65_535;

pub(super) struct V6;

/// A packet, judged.
pub(super) enum Parsed<'a> {
    /// Reassembly leaves it alone.
    Untouched,
    /// Reaches past the longest possible datagram.
    TooFar,
    /// Not the last one and no multiple of eight long: it goes on as it is, and the others of its datagram are forgotten.
    Odd(Key),
    Fragment(Fragment<'a>),
}

/// Takes a packet apart.
pub(super) fn parse(packet: &[u8], zone: u16, iif: u32) -> Parsed<'_> {
    try_parse(packet, zone, iif).unwrap_or(Parsed::Untouched)
}

fn try_parse(packet: &[u8], zone: u16, iif: u32) -> Option<Parsed<'_>> {
    if packet.get(4..6)? == [0, 0] {
        return None;
    }
    let (next_at, at) = find(packet)?;
    let head: &[u8; 8] = packet.get(at..at + 8)?.try_into().ok()?;
    if first_is_cut(packet, head, at + 8) {
        return None;
    }
    let word = u16::from_be_bytes([head[2], head[3]]);
    let (offset, more) = (u32::from(word & !7), word & 1 != 0);
    let data = &packet[at + 8..];
    if offset as usize + data.len() > MAX_PAYLOAD {
        return Some(Parsed::TooFar);
    }
    let addr = |at: usize| {
        Some(Ipv6Addr::from(
            <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?,
        ))
    };
    let id = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    // The protocol may differ between fragments: the first one's counts.
    let key = Key {
        src: addr(8)?.into(),
        dst: addr(24)?.into(),
        id,
        protonum: 0,
        zone,
        iif,
    };
    if more && data.len() & 7 != 0 {
        return Some(Parsed::Odd(key));
    }
    // What stays of the header: everything before the fragment header, with the next header that it named.
    let mut header = packet[..at].to_vec();
    header[next_at] = head[0];
    let ecn = packet[1] >> 4 & 3;
    Some(Parsed::Fragment(Fragment {
        key,
        offset,
        more,
        ecn,
        header,
        data,
        size: packet.len(),
        dont: false,
    }))
}

/// Where the next-header byte that names the fragment header is, and where that header is.
fn find(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut next_at, mut at) = (6, 40);
    loop {
        let next = *packet.get(next_at)?;
        if next == FRAGMENT {
            return Some((next_at, at));
        }
        let len = match next {
            HOP_BY_HOP | ROUTING | DEST => (usize::from(*packet.get(at + 1)?) + 1) * 8,
            AUTH => (usize::from(*packet.get(at + 1)?) + 2) * 4,
            _ => return None,
        };
        next_at = at;
        at += len;
    }
}

/// A first fragment must hold all headers up to the transport's (RFC 8200, section 4.5); `at` is what follows the fragment header.
fn first_is_cut(packet: &[u8], head: &[u8; 8], mut at: usize) -> bool {
    if u16::from_be_bytes([head[2], head[3]]) & !7 != 0 {
        return false;
    }
    let mut next = head[0];
    loop {
        let len = match next {
            HOP_BY_HOP | ROUTING | DEST | AUTH | FRAGMENT => {
                let (Some(&following), Some(&words)) = (packet.get(at), packet.get(at + 1)) else {
                    return false;
                };
                let len = match next {
                    FRAGMENT => 8,
                    AUTH => (usize::from(words) + 2) * 4,
                    _ => (usize::from(words) + 1) * 8,
                };
                next = following;
                len
            }
            NONE => return false,
            6 => return at + 20 > packet.len(),
            17 | 58 => return at + 8 > packet.len(),
            _ => return at + 1 > packet.len(),
        };
        at += len;
    }
}

impl Join for V6 {
    const LENGTHS: Wrong = Wrong::Refused;

    fn join(mut header: Vec<u8>, payload: &[u8], ecn: u8, _: bool) -> Option<Vec<u8>> {
        let len = u16::try_from(header.len() - 40 + payload.len()).ok()?;
        header[1] |= ecn << 4;
        header[4..6].copy_from_slice(&len.to_be_bytes());
        header.extend_from_slice(payload);
        Some(header)
    }
}
