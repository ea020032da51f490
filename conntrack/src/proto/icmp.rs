//! ICMP and ICMPv6 (`nf_conntrack_proto_icmp.c`, `nf_conntrack_proto_icmpv6.c`): queries are connections, errors belong to others.

use super::{Ctx, Outcome};
use crate::conn::Conn;
use crate::parse;
use crate::reason::What;
use crate::status::CtInfo;
use crate::sysctl::Sysctl;
use crate::tuple::{Direction, Family, Tuple, ipproto};

const HEADER: usize = 8;

pub(super) fn packet<U>(cx: &mut Ctx<'_>, c: &Conn<U>, info: CtInfo) -> Outcome {
    // Only queries begin something; asked anew for each packet.
    if cx.family != Family::Ipv4
        || !matches!(c.tuple(Direction::Original).icmp_type(), 8 | 13 | 15 | 17)
    {
        return Outcome::Invalid;
    }
    super::simple(cx, c, info, Sysctl::IcmpTimeout);
    Outcome::Accept
}

pub(super) fn packet6<U>(cx: &mut Ctx<'_>, c: &Conn<U>, info: CtInfo) -> Outcome {
    if cx.family != Family::Ipv6 {
        return Outcome::Invalid;
    }
    if !c.is_confirmed() && !matches!(c.tuple(Direction::Original).icmp_type(), 128 | 139) {
        return Outcome::Invalid;
    }
    super::simple(cx, c, info, Sysctl::Icmpv6Timeout);
    Outcome::Accept
}

/// What the look before the look-up finds.
pub(crate) enum Before {
    /// Track it as any packet.
    Query,
    /// Never to be tracked: discovery of neighbours, multicast listeners and multicast routers.
    Untracked,
    /// An error about the packet that is quoted at this offset.
    Error(usize),
    /// Faulty.
    Invalid,
}

/// Looks at an ICMP packet before it is tracked (`nf_conntrack_icmpv4_error`, `nf_conntrack_icmpv6_error`).
pub(crate) fn before(cx: &mut Ctx<'_>) -> Before {
    match (cx.family, cx.protonum) {
        (Family::Ipv4, ipproto::ICMP) => before4(cx),
        (Family::Ipv6, ipproto::ICMPV6) => before6(cx),
        _ => Before::Query,
    }
}

fn invalid(cx: &mut Ctx<'_>, text: &'static str) -> Before {
    cx.log(What::Text(text));
    Before::Invalid
}

fn before4(cx: &mut Ctx<'_>) -> Before {
    const HIGHEST_TYPE: u8 = 18;
    let l4 = cx.l4();
    if l4.len() < HEADER {
        return invalid(cx, "short packet");
    }
    let kind = l4[0];
    if cx.wants_checksum() && !cx.checksum_holds(None, l4.len()) {
        return invalid(cx, "bad hw icmp checksum");
    }
    match kind {
        3 | 4 | 5 | 11 | 12 => Before::Error(cx.l4 + HEADER),
        k if k > HIGHEST_TYPE => invalid(cx, "invalid icmp type"),
        _ => Before::Query,
    }
}

fn before6(cx: &mut Ctx<'_>) -> Before {
    let l4 = cx.l4();
    if l4.len() < HEADER {
        return invalid(cx, "short packet");
    }
    let kind = l4[0];
    if cx.wants_checksum() && !cx.checksum_holds(Some(ipproto::ICMPV6), l4.len()) {
        return invalid(cx, "ICMPv6 checksum failed");
    }
    match kind {
        130..=136 | 143 | 151 | 152 => Before::Untracked,
        137 => redirect(cx),
        128.. => Before::Query,
        _ => Before::Error(cx.l4 + HEADER),
    }
}

/// A redirect quotes the packet in its first option, if that is the right one.
fn redirect(cx: &mut Ctx<'_>) -> Before {
    const MESSAGE: usize = 40;
    const REDIRECTED_HEADER: u8 = 4;
    let l4 = cx.l4();
    if l4.len() < MESSAGE {
        return invalid(cx, "short redirect");
    }
    if l4[1] != 0 {
        return Before::Query;
    }
    let link_local = cx.data[8] == 0xfe && cx.data[9] & 0xc0 == 0x80;
    if cx.data[7] != 255 || !link_local {
        return invalid(cx, "invalid saddr or hoplimit for redirect");
    }
    match l4.get(MESSAGE..MESSAGE + 2) {
        None | Some([_, 0]) => invalid(cx, "redirect without options"),
        Some([REDIRECTED_HEADER, _]) => Before::Error(cx.l4 + MESSAGE + 8),
        Some(_) => Before::Query,
    }
}

/// The tuple under which the cause of an error is known: that of the answer to the packet quoted at `inner`.
pub(crate) fn quoted(cx: &Ctx<'_>, inner: usize) -> Option<Tuple> {
    let (protonum, l4) = parse::l4proto(cx.data, inner, cx.family)?;
    let tuple = parse::tuple(cx.data, inner, l4, cx.family, protonum)?;
    cx.net.complete(tuple).invert()
}
