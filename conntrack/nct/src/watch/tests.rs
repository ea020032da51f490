//! Flow records in formats that only a library reads back.

use std::cell::RefCell;
use std::rc::Rc;

use ipfixrw::parse_ipfix_message;
use ipfixrw::parser::{DataRecordKey, DataRecordValue};
use nulls_conntrack::{Config, Family, Hook, NullsStore, Packet, Tracker};

use super::flows::{End, Flow, FlowWriter};
use super::ipfix::{Ipfix, formatter};

/// Records of a datagram and its answer, in each family.
fn flows() -> Vec<Flow> {
    let ct = Tracker::new(
        NullsStore::<u32>::new(100, 16).expect("memory"),
        Config::default(),
    );
    for knob in ["nf_conntrack_acct", "nf_conntrack_timestamp"] {
        ct.set_sysctl(knob, "1").expect("a knob");
    }
    let header = |six: bool, back: bool| {
        let (a, b) = if back { (2, 1) } else { (1, 2) };
        let (s, d) = if back { (53u16, 9u16) } else { (9, 53) };
        let mut p = if six {
            let mut p = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
            for last in [a, b] {
                p.extend([0x20, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
            p
        } else {
            let mut p = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
            p.extend([10, 0, 0, a, 10, 0, 0, b]);
            p
        };
        p.extend(s.to_be_bytes());
        p.extend(d.to_be_bytes());
        p.extend([0, 8, 0, 0]);
        p
    };
    for (i, (six, back)) in [(false, false), (false, true), (true, false)]
        .into_iter()
        .enumerate()
    {
        let data = header(six, back);
        let family = if six { Family::Ipv6 } else { Family::Ipv4 };
        let mut pkt = Packet::new(&data, family, (i as u64 + 1) * 1_000_000_000);
        pkt.checksum_ok = true;
        ct.track(&mut pkt, Hook::PreRouting);
        ct.confirm(&mut pkt, Hook::PostRouting);
    }
    let mut all = ct.dump(4_000_000_000);
    all.sort_by_key(|s| s.tuples[0].family());
    all.iter()
        .enumerate()
        .map(|(i, s)| Flow::of(i as u32 + 1, s, None, 4_000_000_000, End::Idle))
        .collect()
}

#[test]
fn ipfix_messages_read_back() {
    let flows = flows();
    assert_eq!(flows.len(), 2);
    let mut bytes = Vec::new();
    {
        let mut w = Ipfix::new(&mut bytes);
        // More than one message.
        for _ in 0..300 {
            flows.iter().for_each(|f| w.flow(f).expect("written"));
        }
        w.finish().expect("written");
    }
    let templates = Rc::new(RefCell::new(ahash::HashMap::default()));
    let known = Rc::new(formatter());
    let (mut rest, mut records, mut messages) = (bytes.as_slice(), Vec::new(), 0);
    while !rest.is_empty() {
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let m = parse_ipfix_message(&&rest[..len], templates.clone(), known.clone())
            .expect("well-formed");
        assert_eq!(m.sequence_number as usize, records.len());
        records.extend(m.iter_data_records().cloned());
        rest = &rest[len..];
        messages += 1;
    }
    assert_eq!(
        (records.len(), messages),
        (600, 5),
        "templates, two of 256 and two of 44"
    );
    let get =
        |r: &ipfixrw::parser::DataRecord, name| r.values.get(&DataRecordKey::Str(name)).cloned();
    let v4 = &records[0];
    use DataRecordValue::{DateTimeMilliseconds, Ipv4Addr, Ipv6Addr, U8, U16, U64};
    assert_eq!(
        get(v4, "sourceIPv4Address"),
        Some(Ipv4Addr([10, 0, 0, 1].into()))
    );
    assert_eq!(get(v4, "destinationTransportPort"), Some(U16(53)));
    assert_eq!(get(v4, "octetTotalCount"), Some(U64(28)));
    assert_eq!(get(v4, "reverseOctetTotalCount"), Some(U64(28)));
    assert_eq!(
        get(v4, "flowStartMilliseconds"),
        Some(DateTimeMilliseconds(1000))
    );
    assert_eq!(get(v4, "flowEndReason"), Some(U8(1)));
    assert_eq!(get(v4, "protocolIdentifier"), Some(U8(17)));
    let v6 = records
        .iter()
        .find(|r| get(r, "sourceIPv6Address").is_some())
        .expect("the other family");
    let dst = "2001:db8::2".parse().expect("an address");
    assert_eq!(get(v6, "destinationIPv6Address"), Some(Ipv6Addr(dst)));
    assert_eq!(get(v6, "reversePacketTotalCount"), Some(U64(0)));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_files_read_back() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    let dir = std::env::temp_dir().join(format!("nct-parquet-{}", std::process::id()));
    let file = std::fs::File::create(&dir).expect("a file");
    let mut w = super::parquet::Parquet::new(file).expect("begun");
    flows().iter().for_each(|f| w.flow(f).expect("written"));
    w.finish().expect("written");
    let reader =
        SerializedFileReader::new(std::fs::File::open(&dir).expect("there")).expect("Parquet");
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("well-formed");
    assert_eq!(rows.len(), 2);
    let names = super::flows::COLUMNS;
    let at = |name| names.iter().position(|n| *n == name).expect("a column");
    assert_eq!(rows[0].get_string(at("src")).expect("text"), "10.0.0.1");
    assert_eq!(rows[0].get_long(at("reply_bytes")).expect("a number"), 28);
    assert_eq!(rows[0].get_long(at("replied")).expect("a number"), 1);
    assert_eq!(rows[1].get_long(at("replied")).expect("a number"), 0);
    assert!((rows[0].get_double(at("start")).expect("a time") - 1.0).abs() < 1e-6);
    std::fs::remove_file(dir).expect("removed");
}
