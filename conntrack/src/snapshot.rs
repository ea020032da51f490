//! A copy of everything that dumps show of a connection.

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::seqadj::SeqAdj;
use crate::status;
use crate::tuple::{Direction, Tuple};
use crate::zone::Zone;
use std::sync::Arc;

/// What a protocol adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtoInfo {
    /// Nothing.
    None,
    /// TCP.
    Tcp {
        /// Name of the state as `/proc` prints it.
        state: &'static str,
        /// Window scale, original and reply.
        wscale: [u8; 2],
        /// `IP_CT_TCP_FLAG_*`, original and reply.
        flags: [u8; 2],
    },
    /// SCTP.
    Sctp {
        /// Name of the state as `/proc` prints it.
        state: &'static str,
        /// Verification tags, original and reply; numbers whose big-endian bytes are the packet's.
        vtag: [u32; 2],
    },
    /// GRE: its two timeouts, in seconds.
    Gre {
        /// Unanswered.
        timeout: u32,
        /// Answered.
        stream_timeout: u32,
    },
}

/// A connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Almost unique number.
    pub id: u32,
    /// Tuples, original and reply.
    pub tuples: [Tuple; 2],
    /// Zone.
    pub zone: Zone,
    /// Status bits, see [`crate::status`].
    pub status: u32,
    /// Whole seconds left.
    pub timeout: u32,
    /// The protocol's own state.
    pub proto: ProtoInfo,
    /// Packets and bytes, original and reply, if they are counted.
    pub counters: Option<[(u64, u64); 2]>,
    /// Start and stop, if they are kept.
    pub timestamps: Option<(Nanos, Nanos)>,
    /// Mark.
    pub mark: u32,
    /// Labels as four words, lowest bits first.
    pub labels: [u32; 4],
    /// Name of the helper.
    pub helper: Option<Arc<str>>,
    /// Original tuple of the connection that announced this one.
    pub master: Option<Tuple>,
    /// Shifts of the TCP sequence numbers, original and reply, if a helper changed the length of something.
    pub seqadj: Option<[SeqAdj; 2]>,
    /// References, the reader's own included, and one for each connection that this one has announced.
    pub uses: u32,
}

impl Snapshot {
    /// Copies `c` as it is at `now`, with `uses` references.
    #[must_use]
    pub fn of<U>(c: &Conn<U>, uses: u32, now: Nanos) -> Self {
        let inner = c.inner();
        Self {
            id: c.id(),
            tuples: Direction::BOTH.map(|d| c.tuple(d)),
            zone: c.zone(),
            status: c.status(),
            timeout: c.secs_left(now),
            proto: inner.proto.info(),
            counters: c
                .counters(Direction::Original)
                .zip(c.counters(Direction::Reply))
                .map(|(o, r)| [o, r]),
            timestamps: c.timestamps(),
            mark: c.mark(),
            labels: c.labels(),
            helper: inner.helper(),
            master: inner.master(),
            seqadj: c.has(status::SEQ_ADJUST).then(|| inner.seqadj()),
            uses: uses + inner.children(),
        }
    }
}
