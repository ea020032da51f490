//! Amanda (backup): the server's answer names ports to which the client then connects.

use super::{announce, find, number, udp_payload};
use crate::expect::{Expectation, Policy};
use crate::packet::{Packet, Verdict};
use crate::status::CtInfo;
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, ipproto};

const POLICY: Policy = Policy {
    class: 0,
    max: 4,
    timeout: 180,
};
/// Seconds that a client may take to answer.
const MASTER_TIMEOUT: u32 = 300;

pub(super) fn help<S: Store>(ct: &Tracker<S>, pkt: &mut Packet<'_, '_, S>) -> Verdict {
    if pkt.nfct().info().map(CtInfo::dir) != Some(Direction::Reply) {
        return Verdict::Accept;
    }
    let Some(conn) = pkt.conn() else {
        return Verdict::Accept;
    };
    // A fixed timeout, or a connection that just goes, stays as it is.
    let _ = ct.set_timeout(conn, MASTER_TIMEOUT, pkt.now());
    let original = conn.tuple(Direction::Original);
    // One port that cannot be expected stops the packet, but not the others.
    let mut verdict = Verdict::Accept;
    for port in udp_payload(pkt).map(ports).unwrap_or_default() {
        let what = Expectation::new(Some(original.src()), original.dst(), ipproto::TCP, port);
        if announce(ct, pkt, what, POLICY, "amanda") != Verdict::Accept {
            verdict = Verdict::Drop;
        }
    }
    verdict
}

/// Ports in a line `CONNECT DATA 50000 MESG 50001 INDEX 50002`.
pub(super) fn ports(text: &[u8]) -> Vec<u16> {
    let mut out = Vec::new();
    let Some(line) = find(text, b"CONNECT ").and_then(|at| text.get(at + 8..)) else {
        return out;
    };
    let Some(line) = find(line, b"\n").map(|end| &line[..end]) else {
        return out;
    };
    for word in [&b"DATA "[..], b"MESG ", b"INDEX ", b"STATE "] {
        let Some(at) = find(line, word) else { continue };
        let digits = &line[at + word.len()..];
        let (port, _) = number(&digits[..digits.len().min(5)]);
        match port as u16 {
            0 => break,
            port => out.push(port),
        }
    }
    out
}
