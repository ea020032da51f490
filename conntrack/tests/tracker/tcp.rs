use super::support::*;
use PacketState::{Established, Invalid, New};
use nulls_conntrack::status::{ASSURED, CONFIRMED, SEEN_REPLY};
use nulls_conntrack::{PacketState, ProtoInfo, Store, Tracker};

with_each_store!(
    a_life_from_syn_to_time_wait_and_again,
    picked_up_in_the_middle,
    refused,
    repeated_syns_do_not_keep_the_entry,
    flag_combinations,
    window_scale_needs_both_sides,
    retransmissions_shorten_the_timeout,
    out_of_window_fins_of_both_sides_shorten_the_timeout,
    re_enabled_tracking_learns_windows_anew,
    policies_replace_timeouts,
);

/// A segment from the client (`true`) or the server.
pub(crate) fn seg<St: Store>(ct: &Tracker<St>, client: bool, t: &Tcp<'_>, now: Nanos) -> Seen {
    let p = if client {
        tcp(C, 40000, D, 80, t)
    } else {
        tcp(D, 80, C, 40000, t)
    };
    pass(ct, &p, now)
}

/// State and timeout of the only entry.
pub(crate) fn state<St: Store>(ct: &Tracker<St>, now: Nanos) -> (&'static str, u32) {
    let e = only(ct, now);
    match e.proto {
        ProtoInfo::Tcp { state, .. } => (state, e.timeout),
        other => panic!("not TCP: {other:?}"),
    }
}

fn t(flags: &str, seq: u32, ack: u32, len: usize) -> Tcp<'_> {
    Tcp {
        flags,
        seq,
        ack,
        win: 5000,
        len,
        options: &[],
    }
}

/// Three segments make a connection; the client's next is 101, the server's 501.
fn establish<St: Store>(ct: &Tracker<St>, now: Nanos) {
    seg(ct, true, &t("S", 100, 0, 0), now);
    seg(ct, false, &t("SA", 500, 101, 0), now);
    seg(ct, true, &t("A", 101, 501, 0), now);
    assert_eq!(state(ct, now), ("ESTABLISHED", 432_000));
}

fn a_life_from_syn_to_time_wait_and_again<St: Store>(ct: &Tracker<St>) {
    let steps: [(bool, Tcp<'_>, PacketState, &str, u32, u32); 10] = [
        (true, t("S", 100, 0, 0), New, "SYN_SENT", 120, CONFIRMED),
        (
            false,
            t("SA", 500, 101, 0),
            Established,
            "SYN_RECV",
            60,
            CONFIRMED | SEEN_REPLY,
        ),
        (
            true,
            t("A", 101, 501, 0),
            Established,
            "ESTABLISHED",
            432_000,
            CONFIRMED | SEEN_REPLY | ASSURED,
        ),
        (
            true,
            t("PA", 101, 501, 10),
            Established,
            "ESTABLISHED",
            300,
            CONFIRMED | SEEN_REPLY | ASSURED,
        ),
        (
            false,
            t("A", 501, 111, 0),
            Established,
            "ESTABLISHED",
            432_000,
            CONFIRMED | SEEN_REPLY | ASSURED,
        ),
        (
            false,
            t("FA", 501, 111, 0),
            Established,
            "FIN_WAIT",
            120,
            CONFIRMED | SEEN_REPLY | ASSURED,
        ),
        (
            true,
            t("A", 111, 502, 0),
            Established,
            "CLOSE_WAIT",
            60,
            CONFIRMED | SEEN_REPLY | ASSURED,
        ),
        (
            true,
            t("FA", 111, 502, 0),
            Established,
            "LAST_ACK",
            30,
            CONFIRMED | SEEN_REPLY | ASSURED,
        ),
        (
            false,
            t("A", 502, 112, 0),
            Established,
            "TIME_WAIT",
            120,
            CONFIRMED | SEEN_REPLY | ASSURED,
        ),
        (true, t("S", 90_000, 0, 0), New, "SYN_SENT", 120, CONFIRMED),
    ];
    for (n, (client, segment, expected, name, timeout, status)) in steps.into_iter().enumerate() {
        let seen = seg(ct, client, &segment, S);
        let dir = if client {
            Direction::Original
        } else {
            Direction::Reply
        };
        assert!(seen.is(expected, Some(dir)), "step {n}: {seen:?}");
        assert_eq!(
            (state(ct, S), only(ct, S).status),
            ((name, timeout), status),
            "step {n}"
        );
    }
    assert_eq!(ct.net().count(), 1, "the first entry is gone");
}

fn picked_up_in_the_middle<St: Store>(ct: &Tracker<St>) {
    assert_eq!(seg(ct, true, &t("A", 100, 500, 10), 0).state, New);
    assert_eq!(state(ct, 0), ("ESTABLISHED", 300));
    assert_eq!(seg(ct, false, &t("A", 500, 110, 0), 0).state, Established);
    assert_eq!(only(ct, 0).status & ASSURED, 0);
    seg(ct, true, &t("A", 110, 500, 0), 0);
    assert_eq!(only(ct, 0).status & ASSURED, ASSURED);
    ct.delete_if(0, |_| true);
    ct.set_sysctl("nf_conntrack_tcp_loose", "0")
        .expect("a knob");
    let seen = seg(ct, true, &t("A", 100, 500, 10), 0);
    assert_eq!((seen.state, seen.reason), (Invalid, None));
    let seen = seg(ct, true, &t("SA", 100, 500, 0), 0);
    assert_eq!(seen.reason.as_deref(), Some("nf_ct_proto_6: invalid new"));
    assert_eq!(ct.net().count(), 0);
}

fn refused<St: Store>(ct: &Tracker<St>) {
    seg(ct, true, &t("S", 100, 0, 0), 0);
    let seen = seg(ct, false, &t("RA", 0, 101, 0), 0);
    assert!(seen.is(Established, Some(Direction::Reply)));
    assert_eq!(ct.dump(0).len(), 0);
    assert_eq!(ct.net().count(), 0);
}

fn repeated_syns_do_not_keep_the_entry<St: Store>(ct: &Tracker<St>) {
    ct.set_sysctl("nf_conntrack_tcp_timeout_syn_sent", "10")
        .expect("a knob");
    ct.set_sysctl("nf_conntrack_acct", "1").expect("a knob");
    for s in 0..10 {
        assert_eq!(seg(ct, true, &t("S", 100, 0, 0), s * S).state, New);
        let e = only(ct, s * S);
        assert_eq!(
            (e.timeout, e.counters),
            (10 - s as u32, Some([(1, 40), (0, 0)]))
        );
    }
    seg(ct, true, &t("S", 100, 0, 0), 10 * S);
    assert_eq!(only(ct, 10 * S).timeout, 10, "a new entry");
}

fn flag_combinations<St: Store>(ct: &Tracker<St>) {
    establish(ct, 0);
    let valid = ["S", "SU", "SA", "R", "RA", "FA", "FAU", "A", "AU"];
    for bits in 0u8..64 {
        let flags: String = "FSRPAU"
            .chars()
            .enumerate()
            .filter(|(i, _)| bits & 1 << i != 0)
            .map(|(_, c)| c)
            .collect();
        let seen = seg(ct, true, &t(&flags, 1_000_000, 1, 0), 0);
        let complaint =
            seen.reason.as_deref() == Some("nf_ct_proto_6: invalid tcp flag combination");
        let plain: String = flags.chars().filter(|c| *c != 'P').collect();
        let expected = valid
            .iter()
            .any(|v| v.chars().all(|c| plain.contains(c)) && v.len() == plain.len());
        assert_eq!(!complaint, expected, "{flags}");
    }
}

fn window_scale_needs_both_sides<St: Store>(ct: &Tracker<St>) {
    let scale = |n| [1, 3, 3, n];
    let wscale = |ct: &Tracker<St>| match only(ct, 0).proto {
        ProtoInfo::Tcp { wscale, .. } => wscale,
        _ => unreachable!(),
    };
    seg(
        ct,
        true,
        &Tcp {
            options: &scale(7),
            ..t("S", 100, 0, 0)
        },
        0,
    );
    assert_eq!(wscale(ct), [7, 0]);
    seg(
        ct,
        false,
        &Tcp {
            options: &scale(20),
            ..t("SA", 500, 101, 0)
        },
        0,
    );
    assert_eq!(wscale(ct), [7, 14]);
    ct.delete_if(0, |_| true);
    seg(
        ct,
        true,
        &Tcp {
            options: &scale(7),
            ..t("S", 100, 0, 0)
        },
        0,
    );
    seg(ct, false, &t("SA", 500, 101, 0), 0);
    assert_eq!(wscale(ct), [0, 0]);
}

fn retransmissions_shorten_the_timeout<St: Store>(ct: &Tracker<St>) {
    ct.set_sysctl("nf_conntrack_tcp_timeout_max_retrans", "77")
        .expect("a knob");
    establish(ct, 0);
    for n in 0..5 {
        seg(ct, true, &t("PA", 101, 501, 10), 0);
        assert_eq!(
            state(ct, 0).1,
            if n < 3 { 300 } else { 77 },
            "retransmission {n}"
        );
    }
    seg(ct, true, &t("PA", 111, 501, 10), 0);
    seg(
        ct,
        false,
        &Tcp {
            win: 0,
            ..t("A", 501, 121, 0)
        },
        0,
    );
    assert_eq!(state(ct, 0).1, 77, "a closed window");
}

fn out_of_window_fins_of_both_sides_shorten_the_timeout<St: Store>(ct: &Tracker<St>) {
    establish(ct, 0);
    let bad = t("FA", 2_000_000_000, 501, 0);
    assert_eq!(seg(ct, true, &bad, 0).state, Invalid);
    assert_eq!(state(ct, 0).1, 432_000);
    let seen = seg(ct, false, &t("FA", 2_000_000_000, 101, 0), 0);
    assert_eq!(
        seen.reason.as_deref(),
        Some("nf_ct_proto_6: packet (index 2, dir 1) response for index 2 lower timeout to 75000")
    );
    assert_eq!(state(ct, 0), ("ESTABLISHED", 300));
}

fn re_enabled_tracking_learns_windows_anew<St: Store>(ct: &Tracker<St>) {
    establish(ct, 0);
    let far = t("A", 3_000_000, 501, 0);
    assert_eq!(seg(ct, true, &far, 0).state, Invalid);
    ct.disable(nulls_conntrack::Family::Ipv4);
    assert!(!ct.is_enabled(nulls_conntrack::Family::Ipv4));
    ct.enable(nulls_conntrack::Family::Ipv4);
    assert_eq!(seg(ct, true, &far, 0).state, Established);
}

fn policies_replace_timeouts<St: Store>(ct: &Tracker<St>) {
    use nulls_conntrack::{Template, TimeoutPolicy};
    use std::sync::Arc;
    let mut policy = TimeoutPolicy::new();
    policy
        .set("nf_conntrack_tcp_timeout_syn_sent", 14)
        .expect("a knob");
    policy
        .set("nf_conntrack_tcp_timeout_established", 44)
        .expect("a knob");
    assert!(policy.set("nf_conntrack_tcp_timeout_tea", 1).is_err());
    let template = Arc::new(Template {
        timeouts: Some(Arc::new(policy)),
        ..Template::default()
    });
    pass_with(ct, &tcp(C, 40000, D, 80, &t("S", 100, 0, 0)), 0, |p| {
        p.template = Some(template)
    });
    assert_eq!(state(ct, 0), ("SYN_SENT", 14));
    seg(ct, false, &t("SA", 500, 101, 0), 0);
    assert_eq!(state(ct, 0), ("SYN_RECV", 60), "the namespace's");
    seg(ct, true, &t("A", 101, 501, 0), 0);
    assert_eq!(state(ct, 0), ("ESTABLISHED", 44));
}
