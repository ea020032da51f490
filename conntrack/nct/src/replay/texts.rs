//! Replays recordings of a kernel and writes what its tools would have printed: `/proc/net/nf_conntrack` after every packet, `conntrack -E`, and at the
//! end `conntrack -L` as lines and as XML, and `conntrack -S`. The recorder kept the same texts of the kernel's, under the same names.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use nulls_conntrack::ctnetlink::Record;
use nulls_conntrack::format::{self, TextOptions, XmlOptions};
use nulls_conntrack::{EventQueue, EventReader, Nanos, Snapshot};
use serde::Serialize;

use super::case::Case;
use super::router::{Arrival, Router};
use super::{Failure, cases, table};
use crate::capture::frame::{Payload, decode};
use crate::capture::source::Capture;
use crate::cli::Replay;
use crate::store_any::AnyKind;

/// The texts.
#[derive(Debug, Default, Serialize)]
struct Texts {
    proc_nf_conntrack: Vec<Vec<String>>,
    #[serde(rename = "conntrack_E_xml")]
    events: String,
    #[serde(rename = "conntrack_L_final")]
    lines: String,
    #[serde(rename = "conntrack_L_xml_final")]
    xml: String,
    #[serde(rename = "conntrack_S_final")]
    stats: String,
}

/// Replays every recording of `options`. `Ok(false)`: some could not be replayed, and that has been told.
pub(super) fn run(options: &Replay, out: &mut impl Write) -> Result<bool, Failure> {
    let mut ok = true;
    for dir in &options.case {
        match (case(options.store, dir), &options.out) {
            (Ok(texts), None) => {
                serde_json::to_writer(&mut *out, &texts)?;
                out.write_all(b"\n")?;
            }
            (Ok(texts), Some(base)) => {
                let name = dir.file_name().unwrap_or_default();
                let target = base.join(name);
                fs::create_dir_all(&target)?;
                fs::write(target.join("raw.json"), serde_json::to_vec(&texts)?)?;
            }
            (Err(Failure::Message(message)), _) => {
                eprintln!("nct: {message}");
                ok = false;
            }
            (Err(e), _) => return Err(e),
        }
    }
    Ok(ok)
}

fn case(store: AnyKind, dir: &Path) -> Result<Texts, Failure> {
    let mut case = Case::load(dir)?;
    case.settings.retain(|(name, _)| name != table::BUCKETS);
    let place = |e: String| format!("{}: {e}", dir.display());
    let mut router = Router::new(store, &case.settings, &case.config, case.nat).map_err(place)?;
    if let Some(limit) = case.config.table_full.as_ref().and_then(|t| t.limit()) {
        let max = ("nf_conntrack_max".to_owned(), limit.to_string());
        router.set(&max).map_err(place)?;
    }
    let (queue, mut events) = EventQueue::new(1 << 16);
    router.tracker().set_listener(Some(Arc::new(queue)));
    let mut texts = Texts::default();
    let mut capture = Capture::open(&case.packets).map_err(|e| e.to_string())?;
    let mut ops = case.ops.into_iter().peekable();
    let (mut clock, mut index): (Nanos, i64) = (0, 0);
    loop {
        while let Some(op) = ops.next_if(|op| op.after < index) {
            clock = clock.max(Nanos::try_from(op.time).unwrap_or(0));
            if let Some(what) = op.op {
                cases::apply(what, &mut router, clock).map_err(place)?;
            }
            // The recorder read the table then.
            router.tracker().for_each(clock, |_| {});
            told(&mut texts.events, &mut events);
        }
        let Some(record) = capture.next().map_err(|e| e.to_string())? else {
            break;
        };
        clock = clock.max(record.time.map_or(0, |t| Nanos::try_from(t).unwrap_or(0)));
        if let Payload::Ip(ip) = decode(record.link, record.data) {
            router.packet(&Arrival {
                family: ip.family,
                bytes: ip.bytes,
                side: cases::side(ip.macs),
                now: clock,
                checksum_ok: false,
            });
        }
        // Reading the table removes what has expired, as it did at the recorder's.
        let text = router.tracker().proc_net_nf_conntrack(clock);
        texts
            .proc_nf_conntrack
            .push(text.lines().map(str::to_owned).collect());
        told(&mut texts.events, &mut events);
        index += 1;
    }
    finish(&mut texts, &router, clock);
    told(&mut texts.events, &mut events);
    frame(&mut texts.events);
    frame(&mut texts.xml);
    Ok(texts)
}

/// Puts what stands around elements; the tool prints neither if there are none.
fn frame(elements: &mut String) {
    if !elements.is_empty() {
        elements.insert_str(0, format::XML_HEADER);
        elements.push_str(format::XML_FOOTER);
    }
}

/// Appends the events that wait.
fn told(out: &mut String, events: &mut EventReader) {
    for e in events {
        if let Some(r) = e.record() {
            let o = XmlOptions {
                timestamp: Some(e.now),
                ..XmlOptions::default()
            };
            // Writing to a string does not fail.
            let _ = format::write_xml(out, &r, Some(e.kind()), o, e.now);
            out.push('\n');
        }
    }
}

fn finish(texts: &mut Texts, router: &Router, now: Nanos) {
    let all = router.numbers().dump(router.tracker(), now);
    let each = |s: &Snapshot, lines: &mut String, xml: &mut String| {
        let r = Record::dump(s);
        let o = TextOptions {
            extended: true,
            id: true,
            ..TextOptions::default()
        };
        format::write_line(lines, &r, None, o, now)?;
        lines.push('\n');
        let o = XmlOptions {
            id: true,
            ..XmlOptions::default()
        };
        format::write_xml(xml, &r, None, o, now)?;
        xml.push('\n');
        Ok::<(), std::fmt::Error>(())
    };
    for (_, s) in &all {
        // Writing to a string does not fail.
        let _ = each(s, &mut texts.lines, &mut texts.xml);
    }
    let _ = format::write_stats(&mut texts.stats, 0, &router.tracker().stats());
}
