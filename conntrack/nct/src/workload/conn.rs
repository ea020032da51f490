//! One connection as a state machine that hands out its packets one by one, in both directions.
//!
//! Sequence numbers advance over what was really handed out, acknowledgements never pass what the other side has sent, and no
//! burst exceeds the window ([`WINDOW`] << [`WINDOW_SCALE`]): a tracker that checks windows finds nothing to object to. Waits
//! inside a connection stay below [`LONGEST_WAIT`], which is half of the shortest timeout (30 s) of a live connection.

use rand::RngExt;
use rand_distr::Exp1;

use super::Rng;
use super::packet::{ACK, Ends, FIN, Layer4, PSH, RST, SYN, Segment, Side, WINDOW_SCALE};

/// Advertised after the handshake, before scaling.
const WINDOW: u16 = 8192;
/// Most groups that are sent before the other side acknowledges: with the largest groups still within the window.
const MAX_BURST: u32 = 64;
const _: () = assert!(
    (MAX_BURST as usize) * (MAX_PER_ACK as usize) * (MSS as usize)
        < (WINDOW as usize) << WINDOW_SCALE
);
/// Most data packets that one acknowledgement covers.
pub(crate) const MAX_PER_ACK: u8 = 8;
/// Payload of a full TCP segment with timestamps, IPv4 and IPv6.
pub(crate) const MSS: u16 = 1448;
const MSS_V6: u16 = 1428;

pub(crate) const MICROSECOND: f64 = 1e3;
pub(crate) const MILLISECOND: f64 = 1e6;
pub(crate) const SECOND: f64 = 1e9;
/// Packets of a train follow each other at the pace of a 1 Gbit/s link.
const BACK_TO_BACK: f64 = 12.0 * MICROSECOND;
/// AGH's flows end after 15 s of silence, so no wait inside a flow is longer.
pub(crate) const LONGEST_WAIT: f64 = 14.0 * SECOND;

/// What a connection does from its first packet to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// SYNs that nobody answers.
    Unanswered { syns: u32 },
    /// SYN, then RST|ACK from a closed port.
    Refused,
    /// A handshake that the server ends with RST.
    Aborted,
    /// Handshake, `groups` of `per_ack` data packets and one acknowledgement, and `close`: `6 + groups · (per_ack + 1)` packets.
    Tcp {
        groups: u32,
        per_ack: u8,
        segment: u16,
        close: Close,
    },
    /// `exchanges` of one datagram each way, or (not `answered`) only the client's.
    Udp {
        exchanges: u32,
        answered: bool,
        payload: u16,
    },
    /// Echo request and reply.
    Echo { exchanges: u32, payload: u16 },
}

/// How a TCP connection ends; both ways take three packets, two of them the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// FIN of the server, FIN of the client, ACK.
    Fin,
    /// Data and FIN of the server, RST of the client.
    Rst,
}

/// `groups` or `exchanges` of a connection that never ends.
pub(crate) const ENDLESS: u32 = u32::MAX;

impl Script {
    /// Packets of both directions.
    pub(crate) fn packets(&self) -> u64 {
        match *self {
            Script::Unanswered { syns } => u64::from(syns),
            Script::Refused => 2,
            Script::Aborted => 4,
            Script::Tcp {
                groups, per_ack, ..
            } => 6 + u64::from(groups) * (u64::from(per_ack) + 1),
            Script::Udp {
                exchanges,
                answered,
                ..
            } => u64::from(exchanges) * if answered { 2 } else { 1 },
            Script::Echo { exchanges, .. } => u64::from(exchanges) * 2,
        }
    }

    /// Whether the server ever sends.
    pub(crate) fn answered(&self) -> bool {
        !matches!(
            self,
            Script::Unanswered { .. }
                | Script::Udp {
                    answered: false,
                    ..
                }
        )
    }

    /// Seconds that the tracker keeps the entry after a connection of `seconds` ended: the defaults of Linux 6.18.
    pub(crate) fn linger(&self, seconds: f64) -> f64 {
        match *self {
            Script::Unanswered { .. } => 120.0, // SYN_SENT
            Script::Refused => 0.0,             // RST before any answer: deleted at once
            Script::Aborted
            | Script::Tcp {
                close: Close::Rst, ..
            } => 10.0, // CLOSE
            Script::Tcp {
                close: Close::Fin, ..
            } => 120.0, // TIME_WAIT
            Script::Udp { answered: true, .. } if seconds > 2.0 => 120.0, // a stream
            Script::Udp { .. } | Script::Echo { .. } => 30.0,
        }
    }
}

/// Where a connection is in its script: the packet it sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Syn,
    SynAck,
    Established,
    Refuse,
    Abort,
    Data,
    /// The close, packet 0, 1 or 2.
    Close(u8),
    Request,
    Reply,
    Done,
}

/// A connection between two of its packets.
#[derive(Clone, Debug)]
pub(crate) struct Conn {
    pub(crate) ends: Ends,
    pub(crate) script: Script,
    /// Mean nanoseconds between packets.
    gap: f32,
    /// Nanoseconds between a packet and its answer.
    rtt: f32,
    /// Groups or exchanges still to be started.
    left: u32,
    /// Next sequence number of each side (ICMP: of the echo).
    next: [u32; 2],
    /// What each side has acknowledged of the other's.
    acked: [u32; 2],
    step: Step,
    /// Whether data was ever sent.
    started: bool,
    sender: Side,
    /// Payload of each data packet of the current burst.
    segment: u16,
    data_left: u16,
    acks_left: u16,
}

impl Conn {
    /// A connection before its first packet; `gap` and `rtt` in nanoseconds.
    pub(crate) fn new(ends: Ends, script: Script, gap: f64, rtt: f64, rng: &mut Rng) -> Conn {
        let (step, left) = match script {
            Script::Unanswered { syns } => (Step::Syn, syns),
            Script::Refused | Script::Aborted => (Step::Syn, 0),
            Script::Tcp { groups, .. } => (Step::Syn, groups),
            Script::Udp { exchanges, .. } | Script::Echo { exchanges, .. } => {
                (Step::Request, exchanges)
            }
        };
        Conn {
            ends,
            script,
            gap: gap as f32,
            rtt: rtt as f32,
            left,
            next: match script {
                Script::Echo { .. } | Script::Udp { .. } => [0, 0],
                _ => [rng.random(), rng.random()],
            },
            acked: [0, 0],
            step,
            started: false,
            sender: Side::Client,
            segment: 0,
            data_left: 0,
            acks_left: 0,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// True when the script allows to leave out whole groups here: nothing is on its way.
    fn at_rest(&self) -> bool {
        match self.step {
            Step::Data => self.data_left == 0 && self.acks_left == 0,
            Step::Request => !matches!(self.script, Script::Tcp { .. }),
            _ => false,
        }
    }

    /// Leaves out as many groups as fit into `nanoseconds` and returns the time they would have taken.
    pub(crate) fn skip(&mut self, nanoseconds: f64) -> f64 {
        if !self.at_rest() || self.left == ENDLESS {
            return 0.0;
        }
        let packets = match self.script {
            Script::Tcp { per_ack, .. } => f64::from(per_ack) + 1.0,
            _ => 2.0,
        };
        // The last group stays, so that a connection does not end while it is skipped.
        let period = packets * f64::from(self.gap);
        let groups = (nanoseconds / period)
            .max(0.0)
            .min(f64::from(self.left.saturating_sub(1)));
        let groups = groups as u32;
        self.left -= groups;
        f64::from(groups) * period
    }

    /// The next packet, stamped with `now` (nanoseconds), and how long the connection waits after it. Not to be called when done.
    pub(crate) fn next(&mut self, now: i64, rng: &mut Rng) -> (Segment, f64) {
        let rtt = f64::from(self.rtt);
        match self.step {
            Step::Syn => {
                let answer = match self.script {
                    Script::Unanswered { .. } => {
                        self.left -= 1;
                        // Retransmitted with the same number after 1, 2, 4, 8 s and then again and again.
                        let wait = SECOND * f64::from(1u32 << self.acks_left.min(3));
                        self.acks_left += 1;
                        self.step = if self.left == 0 {
                            Step::Done
                        } else {
                            Step::Syn
                        };
                        return (self.tcp(Side::Client, SYN, 0, now), wait);
                    }
                    Script::Refused => Step::Refuse,
                    _ => Step::SynAck,
                };
                self.step = answer;
                (self.sent(Side::Client, SYN, 0, now), rtt / 2.0)
            }
            Step::SynAck => {
                self.step = Step::Established;
                self.acked[Side::Server as usize] = self.next[Side::Client as usize];
                (self.sent(Side::Server, SYN | ACK, 0, now), rtt / 2.0)
            }
            Step::Established => {
                self.acked[Side::Client as usize] = self.next[Side::Server as usize];
                self.step = match self.script {
                    Script::Aborted => Step::Abort,
                    _ if self.left == 0 => Step::Close(0),
                    _ => Step::Data,
                };
                (self.sent(Side::Client, ACK, 0, now), BACK_TO_BACK)
            }
            Step::Refuse => {
                self.step = Step::Done;
                // RFC 9293: a reset that answers a segment without ACK has sequence number 0.
                self.next[Side::Server as usize] = 0;
                self.acked[Side::Server as usize] = self.next[Side::Client as usize];
                (self.tcp(Side::Server, RST | ACK, 0, now), 0.0)
            }
            Step::Abort => {
                self.step = Step::Done;
                (self.tcp(Side::Server, RST | ACK, 0, now), 0.0)
            }
            Step::Data => self.data(now, rng),
            Step::Close(n) => self.close(n, now),
            Step::Request => self.request(rng),
            Step::Reply => {
                self.step = if self.left == 0 {
                    Step::Done
                } else {
                    Step::Request
                };
                let wait = self.pause(2, rtt, rng);
                (self.datagram(Side::Server), wait)
            }
            Step::Done => unreachable!("a connection that is done has no next packet"),
        }
    }

    fn data(&mut self, now: i64, rng: &mut Rng) -> (Segment, f64) {
        let Script::Tcp {
            per_ack, segment, ..
        } = self.script
        else {
            unreachable!("only TCP transfers data in groups");
        };
        if self.data_left == 0 && self.acks_left == 0 {
            self.start_burst(per_ack, segment, rng);
        }
        let packets = u32::from(self.data_left + self.acks_left);
        if self.data_left > 0 {
            self.data_left -= 1;
            let last = self.data_left == 0;
            let flags = if last { ACK | PSH } else { ACK };
            let segment = self.sent(self.sender, flags, self.segment, now);
            let wait = if last {
                self.rtt_within(packets)
            } else {
                BACK_TO_BACK
            };
            return (segment, wait);
        }
        self.acks_left -= 1;
        let acker = self.sender.other();
        let covered = u32::from(per_ack) * u32::from(self.segment);
        self.acked[acker as usize] = self.acked[acker as usize].wrapping_add(covered);
        let segment = self.sent(acker, ACK, 0, now);
        let wait = match (self.acks_left, self.left) {
            (0, 0) => {
                self.step = Step::Close(0);
                self.pause(1, 0.0, rng)
            }
            (0, _) => {
                let packets = self.next_burst_packets(per_ack);
                self.pause(packets, self.rtt_within(packets), rng)
            }
            _ => BACK_TO_BACK,
        };
        (segment, wait)
    }

    /// The first burst is one group of the client's, the request, which fits into the unscaled window of a SYN|ACK; later ones come from the server four times out of five.
    fn start_burst(&mut self, per_ack: u8, segment: u16, rng: &mut Rng) {
        let first = !std::mem::replace(&mut self.started, true);
        self.sender = if first || rng.random_bool(0.2) {
            Side::Client
        } else {
            Side::Server
        };
        let groups = if first {
            1
        } else {
            rng.random_range(1..=self.largest_burst())
        };
        self.segment = segment.min(if self.ends.v6 { MSS_V6 } else { MSS });
        if self.left != ENDLESS {
            self.left -= groups;
        }
        self.data_left = groups as u16 * u16::from(per_ack);
        self.acks_left = groups as u16;
    }

    /// A sender keeps about one round trip of its own pace in flight.
    fn largest_burst(&self) -> u32 {
        ((self.rtt / self.gap) as u32)
            .clamp(1, MAX_BURST)
            .min(self.left)
    }

    fn next_burst_packets(&self, per_ack: u8) -> u32 {
        (1 + self.largest_burst()).div_ceil(2) * (u32::from(per_ack) + 1)
    }

    /// The round trip, but never more than the time that this many packets have.
    fn rtt_within(&self, packets: u32) -> f64 {
        f64::from(self.rtt.min(self.gap * packets as f32))
    }

    /// An exponential wait whose mean is what `packets` packets have, less the time `spent` already.
    fn pause(&self, packets: u32, spent: f64, rng: &mut Rng) -> f64 {
        let mean = (f64::from(self.gap) * f64::from(packets) - spent).max(BACK_TO_BACK);
        (mean * rng.sample::<f64, _>(Exp1)).min(LONGEST_WAIT)
    }

    fn close(&mut self, n: u8, now: i64) -> (Segment, f64) {
        let Script::Tcp { segment, close, .. } = self.script else {
            unreachable!("only TCP closes");
        };
        let rtt = f64::from(self.rtt);
        self.step = if n == 2 {
            Step::Done
        } else {
            Step::Close(n + 1)
        };
        match (close, n) {
            (Close::Fin, 0) => (self.sent(Side::Server, FIN | ACK, 0, now), rtt),
            (Close::Fin, 1) => {
                self.acked[Side::Client as usize] = self.next[Side::Server as usize];
                (self.sent(Side::Client, FIN | ACK, 0, now), rtt)
            }
            (Close::Fin, _) => {
                self.acked[Side::Server as usize] = self.next[Side::Client as usize];
                (self.sent(Side::Server, ACK, 0, now), 0.0)
            }
            (Close::Rst, 0) => {
                let payload = segment.min(MSS_V6);
                (
                    self.sent(Side::Server, ACK | PSH, payload, now),
                    BACK_TO_BACK,
                )
            }
            (Close::Rst, 1) => (self.sent(Side::Server, FIN | ACK, 0, now), rtt),
            (Close::Rst, _) => (self.tcp(Side::Client, RST | ACK, 0, now), 0.0),
        }
    }

    fn request(&mut self, rng: &mut Rng) -> (Segment, f64) {
        if self.left != ENDLESS {
            self.left -= 1;
        }
        let segment = self.datagram(Side::Client);
        if self.script.answered() {
            self.step = Step::Reply;
            return (segment, f64::from(self.rtt));
        }
        self.step = if self.left == 0 {
            Step::Done
        } else {
            Step::Request
        };
        let wait = self.pause(1, 0.0, rng);
        (segment, wait)
    }

    fn datagram(&mut self, from: Side) -> Segment {
        match self.script {
            Script::Echo { payload, .. } => {
                let seq = &mut self.next[from as usize];
                *seq += 1;
                let seq = *seq as u16;
                Segment {
                    from,
                    layer4: Layer4::Echo { seq },
                    payload,
                }
            }
            Script::Udp { payload, .. } => Segment {
                from,
                layer4: Layer4::Udp,
                payload,
            },
            _ => unreachable!("TCP has no datagrams"),
        }
    }

    /// A TCP packet whose sequence space is used up by it.
    fn sent(&mut self, from: Side, flags: u8, payload: u16, now: i64) -> Segment {
        let segment = self.tcp(from, flags, payload, now);
        let used = u32::from(payload) + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.next[from as usize] = self.next[from as usize].wrapping_add(used);
        segment
    }

    fn tcp(&self, from: Side, flags: u8, payload: u16, now: i64) -> Segment {
        Segment {
            from,
            layer4: Layer4::Tcp {
                flags,
                seq: self.next[from as usize],
                ack: if flags & ACK != 0 {
                    self.acked[from as usize]
                } else {
                    0
                },
                window: match (flags & SYN, flags & RST) {
                    (0, 0) => WINDOW,
                    (0, _) => 0,
                    _ => u16::MAX,
                },
                stamp: (now / 1_000_000) as u32,
            },
            payload,
        }
    }
}
