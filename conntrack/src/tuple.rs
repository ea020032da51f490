//! A flow's address, as the kernel lays it out.
//!
//! A [`Tuple`] is five machine words that hold byte for byte what `struct nf_conntrack_tuple` holds: source address (16), source
//! port or id (2), address family (2), destination address (16), destination port or type and code (2), protocol (1). The fortieth byte,
//! the direction, is not part of it: it is kept zero, so that comparing words compares tuples and hashing the first 39 bytes hashes what the
//! kernel hashes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers which the tracker knows by name.
pub mod ipproto {
    /// Internet control messages, IPv4.
    pub const ICMP: u8 = 1;
    /// Transmission control protocol.
    pub const TCP: u8 = 6;
    /// User datagram protocol.
    pub const UDP: u8 = 17;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
    /// Internet control messages, IPv6.
    pub const ICMPV6: u8 = 58;
    /// Stream control transmission protocol.
    pub const SCTP: u8 = 132;
    /// UDP with partial checksums.
    pub const UDPLITE: u8 = 136;
}

/// Which of its two tuples a packet of a connection matches (`enum ip_conntrack_dir`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// The direction of the first packet.
    Original = 0,
    /// The other one.
    Reply = 1,
}

impl Direction {
    /// Both, in the kernel's order.
    pub const BOTH: [Direction; 2] = [Direction::Original, Direction::Reply];

    /// The opposite direction.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    /// 0 for original, 1 for reply: an index into per-direction arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The direction of a handle's lowest bit.
    #[must_use]
    pub const fn from_bit(bit: u32) -> Self {
        if bit & 1 == 0 {
            Self::Original
        } else {
            Self::Reply
        }
    }
}

/// Address family (`l3num`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// `NFPROTO_IPV4`.
    Ipv4 = 2,
    /// `NFPROTO_IPV6`.
    Ipv6 = 10,
}

impl Family {
    /// Name as `/proc/net/nf_conntrack` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// A flow's address: see the module's documentation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Tuple(pub(crate) [u64; 5]);

/// Bytes of a tuple that are hashed.
pub const TUPLE_HASHED: usize = 39;

impl Tuple {
    /// Equality, in place: the derived one calls a function that compares bytes of any number.
    #[inline(always)]
    pub(crate) fn is(&self, other: &Self) -> bool {
        let ([a, b, c, d, e], [v, w, x, y, z]) = (self.0, other.0);
        ((a ^ v) | (b ^ w) | (c ^ x) | (d ^ y) | (e ^ z)) == 0
    }

    /// Builds a tuple. `src_l4` and `dst_l4` are in host order: ports; or for ICMP the id, and type · 256 + code; or GRE keys.
    ///
    /// Addresses of different families give `None`.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr, protonum: u8, src_l4: u16, dst_l4: u16) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                Some(Self::v4(s.octets(), d.octets(), protonum, src_l4, dst_l4))
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                Some(Self::v6(s.octets(), d.octets(), protonum, src_l4, dst_l4))
            }
            _ => None,
        }
    }

    /// An IPv4 tuple; see [`Tuple::new`].
    #[must_use]
    pub fn v4(src: [u8; 4], dst: [u8; 4], protonum: u8, src_l4: u16, dst_l4: u16) -> Self {
        let d = u64::from(u32::from_le_bytes(dst));
        Self([
            u64::from(u32::from_le_bytes(src)),
            0,
            Self::mid(src_l4, Family::Ipv4) | d << 32,
            0,
            Self::tail(dst_l4, protonum),
        ])
    }

    /// An IPv6 tuple; see [`Tuple::new`].
    #[must_use]
    pub fn v6(src: [u8; 16], dst: [u8; 16], protonum: u8, src_l4: u16, dst_l4: u16) -> Self {
        let (s, d) = (u128::from_le_bytes(src), u128::from_le_bytes(dst));
        Self([
            s as u64,
            (s >> 64) as u64,
            Self::mid(src_l4, Family::Ipv6) | (d as u64) << 32,
            (d >> 32) as u64,
            (d >> 96) as u64 | Self::tail(dst_l4, protonum),
        ])
    }

    fn mid(src_l4: u16, family: Family) -> u64 {
        u64::from(src_l4.swap_bytes()) | (family as u64) << 16
    }

    fn tail(dst_l4: u16, protonum: u8) -> u64 {
        u64::from(dst_l4.swap_bytes()) << 32 | u64::from(protonum) << 48
    }

    /// The 40 bytes of the kernel's structure on a little-endian machine; the last one (direction) is 0.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 40] {
        let mut b = [0; 40];
        for (out, w) in b.chunks_exact_mut(8).zip(self.0) {
            out.copy_from_slice(&w.to_le_bytes());
        }
        b
    }

    /// Address family.
    #[must_use]
    pub fn family(&self) -> Family {
        if (self.0[2] >> 16) as u16 == Family::Ipv6 as u16 {
            Family::Ipv6
        } else {
            Family::Ipv4
        }
    }

    /// Transport protocol number.
    #[must_use]
    pub fn protonum(&self) -> u8 {
        (self.0[4] >> 48) as u8
    }

    fn src_bits(&self) -> u128 {
        u128::from(self.0[0]) | u128::from(self.0[1]) << 64
    }

    fn dst_bits(&self) -> u128 {
        u128::from(self.0[2] >> 32)
            | u128::from(self.0[3]) << 32
            | u128::from(self.0[4] as u32) << 96
    }

    fn addr(&self, bits: u128) -> IpAddr {
        match self.family() {
            Family::Ipv4 => Ipv4Addr::from((bits as u32).to_le_bytes()).into(),
            Family::Ipv6 => Ipv6Addr::from(bits.to_le_bytes()).into(),
        }
    }

    /// Source address.
    #[must_use]
    pub fn src(&self) -> IpAddr {
        self.addr(self.src_bits())
    }

    /// Destination address.
    #[must_use]
    pub fn dst(&self) -> IpAddr {
        self.addr(self.dst_bits())
    }

    /// Source port, ICMP id or GRE source key, host order.
    #[must_use]
    pub fn src_l4(&self) -> u16 {
        (self.0[2] as u16).swap_bytes()
    }

    /// Destination port, ICMP type · 256 + code, or GRE destination key, host order.
    #[must_use]
    pub fn dst_l4(&self) -> u16 {
        ((self.0[4] >> 32) as u16).swap_bytes()
    }

    /// ICMP type (upper half of [`Tuple::dst_l4`]).
    #[must_use]
    pub fn icmp_type(&self) -> u8 {
        (self.dst_l4() >> 8) as u8
    }

    /// ICMP code (lower half of [`Tuple::dst_l4`]).
    #[must_use]
    pub fn icmp_code(&self) -> u8 {
        self.dst_l4() as u8
    }

    /// Are the destination addresses of both equal?
    #[must_use]
    pub fn same_dst(&self, other: &Tuple) -> bool {
        self.dst_bits() == other.dst_bits()
    }

    /// Are source and destination the same address?
    #[must_use]
    pub fn is_to_itself(&self) -> bool {
        self.src_bits() == self.dst_bits()
    }

    /// The addresses alone: protocol and ports are zero.
    #[must_use]
    pub(crate) fn addresses(&self) -> Tuple {
        let mid = Self::mid(0, self.family());
        Self([
            self.0[0],
            self.0[1],
            mid | self.0[2] & !0xffff_ffff,
            self.0[3],
            self.0[4] & 0xffff_ffff,
        ])
    }

    /// Source and destination address exchanged, all else as it is.
    #[must_use]
    pub(crate) fn swapped(&self) -> Tuple {
        let (s, d) = (self.src_bits(), self.dst_bits());
        Self([
            d as u64,
            (d >> 64) as u64,
            self.0[2] & 0xffff_ffff | (s as u64) << 32,
            (s >> 32) as u64,
            (s >> 96) as u64 | self.0[4] & !0xffff_ffff,
        ])
    }

    /// The tuple of packets in the other direction (`nf_ct_invert_tuple`). ICMP types without a counterpart have none.
    #[must_use]
    pub fn invert(&self) -> Option<Tuple> {
        let (src_l4, dst_l4) = match self.protonum() {
            ipproto::ICMP => (
                self.src_l4(),
                u16::from(icmp_counterpart(self.icmp_type())?) << 8 | u16::from(self.icmp_code()),
            ),
            ipproto::ICMPV6 => (
                self.src_l4(),
                u16::from(icmpv6_counterpart(self.icmp_type())?) << 8 | u16::from(self.icmp_code()),
            ),
            _ => (self.dst_l4(), self.src_l4()),
        };
        let (s, d) = (self.src_bits(), self.dst_bits());
        Some(Self([
            d as u64,
            (d >> 64) as u64,
            Self::mid(src_l4, self.family()) | (s as u64) << 32,
            (s >> 32) as u64,
            (s >> 96) as u64 | Self::tail(dst_l4, self.protonum()),
        ]))
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "proto {} {}#{} > {}#{}",
            self.protonum(),
            self.src(),
            self.src_l4(),
            self.dst(),
            self.dst_l4()
        )
    }
}

/// The ICMP type that answers `t`, both ways (`invmap` of `nf_conntrack_proto_icmp.c`).
#[must_use]
pub fn icmp_counterpart(t: u8) -> Option<u8> {
    Some(match t {
        8 => 0,
        0 => 8,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        _ => return None,
    })
}

/// The ICMPv6 type that answers `t`, both ways (`invmap` of `nf_conntrack_proto_icmpv6.c`).
#[must_use]
pub fn icmpv6_counterpart(t: u8) -> Option<u8> {
    Some(match t {
        128 => 129,
        129 => 128,
        139 => 140,
        140 => 139,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_tuple() -> impl Strategy<Value = Tuple> {
        let proto = prop_oneof![
            Just(ipproto::TCP),
            Just(ipproto::UDP),
            Just(ipproto::SCTP),
            Just(ipproto::GRE),
            Just(ipproto::ICMP),
            Just(ipproto::ICMPV6),
            any::<u8>()
        ];
        let ports = (any::<u16>(), any::<u16>());
        prop_oneof![
            (any::<[u8; 4]>(), any::<[u8; 4]>(), proto.clone(), ports)
                .prop_map(|(s, d, p, (a, b))| Tuple::v4(s, d, p, a, b)),
            (any::<[u8; 16]>(), any::<[u8; 16]>(), proto, ports)
                .prop_map(|(s, d, p, (a, b))| Tuple::v6(s, d, p, a, b)),
        ]
    }

    proptest! {
        #[test]
        fn inverting_twice_gives_the_tuple_back(t in any_tuple()) {
            if let Some(i) = t.invert() {
                prop_assert_eq!(i.invert(), Some(t));
                prop_assert_eq!((i.src(), i.dst()), (t.dst(), t.src()));
                prop_assert_eq!((i.family(), i.protonum()), (t.family(), t.protonum()));
            } else {
                prop_assert!(matches!(t.protonum(), ipproto::ICMP | ipproto::ICMPV6));
            }
        }

        #[test]
        fn ports_swap_and_icmp_ids_stay(t in any_tuple()) {
            let Some(i) = t.invert() else { return Ok(()) };
            if matches!(t.protonum(), ipproto::ICMP | ipproto::ICMPV6) {
                prop_assert_eq!(i.src_l4(), t.src_l4());
                prop_assert_eq!(i.icmp_code(), t.icmp_code());
                prop_assert_ne!(i.icmp_type(), t.icmp_type());
            } else {
                prop_assert_eq!((i.src_l4(), i.dst_l4()), (t.dst_l4(), t.src_l4()));
            }
        }

        #[test]
        fn what_goes_in_comes_out(s in any::<[u8; 16]>(), d in any::<[u8; 16]>(), p in any::<u8>(), a in any::<u16>(), b in any::<u16>()) {
            let t = Tuple::v6(s, d, p, a, b);
            prop_assert_eq!(t.src(), IpAddr::from(s));
            prop_assert_eq!(t.dst(), IpAddr::from(d));
            prop_assert_eq!((t.protonum(), t.src_l4(), t.dst_l4()), (p, a, b));
            prop_assert_eq!(Tuple::new(s.into(), d.into(), p, a, b), Some(t));
        }
    }

    #[test]
    fn bytes_are_the_kernels() {
        let t = Tuple::v4([192, 0, 2, 1], [198, 51, 100, 2], ipproto::TCP, 0x1234, 80);
        let mut expected = [0u8; 40];
        expected[..4].copy_from_slice(&[192, 0, 2, 1]);
        expected[16..20].copy_from_slice(&[0x12, 0x34, 2, 0]);
        expected[20..24].copy_from_slice(&[198, 51, 100, 2]);
        expected[36..39].copy_from_slice(&[0, 80, ipproto::TCP]);
        assert_eq!(t.to_bytes(), expected);

        let t = Tuple::v6(FROM, TO, ipproto::SCTP, 0x1234, 0xfedc);
        let mut expected = [0u8; 40];
        expected[..16].copy_from_slice(&FROM);
        expected[16..20].copy_from_slice(&[0x12, 0x34, 10, 0]);
        expected[20..36].copy_from_slice(&TO);
        expected[36..39].copy_from_slice(&[0xfe, 0xdc, ipproto::SCTP]);
        assert_eq!(t.to_bytes(), expected);
    }

    /// Addresses in which every byte is another, and no word is small.
    const FROM: [u8; 16] = *b"\xfe\x81\xf2\x83\xf4\x85\xf6\x87\xf8\x89\xfa\x8b\xfc\x8d\xfe\x8f";
    const TO: [u8; 16] = *b"\xa0\xb1\xa2\xb3\xa4\xb5\xa6\xb7\xa8\xb9\xaa\xbb\xac\xbd\xae\xbf";

    #[test]
    fn parts_of_ipv4_tuples() {
        let (a, b) = ([192, 0, 2, 1], [198, 51, 100, 2]);
        let t = Tuple::v4(a, b, ipproto::TCP, 0x1234, 0xfedc);
        assert_eq!((t.src(), t.dst()), (IpAddr::from(a), IpAddr::from(b)));
        assert_eq!((t.src_l4(), t.dst_l4()), (0x1234, 0xfedc));
        assert_eq!((t.protonum(), t.family()), (6, Family::Ipv4));
        assert_eq!((t.icmp_type(), t.icmp_code()), (0xfe, 0xdc));
        assert_eq!(
            Tuple::new(a.into(), b.into(), ipproto::TCP, 0x1234, 0xfedc),
            Some(t)
        );
        assert_eq!(Tuple::new(a.into(), TO.into(), 6, 1, 2), None);
        assert_eq!(t.addresses(), Tuple::v4(a, b, 0, 0, 0));
        assert_eq!(t.swapped(), Tuple::v4(b, a, ipproto::TCP, 0x1234, 0xfedc));
        assert_eq!(
            t.invert(),
            Some(Tuple::v4(b, a, ipproto::TCP, 0xfedc, 0x1234))
        );
    }

    #[test]
    fn parts_of_ipv6_tuples() {
        let t = Tuple::v6(FROM, TO, ipproto::TCP, 0x1234, 0xfedc);
        assert_eq!(t.family(), Family::Ipv6);
        assert_eq!(t.addresses(), Tuple::v6(FROM, TO, 0, 0, 0));
        assert_eq!(
            t.swapped(),
            Tuple::v6(TO, FROM, ipproto::TCP, 0x1234, 0xfedc)
        );
        assert_eq!(
            t.invert(),
            Some(Tuple::v6(TO, FROM, ipproto::TCP, 0xfedc, 0x1234))
        );
    }

    #[test]
    fn addresses_are_compared_whole() {
        let t = Tuple::v6(FROM, TO, ipproto::TCP, 1, 2);
        assert!(!t.is_to_itself());
        assert!(Tuple::v6(TO, TO, ipproto::TCP, 1, 2).is_to_itself());
        // Ports and protocols do not count.
        assert!(t.same_dst(&Tuple::v6(TO, TO, ipproto::UDP, 3, 4)));
        for byte in 0..16 {
            let mut other = TO;
            other[byte] ^= 0x10;
            assert!(!t.same_dst(&Tuple::v6(FROM, other, ipproto::TCP, 1, 2)));
            assert!(!Tuple::v6(TO, other, ipproto::TCP, 1, 2).is_to_itself());
        }
    }

    #[test]
    fn an_answer_has_the_id_and_the_code_of_the_question() {
        let (a, b) = ([192, 0, 2, 1], [198, 51, 100, 2]);
        assert_eq!(
            Tuple::v4(a, b, ipproto::ICMP, 0x1234, 0x0d05).invert(),
            Some(Tuple::v4(b, a, ipproto::ICMP, 0x1234, 0x0e05))
        );
        assert_eq!(
            Tuple::v6(FROM, TO, ipproto::ICMPV6, 0x1234, 0x8005).invert(),
            Some(Tuple::v6(TO, FROM, ipproto::ICMPV6, 0x1234, 0x8105))
        );
    }

    #[test]
    fn icmp_types_have_counterparts_or_none() {
        let pairs: Vec<_> = (0..=255)
            .filter_map(|t| icmp_counterpart(t).map(|c| (t, c)))
            .collect();
        assert_eq!(
            pairs,
            [
                (0, 8),
                (8, 0),
                (13, 14),
                (14, 13),
                (15, 16),
                (16, 15),
                (17, 18),
                (18, 17)
            ]
        );
        let pairs: Vec<_> = (0..=255)
            .filter_map(|t| icmpv6_counterpart(t).map(|c| (t, c)))
            .collect();
        assert_eq!(pairs, [(128, 129), (129, 128), (139, 140), (140, 139)]);
        assert_eq!(
            Tuple::v4([1; 4], [2; 4], ipproto::ICMP, 1, 3 << 8).invert(),
            None
        );
    }

    #[test]
    fn any_bit_makes_another_tuple() {
        let a = Tuple([1, 2, 3, 4, 5]);
        let same = a;
        assert!(a.is(&same));
        for word in 0..5 {
            for bit in 0..64 {
                let mut b = a;
                b.0[word] ^= 1 << bit;
                assert!(!a.is(&b), "word {word}, bit {bit}");
            }
        }
        assert!(!a.is(&Tuple([5, 4, 3, 2, 1])));
        // Differences that are alike do not cancel each other out.
        for word in 0..4 {
            let mut b = a;
            b.0[word] ^= 1 << 17;
            b.0[word + 1] ^= 1 << 17;
            assert!(!a.is(&b), "word {word} and the next");
        }
    }

    #[test]
    fn a_bit_is_a_direction() {
        assert_eq!(Direction::from_bit(0), Direction::Original);
        assert_eq!(Direction::from_bit(1), Direction::Reply);
        assert_eq!(Direction::from_bit(2), Direction::Original);
    }

    #[test]
    fn directions_and_families_have_numbers_and_names() {
        assert_eq!(Direction::BOTH.map(Direction::index), [0, 1]);
        let others = [Direction::Reply, Direction::Original];
        assert_eq!(Direction::BOTH.map(Direction::other), others);
        assert_eq!(
            [Family::Ipv4, Family::Ipv6].map(Family::name),
            ["ipv4", "ipv6"]
        );
    }
}
