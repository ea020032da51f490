//! IPv4 options that a router must understand (`ip_options_compile`, `ip_forward_options`): a packet with malformed ones goes nowhere, and the route
//! it takes is recorded in it where it asks for that.

use std::net::Ipv4Addr;

use nulls_conntrack::checksum::{fold, sum};

const END: u8 = 0;
const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// Where options ask for something to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Offset, in the packet, of a record-route option with room.
    record: Option<usize>,
    /// Offset of a timestamp option with room for a time, and whether an address comes before it.
    stamp: Option<(usize, bool)>,
}

/// Reads the options of a packet. `None`: it must be dropped.
pub(crate) fn read(packet: &[u8]) -> Option<Wishes> {
    let end = usize::from(packet.first()? & 15) * 4;
    let options = packet.get(..end)?;
    let mut wishes = Wishes::default();
    let (mut records, mut stamps) = (0, 0);
    let mut at = 20;
    while at < end {
        let kind = options[at];
        if kind == END {
            break;
        }
        if kind == NOP {
            at += 1;
            continue;
        }
        let len = usize::from(*options.get(at + 1)?);
        let option = options.get(at..at + len).filter(|_| len >= 2)?;
        // Where the next thing is to be written, from 1.
        let pointer = usize::from(option.get(2).copied().unwrap_or(0));
        match kind {
            LOOSE_ROUTE | STRICT_ROUTE => {
                // Not accepted unless configured so.
                return None;
            }
            RECORD_ROUTE => {
                records += 1;
                if records > 1 || len < 3 || pointer < 4 || (pointer <= len && pointer + 3 > len) {
                    return None;
                }
                wishes.record = (pointer <= len).then_some(at);
            }
            TIMESTAMP => {
                stamps += 1;
                if stamps > 1 || len < 4 || pointer < 5 {
                    return None;
                }
                let flags = option[3] & 15;
                if pointer <= len {
                    if pointer + 3 > len || (matches!(flags, 1 | 3) && pointer + 7 > len) {
                        return None;
                    }
                    wishes.stamp = match flags {
                        0 => Some((at, false)),
                        1 => Some((at, true)),
                        _ => None,
                    };
                } else if flags != 3 && option[3] >> 4 == 15 {
                    return None;
                }
            }
            ROUTER_ALERT if len < 4 => return None,
            _ => {}
        }
        at += len;
    }
    Some(wishes)
}

/// Writes what was asked for: `router` is the address of the interface that the packet leaves by, `millis` the time since midnight.
pub(crate) fn write(packet: &mut [u8], wishes: Wishes, router: Ipv4Addr, millis: u32) {
    if wishes == Wishes::default() {
        return;
    }
    let mut put = |option: usize, what: &[u8]| {
        let pointer = usize::from(packet[option + 2]);
        packet[option + pointer - 1..][..what.len()].copy_from_slice(what);
        packet[option + 2] += what.len() as u8;
    };
    if let Some(at) = wishes.record {
        put(at, &router.octets());
    }
    if let Some((at, with_address)) = wishes.stamp {
        if with_address {
            put(at, &router.octets());
        }
        put(at, &millis.to_be_bytes());
    }
    let ihl = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let check = !fold(sum(&packet[..ihl], 0));
    packet[10..12].copy_from_slice(&check.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(options: &[u8]) -> Vec<u8> {
        let mut p = vec![0x40 | (5 + options.len() / 4) as u8];
        p.resize(20, 0);
        p.extend(options);
        p
    }

    #[test]
    fn the_route_is_recorded() {
        let mut p = packet(&[7, 7, 4, 0, 0, 0, 0, 0]);
        let wishes = read(&p).unwrap();
        write(&mut p, wishes, Ipv4Addr::new(198, 51, 100, 1), 0);
        assert_eq!(p[20..28], [7, 7, 8, 198, 51, 100, 1, 0]);
        assert_eq!(fold(sum(&p, 0)), 0xffff);
        let full = p.clone();
        let wishes = read(&p).unwrap();
        write(&mut p, wishes, Ipv4Addr::new(1, 1, 1, 1), 0);
        assert_eq!(p, full, "no room is no error");
    }

    #[test]
    fn times_are_recorded_with_and_without_addresses() {
        let mut p = packet(&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let wishes = read(&p).unwrap();
        write(&mut p, wishes, Ipv4Addr::new(1, 2, 3, 4), 0x0102_0304);
        assert_eq!(p[20..32], [68, 12, 13, 1, 1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn malformed_options_and_source_routes_are_refused() {
        for bad in [
            &[7, 7, 3, 0, 0, 0, 0, 0][..],
            &[7, 6, 4, 0, 0, 0, 0, 0],
            &[7, 200, 4, 0],
            &[1, 1, 1, 7],
            &[131, 7, 4, 0, 0, 0, 0, 0],
            &[68, 8, 4, 0, 0, 0, 0, 0],
            &[148, 3, 0, 0],
        ] {
            assert_eq!(read(&packet(bad)), None, "{bad:?}");
        }
        assert!(
            read(&packet(&[0, 200, 7, 1])).is_some(),
            "nothing counts behind the end"
        );
    }
}
