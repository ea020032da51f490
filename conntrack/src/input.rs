//! What the IP layer does before any hook: `ip_rcv` and `ipv6_rcv`. A packet that fails here is seen by nobody.

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
}

/// Checks an IP packet as it came from the link, and cuts off padding. `family` is what the link layer said it is.
///
/// # Errors
/// See [`InputError`].
pub fn ip_rcv(frame: &[u8], family: Family) -> Result<&[u8], InputError> {
    match family {
        Family::Ipv4 => ipv4(frame),
        Family::Ipv6 => ipv6(frame),
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

fn ipv6(p: &[u8]) -> Result<&[u8], InputError> {
    if p.len() < 40 {
        return Err(InputError::Truncated);
    }
    if p[0] >> 4 != 6 {
        return Err(InputError::BadHeader);
    }
    let len = usize::from(u16::from_be_bytes([p[4], p[5]]));
    // Length 0 before a hop-by-hop header may be a jumbogram, else it is an empty packet.
    if len == 0 && p[6] == 0 {
        return Ok(p);
    }
    p.get(..40 + len).ok_or(InputError::Truncated)
}
