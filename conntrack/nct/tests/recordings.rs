//! Recordings of a Linux 6.18 kernel, replayed: every packet must get the kernel's verdict and leave the kernel's table.
//!
//! Each directory holds what was sent (`packets.pcap.gz`), the settings, rules and operations (`sysctls.json`,
//! `meta.json`, `ticks.jsonl`), the kernel's table after every packet (`expected.jsonl.gz`) and the lines of
//! `/proc/net/nf_conntrack` after the last one (`proc.txt`). The captures named `real_pcap` were made from traffic of
//! real networks, with the addresses exchanged.

mod support;

use std::fs;

use serde_json::Value;
use support::score::{self, Score};
use support::{gunzip, nct, recording_names, recordings, scratch, stdout};

fn expected(name: &str) -> Vec<Value> {
    score::lines(&gunzip(&recordings().join(name).join("expected.jsonl.gz")))
}

#[test]
fn every_recording_replays_as_the_kernel_did_it() {
    replay_on("nulls");
}

#[test]
fn every_recording_replays_as_the_kernel_did_it_on_dashmap() {
    replay_on("dashmap");
}

fn replay_on(store: &str) {
    let out = scratch(&format!("recordings-{store}"));
    let names = recording_names();
    assert!(names.len() >= 12, "{names:?}");
    assert!(names.iter().filter(|n| n.starts_with("real_pcap-")).count() >= 3);
    let dirs: Vec<String> = names
        .iter()
        .map(|n| recordings().join(n).display().to_string())
        .collect();
    let mut args = vec![
        "replay",
        "--store",
        store,
        "--out",
        out.to_str().unwrap(),
        "--case",
    ];
    args.extend(dirs.iter().map(String::as_str));
    assert_eq!(stdout(&nct(&args, None)), "");
    let mut wrong = String::new();
    for name in &names {
        let actual =
            score::lines(&fs::read_to_string(out.join(name).join("actual.jsonl")).unwrap());
        let (score, first) = score::score(&expected(name), &actual);
        if !score.perfect() {
            wrong += &format!("{name}: {score:?}: {}\n", first.unwrap_or_default());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Fields of a line of `/proc/net/nf_conntrack`, the timeout apart: it was read later than the last packet came.
fn proc_line(line: &str) -> (Vec<String>, i64) {
    let mut fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let timeout = fields
        .remove(4)
        .parse()
        .expect("the fifth field is the timeout");
    (fields, timeout)
}

#[track_caller]
fn same_proc_lines(name: &str, got: &str) {
    let want = fs::read_to_string(recordings().join(name).join("proc.txt")).unwrap();
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(proc_line).collect();
        lines.sort();
        lines
    };
    let (want, got) = (sorted(&want), sorted(got));
    assert_eq!(want.len(), got.len(), "{name}: {want:#?} {got:#?}");
    assert!(!want.is_empty(), "{name} leaves connections");
    for (w, g) in want.iter().zip(&got) {
        assert_eq!(w.0, g.0, "{name}");
        assert!(
            (w.1 - g.1).abs() <= 1,
            "{name}: timeouts {} and {}",
            w.1,
            g.1
        );
    }
}

#[test]
fn real_captures_print_what_the_kernel_printed() {
    let names: Vec<String> = recording_names()
        .into_iter()
        .filter(|n| n.starts_with("real_pcap-"))
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let dir = recordings().join(&name);
        let packets = dir.join("packets.pcap.gz");
        let settings = dir.join("sysctls.json");
        let args = [
            "replay",
            "--sysctls",
            settings.to_str().unwrap(),
            packets.to_str().unwrap(),
        ];
        same_proc_lines(&name, &stdout(&nct(&args, None)));
    }
}

#[test]
fn the_scorer_notices_every_kind_of_difference() {
    let name = recording_names()
        .into_iter()
        .find(|n| n.starts_with("tcp_"))
        .expect("a TCP recording");
    let want = expected(&name);
    let last = want
        .iter()
        .rposition(|l| !l["entries"].as_array().unwrap().is_empty())
        .unwrap();
    let whole = Score {
        packets: want.len(),
        verdict: want.len(),
        table: want.len(),
        full: want.len(),
    };
    assert_eq!(score::score(&want, &want), (whole, None));
    let n = want.len();
    type Change = (&'static str, Value, Score);
    let less = |verdict, table, full| Score {
        packets: n,
        verdict: n - verdict,
        table: n - table,
        full: n - full,
    };
    let changes: [Change; 11] = [
        ("/state", "invalid".into(), less(1, 1, 1)),
        ("/dir", "sideways".into(), less(1, 1, 1)),
        ("/entries", Value::Array(Vec::new()), less(0, 1, 1)),
        ("/entries/0/state", "NONE".into(), less(0, 1, 1)),
        ("/entries/0/orig/sport", 1.into(), less(0, 1, 1)),
        (
            "/entries/0/flags",
            Value::Array(vec!["OFFLOAD".into()]),
            less(0, 1, 1),
        ),
        ("/entries/0/zone", 9.into(), less(0, 1, 1)),
        ("/entries/0/orig/packets", 99.into(), less(0, 0, 1)),
        ("/entries/0/status", 0.into(), less(0, 0, 1)),
        (
            "/entries/0/tcpflags",
            Value::Array(vec![0.into(), 0.into()]),
            less(0, 0, 1),
        ),
        ("/entries/0/timeout", 7_777_777.into(), less(0, 0, 1)),
    ];
    for (path, value, want_score) in changes {
        let mut got = want.clone();
        *got[last]
            .pointer_mut(path)
            .unwrap_or_else(|| panic!("{path}")) = value;
        let (score, first) = score::score(&want, &got);
        assert_eq!(score, want_score, "{path}");
        assert!(first.unwrap().starts_with(&format!("packet {last}: ")));
    }
    let (score, _) = score::score(&want, &want[..last]);
    assert_eq!(score, less(n - last, n - last, n - last));
}
