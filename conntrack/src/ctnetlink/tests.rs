//! Round trips, and what the kernel itself sends.

use super::*;
use crate::seqadj::SeqAdj;
use crate::tuple::{Tuple, ipproto};
use proptest::option::of;
use proptest::prelude::*;

/// A tuple as the wire can carry it: protocols without ports have none.
fn any_tuple(six: bool) -> impl Strategy<Value = Tuple> {
    let proto = prop_oneof![
        Just(ipproto::TCP),
        Just(ipproto::UDP),
        Just(ipproto::GRE),
        Just(ipproto::ICMP),
        Just(ipproto::ICMPV6),
        Just(ipproto::SCTP),
        any::<u8>()
    ];
    let addrs = (any::<[u8; 16]>(), any::<[u8; 16]>());
    (addrs, proto, any::<u16>(), any::<u16>()).prop_map(move |((s, d), p, a, b)| {
        let ports = matches!(p, 1 | 6 | 17 | 47 | 58 | 132 | 136);
        let (a, b) = if ports { (a, b) } else { (0, 0) };
        if six {
            return Tuple::v6(s, d, p, a, b);
        }
        let four = |x: [u8; 16]| [x[0], x[1], x[2], x[3]];
        Tuple::v4(four(s), four(d), p, a, b)
    })
}

fn any_proto() -> impl Strategy<Value = ProtoRecord> {
    prop_oneof![
        (
            0u8..10,
            any::<[Option<u8>; 2]>(),
            any::<[Option<(u8, u8)>; 2]>()
        )
            .prop_map(|(state, wscale, flags)| ProtoRecord::Tcp {
                state,
                wscale,
                flags
            }),
        (0u8..9, any::<[Option<u32>; 2]>())
            .prop_map(|(state, vtag)| ProtoRecord::Sctp { state, vtag }),
    ]
}

fn any_seqadj() -> impl Strategy<Value = SeqAdj> {
    any::<(u32, i32, i32)>().prop_map(|(pos, before, after)| SeqAdj { pos, before, after })
}

fn any_record() -> impl Strategy<Value = Record> {
    let tuples = any::<bool>().prop_flat_map(|six| {
        (
            any_tuple(six),
            of(any_tuple(six)),
            of(any_tuple(six)),
            any::<[Option<u16>; 2]>(),
        )
    });
    let numbers = any::<[Option<u32>; 7]>();
    let wide = (
        any::<[Option<(u64, u64)>; 2]>(),
        any::<Option<(u64, Option<u64>)>>(),
        any::<Option<u64>>(),
    );
    let rest = (
        of(any_proto()),
        of("[a-z]{1,15}"),
        any::<[Option<[u32; 4]>; 2]>(),
        [of(any_seqadj()), of(any_seqadj())],
        any::<Option<[u32; 2]>>(),
        any::<Option<u16>>(),
    );
    (tuples, numbers, wide, rest).prop_map(|(t, n, w, r)| Record {
        tuples: [Some(t.0), t.1],
        tuple_zones: [t.3[0], t.3[1].filter(|_| t.1.is_some())],
        master: t.2,
        status: n[0],
        status_mask: n[1],
        timeout: n[2],
        mark: n[3],
        mark_mask: n[4],
        uses: n[5],
        id: n[6],
        counters: w.0,
        timestamps: w.1,
        event_time: w.2,
        proto: r.0,
        helper: r.1.map(Into::into),
        labels: r.2[0],
        labels_mask: r.2[1],
        seqadj: r.3,
        filter: r.4,
        zone: r.5,
    })
}

proptest! {
    #[test]
    fn messages_come_back(record in any_record(), event in any::<bool>(), seq in any::<u32>(), portid in any::<u32>(), flags in any::<u16>()) {
        // The order is told by the place of the id before or behind the status.
        let mut record = record;
        record.id.get_or_insert(1);
        record.status.get_or_insert(8);
        let m = Message { seq, portid, flags, event, ..Message::new(Command::New, record) };
        let bytes = m.encode();
        prop_assert_eq!(bytes.len() % 4, 0);
        // Something may follow in the same datagram.
        let mut two = bytes.clone();
        two.extend(&bytes);
        let (got, used) = Message::decode(&two).expect("well-formed");
        prop_assert_eq!((&got, used), (&m, bytes.len()));
        // Cut anywhere it is an error, not a panic.
        for cut in 0..bytes.len() {
            prop_assert!(Message::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn any_attributes_are_read_or_refused(six in any::<bool>(), body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let family = if six { Family::Ipv6 } else { Family::Ipv4 };
        let mut m = header(Command::New, 0, 1, 2, family as u8);
        m.extend(body);
        let _ = Message::decode(&finish(m));
    }

    #[test]
    fn one_changed_byte_is_no_panic(record in any_record(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Message::new(Command::New, record).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn statistics_come_back(cpu in any::<u16>(), n in any::<[u32; 10]>(), two in any::<(u32, u32)>()) {
        let n = n.map(u64::from);
        let s = crate::stats::StatsSnapshot {
            found: n[0], invalid: n[1], insert: n[2], insert_failed: n[3], drop: n[4], early_drop: n[5], error: n[6],
            search_restart: n[7], clash_resolve: n[8], chaintoolong: n[9], ..Default::default()
        };
        prop_assert_eq!(stats::decode_cpu(&stats::encode_cpu(cpu, 1, 2, &s)), Ok((cpu, s)));
        prop_assert_eq!(stats::decode_global(&stats::encode_global(1, 2, two.0, two.1)), Ok(two));
    }
}

#[test]
fn messages_of_others_are_refused() {
    let mut bytes = Message::new(Command::Get, Record::default()).encode();
    bytes[5] = 2; // expectations
    assert_eq!(Message::decode(&bytes), Err(DecodeError::NotOurs));
    bytes[5] = 1;
    bytes[4] = 9;
    assert_eq!(Message::decode(&bytes), Err(DecodeError::NotOurs));
    bytes[4] = 1;
    bytes[0] = 200; // longer than it is
    assert_eq!(Message::decode(&bytes), Err(DecodeError::Truncated));
    assert_eq!(Message::decode(&[]), Err(DecodeError::Truncated));
}

#[test]
fn events_are_told_by_command_and_flags() {
    for kind in [Kind::New, Kind::Update, Kind::Destroy] {
        let m = Message::event(kind, Record::default());
        assert_eq!(m.event_kind(), Some(kind));
    }
    assert_eq!(
        Message::new(Command::GetStats, Record::default()).event_kind(),
        None
    );
}
