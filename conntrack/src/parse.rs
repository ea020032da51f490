//! From bytes to a tuple (`get_l4proto`, `nf_ct_get_tuple`): as lax as the kernel, which forms a tuple from four bytes of a transport header.
//!
//! General parsers are no help here: they reject what the kernel tracks (datagrams cut short, headers that contradict each other) and accept
//! what it does not.

use crate::tuple::{Family, Tuple, ipproto};

/// Big-endian 16 bits at `at`, if the packet goes that far.
pub(crate) fn be16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?
        .first_chunk()
        .map(|b| u16::from_be_bytes(*b))
}

/// Big-endian 32 bits at `at`, if the packet goes that far.
pub(crate) fn be32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?
        .first_chunk()
        .map(|b| u32::from_be_bytes(*b))
}

/// Protocol number and offset of the transport header of the IP packet that begins at `l3`.
#[inline]
pub(crate) fn l4proto(data: &[u8], l3: usize, family: Family) -> Option<(u8, usize)> {
    match family {
        Family::Ipv4 => {
            let header: &[u8; 20] = data.get(l3..)?.first_chunk()?;
            let later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
            let l4 = l3 + usize::from(header[0] & 15) * 4;
            (!later_fragment && l4 <= data.len()).then_some((header[9], l4))
        }
        Family::Ipv6 => {
            let next = *data.get(l3 + 6)?;
            let (protonum, l4, frag) = skip_extensions(data, l3 + 40, next)?;
            (frag & !7 == 0).then_some((protonum, l4))
        }
    }
}

/// Walks IPv6 extension headers (`ipv6_skip_exthdr`): the protocol behind them, where it begins, and a fragment header's offset field.
fn skip_extensions(data: &[u8], mut at: usize, mut next: u8) -> Option<(u8, usize, u16)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTH: u8 = 51;
    const NONE: u8 = 59;
    const DEST: u8 = 60;
    let mut frag = 0;
    loop {
        let length = match next {
            HOP_BY_HOP | ROUTING | DEST => (usize::from(*data.get(at + 1)?) + 1) * 8,
            AUTH => (usize::from(*data.get(at + 1)?) + 2) * 4,
            FRAGMENT => {
                frag = be16(data, at + 2)?;
                if frag & !7 != 0 {
                    return Some((next, at, frag));
                }
                8
            }
            NONE => return None,
            _ => return Some((next, at, frag)),
        };
        next = data[at];
        at += length;
    }
}

/// The tuple of the packet whose IP header is at `l3` and transport header at `l4` (`nf_ct_get_tuple`).
#[inline]
pub(crate) fn tuple(
    data: &[u8],
    l3: usize,
    l4: usize,
    family: Family,
    protonum: u8,
) -> Option<Tuple> {
    let (src_l4, dst_l4) = match protonum {
        ipproto::TCP | ipproto::UDP | ipproto::UDPLITE | ipproto::SCTP => {
            (be16(data, l4)?, be16(data, l4 + 2)?)
        }
        ipproto::ICMP | ipproto::ICMPV6 => {
            let header: &[u8; 8] = data.get(l4..)?.first_chunk()?;
            (
                u16::from_be_bytes([header[4], header[5]]),
                u16::from_be_bytes([header[0], header[1]]),
            )
        }
        ipproto::GRE => gre_keys(data, l4)?,
        _ => (0, 0),
    };
    match family {
        Family::Ipv4 => {
            let addrs: &[u8; 8] = data.get(l3 + 12..)?.first_chunk()?;
            let [a, b, c, d, e, f, g, h] = *addrs;
            Some(Tuple::v4(
                [a, b, c, d],
                [e, f, g, h],
                protonum,
                src_l4,
                dst_l4,
            ))
        }
        Family::Ipv6 => {
            let src: &[u8; 16] = data.get(l3 + 8..)?.first_chunk()?;
            let dst: &[u8; 16] = data.get(l3 + 24..)?.first_chunk()?;
            Some(Tuple::v6(*src, *dst, protonum, src_l4, dst_l4))
        }
    }
}

/// GRE keys: zero, except that PPTP's call id is the destination key (the source key comes from PPTP's helper, 0 without).
fn gre_keys(data: &[u8], l4: usize) -> Option<(u16, u16)> {
    const PPP: u16 = 0x880b;
    match data.get(l4..l4 + 4) {
        Some([_, flags, proto @ ..]) if flags & 7 == 1 => {
            let Some(call_id) = be16(data, l4 + 6) else {
                return Some((0, 0));
            };
            (proto == PPP.to_be_bytes()).then_some((0, call_id))
        }
        _ => Some((0, 0)),
    }
}

/// Source and destination address of the packet at offset 0, which is long enough for its fixed header.
pub(crate) fn outer_addrs(data: &[u8], family: Family) -> Option<Tuple> {
    tuple(data, 0, 0, family, 255)
}
