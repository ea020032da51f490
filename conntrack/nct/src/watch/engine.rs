//! Frames in, connections out: what captures and live interfaces have in common.

use std::io::Write;

use nulls_conntrack::{Nanos, Tracker};

use super::args::Settings;
use crate::capture::frame::{self, Payload};
use crate::capture::source::Record;
use crate::replay::Failure;
use crate::replay::case::{Config, NatChains};
use crate::replay::router::{Arrival, Outcome, Router};
use crate::replay::settings::{self, Setting};
use crate::replay::summary::Summary;
use crate::replay::table::{Numbers, Table};

/// Room for the longest IP packet: the header of IPv6 does not count in its length field.
const LONGEST: usize = 65_535 + 40;

/// A tracker that is fed with frames.
pub(crate) struct Engine {
    router: Router,
    clock: Nanos,
    summary: Summary,
    padded: Vec<u8>,
    packets: u64,
    bytes: u64,
}

impl Engine {
    /// An empty tracker with the kernel's settings, `first` and then those of the command line.
    pub(crate) fn new(s: &Settings, first: &[(&str, &str)]) -> Result<Self, Failure> {
        let first = first
            .iter()
            .map(|(name, value)| (settings::kernel_name(name), (*value).to_owned()));
        let all: Vec<Setting> = first
            .chain(settings::read(&s.sysctls, &s.sysctl)?)
            .collect();
        Ok(Self {
            router: Router::new(s.store, &all, &Config::default(), NatChains::default())?,
            clock: 0,
            summary: Summary::default(),
            padded: Vec::new(),
            packets: 0,
            bytes: 0,
        })
    }

    /// The tracker.
    pub(crate) fn tracker(&self) -> &Tracker<Table> {
        self.router.tracker()
    }

    /// Numbers of the entries.
    pub(crate) fn numbers(&self) -> &Numbers {
        self.router.numbers()
    }

    /// The latest time seen.
    pub(crate) fn now(&self) -> Nanos {
        self.clock
    }

    /// Counts of what was seen.
    pub(crate) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Frames and their bytes.
    pub(crate) fn seen(&self) -> (u64, u64) {
        (self.packets, self.bytes)
    }

    /// Time goes on without a packet.
    pub(crate) fn tick(&mut self, now: Nanos) {
        self.clock = self.clock.max(now);
        self.router.collect(self.clock);
    }

    /// Tracks the packet of a frame. Checksums count as right if the capture cut the packet short.
    pub(crate) fn frame(&mut self, record: &Record<'_>) -> Option<Outcome> {
        let time = record.time.map_or(0, |t| Nanos::try_from(t).unwrap_or(0));
        self.clock = self.clock.max(time);
        self.packets += 1;
        self.bytes += u64::from(record.wire_len);
        let outcome = match frame::decode(record.link, record.data) {
            Payload::Ip(ip) => {
                let missing = (record.wire_len as usize).saturating_sub(record.data.len());
                let bytes = if missing > 0 {
                    self.summary.cut();
                    pad(&mut self.padded, ip.bytes, missing)
                } else {
                    ip.bytes
                };
                let outcome = self.router.packet(&Arrival {
                    family: ip.family,
                    bytes,
                    side: None,
                    now: self.clock,
                    checksum_ok: missing > 0,
                });
                self.summary.tracked(outcome.state, outcome.reason.first());
                Some(outcome)
            }
            Payload::Other => {
                self.summary.not_ip();
                None
            }
            Payload::UnknownLink => {
                self.summary.unknown_link(record.link);
                None
            }
        };
        // The kernel's worker would have run meanwhile.
        self.router.collect(self.clock);
        outcome
    }
}

/// The packet with zeros in place of the bytes that the capture left out, as far as a packet can reach.
fn pad<'a>(buffer: &'a mut Vec<u8>, bytes: &[u8], missing: usize) -> &'a [u8] {
    buffer.clear();
    buffer.extend_from_slice(bytes);
    let whole = bytes.len().saturating_add(missing).min(LONGEST);
    buffer.resize(whole.max(bytes.len()), 0);
    buffer
}

/// Tells on standard error what was seen.
pub(crate) fn tell_summary(engine: &Engine) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(
        std::io::stderr(),
        "{}\n{} connections",
        engine.summary(),
        engine.tracker().net().count()
    );
}
