use super::support::*;
use nulls_conntrack::status::{ASSURED, CONFIRMED, SEEN_REPLY};
use nulls_conntrack::{PacketState, Store, Tracker, Verdict};

with_each_store!(
    question_and_answer_are_no_stream,
    a_stream_is_assured_after_two_seconds,
    expired_entries_are_replaced,
    length_field_and_checksum,
    the_reply_link_is_found_first_in_a_flow_to_itself,
);

fn there() -> Vec<u8> {
    udp(C, 1000, D, 53, 10)
}

fn back() -> Vec<u8> {
    udp(D, 53, C, 1000, 20)
}

fn question_and_answer_are_no_stream<St: Store>(ct: &Tracker<St>) {
    ct.set_sysctl("nf_conntrack_acct", "1").expect("a knob");
    assert!(pass(ct, &there(), 0).is(PacketState::New, Some(Direction::Original)));
    let e = only(ct, 0);
    assert_eq!((e.status, e.timeout), (CONFIRMED, 30));
    assert!(
        pass(ct, &there(), S).is(PacketState::New, Some(Direction::Original)),
        "unanswered: new again"
    );
    assert!(pass(ct, &back(), S).is(PacketState::Established, Some(Direction::Reply)));
    assert!(pass(ct, &there(), S + S / 2).is(PacketState::Established, Some(Direction::Original)));
    let e = only(ct, S + S / 2);
    assert_eq!((e.status, e.timeout), (CONFIRMED | SEEN_REPLY, 30));
    assert_eq!(e.counters, Some([(3, 3 * 38), (1, 48)]));
}

fn a_stream_is_assured_after_two_seconds<St: Store>(ct: &Tracker<St>) {
    pass(ct, &there(), 0);
    pass(ct, &back(), S);
    pass(ct, &there(), 2 * S);
    assert_eq!(
        only(ct, 2 * S).status & ASSURED,
        0,
        "exactly two seconds are not more than two"
    );
    pass(ct, &there(), 2 * S + S / 100);
    let e = only(ct, 2 * S + S / 100);
    assert_eq!((e.status & ASSURED, e.timeout), (ASSURED, 120));
}

fn expired_entries_are_replaced<St: Store>(ct: &Tracker<St>) {
    pass(ct, &there(), 0);
    assert_eq!(only(ct, 30 * S - 1).timeout, 0, "still alive");
    assert!(
        pass(ct, &back(), 30 * S).is(PacketState::New, Some(Direction::Original)),
        "the old entry is gone"
    );
    assert_eq!(only(ct, 30 * S).tuples[0].src(), D);
    assert_eq!(ct.net().count(), 1);
}

fn length_field_and_checksum<St: Store>(ct: &Tracker<St>) {
    let mut p = there();
    p[25] = 7;
    assert_eq!(
        pass(ct, &p, 0).reason.as_deref(),
        Some("nf_ct_proto_17: truncated/malformed packet")
    );
    p[25] = 200;
    assert_eq!(pass(ct, &p, 0).state, PacketState::Invalid);
    let mut p = there();
    p[30] ^= 1;
    assert_eq!(
        pass(ct, &p, 0).reason.as_deref(),
        Some("nf_ct_proto_17: bad checksum")
    );
    assert_eq!(ct.stats().invalid, 3);
    p[26] = 0;
    p[27] = 0;
    assert_eq!(pass(ct, &p, 0).state, PacketState::New, "no checksum");
    ct.set_sysctl("nf_conntrack_checksum", "0").expect("a knob");
    p[26] = 1;
    assert_eq!(pass(ct, &p, 0).state, PacketState::New, "not checked");
    assert_eq!(
        pass(ct, &p[..24], 0).verdict,
        Verdict::Accept,
        "invalid packets pass"
    );
}

fn the_reply_link_is_found_first_in_a_flow_to_itself<St: Store>(ct: &Tracker<St>) {
    let p = udp(C, 7, C, 7, 1);
    assert!(pass(ct, &p, 0).is(PacketState::New, Some(Direction::Original)));
    assert!(pass(ct, &p, 0).is(PacketState::Established, Some(Direction::Reply)));
    assert!(ct.delete_if(0, |_| true) == 1 && ct.store().is_empty());
}
