//! From a captured frame to the IP packet in it.
//!
//! What is not IP (ARP, spanning tree, control frames) gives [`Payload::Other`], a link type this program does not know
//! gives [`Payload::UnknownLink`]. The IP bytes are handed on as they are, trailing padding included: judging them is
//! the router's business.

/// Link types as the tcpdump project numbers them.
pub(crate) mod link {
    pub(crate) const NULL: u16 = 0;
    pub(crate) const ETHERNET: u16 = 1;
    pub(crate) const DLT_RAW: u16 = 12;
    pub(crate) const DLT_RAW_OPENBSD: u16 = 14;
    pub(crate) const RAW: u16 = 101;
    pub(crate) const LOOP: u16 = 108;
    pub(crate) const LINUX_SLL: u16 = 113;
    pub(crate) const IPV4: u16 = 228;
    pub(crate) const IPV6: u16 = 229;
    pub(crate) const LINUX_SLL2: u16 = 276;
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Which receive path the link layer chose for a packet. The IP header's own version may differ; the receiver then
/// drops the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// An IP packet as the link layer delivered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ip<'a> {
    pub(crate) family: Family,
    pub(crate) bytes: &'a [u8],
    /// Bytes of link-layer header before the packet, so that wire lengths can be converted.
    pub(crate) offset: usize,
    /// Destination and source address of an Ethernet frame.
    pub(crate) macs: Option<([u8; 6], [u8; 6])>,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Ip(Ip<'a>),
    /// No IP packet, or too short to tell.
    Other,
    UnknownLink,
}

/// Finds the IP packet in a frame of link type `link`.
pub(crate) fn decode(link: u16, frame: &[u8]) -> Payload<'_> {
    let found = match link {
        link::ETHERNET => {
            let macs = mac(frame, 0).zip(mac(frame, 6));
            by_ethertype(frame, 12).map(|ip| Ip { macs, ..ip })
        }
        link::LINUX_SLL => by_ethertype(frame, 14),
        link::LINUX_SLL2 => be16(frame, 0).and_then(|proto| tagged(frame, proto, 20)),
        link::RAW | link::DLT_RAW | link::DLT_RAW_OPENBSD => by_version(frame, 0),
        link::IPV4 => at(frame, Family::V4, 0),
        link::IPV6 => at(frame, Family::V6, 0),
        link::NULL | link::LOOP => by_address_family(frame),
        _ => return Payload::UnknownLink,
    };
    found.map_or(Payload::Other, Payload::Ip)
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

fn mac(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}

fn at(frame: &[u8], family: Family, offset: usize) -> Option<Ip<'_>> {
    Some(Ip {
        family,
        bytes: frame.get(offset..)?,
        offset,
        macs: None,
    })
}

fn by_version(frame: &[u8], offset: usize) -> Option<Ip<'_>> {
    match frame.get(offset)? >> 4 {
        4 => at(frame, Family::V4, offset),
        6 => at(frame, Family::V6, offset),
        _ => None,
    }
}

/// The type field is at `field` and the payload follows it.
fn by_ethertype(frame: &[u8], field: usize) -> Option<Ip<'_>> {
    tagged(frame, be16(frame, field)?, field + 2)
}

/// Skips VLAN tags (802.1Q, 802.1ad and the older numbers used for stacked tags); `offset` is where the payload of
/// `ethertype` begins.
fn tagged(frame: &[u8], mut ethertype: u16, mut offset: usize) -> Option<Ip<'_>> {
    while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300) {
        ethertype = be16(frame, offset + 2)?;
        offset += 4;
    }
    match ethertype {
        ETHERTYPE_IPV4 => at(frame, Family::V4, offset),
        ETHERTYPE_IPV6 => at(frame, Family::V6, offset),
        _ => None,
    }
}

/// BSD loopback: four bytes of address family, in the byte order of the machine that captured (`NULL`) or big-endian
/// (`LOOP`). The numbers in use are small, so either order can be told from the other.
fn by_address_family(frame: &[u8]) -> Option<Ip<'_>> {
    let raw: [u8; 4] = frame.get(..4)?.try_into().ok()?;
    let family = u32::from_be_bytes(raw).min(u32::from_le_bytes(raw));
    match family {
        2 => at(frame, Family::V4, 4),
        // Linux, NetBSD/OpenBSD, FreeBSD, macOS.
        10 | 24 | 28 | 30 => at(frame, Family::V6, 4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4() -> Vec<u8> {
        let mut p = vec![0x45; 1];
        p.resize(20, 7);
        p
    }

    fn frame(head: &[u8], ip: &[u8]) -> Vec<u8> {
        [head, ip].concat()
    }

    fn ip_of(link: u16, f: &[u8]) -> Option<(Family, Vec<u8>)> {
        match decode(link, f) {
            Payload::Ip(ip) => Some((ip.family, ip.bytes.to_vec())),
            _ => None,
        }
    }

    #[test]
    fn ethernet_gives_the_packet_and_both_addresses() {
        let mut head = vec![2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2];
        head.extend([0x08, 0x00]);
        let f = frame(&head, &v4());
        let Payload::Ip(ip) = decode(link::ETHERNET, &f) else {
            panic!("no packet")
        };
        assert_eq!(
            (ip.family, ip.bytes, ip.offset),
            (Family::V4, &v4()[..], 14)
        );
        assert_eq!(ip.macs, Some(([2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2])));
    }

    #[test]
    fn stacked_vlan_tags_are_skipped() {
        let mut head = vec![0; 12];
        head.extend([0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x00, 0x05, 0x86, 0xdd]);
        let f = frame(&head, &[0x60, 1, 2]);
        assert_eq!(
            ip_of(link::ETHERNET, &f),
            Some((Family::V6, vec![0x60, 1, 2]))
        );
    }

    #[test]
    fn a_frame_that_ends_in_a_tag_is_not_ip() {
        let mut head = vec![0; 12];
        head.extend([0x81, 0x00, 0x00]);
        assert_eq!(decode(link::ETHERNET, &head), Payload::Other);
    }

    #[test]
    fn arp_is_not_ip() {
        let mut head = vec![0; 12];
        head.extend([0x08, 0x06]);
        assert_eq!(decode(link::ETHERNET, &frame(&head, &v4())), Payload::Other);
    }

    #[test]
    fn linux_cooked_both_versions() {
        let mut one = vec![0; 14];
        one.extend([0x08, 0x00]);
        assert_eq!(
            ip_of(link::LINUX_SLL, &frame(&one, &v4())),
            Some((Family::V4, v4()))
        );
        let mut two = vec![0x86, 0xdd];
        two.resize(20, 0);
        assert_eq!(
            ip_of(link::LINUX_SLL2, &frame(&two, &[0x60])),
            Some((Family::V6, vec![0x60]))
        );
    }

    #[test]
    fn raw_goes_by_version_nibble() {
        for l in [link::RAW, link::DLT_RAW, link::DLT_RAW_OPENBSD] {
            assert_eq!(ip_of(l, &v4()), Some((Family::V4, v4())));
            assert_eq!(ip_of(l, &[0x60, 0]), Some((Family::V6, vec![0x60, 0])));
            assert_eq!(ip_of(l, &[0x50, 0]), None);
        }
        assert_eq!(ip_of(link::IPV6, &v4()), Some((Family::V6, v4())));
    }

    #[test]
    fn loopback_families_in_either_byte_order() {
        for f in [[2, 0, 0, 0], [0, 0, 0, 2]] {
            assert_eq!(
                ip_of(link::NULL, &frame(&f, &v4())),
                Some((Family::V4, v4()))
            );
        }
        for f in [[30, 0, 0, 0], [0, 0, 0, 28]] {
            assert_eq!(
                ip_of(link::LOOP, &frame(&f, &[0x60])),
                Some((Family::V6, vec![0x60]))
            );
        }
        assert_eq!(ip_of(link::NULL, &frame(&[7, 0, 0, 0], &v4())), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_a_suffix_of_the_frame(l in 0u16..300, f in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Payload::Ip(ip) = decode(l, &f) {
                prop_assert_eq!(ip.bytes, &f[ip.offset..]);
            }
        }

        #[test]
        fn any_number_of_tags_ends(tags in 0usize..40, cut in 0usize..200) {
            let mut f = vec![0; 12];
            for _ in 0..tags { f.extend([0x81, 0, 0, 1]); }
            f.extend([0x08, 0x00, 0x45]);
            f.truncate(cut);
            let whole = cut >= 12 + 4 * tags + 2;
            prop_assert_eq!(matches!(decode(link::ETHERNET, &f), Payload::Ip(_)), whole);
        }
    }
}
