//! `nct replay` on captures of every kind: the same packets give the same table, however they are wrapped, and damage is
//! told without losing what came before it.

mod support;

use std::fs;
use std::io::Write;
use std::net::Ipv6Addr;

use serde_json::Value;
use support::packets::{A, B, dialogue, ethernet, pcap, pcapng, record, udp4};
use support::{nct, score, scratch, stderr, stdout};

const SECOND: u64 = 1_000_000;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    z.write_all(bytes).unwrap();
    z.finish().unwrap()
}

/// The dialogue, each packet wrapped, a millisecond apart.
fn wrapped(wrap: impl Fn(&[u8]) -> Vec<u8>) -> Vec<(u64, Vec<u8>)> {
    dialogue()
        .iter()
        .enumerate()
        .map(|(i, p)| (5 * SECOND + i as u64 * 1000, wrap(p)))
        .collect()
}

fn prefixed(prefix: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> + '_ {
    move |p| [prefix, p].concat()
}

const TABLE: &str = "ipv4     2 udp      17 29 src=10.0.0.1 dst=10.9.9.2 sport=1000 dport=53 \
    src=10.9.9.2 dst=10.0.0.1 sport=53 dport=1000 mark=0 zone=0 use=1\n";

/// The table without what depends on the moment: seconds left and references.
fn fields(table: &str) -> Vec<String> {
    let keep = |(i, f): (usize, &str)| (i != 4 && !f.starts_with("use=")).then(|| f.to_owned());
    table
        .lines()
        .flat_map(|l| l.split_whitespace().enumerate().filter_map(keep))
        .collect()
}

#[test]
fn every_wrapping_of_the_same_packets_gives_the_same_table() {
    let sll2 = [&[8, 0][..], &[0; 18]].concat();
    let sll = [&[0; 14][..], &[8, 0]].concat();
    let files = [
        pcap(1, &wrapped(|p| ethernet(p, &[]))),
        pcap(1, &wrapped(|p| ethernet(p, &[0x8100]))),
        pcap(1, &wrapped(|p| ethernet(p, &[0x88a8, 0x8100]))),
        pcap(101, &wrapped(<[u8]>::to_vec)),
        pcap(12, &wrapped(<[u8]>::to_vec)),
        pcap(228, &wrapped(<[u8]>::to_vec)),
        pcap(0, &wrapped(prefixed(&[2, 0, 0, 0]))),
        pcap(108, &wrapped(prefixed(&[0, 0, 0, 2]))),
        pcap(113, &wrapped(prefixed(&sll))),
        pcap(276, &wrapped(prefixed(&sll2))),
        pcapng(1, &wrapped(|p| ethernet(p, &[]))),
        pcapng(101, &wrapped(<[u8]>::to_vec)),
        gzip(&pcap(101, &wrapped(<[u8]>::to_vec))),
        gzip(&pcapng(101, &wrapped(<[u8]>::to_vec))),
    ];
    let dir = scratch("wrappings");
    for (n, bytes) in files.iter().enumerate() {
        // By name and through standard input.
        let path = dir.join(format!("{n}.cap"));
        fs::write(&path, bytes).unwrap();
        for output in [
            nct(&["replay", path.to_str().unwrap()], None),
            nct(&["replay", "-"], Some(bytes)),
        ] {
            assert_eq!(fields(&stdout(&output)), fields(TABLE), "file {n}");
            assert!(
                stderr(&output).contains("2 packets: 1 new, 1 established"),
                "{}",
                stderr(&output)
            );
        }
    }
}

#[test]
fn several_files_are_one_stream() {
    let dir = scratch("stream");
    let [question, answer] = dialogue();
    let (one, two) = (dir.join("1.pcap"), dir.join("2.pcapng"));
    fs::write(&one, pcap(101, &[(SECOND, question)])).unwrap();
    fs::write(&two, pcapng(101, &[(2 * SECOND, answer)])).unwrap();
    let output = nct(
        &[
            "replay",
            "--trace",
            "--entries",
            "none",
            one.to_str().unwrap(),
            two.to_str().unwrap(),
        ],
        None,
    );
    let lines = score::lines(&stdout(&output));
    let of = |key: &str| lines.iter().map(|l| l[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("i"), [0, 1]);
    assert_eq!(of("state"), ["new", "established"]);
    assert_eq!(of("dir"), ["original", "reply"]);
    assert!(lines.iter().all(|l| l.get("entries").is_none()));
}

#[test]
fn the_trace_shows_the_table_after_each_packet() {
    let file = pcap(101, &wrapped(<[u8]>::to_vec));
    for which in ["all", "own"] {
        let output = nct(
            &[
                "replay",
                "--trace",
                "--entries",
                which,
                "--sysctl",
                "acct=1",
                "-",
            ],
            Some(&file),
        );
        let lines = score::lines(&stdout(&output));
        assert_eq!(lines.len(), 2);
        let entry = |n: usize| &lines[n]["entries"][0];
        assert_eq!(entry(0)["flags"], serde_json::json!(["UNREPLIED"]));
        assert_eq!(entry(1)["flags"], serde_json::json!([]));
        assert_eq!(
            (&entry(1)["orig"]["bytes"], &entry(1)["reply"]["bytes"]),
            (&Value::from(36), &Value::from(34))
        );
        assert_eq!(entry(1)["timeout"], 30);
        assert_eq!(lines[1]["c"], 1);
    }
}

#[test]
fn json_lines_hold_the_same_table() {
    let output = nct(
        &["replay", "-o", "json", "-"],
        Some(&pcap(101, &wrapped(<[u8]>::to_vec))),
    );
    let lines = score::lines(&stdout(&output));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["orig"]["src"], "10.0.0.1");
    assert_eq!(lines[0]["reply"]["dport"], 1000);
    assert!(
        lines[0]["orig"].get("packets").is_none(),
        "nothing is counted by default"
    );
}

#[test]
fn time_is_the_captures_and_never_goes_back() {
    let [question, answer] = dialogue();
    // The answer comes too late: the entry has expired, so it begins a connection of its own.
    let late = pcap(
        101,
        &[
            (100 * SECOND, question.clone()),
            (131 * SECOND, answer.clone()),
        ],
    );
    let states = |file: &[u8]| {
        let output = nct(&["replay", "--trace", "--entries", "all", "-"], Some(file));
        score::lines(&stdout(&output))
            .iter()
            .map(|l| (l["state"].clone(), l["entries"][0]["timeout"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        states(&late),
        [("new".into(), 30.into()), ("new".into(), 30.into())]
    );
    // A stamp from the past counts as now. Ten seconds on the dialogue is a stream.
    let back = pcap(
        101,
        &[
            (100 * SECOND, question.clone()),
            (7 * SECOND, answer),
            (110 * SECOND, question),
        ],
    );
    let want = [
        ("new".into(), 30.into()),
        ("established".into(), 30.into()),
        ("established".into(), 120.into()),
    ];
    assert_eq!(states(&back), want);
}

#[test]
fn a_truncated_capture_prints_its_table_and_fails_with_the_place() {
    let mut file = pcap(101, &wrapped(<[u8]>::to_vec));
    let place = file.len();
    record(&mut file, 6 * SECOND, &udp4(A, B, 7, 7, b"lost"), 32);
    file.truncate(place + 20);
    let output = nct(&["replay", "-"], Some(&file));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        fields(&String::from_utf8_lossy(&output.stdout)),
        fields(TABLE)
    );
    let message = format!(
        "standard input: packet 3 at byte offset {place}: the file ends in the middle of a record"
    );
    assert!(stderr(&output).contains(&message), "{}", stderr(&output));
}

#[test]
fn one_bad_file_does_not_hide_the_others() {
    let dir = scratch("bad");
    let (bad, good) = (dir.join("bad.pcap"), dir.join("good.pcap"));
    fs::write(&bad, b"this is no capture").unwrap();
    fs::write(&good, pcap(101, &wrapped(<[u8]>::to_vec))).unwrap();
    let missing = dir.join("missing.pcap");
    let args = [
        "replay",
        bad.to_str().unwrap(),
        missing.to_str().unwrap(),
        good.to_str().unwrap(),
    ];
    let output = nct(&args, None);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        fields(&String::from_utf8_lossy(&output.stdout)),
        fields(TABLE)
    );
    let told = stderr(&output);
    assert!(
        told.contains("bad.pcap: not a pcap or pcapng file"),
        "{told}"
    );
    assert!(told.contains("missing.pcap: "), "{told}");
}

#[test]
fn an_unknown_link_type_is_told_and_fails() {
    let output = nct(&["replay", "-"], Some(&pcap(147, &wrapped(<[u8]>::to_vec))));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("skipped, because link type 147 is not supported: 2"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn broken_packets_are_counted_not_followed() {
    let mut broken = udp4(A, B, 1, 2, b"x");
    broken[10] ^= 1;
    let mut arp = ethernet(&udp4(A, B, 1, 2, b""), &[]);
    arp[13] = 6;
    let packets = [
        (SECOND, ethernet(&broken, &[])),
        (SECOND, ethernet(&udp4(A, B, 1, 2, b"x")[..22], &[])),
        (SECOND, arp),
        (SECOND, vec![1, 2, 3]),
        (SECOND, Vec::new()),
    ];
    let output = nct(&["replay", "-"], Some(&pcap(1, &packets)));
    assert_eq!(stdout(&output), "");
    assert!(
        stderr(&output).contains("5 packets: 2 none (broken IP header), 3 not IP"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn captures_of_the_loopback_interface_have_their_ipv6() {
    let own = Ipv6Addr::LOCALHOST.octets();
    let datagram = |from: [u8; 2], to: [u8; 2]| {
        let mut p = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        p.extend([own, own].concat());
        p.extend([from, to].concat());
        p.extend([0, 8, 0, 0]);
        ethernet(&p, &[])
    };
    let packets = [
        (SECOND, datagram([0x13, 0x88], [0, 53])),
        (SECOND, datagram([0, 53], [0x13, 0x88])),
    ];
    let output = nct(
        &["list", "--sysctl", "checksum=0", "-"],
        Some(&pcap(1, &packets)),
    );
    assert!(
        stdout(&output).contains("src=::1 dst=::1 sport=5000 dport=53 src=::1"),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
}

#[test]
fn packets_cut_by_the_snap_length_are_followed() {
    let mut file = pcap(101, &[]);
    let [question, answer] = dialogue();
    for p in [question, answer] {
        let mut whole = p;
        // A checksum over bytes that are not there cannot be verified.
        whole[26..28].copy_from_slice(&[0xbe, 0xef]);
        record(&mut file, SECOND, &whole[..30], whole.len());
    }
    let output = nct(&["replay", "--sysctl", "acct=1", "-"], Some(&file));
    assert!(
        stdout(&output).contains("packets=1 bytes=36 "),
        "{}",
        stdout(&output)
    );
    assert!(
        stderr(&output)
            .contains("cut short in the capture, so that checksums were not verified: 2"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_wrong_checksum_is_invalid_and_the_way_out_is_told() {
    let [mut question, _] = dialogue();
    question[26..28].copy_from_slice(&[0xbe, 0xef]);
    let file = pcap(101, &[(SECOND, question)]);
    let output = nct(&["replay", "-"], Some(&file));
    assert_eq!(stdout(&output), "");
    assert!(
        stderr(&output).contains("1 invalid") && stderr(&output).contains("--sysctl checksum=0"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        stdout(&nct(
            &["replay", "--sysctl", "checksum=0", "-"],
            Some(&file)
        ))
        .lines()
        .count(),
        1
    );
}

#[test]
fn memory_stays_bounded_however_many_connections_a_capture_has() {
    let packets: Vec<_> = (0..5000u16)
        .map(|n| {
            (
                SECOND + u64::from(n),
                udp4([10, 1, (n >> 8) as u8, n as u8], B, n, 53, b"q"),
            )
        })
        .collect();
    let output = nct(
        &["replay", "--sysctl", "max=100", "-"],
        Some(&pcap(101, &packets)),
    );
    let lines = stdout(&output).lines().count();
    assert!((1..=100).contains(&lines), "{lines}");
}
