//! Datagrams that came in fragments leave in fragments (`ip_do_fragment`, `ip6_fragment`): in the same ones where that is possible, else in ones no
//! longer than the longest that came.

use crate::checksum;
use crate::parse;
use crate::tuple::Family;

/// How a datagram came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Length of the longest fragment, headers included.
    pub max_size: usize,
    /// IPv4: that one had the DF bit.
    pub dont: bool,
    /// Bytes before the payload of the first fragment; IPv6: without the fragment header.
    pub header: usize,
    /// Lengths of the payloads, in order.
    pub lengths: Vec<u32>,
}

const MORE: u16 = 0x2000;
const DONT: u16 = 0x4000;
const TCP: u8 = 6;
/// The stack looks at TCP headers before it routes; if the first fragment has less, the boundaries are lost.
const TCP_HEADER: usize = 20;
const IPV6_MIN_MTU: usize = 1280;
const FRAGMENT_HEADER: usize = 8;

impl Origin {
    /// Splits the datagram again, for a link that takes `mtu` bytes. `ident` is the new identification (IPv6; IPv4 keeps its own).
    #[must_use]
    pub fn split(&self, datagram: &[u8], family: Family, mtu: usize, ident: u32) -> Vec<Vec<u8>> {
        let pieces = match family {
            Family::Ipv4 => self.split_v4(datagram, mtu),
            Family::Ipv6 => self.split_v6(datagram, mtu, ident),
        };
        pieces.unwrap_or_else(|| vec![datagram.to_vec()])
    }

    fn split_v4(&self, datagram: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
        let ihl = usize::from(datagram.first()? & 15) * 4;
        let (header, payload) = datagram.split_at_checked(ihl).filter(|_| ihl >= 20)?;
        let room = mtu.min(self.max_size).checked_sub(ihl)?;
        let pulled = header[9] == TCP && payload.len() >= TCP_HEADER;
        let (lengths, whole) = match self.as_they_came(payload.len(), ihl, room) {
            Some(l) if !pulled || l[0] >= TCP_HEADER => (l, true),
            _ => (even(payload.len(), room)?, false),
        };
        let mut at = 0;
        let mut out = Vec::new();
        for len in lengths {
            let mut p = header.to_vec();
            if at > 0 {
                blank_options(&mut p[20..]);
            }
            let total = u16::try_from(ihl + len).ok()?;
            p[2..4].copy_from_slice(&total.to_be_bytes());
            let mut word = (at / 8) as u16;
            if at + len < payload.len() {
                word |= MORE;
            }
            // Where the boundaries stay, DF does not.
            if self.dont && !whole {
                word |= DONT;
            }
            p[6..8].copy_from_slice(&word.to_be_bytes());
            p[10..12].fill(0);
            let sum = !checksum::fold(checksum::sum(&p, 0));
            p[10..12].copy_from_slice(&sum.to_be_bytes());
            p.extend_from_slice(&payload[at..at + len]);
            out.push(p);
            at += len;
        }
        Some(out)
    }

    fn split_v6(&self, datagram: &[u8], mtu: usize, ident: u32) -> Option<Vec<Vec<u8>>> {
        if datagram.len() <= self.max_size.min(mtu) {
            return None;
        }
        let (next_at, at) = unfragmentable(datagram)?;
        let room = self
            .max_size
            .max(IPV6_MIN_MTU)
            .min(mtu)
            .checked_sub(at + FRAGMENT_HEADER)?;
        let (header, payload) = datagram.split_at_checked(at)?;
        let lengths = match self.as_they_came(payload.len(), at, room) {
            Some(l) => l,
            None => even(payload.len(), room)?,
        };
        let mut at = 0;
        let mut out = Vec::new();
        for len in lengths {
            let mut p = header.to_vec();
            let next = std::mem::replace(&mut p[next_at], 44);
            let length = u16::try_from(header.len() - 40 + FRAGMENT_HEADER + len).ok()?;
            p[4..6].copy_from_slice(&length.to_be_bytes());
            let word = at as u16 | u16::from(at + len < payload.len());
            p.extend([next, 0]);
            p.extend(word.to_be_bytes());
            p.extend(ident.to_be_bytes());
            p.extend_from_slice(&payload[at..at + len]);
            out.push(p);
            at += len;
        }
        Some(out)
    }

    /// The lengths that the fragments had, if `payload` bytes behind a header of `header` can be sent so.
    fn as_they_came(&self, payload: usize, header: usize, room: usize) -> Option<Vec<usize>> {
        let mut lengths: Vec<usize> = self.lengths.iter().map(|l| *l as usize).collect();
        let first = lengths.first_mut()?;
        *first = (self.header + *first).checked_sub(header)?;
        let (last, others) = lengths.split_last()?;
        let fits = *last <= room && others.iter().all(|l| *l <= room && l % 8 == 0);
        (fits && lengths.iter().sum::<usize>() == payload).then_some(lengths)
    }
}

/// `payload` bytes in pieces of at most `room`, all but the last a multiple of eight.
fn even(payload: usize, room: usize) -> Option<Vec<usize>> {
    let step = room & !7;
    if step == 0 {
        return None;
    }
    let mut lengths = Vec::new();
    let mut left = payload;
    while left > room {
        lengths.push(step);
        left -= step;
    }
    lengths.push(left);
    Some(lengths)
}

/// Options that are not copied to further fragments give way to no-operations (`ip_options_fragment`).
fn blank_options(options: &mut [u8]) {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        if kind == END {
            return;
        }
        if kind == NOP {
            at += 1;
            continue;
        }
        let len = usize::from(options.get(at + 1).copied().unwrap_or(0));
        let Some(option) = options.get_mut(at..at + len).filter(|_| len >= 2) else {
            return;
        };
        if kind & COPIED == 0 {
            option.fill(NOP);
        }
        at += len;
    }
}

/// Offset of the byte that names what follows the part that every fragment has, and that part's length (`ip6_find_1stfragopt`).
fn unfragmentable(p: &[u8]) -> Option<(usize, usize)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DEST: u8 = 60;
    let (mut next_at, mut at, mut routed) = (6, 40, false);
    loop {
        match *p.get(next_at)? {
            HOP_BY_HOP => {}
            ROUTING => routed = true,
            DEST if !routed => {}
            _ => return Some((next_at, at)),
        }
        next_at = at;
        at += (usize::from(*p.get(at + 1)?) + 1) * 8;
    }
}

/// One hop less (`ip_decrease_ttl`, `ip6_forward`). False: there is none left, and nothing changes.
#[must_use]
pub fn decrease_ttl(packet: &mut [u8], family: Family) -> bool {
    let at = match family {
        Family::Ipv4 => 8,
        Family::Ipv6 => 7,
    };
    let Some(ttl) = packet.get_mut(at).filter(|ttl| **ttl > 1) else {
        return false;
    };
    *ttl -= 1;
    if family == Family::Ipv4
        && let Some(sum) = parse::be16(packet, 10)
    {
        // One less in the high byte of a summed word: one more in the high byte of the checksum.
        let sum = match checksum::fold(u64::from(sum) + 0x100) {
            0xffff => 0,
            sum => sum,
        };
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    true
}
