//! Lines and elements as conntrack 1.4.7 prints them.

use super::text::Utc;
use super::*;
use crate::ctnetlink::ProtoRecord;
use crate::status::{ASSURED, CONFIRMED, OFFLOAD, SEEN_REPLY};

fn tcp() -> Record {
    let t = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::TCP, 40000, 80);
    Record {
        tuples: [Some(t), t.invert()],
        status: Some(CONFIRMED | SEEN_REPLY | ASSURED),
        timeout: Some(431_999),
        proto: Some(ProtoRecord::Tcp {
            state: 3,
            wscale: [None; 2],
            flags: [None; 2],
        }),
        counters: [Some((2, 92)), Some((1, 52))],
        mark: Some(0),
        uses: Some(1),
        id: Some(160_029_560),
        helper: Some("ftp".into()),
        labels: Some([1 << 3, 0, 0, 1 << 31]),
        timestamps: Some((1_795_345_141_000_000_000, None)),
        zone: Some(7),
        ..Record::default()
    }
}

fn line(r: &Record, kind: Option<Kind>, o: TextOptions) -> String {
    let mut s = String::new();
    write_line(&mut s, r, kind, o, 1_795_345_151_900_000_000).expect("strings take everything");
    s
}

#[test]
fn lines_have_the_tools_order() {
    let r = tcp();
    assert_eq!(
        line(&r, None, TextOptions::default()),
        "tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 packets=2 bytes=92 src=10.0.0.2 dst=10.0.0.1 \
         sport=80 dport=40000 packets=1 bytes=52 [ASSURED] mark=0 zone=7 delta-time=10 helper=ftp use=1"
    );
    let all = TextOptions {
        extended: true,
        id: true,
        ktimestamp: true,
        timestamp: Some(1_795_345_151_000_042_000),
        labels: true,
    };
    let event = line(&r, Some(Kind::New), all);
    assert!(event.starts_with("[1795345151.000042]\t    [NEW] ipv4     2 tcp      6 431999"));
    assert!(
        event.ends_with(
            "zone=7 [start=Sun Nov 22 10:59:01 2026] helper=ftp use=1 id=160029560 labels=3,127"
        ),
        "{event}"
    );
    let mut r = r;
    r.status = Some(CONFIRMED | SEEN_REPLY | OFFLOAD);
    (r.timeout, r.proto) = (None, None);
    assert!(
        line(&r, None, TextOptions::default())
            .contains("dport=40000 packets=1 bytes=52 [OFFLOAD] mark=0")
    );
}

#[test]
fn what_a_message_leaves_out_is_not_printed() {
    let t = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 50, 0, 0);
    let r = Record {
        tuples: [Some(t), t.invert()],
        status: Some(0),
        ..Record::default()
    };
    assert_eq!(
        line(&r, Some(Kind::Destroy), TextOptions::default()),
        "[DESTROY] unknown  50 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1"
    );
}

#[test]
fn xml_escapes_and_keeps_the_tools_order() {
    let mut r = tcp();
    r.helper = Some("a<b&c".into());
    let mut s = String::new();
    let o = XmlOptions {
        id: true,
        timestamp: Some(1_795_345_151_000_000_000),
        labels: true,
    };
    write_xml(&mut s, &r, Some(Kind::Update), o, 0).expect("strings take everything");
    assert!(
        s.starts_with("<flow type=\"update\"><meta direction=\"original\"><layer3 protonum=\"2\"")
    );
    assert!(s.contains("<counters><packets>2</packets><bytes>92</bytes></counters></meta>"));
    assert!(s.contains("<state>ESTABLISHED</state><timeout>431999</timeout><mark>0</mark><zone>7</zone><use>1</use><id>160029560</id><assured/>"));
    assert!(
        s.ends_with("<year>2026</year></when><helper>a&lt;b&amp;c</helper></flow>"),
        "{s}"
    );
}

#[test]
fn the_calendar_is_right_at_its_edges() {
    let at = |secs| {
        let t = Utc::at(secs);
        (
            t.year, t.month, t.day, t.weekday, t.hour, t.minute, t.second,
        )
    };
    assert_eq!(at(0), (1970, 1, 1, 4, 0, 0, 0));
    assert_eq!(at(951_782_399), (2000, 2, 28, 1, 23, 59, 59));
    assert_eq!(at(951_782_400), (2000, 2, 29, 2, 0, 0, 0));
    assert_eq!(at(1_709_251_199), (2024, 2, 29, 4, 23, 59, 59));
    assert_eq!(at(4_107_542_400), (2100, 3, 1, 1, 0, 0, 0));
    assert_eq!(at(1_798_761_599), (2026, 12, 31, 4, 23, 59, 59));
}

#[test]
fn statistics_line() {
    let s = StatsSnapshot {
        invalid: 3,
        chaintoolong: 1,
        expect_new: 9,
        ..StatsSnapshot::default()
    };
    let mut out = String::new();
    write_stats(&mut out, 0, &s).expect("strings take everything");
    assert_eq!(
        out,
        "cpu=0   \tfound=0 invalid=3 insert=0 insert_failed=0 drop=0 early_drop=0 error=0 search_restart=0 clash_resolve=0 chaintoolong=1 \n"
    );
}
