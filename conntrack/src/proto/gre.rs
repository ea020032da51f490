//! GRE (`nf_conntrack_proto_gre.c`).

use super::{Ctx, Outcome, Proto};
use crate::conn::Conn;
use crate::events;
use crate::status::{ASSURED, CONFIRMED, CtInfo, NAT_CLASH, SEEN_REPLY};
use crate::sysctl::Sysctl;

pub(super) fn packet<U>(cx: &mut Ctx<'_>, c: &Conn<U>, info: CtInfo) -> Outcome {
    let st = c.status();
    let [unreplied, stream] = {
        let mut inner = c.inner();
        if st & CONFIRMED == 0 {
            // Kept in the entry, because PPTP's helper raises them later.
            let policy = inner.policy.as_deref();
            inner.proto = Proto::Gre([
                cx.timeout(policy, Sysctl::GreTimeout),
                cx.timeout(policy, Sysctl::GreTimeoutStream),
            ]);
        }
        match inner.proto {
            Proto::Gre(t) => t,
            _ => [
                cx.timeout(None, Sysctl::GreTimeout),
                cx.timeout(None, Sysctl::GreTimeoutStream),
            ],
        }
    };
    if st & SEEN_REPLY == 0 {
        cx.refresh(c, info, unreplied);
    } else {
        cx.refresh(c, info, stream);
        if st & (NAT_CLASH | ASSURED) == 0 && c.set_status(ASSURED) {
            c.note(events::mask::ASSURED);
        }
    }
    Outcome::Accept
}
