//! What one ctnetlink message says of a connection: only what is in it, nothing else.
//!
//! A [`Record`] is the common ground of all formats. A dump makes one from a [`Snapshot`] ([`Record::dump`]), an event from a snapshot and the event's
//! bits ([`Record::event`]), a message from the kernel decodes to one; text, XML and attributes are written from it ([`crate::format`]).

use super::attr::{DecodeError, Reader, Writer};
use super::tuple;
use crate::events::{Kind, mask as bits};
use crate::seqadj::SeqAdj;
use crate::snapshot::{ProtoInfo, Snapshot};
use crate::status;
use crate::tuple::{Direction, Family, Tuple};
use std::sync::Arc;

/// `CTA_*`.
pub mod cta {
    #![allow(
        missing_docs,
        reason = "the kernel's names, in include/uapi/linux/netfilter/nfnetlink_conntrack.h"
    )]
    pub const TUPLE_ORIG: u16 = 1;
    pub const TUPLE_REPLY: u16 = 2;
    pub const STATUS: u16 = 3;
    pub const PROTOINFO: u16 = 4;
    pub const HELP: u16 = 5;
    pub const TIMEOUT: u16 = 7;
    pub const MARK: u16 = 8;
    pub const COUNTERS_ORIG: u16 = 9;
    pub const COUNTERS_REPLY: u16 = 10;
    pub const USE: u16 = 11;
    pub const ID: u16 = 12;
    pub const TUPLE_MASTER: u16 = 14;
    pub const SEQ_ADJ_ORIG: u16 = 15;
    pub const SEQ_ADJ_REPLY: u16 = 16;
    pub const ZONE: u16 = 18;
    pub const TIMESTAMP: u16 = 20;
    pub const MARK_MASK: u16 = 21;
    pub const LABELS: u16 = 22;
    pub const LABELS_MASK: u16 = 23;
    pub const FILTER: u16 = 25;
    pub const STATUS_MASK: u16 = 26;
    pub const TIMESTAMP_EVENT: u16 = 27;
}

mod protoinfo {
    pub(super) const TCP: u16 = 1;
    pub(super) const SCTP: u16 = 3;
    pub(super) const TCP_STATE: u16 = 1;
    pub(super) const TCP_WSCALE: [u16; 2] = [2, 3];
    pub(super) const TCP_FLAGS: [u16; 2] = [4, 5];
    pub(super) const SCTP_STATE: u16 = 1;
    pub(super) const SCTP_VTAG: [u16; 2] = [2, 3];
}

/// States of TCP as they are numbered.
pub const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// States of SCTP as they are numbered.
pub const SCTP_STATES: [&str; 9] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
];

fn number(states: &[&str], name: &str) -> u8 {
    states.iter().position(|s| *s == name).unwrap_or(0) as u8
}

/// State of a protocol, as far as the message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtoRecord {
    /// TCP.
    Tcp {
        /// Number of the state, an index into [`TCP_STATES`].
        state: u8,
        /// Window scales, original and reply.
        wscale: [Option<u8>; 2],
        /// Flags and which of them are meant, original and reply.
        flags: [Option<(u8, u8)>; 2],
    },
    /// SCTP.
    Sctp {
        /// Number of the state, an index into [`SCTP_STATES`].
        state: u8,
        /// Verification tags, original and reply.
        vtag: [Option<u32>; 2],
    },
}

impl ProtoRecord {
    fn of(info: &ProtoInfo, whole: bool) -> Option<Self> {
        match info {
            ProtoInfo::Tcp {
                state,
                wscale,
                flags,
            } => Some(Self::Tcp {
                state: number(&TCP_STATES, state),
                wscale: wscale.map(|w| whole.then_some(w)),
                flags: flags.map(|f| whole.then_some((f, 0))),
            }),
            ProtoInfo::Sctp { state, vtag } => Some(Self::Sctp {
                state: number(&SCTP_STATES, state),
                vtag: vtag.map(|v| whole.then_some(v)),
            }),
            ProtoInfo::Gre { .. } | ProtoInfo::None => None,
        }
    }

    /// The state's name.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        let (names, n): (&[&'static str], u8) = match self {
            Self::Tcp { state, .. } => (&TCP_STATES, *state),
            Self::Sctp { state, .. } => (&SCTP_STATES, *state),
        };
        names.get(usize::from(n)).copied().unwrap_or("NONE")
    }
}

/// A connection as one message tells it. What the message leaves out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Tuples, original and reply.
    pub tuples: [Option<Tuple>; 2],
    /// The zone, where it is one of that direction only.
    pub tuple_zones: [Option<u16>; 2],
    /// The zone of both directions; never 0 in what the kernel sends.
    pub zone: Option<u16>,
    /// Status bits, see [`crate::status`].
    pub status: Option<u32>,
    /// Which status bits are meant (filters).
    pub status_mask: Option<u32>,
    /// Seconds left.
    pub timeout: Option<u32>,
    /// The protocol's state.
    pub proto: Option<ProtoRecord>,
    /// Packets and bytes, original and reply.
    pub counters: [Option<(u64, u64)>; 2],
    /// Mark.
    pub mark: Option<u32>,
    /// Which bits of the mark are meant (changes and filters).
    pub mark_mask: Option<u32>,
    /// References.
    pub uses: Option<u32>,
    /// Almost unique number.
    pub id: Option<u32>,
    /// Name of the helper.
    pub helper: Option<Arc<str>>,
    /// Labels, lowest bits first.
    pub labels: Option<[u32; 4]>,
    /// Which labels are meant (changes).
    pub labels_mask: Option<[u32; 4]>,
    /// When the connection began and ended, nanoseconds since 1970.
    pub timestamps: Option<(u64, Option<u64>)>,
    /// When the event happened, nanoseconds since 1970.
    pub event_time: Option<u64>,
    /// Original tuple of the connection that announced this one.
    pub master: Option<Tuple>,
    /// Shifts of the sequence numbers.
    pub seqadj: [Option<SeqAdj>; 2],
    /// Which parts of the tuples a dump is to compare, original and reply (`CTA_FILTER`).
    pub filter: Option<[u32; 2]>,
}

impl Record {
    /// What a dump tells.
    #[must_use]
    pub fn dump(s: &Snapshot) -> Self {
        let offload = s.status & status::OFFLOAD != 0;
        Self {
            status: Some(s.status),
            mark: Some(s.mark),
            id: Some(s.id),
            // The reader's own reference is not told.
            uses: Some(s.uses.saturating_sub(1)),
            timeout: (!offload).then_some(s.timeout),
            proto: ProtoRecord::of(&s.proto, true).filter(|_| !offload),
            counters: s.counters.map_or([None; 2], |c| c.map(Some)),
            timestamps: s
                .timestamps
                .map(|(start, stop)| (start, Some(stop).filter(|t| *t != 0))),
            helper: s.helper.clone(),
            labels: Some(s.labels).filter(|l| *l != [0; 4]),
            master: s.master,
            seqadj: s.seqadj.map_or([None; 2], |a| a.map(Some)),
            ..Self::base(s)
        }
    }

    /// What an event tells: `kind` and `mask` are its own (see [`crate::events::mask`]).
    #[must_use]
    pub fn event(kind: Kind, mask: u32, s: &Snapshot) -> Self {
        let has = |bit: u32| mask & bit != 0;
        let mut r = Self {
            id: Some(s.id),
            status: Some(s.status),
            mark: Some(s.mark).filter(|m| *m != 0 || has(bits::MARK)),
            ..Self::base(s)
        };
        if kind == Kind::Destroy {
            r.timeout = Some(s.timeout).filter(|t| *t != 0);
            r.counters = s.counters.map_or([None; 2], |c| c.map(Some));
            r.timestamps = s.timestamps.map(|(start, stop)| (start, Some(stop)));
            r.proto = ProtoRecord::of(&s.proto, false);
        } else {
            r.timeout = Some(s.timeout);
            r.proto = ProtoRecord::of(&s.proto, true).filter(|_| has(bits::PROTOINFO));
            r.helper = s.helper.clone();
            r.labels = Some(s.labels).filter(|_| has(bits::LABEL));
            r.master = s.master.filter(|_| has(bits::RELATED));
            r.seqadj = s
                .seqadj
                .filter(|_| has(bits::SEQADJ))
                .map_or([None; 2], |a| a.map(Some));
        }
        r
    }

    fn base(s: &Snapshot) -> Self {
        let one_way = |d: Direction| (s.zone.dirs == 1 << d.index()).then_some(s.zone.id);
        Self {
            tuples: s.tuples.map(Some),
            tuple_zones: Direction::BOTH.map(|d| one_way(d).filter(|z| *z != 0)),
            zone: Some(s.zone.id).filter(|z| *z != 0 && s.zone.dirs == 3),
            ..Self::default()
        }
    }

    /// The family, by the first tuple there is.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        self.tuples.iter().flatten().next().map(Tuple::family)
    }

    /// Appends the attributes, in the kernel's order for dumps or for events.
    pub(super) fn encode(&self, out: &mut Vec<u8>, event: bool) {
        let w = &mut Writer(out);
        for (i, kind) in [cta::TUPLE_ORIG, cta::TUPLE_REPLY].into_iter().enumerate() {
            if let Some(t) = &self.tuples[i] {
                tuple::write(w, kind, t, self.tuple_zones[i]);
            }
        }
        if let Some(zone) = self.zone {
            w.be16(cta::ZONE, zone);
        }
        if event {
            self.put_id(w);
        }
        for (kind, v) in [
            (cta::STATUS, self.status),
            (cta::STATUS_MASK, self.status_mask),
        ] {
            put32(w, kind, v);
        }
        if event {
            put32(w, cta::TIMEOUT, self.timeout);
            self.put_counters(w);
            self.put_timestamps(w);
            self.put_protoinfo(w);
            self.put_help(w);
            self.put_labels(w);
            self.put_master(w);
            self.put_seqadj(w);
            self.put_mark(w);
            put32(w, cta::USE, self.uses);
        } else {
            self.put_mark(w);
            self.put_id(w);
            put32(w, cta::USE, self.uses);
            self.put_master(w);
            put32(w, cta::TIMEOUT, self.timeout);
            self.put_protoinfo(w);
            self.put_counters(w);
            self.put_timestamps(w);
            self.put_help(w);
            self.put_labels(w);
            self.put_seqadj(w);
        }
        if let Some(t) = self.event_time {
            w.be64(cta::TIMESTAMP_EVENT, t);
        }
        if let Some([orig, reply]) = self.filter {
            w.nest(cta::FILTER, |w| {
                w.put(1, &orig.to_ne_bytes());
                w.put(2, &reply.to_ne_bytes());
            });
        }
    }

    fn put_id(&self, w: &mut Writer<'_>) {
        put32(w, cta::ID, self.id);
    }

    fn put_mark(&self, w: &mut Writer<'_>) {
        put32(w, cta::MARK, self.mark);
        put32(w, cta::MARK_MASK, self.mark_mask);
    }

    fn put_master(&self, w: &mut Writer<'_>) {
        if let Some(t) = &self.master {
            tuple::write(w, cta::TUPLE_MASTER, t, None);
        }
    }

    fn put_help(&self, w: &mut Writer<'_>) {
        if let Some(name) = &self.helper {
            w.nest(cta::HELP, |w| w.string(1, name));
        }
    }

    fn put_counters(&self, w: &mut Writer<'_>) {
        for (kind, c) in [cta::COUNTERS_ORIG, cta::COUNTERS_REPLY]
            .into_iter()
            .zip(self.counters)
        {
            if let Some((packets, bytes)) = c {
                w.nest(kind, |w| {
                    w.be64(1, packets);
                    w.be64(2, bytes);
                });
            }
        }
    }

    fn put_timestamps(&self, w: &mut Writer<'_>) {
        if let Some((start, stop)) = self.timestamps {
            w.nest(cta::TIMESTAMP, |w| {
                w.be64(1, start);
                if let Some(stop) = stop {
                    w.be64(2, stop);
                }
            });
        }
    }

    fn put_labels(&self, w: &mut Writer<'_>) {
        for (kind, labels) in [
            (cta::LABELS, self.labels),
            (cta::LABELS_MASK, self.labels_mask),
        ] {
            if let Some(labels) = labels {
                let mut bytes = [0; 16];
                for (b, l) in bytes.chunks_exact_mut(4).zip(labels) {
                    b.copy_from_slice(&l.to_le_bytes());
                }
                w.put(kind, &bytes);
            }
        }
    }

    fn put_seqadj(&self, w: &mut Writer<'_>) {
        for (kind, adj) in [cta::SEQ_ADJ_ORIG, cta::SEQ_ADJ_REPLY]
            .into_iter()
            .zip(self.seqadj)
        {
            if let Some(a) = adj {
                w.nest(kind, |w| {
                    w.be32(1, a.pos);
                    w.be32(2, a.before as u32);
                    w.be32(3, a.after as u32);
                });
            }
        }
    }

    fn put_protoinfo(&self, w: &mut Writer<'_>) {
        let Some(p) = &self.proto else { return };
        w.nest(cta::PROTOINFO, |w| match p {
            ProtoRecord::Tcp {
                state,
                wscale,
                flags,
            } => w.nest(protoinfo::TCP, |w| {
                w.u8(protoinfo::TCP_STATE, *state);
                for (kind, s) in protoinfo::TCP_WSCALE.into_iter().zip(*wscale) {
                    if let Some(s) = s {
                        w.u8(kind, s);
                    }
                }
                for (kind, f) in protoinfo::TCP_FLAGS.into_iter().zip(*flags) {
                    if let Some((flags, mask)) = f {
                        w.put(kind, &[flags, mask]);
                    }
                }
            }),
            ProtoRecord::Sctp { state, vtag } => w.nest(protoinfo::SCTP, |w| {
                w.u8(protoinfo::SCTP_STATE, *state);
                for (kind, v) in protoinfo::SCTP_VTAG.into_iter().zip(*vtag) {
                    if let Some(v) = v {
                        w.be32(kind, v);
                    }
                }
            }),
        });
    }

    /// Reads attributes. Kinds that are not known are skipped.
    pub(super) fn decode(attrs: &[u8], family: Family) -> Result<Self, DecodeError> {
        let mut r = Self::default();
        for a in Reader(attrs) {
            let a = a?;
            match a.kind {
                cta::TUPLE_ORIG | cta::TUPLE_REPLY => {
                    let i = usize::from(a.kind - cta::TUPLE_ORIG);
                    let (t, zone) = tuple::read(a.nested(), family)?;
                    (r.tuples[i], r.tuple_zones[i]) = (Some(t), zone);
                }
                cta::TUPLE_MASTER => r.master = Some(tuple::read(a.nested(), family)?.0),
                cta::STATUS => r.status = Some(a.be32()?),
                cta::STATUS_MASK => r.status_mask = Some(a.be32()?),
                cta::PROTOINFO => r.proto = protoinfo_of(a.nested())?,
                cta::HELP => {
                    for a in a.nested() {
                        let a = a?;
                        if a.kind == 1 {
                            r.helper = Some(a.string()?.into());
                        }
                    }
                }
                cta::TIMEOUT => r.timeout = Some(a.be32()?),
                cta::MARK => r.mark = Some(a.be32()?),
                cta::MARK_MASK => r.mark_mask = Some(a.be32()?),
                cta::COUNTERS_ORIG | cta::COUNTERS_REPLY => {
                    let [packets, bytes] = numbers64(a.nested())?;
                    r.counters[usize::from(a.kind - cta::COUNTERS_ORIG)] =
                        Some((packets.unwrap_or(0), bytes.unwrap_or(0)));
                }
                cta::USE => r.uses = Some(a.be32()?),
                cta::ID => r.id = Some(a.be32()?),
                cta::SEQ_ADJ_ORIG | cta::SEQ_ADJ_REPLY => {
                    r.seqadj[usize::from(a.kind - cta::SEQ_ADJ_ORIG)] = Some(seqadj(a.nested())?);
                }
                cta::ZONE => r.zone = Some(a.be16()?),
                cta::TIMESTAMP => {
                    let [start, stop] = numbers64(a.nested())?;
                    r.timestamps = Some((start.unwrap_or(0), stop));
                }
                cta::LABELS => r.labels = Some(labels(a.value, a.kind)?),
                cta::LABELS_MASK => r.labels_mask = Some(labels(a.value, a.kind)?),
                cta::TIMESTAMP_EVENT => r.event_time = Some(a.be64()?),
                cta::FILTER => {
                    let mut flags = [0; 2];
                    for a in a.nested() {
                        let a = a?;
                        if let Some(f) = usize::from(a.kind)
                            .checked_sub(1)
                            .and_then(|i| flags.get_mut(i))
                        {
                            *f = u32::from_ne_bytes(a.bytes()?);
                        }
                    }
                    r.filter = Some(flags);
                }
                _ => {}
            }
        }
        Ok(r)
    }
}

fn put32(w: &mut Writer<'_>, kind: u16, v: Option<u32>) {
    if let Some(v) = v {
        w.be32(kind, v);
    }
}

/// The numbers of attributes 1 and 2.
fn numbers64(attrs: Reader<'_>) -> Result<[Option<u64>; 2], DecodeError> {
    let mut n = [None; 2];
    for a in attrs {
        let a = a?;
        if let 1 | 2 = a.kind {
            n[usize::from(a.kind - 1)] = Some(a.be64()?);
        }
    }
    Ok(n)
}

fn seqadj(attrs: Reader<'_>) -> Result<SeqAdj, DecodeError> {
    let mut s = SeqAdj::default();
    for a in attrs {
        let a = a?;
        match a.kind {
            1 => s.pos = a.be32()?,
            2 => s.before = a.be32()? as i32,
            3 => s.after = a.be32()? as i32,
            _ => {}
        }
    }
    Ok(s)
}

fn labels(value: &[u8], kind: u16) -> Result<[u32; 4], DecodeError> {
    if value.len() > 16 || !value.len().is_multiple_of(4) {
        return Err(DecodeError::Size(kind));
    }
    let mut l = [0; 4];
    for (l, b) in l.iter_mut().zip(value.chunks_exact(4)) {
        *l = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
    Ok(l)
}

fn protoinfo_of(attrs: Reader<'_>) -> Result<Option<ProtoRecord>, DecodeError> {
    for a in attrs {
        let a = a?;
        match a.kind {
            protoinfo::TCP => {
                let (mut state, mut wscale, mut flags) = (0, [None; 2], [None; 2]);
                for a in a.nested() {
                    let a = a?;
                    match a.kind {
                        protoinfo::TCP_STATE => state = a.u8()?,
                        2 | 3 => wscale[usize::from(a.kind - 2)] = Some(a.u8()?),
                        4 | 5 => {
                            let [f, mask] = a.bytes()?;
                            flags[usize::from(a.kind - 4)] = Some((f, mask));
                        }
                        _ => {}
                    }
                }
                return Ok(Some(ProtoRecord::Tcp {
                    state,
                    wscale,
                    flags,
                }));
            }
            protoinfo::SCTP => {
                let (mut state, mut vtag) = (0, [None; 2]);
                for a in a.nested() {
                    let a = a?;
                    match a.kind {
                        protoinfo::SCTP_STATE => state = a.u8()?,
                        2 | 3 => vtag[usize::from(a.kind - 2)] = Some(a.be32()?),
                        _ => {}
                    }
                }
                return Ok(Some(ProtoRecord::Sctp { state, vtag }));
            }
            _ => {}
        }
    }
    Ok(None)
}
