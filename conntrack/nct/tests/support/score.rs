//! Compares a replay with what the kernel did, packet by packet and field by field.
//!
//! * `state`: state and direction of the packet; `status`: bits of its entry right after tracking; `verdict`: what became of it;
//! * `table`: the set of entries (protocol, zone, tuples, protocol state, UNREPLIED and ASSURED); `full`: everything in them, timeouts within a
//!   second (the kernel's number was read some milliseconds later);
//! * `reason`: what the kernel logged; `stats`: changes of its counters; `events`; `expect`: all expectations;
//! * `out`: how many packets were sent to which side, and their bytes where they were recorded;
//! * `ticks`: table, expectations and events between packets.
//!
//! When an expired entry is collected depends on who looks first, so the events of that are compared for the whole recording (`expiry`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

/// What is compared.
pub(crate) const FIELDS: [&str; 12] = [
    "state", "status", "verdict", "table", "full", "reason", "stats", "events", "expect", "out",
    "ticks", "expiry",
];

/// A recording or a replay of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// A line for each packet.
    pub(crate) packets: Vec<Value>,
    /// A line for each look at the table between packets.
    pub(crate) ticks: Vec<Value>,
    /// Frames sent, in order, if they were recorded.
    pub(crate) frames: Option<Vec<Vec<u8>>>,
}

/// How often a field was compared, and how often it was the same.
pub(crate) type Score = BTreeMap<&'static str, (usize, usize)>;

/// Parses JSON lines.
pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
        .collect()
}

impl Run {
    /// Reads `packets` and the files beside it.
    pub(crate) fn load(dir: &Path, packets: &str) -> Self {
        let text = |name: &str| std::fs::read_to_string(dir.join(name));
        Self {
            packets: lines(&text(packets).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))),
            ticks: lines(&text("ticks.jsonl").unwrap_or_default()),
            frames: std::fs::read(dir.join("out.pcap")).ok().map(|f| frames(&f)),
        }
    }
}

/// The frames of a little-endian capture file. The identification of IPv6 fragments is a random number, so it is blanked.
fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = &file[24..];
    while let Some((head, tail)) = rest.split_at_checked(16) {
        let len = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
        let (frame, tail) = tail.split_at(len);
        let mut frame = frame.to_vec();
        if frame[12..14] == [0x86, 0xdd] && frame.len() >= 62 && frame[20] == 44 {
            frame[58..62].fill(0);
        }
        out.push(frame);
        rest = tail;
    }
    out
}

/// Compares a replay with a recording. The second result describes each difference: the field, and where.
pub(crate) fn score(want: &Run, got: &Run) -> (Score, Vec<(&'static str, String)>) {
    let mut tally = Tally::default();
    let mut at = [0; 2];
    for (n, w) in want.packets.iter().enumerate() {
        let none = Value::Null;
        let g = got
            .packets
            .get(n)
            .filter(|g| g["i"] == w["i"])
            .unwrap_or(&none);
        let place = format!("packet {n}");
        tally.add(
            "state",
            &place,
            &json!([w["state"], w["dir"]]),
            &json!([g["state"], g["dir"]]),
        );
        for field in ["status", "verdict"] {
            tally.add(field, &place, &w[field], &g[field]);
        }
        tally.add("table", &place, &set(w, table), &set(g, table));
        tally.entries("full", &place, &w["entries"], &g["entries"]);
        for field in ["reason", "stats"] {
            tally.add(field, &place, &w[field], &g[field]);
        }
        tally.events("events", &place, &events(w), &events(g));
        tally.entries("expect", &place, &w["expect"], &g["expect"]);
        let sides = |line: &Value| line["out"].as_array().map_or(0, Vec::len);
        let counts = [sides(w), sides(g)];
        let taken = |run: &Run, which: usize| -> Value {
            let all = run.frames.as_deref().unwrap_or_default();
            let mine = all
                .get(at[which]..at[which] + counts[which])
                .unwrap_or_default();
            json!(mine.iter().map(|f| hex(f)).collect::<Vec<_>>())
        };
        let (mut sent, mut sent_by_us) = (json!([w["out"]]), json!([g["out"]]));
        if want.frames.is_some() {
            sent = json!([w["out"], taken(want, 0)]);
            sent_by_us = json!([g["out"], taken(got, 1)]);
        }
        tally.add("out", &place, &sent, &sent_by_us);
        at = [at[0] + counts[0], at[1] + counts[1]];
    }
    for (n, w) in want.ticks.iter().enumerate() {
        let none = Value::Null;
        let g = got.ticks.get(n).unwrap_or(&none);
        let place = format!("tick {n}");
        tally.entries("ticks", &place, &w["entries"], &g["entries"]);
        tally.entries("ticks", &place, &w["expect"], &g["expect"]);
        // A flush deletes in the order of a hash with a secret.
        let sorted = |line| {
            let mut all = events(line);
            all.sort_by_key(|e| (e["ev"].to_string(), e["c"].as_u64(), e["tuple"].to_string()));
            all
        };
        tally.events("ticks", &place, &sorted(w), &sorted(g));
    }
    tally.add("expiry", "whole", &expiries(want), &expiries(got));
    (tally.score, tally.differences)
}

#[derive(Default)]
struct Tally {
    score: Score,
    differences: Vec<(&'static str, String)>,
}

impl Tally {
    fn note(&mut self, field: &'static str, same: bool, what: impl FnOnce() -> String) {
        let (all, equal) = self.score.entry(field).or_default();
        *all += 1;
        *equal += usize::from(same);
        if !same {
            self.differences.push((field, what()));
        }
    }

    fn add(&mut self, field: &'static str, place: &str, want: &Value, got: &Value) {
        self.note(field, want == got, || {
            format!("{place}: {field} is {want} to the kernel, {got} to us")
        });
    }

    /// Entries or expectations: the same but for a second of their timeouts.
    fn entries(&mut self, field: &'static str, place: &str, want: &Value, got: &Value) {
        let (w, g) = (timed(want), timed(got));
        let close = |(a, b): (&(String, i64), &(String, i64))| a.0 == b.0 && (a.1 - b.1).abs() <= 1;
        let same = w.len() == g.len() && w.iter().zip(&g).all(close);
        self.note(field, same, || {
            let only = |a: &[(String, i64)], b: &[(String, i64)]| -> Vec<_> {
                a.iter().filter(|e| !b.contains(e)).cloned().collect()
            };
            format!(
                "{place}: {field}: only the kernel has {:?}, only we have {:?}",
                only(&w, &g),
                only(&g, &w)
            )
        });
    }

    fn events(&mut self, field: &'static str, place: &str, want: &[Value], got: &[Value]) {
        let as_entries = |e: &[Value]| -> Vec<_> { e.iter().map(one_timed).collect() };
        let (w, g) = (as_entries(want), as_entries(got));
        let close = |(a, b): (&(String, i64), &(String, i64))| a.0 == b.0 && (a.1 - b.1).abs() <= 1;
        let same = w.len() == g.len() && w.iter().zip(&g).all(close);
        self.note(field, same, || {
            format!("{place}: {field}: events {w:?} of the kernel, {g:?} of ours")
        });
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An object without its number and timeout, as text; and the timeout.
fn one_timed(e: &Value) -> (String, i64) {
    let mut fields = e.as_object().cloned().unwrap_or_default();
    let timeout = fields
        .remove("timeout")
        .and_then(|t| t.as_i64())
        .unwrap_or(-9);
    (Value::Object(fields).to_string(), timeout)
}

fn timed(list: &Value) -> Vec<(String, i64)> {
    let mut all: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| {
            let mut e = e.clone();
            if let Some(fields) = e.as_object_mut() {
                fields.remove("c");
            }
            one_timed(&e)
        })
        .collect();
    all.sort();
    all
}

fn all_events(line: &Value) -> impl Iterator<Item = &Value> {
    ["events_before", "events", "events_at_snapshot"]
        .into_iter()
        .flat_map(|k| line[k].as_array().into_iter().flatten())
}

fn is_expiry(e: &Value) -> bool {
    e["ev"] == "destroy" && e["timeout"].is_null()
}

fn events(line: &Value) -> Vec<Value> {
    all_events(line)
        .filter(|e| !is_expiry(e))
        .cloned()
        .collect()
}

fn expiries(run: &Run) -> Value {
    let lines = run.packets.iter().chain(&run.ticks);
    let mut all: Vec<String> = lines
        .flat_map(all_events)
        .filter(|e| is_expiry(e))
        .map(Value::to_string)
        .collect();
    all.sort();
    json!(all)
}

fn set(line: &Value, view: fn(&Value) -> Value) -> Value {
    let entries = line["entries"].as_array().into_iter().flatten();
    let mut all: Vec<String> = entries.map(|e| view(e).to_string()).collect();
    all.sort();
    json!(all)
}

/// What the table level compares.
fn table(e: &Value) -> Value {
    let tuple = |value: &Value| -> Map<String, Value> {
        let fields = value.as_object().into_iter().flatten();
        fields
            .filter(|(k, _)| !matches!(k.as_str(), "packets" | "bytes"))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    json!([
        e["l3proto"],
        e["protonum"],
        e["zone"],
        tuple(&e["orig"]),
        tuple(&e["reply"]),
        e["state"],
        e["flags"]
    ])
}
