//! Counts of a replay, told on standard error.

use std::collections::BTreeMap;
use std::fmt;

/// What happened to the packets.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    packets: u64,
    states: BTreeMap<&'static str, u64>,
    not_ip: u64,
    cut: u64,
    bad_checksum: u64,
    unknown_links: BTreeMap<u16, u64>,
}

/// States in the order they are told, with what they mean where the name does not say it.
const STATES: [(&str, &str); 8] = [
    ("new", ""),
    ("established", ""),
    ("related", ""),
    ("invalid", ""),
    ("untracked", ""),
    ("stolen", " (fragments that wait for the rest)"),
    ("drop", " (the table was full)"),
    ("none", " (broken IP header)"),
];

impl Summary {
    /// Counts a packet that reached the IP layer; `reason` is why it was not followed.
    pub(crate) fn tracked(&mut self, state: &'static str, reason: Option<&str>) {
        self.packets += 1;
        *self.states.entry(state).or_default() += 1;
        if state == "invalid" && reason.is_some_and(|r| r.contains("checksum")) {
            self.bad_checksum += 1;
        }
    }

    /// Counts a frame without an IP packet.
    pub(crate) fn not_ip(&mut self) {
        self.packets += 1;
        self.not_ip += 1;
    }

    /// Counts a frame of a link type this program does not know.
    pub(crate) fn unknown_link(&mut self, link: u16) {
        self.packets += 1;
        *self.unknown_links.entry(link).or_default() += 1;
    }

    /// Counts a packet that the capture cut short.
    pub(crate) fn cut(&mut self) {
        self.cut += 1;
    }

    /// Were there frames of unknown link types?
    pub(crate) fn has_unknown_links(&self) -> bool {
        !self.unknown_links.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets", self.packets)?;
        let mut separator = ": ";
        for (state, meaning) in STATES {
            if let Some(n) = self.states.get(state) {
                write!(f, "{separator}{n} {state}{meaning}")?;
                separator = ", ";
            }
        }
        if self.not_ip > 0 {
            write!(f, "{separator}{} not IP", self.not_ip)?;
        }
        if self.cut > 0 {
            write!(
                f,
                "\ncut short in the capture, so that checksums were not verified: {}",
                self.cut
            )?;
        }
        if self.bad_checksum > 0 {
            write!(
                f,
                "\ninvalid for their checksum: {} (if the capture was taken on the machine that sent them, \
                 try --sysctl checksum=0)",
                self.bad_checksum
            )?;
        }
        for (link, n) in &self.unknown_links {
            write!(
                f,
                "\nskipped, because link type {link} is not supported: {n}"
            )?;
        }
        Ok(())
    }
}
