//! FTP: a command or its answer names where the data connection goes.
//!
//! Only the first line of a packet is read, and only if the packet begins a line: that is, if its sequence number follows a line end seen before.

use super::{announce, refuse, rewrite, settled, tcp_payload};
use crate::expect::{Expectation, Follow, Policy};
use crate::packet::{Packet, Verdict};
use crate::status;
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Family, ipproto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const POLICY: Policy = Policy {
    class: 0,
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
    let (line, place) = if begins {
        read(payload, dir, pkt.family())
    } else {
        (Line::Other, Place::default())
    };
    let at = pkt.data().len() - payload.len() + place.at;
    let place = Place { at, ..place };
    let verdict = match line {
        Line::Other => Verdict::Accept,
        Line::Partial(word) => {
            // Packets are not filtered here, but what cannot be followed would go astray.
            refuse(pkt, "ftp", word);
            return Verdict::Drop;
        }
        // A third party's address is not to be opened on somebody's word.
        Line::Announcement(Some(addr), _) if addr != conn.tuple(dir).src() => Verdict::Accept,
        Line::Announcement(_, port) => expect(ct, pkt, dir, port, seq, place),
    };
    if let Some(conn) = pkt.conn().filter(|_| ends) {
        conn.inner().kin().lines.ended(dir, next);
    }
    verdict
}

/// Notes what is announced. The data connection comes the other way round; if this connection is translated, so is that one, and the announcement
/// is rewritten to what the other side knows.
fn expect<S: Store>(
    ct: &Tracker<S>,
    pkt: &mut Packet<'_, '_, S>,
    dir: Direction,
    port: u16,
    seq: u32,
    place: Place,
) -> Verdict {
    let Some(conn) = pkt.conn() else {
        return Verdict::Accept;
    };
    let mine = conn.tuple(dir);
    let other = conn.tuple(if dir == Direction::Original {
        Direction::Reply
    } else {
        Direction::Original
    });
    let mut what = Expectation::new(Some(other.src()), other.dst(), ipproto::TCP, port);
    if !conn.has(status::SRC_NAT | status::DST_NAT) {
        return announce(ct, pkt, what, POLICY, "ftp");
    }
    what.follow = Some(Follow::new(mine.dst(), mine.src(), port));
    let Some(port) = rewrite::find_port(ct, pkt, what, POLICY, "ftp") else {
        return Verdict::Drop;
    };
    let text = place.form.text(what.dst, port);
    rewrite::tcp(pkt, place.at, place.len, text.as_bytes(), seq, "ftp")
}

/// Where an announcement stands in the payload, and how it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    at: usize,
    len: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug, Default)]
enum Form {
    #[default]
    Six,
    Eprt,
    Epsv,
}

impl Form {
    fn text(self, addr: IpAddr, port: u16) -> String {
        match (self, addr) {
            (Self::Epsv, _) => format!("|||{port}|"),
            (Self::Six, IpAddr::V4(a)) => {
                let [a, b, c, d] = a.octets();
                format!("{a},{b},{c},{d},{},{}", port >> 8, port & 255)
            }
            (_, IpAddr::V4(a)) => format!("|1|{a}|{port}|"),
            // In full, as the kernel writes it.
            (_, IpAddr::V6(a)) => {
                let words: Vec<String> = a.segments().iter().map(|s| format!("{s:04x}")).collect();
                format!("|2|{}|{port}|", words.join(":"))
            }
        }
    }
}

/// Address, if there is one, port, and how many bytes they take.
type Found = (Option<IpAddr>, u16, usize);

/// Reads the beginning of a packet.
pub(super) fn read(text: &[u8], dir: Direction, family: Family) -> (Line, Place) {
    const COMMANDS: [(&str, &str, Form); 2] = [
        ("PORT", "partial matching of `PORT'", Form::Six),
        ("EPRT", "partial matching of `EPRT'", Form::Eprt),
    ];
    const ANSWERS: [(&str, &str, Form); 2] = [
        ("227 ", "partial matching of `227 '", Form::Six),
        ("229 ", "partial matching of `229 '", Form::Epsv),
    ];
    let known = if dir == Direction::Original {
        COMMANDS
    } else {
        ANSWERS
    };
    for (word, partial, form) in known {
        let word = word.as_bytes();
        let short = text.len() <= word.len();
        let common = text.len().min(word.len());
        if !text[..common].eq_ignore_ascii_case(&word[..common]) {
            continue;
        }
        let rest = &text[common..];
        let skipped = if short { None } else { skip(rest, dir, form) };
        let found = skipped.and_then(|n| {
            let argument = &rest[n..];
            match form {
                Form::Six => six(argument, (dir == Direction::Original).then_some(b'\r')),
                Form::Eprt => eprt(argument, family),
                Form::Epsv => epsv(argument),
            }
        });
        let (Some(n), Some((addr, port, len))) = (skipped, found) else {
            return (Line::Partial(partial), Place::default());
        };
        return (
            Line::Announcement(addr, port),
            Place {
                at: common + n,
                len,
                form,
            },
        );
    }
    (Line::Other, Place::default())
}

/// How many bytes precede the argument: a command's ends with a blank, an answer is for people up to a digit or a parenthesis.
fn skip(rest: &[u8], dir: Direction, form: Form) -> Option<usize> {
    let find = |c: u8| rest.iter().position(|b| *b == c).map(|at| at + 1);
    match (dir, form) {
        (Direction::Original, _) => find(b' '),
        (Direction::Reply, Form::Epsv) => find(b'('),
        (Direction::Reply, _) => rest.iter().position(u8::is_ascii_digit),
    }
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
fn six(text: &[u8], end: Option<u8>) -> Option<Found> {
    let (n, len) = numbers::<6>(text, b',', end)?;
    Some((Some(address(&n)), (n[4] << 8 | n[5]) as u16, len))
}

fn is_delimiter(b: u8) -> bool {
    !b.is_ascii_digit() && (33..=126).contains(&b)
}

/// Digits up to `delimiter`, and how many bytes both take; 0 is no port.
fn port(text: &[u8], delimiter: u8) -> Option<(u16, usize)> {
    let end = text.iter().position(|b| !b.is_ascii_digit())?;
    let value = text[..end].iter().fold(0u16, |n, d| {
        n.wrapping_mul(10).wrapping_add(u16::from(d - b'0'))
    });
    (text[end] == delimiter && value != 0).then_some((value, end + 1))
}

/// `|1|192.0.2.10|50001|` or `|2|2001:db8::1|50001|`.
fn eprt(text: &[u8], family: Family) -> Option<Found> {
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
    let (port, digits) = port(text.get(len + 1..)?, delimiter)?;
    Some((Some(addr), port, 3 + len + 1 + digits))
}

/// `|||50001|`.
fn epsv(text: &[u8]) -> Option<Found> {
    let &[a, b, c, ref rest @ ..] = text else {
        return None;
    };
    if !is_delimiter(a) || b != a || c != a {
        return None;
    }
    let (port, digits) = port(rest, a)?;
    Some((None, port, 3 + digits))
}
