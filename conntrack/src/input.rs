//! What the IP layer does before any hook: `ip_rcv` and `ipv6_rcv`. A packet that fails here is seen by nobody.
//!
//! Options that need more of a host than a tracker has (IOAM, CALIPSO) are taken for unknown ones, as a host that is not configured for
//! them does.

use crate::tuple::Family;

/// Why the IP layer threw a packet away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// Too short for its own header or for the length that the header tells.
    Truncated,
    /// The version field does not fit, or the header length is impossible.
    BadHeader,
    /// The IPv4 header checksum is wrong.
    BadChecksum,
    /// An IPv6 address that nothing on a link may have.
    BadAddress,
    /// Malformed or refused IPv6 hop-by-hop options.
    BadOptions,
}

/// Checks an IP packet as it came from the link, and cuts off padding. `family` is what the link layer said it is.
///
/// # Errors
/// See [`InputError`].
pub fn ip_rcv(frame: &[u8], family: Family) -> Result<&[u8], InputError> {
    match family {
        Family::Ipv4 => ipv4(frame),
        Family::Ipv6 => ipv6(frame, false),
    }
}

/// The same for a packet that may have come by the loopback interface: the only one on which `ipv6_rcv` takes `::1`.
///
/// # Errors
/// See [`InputError`].
pub fn ip_rcv_local(frame: &[u8], family: Family) -> Result<&[u8], InputError> {
    match family {
        Family::Ipv4 => ipv4(frame),
        Family::Ipv6 => ipv6(frame, true),
    }
}

fn ipv4(p: &[u8]) -> Result<&[u8], InputError> {
    if p.len() < 20 {
        return Err(InputError::Truncated);
    }
    let ihl = usize::from(p[0] & 15) * 4;
    if p[0] >> 4 != 4 || ihl < 20 {
        return Err(InputError::BadHeader);
    }
    let header = p.get(..ihl).ok_or(InputError::Truncated)?;
    if crate::checksum::fold(crate::checksum::sum(header, 0)) != 0xffff {
        return Err(InputError::BadChecksum);
    }
    let len = usize::from(u16::from_be_bytes([p[2], p[3]]));
    if len > p.len() {
        return Err(InputError::Truncated);
    }
    if len < ihl {
        return Err(InputError::BadHeader);
    }
    Ok(&p[..len])
}

fn ipv6(p: &[u8], local: bool) -> Result<&[u8], InputError> {
    const HOP_BY_HOP: u8 = 0;
    let header: &[u8; 40] = p.first_chunk().ok_or(InputError::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(InputError::BadHeader);
    }
    let (src, dst) = (&header[8..24], &header[24..40]);
    let loopback = |a: &[u8]| a[..15] == [0; 15] && a[15] == 1;
    // Multicast of no scope or of the interface's own never comes from a link, and multicast is nobody's source.
    let scopeless = dst[0] == 0xff && dst[1] & 15 <= 1;
    if (!local && (loopback(src) || loopback(dst))) || scopeless || src[0] == 0xff {
        return Err(InputError::BadAddress);
    }
    let len = usize::from(u16::from_be_bytes([p[4], p[5]]));
    // Length 0 before hop-by-hop options may be a jumbogram, else it is an empty packet.
    let mut packet = p;
    if len != 0 || header[6] != HOP_BY_HOP {
        packet = p.get(..40 + len).ok_or(InputError::Truncated)?;
    }
    if header[6] == HOP_BY_HOP {
        let whole = hop_by_hop(packet).ok_or(InputError::BadOptions)?;
        packet = &packet[..whole];
    }
    Ok(packet)
}

/// Reads hop-by-hop options as `ip6_parse_tlv` does; the packet's length, which a jumbo option may tell. `None`: to be dropped.
fn hop_by_hop(p: &[u8]) -> Option<usize> {
    const PAD1: u8 = 0;
    const PADN: u8 = 1;
    const ROUTER_ALERT: u8 = 5;
    const JUMBO: u8 = 0xc2;
    const MOST_PADDING: usize = 7;
    const MOST_OPTIONS: usize = 8;
    let mut whole = p.len();
    let end = 40 + (usize::from(*p.get(41)?) + 1) * 8;
    let (mut at, mut padding, mut options) = (42, 0, 0);
    let header = p.get(..end)?;
    while at < end {
        if header[at] == PAD1 {
            padding += 1;
            at += 1;
        } else {
            let size = usize::from(*header.get(at + 1)?) + 2;
            let option = header.get(at..at + size)?;
            let content = &option[2..];
            if option[0] == PADN {
                padding += size;
                if content.iter().any(|b| *b != 0) {
                    return None;
                }
            } else {
                options += 1;
                padding = 0;
                let fine = match option[0] {
                    ROUTER_ALERT => content.len() == 2,
                    JUMBO => {
                        let told = u32::from_be_bytes(content.try_into().ok()?) as usize;
                        whole = told.saturating_add(40);
                        at & 3 == 2 && told > 0xffff && p[4..6] == [0, 0] && whole <= p.len()
                    }
                    // The two highest bits of unknown ones say whether they may be skipped.
                    kind => kind >> 6 == 0,
                };
                if !fine || options > MOST_OPTIONS {
                    return None;
                }
            }
            at += size;
        }
        if padding > MOST_PADDING {
            return None;
        }
    }
    Some(whole)
}
