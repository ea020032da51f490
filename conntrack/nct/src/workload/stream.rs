//! From connections to a stream of packets in time order, kept in one block of memory.
//!
//! Time 0 is where measuring starts. Packets before it are the *warm-up*: they bring the table into the state that it would have
//! if the traffic had been going on for ever. In the warm-up most packets of long connections are left out (one group in
//! [`WARM_UP_PACE`] seconds stays), which changes nothing about the entries but makes it cheap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Rng;
use super::conn::{Conn, SECOND};
use super::packet::{self, Proto};

/// A connection sends at least this often in the warm-up, in seconds: well below every timeout of a live connection.
const WARM_UP_PACE: f64 = 10.0;

/// One packet, in a buffer that is used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    /// Nanoseconds; negative in the warm-up.
    pub(crate) time: i64,
    pub(crate) rss: u32,
    /// Length of the whole packet from the IP header on.
    pub(crate) wire_len: u16,
    /// Its headers.
    pub(crate) bytes: Vec<u8>,
    /// For the first packet of a connection.
    pub(crate) opens: Option<Opens>,
}

/// What is known of a connection when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opens {
    pub(crate) proto: Proto,
    /// Whether its server answers at all.
    pub(crate) answered: bool,
}

/// Packets in time order.
pub(crate) trait Source {
    /// Writes the next packet; false at the end.
    fn next(&mut self, packet: &mut Packet) -> bool;
}

/// Connections in the order of their start.
pub(crate) trait Arrivals {
    /// The next connection and its start in nanoseconds.
    fn next(&mut self, rng: &mut Rng) -> Option<(i64, Conn)>;
}

/// Runs many connections at once: always the packet that is due next.
#[derive(Debug)]
pub(crate) struct Scheduler<A> {
    arrivals: A,
    rng: Rng,
    /// The connection that starts next.
    coming: Option<(i64, Conn)>,
    running: Vec<Option<Running>>,
    free: Vec<u32>,
    due: BinaryHeap<Reverse<(i64, u32)>>,
}

#[derive(Debug)]
struct Running {
    conn: Conn,
    opens: Option<Opens>,
}

impl<A: Arrivals> Scheduler<A> {
    pub(crate) fn new(mut arrivals: A, mut rng: Rng) -> Scheduler<A> {
        let coming = arrivals.next(&mut rng);
        Scheduler {
            arrivals,
            rng,
            coming,
            running: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
        }
    }

    fn admit(&mut self, time: i64, conn: Conn) {
        let opens = Some(opens(&conn));
        let running = Some(Running { conn, opens });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.running[slot as usize] = running;
                slot
            }
            None => {
                self.running.push(running);
                self.running.len() as u32 - 1
            }
        };
        self.due.push(Reverse((time, slot)));
    }
}

impl<A: Arrivals> Source for Scheduler<A> {
    fn next(&mut self, packet: &mut Packet) -> bool {
        while let Some((start, _)) = &self.coming
            && self.due.peek().is_none_or(|Reverse((due, _))| start <= due)
        {
            let (start, conn) = self.coming.take().expect("looked at above");
            self.admit(start, conn);
            self.coming = self.arrivals.next(&mut self.rng);
        }
        let Some(Reverse((time, slot))) = self.due.pop() else {
            return false;
        };
        let running = self.running[slot as usize]
            .as_mut()
            .expect("what is due is running");
        let opens = running.opens.take();
        let mut wait = emit(&mut running.conn, time, opens, &mut self.rng, packet);
        if running.conn.is_done() {
            self.running[slot as usize] = None;
            self.free.push(slot);
            return true;
        }
        if time < 0 {
            let spare = (-time as f64).min(WARM_UP_PACE * SECOND) - wait;
            wait += running.conn.skip(spare);
        }
        self.due.push(Reverse((time + wait.max(1.0) as i64, slot)));
        true
    }
}

/// What is known of `conn` when it begins.
pub(crate) fn opens(conn: &Conn) -> Opens {
    use super::conn::Script;
    Opens {
        proto: match conn.script {
            Script::Udp { .. } => Proto::Udp,
            Script::Echo { .. } => Proto::Icmp,
            _ => Proto::Tcp,
        },
        answered: conn.script.answered(),
    }
}

/// Writes the next packet of `conn`; returns how long it waits afterwards.
pub(crate) fn emit(
    conn: &mut Conn,
    time: i64,
    opens: Option<Opens>,
    rng: &mut Rng,
    packet: &mut Packet,
) -> f64 {
    let (segment, wait) = conn.next(time, rng);
    packet.bytes.clear();
    packet.wire_len = packet::write(&conn.ends, &segment, &mut packet.bytes);
    packet.time = time;
    packet.rss = conn.ends.rss();
    packet.opens = opens;
    wait
}

/// A packet as it lies in a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View<'a> {
    /// Nanoseconds on the virtual clock, never negative.
    pub(crate) time: u64,
    pub(crate) wire_len: u16,
    /// The headers.
    pub(crate) bytes: &'a [u8],
}

/// Counts of what a stream holds.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Summary {
    /// Packets before measuring starts.
    pub(crate) warm_up_packets: u64,
    /// Packets that are measured.
    pub(crate) packets: u64,
    /// Bytes of the measured packets on the wire, from the IP header on.
    pub(crate) wire_bytes: u64,
    /// Connections opened in warm-up and measured part.
    pub(crate) flows: u64,
    /// Connections opened in the measured part.
    pub(crate) new_flows: u64,
    /// Share of TCP, UDP and ICMP in `flows`.
    pub(crate) tcp_share: f64,
    pub(crate) udp_share: f64,
    pub(crate) icmp_share: f64,
    /// Share of connections that are never answered, in `flows`.
    pub(crate) unreplied_share: f64,
    /// The same in `new_flows`.
    pub(crate) new_unreplied_share: f64,
    /// Length of the measured part on the virtual clock, in seconds.
    pub(crate) virtual_seconds: f64,
    /// Memory that the packets take while they wait to be sent, in bytes.
    pub(crate) memory_bytes: u64,
}

/// All packets of a run, in time order, as `time: u64, rss: u32, wire_len: u16, stored_len: u16, headers` one behind the other.
#[derive(Debug)]
pub(crate) struct Stream {
    block: Vec<u8>,
    /// Offset in `block` of each packet, in units of [`UNIT`].
    offsets: Vec<u32>,
    /// The first `warm_up` packets are not measured.
    warm_up: usize,
    pub(crate) summary: Summary,
}

const HEAD: usize = 16;
/// Packets start at multiples of this, so that 32-bit offsets reach 32 GiB.
const UNIT: usize = 8;
/// Where the virtual clock stands when measuring starts.
pub(crate) const EPOCH: u64 = 10_000 * 1_000_000_000;

impl Stream {
    /// Takes the warm-up and `packets` measured packets out of `source`; `None` when `go_on` said no.
    pub(crate) fn collect(
        mut source: impl Source,
        packets: u64,
        mut go_on: impl FnMut(u64) -> bool,
    ) -> Option<Stream> {
        let mut stream = Stream {
            block: Vec::new(),
            offsets: Vec::new(),
            warm_up: 0,
            summary: Summary::default(),
        };
        let mut packet = Packet::default();
        let mut kinds = [0u64; 3];
        let mut unreplied = [0u64; 2];
        let sum = &mut stream.summary;
        while sum.packets < packets && source.next(&mut packet) {
            let measured = packet.time >= 0;
            if measured {
                sum.packets += 1;
                sum.wire_bytes += u64::from(packet.wire_len);
                sum.virtual_seconds = packet.time as f64 / SECOND;
            } else {
                sum.warm_up_packets += 1;
            }
            if let Some(opens) = packet.opens {
                sum.flows += 1;
                sum.new_flows += u64::from(measured);
                kinds[opens.proto as usize] += 1;
                unreplied[usize::from(measured)] += u64::from(!opens.answered);
            }
            let offset =
                u32::try_from(stream.block.len() / UNIT).expect("a stream is smaller than 32 GiB");
            stream.offsets.push(offset);
            let time = EPOCH
                .checked_add_signed(packet.time)
                .expect("the warm-up is shorter than the epoch");
            stream.block.extend_from_slice(&time.to_ne_bytes());
            stream.block.extend_from_slice(&packet.rss.to_ne_bytes());
            stream
                .block
                .extend_from_slice(&packet.wire_len.to_ne_bytes());
            stream
                .block
                .extend_from_slice(&(packet.bytes.len() as u16).to_ne_bytes());
            stream.block.extend_from_slice(&packet.bytes);
            stream
                .block
                .resize(stream.block.len().next_multiple_of(UNIT), 0);
            if stream.offsets.len().is_multiple_of(4096) && !go_on(sum.packets) {
                return None;
            }
        }
        let share = |n: u64| n as f64 / sum.flows.max(1) as f64;
        sum.tcp_share = share(kinds[0]);
        sum.udp_share = share(kinds[1]);
        sum.icmp_share = share(kinds[2]);
        sum.unreplied_share = share(unreplied[0] + unreplied[1]);
        sum.new_unreplied_share = unreplied[1] as f64 / sum.new_flows.max(1) as f64;
        stream.warm_up = sum.warm_up_packets as usize;
        stream.block.shrink_to_fit();
        stream.offsets.shrink_to_fit();
        stream.summary.memory_bytes =
            (stream.block.capacity() + stream.offsets.capacity() * size_of::<u32>()) as u64;
        Some(stream)
    }

    /// Time of the last packet on the virtual clock.
    pub(crate) fn end(&self) -> u64 {
        self.offsets
            .last()
            .map_or(EPOCH, |&offset| self.view(offset).time)
    }

    /// The packets of each of `threads` threads: all packets of a connection go to one, chosen by its RSS number.
    pub(crate) fn lanes(&self, threads: usize) -> Vec<Lane<'_>> {
        let mut lanes: Vec<Lane<'_>> = (0..threads)
            .map(|_| Lane {
                stream: self,
                warm_up: Vec::new(),
                measured: Vec::new(),
            })
            .collect();
        for (i, &offset) in self.offsets.iter().enumerate() {
            let lane = (u64::from(self.rss(offset)) * threads as u64) >> 32;
            let lane = &mut lanes[lane as usize];
            if i < self.warm_up {
                lane.warm_up.push(offset);
            } else {
                lane.measured.push(offset);
            }
        }
        lanes
    }

    fn rss(&self, offset: u32) -> u32 {
        let at = offset as usize * UNIT + 8;
        u32::from_ne_bytes(self.block[at..at + 4].try_into().expect("four bytes"))
    }

    fn view(&self, offset: u32) -> View<'_> {
        let packet = &self.block[offset as usize * UNIT..];
        let (head, rest) = packet
            .split_first_chunk::<HEAD>()
            .expect("every packet has a head");
        let u16_at = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        View {
            time: u64::from_ne_bytes(*head.first_chunk().expect("16 bytes hold 8")),
            wire_len: u16_at(12),
            bytes: &rest[..usize::from(u16_at(14))],
        }
    }
}

/// The packets of one thread.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    stream: &'a Stream,
    warm_up: Vec<u32>,
    measured: Vec<u32>,
}

impl<'a> Lane<'a> {
    pub(crate) fn warm_up(&self) -> impl ExactSizeIterator<Item = View<'a>> {
        self.warm_up.iter().map(|&offset| self.stream.view(offset))
    }

    pub(crate) fn measured(&self) -> impl ExactSizeIterator<Item = View<'a>> {
        self.measured.iter().map(|&offset| self.stream.view(offset))
    }
}
