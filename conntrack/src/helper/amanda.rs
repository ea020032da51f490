//! Amanda (backup): the server's answer names ports to which the client then connects.

use super::{announce, find, number, rewrite, udp_payload};
use crate::expect::{Expectation, Follow, Policy};
use crate::packet::{Packet, Verdict};
use crate::status::{self, CtInfo};
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, ipproto};
use std::ops::Range;

const POLICY: Policy = Policy {
    class: 0,
    max: 4,
    timeout: 180,
};
/// Seconds that a client may take to answer.
const MASTER_TIMEOUT: u32 = 300;
/// What stands before a port, in the order in which they are looked for.
const WORDS: [&[u8]; 4] = [b"DATA ", b"MESG ", b"INDEX ", b"STATE "];

pub(super) fn help<S: Store>(ct: &Tracker<S>, pkt: &mut Packet<'_, '_, S>) -> Verdict {
    if pkt.nfct().info().map(CtInfo::dir) != Some(Direction::Reply) {
        return Verdict::Accept;
    }
    let Some(conn) = pkt.conn() else {
        return Verdict::Accept;
    };
    // A fixed timeout, or a connection that just goes, stays as it is.
    let _ = ct.set_timeout(conn, MASTER_TIMEOUT, pkt.now());
    let Some(place) = udp_payload(pkt).and_then(line) else {
        return Verdict::Accept;
    };
    let (ours, answers) = (
        conn.tuple(Direction::Original),
        conn.tuple(Direction::Reply),
    );
    let translated = conn.has(status::SRC_NAT | status::DST_NAT);
    // One port that cannot be expected stops the packet, but not the others.
    let mut verdict = Verdict::Accept;
    for word in WORDS {
        // Read again each time: what was rewritten before may have moved this one.
        let found = udp_payload(pkt).and_then(|text| port(text, &place, word));
        let (at, digits, number) = match found {
            Some(Some(found)) => found,
            Some(None) => break,
            None => continue,
        };
        let mut what = Expectation::new(Some(ours.src()), ours.dst(), ipproto::TCP, number);
        if !translated {
            if announce(ct, pkt, what, POLICY, "amanda") != Verdict::Accept {
                verdict = Verdict::Drop;
            }
            continue;
        }
        what.follow = Some(Follow::new(answers.dst(), answers.src(), number));
        let text = rewrite::find_port(ct, pkt, what, POLICY, "amanda").map(|p| p.to_string());
        let at = pkt.data().len() - udp_payload(pkt).map_or(0, <[u8]>::len) + at;
        let done = text
            .and_then(|text| rewrite::mangle(pkt, at, digits, text.as_bytes(), "amanda"))
            .is_some();
        if !done {
            verdict = Verdict::Drop;
        }
    }
    verdict
}

/// Where the line `CONNECT DATA 50000 MESG 50001 INDEX 50002` is, behind its first word.
fn line(text: &[u8]) -> Option<Range<usize>> {
    let from = find(text, b"CONNECT ")? + 8;
    let len = find(&text[from..], b"\n")?;
    Some(from..from + len)
}

/// Where the port behind `word` is, how many digits it has, and its number. `None`: the word is not there; `Some(None)`: it is followed by no port.
fn port(text: &[u8], line: &Range<usize>, word: &[u8]) -> Option<Option<(usize, usize, u16)>> {
    let line_text = text.get(line.clone())?;
    let at = find(line_text, word)? + word.len();
    let rest = &line_text[at..];
    let (value, digits) = number(&rest[..rest.len().min(5)]);
    let port = value as u16;
    Some((port != 0).then_some((line.start + at, digits, port)))
}

/// All ports of an answer.
#[cfg(test)]
pub(super) fn ports(text: &[u8]) -> Vec<u16> {
    let Some(place) = line(text) else {
        return Vec::new();
    };
    WORDS
        .iter()
        .filter_map(|word| port(text, &place, word))
        .map_while(|found| Some(found?.2))
        .collect()
}
