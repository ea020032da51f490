//! Tuples as attributes: `CTA_TUPLE_IP` by the l3 operations, `CTA_TUPLE_PROTO` here, and the zone.

use super::attr::{DecodeError, Reader, Writer};
use crate::l3proto;
use crate::tuple::{Family, Tuple, ipproto};

/// `CTA_TUPLE_*`.
mod cta_tuple {
    pub(super) const IP: u16 = 1;
    pub(super) const PROTO: u16 = 2;
    pub(super) const ZONE: u16 = 3;
}

/// `CTA_PROTO_*`.
mod cta_proto {
    pub(super) const NUM: u16 = 1;
    pub(super) const SRC_PORT: u16 = 2;
    pub(super) const DST_PORT: u16 = 3;
    pub(super) const ICMP_ID: u16 = 4;
    pub(super) const ICMP_TYPE: u16 = 5;
    pub(super) const ICMP_CODE: u16 = 6;
    pub(super) const ICMPV6_ID: u16 = 7;
    pub(super) const ICMPV6_TYPE: u16 = 8;
    pub(super) const ICMPV6_CODE: u16 = 9;
}

/// What a protocol's part of a tuple holds.
enum Shape {
    Ports,
    Icmp([u16; 3]),
    Nothing,
}

fn shape(protonum: u8) -> Shape {
    match protonum {
        ipproto::TCP | ipproto::UDP | ipproto::UDPLITE | ipproto::SCTP | ipproto::GRE => {
            Shape::Ports
        }
        ipproto::ICMP => Shape::Icmp([
            cta_proto::ICMP_ID,
            cta_proto::ICMP_TYPE,
            cta_proto::ICMP_CODE,
        ]),
        ipproto::ICMPV6 => Shape::Icmp([
            cta_proto::ICMPV6_ID,
            cta_proto::ICMPV6_TYPE,
            cta_proto::ICMPV6_CODE,
        ]),
        _ => Shape::Nothing,
    }
}

/// Writes a tuple, and the zone of its direction if that is a zone of one direction.
pub(super) fn write(w: &mut Writer<'_>, kind: u16, t: &Tuple, zone: Option<u16>) {
    w.nest(kind, |w| {
        w.nest(cta_tuple::IP, |w| {
            l3proto::find(t.family()).tuple_to_nlattr(w, t);
        });
        w.nest(cta_tuple::PROTO, |w| {
            w.u8(cta_proto::NUM, t.protonum());
            match shape(t.protonum()) {
                Shape::Ports => {
                    w.be16(cta_proto::SRC_PORT, t.src_l4());
                    w.be16(cta_proto::DST_PORT, t.dst_l4());
                }
                Shape::Icmp([id, kind, code]) => {
                    w.be16(id, t.src_l4());
                    w.u8(kind, t.icmp_type());
                    w.u8(code, t.icmp_code());
                }
                Shape::Nothing => {}
            }
        });
        if let Some(zone) = zone {
            w.be16(cta_tuple::ZONE, zone);
        }
    });
}

/// Reads a tuple and its zone. What the protocol's part leaves out is zero.
pub(super) fn read(attrs: Reader<'_>, family: Family) -> Result<(Tuple, Option<u16>), DecodeError> {
    let (mut ip, mut proto, mut zone) = (None, None, None);
    for a in attrs {
        let a = a?;
        match a.kind {
            cta_tuple::IP => ip = Some(l3proto::find(family).nlattr_to_tuple(a.nested())?),
            cta_tuple::PROTO => proto = Some(read_proto(a.nested())?),
            cta_tuple::ZONE => zone = Some(a.be16()?),
            _ => {}
        }
    }
    let ip = ip.ok_or(DecodeError::Missing(cta_tuple::IP))?;
    let (protonum, src_l4, dst_l4) = proto.ok_or(DecodeError::Missing(cta_tuple::PROTO))?;
    let tuple = Tuple::new(ip.src(), ip.dst(), protonum, src_l4, dst_l4)
        .ok_or(DecodeError::Value(cta_tuple::IP))?;
    Ok((tuple, zone))
}

fn read_proto(attrs: Reader<'_>) -> Result<(u8, u16, u16), DecodeError> {
    let mut all = [None; 10];
    for a in attrs {
        let a = a?;
        if let Some(slot) = all.get_mut(usize::from(a.kind)) {
            *slot = Some(a);
        }
    }
    let get = |kind: u16| all[usize::from(kind)];
    let word = |kind| get(kind).map_or(Ok(0), |a| a.be16());
    let byte = |kind| get(kind).map_or(Ok(0), |a| a.u8());
    let protonum = get(cta_proto::NUM)
        .ok_or(DecodeError::Missing(cta_proto::NUM))?
        .u8()?;
    let (src, dst) = match shape(protonum) {
        Shape::Ports => (word(cta_proto::SRC_PORT)?, word(cta_proto::DST_PORT)?),
        Shape::Icmp([id, kind, code]) => (
            word(id)?,
            u16::from(byte(kind)?) << 8 | u16::from(byte(code)?),
        ),
        Shape::Nothing => (0, 0),
    };
    Ok((protonum, src, dst))
}
