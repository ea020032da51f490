//! Connections and events in the formats of conntrack(8), and as JSON.

use std::io::Write;

use nulls_conntrack::ctnetlink::Record;
use nulls_conntrack::event_queue::{Body, Queued};
use nulls_conntrack::events::{Kind, mask};
use nulls_conntrack::format::{self, TextOptions, XmlOptions};
use nulls_conntrack::{Nanos, Snapshot, proc_fs};
use serde::Serialize;

use super::args::{Format, Word};
use crate::replay::Failure;
use crate::replay::trace::Entry;

/// Prints connections or events, one at a time.
#[derive(Debug)]
pub(crate) struct Printer {
    format: Format,
    begun: bool,
}

/// An event as JSON.
#[derive(Serialize)]
struct EventLine {
    seq: u64,
    t: f64,
    event: &'static str,
    what: Vec<&'static str>,
    entry: Entry,
}

/// Names of event bits.
const BITS: [(u32, &str); 12] = [
    (mask::NEW, "new"),
    (mask::RELATED, "related"),
    (mask::DESTROY, "destroy"),
    (mask::REPLY, "reply"),
    (mask::ASSURED, "assured"),
    (mask::PROTOINFO, "protoinfo"),
    (mask::HELPER, "helper"),
    (mask::MARK, "mark"),
    (mask::SEQADJ, "seqadj"),
    (mask::SECMARK, "secmark"),
    (mask::LABEL, "label"),
    (mask::SYNPROXY, "synproxy"),
];

/// Lower-case name of a kind.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::New => "new",
        Kind::Update => "update",
        Kind::Destroy => "destroy",
    }
}

/// Seconds since 1970; microseconds are what a double holds exactly in this century.
pub(crate) fn seconds(t: Nanos) -> f64 {
    (t / 1000) as f64 / 1e6
}

impl Printer {
    /// A printer for this format.
    pub(crate) fn new(format: &Format) -> Self {
        Self {
            format: format.clone(),
            begun: false,
        }
    }

    fn text_options(&self) -> TextOptions {
        TextOptions {
            extended: self.format.has(Word::Extended),
            id: self.format.has(Word::Id),
            ktimestamp: self.format.has(Word::Ktimestamp),
            timestamp: None,
            labels: self.format.has(Word::Labels),
        }
    }

    fn xml_options(&self) -> XmlOptions {
        XmlOptions {
            id: self.format.has(Word::Id),
            timestamp: None,
            labels: self.format.has(Word::Labels),
        }
    }

    /// What stands before the first and is missing yet.
    fn begin(&mut self, out: &mut impl Write) -> Result<(), Failure> {
        if !self.begun && self.format.has(Word::Xml) {
            out.write_all(format::XML_HEADER.as_bytes())?;
        }
        self.begun = true;
        Ok(())
    }

    /// Prints a connection with its number.
    pub(crate) fn connection(
        &mut self,
        out: &mut impl Write,
        c: u32,
        s: &Snapshot,
        now: Nanos,
    ) -> Result<(), Failure> {
        self.begin(out)?;
        let mut line = String::new();
        let written = if self.format.has(Word::Json) {
            line = serde_json::to_string(&Entry::new(s, Some(c)))?;
            Ok(())
        } else if self.format.has(Word::Proc) {
            let done = proc_fs::write_line(&mut line, s, None, now);
            line.truncate(line.trim_end_matches('\n').len());
            done
        } else if self.format.has(Word::Xml) {
            format::write_xml(&mut line, &Record::dump(s), None, self.xml_options(), now)
        } else {
            format::write_line(&mut line, &Record::dump(s), None, self.text_options(), now)
        };
        // Writing to a string does not fail.
        let _ = written;
        writeln!(out, "{line}")?;
        Ok(())
    }

    /// Prints an event of a connection; those of expectations are not shown.
    pub(crate) fn event(&mut self, out: &mut impl Write, e: &Queued) -> Result<(), Failure> {
        let (
            Some(record),
            Body::Connection {
                mask,
                snapshot,
                extra,
            },
        ) = (e.record(), &e.body)
        else {
            return Ok(());
        };
        self.begin(out)?;
        let mut line = String::new();
        let time = self.format.has(Word::Timestamp).then_some(e.now);
        let written = if self.format.has(Word::Json) {
            let c = extra.as_ref().and_then(|c| c.parse().ok());
            line = serde_json::to_string(&EventLine {
                seq: e.seq,
                t: seconds(e.now),
                event: kind_name(e.kind()),
                what: BITS
                    .iter()
                    .filter(|(b, _)| mask & b != 0)
                    .map(|(_, n)| *n)
                    .collect(),
                entry: Entry::new(snapshot, c),
            })?;
            Ok(())
        } else if self.format.has(Word::Xml) {
            let o = XmlOptions {
                timestamp: time,
                ..self.xml_options()
            };
            format::write_xml(&mut line, &record, Some(e.kind()), o, e.now)
        } else {
            let o = TextOptions {
                timestamp: time,
                ..self.text_options()
            };
            format::write_line(&mut line, &record, Some(e.kind()), o, e.now)
        };
        // Writing to a string does not fail.
        let _ = written;
        writeln!(out, "{line}")?;
        Ok(())
    }

    /// Prints what stands behind the last one, if there was one.
    pub(crate) fn end(&mut self, out: &mut impl Write) -> Result<(), Failure> {
        if self.begun && self.format.has(Word::Xml) {
            out.write_all(format::XML_FOOTER.as_bytes())?;
        }
        out.flush()?;
        Ok(())
    }
}
