//! IRC: a client offers another one a direct connection (DCC) to a port of its own.

use super::{announce, find, number, rewrite, settled, tcp_payload};
use crate::expect::{Expectation, Follow, Policy};
use crate::packet::{Packet, Verdict};
use crate::status;
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
    let (Some((seq, payload)), Some(conn)) = (tcp_payload(pkt), pkt.conn()) else {
        return Verdict::Accept;
    };
    let (ours, answers) = (
        conn.tuple(Direction::Original),
        conn.tuple(Direction::Reply),
    );
    let offer = offers(&payload[..payload.len().min(SEARCHED)])
        .into_iter()
        .find(|offer| {
            // An offer of somebody else's address is a forgery.
            let addr = IpAddr::from(offer.addr);
            offer.port != 0 && (addr == ours.src() || addr == answers.dst())
        });
    let Some(offer) = offer else {
        return Verdict::Accept;
    };
    let mut what = Expectation::new(None, answers.dst(), ipproto::TCP, offer.port);
    if !conn.has(status::SRC_NAT | status::DST_NAT) {
        return announce(ct, pkt, what, POLICY, "irc");
    }
    let IpAddr::V4(known_as) = answers.dst() else {
        return Verdict::Accept;
    };
    what.follow = Some(Follow::new(ours.dst(), ours.src(), offer.port));
    let at = pkt.data().len() - payload.len() + offer.at;
    let Some(port) = rewrite::find_port(ct, pkt, what, POLICY, "irc") else {
        return Verdict::Drop;
    };
    let text = format!("{} {port}", known_as.to_bits());
    rewrite::tcp(pkt, at, offer.len, text.as_bytes(), seq, "irc")
}

/// An address and a port, and which bytes of the text name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) addr: Ipv4Addr,
    pub(super) port: u16,
    at: usize,
    len: usize,
}

/// What the first message of `text` could offer.
pub(super) fn offers(text: &[u8]) -> Vec<Offer> {
    let whole = text.len();
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
        .filter_map(|verb| offer(rest.strip_prefix(*verb)?, whole))
        .collect()
}

/// `name 3221225994 54000 …`: address and port behind the first blank. `text` is the end of `whole` bytes.
fn offer(text: &[u8], whole: usize) -> Option<Offer> {
    let blank = text
        .iter()
        .position(|b| *b == b' ')
        .filter(|at| at + SHORTEST_END <= text.len())?;
    let text = &text[blank + 1..];
    find(text, b"\n")?;
    let (addr, digits) = number(text);
    let rest = &text[digits..];
    let blanks = rest.iter().take_while(|b| **b == b' ').count();
    let (port, more) = number(&rest[blanks..]);
    Some(Offer {
        addr: Ipv4Addr::from(addr as u32),
        port: port as u16,
        at: whole - text.len(),
        len: digits + blanks + more,
    })
}
