//! Frames in, packets out: what captures and live interfaces have in common, whatever is made of the result.

use std::fmt;

use nulls_conntrack::{Nanos, Tracker};

use super::Failure;
use super::case::{Config, NatChains};
use super::router::{Arrival, Outcome, Router};
use super::settings::Setting;
use super::summary::Summary;
use super::table::{Numbers, Table};
use crate::capture::frame::{self, Payload};
use crate::capture::source::Record;
use crate::store_any::AnyKind;

/// Room for the longest IP packet: the header of IPv6 does not count in its length field.
const LONGEST: usize = 65_535 + 40;

/// A router without rules that is fed with frames.
pub(crate) struct Feed {
    pub(crate) router: Router,
    /// Nanoseconds since 1970; never goes back.
    clock: Nanos,
    summary: Summary,
    padded: Vec<u8>,
}

impl Feed {
    /// An empty tracker.
    pub(crate) fn new(store: AnyKind, settings: &[Setting]) -> Result<Self, Failure> {
        Ok(Self {
            router: Router::new(store, settings, &Config::default(), NatChains::default())?,
            clock: 0,
            summary: Summary::default(),
            padded: Vec::new(),
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

    /// Time goes on, and with it the collector: the kernel's worker would have run meanwhile.
    pub(crate) fn tick(&mut self, now: Nanos) {
        self.clock = self.clock.max(now);
        self.router.collect(self.clock);
    }

    /// Tracks the packet of a frame, if there is one. Checksums count as right if the capture cut the packet short.
    pub(crate) fn frame(&mut self, record: &Record<'_>) -> Option<Outcome> {
        let time = record.time.map_or(0, |t| Nanos::try_from(t).unwrap_or(0));
        self.clock = self.clock.max(time);
        match frame::decode(record.link, record.data) {
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
        }
    }
}

/// What was seen, and what is left of it.
impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.tracker().net().count();
        write!(f, "{}\nconnections at the end: {open}", self.summary)
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
