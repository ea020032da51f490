//! ctnetlink: connections as netlink messages, as the kernel's `nf_conntrack_netlink.c` reads and writes them.
//!
//! A [`Message`] is one netlink message of the subsystem; [`Message::encode`] and [`Message::decode`] are each other's inverse. What it says of a
//! connection is a [`Record`].
//!
//! ```
//! use nulls_conntrack::ctnetlink::{Command, Message, Record, flags};
//! use nulls_conntrack::tuple::{Tuple, ipproto};
//! let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::UDP, 9, 53);
//! let record = Record { tuples: [Some(tuple), tuple.invert()], timeout: Some(30), ..Record::default() };
//! let new = Message { flags: flags::REQUEST | flags::CREATE, ..Message::new(Command::New, record) };
//! let bytes = new.encode(); // to a NETLINK_NETFILTER socket
//! assert_eq!(Message::decode(&bytes), Ok((new, bytes.len())));
//! ```

pub mod attr;
mod record;
mod server;
pub mod stats;
mod tuple;

pub use attr::DecodeError;
pub use record::{ProtoRecord, Record, SCTP_STATES, TCP_STATES, cta};
pub use server::{errno, is_done, serve};

use crate::events::Kind;
use crate::tuple::Family;

/// Netlink flags (`NLM_F_*`).
pub mod flags {
    /// A request.
    pub const REQUEST: u16 = 1;
    /// One of several.
    pub const MULTI: u16 = 2;
    /// An answer is wanted, success or failure.
    pub const ACK: u16 = 4;
    /// The dump was filtered.
    pub const DUMP_FILTERED: u16 = 0x20;
    /// Everything that matches, please.
    pub const DUMP: u16 = 0x300;
    /// Refuse if it exists.
    pub const EXCL: u16 = 0x200;
    /// Make it if it does not.
    pub const CREATE: u16 = 0x400;
}

/// Multicast groups.
pub mod group {
    /// New connections.
    pub const NEW: u32 = 1;
    /// Changes.
    pub const UPDATE: u32 = 2;
    /// Connections that ended.
    pub const DESTROY: u32 = 3;
}

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u8 = 1;
/// Bytes of a netlink header.
pub const NLMSG_HEADER: usize = 16;
/// Bytes of a netlink header and the one behind it (`struct nfgenmsg`).
const HEADERS: usize = NLMSG_HEADER + 4;

/// What a message wants (`enum cntl_msg_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// A connection: to be made or changed, or told of.
    New = 0,
    /// A question.
    Get = 1,
    /// To be deleted, or gone.
    Delete = 2,
    /// A question; counters begin anew.
    GetCtrZero = 3,
    /// Statistics of each processor.
    GetStatsCpu = 4,
    /// Statistics of all.
    GetStats = 5,
    /// Connections whose end could not be told yet.
    GetDying = 6,
    /// Connections not yet confirmed.
    GetUnconfirmed = 7,
}

impl Command {
    const ALL: [Self; 8] = [
        Self::New,
        Self::Get,
        Self::Delete,
        Self::GetCtrZero,
        Self::GetStatsCpu,
        Self::GetStats,
        Self::GetDying,
        Self::GetUnconfirmed,
    ];
}

/// A message of the subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it wants.
    pub command: Command,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The sender's number for it.
    pub seq: u32,
    /// The sender's port.
    pub portid: u32,
    /// Address family number; 0 = any.
    pub family: u8,
    /// Version of the family's use: with 1 the family counts for flushes.
    pub version: u8,
    /// The connection, as far as the message tells.
    pub record: Record,
    /// The attributes' order is that of events.
    pub event: bool,
}

impl Message {
    /// A message without flags, for the family of the record's tuples.
    #[must_use]
    pub fn new(command: Command, record: Record) -> Self {
        Self {
            command,
            flags: 0,
            seq: 0,
            portid: 0,
            family: record.family().map_or(0, |f| f as u8),
            version: 0,
            record,
            event: false,
        }
    }

    /// The message that tells an event, as the kernel multicasts it.
    #[must_use]
    pub fn event(kind: Kind, record: Record) -> Self {
        let (command, flags) = match kind {
            Kind::New => (Command::New, flags::CREATE | flags::EXCL),
            Kind::Update => (Command::New, 0),
            Kind::Destroy => (Command::Delete, 0),
        };
        Self {
            flags,
            event: true,
            ..Self::new(command, record)
        }
    }

    /// Which event a multicast message tells.
    #[must_use]
    pub fn event_kind(&self) -> Option<Kind> {
        match self.command {
            Command::Delete => Some(Kind::Destroy),
            Command::New if self.flags & flags::CREATE != 0 => Some(Kind::New),
            Command::New => Some(Kind::Update),
            _ => None,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(self.command, self.flags, self.seq, self.portid, self.family);
        out[NLMSG_HEADER + 1] = self.version;
        self.record.encode(&mut out, self.event);
        finish(out)
    }

    /// Reads the first message of `bytes`; returns it and how many bytes it and its padding take. [`Message::event`](Self#structfield.event) is told by
    /// the place of the id.
    ///
    /// # Errors
    /// Bytes that are no message of this subsystem, or a damaged one.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        let head: &[u8; HEADERS] = bytes.first_chunk().ok_or(DecodeError::Truncated)?;
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let len = word(0) as usize;
        let body = bytes.get(HEADERS..len).ok_or(DecodeError::Truncated)?;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let command = Command::ALL
            .into_iter()
            .find(|c| kind == u16::from(SUBSYSTEM) << 8 | *c as u16)
            .ok_or(DecodeError::NotOurs)?;
        let family = head[NLMSG_HEADER];
        let record = Record::decode(
            body,
            if family == Family::Ipv6 as u8 {
                Family::Ipv6
            } else {
                Family::Ipv4
            },
        )?;
        let message = Self {
            command,
            flags: u16::from_ne_bytes([head[6], head[7]]),
            seq: word(8),
            portid: word(12),
            family,
            version: head[NLMSG_HEADER + 1],
            record,
            event: id_before_status(body),
        };
        Ok((message, len.next_multiple_of(4).min(bytes.len())))
    }
}

fn id_before_status(attrs: &[u8]) -> bool {
    let first = attr::Reader(attrs)
        .map_while(Result::ok)
        .find(|a| matches!(a.kind, cta::ID | cta::STATUS));
    first.is_some_and(|a| a.kind == cta::ID)
}

/// Header of a message whose length is not known yet.
fn header(command: Command, flags: u16, seq: u32, portid: u32, family: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend(0u32.to_ne_bytes());
    out.extend((u16::from(SUBSYSTEM) << 8 | command as u16).to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend(portid.to_ne_bytes());
    out.extend([family, 0, 0, 0]);
    out
}

fn finish(mut out: Vec<u8>) -> Vec<u8> {
    let len = out.len() as u32;
    out[..4].copy_from_slice(&len.to_ne_bytes());
    out
}

#[cfg(test)]
mod tests;
