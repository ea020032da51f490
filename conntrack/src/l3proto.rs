//! The operations of an address family (`struct nf_conntrack_l3proto` of Linux 4.11; later kernels have them as branches on the family).
//!
//! Each deals with addresses only: what it makes of a packet, of attributes or of another tuple has zeros for protocol and ports, and what it takes
//! from a tuple are the addresses. [`find`] gives the operations of a family.

use crate::ctnetlink::attr::{DecodeError, Reader, Writer};
use crate::parse;
use crate::proc_fs::Addr;
use crate::tuple::{Family, Tuple};
use std::fmt;
use std::net::IpAddr;

/// What an attribute must look like (`struct nla_policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttrPolicy {
    /// Number of the attribute.
    pub kind: u16,
    /// Its exact length in bytes.
    pub len: usize,
}

/// `CTA_IP_*`.
mod cta_ip {
    pub(super) const V4_SRC: u16 = 1;
    pub(super) const V4_DST: u16 = 2;
    pub(super) const V6_SRC: u16 = 3;
    pub(super) const V6_DST: u16 = 4;
}

/// Bytes of an attribute with `len` bytes of value, padding included.
const fn attr_size(len: usize) -> usize {
    4 + len.next_multiple_of(4)
}

/// The operations, under the names they have in the kernel.
pub trait L3Proto: fmt::Debug + Send + Sync {
    /// The family.
    fn l3proto(&self) -> Family;

    /// Its name.
    fn name(&self) -> &'static str {
        self.l3proto().name()
    }

    /// The addresses of the packet whose IP header begins at `nhoff`; `None` if the packet ends before them.
    fn pkt_to_tuple(&self, packet: &[u8], nhoff: usize) -> Option<Tuple>;

    /// Source and destination exchanged; nothing else of `tuple` is looked at.
    fn invert_tuple(&self, tuple: &Tuple) -> Tuple;

    /// `src=… dst=… `, as `/proc/net/nf_conntrack` has it.
    ///
    /// # Errors
    /// Those of `out`.
    fn print_tuple(&self, out: &mut dyn fmt::Write, tuple: &Tuple) -> fmt::Result;

    /// Transport protocol and offset of its header, for the IP header at `nhoff`; `None` for what cannot be tracked: later fragments, headers cut short.
    fn get_l4proto(&self, packet: &[u8], nhoff: usize) -> Option<(u8, usize)>;

    /// Appends the addresses as `CTA_IP_*` attributes.
    fn tuple_to_nlattr(&self, out: &mut Writer<'_>, tuple: &Tuple);

    /// How many bytes [`L3Proto::tuple_to_nlattr`] appends.
    fn nlattr_tuple_size(&self) -> usize {
        self.nla_policy().iter().map(|p| attr_size(p.len)).sum()
    }

    /// Reads what [`L3Proto::tuple_to_nlattr`] writes. Attributes of other kinds are skipped.
    ///
    /// # Errors
    /// An address is missing or has the wrong size.
    fn nlattr_to_tuple(&self, attrs: Reader<'_>) -> Result<Tuple, DecodeError>;

    /// The attributes of this family.
    fn nla_policy(&self) -> &'static [AttrPolicy];
}

/// The operations of `family`.
#[must_use]
pub fn find(family: Family) -> &'static dyn L3Proto {
    match family {
        Family::Ipv4 => &Ipv4,
        Family::Ipv6 => &Ipv6,
    }
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6;

fn print(out: &mut dyn fmt::Write, t: &Tuple) -> fmt::Result {
    write!(out, "src={} dst={} ", Addr(t.src()), Addr(t.dst()))
}

/// The two addresses of exactly `N` bytes each.
fn addresses<const N: usize>(
    attrs: Reader<'_>,
    kinds: [u16; 2],
) -> Result<[[u8; N]; 2], DecodeError> {
    let mut found = [None; 2];
    for a in attrs {
        let a = a?;
        if let Some(i) = kinds.iter().position(|k| *k == a.kind) {
            found[i] = Some(a.bytes::<N>()?);
        }
    }
    match found {
        [Some(src), Some(dst)] => Ok([src, dst]),
        [None, _] => Err(DecodeError::Missing(kinds[0])),
        [_, None] => Err(DecodeError::Missing(kinds[1])),
    }
}

fn put(out: &mut Writer<'_>, kinds: [u16; 2], t: &Tuple) {
    for (kind, addr) in kinds.into_iter().zip([t.src(), t.dst()]) {
        match addr {
            IpAddr::V4(a) => out.put(kind, &a.octets()),
            IpAddr::V6(a) => out.put(kind, &a.octets()),
        }
    }
}

impl L3Proto for Ipv4 {
    fn l3proto(&self) -> Family {
        Family::Ipv4
    }

    fn pkt_to_tuple(&self, packet: &[u8], nhoff: usize) -> Option<Tuple> {
        let [a, b, c, d, e, f, g, h] = *packet.get(nhoff..)?.get(12..)?.first_chunk()?;
        Some(Tuple::v4([a, b, c, d], [e, f, g, h], 0, 0, 0))
    }

    fn invert_tuple(&self, t: &Tuple) -> Tuple {
        t.addresses().swapped()
    }

    fn print_tuple(&self, out: &mut dyn fmt::Write, t: &Tuple) -> fmt::Result {
        print(out, t)
    }

    fn get_l4proto(&self, packet: &[u8], nhoff: usize) -> Option<(u8, usize)> {
        parse::l4proto(packet, nhoff, Family::Ipv4)
    }

    fn tuple_to_nlattr(&self, out: &mut Writer<'_>, t: &Tuple) {
        put(out, [cta_ip::V4_SRC, cta_ip::V4_DST], t);
    }

    fn nlattr_to_tuple(&self, attrs: Reader<'_>) -> Result<Tuple, DecodeError> {
        let [src, dst] = addresses(attrs, [cta_ip::V4_SRC, cta_ip::V4_DST])?;
        Ok(Tuple::v4(src, dst, 0, 0, 0))
    }

    fn nla_policy(&self) -> &'static [AttrPolicy] {
        const P: [AttrPolicy; 2] = [
            AttrPolicy {
                kind: cta_ip::V4_SRC,
                len: 4,
            },
            AttrPolicy {
                kind: cta_ip::V4_DST,
                len: 4,
            },
        ];
        &P
    }
}

impl L3Proto for Ipv6 {
    fn l3proto(&self) -> Family {
        Family::Ipv6
    }

    fn pkt_to_tuple(&self, packet: &[u8], nhoff: usize) -> Option<Tuple> {
        let packet = packet.get(nhoff..)?;
        let src = *packet.get(8..)?.first_chunk()?;
        let dst = *packet.get(24..)?.first_chunk()?;
        Some(Tuple::v6(src, dst, 0, 0, 0))
    }

    fn invert_tuple(&self, t: &Tuple) -> Tuple {
        t.addresses().swapped()
    }

    fn print_tuple(&self, out: &mut dyn fmt::Write, t: &Tuple) -> fmt::Result {
        print(out, t)
    }

    fn get_l4proto(&self, packet: &[u8], nhoff: usize) -> Option<(u8, usize)> {
        parse::l4proto(packet, nhoff, Family::Ipv6)
    }

    fn tuple_to_nlattr(&self, out: &mut Writer<'_>, t: &Tuple) {
        put(out, [cta_ip::V6_SRC, cta_ip::V6_DST], t);
    }

    fn nlattr_to_tuple(&self, attrs: Reader<'_>) -> Result<Tuple, DecodeError> {
        let [src, dst] = addresses(attrs, [cta_ip::V6_SRC, cta_ip::V6_DST])?;
        Ok(Tuple::v6(src, dst, 0, 0, 0))
    }

    fn nla_policy(&self) -> &'static [AttrPolicy] {
        const P: [AttrPolicy; 2] = [
            AttrPolicy {
                kind: cta_ip::V6_SRC,
                len: 16,
            },
            AttrPolicy {
                kind: cta_ip::V6_DST,
                len: 16,
            },
        ];
        &P
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers() -> impl Strategy<Value = (Family, Vec<u8>)> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..120);
        (any::<bool>(), bytes).prop_map(|(six, mut b)| {
            let family = if six { Family::Ipv6 } else { Family::Ipv4 };
            if let Some(first) = b.first_mut() {
                *first = *first & 15 | if six { 0x60 } else { 0x40 };
            }
            (family, b)
        })
    }

    proptest! {
        #[test]
        fn packet_to_attributes_and_back((family, packet) in headers(), nhoff in 0usize..60) {
            let ops = find(family);
            prop_assert_eq!(ops.l3proto(), family);
            if let Some((_, l4)) = ops.get_l4proto(&packet, nhoff) {
                prop_assert!(l4 >= nhoff);
            }
            let Some(t) = ops.pkt_to_tuple(&packet, nhoff) else {
                let header = if family == Family::Ipv4 { 20 } else { 40 };
                prop_assert!(packet.len() < nhoff + header);
                return Ok(());
            };
            prop_assert_eq!((t.family(), t.protonum(), t.src_l4(), t.dst_l4()), (family, 0, 0, 0));
            let mut attrs = Vec::new();
            ops.tuple_to_nlattr(&mut Writer(&mut attrs), &t);
            prop_assert_eq!(attrs.len(), ops.nlattr_tuple_size());
            prop_assert_eq!(ops.nlattr_to_tuple(Reader(&attrs)), Ok(t));
            let i = ops.invert_tuple(&t);
            prop_assert_eq!((i.src(), i.dst()), (t.dst(), t.src()));
            prop_assert_eq!(ops.invert_tuple(&i), t);
            let mut text = String::new();
            ops.print_tuple(&mut text, &t).expect("strings take everything");
            // What was printed reads as the same addresses.
            let words: Vec<IpAddr> = text.split_whitespace()
                .map(|w| w.split_once('=').expect("name=value").1.parse().expect("an address")).collect();
            prop_assert_eq!(words, [t.src(), t.dst()]);
        }

        #[test]
        fn any_attributes_are_read_or_refused(six in any::<bool>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let ops = find(if six { Family::Ipv6 } else { Family::Ipv4 });
            if let Ok(t) = ops.nlattr_to_tuple(Reader(&bytes)) {
                prop_assert_eq!(t.family(), ops.l3proto());
            }
        }
    }

    #[test]
    fn attributes_outside_their_policy_are_refused() {
        for ops in [find(Family::Ipv4), find(Family::Ipv6)] {
            let [src, dst] = [ops.nla_policy()[0], ops.nla_policy()[1]];
            for wrong in [src.len - 1, src.len + 1, 0] {
                let mut attrs = Vec::new();
                let mut w = Writer(&mut attrs);
                w.put(src.kind, &vec![1; wrong]);
                w.put(dst.kind, &vec![2; dst.len]);
                assert_eq!(
                    ops.nlattr_to_tuple(Reader(&attrs)),
                    Err(DecodeError::Size(src.kind))
                );
            }
            let mut attrs = Vec::new();
            Writer(&mut attrs).put(src.kind, &vec![1; src.len]);
            assert_eq!(
                ops.nlattr_to_tuple(Reader(&attrs)),
                Err(DecodeError::Missing(dst.kind))
            );
        }
    }
}
