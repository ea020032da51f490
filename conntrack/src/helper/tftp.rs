//! TFTP: the server answers a request from a port of its own.

use super::{announce, udp_payload};
use crate::expect::{Expectation, Follow, Policy};
use crate::packet::{Packet, Verdict};
use crate::status;
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, ipproto};

const POLICY: Policy = Policy {
    class: 0,
    max: 1,
    timeout: 300,
};

pub(super) fn help<S: Store>(ct: &Tracker<S>, pkt: &mut Packet<'_, '_, S>) -> Verdict {
    let (Some([0, opcode, ..]), Some(conn)) = (udp_payload(pkt), pkt.conn()) else {
        return Verdict::Accept;
    };
    // Read and write requests.
    if !matches!(opcode, 1 | 2) {
        return Verdict::Accept;
    }
    let reply = conn.tuple(Direction::Reply);
    let mut what = Expectation::new(Some(reply.src()), reply.dst(), ipproto::UDP, reply.dst_l4());
    // The answer goes to who has asked, wherever that is behind a translation.
    let original = conn.tuple(Direction::Original);
    if conn.has(status::SRC_NAT | status::DST_NAT) {
        what.follow = Some(Follow::new(
            original.dst(),
            original.src(),
            original.src_l4(),
        ));
    }
    announce(ct, pkt, what, POLICY, "tftp")
}
