//! What a replay records besides the trace: effects of packets, the table between them, and the frames that were sent.

use std::collections::BTreeMap;

use nulls_conntrack::Nanos;
use nulls_conntrack::stats::StatsSnapshot;

use super::case::Side;
use super::router::Router;
use super::trace::{Effects, Entry, Expected, Tick};

/// Tells what changed since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    stats: BTreeMap<&'static str, u64>,
    effects: Effects,
}

impl Changes {
    /// Notes what happened up to now, before a packet.
    pub(crate) fn before(&mut self, router: &Router) {
        self.effects = Effects {
            events_before: router.heard(),
            ..Effects::default()
        };
    }

    /// The table after a packet, and all that the packet did. Reading the table removes what has expired, as the recorder's reading did.
    pub(crate) fn after(&mut self, router: &Router, now: Nanos) -> (Vec<Entry>, Effects) {
        let mut effects = std::mem::take(&mut self.effects);
        effects.events = router.heard();
        let stats = counters(&router.tracker().stats());
        let last = std::mem::replace(&mut self.stats, stats.clone());
        effects.stats = stats
            .into_iter()
            .map(|(name, n)| (name, n.wrapping_sub(last.get(name).copied().unwrap_or(0))))
            .filter(|(_, n)| *n != 0)
            .collect();
        let entries = read(router, now, &mut effects);
        (entries, effects)
    }

    /// The table after an operation, or at a moment without any.
    pub(crate) fn tick(&mut self, router: &Router, after: i64, now: Nanos) -> Tick {
        self.before(router);
        let mut effects = std::mem::take(&mut self.effects);
        let entries = read(router, now, &mut effects);
        Tick {
            after,
            t: seconds(now),
            entries,
            effects,
        }
    }
}

fn read(router: &Router, now: Nanos, effects: &mut Effects) -> Vec<Entry> {
    let entries = router.entries(now);
    let expected = router.tracker().expectations(now);
    effects.expect = expected.iter().map(Expected::new).collect();
    effects.events_at_snapshot = router.heard();
    entries
}

/// Seconds since 1970; microseconds are what a double holds exactly in this century.
pub(crate) fn seconds(now: Nanos) -> f64 {
    (now / 1000) as f64 / 1e6
}

/// The counters that conntrack(8) shows.
fn counters(s: &StatsSnapshot) -> BTreeMap<&'static str, u64> {
    s.pairs()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("expect_"))
        .collect()
}

/// A capture file of the frames that the router sent.
#[derive(Debug)]
pub(crate) struct Frames(Vec<u8>);

impl Frames {
    /// An empty capture of Ethernet frames.
    pub(crate) fn new() -> Self {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1] {
            file.extend(u32::to_le_bytes(word));
        }
        Self(file)
    }

    /// Adds packets sent at `now`; names the side of each.
    pub(crate) fn add(&mut self, now: Nanos, sent: Vec<(Side, Vec<u8>)>) -> Vec<&'static str> {
        let mut sides = Vec::new();
        for (side, packet) in sent {
            let (n, name) = match side {
                Side::Client => (1, "client"),
                Side::Server => (2, "server"),
            };
            sides.push(name);
            let ethertype: [u8; 2] = if packet[0] >> 4 == 6 {
                [0x86, 0xdd]
            } else {
                [8, 0]
            };
            let len = 14 + packet.len() as u32;
            let micros = now / 1000;
            let time = [(micros / 1_000_000) as u32, (micros % 1_000_000) as u32];
            for word in [time[0], time[1], len, len] {
                self.0.extend(word.to_le_bytes());
            }
            self.0.extend([2, 0, 0, 0, n, 2, 2, 0, 0, 0, n, 1]);
            self.0.extend(ethertype);
            self.0.extend(packet);
        }
        sides
    }

    /// The file.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
