//! Connections and packets as JSON. The schema is documented in `JSON.md`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nulls_conntrack::expect::{self, Expectation};
use nulls_conntrack::proc_fs::l4_name;
use nulls_conntrack::seqadj::SeqAdj;
use nulls_conntrack::tuple::ipproto;
use nulls_conntrack::{Direction, ProtoInfo, Snapshot, Tuple, status};
use serde::Serialize;

use super::journal::Told;

/// One packet of a trace.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// Index of the packet, from 0.
    pub(crate) i: u64,
    /// The clock: seconds since 1970.
    pub(crate) t: f64,
    pub(crate) state: &'static str,
    pub(crate) dir: Option<&'static str>,
    pub(crate) status: u32,
    pub(crate) verdict: &'static str,
    #[serde(skip_serializing_if = "Reasons::is_none")]
    pub(crate) reason: Reasons,
    /// Sides that the router sent packets to because of this one, one name for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) out: Option<Vec<&'static str>>,
    /// Number of the packet's entry.
    pub(crate) c: Option<u32>,
    #[serde(flatten)]
    pub(crate) effects: Effects,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entries: Option<Vec<Entry>>,
}

/// What the kernel would have logged about a packet.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Reasons {
    None,
    One(String),
    Several(Vec<String>),
}

impl Reasons {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The first.
    pub(crate) fn first(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::One(r) => Some(r),
            Self::Several(all) => all.first().map(String::as_str),
        }
    }
}

/// What else a packet did, or what time did before it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Effects {
    /// Changes of the counters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stats: BTreeMap<&'static str, u64>,
    /// Events since the table was last read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events_before: Vec<Told>,
    /// Events that the packet caused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<Told>,
    /// Events that reading the table caused: expired entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events_at_snapshot: Vec<Told>,
    /// All expectations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) expect: Vec<Expected>,
}

/// The table between packets.
#[derive(Debug, Serialize)]
pub(crate) struct Tick {
    /// Index of the last packet before.
    pub(crate) after: i64,
    /// The clock: seconds since 1970.
    pub(crate) t: f64,
    pub(crate) entries: Vec<Entry>,
    #[serde(flatten)]
    pub(crate) effects: Effects,
}

/// One connection.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) c: Option<u32>,
    l3proto: &'static str,
    proto: &'static str,
    protonum: u8,
    timeout: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wscale: Option<[u8; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcpflags: Option<[u8; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vtag: Option<[String; 2]>,
    orig: Side,
    reply: Side,
    flags: Vec<&'static str>,
    status: u32,
    mark: u32,
    zone: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    helper: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<Master>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seqadj_orig: Option<Shift>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seqadj_reply: Option<Shift>,
}

/// One direction of a connection.
#[derive(Debug, Serialize)]
struct Side {
    src: IpAddr,
    dst: IpAddr,
    #[serde(flatten)]
    transport: Transport,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Transport {
    Ports { sport: u16, dport: u16 },
    Icmp { r#type: u8, code: u8, id: u16 },
    Keys { srckey: u16, dstkey: u16 },
    Nothing {},
}

impl Transport {
    fn of(t: &Tuple) -> Self {
        match t.protonum() {
            ipproto::TCP | ipproto::UDP | ipproto::UDPLITE | ipproto::SCTP => Self::Ports {
                sport: t.src_l4(),
                dport: t.dst_l4(),
            },
            ipproto::ICMP | ipproto::ICMPV6 => Self::Icmp {
                r#type: t.icmp_type(),
                code: t.icmp_code(),
                id: t.src_l4(),
            },
            ipproto::GRE => Self::numbers(ipproto::GRE, t.src_l4(), t.dst_l4()),
            _ => Self::Nothing {},
        }
    }

    /// Ports, or keys of GRE.
    fn numbers(protonum: u8, src: u16, dst: u16) -> Self {
        match protonum {
            ipproto::GRE => Self::Keys {
                srckey: src,
                dstkey: dst,
            },
            _ => Self::Ports {
                sport: src,
                dport: dst,
            },
        }
    }
}

/// A tuple with its protocol: that of the connection that announced another one, or of one that is expected.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Master {
    src: IpAddr,
    dst: IpAddr,
    protonum: u8,
    #[serde(flatten)]
    transport: Transport,
}

impl Master {
    fn new(t: &Tuple) -> Self {
        Self {
            src: t.src(),
            dst: t.dst(),
            protonum: t.protonum(),
            transport: Transport::of(t),
        }
    }

    /// What an expected connection looks like; 0 where anything fits.
    pub(crate) fn expected(e: &Expectation) -> Self {
        let any = zero(e.dst);
        Self {
            src: e.src.unwrap_or(any),
            dst: e.dst,
            protonum: e.protonum,
            transport: Transport::numbers(e.protonum, e.sport.unwrap_or(0), e.dport),
        }
    }

    /// The bits that must be right.
    fn mask(e: &Expectation) -> Self {
        let (none, all) = match e.dst {
            IpAddr::V4(_) => (zero(e.dst), Ipv4Addr::BROADCAST.into()),
            IpAddr::V6(_) => (zero(e.dst), Ipv6Addr::from([0xff; 16]).into()),
        };
        Self {
            src: if e.src.is_some() { all } else { none },
            dst: all,
            protonum: e.protonum,
            transport: Transport::numbers(
                e.protonum,
                if e.sport.is_some() { u16::MAX } else { 0 },
                u16::MAX,
            ),
        }
    }
}

fn zero(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// An expectation.
#[derive(Debug, Serialize)]
pub(crate) struct Expected {
    l3proto: &'static str,
    master: Master,
    tuple: Master,
    mask: Master,
    timeout: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    helper: Option<String>,
    flags: u32,
    class: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#fn: Option<&'static str>,
}

impl Expected {
    /// The JSON form of an expectation.
    pub(crate) fn new(e: &expect::Expected) -> Self {
        Self {
            l3proto: e.master.family().name(),
            master: Master::new(&e.master),
            tuple: Master::expected(&e.what),
            mask: Master::mask(&e.what),
            timeout: e.timeout,
            helper: e.helper.as_deref().map(str::to_owned),
            flags: u32::from(e.what.permanent),
            class: e.class,
            // A call's translation has no name.
            r#fn: e
                .what
                .follow
                .filter(|_| e.what.protonum != ipproto::GRE)
                .map(|_| "nat-follow-master"),
        }
    }
}

/// How the sequence numbers of a direction are shifted.
#[derive(Debug, Serialize)]
struct Shift {
    pos: u32,
    before: i32,
    after: i32,
}

impl Shift {
    fn new(a: SeqAdj) -> Self {
        Self {
            pos: a.pos,
            before: a.before,
            after: a.after,
        }
    }
}

/// Protocol names as conntrack(8) knows them, one more than the kernel's.
pub(crate) fn proto_name(protonum: u8) -> &'static str {
    if protonum == 33 {
        "dccp"
    } else {
        l4_name(protonum)
    }
}

/// Name of a direction.
pub(crate) fn dir_name(dir: Direction) -> &'static str {
    match dir {
        Direction::Original => "original",
        Direction::Reply => "reply",
    }
}

impl Entry {
    /// The JSON form of a connection with the number `c`.
    pub(crate) fn new(s: &Snapshot, c: Option<u32>) -> Self {
        let side = |dir: Direction| {
            let t = &s.tuples[dir.index()];
            let counters = s.counters.map(|c| c[dir.index()]);
            Side {
                src: t.src(),
                dst: t.dst(),
                transport: Transport::of(t),
                zone: (s.zone.id != 0 && s.zone.dirs == 1 << dir.index()).then_some(s.zone.id),
                packets: counters.map(|c| c.0),
                bytes: counters.map(|c| c.1),
            }
        };
        let (mut state, mut wscale, mut tcpflags, mut vtag) = (None, None, None, None);
        match &s.proto {
            ProtoInfo::Tcp {
                state: name,
                wscale: scale,
                flags,
            } => {
                state = Some(*name);
                wscale = Some(*scale);
                tcpflags = Some(*flags);
            }
            ProtoInfo::Sctp {
                state: name,
                vtag: tags,
            } => {
                state = Some(*name);
                vtag = Some(tags.map(|t| format!("{t:08x}")));
            }
            ProtoInfo::Gre { .. } | ProtoInfo::None => {}
        }
        let mut flags = Vec::new();
        if s.status & status::SEEN_REPLY == 0 {
            flags.push("UNREPLIED");
        }
        if s.status & status::ASSURED != 0 {
            flags.push("ASSURED");
        }
        Self {
            c,
            l3proto: s.tuples[0].family().name(),
            proto: proto_name(s.tuples[0].protonum()),
            protonum: s.tuples[0].protonum(),
            timeout: s.timeout,
            state,
            wscale,
            tcpflags,
            vtag,
            orig: side(Direction::Original),
            reply: side(Direction::Reply),
            flags,
            status: s.status,
            mark: s.mark,
            zone: if s.zone.dirs == 3 { s.zone.id } else { 0 },
            helper: s.helper.as_deref().map(str::to_owned),
            master: s.master.as_ref().map(Master::new),
            labels: (s.labels != [0; 4]).then(|| labels(s.labels)),
            seqadj_orig: s.seqadj.map(|a| Shift::new(a[0])),
            seqadj_reply: s.seqadj.map(|a| Shift::new(a[1])),
        }
    }
}

/// The 16 bytes of the label bits in hexadecimal, lowest bits first.
fn labels(words: [u32; 4]) -> String {
    words
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .map(|b| format!("{b:02x}"))
        .collect()
}
