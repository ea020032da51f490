//! What helpers do with announcements on translated connections: they look for a port that nobody else expects, and write what the other side
//! must read (`nf_nat_helper.c`).

use super::refuse;
use crate::expect::{ExpectError, Expectation, Policy};
use crate::nat;
use crate::packet::{Packet, Verdict};
use crate::seqadj;
use crate::status;
use crate::store::Store;
use crate::tracker::Tracker;

/// Ports tried when the announced one is expected by another connection already.
const PORTS_TRIED: usize = 128;

/// Notes the expectation, at its port or at another one above it, and tells which (`nf_nat_exp_find_port`). `None`: there is no port, and the
/// packet must not pass.
pub(super) fn find_port<S: Store>(
    ct: &Tracker<S>,
    pkt: &mut Packet<'_, '_, S>,
    mut what: Expectation,
    policy: Policy,
    helper: &'static str,
) -> Option<u16> {
    let (now, port) = (pkt.now(), what.dport);
    let range = u16::MAX - port;
    let found = pkt.conn().is_some_and(|conn| {
        let mut noted = ct.expect(conn, what, policy, now);
        for _ in 0..usize::from(range).min(PORTS_TRIED) {
            if noted != Err(ExpectError::Busy) {
                break;
            }
            what.dport = port + nat::random() % range;
            noted = ct.expect(conn, what, policy, now);
        }
        noted.is_ok()
    });
    // Port 0 is what the kernel's search says when it has found none, even if it was asked for.
    if !found || what.dport == 0 {
        refuse(pkt, helper, "all ports in use");
        return None;
    }
    Some(what.dport)
}

/// Replaces `len` bytes at `at` (`nf_nat_mangle_tcp_packet`, `nf_nat_mangle_udp_packet`). Returns the growth; `None`: the packet must not pass.
pub(super) fn mangle<S: Store>(
    pkt: &mut Packet<'_, '_, S>,
    at: usize,
    len: usize,
    text: &[u8],
    helper: &'static str,
) -> Option<i32> {
    let growth = seqadj::mangle(pkt, at, len, text);
    if growth.is_none() {
        refuse(pkt, helper, "cannot mangle packet");
    }
    growth
}

/// As [`mangle`], in the TCP segment at `seq`: if its length changes, the numbers of what follows are shifted.
pub(super) fn tcp<S: Store>(
    pkt: &mut Packet<'_, '_, S>,
    at: usize,
    len: usize,
    text: &[u8],
    seq: u32,
    helper: &'static str,
) -> Verdict {
    let Some(growth) = mangle(pkt, at, len, text, helper) else {
        return Verdict::Drop;
    };
    let (dir, conn) = (pkt.direction(), pkt.conn());
    if let (Some(dir), Some(conn)) = (dir, conn.filter(|_| growth != 0)) {
        let mut inner = conn.inner();
        inner.kin().seqadj[dir.index()].grow(seq, growth);
        // Under the lock: whoever has it next, and does not see the bit, need not look for shifts.
        conn.set_status(status::SEQ_ADJUST);
    }
    Verdict::Accept
}
