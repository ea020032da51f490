//! `nct list`, `events`, `stats` and `flows` over captures; completions and the manual page.

mod support;

use std::fs;

use serde_json::Value;
use support::packets::{dialogue, pcap};
use support::{nct, scratch, stderr, stdout, unpack_recordings};

fn capture() -> Vec<u8> {
    pcap(101, &dialogue().map(|p| (1_000_000, p)))
}

/// A recording with TCP connections that open, transfer and close.
fn tcp() -> String {
    static DIR: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = scratch("watch-recordings");
        unpack_recordings(&dir);
        dir
    });
    let case = dir.join("tcp_handshake-open-transfer-close-by-initiator-a");
    let packets = ["packets.pcap.gz", "packets.pcap"].map(|f| case.join(f));
    let file = packets.iter().find(|f| f.exists()).expect("packets");
    file.display().to_string()
}

fn run(args: &[&str]) -> String {
    stdout(&nct(args, None))
}

#[test]
fn list_prints_what_conntrack_prints_and_takes_its_options() {
    let out = stdout(&nct(&["list", "-"], Some(&capture())));
    let lines: Vec<&str> = out.lines().collect();
    assert!(!lines.is_empty());
    assert!(
        lines
            .iter()
            .all(|l| l.starts_with("udp      17 ") && l.ends_with("mark=0 use=1")),
        "{out}"
    );
    let with = |args: &[&str]| {
        stdout(&nct(
            &[&["list"][..], args, &["-"]].concat(),
            Some(&capture()),
        ))
    };
    assert!(with(&["-o", "extended,id"]).starts_with("ipv4     2 udp      17 "));
    assert!(with(&["-o", "id"]).contains(" id="));
    assert_eq!(with(&["-p", "tcp"]), "");
    assert_eq!(with(&["-C", "-p", "udp"]), format!("{}\n", lines.len()));
    assert_eq!(with(&["-C", "-s", "192.168.0.0/16"]), "0\n");
    let xml = with(&["-o", "xml"]);
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n<flow>"));
    assert!(xml.ends_with("</flow>\n</conntrack>\n"), "{xml}");
    for line in with(&["-o", "json"]).lines() {
        let v: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(v["proto"], "udp");
    }
    assert!(with(&["-o", "proc"]).contains("zone=0 use=2"));
    for bad in [
        &["-p", "nonsense"][..],
        &["-s", "ten"],
        &["-u", "X"],
        &["-o", "yaml"],
        &["-l", "128"],
    ] {
        let output = nct(&[&["list"][..], bad, &["-"]].concat(), Some(&capture()));
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
    }
}

#[test]
fn events_tell_one_beginning_and_one_end_with_numbers_in_order() {
    let file = tcp();
    let lines = run(&["events", "-o", "timestamp,id", &file]);
    assert!(
        lines
            .lines()
            .all(|l| l.starts_with('[') && l.contains(" id=")),
        "{lines}"
    );
    assert!(
        lines.contains("]\t    [NEW] tcp      6 120 SYN_SENT "),
        "{lines}"
    );
    assert!(
        lines.contains("]\t [UPDATE] tcp      6 60 SYN_RECV "),
        "{lines}"
    );
    let json = run(&["events", "-o", "json", &file]);
    let all: Vec<Value> = json
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert!(all.len() > 4);
    for (i, e) in all.iter().enumerate() {
        assert_eq!(e["seq"], i);
    }
    let new = run(&["events", "-e", "NEW", &file]);
    assert_eq!(
        new.lines().count(),
        all.iter().filter(|e| e["event"] == "new").count()
    );
    assert!(new.lines().all(|l| l.contains("[NEW]")));
    let states: Vec<&str> = all
        .iter()
        .filter(|e| {
            e["what"]
                .as_array()
                .is_some_and(|w| w.contains(&"protoinfo".into()))
        })
        .map(|e| e["entry"]["state"].as_str().expect("a state"))
        .collect();
    assert_eq!(&states[..3], ["SYN_SENT", "SYN_RECV", "ESTABLISHED"]);
    let xml = run(&["events", "-o", "xml,timestamp", "-e", "new", &file]);
    assert!(
        xml.contains("<flow type=\"new\">") && xml.contains("<when>"),
        "{xml}"
    );
}

#[test]
fn stats_come_in_three_formats() {
    let line = run(&["stats", &tcp()]);
    assert!(line.starts_with("cpu=0   \tfound=0 invalid="), "{line}");
    let proc = run(&["stats", "-o", "proc", &tcp()]);
    let numbers: Vec<&str> = proc
        .lines()
        .nth(1)
        .expect("a line")
        .split_whitespace()
        .collect();
    assert_eq!(numbers.len(), 17);
    let json: Value = serde_json::from_str(&run(&["stats", "-o", "json", &tcp()])).expect("JSON");
    assert_eq!(json["drop"], 0);
    assert!(json["entries"].as_u64().is_some_and(|n| n > 0));
}

#[test]
fn flows_become_records_when_they_end() {
    let dir = scratch("flows");
    let json = stdout(&nct(&["flows", "-"], Some(&capture())));
    let open: Vec<Value> = json
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert!(!open.is_empty());
    for f in &open {
        assert_eq!((&f["reason"], &f["proto"]), (&"open".into(), &"udp".into()));
        assert!(f["packets"].as_u64().is_some_and(|n| n > 0), "{f}");
    }
    assert_eq!(
        stdout(&nct(&["flows", "--ended-only", "-"], Some(&capture()))),
        ""
    );
    // An hour later everything of before has expired.
    let mut packets = dialogue().map(|p| (1_000_000u64, p)).to_vec();
    packets.push((3_601_000_000, packets[0].1.clone()));
    let late = pcap(101, &packets);
    let ended = stdout(&nct(&["flows", "--ended-only", "-"], Some(&late)));
    assert_eq!(ended.lines().count(), open.len());
    for l in ended.lines() {
        let f: Value = serde_json::from_str(l).expect("JSON");
        assert_eq!(
            (&f["reason"], &f["end"]),
            (&"idle".into(), &1.0.into()),
            "the last packet's time"
        );
    }
    let file = dir.join("flows.csv");
    let path = file.to_str().expect("plain");
    let output = nct(&["flows", "--flow-format", "csv", "-w", path, &tcp()], None);
    assert_eq!(stdout(&output), "");
    let text = fs::read_to_string(&file).expect("written");
    let mut lines = text.lines();
    let columns = lines.next().expect("a header").split(',').count();
    assert!(lines.clone().count() > 0 && lines.all(|l| l.split(',').count() == columns));
    let filtered = run(&["flows", "--only", "-p udp", &tcp()]);
    assert_eq!(filtered, "");
    let path = dir.join("flows.ipfix");
    run(&[
        "flows",
        "--flow-format",
        "ipfix",
        "-w",
        path.to_str().expect("plain"),
        &tcp(),
    ]);
    let bytes = fs::read(path).expect("written");
    assert_eq!(&bytes[..2], [0, 10], "version 10");
}

#[test]
fn damaged_captures_are_told_and_what_precedes_is_shown() {
    let mut bytes = capture();
    bytes.truncate(bytes.len() - 3);
    let output = nct(&["list", "-"], Some(&bytes));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("udp"));
    assert!(!stderr(&output).is_empty());
    let output = nct(&["events", "/nowhere/x.pcap"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nowhere/x.pcap"));
}

#[test]
fn completions_and_manual_page() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run(&["completions", shell]).contains("replay"), "{shell}");
    }
    let man = run(&["man"]);
    for word in [".TH nct", "NCT LIST", "NCT LIVE", "NCT REPLAY", "sysctl"] {
        assert!(man.contains(word), "no {word}");
    }
}
