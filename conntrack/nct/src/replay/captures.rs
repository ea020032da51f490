//! Replays capture files as one stream of forwarded packets.

use std::io::Write;

use nulls_conntrack::{Nanos, proc_fs};
use serde::Serialize;

use super::Failure;
use super::case::{Config, NatChains};
use super::record::seconds;
use super::router::{Arrival, Outcome, Router};
use super::settings;
use super::summary::Summary;
use super::trace::{Effects, Entry, Line, Reasons, dir_name};
use crate::capture::frame::{self, Payload};
use crate::capture::source::{Capture, Record};
use crate::cli::{Entries, Output, Replay};

/// Room for the longest IP packet: the header of IPv6 does not count in its length field.
const LONGEST: usize = 65_535 + 40;

/// Replays the files of `options`. `Ok(false)`: something was wrong and has been told, what could be done was done.
pub(crate) fn run(options: &Replay, out: &mut impl Write) -> Result<bool, Failure> {
    let mut replay = Stream {
        router: Router::new(
            options.store,
            &settings::read(&options.sysctls, &options.sysctl)?,
            &Config::default(),
            NatChains::default(),
        )?,
        clock: 0,
        index: 0,
        summary: Summary::default(),
        padded: Vec::new(),
    };
    let mut ok = true;
    for path in &options.files {
        let mut capture = match Capture::open(path) {
            Ok(capture) => capture,
            Err(e) => {
                eprintln!("nct: {e}");
                ok = false;
                continue;
            }
        };
        loop {
            match capture.next() {
                Ok(Some(record)) => replay.record(&record, options, out)?,
                Ok(None) => break,
                Err(e) => {
                    eprintln!("nct: {e}");
                    ok = false;
                    break;
                }
            }
        }
    }
    if !options.trace {
        replay.table(options.output, out)?;
    }
    out.flush()?;
    eprintln!("{}", replay.summary);
    eprintln!("{} connections", replay.router.tracker().net().count());
    Ok(ok && !replay.summary.has_unknown_links())
}

/// State of a replay across files.
struct Stream {
    router: Router,
    /// Nanoseconds since 1970; never goes back.
    clock: Nanos,
    index: u64,
    summary: Summary,
    padded: Vec<u8>,
}

impl Stream {
    fn record(
        &mut self,
        record: &Record<'_>,
        options: &Replay,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        self.clock = self
            .clock
            .max(record.time.map_or(0, |t| Nanos::try_from(t).unwrap_or(0)));
        let outcome = match frame::decode(record.link, record.data) {
            Payload::Ip(ip) => {
                let missing = (record.wire_len as usize).saturating_sub(record.data.len());
                let bytes = if missing > 0 {
                    self.summary.cut();
                    pad(&mut self.padded, ip.bytes, missing)
                } else {
                    ip.bytes
                };
                let arrival = Arrival {
                    family: ip.family,
                    bytes,
                    side: None,
                    now: self.clock,
                    checksum_ok: missing > 0,
                };
                let outcome = self.router.packet(&arrival);
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
        if options.trace {
            let line = self.line(outcome, options.entries);
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
        self.index += 1;
        // The kernel's worker would have run meanwhile.
        self.router.collect(self.clock);
        Ok(())
    }

    fn line(&self, outcome: Option<Outcome>, entries: Entries) -> Line {
        let entries = match entries {
            Entries::None => None,
            Entries::Own => {
                let own = outcome.as_ref().and_then(|o| o.entry.as_ref());
                Some(
                    own.map(|(c, s)| Entry::new(s, Some(*c)))
                        .into_iter()
                        .collect(),
                )
            }
            Entries::All => Some(self.router.entries(self.clock)),
        };
        line(self.index, self.clock, outcome, entries)
    }

    fn table(&self, output: Output, out: &mut impl Write) -> Result<(), Failure> {
        for (c, snapshot) in self
            .router
            .numbers()
            .dump(self.router.tracker(), self.clock)
        {
            match output {
                Output::Proc => {
                    let mut line = String::new();
                    // Writing to a string does not fail.
                    let _ = proc_fs::write_line(&mut line, &snapshot, None, self.clock);
                    out.write_all(line.as_bytes())?;
                }
                Output::Json => {
                    Entry::new(&snapshot, Some(c))
                        .serialize(&mut serde_json::Serializer::new(&mut *out))?;
                    out.write_all(b"\n")?;
                }
            }
        }
        Ok(())
    }
}

/// The packet with zeros in place of the bytes that the capture left out, as far as a packet can reach.
fn pad<'a>(buffer: &'a mut Vec<u8>, bytes: &[u8], missing: usize) -> &'a [u8] {
    buffer.clear();
    buffer.extend_from_slice(bytes);
    buffer.resize(
        bytes
            .len()
            .saturating_add(missing)
            .min(LONGEST)
            .max(bytes.len()),
        0,
    );
    buffer
}

/// A trace line; a frame without an IP packet is one that no hook saw.
pub(crate) fn line(
    i: u64,
    now: Nanos,
    outcome: Option<Outcome>,
    entries: Option<Vec<Entry>>,
) -> Line {
    let t = seconds(now);
    match outcome {
        Some(o) => Line {
            i,
            t,
            state: o.state,
            dir: o.dir.map(dir_name),
            status: o.status,
            verdict: o.verdict,
            reason: o.reason,
            out: None,
            effects: Effects::default(),
            c: o.entry.map(|(c, _)| c),
            entries,
        },
        None => Line {
            i,
            t,
            state: "none",
            dir: None,
            status: 0,
            verdict: "drop",
            reason: Reasons::None,
            out: None,
            effects: Effects::default(),
            c: None,
            entries,
        },
    }
}
