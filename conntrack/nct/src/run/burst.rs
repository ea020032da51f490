//! Packets in bursts, as poll-mode drivers hand them over: what is timed goes from headers that lie in memory, ready to be read, to updated entries.
//!
//! Bringing a burst's headers to where the tracker finds them, and looking at what became of them, happens between two bursts and is not timed. Letting go of
//! the entries is.

use nulls_conntrack::clock::Jiffies;
use nulls_conntrack::{Family, Hook, Packet, Store, Tracker, Verdict};

use super::worker::Tally;
use crate::workload::stream::View;

/// Most packets of a burst.
pub(crate) const MOST: usize = 256;

/// What an answered UDP connection's timeout is set to by each packet, in seconds: short ones, and streams.
const TIMEOUTS: [u32; 2] = [30, 120];

/// Packets of a burst, each in a room of its own.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    room: usize,
    /// Of each frame, the length of the headers that are in it, of the whole packet, and its time.
    frames: Vec<(usize, usize, u64)>,
    used: usize,
}

impl Frames {
    /// Room for `count` packets of at most `longest` bytes.
    pub(super) fn new(count: usize, longest: u16) -> Frames {
        // One cache line more than it takes: a power of two would put all headers into the same sets of the cache.
        let room = usize::from(longest).next_multiple_of(64) + 64;
        Frames {
            bytes: vec![0; room * count],
            room,
            frames: vec![(0, 0, 0); count],
            used: 0,
        }
    }

    /// Takes the next packets, as many as there is room for. Payloads are zeros, so only headers are copied.
    pub(super) fn load<'a>(&mut self, packets: &mut impl Iterator<Item = View<'a>>) -> usize {
        self.used = 0;
        for ((header, whole, time), room) in self
            .frames
            .iter_mut()
            .zip(self.bytes.chunks_exact_mut(self.room))
        {
            let Some(packet) = packets.next() else { break };
            let n = packet.bytes.len();
            room[..n].copy_from_slice(packet.bytes);
            if n < *header {
                room[n..*header].fill(0);
            }
            (*header, *whole, *time) = (n, usize::from(packet.wire_len), packet.time);
            self.used += 1;
        }
        self.used
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.bytes
            .chunks_exact(self.room)
            .zip(&self.frames)
            .take(self.used)
            .map(|(room, &(_, whole, time))| (&room[..whole], time))
    }
}

/// Tracks and confirms the burst. Returns the nanoseconds that the tracker took.
pub(super) fn pass<S: Store>(
    tracker: &Tracker<S>,
    frames: &Frames,
    verify: bool,
    clock: &quanta::Clock,
    tally: &mut Tally,
) -> u64 {
    // One look at the clock serves the burst.
    let now = frames.iter().last().map_or(0, |(_, time)| time);
    let mut packets: Vec<Packet<'_, '_, S>> = frames
        .iter()
        .map(|(bytes, _)| {
            let family = match bytes[0] >> 4 {
                6 => Family::Ipv6,
                _ => Family::Ipv4,
            };
            let mut packet = Packet::new(bytes, family, now);
            packet.checksum_ok = !verify;
            packet
        })
        .collect();
    let mut accepted = [false; MOST];
    let mut verdicts = accepted.iter_mut();
    let start = clock.raw();
    tracker.track_batch(
        &mut packets,
        Hook::PreRouting,
        |tracker, packet, verdict| {
            let accept = verdict == Verdict::Accept
                && tracker.confirm(packet, Hook::PostRouting) == Verdict::Accept;
            if let Some(mine) = verdicts.next() {
                *mine = accept;
            }
        },
    );
    let tracked = clock.raw();
    for (packet, accepted) in packets.iter().zip(accepted) {
        tally.count(accepted.then(|| packet.state()));
        tally.stale += u64::from(!is_fresh(packet, now));
    }
    let counted = clock.raw();
    drop(packets);
    let end = clock.raw();
    clock.delta_as_nanos(start, tracked) + clock.delta_as_nanos(counted, end)
}

/// Whether a UDP packet's entry will live as long as if it had just been updated; entries of other protocols are not looked at.
fn is_fresh<S: Store>(packet: &Packet<'_, '_, S>, now: u64) -> bool {
    let Some(entry) = packet.conn() else {
        return true;
    };
    let tuple = entry.tuple(nulls_conntrack::Direction::Original);
    if tuple.protonum() != nulls_conntrack::tuple::ipproto::UDP {
        return true;
    }
    let deadline = entry.peek().timeout;
    TIMEOUTS
        .iter()
        .any(|&s| Jiffies::at(now).plus(Jiffies::secs(s)).0 == deadline)
}
