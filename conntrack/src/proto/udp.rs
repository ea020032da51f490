//! UDP and UDP-Lite (`nf_conntrack_proto_udp.c`).

use super::{Ctx, Outcome};
use crate::clock::Jiffies;
use crate::conn::Conn;
use crate::events;
use crate::parse::be16;
use crate::reason::What;
use crate::status::{ASSURED, CONFIRMED, CtInfo, NAT_CLASH, SEEN_REPLY};
use crate::sysctl::Sysctl;
use crate::tuple::ipproto;

const HEADER: usize = 8;

fn checks(cx: &mut Ctx<'_>) -> Result<(), What> {
    let l4 = cx.l4();
    if l4.len() < HEADER {
        return Err(What::Text("short packet"));
    }
    let (length, check) = (
        usize::from(be16(l4, 4).unwrap_or(0)),
        be16(l4, 6).unwrap_or(0),
    );
    if length > l4.len() || length < HEADER {
        return Err(What::Text("truncated/malformed packet"));
    }
    // The kernel sums up to the end of the packet, not of the datagram.
    if check != 0 && cx.wants_checksum() && !cx.checksum_holds(Some(ipproto::UDP), l4.len()) {
        return Err(What::Text("bad checksum"));
    }
    Ok(())
}

pub(super) fn packet<U>(cx: &mut Ctx<'_>, c: &Conn<U>, info: CtInfo) -> Outcome {
    if let Err(w) = checks(cx) {
        return cx.invalid(w);
    }
    let st = c.status();
    if st & CONFIRMED == 0 {
        c.set_stream_from(cx.now.plus(Jiffies::secs(2)));
    }
    // A question and its answer are no stream; what still talks two seconds after it began is.
    let is_stream =
        st & SEEN_REPLY != 0 && c.stream_from().is_some_and(|from| from.until(cx.now) < 0);
    let knob = if is_stream {
        Sysctl::UdpTimeoutStream
    } else {
        Sysctl::UdpTimeout
    };
    cx.refresh(c, info, cx.timeout_of(c, knob));
    if is_stream && st & (NAT_CLASH | ASSURED) == 0 && c.set_status(ASSURED) {
        c.note(events::mask::ASSURED);
    }
    Outcome::Accept
}

fn lite_checks(cx: &mut Ctx<'_>) -> Result<(), What> {
    let l4 = cx.l4();
    if l4.len() < HEADER {
        return Err(What::Text("short packet"));
    }
    let covered = match usize::from(be16(l4, 4).unwrap_or(0)) {
        0 => l4.len(),
        n if n < HEADER || n > l4.len() => return Err(What::Text("invalid checksum coverage")),
        n => n,
    };
    if be16(l4, 6) == Some(0) {
        return Err(What::Text("checksum missing"));
    }
    // The kernel puts UDP's number into the pseudo header here, so that checksums made as RFC 3828 says never hold.
    if cx.wants_checksum() && !cx.checksum_holds(Some(ipproto::UDP), covered) {
        return Err(What::Text("bad checksum"));
    }
    Ok(())
}

pub(super) fn lite_packet<U>(cx: &mut Ctx<'_>, c: &Conn<U>, info: CtInfo) -> Outcome {
    if let Err(w) = lite_checks(cx) {
        return cx.invalid(w);
    }
    let st = c.status();
    let knob = if st & SEEN_REPLY != 0 {
        Sysctl::UdpTimeoutStream
    } else {
        Sysctl::UdpTimeout
    };
    super::simple(cx, c, info, knob);
    if st & SEEN_REPLY != 0 && st & (NAT_CLASH | ASSURED) == 0 && c.set_status(ASSURED) {
        c.note(events::mask::ASSURED);
    }
    Outcome::Accept
}
