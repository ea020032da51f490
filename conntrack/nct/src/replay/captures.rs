//! Replays capture files as one stream of forwarded packets.

use std::io::Write;

use nulls_conntrack::{Nanos, proc_fs};
use serde::Serialize;

use super::Failure;
use super::feed::Feed;
use super::record::seconds;
use super::router::Outcome;
use super::settings;
use super::trace::{Effects, Entry, Line, Reasons, dir_name};
use crate::capture::source::{Capture, Record};
use crate::cli::{Entries, Output, Replay};

/// Replays the files of `options`. `Ok(false)`: something was wrong and has been told, what could be done was done.
pub(crate) fn run(options: &Replay, out: &mut impl Write) -> Result<bool, Failure> {
    let settings = settings::read(&options.sysctls, &options.sysctl)?;
    let mut replay = Stream {
        feed: Feed::new(options.store, &settings)?,
        index: 0,
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
    eprintln!("{}", replay.feed);
    Ok(ok && !replay.feed.summary().has_unknown_links())
}

/// State of a replay across files.
struct Stream {
    feed: Feed,
    index: u64,
}

impl Stream {
    fn record(
        &mut self,
        record: &Record<'_>,
        options: &Replay,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let outcome = self.feed.frame(record);
        if options.trace {
            let line = self.line(outcome, options.entries);
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
        self.index += 1;
        self.feed.tick(0);
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
            Entries::All => Some(self.feed.router.entries(self.feed.now())),
        };
        line(self.index, self.feed.now(), outcome, entries)
    }

    fn table(&self, output: Output, out: &mut impl Write) -> Result<(), Failure> {
        let (tracker, now) = (self.feed.tracker(), self.feed.now());
        for (c, snapshot) in self.feed.numbers().dump(tracker, now) {
            match output {
                Output::Proc => {
                    let mut line = String::new();
                    // Writing to a string does not fail.
                    let _ = proc_fs::write_line(&mut line, &snapshot, None, now);
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
