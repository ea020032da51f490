//! FTP: a command or its answer names where the data connection goes.
//!
//! Only the first line of a packet is read, and only if the packet begins a line: that is, if its sequence number follows a line end seen before.

use super::{announce, refuse, settled, tcp_payload};
use crate::expect::{Expectation, Policy};
use crate::packet::{Packet, Verdict};
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Family, ipproto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const POLICY: Policy = Policy {
    max: 1,
    timeout: 300,
};

/// Sequence numbers that follow a line end, for each direction: the two youngest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines([Vec<u32>; 2]);

impl Lines {
    fn begins(&self, dir: Direction, seq: u32) -> bool {
        self.0[dir.index()].contains(&seq)
    }

    fn ended(&mut self, dir: Direction, seq: u32) {
        let seen = &mut self.0[dir.index()];
        if seen.contains(&seq) {
            return;
        }
        if seen.len() < 2 {
            seen.push(seq);
            return;
        }
        let oldest = usize::from(!before(seen[0], seen[1]));
        if before(seen[oldest], seq) {
            seen[oldest] = seq;
        }
    }
}

fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing of interest.
    Other,
    /// Begins like an announcement (this one) but is not whole.
    Partial(&'static str),
    /// Address, if it names one, and port.
    Announcement(Option<IpAddr>, u16),
}

pub(super) fn help<S: Store>(ct: &Tracker<S>, pkt: &mut Packet<'_, '_, S>) -> Verdict {
    let (Some(dir), Some((seq, payload)), Some(conn)) =
        (settled(pkt), tcp_payload(pkt), pkt.conn())
    else {
        return Verdict::Accept;
    };
    let next = seq.wrapping_add(payload.len() as u32);
    let ends = payload.last() == Some(&b'\n');
    let begins = conn.inner().kin().lines.begins(dir, seq);
    let line = if begins {
        read(payload, dir, pkt.family())
    } else {
        Line::Other
    };
    let mine = conn.tuple(dir);
    let other = conn.tuple(if dir == Direction::Original {
        Direction::Reply
    } else {
        Direction::Original
    });
    let verdict = match line {
        Line::Other => Verdict::Accept,
        Line::Partial(word) => {
            // Packets are not filtered here, but what cannot be followed would go astray.
            refuse(pkt, "ftp", word);
            return Verdict::Drop;
        }
        // A third party's address is not to be opened on somebody's word.
        Line::Announcement(Some(addr), _) if addr != mine.src() => Verdict::Accept,
        Line::Announcement(_, dport) => {
            let what = Expectation {
                src: Some(other.src()),
                dst: other.dst(),
                protonum: ipproto::TCP,
                dport,
            };
            announce(ct, pkt, what, POLICY, "ftp")
        }
    };
    if let Some(conn) = pkt.conn().filter(|_| ends) {
        conn.inner().kin().lines.ended(dir, next);
    }
    verdict
}

type Argument = fn(&[u8], Family) -> Option<(Option<IpAddr>, u16)>;

/// Reads the beginning of a packet.
pub(super) fn read(text: &[u8], dir: Direction, family: Family) -> Line {
    const COMMANDS: [(&str, &str, Option<u8>, Argument); 2] = [
        ("PORT", "partial matching of `PORT'", Some(b' '), |t, _| {
            six(t, Some(b'\r'))
        }),
        ("EPRT", "partial matching of `EPRT'", Some(b' '), eprt),
    ];
    const ANSWERS: [(&str, &str, Option<u8>, Argument); 2] = [
        ("227 ", "partial matching of `227 '", None, |t, _| {
            six(&t[t.iter().position(u8::is_ascii_digit)?..], None)
        }),
        ("229 ", "partial matching of `229 '", Some(b'('), |t, _| {
            epsv(t)
        }),
    ];
    let known = if dir == Direction::Original {
        COMMANDS
    } else {
        ANSWERS
    };
    for (word, partial, skip, argument) in known {
        let word = word.as_bytes();
        if text.len() <= word.len() {
            if text.eq_ignore_ascii_case(&word[..text.len()]) {
                return Line::Partial(partial);
            }
            continue;
        }
        if !text[..word.len()].eq_ignore_ascii_case(word) {
            continue;
        }
        let rest = &text[word.len()..];
        let rest = match skip {
            None => Some(rest),
            Some(c) => rest.iter().position(|b| *b == c).map(|at| &rest[at + 1..]),
        };
        return match rest.and_then(|r| argument(r, family)) {
            Some((addr, port)) => Line::Announcement(addr, port),
            None => Line::Partial(partial),
        };
    }
    Line::Other
}

/// `N` numbers with `separator` between and `end` (or anything) behind; how many bytes they take. Numbers wrap around, as the kernel's do.
fn numbers<const N: usize>(
    text: &[u8],
    separator: u8,
    end: Option<u8>,
) -> Option<([u32; N], usize)> {
    let mut out = [0u32; N];
    let mut i = 0;
    for (len, &b) in text.iter().enumerate() {
        if b.is_ascii_digit() {
            out[i] = out[i].wrapping_mul(10).wrapping_add(u32::from(b - b'0'));
        } else if b == separator {
            i += 1;
            if i == N {
                return None;
            }
        } else {
            return (i == N - 1 && end.is_none_or(|e| e == b)).then_some((out, len));
        }
    }
    None
}

/// The bytes of an address, each perhaps too large.
fn address(n: &[u32]) -> IpAddr {
    Ipv4Addr::from(n[0] << 24 | n[1] << 16 | n[2] << 8 | n[3]).into()
}

/// `192,0,2,10,195,81`.
fn six(text: &[u8], end: Option<u8>) -> Option<(Option<IpAddr>, u16)> {
    let (n, _) = numbers::<6>(text, b',', end)?;
    Some((Some(address(&n)), (n[4] << 8 | n[5]) as u16))
}

fn is_delimiter(b: u8) -> bool {
    !b.is_ascii_digit() && (33..=126).contains(&b)
}

/// Digits up to `delimiter`; 0 is no port.
fn port(text: &[u8], delimiter: u8) -> Option<u16> {
    let end = text.iter().position(|b| !b.is_ascii_digit())?;
    let value = text[..end].iter().fold(0u16, |n, d| {
        n.wrapping_mul(10).wrapping_add(u16::from(d - b'0'))
    });
    (text[end] == delimiter && value != 0).then_some(value)
}

/// `|1|192.0.2.10|50001|` or `|2|2001:db8::1|50001|`.
fn eprt(text: &[u8], family: Family) -> Option<(Option<IpAddr>, u16)> {
    let &[delimiter, kind, second, ..] = text else {
        return None;
    };
    let wanted = match family {
        Family::Ipv4 => b'1',
        Family::Ipv6 => b'2',
    };
    if text.len() <= 3 || !is_delimiter(delimiter) || second != delimiter || kind != wanted {
        return None;
    }
    let text = &text[3..];
    let (addr, len) = match family {
        Family::Ipv4 => {
            numbers::<4>(text, b'.', Some(delimiter)).map(|(n, len)| (address(&n), len))?
        }
        Family::Ipv6 => {
            let len = text.iter().position(|b| *b == delimiter)?;
            let addr: Ipv6Addr = std::str::from_utf8(&text[..len]).ok()?.parse().ok()?;
            (addr.into(), len)
        }
    };
    Some((Some(addr), port(text.get(len + 1..)?, delimiter)?))
}

/// `|||50001|`.
fn epsv(text: &[u8]) -> Option<(Option<IpAddr>, u16)> {
    let &[a, b, c, ref rest @ ..] = text else {
        return None;
    };
    if !is_delimiter(a) || b != a || c != a {
        return None;
    }
    Some((None, port(rest, a)?))
}
