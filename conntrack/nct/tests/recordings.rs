//! Recordings of a Linux 6.18 kernel, replayed: every packet must get the kernel's verdict and leave the kernel's table, and so on for every
//! field that was recorded.
//!
//! `conntrack/tests/recordings` holds one archive for each family of recordings. A recording is a directory with what was sent (`packets.pcap`), the
//! settings, rules and operations (`sysctls.json`, `meta.json`, `ticks.jsonl`), what the kernel said after every packet (`expected.jsonl`), the frames
//! that it sent (`out.pcap`, in some) and texts of the kernel and of conntrack(8) (`raw.json`). The captures named `real_pcap` were made
//! from traffic of real networks, with the addresses exchanged. `helper_nat` and `helper_pptp` were recorded with the same tool for what the others
//! leave out: announcements of IRC, Amanda and PPTP on translated connections.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;
use support::score::{self, FIELDS, Run, Score};
use support::{nct, scratch, stdout, unpack_recordings};

/// Differences that are known, and why they are there.
const KNOWN: [(&str, &str, &str); 1] = [(
    "tablefull-unassured-fillers-early-drop-a",
    "stats",
    "counts the evicted fillers, which the recording leaves out",
)];

/// Where the recordings are, unpacked once.
fn recordings() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = scratch("recordings");
        unpack_recordings(&dir);
        dir
    })
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .expect("JSON")
}

/// Names and families of all recordings in which the kernel did nothing at random, and the number of those in which it did.
fn scored() -> (Vec<(String, String)>, usize) {
    let mut names = Vec::new();
    let mut random = 0;
    for entry in fs::read_dir(recordings()).expect("a directory") {
        let name = entry
            .expect("readable")
            .file_name()
            .into_string()
            .expect("plain names");
        let meta = json(recordings().join(&name).join("meta.json"));
        if meta["config"]["nondeterministic"].is_null() {
            names.push((name, meta["family"].as_str().expect("a family").to_owned()));
        } else {
            random += 1;
        }
    }
    names.sort();
    (names, random)
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
    let out = scratch(&format!("replayed-{store}"));
    let (names, random) = scored();
    assert_eq!((names.len(), random), (352, 5));
    let dirs: Vec<String> = names
        .iter()
        .map(|(n, _)| recordings().join(n).display().to_string())
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

    let mut families: BTreeMap<&str, Score> = BTreeMap::new();
    let mut wrong = String::new();
    let mut known = 0;
    for (name, family) in &names {
        let want = Run::load(&recordings().join(name), "expected.jsonl");
        let got = Run::load(&out.join(name), "actual.jsonl");
        let (score, differences) = score::score(&want, &got);
        for (field, (all, same)) in score {
            let sum = families
                .entry(family)
                .or_default()
                .entry(field)
                .or_default();
            *sum = (sum.0 + all, sum.1 + same);
        }
        for (field, what) in differences {
            if KNOWN.iter().any(|(n, f, _)| (*n, *f) == (name, field)) {
                known += 1;
            } else {
                wrong += &format!("{name}: {what}\n");
            }
        }
    }
    println!("{}", report(&families));
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(
        known, 2,
        "a known difference is no more; take it off the list"
    );
}

/// Shares of equal fields, a line for each family.
fn report(families: &BTreeMap<&str, Score>) -> String {
    let mut text = format!("{:16}", "family");
    for field in FIELDS {
        text += &format!("{field:>9}");
    }
    let mut total = Score::new();
    let mut line = |name: &str, score: &Score| {
        text += &format!("\n{name:16}");
        for field in FIELDS {
            let (all, same) = score.get(field).copied().unwrap_or_default();
            text += &match all {
                0 => format!("{:>9}", "-"),
                _ => format!("{:>9.2}", 100.0 * same as f64 / all as f64),
            };
        }
    };
    for (name, score) in families {
        line(name, score);
        for (field, (all, same)) in score {
            let sum = total.entry(*field).or_default();
            *sum = (sum.0 + all, sum.1 + same);
        }
    }
    line("all", &total);
    text
}

/// Fields of a line of `/proc/net/nf_conntrack`, the timeout and the counters apart: it was read later than the last packet came, and plain
/// replays do not count.
fn proc_line(line: &str) -> (Vec<String>, i64) {
    let mut fields: Vec<String> = line
        .split_whitespace()
        .filter(|f| !f.starts_with("packets=") && !f.starts_with("bytes="))
        .map(str::to_owned)
        .collect();
    let timeout = fields
        .remove(4)
        .parse()
        .expect("the fifth field is the timeout");
    (fields, timeout)
}

#[track_caller]
fn same_proc_lines(name: &str, got: &str) {
    let raw = json(recordings().join(name).join("raw.json"));
    let last = raw["proc_nf_conntrack"]
        .as_array()
        .and_then(|p| p.last())
        .expect("lines");
    let mut want: Vec<_> = last
        .as_array()
        .into_iter()
        .flatten()
        .map(|l| proc_line(l.as_str().expect("text")))
        .collect();
    let mut got: Vec<_> = got.lines().map(proc_line).collect();
    want.sort();
    got.sort();
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
    let (names, _) = scored();
    let mut compared = 0;
    for (name, _) in names.iter().filter(|(_, family)| family == "real_pcap") {
        let dir = recordings().join(name);
        let (packets, settings) = (dir.join("packets.pcap"), dir.join("sysctls.json"));
        let last = score::lines(&fs::read_to_string(dir.join("expected.jsonl")).expect("readable"));
        // A plain replay forwards everything; captures with packets that the recorder's router kept leave other tables.
        let forwarded = |l: &Value| l["verdict"] == "forward" || l["state"] != "new";
        let leaves = last
            .last()
            .is_some_and(|l| l["entries"].as_array().is_some_and(|e| !e.is_empty()));
        if leaves && last.iter().all(forwarded) {
            let args = [
                "replay",
                "--sysctls",
                settings.to_str().unwrap(),
                packets.to_str().unwrap(),
            ];
            same_proc_lines(name, &stdout(&nct(&args, None)));
            compared += 1;
        }
    }
    assert!(compared >= 3, "{compared}");
}

#[test]
fn the_scorer_notices_every_kind_of_difference() {
    let dir = recordings().join("helper_ftp-snat-a");
    let want = Run::load(&dir, "expected.jsonl");
    let whole = |score: &Score| score.values().all(|(all, same)| all == same);
    let (score, differences) = score::score(&want, &want);
    assert!(whole(&score) && differences.is_empty());
    let last = want
        .packets
        .iter()
        .rposition(|l| !l["entries"].as_array().unwrap().is_empty())
        .unwrap();
    let with = |key: &str| want.packets.iter().position(|l| !l[key].is_null()).unwrap();
    let changes: [(usize, &str, Value, &[&str]); 14] = [
        (last, "/state", "invalid".into(), &["state"]),
        (last, "/dir", "sideways".into(), &["state"]),
        (last, "/status", 1.into(), &["status"]),
        (last, "/verdict", "local".into(), &["verdict"]),
        (
            last,
            "/entries",
            Value::Array(Vec::new()),
            &["table", "full"],
        ),
        (last, "/entries/0/state", "NONE".into(), &["table", "full"]),
        (last, "/entries/0/orig/sport", 1.into(), &["table", "full"]),
        (last, "/entries/0/zone", 9.into(), &["table", "full"]),
        (last, "/entries/0/orig/packets", 99.into(), &["full"]),
        (last, "/entries/0/tcpflags", Value::Array(vec![]), &["full"]),
        (last, "/entries/0/timeout", 7_777_777.into(), &["full"]),
        (
            with("expect"),
            "/expect/0/tuple/dport",
            1.into(),
            &["expect"],
        ),
        (with("events"), "/events/0/status", 1.into(), &["events"]),
        (last, "/out", Value::Array(vec![]), &["out"]),
    ];
    for (at, path, value, fields) in changes {
        let mut got = want.clone();
        *got.packets[at]
            .pointer_mut(path)
            .unwrap_or_else(|| panic!("{path}")) = value;
        let (score, differences) = score::score(&want, &got);
        assert!(!whole(&score));
        let named: Vec<&str> = differences.iter().map(|d| d.0).collect();
        // Where a packet is missing the frames of all later ones are shifted.
        let first: Vec<&str> = named.iter().copied().take(fields.len()).collect();
        assert_eq!(first, fields, "{path}");
        assert!(
            named.iter().all(|f| fields.contains(f)),
            "{path}: {named:?}"
        );
    }
    let mut got = want.clone();
    got.packets.truncate(last);
    assert!(!whole(&score::score(&want, &got).0));
    let mut got = want.clone();
    got.frames.as_mut().expect("frames")[0][20] ^= 1;
    assert_eq!(score::score(&want, &got).1[0].0, "out");
}
