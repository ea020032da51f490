//! XML of `conntrack -o xml` (`nfct_snprintf_xml_conntrack` of libnetfilter_conntrack), one `<flow>` for each connection or event.
//!
//! It keeps that program's peculiarities: states of SCTP appear under TCP's names of the same numbers, ICMP's type and code not at all, and the helper
//! comes last.

use super::text::Utc;
use super::{L4, TCP_STATES, family, l4, l4_name, protonum};
use crate::clock::Nanos;
use crate::ctnetlink::{ProtoRecord, Record};
use crate::events::Kind;
use crate::status;
use std::fmt::{self, Write};

/// What stands before the first flow.
pub const XML_HEADER: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n";
/// What stands behind the last flow.
pub const XML_FOOTER: &str = "</conntrack>\n";

/// What `-o` of conntrack(8) chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XmlOptions {
    /// `id`. Events show it in any case.
    pub id: bool,
    /// `timestamp`: when the event came. Nanoseconds since 1970, told in UTC.
    pub timestamp: Option<Nanos>,
    /// `labels`: as bit numbers.
    pub labels: bool,
}

/// Writes the element of a connection, or of an event of it; no newline. `now` is for the age of connections with time stamps.
///
/// # Errors
/// Those of `out`.
pub fn write_xml(
    out: &mut impl Write,
    r: &Record,
    kind: Option<Kind>,
    o: XmlOptions,
    now: Nanos,
) -> fmt::Result {
    match kind {
        None => out.write_str("<flow>")?,
        Some(Kind::New) => out.write_str("<flow type=\"new\">")?,
        Some(Kind::Update) => out.write_str("<flow type=\"update\">")?,
        Some(Kind::Destroy) => out.write_str("<flow type=\"destroy\">")?,
    }
    meta(out, r, 0, "original")?;
    meta(out, r, 1, "reply")?;
    out.write_str("<meta direction=\"independent\">")?;
    if let Some(p) = &r.proto {
        let n = match p {
            ProtoRecord::Tcp { state, .. } | ProtoRecord::Sctp { state, .. } => *state,
        };
        let name = TCP_STATES.get(usize::from(n)).copied().unwrap_or("NONE");
        write!(out, "<state>{name}</state>")?;
    }
    element(out, "timeout", r.timeout)?;
    element(out, "mark", r.mark)?;
    element(out, "zone", r.zone)?;
    element(out, "use", r.uses)?;
    element(out, "id", r.id.filter(|_| o.id || kind.is_some()))?;
    if let Some(s) = r.status {
        if s & status::ASSURED != 0 {
            out.write_str("<assured/>")?;
        }
        if s & status::SEEN_REPLY == 0 {
            out.write_str("<unreplied/>")?;
        }
    }
    if let Some((start, stop)) = r.timestamps {
        let until = stop.filter(|t| *t != 0).unwrap_or(now);
        let age = (until / 1_000_000_000).saturating_sub(start / 1_000_000_000);
        element(out, "deltatime", Some(age))?;
    }
    out.write_str("</meta>")?;
    if let Some(labels) = r.labels.filter(|_| o.labels) {
        out.write_str("<labels>")?;
        for b in (0..128).filter(|b| labels[b / 32] >> (b % 32) & 1 != 0) {
            element(out, "label", Some(b))?;
        }
        out.write_str("</labels>")?;
    }
    if let Some(t) = o.timestamp {
        when(out, t / 1_000_000_000)?;
    }
    if let Some(helper) = &r.helper {
        write!(out, "<helper>{}</helper>", Escaped(helper))?;
    }
    out.write_str("</flow>")
}

fn element(out: &mut impl Write, name: &str, value: Option<impl fmt::Display>) -> fmt::Result {
    match value {
        Some(v) => write!(out, "<{name}>{v}</{name}>"),
        None => Ok(()),
    }
}

fn meta(out: &mut impl Write, r: &Record, dir: usize, name: &str) -> fmt::Result {
    let Some(t) = &r.tuples[dir] else {
        return Ok(());
    };
    let f = family(r);
    write!(
        out,
        "<meta direction=\"{name}\"><layer3 protonum=\"{}\" protoname=\"{}\"><src>{}</src><dst>{}</dst></layer3>",
        f as u8,
        f.name(),
        t.src(),
        t.dst()
    )?;
    write!(
        out,
        "<layer4 protonum=\"{}\" protoname=\"{}\">",
        protonum(r),
        l4_name(protonum(r))
    )?;
    match l4(t) {
        L4::Ports(s, d) => write!(out, "<sport>{s}</sport><dport>{d}</dport>")?,
        L4::Keys(s, d) => write!(out, "<srckey>{s:#x}</srckey><dstkey>{d:#x}</dstkey>")?,
        L4::Icmp { .. } | L4::Nothing => {}
    }
    out.write_str("</layer4>")?;
    element(out, "zone", r.tuple_zones[dir])?;
    if let Some((packets, bytes)) = r.counters[dir] {
        write!(
            out,
            "<counters><packets>{packets}</packets><bytes>{bytes}</bytes></counters>"
        )?;
    }
    out.write_str("</meta>")
}

fn when(out: &mut impl Write, secs: u64) -> fmt::Result {
    let t = Utc::at(secs);
    write!(
        out,
        "<when><hour>{:02}</hour><min>{:02}</min><sec>{:02}</sec><wday>{}</wday><day>{}</day><month>{}</month><year>{}</year></when>",
        t.hour,
        t.minute,
        t.second,
        t.weekday + 1,
        t.day,
        t.month,
        t.year
    )
}

/// A text with what XML does not allow replaced.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
