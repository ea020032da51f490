use super::support::*;
use nulls_conntrack::{PacketState, Store, Tracker};

with_each_store!(
    echo_and_its_answer,
    answers_and_unknown_types_begin_nothing,
    errors_are_related_to_what_they_quote,
    errors_must_reach_who_sent_the_quoted_packet,
    four_bytes_of_ports_do_but_three_do_not,
    ipv6_discovery_is_untracked,
    ipv6_errors,
);

fn echo_and_its_answer<St: Store>(ct: &Tracker<St>) {
    assert!(
        pass(ct, &icmp(C, D, 8, 0, 7, b"x"), 0).is(PacketState::New, Some(Direction::Original))
    );
    assert!(
        pass(ct, &icmp(D, C, 0, 0, 7, b"x"), S)
            .is(PacketState::Established, Some(Direction::Reply))
    );
    assert!(
        pass(ct, &icmp(C, D, 8, 0, 7, b"x"), 2 * S)
            .is(PacketState::Established, Some(Direction::Original))
    );
    assert_eq!(only(ct, 2 * S).timeout, 30);
    assert!(
        pass(ct, &icmp(D, C, 0, 0, 8, b"x"), S).is(PacketState::Invalid, None),
        "another id"
    );
}

fn answers_and_unknown_types_begin_nothing<St: Store>(ct: &Tracker<St>) {
    for kind in 0..=255u8 {
        let expected = if matches!(kind, 8 | 13 | 15 | 17) {
            PacketState::New
        } else {
            PacketState::Invalid
        };
        assert_eq!(
            pass(ct, &icmp(C, D, kind, 0, 1, &[0; 40]), 0).state,
            expected,
            "type {kind}"
        );
    }
    assert_eq!(ct.dump(0).len(), 4);
}

fn errors_are_related_to_what_they_quote<St: Store>(ct: &Tracker<St>) {
    let there = udp(C, 1000, D, 53, 40);
    let back = udp(D, 53, C, 1000, 40);
    pass(ct, &there, 0);
    for kind in [3, 4, 5, 11, 12] {
        let seen = pass(ct, &icmp(E, C, kind, 0, 0, &there[..28]), 5 * S);
        assert!(
            seen.is(PacketState::Related, Some(Direction::Reply)),
            "type {kind}: {seen:?}"
        );
    }
    assert_eq!(only(ct, 5 * S).timeout, 25, "errors do not refresh");
    assert!(
        pass(ct, &icmp(E, D, 3, 3, 0, &back[..28]), S)
            .is(PacketState::Related, Some(Direction::Original))
    );
    assert_eq!(ct.stats().error, 0);
    let unknown = udp(C, 1001, D, 53, 40);
    assert!(pass(ct, &icmp(E, C, 3, 0, 0, &unknown[..28]), S).is(PacketState::Invalid, None));
    assert_eq!((ct.stats().error, ct.stats().invalid), (1, 0));
}

fn errors_must_reach_who_sent_the_quoted_packet<St: Store>(ct: &Tracker<St>) {
    let there = udp(C, 1000, D, 53, 40);
    pass(ct, &there, 0);
    let seen = pass(ct, &icmp(E, D, 3, 0, 0, &there[..28]), 0);
    assert_eq!(seen.state, PacketState::Invalid);
    assert_eq!(
        seen.reason.as_deref(),
        Some("nf_ct_proto_1: outer daddr 10.0.0.2 != inner 10.0.0.1")
    );
}

fn four_bytes_of_ports_do_but_three_do_not<St: Store>(ct: &Tracker<St>) {
    let there = udp(C, 1000, D, 53, 40);
    pass(ct, &there, 0);
    assert_eq!(
        pass(ct, &icmp(E, C, 3, 0, 0, &there[..24]), 0).state,
        PacketState::Related
    );
    assert_eq!(
        pass(ct, &icmp(E, C, 3, 0, 0, &there[..23]), 0).state,
        PacketState::Invalid
    );
    assert_eq!(
        pass(ct, &icmp(E, C, 3, 0, 0, &there[..19]), 0).state,
        PacketState::Invalid
    );
    assert_eq!(
        pass(ct, &icmp(E, C, 3, 0, 0, b""), 0).state,
        PacketState::Invalid
    );
}

fn ipv6_discovery_is_untracked<St: Store>(ct: &Tracker<St>) {
    for kind in [130, 131, 132, 133, 134, 135, 136, 143, 151, 152] {
        assert!(
            pass(ct, &icmp(C6, D6, kind, 0, 0, &[0; 40]), 0).is(PacketState::Untracked, None),
            "type {kind}"
        );
    }
    assert_eq!(
        pass(ct, &icmp(C6, D6, 128, 0, 9, b""), 0).state,
        PacketState::New
    );
    assert_eq!(
        pass(ct, &icmp(D6, C6, 129, 0, 9, b""), 0).state,
        PacketState::Established
    );
    let mut bad = icmp(C6, D6, 135, 0, 0, &[0; 40]);
    bad[50] ^= 1;
    assert_eq!(
        pass(ct, &bad, 0).reason.as_deref(),
        Some("nf_ct_proto_58: ICMPv6 checksum failed")
    );
}

fn ipv6_errors<St: Store>(ct: &Tracker<St>) {
    let there = udp(C6, 1000, D6, 53, 40);
    pass(ct, &there, 0);
    for kind in [1, 2, 3, 4] {
        assert!(
            pass(ct, &icmp(D6, C6, kind, 0, 0, &there), 0)
                .is(PacketState::Related, Some(Direction::Reply)),
            "type {kind}"
        );
    }
    assert_eq!(ct.dump(0).len(), 1);
}
