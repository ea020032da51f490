//! The control plane: connections made, changed, found, dumped and deleted by messages, filters and numbers.

use super::support::*;
use nulls_conntrack::ctnetlink::{self, Command, Message, ProtoRecord, Record, errno, flags};
use nulls_conntrack::event_queue::Body;
use nulls_conntrack::events::{Kind, mask};
use nulls_conntrack::tracker::ControlError;
use nulls_conntrack::tuple::{Tuple, ipproto};
use nulls_conntrack::{EventQueue, Filter, Store, Tracker, status};
use std::sync::Arc;

fn record(host: u8, zone: u16) -> Record {
    let t = Tuple::v4([10, 0, 0, host], [10, 9, 9, 9], ipproto::TCP, 12345, 443);
    Record {
        tuples: [Some(t), t.invert()],
        zone: Some(zone).filter(|z| *z != 0),
        timeout: Some(20_000),
        status: Some(status::SEEN_REPLY | status::ASSURED),
        proto: Some(ProtoRecord::Tcp {
            state: 3,
            wscale: [Some(2), Some(7)],
            flags: [Some((0x0b, 0x0b)), Some((0x0b, 0x0b))],
        }),
        ..Record::default()
    }
}

fn record6(host: u8, zone: u16) -> Record {
    let (mut a, mut b) = ([0x20; 16], [0x21; 16]);
    (a[15], b[15]) = (host, host);
    let t = Tuple::v6(a, b, ipproto::TCP, 12345, 443);
    // Ports are not exchanged: entries need not be mirror images.
    let reply = Tuple::v6(b, a, ipproto::TCP, 12345, 443);
    Record {
        tuples: [Some(t), Some(reply)],
        ..record(host, zone)
    }
}

fn ask<St: Store>(ct: &Tracker<St>, m: &Message) -> Vec<Vec<u8>> {
    ctnetlink::serve(ct, &m.encode(), 77, S)
}

/// The error number of a request that wants an acknowledgement.
fn ack<St: Store>(ct: &Tracker<St>, mut m: Message) -> i32 {
    m.flags |= flags::REQUEST | flags::ACK;
    let answers = ask(ct, &m);
    errno(answers.last().expect("an acknowledgement")).expect("an error message")
}

fn make(r: Record) -> Message {
    Message {
        flags: flags::CREATE | flags::EXCL,
        ..Message::new(Command::New, r)
    }
}

fn dump<St: Store>(ct: &Tracker<St>, r: Record, family: u8) -> Vec<Message> {
    let request = Message {
        flags: flags::REQUEST | flags::DUMP,
        seq: 5,
        family,
        ..Message::new(Command::Get, r)
    };
    let mut answers = ask(ct, &request);
    assert!(ctnetlink::is_done(&answers.pop().expect("an end")));
    answers
        .iter()
        .map(|a| Message::decode(a).expect("well-formed").0)
        .collect()
}

fn zone(z: u16) -> Record {
    Record {
        zone: Some(z),
        ..Record::default()
    }
}

with_each_store!(
    dump_and_flush_by_zone,
    changes_follow_the_kernels_rules,
    requests_that_make_no_sense_are_refused,
    deleting_by_tuple_and_number,
);

/// The kernel's own test of dumps and flushes, told again.
fn dump_and_flush_by_zone<St: Store>(ct: &Tracker<St>) {
    for (host, z) in [(1, 123), (2, 124), (3, 125), (4, 0)] {
        assert_eq!(ack(ct, make(record(host, z))), 0);
        assert_eq!(ack(ct, make(record6(host, z))), 0);
    }
    assert_eq!(ct.stats().insert, 8);
    let all = dump(ct, Record::default(), 0);
    assert_eq!(all.len(), 8);
    assert!(
        all.iter()
            .all(|m| m.flags == flags::MULTI && m.seq == 5 && m.portid == 77)
    );
    assert_eq!(dump(ct, Record::default(), 10).len(), 4, "one family");
    let some = dump(ct, zone(123), 0);
    assert_eq!(some.len(), 2);
    assert!(some.iter().all(|m| m.flags & flags::DUMP_FILTERED != 0));
    let flush = |z| ack(ct, Message::new(Command::Delete, zone(z)));
    assert_eq!(flush(123), 0);
    let left = |z| dump(ct, zone(z), 0).len();
    assert_eq!([left(123), left(124), left(125), left(0)], [0, 2, 2, 2]);
    // Zone 0 said is a filter; zone 0 unsaid is none.
    assert_eq!(flush(0), 0);
    assert_eq!([left(124), left(125), left(0)], [2, 2, 0]);
    assert_eq!(ack(ct, Message::new(Command::Delete, Record::default())), 0);
    assert!(ct.store().is_empty());
}

fn changes_follow_the_kernels_rules<St: Store>(ct: &Tracker<St>) {
    assert_eq!(ack(ct, make(record(1, 0))), 0);
    assert_eq!(ack(ct, make(record(1, 0))), 17, "EEXIST");
    let change = |r: Record| {
        let r = Record {
            tuples: record(1, 0).tuples,
            ..r
        };
        ack(ct, Message::new(Command::New, r))
    };
    let marked = |mark, mark_mask| Record {
        mark: Some(mark),
        mark_mask,
        ..Record::default()
    };
    assert_eq!(change(marked(0xff, None)), 0);
    assert_eq!(change(marked(0x10, Some(0xf0))), 0);
    assert_eq!(only(ct, S).mark, 0x1f);
    let with_status = |bits| Record {
        status: Some(bits),
        ..Record::default()
    };
    let base = status::CONFIRMED | status::SEEN_REPLY | status::ASSURED;
    assert_eq!(change(with_status(base | status::FIXED_TIMEOUT)), 0);
    assert_eq!(change(with_status(base & !status::ASSURED)), 16, "EBUSY");
    assert_eq!(change(with_status(base | status::DYING)), 16, "EBUSY");
    assert_eq!(
        change(with_status(base | status::SRC_NAT | status::OFFLOAD)),
        0
    );
    assert_eq!(only(ct, S).status, base | status::FIXED_TIMEOUT);
    let timeout = Record {
        timeout: Some(5),
        ..Record::default()
    };
    assert_eq!(change(timeout), 1, "EPERM");
    let helper = Record {
        helper: Some("ftp".into()),
        ..Record::default()
    };
    assert_eq!(change(helper), 95, "EOPNOTSUPP");
    let labels = Record {
        labels: Some([5, 0, 0, 9]),
        labels_mask: Some([4, 0, 0, u32::MAX]),
        ..Record::default()
    };
    assert_eq!(change(labels), 0);
    assert_eq!(only(ct, S).labels, [5, 0, 0, 9]);
    // Packets go on where the message left off.
    let seen = pass(
        ct,
        &tcp(
            [10, 9, 9, 9].into(),
            443,
            [10, 0, 0, 1].into(),
            12345,
            &Tcp {
                flags: "A",
                ..Tcp::default()
            },
        ),
        S,
    );
    assert_eq!(seen.dir, Some(Direction::Reply));
}

fn requests_that_make_no_sense_are_refused<St: Store>(ct: &Tracker<St>) {
    let without_timeout = Record {
        timeout: None,
        ..record(1, 0)
    };
    assert_eq!(ack(ct, make(without_timeout)), 22);
    let one_tuple = Record {
        tuples: [record(1, 0).tuples[0], None],
        ..record(1, 0)
    };
    assert_eq!(ack(ct, make(one_tuple)), 22);
    let udp = Tuple::v4([10, 9, 9, 9], [10, 0, 0, 1], ipproto::UDP, 443, 12345);
    let two_protocols = Record {
        tuples: [record(1, 0).tuples[0], Some(udp)],
        ..record(1, 0)
    };
    assert_eq!(ack(ct, make(two_protocols)), 22);
    let no_state = Record {
        proto: Some(ProtoRecord::Tcp {
            state: 10,
            wscale: [None; 2],
            flags: [None; 2],
        }),
        ..record(1, 0)
    };
    assert_eq!(ack(ct, make(no_state)), 22);
    let orphan = Record {
        master: record(9, 0).tuples[0],
        ..record(1, 0)
    };
    assert_eq!(ack(ct, make(orphan)), 2);
    assert_eq!(ack(ct, Message::new(Command::New, record(1, 0))), 2);
    assert_eq!(ack(ct, Message::new(Command::Get, Record::default())), 22);
    assert!(ct.store().is_empty());
    assert_eq!(ct.net().count(), 0, "what was refused is gone");
    ct.set_sysctl("nf_conntrack_max", "1").expect("a knob");
    assert_eq!(ack(ct, make(record(1, 0))), 0);
    assert_eq!(ack(ct, make(record(2, 0))), 28, "ENOSPC");
    // Bytes that end early are answered or ignored.
    let bytes = make(record(3, 0)).encode();
    for cut in 0..bytes.len() {
        ctnetlink::serve(ct, &bytes[..cut], 1, S);
        let mut damaged = bytes.clone();
        damaged[cut] ^= 0x55;
        ctnetlink::serve(ct, &damaged, 1, S);
    }
    assert_eq!(ct.net().count(), 1);
}

fn deleting_by_tuple_and_number<St: Store>(ct: &Tracker<St>) {
    for host in 1..=4 {
        ct.insert(&record(host, 0), S).expect("room");
    }
    let id = |host| ct.get(&record(host, 0), S).expect("there").id();
    let wrong = Record {
        id: Some(id(1) ^ 1),
        ..record(1, 0)
    };
    assert_eq!(ack(ct, Message::new(Command::Delete, wrong)), 2);
    let right = Record {
        id: Some(id(1)),
        ..record(1, 0)
    };
    assert_eq!(ack(ct, Message::new(Command::Delete, right)), 0);
    let reply_only = Record {
        tuples: [None, record(2, 0).tuples[1]],
        ..Record::default()
    };
    assert_eq!(ack(ct, Message::new(Command::Delete, reply_only)), 0);
    let third = id(3);
    let found = ct.find_by_id(third, S).expect("there");
    assert_eq!(
        found.tuple(Direction::Original).src(),
        std::net::IpAddr::from([10, 0, 0, 3])
    );
    drop(found);
    let by_id: Filter = format!("--id {third}").parse().expect("a filter");
    assert_eq!(ct.delete_matching(&by_id, S), 1);
    assert!(ct.find_by_id(third, S).is_none());
    let filter: Filter = "-s 10.0.0.4 --state established".parse().expect("a filter");
    let change = Record {
        mark: Some(9),
        ..Record::default()
    };
    assert_eq!(ct.change_matching(&filter, &change, S), (1, None));
    assert_eq!(only(ct, S).mark, 9);
    let answers = ask(
        ct,
        &Message {
            flags: flags::REQUEST,
            ..Message::new(Command::Get, record(4, 0))
        },
    );
    let (m, _) = Message::decode(&answers[0]).expect("well-formed");
    assert_eq!((m.record.mark, m.record.uses), (Some(9), Some(1)));
    let gone: ControlError = ct.get(&record(1, 0), S).err().expect("deleted");
    assert_eq!(gone.errno(), 2);
}

#[test]
fn statistics_are_answered() {
    let ct = nulls();
    ct.insert(&record(1, 0), S).expect("room");
    let cpu = ask(&ct, &Message::new(Command::GetStatsCpu, Record::default()));
    let (_, s) = ctnetlink::stats::decode_cpu(&cpu[0]).expect("well-formed");
    assert_eq!((s.insert, ctnetlink::is_done(&cpu[1])), (1, true));
    let global = ask(&ct, &Message::new(Command::GetStats, Record::default()));
    let max = config().max as u32;
    assert_eq!(ctnetlink::stats::decode_global(&global[0]), Ok((1, max)));
    ct.set_sysctl("nf_conntrack_acct", "1").expect("a knob");
    pass(&ct, &udp(C, 1, D, 2, 0), S);
    let packet = Record {
        tuples: [Tuple::new(C, D, ipproto::UDP, 1, 2), None],
        ..Record::default()
    };
    let zero = ask(&ct, &Message::new(Command::GetCtrZero, packet.clone()));
    let counters = |bytes: &[u8]| {
        Message::decode(bytes)
            .expect("well-formed")
            .0
            .record
            .counters[0]
    };
    assert_eq!(counters(&zero[0]), Some((1, 28)));
    let again = ask(&ct, &Message::new(Command::Get, packet));
    assert_eq!(counters(&again[0]), Some((0, 0)));
}

#[test]
fn what_the_control_plane_does_is_told() {
    let ct = nulls();
    let (queue, mut events) = EventQueue::new(64);
    ct.set_listener(Some(Arc::new(queue)));
    ct.insert(&record(1, 0), S).expect("room");
    let change = Record {
        mark: Some(3),
        ..Record::default()
    };
    ct.change_matching(&Filter::default(), &change, S);
    ct.delete_matching(&Filter::default(), S);
    let told: Vec<_> = events.by_ref().collect();
    let kinds: Vec<Kind> = told.iter().map(|e| e.kind()).collect();
    assert_eq!(kinds, [Kind::New, Kind::Update, Kind::Destroy]);
    let Body::Connection { mask: bits, .. } = told[0].body else {
        panic!("a connection's event")
    };
    assert_eq!(bits, mask::NEW | mask::CHANGED);
    assert_eq!(told[1].record().expect("a connection").mark, Some(3));
    let message = told[2].message().expect("a connection").encode();
    let (m, _) = Message::decode(&message).expect("well-formed");
    assert_eq!(m.event_kind(), Some(Kind::Destroy));
}
