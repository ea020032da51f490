//! The command line: help, usage errors, settings.

mod support;

use std::fs;

use support::packets::{dialogue, pcap};
use support::{nct, scratch, stderr, stdout};

fn capture() -> Vec<u8> {
    pcap(101, &dialogue().map(|p| (1_000_000, p)))
}

#[test]
fn help_explains_every_command() {
    let text = stdout(&nct(&["--help"], None));
    for word in ["replay", "Exit status", "/proc/net/nf_conntrack"] {
        assert!(text.contains(word), "{text}");
    }
    let text = stdout(&nct(&["replay", "--help"], None));
    for word in [
        "pcapng",
        "gzip",
        "VLAN",
        "time never goes back",
        "--sysctl",
        "--sysctls",
        "--trace",
        "--case",
        "Exit status",
    ] {
        assert!(text.contains(word), "no {word}: {text}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["replay"][..],
        &["replay", "--no-such-option", "x.pcap"],
        &["replay", "-o", "xml", "x.pcap"],
        &["replay", "--out", "d", "x.pcap"],
        &["replay", "--case", "d", "--sysctl", "acct=1"],
        &["no-such-command"],
    ] {
        let output = nct(args, None);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).is_empty());
    }
}

#[test]
fn settings_are_taken_by_kernel_names_from_the_line_and_from_files() {
    let dir = scratch("settings");
    let (conf, json) = (dir.join("a.conf"), dir.join("b.json"));
    fs::write(&conf, "# a router\nnet.netfilter.nf_conntrack_acct = 1\n").unwrap();
    fs::write(
        &json,
        "{\"net.netfilter.nf_conntrack_acct\": 1, \"net.netfilter.nf_conntrack_buckets\": 512}",
    )
    .unwrap();
    for option in [
        ["--sysctl", "net.netfilter.nf_conntrack_acct=1"],
        ["--sysctl", "net/netfilter/nf_conntrack_acct=1"],
        ["--sysctl", "nf_conntrack_acct=1"],
        ["--sysctl", "acct=1"],
        ["--sysctls", conf.to_str().unwrap()],
        ["--sysctls", json.to_str().unwrap()],
    ] {
        let output = nct(&[&["replay", "-"][..], &option].concat(), Some(&capture()));
        assert!(
            stdout(&output).contains("packets=1 bytes=36"),
            "{option:?}: {}",
            stdout(&output)
        );
    }
    // The line wins over files.
    let output = nct(
        &[
            "replay",
            "--sysctls",
            conf.to_str().unwrap(),
            "--sysctl",
            "acct=0",
            "-",
        ],
        Some(&capture()),
    );
    assert!(!stdout(&output).contains("packets="));
}

#[test]
fn bad_settings_are_failures_that_name_the_setting() {
    for (setting, word) in [
        ("tcp_looze=1", "nf_conntrack_tcp_looze"),
        ("acct=maybe", "nf_conntrack_acct"),
        ("acct=7", "nf_conntrack_acct"),
        ("acct", "name=value"),
        ("buckets=x", "nf_conntrack_buckets"),
    ] {
        let output = nct(&["replay", "--sysctl", setting, "-"], Some(&capture()));
        assert_eq!(output.status.code(), Some(1), "{setting}");
        assert!(
            stderr(&output).contains(word),
            "{setting}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_directory_that_is_no_recording_is_a_failure() {
    let dir = scratch("empty");
    let output = nct(&["replay", "--case", dir.to_str().unwrap()], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("meta.json"), "{}", stderr(&output));
}
