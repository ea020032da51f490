//! Compares a trace with what the kernel did, packet by packet, at three levels:
//!
//! * `verdict`: state and direction of the packet;
//! * `table`: also the set of entries (protocol, zone, tuples, protocol state, UNREPLIED and ASSURED);
//! * `full`: also timeouts (one second of tolerance: the kernel's number was read some milliseconds later), counters,
//!   mark, window scaling, TCP flags, verification tags, status bits, helper, master, labels and sequence adjustment.

use serde_json::{Map, Value, json};

/// Packets that agree at each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) packets: usize,
    pub(crate) verdict: usize,
    pub(crate) table: usize,
    pub(crate) full: usize,
}

impl Score {
    /// Does everything agree?
    pub(crate) fn perfect(&self) -> bool {
        self.full == self.packets && self.packets > 0
    }
}

/// Parses JSON lines.
pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
        .collect()
}

/// Scores `actual` against `expected`, both trace lines in order; the second result describes the first disagreement.
pub(crate) fn score(expected: &[Value], actual: &[Value]) -> (Score, Option<String>) {
    let mut total = Score {
        packets: expected.len(),
        ..Score::default()
    };
    let mut first = None;
    for (n, want) in expected.iter().enumerate() {
        let disagreement = match actual.iter().find(|a| a["i"] == want["i"]) {
            None => Some("no line".to_owned()),
            Some(got) => compare(want, got, &mut total),
        };
        if let Some(what) = disagreement {
            first.get_or_insert(format!("packet {n}: {what}"));
        }
    }
    (total, first)
}

fn compare(want: &Value, got: &Value, total: &mut Score) -> Option<String> {
    let (w, g) = ((&want["state"], &want["dir"]), (&got["state"], &got["dir"]));
    if w != g {
        return Some(format!("expected {} {}, got {} {}", w.0, w.1, g.0, g.1));
    }
    total.verdict += 1;
    let (mut w, mut g) = (entries(want), entries(got));
    let tables = |e: &[&Value]| e.iter().map(|e| table(e).to_string()).collect::<Vec<_>>();
    w.sort_by_key(|e| table(e).to_string());
    g.sort_by_key(|e| table(e).to_string());
    if tables(&w) != tables(&g) {
        return Some(format!(
            "expected the table {:#?}, got {:#?}",
            tables(&w),
            tables(&g)
        ));
    }
    total.table += 1;
    for (w, g) in w.iter().zip(&g) {
        let left = |e: &Value| e["timeout"].as_i64().unwrap_or(i64::MIN / 2);
        let (fw, fg) = (full(w), full(g));
        if fw != fg || (left(w) - left(g)).abs() > 1 {
            return Some(format!(
                "expected {fw} timeout {}, got {fg} timeout {}",
                left(w),
                left(g)
            ));
        }
    }
    total.full += 1;
    None
}

fn entries(line: &Value) -> Vec<&Value> {
    line["entries"]
        .as_array()
        .map(|e| e.iter().collect())
        .unwrap_or_default()
}

fn tuple(value: &Value, counters: bool) -> Value {
    let Some(fields) = value.as_object() else {
        return Value::Null;
    };
    let keep = |k: &String| counters || !matches!(k.as_str(), "packets" | "bytes");
    Value::Object(
        fields
            .iter()
            .filter(|(k, _)| keep(k))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Map<_, _>>(),
    )
}

/// What the table level compares.
fn table(e: &Value) -> Value {
    let mut flags: Vec<&str> = e["flags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    flags.sort_unstable();
    let zone = e["zone"].as_u64().unwrap_or(0);
    json!([
        e["l3proto"],
        e["protonum"],
        zone,
        tuple(&e["orig"], false),
        tuple(&e["reply"], false),
        e["state"],
        flags
    ])
}

/// What the full level compares besides the timeout.
fn full(e: &Value) -> Value {
    let mark = e["mark"].as_u64().unwrap_or(0);
    let rest = [
        "wscale",
        "tcpflags",
        "vtag",
        "status",
        "helper",
        "labels",
        "seqadj_orig",
        "seqadj_reply",
    ]
    .map(|k| &e[k]);
    json!([
        table(e),
        tuple(&e["orig"], true),
        tuple(&e["reply"], true),
        mark,
        rest,
        tuple(&e["master"], false)
    ])
}
