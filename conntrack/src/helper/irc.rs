//! IRC: a client offers another one a direct connection (DCC) to a port of its own.

use super::{announce, find, number, settled, tcp_payload};
use crate::expect::{Expectation, Policy};
use crate::packet::{Packet, Verdict};
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, ipproto};
use std::net::{IpAddr, Ipv4Addr};

const POLICY: Policy = Policy {
    class: 0,
    max: 8,
    timeout: 300,
};
/// Bytes of a packet that are searched.
const SEARCHED: usize = 4095;
/// The shortest offer: `" :\1DCC SENT t AAAAAAAA P\1\n"`.
const SHORTEST: usize = 26;
/// Its end, from the file's name on: `"t AAAAAAAA P\1\n"` without the first word.
const SHORTEST_END: usize = 12;

pub(super) fn help<S: Store>(ct: &Tracker<S>, pkt: &mut Packet<'_, '_, S>) -> Verdict {
    if settled(pkt) != Some(Direction::Original) {
        return Verdict::Accept;
    }
    let (Some((_, payload)), Some(conn)) = (tcp_payload(pkt), pkt.conn()) else {
        return Verdict::Accept;
    };
    let (ours, answers) = (
        conn.tuple(Direction::Original),
        conn.tuple(Direction::Reply),
    );
    let offer = offers(&payload[..payload.len().min(SEARCHED)])
        .into_iter()
        .find(|(addr, port)| {
            // An offer of somebody else's address is a forgery.
            let addr = IpAddr::from(*addr);
            *port != 0 && (addr == ours.src() || addr == answers.dst())
        });
    let Some((_, dport)) = offer else {
        return Verdict::Accept;
    };
    let what = Expectation::new(None, answers.dst(), ipproto::TCP, dport);
    announce(ct, pkt, what, POLICY, "irc")
}

/// Addresses and ports that the first message of `text` could mean.
pub(super) fn offers(text: &[u8]) -> Vec<(Ipv4Addr, u16)> {
    let blanks = text
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\r' | b'\n'))
        .count();
    let mut text = &text[blanks.min(text.len().saturating_sub(10))..];
    if text.len() > 10 {
        let Some(rest) = text
            .get(8..)
            .filter(|_| text[..8].eq_ignore_ascii_case(b"PRIVMSG "))
        else {
            return Vec::new();
        };
        text = rest;
    }
    let Some(at) = find(text, b" :").filter(|at| text.len() - at > SHORTEST) else {
        return Vec::new();
    };
    let Some(rest) = text[at + 2..].strip_prefix(b"\x01DCC ") else {
        return Vec::new();
    };
    let verbs = [&b"SEND "[..], b"CHAT ", b"MOVE ", b"TSEND ", b"SCHAT "];
    verbs
        .iter()
        .filter_map(|verb| offer(rest.strip_prefix(*verb)?))
        .collect()
}

/// `name 3221225994 54000 …`: address and port behind the first blank.
fn offer(text: &[u8]) -> Option<(Ipv4Addr, u16)> {
    let blank = text
        .iter()
        .position(|b| *b == b' ')
        .filter(|at| at + SHORTEST_END <= text.len())?;
    let text = &text[blank + 1..];
    find(text, b"\n")?;
    let (addr, digits) = number(text);
    let rest = &text[digits..];
    let (port, _) = number(&rest[rest.iter().take_while(|b| **b == b' ').count()..]);
    Some((Ipv4Addr::from(addr as u32), port as u16))
}
