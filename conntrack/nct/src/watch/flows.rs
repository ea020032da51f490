//! Flow records: what a connection was, written when it ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;

use nulls_conntrack::event_queue::{Body, Queued};
use nulls_conntrack::events::Kind;
use nulls_conntrack::tuple::ipproto;
use nulls_conntrack::{Filter, Nanos, ProtoInfo, Snapshot, status};
use serde::Serialize;

use super::args::{FlowFormat, FlowOutput};
use super::ipfix::Ipfix;
use super::print::seconds;
use crate::replay::Failure;
use crate::replay::trace::proto_name;

/// Why a record was written; the numbers are IPFIX's (`flowEndReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// Nothing was heard for too long.
    Idle = 1,
    /// The input ended first.
    Open = 2,
    /// The connection said that it ended.
    Closed = 3,
    /// It was deleted.
    Forced = 4,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Forced => "forced",
        }
    }
}

/// A connection that ended, or was still open at the end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flow {
    /// Number of the entry.
    pub(crate) c: u32,
    /// Seconds since 1970: first packet.
    pub(crate) start: f64,
    /// Last packet.
    pub(crate) end: f64,
    /// Name of the transport protocol, and its number.
    pub(crate) proto: &'static str,
    pub(crate) protonum: u8,
    pub(crate) src: IpAddr,
    /// Ports; type and code for ICMP.
    pub(crate) sport: u16,
    pub(crate) dst: IpAddr,
    pub(crate) dport: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) icmp_code: Option<u8>,
    /// Of the original direction.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Of the reply direction.
    pub(crate) reply_packets: u64,
    pub(crate) reply_bytes: u64,
    /// Where answers come from and go to: differs from the above after address translation.
    pub(crate) reply_src: IpAddr,
    pub(crate) reply_sport: u16,
    pub(crate) reply_dst: IpAddr,
    pub(crate) reply_dport: u16,
    /// TCP and SCTP: the last state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'static str>,
    pub(crate) replied: bool,
    pub(crate) assured: bool,
    pub(crate) mark: u32,
    pub(crate) zone: u16,
    pub(crate) reason: End,
}

/// Columns of CSV and Parquet, in order.
pub(crate) const COLUMNS: [&str; 23] = [
    "c",
    "start",
    "end",
    "proto",
    "protonum",
    "src",
    "sport",
    "dst",
    "dport",
    "packets",
    "bytes",
    "reply_packets",
    "reply_bytes",
    "reply_src",
    "reply_sport",
    "reply_dst",
    "reply_dport",
    "state",
    "replied",
    "assured",
    "mark",
    "zone",
    "reason",
];

impl Flow {
    /// `last`: when its last packet came, if known.
    pub(crate) fn of(c: u32, s: &Snapshot, last: Option<Nanos>, now: Nanos, reason: End) -> Self {
        let [orig, reply] = &s.tuples;
        let [o, r] = s.counters.unwrap_or_default();
        let (start, stop) = s.timestamps.unwrap_or((now, now));
        let end = last.unwrap_or(if stop == 0 { now } else { stop });
        let icmp = matches!(orig.protonum(), ipproto::ICMP | ipproto::ICMPV6);
        let ports = |t: &nulls_conntrack::Tuple| {
            if icmp {
                (0, 0)
            } else {
                (t.src_l4(), t.dst_l4())
            }
        };
        let ((sport, dport), (reply_sport, reply_dport)) = (ports(orig), ports(reply));
        Self {
            c,
            start: seconds(start),
            end: seconds(end.max(start)),
            proto: proto_name(orig.protonum()),
            protonum: orig.protonum(),
            src: orig.src(),
            sport,
            dst: orig.dst(),
            dport,
            icmp_type: icmp.then(|| orig.icmp_type()),
            icmp_code: icmp.then(|| orig.icmp_code()),
            packets: o.0,
            bytes: o.1,
            reply_packets: r.0,
            reply_bytes: r.1,
            reply_src: reply.src(),
            reply_sport,
            reply_dst: reply.dst(),
            reply_dport,
            state: state(s),
            replied: s.status & status::SEEN_REPLY != 0,
            assured: s.status & status::ASSURED != 0,
            mark: s.mark,
            zone: s.zone.id,
            reason,
        }
    }

    /// The columns as text.
    pub(crate) fn columns(&self) -> [String; COLUMNS.len()] {
        [
            self.c.to_string(),
            format!("{:.6}", self.start),
            format!("{:.6}", self.end),
            self.proto.to_owned(),
            self.protonum.to_string(),
            self.src.to_string(),
            self.sport.to_string(),
            self.dst.to_string(),
            self.dport.to_string(),
            self.packets.to_string(),
            self.bytes.to_string(),
            self.reply_packets.to_string(),
            self.reply_bytes.to_string(),
            self.reply_src.to_string(),
            self.reply_sport.to_string(),
            self.reply_dst.to_string(),
            self.reply_dport.to_string(),
            self.state.unwrap_or_default().to_owned(),
            self.replied.to_string(),
            self.assured.to_string(),
            self.mark.to_string(),
            self.zone.to_string(),
            self.reason.name().to_owned(),
        ]
    }
}

fn state(s: &Snapshot) -> Option<&'static str> {
    match &s.proto {
        ProtoInfo::Tcp { state, .. } | ProtoInfo::Sctp { state, .. } => Some(state),
        ProtoInfo::Gre { .. } | ProtoInfo::None => None,
    }
}

/// Writes flow records somewhere.
pub(crate) trait FlowWriter {
    /// One record.
    fn flow(&mut self, flow: &Flow) -> Result<(), Failure>;
    /// The end.
    fn finish(&mut self) -> Result<(), Failure>;
}

struct Json<W>(W);

impl<W: Write> FlowWriter for Json<W> {
    fn flow(&mut self, flow: &Flow) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.0, flow)?;
        self.0.write_all(b"\n")?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.0.flush()?)
    }
}

struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> FlowWriter for Csv<W> {
    fn flow(&mut self, flow: &Flow) -> Result<(), Failure> {
        self.0
            .write_record(flow.columns())
            .map_err(|e| Failure::Output(e.into()))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.0.flush()?)
    }
}

/// Opens what the options name; standard output when they name nothing.
fn writer(o: &FlowOutput) -> Result<Box<dyn FlowWriter>, Failure> {
    let out: Box<dyn Write + Send> = match &o.write {
        Some(path) => Box::new(BufWriter::new(
            File::create(path).map_err(|e| format!("{}: {e}", path.display()))?,
        )),
        None => Box::new(io::stdout()),
    };
    Ok(match o.flow_format {
        FlowFormat::Json => Box::new(Json(BufWriter::new(out))),
        FlowFormat::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(COLUMNS)
                .map_err(|e| Failure::Output(e.into()))?;
            Box::new(Csv(csv))
        }
        FlowFormat::Ipfix => Box::new(Ipfix::new(out)),
        #[cfg(feature = "parquet")]
        FlowFormat::Parquet => {
            if o.write.is_none() {
                return Err("Parquet needs a file: --write FILE".to_owned().into());
            }
            Box::new(super::parquet::Parquet::new(out)?)
        }
    })
}

/// Makes records of events.
pub(crate) struct Recorder {
    writer: Box<dyn FlowWriter>,
    filter: Filter,
    ended_only: bool,
    /// When each open connection's last packet came.
    last: HashMap<u32, Nanos>,
    written: u64,
}

impl Recorder {
    /// Opens the output.
    pub(crate) fn new(o: &FlowOutput, filter: Filter) -> Result<Self, Failure> {
        Ok(Self {
            writer: writer(o)?,
            filter,
            ended_only: o.ended_only,
            last: HashMap::new(),
            written: 0,
        })
    }

    /// A packet of connection `c` came.
    pub(crate) fn packet(&mut self, c: u32, now: Nanos) {
        self.last.insert(c, now);
    }

    /// Records written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    fn write(&mut self, c: u32, s: &Snapshot, now: Nanos, reason: End) -> Result<(), Failure> {
        let last = self.last.remove(&c);
        if self.filter.matches_snapshot(s) {
            self.writer.flow(&Flow::of(c, s, last, now, reason))?;
            self.written += 1;
        }
        Ok(())
    }

    /// Looks at an event; the end of a connection makes a record.
    pub(crate) fn event(&mut self, e: &Queued) -> Result<(), Failure> {
        let Body::Connection {
            snapshot, extra, ..
        } = &e.body
        else {
            return Ok(());
        };
        if e.kind() != Kind::Destroy {
            return Ok(());
        }
        let c = extra.as_ref().and_then(|c| c.parse().ok()).unwrap_or(0);
        let reason = match state(snapshot) {
            Some("TIME_WAIT" | "CLOSE" | "LAST_ACK" | "CLOSED" | "SHUTDOWN_ACK_SENT") => {
                End::Closed
            }
            _ if snapshot.timeout == 0 => End::Idle,
            _ => End::Forced,
        };
        self.write(c, snapshot, e.now, reason)
    }

    /// The input ended: what is still open is told too, unless it is not wanted.
    pub(crate) fn finish(
        &mut self,
        open: impl IntoIterator<Item = (u32, Snapshot)>,
        now: Nanos,
    ) -> Result<(), Failure> {
        if !self.ended_only {
            for (c, s) in open {
                self.write(c, &s, now, End::Open)?;
            }
        }
        self.writer.finish()
    }
}
