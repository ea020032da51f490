//! A feed whose frames are counted, with the settings that the watching commands share.

use std::io::Write;
use std::ops::Deref;

use nulls_conntrack::Nanos;

use super::args::Settings;
use crate::capture::source::Record;
use crate::replay::Failure;
use crate::replay::feed::Feed;
use crate::replay::router::Outcome;
use crate::replay::settings::{self, Setting};

/// A tracker that is fed with frames.
pub(crate) struct Engine {
    feed: Feed,
    packets: u64,
    bytes: u64,
}

impl Deref for Engine {
    type Target = Feed;

    fn deref(&self) -> &Feed {
        &self.feed
    }
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
            feed: Feed::new(s.store, &all)?,
            packets: 0,
            bytes: 0,
        })
    }

    /// Frames and their bytes.
    pub(crate) fn seen(&self) -> (u64, u64) {
        (self.packets, self.bytes)
    }

    /// Time goes on without a packet.
    pub(crate) fn tick(&mut self, now: Nanos) {
        self.feed.tick(now);
    }

    /// Tracks the packet of a frame.
    pub(crate) fn frame(&mut self, record: &Record<'_>) -> Option<Outcome> {
        self.packets += 1;
        self.bytes += u64::from(record.wire_len);
        let outcome = self.feed.frame(record);
        self.feed.tick(0);
        outcome
    }
}

/// Tells on standard error what was seen.
pub(crate) fn tell_summary(engine: &Engine) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{}", **engine);
}
