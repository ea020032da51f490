//! Answers ctnetlink requests from a tracker, as the kernel answers them from its own.
//!
//! What takes bytes from a socket and gives bytes back is all a program needs to let conntrack(8) or any other ctnetlink client work on a [`Tracker`].

use super::{Command, HEADERS, Message, NLMSG_HEADER, Record, flags, stats};
use crate::clock::Nanos;
use crate::filter::Filter;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::tracker::{ControlError, Tracker};
use crate::tuple::Family;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Does what the requests in `bytes` want, on behalf of port `portid`, and returns the answers, one netlink message each. Damaged requests are answered
/// with `EINVAL`, bytes that are no netlink message at all end the work.
pub fn serve<S: Store>(ct: &Tracker<S>, bytes: &[u8], portid: u32, now: Nanos) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while let Some(head) = rest.first_chunk::<NLMSG_HEADER>() {
        let len = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(request) = rest.get(..len).filter(|r| r.len() >= NLMSG_HEADER) else {
            break;
        };
        let one = One {
            ct,
            head,
            portid,
            now,
        };
        match Message::decode(request) {
            Ok((m, _)) => one.answer(&m, &mut answers),
            Err(_) => answers.push(one.error(ControlError::Invalid.errno())),
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

/// One request and where it comes from.
struct One<'a, S: Store> {
    ct: &'a Tracker<S>,
    head: &'a [u8; NLMSG_HEADER],
    portid: u32,
    now: Nanos,
}

impl<S: Store> One<'_, S> {
    fn seq(&self) -> u32 {
        u32::from_ne_bytes([self.head[8], self.head[9], self.head[10], self.head[11]])
    }

    fn raw(&self, kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(NLMSG_HEADER + body.len());
        out.extend(((NLMSG_HEADER + body.len()) as u32).to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend(self.seq().to_ne_bytes());
        out.extend(self.portid.to_ne_bytes());
        out.extend(body);
        out
    }

    /// An error, or with 0 the acknowledgement.
    fn error(&self, errno: i32) -> Vec<u8> {
        let mut body = (-errno).to_ne_bytes().to_vec();
        body.extend(self.head);
        self.raw(NLMSG_ERROR, 0, &body)
    }

    fn answer(&self, m: &Message, out: &mut Vec<Vec<u8>>) {
        let dump = m.flags & flags::DUMP == flags::DUMP;
        let done = match m.command {
            Command::Get | Command::GetCtrZero if dump => {
                self.dump(m, out);
                return;
            }
            Command::GetStatsCpu => {
                out.push(stats::encode_cpu(0, m.seq, self.portid, &self.ct.stats()));
                out.push(self.raw(NLMSG_DONE, flags::MULTI, &[0; 4]));
                return;
            }
            Command::GetDying | Command::GetUnconfirmed => {
                out.push(self.raw(NLMSG_DONE, flags::MULTI, &[0; 4]));
                return;
            }
            Command::GetStats => {
                let max = self.ct.sysctl("nf_conntrack_max");
                let max = max.and_then(|m| m.parse().ok()).unwrap_or(0);
                let count = self.ct.net().count() as u32;
                out.push(stats::encode_global(m.seq, self.portid, count, max));
                Ok(())
            }
            Command::Get | Command::GetCtrZero => self.ct.get(&m.record, self.now).map(|c| {
                out.push(self.entry(m, 0, &Snapshot::of(&c, S::count(&c), self.now)));
                if m.command == Command::GetCtrZero {
                    c.zero_counters();
                }
            }),
            Command::Delete => self.delete(m),
            Command::New => self.make(m),
        };
        match done {
            Err(e) => out.push(self.error(e.errno())),
            Ok(()) if m.flags & flags::ACK != 0 => out.push(self.error(0)),
            Ok(()) => {}
        }
    }

    fn entry(&self, m: &Message, flags: u16, s: &Snapshot) -> Vec<u8> {
        let record = Record::dump(s);
        Message {
            flags,
            seq: m.seq,
            portid: self.portid,
            ..Message::new(Command::New, record)
        }
        .encode()
    }

    /// The family a request is about: none is any.
    fn family(m: &Message) -> Option<Family> {
        [Family::Ipv4, Family::Ipv6]
            .into_iter()
            .find(|f| *f as u8 == m.family)
    }

    fn dump(&self, m: &Message, out: &mut Vec<Vec<u8>>) {
        let filter = Filter::of_request(Self::family(m), &m.record);
        let filtered = filter
            != Filter {
                family: filter.family,
                ..Filter::default()
            };
        let flags = flags::MULTI | if filtered { flags::DUMP_FILTERED } else { 0 };
        self.ct.for_each_matching(&filter, self.now, |c| {
            out.push(self.entry(m, flags, &Snapshot::of(c, S::count(c), self.now)));
            if m.command == Command::GetCtrZero {
                c.zero_counters();
            }
        });
        out.push(self.raw(NLMSG_DONE, flags::MULTI, &[0; 4]));
    }

    fn delete(&self, m: &Message) -> Result<(), ControlError> {
        let named = m.record.tuples.iter().any(Option::is_some) && m.record.filter.is_none();
        if named {
            let entry = self.ct.get(&m.record, self.now)?;
            self.ct.delete(&entry, self.now);
            return Ok(());
        }
        // A plain flush has never minded the family.
        let family = Self::family(m).filter(|_| m.version != 0 || m.record.filter.is_some());
        let filter = Filter::of_request(family, &m.record);
        self.ct.delete_matching(&filter, self.now);
        Ok(())
    }

    fn make(&self, m: &Message) -> Result<(), ControlError> {
        let r = &m.record;
        match self.ct.get(
            &Record {
                id: None,
                ..r.clone()
            },
            self.now,
        ) {
            Ok(_) if m.flags & flags::EXCL != 0 => Err(ControlError::Exists),
            Ok(entry) => self.ct.change(&entry, r, self.now),
            Err(ControlError::NotFound) if m.flags & flags::CREATE != 0 => {
                self.ct.insert(r, self.now).map(drop)
            }
            Err(e) => Err(e),
        }
    }
}

/// Reads an answer that is no [`Message`]: the error number of an error or acknowledgement (0), `None` for the end of a dump or anything else.
#[must_use]
pub fn errno(bytes: &[u8]) -> Option<i32> {
    let head: &[u8; HEADERS] = bytes.first_chunk()?;
    let kind = u16::from_ne_bytes([head[4], head[5]]);
    let code = i32::from_ne_bytes([head[16], head[17], head[18], head[19]]);
    (kind == NLMSG_ERROR).then_some(code.saturating_neg())
}

/// Is it the end of a dump?
#[must_use]
pub fn is_done(bytes: &[u8]) -> bool {
    bytes
        .get(4..6)
        .is_some_and(|k| k == NLMSG_DONE.to_ne_bytes())
}
