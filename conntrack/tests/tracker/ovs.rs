//! The `ct()` action of Open vSwitch.

use super::support::*;
use nulls_conntrack::events::{Kind, mask};
use nulls_conntrack::nat::{Manip, Range};
use nulls_conntrack::ovs::{Action, Nat, Ovs, Refused, State};
use nulls_conntrack::{EventQueue, Packet, TimeoutPolicy, Zone};
use std::sync::Arc;

fn commit(zone: u16) -> Action {
    Action {
        commit: true,
        zone: Zone::both(zone),
        ..Action::default()
    }
}

fn look(zone: u16) -> Action {
    Action {
        zone: Zone::both(zone),
        ..Action::default()
    }
}

/// A packet through one action.
fn act(ct: &Nulls, ovs: &Ovs, data: &[u8], a: &Action, now: Nanos) -> Result<State, Refused> {
    let mut pkt = Packet::new(data, family(data), now);
    ovs.execute(ct, &mut pkt, a)
}

fn question() -> Vec<u8> {
    udp(C, 1, D, 2, 4)
}

fn answer() -> Vec<u8> {
    udp(D, 2, C, 1, 4)
}

#[test]
fn a_connection_is_new_until_it_is_committed_and_answered() {
    let (ct, ovs) = (nulls(), Ovs::new());
    let new = State::TRACKED | State::NEW;
    for _ in 0..2 {
        assert_eq!(act(&ct, &ovs, &question(), &look(1), S), Ok(new));
        assert_eq!(ct.net().count(), 0, "nothing is kept");
    }
    assert_eq!(act(&ct, &ovs, &question(), &commit(1), S), Ok(new));
    assert_eq!(only(&ct, S).zone, Zone::both(1));
    let back = State::TRACKED | State::ESTABLISHED | State::REPLY_DIR;
    assert_eq!(act(&ct, &ovs, &answer(), &look(1), S), Ok(back));
    let there = State::TRACKED | State::ESTABLISHED;
    assert_eq!(act(&ct, &ovs, &question(), &look(1), S), Ok(there));
    assert_eq!(
        act(&ct, &ovs, &question(), &look(2), S),
        Ok(new),
        "another zone"
    );
    assert_eq!(there.to_string(), "est|trk");
    assert_eq!(back.bits(), 0x2a);
}

#[test]
fn what_cannot_be_tracked_is_invalid_and_clearing_makes_untracked() {
    let (ct, ovs) = (nulls(), Ovs::new());
    let lone_fin = tcp(
        C,
        1,
        D,
        2,
        &Tcp {
            flags: "F",
            ..Tcp::default()
        },
    );
    let invalid = State::TRACKED | State::INVALID;
    assert_eq!(act(&ct, &ovs, &lone_fin, &commit(1), S), Ok(invalid));
    let data = question();
    let mut pkt = Packet::new(&data, family(&data), S);
    ovs.execute(&ct, &mut pkt, &look(1)).expect("not dropped");
    ovs.clear(&mut pkt);
    assert_eq!(pkt.state(), nulls_conntrack::PacketState::Untracked);
}

#[test]
fn mark_and_labels_are_in_the_first_event() {
    let (ct, ovs) = (nulls(), Ovs::new());
    let (queue, mut events) = EventQueue::new(16);
    ct.set_listener(Some(Arc::new(queue)));
    let a = Action {
        mark: Some((0xab, 0x0f)),
        labels: Some(([7, 0, 0, 1], [5, 0, 0, u32::MAX])),
        ..commit(0)
    };
    act(&ct, &ovs, &question(), &a, S).expect("not dropped");
    let first = events.try_next().expect("an event");
    assert_eq!(first.kind(), Kind::New);
    let record = first.record().expect("a connection");
    assert_eq!(
        (record.mark, record.labels),
        (Some(0x0b), Some([5, 0, 0, 1]))
    );
    let again = Action {
        mark: Some((0x50, 0xf0)),
        ..commit(0)
    };
    act(&ct, &ovs, &question(), &again, S).expect("not dropped");
    assert_eq!(only(&ct, S).mark, 0x5b);
    let update = events.try_next().expect("an event");
    let nulls_conntrack::event_queue::Body::Connection { mask: bits, .. } = update.body else {
        panic!("a connection's event")
    };
    assert_eq!(bits & mask::MARK, mask::MARK);
}

#[test]
fn actions_that_need_commit_say_so() {
    let (ct, ovs) = (nulls(), Ovs::new());
    let nat = Nat::New(Manip::Src, Range::default());
    for a in [
        Action {
            mark: Some((1, 1)),
            ..look(0)
        },
        Action {
            labels: Some(([1; 4], [1; 4])),
            ..look(0)
        },
        Action {
            force: true,
            ..look(0)
        },
        Action {
            nat: Some(nat),
            ..look(0)
        },
    ] {
        assert_eq!(act(&ct, &ovs, &question(), &a, S), Err(Refused::Action));
    }
}

#[test]
fn force_turns_a_connection_round() {
    let (ct, ovs) = (nulls(), Ovs::new());
    act(&ct, &ovs, &question(), &commit(3), S).expect("not dropped");
    let force = Action {
        force: true,
        ..commit(3)
    };
    let same = State::TRACKED | State::NEW;
    assert_eq!(
        act(&ct, &ovs, &question(), &force, S),
        Ok(same),
        "already this way"
    );
    let id = only(&ct, S).id;
    assert_eq!(act(&ct, &ovs, &answer(), &force, S), Ok(same));
    let now = only(&ct, S);
    assert_ne!(now.id, id);
    assert_eq!(now.tuples[0].src(), D);
    // Also when an earlier action has tracked the packet.
    let data = question();
    let mut pkt = Packet::new(&data, family(&data), S);
    let first = ovs.execute(&ct, &mut pkt, &look(3)).expect("not dropped");
    assert!(first.has(State::REPLY_DIR));
    assert_eq!(ovs.execute(&ct, &mut pkt, &force), Ok(same));
    assert_eq!(only(&ct, S).tuples[0].src(), C);
}

#[test]
fn a_packet_is_looked_up_once_in_each_zone() {
    let (ct, ovs) = (nulls(), Ovs::new());
    ct.set_sysctl("nf_conntrack_acct", "1").expect("a knob");
    act(&ct, &ovs, &question(), &commit(1), S).expect("not dropped");
    let data = question();
    let mut pkt = Packet::new(&data, family(&data), S);
    for zone in [1, 1, 1, 2, 1] {
        ovs.execute(&ct, &mut pkt, &look(zone))
            .expect("not dropped");
    }
    let seen = only(&ct, S).counters.expect("counted")[0].0;
    assert_eq!(seen, 3, "once before, once, and once after the other zone");
}

#[test]
fn zones_have_limits() {
    let (ct, ovs) = (nulls(), Ovs::new());
    ovs.set_limit(1, Some(2));
    ovs.set_default_limit(Some(1));
    let from = |port| udp(C, port, D, 2, 0);
    let put = |port, zone| act(&ct, &ovs, &from(port), &commit(zone), S).map(|_| ());
    assert_eq!(
        [put(1, 1), put(2, 1), put(3, 1)],
        [Ok(()), Ok(()), Err(Refused::ZoneFull)]
    );
    assert_eq!([put(1, 2), put(2, 2)], [Ok(()), Err(Refused::ZoneFull)]);
    assert_eq!(
        put(1, 1),
        Ok(()),
        "one that is committed already is no new one"
    );
    assert_eq!(ovs.limit(&ct, 1, S), (Some(2), 2));
    assert_eq!(
        ct.delete_matching(&"-w 1 --sport 1".parse().expect("a filter"), S),
        1
    );
    assert_eq!([put(3, 1), put(4, 1)], [Ok(()), Err(Refused::ZoneFull)]);
    ovs.set_limit(1, None);
    assert_eq!(ovs.limit(&ct, 1, S), (Some(1), 2));
    ovs.set_default_limit(None);
    assert_eq!(put(4, 1), Ok(()));
    // Time makes room too.
    ovs.set_limit(5, Some(1));
    assert_eq!([put(1, 5), put(2, 5)], [Ok(()), Err(Refused::ZoneFull)]);
    assert_eq!(
        act(&ct, &ovs, &from(2), &commit(5), 100 * S).map(|_| ()),
        Ok(())
    );
}

#[test]
fn translation_happens_where_it_is_committed_and_is_undone_for_answers() {
    let (ct, ovs) = (nulls(), Ovs::new());
    let data = question();
    let mut pkt = Packet::new(&data, family(&data), S);
    let range = Range {
        ports: Some((9000, 9000)),
        ..Range::default()
    };
    let a = Action {
        nat: Some(Nat::New(Manip::Src, range)),
        ..commit(4)
    };
    let state = ovs.execute(&ct, &mut pkt, &a).expect("not dropped");
    assert!(state.has(State::SRC_NAT | State::NEW));
    assert_eq!(pkt.data()[20..22], 9000u16.to_be_bytes());
    let existing = Action {
        nat: Some(Nat::Existing),
        ..look(4)
    };
    let data = udp(D, 2, C, 9000, 4);
    let mut back = Packet::new(&data, family(&data), S);
    let state = ovs.execute(&ct, &mut back, &existing).expect("not dropped");
    assert!(state.has(State::REPLY_DIR | State::ESTABLISHED | State::SRC_NAT));
    assert_eq!(back.data()[22..24], 1u16.to_be_bytes());
    // Without the action's wish nothing is rewritten.
    let mut plain = Packet::new(&data, family(&data), S);
    ovs.execute(&ct, &mut plain, &look(4)).expect("not dropped");
    assert_eq!(plain.data()[22..24], 9000u16.to_be_bytes());
}

#[test]
fn helpers_and_timeouts_come_with_the_action() {
    let (ct, ovs) = (nulls(), Ovs::new());
    let mut policy = TimeoutPolicy::new();
    policy.set("nf_conntrack_udp_timeout", 7).expect("a knob");
    let a = Action {
        helper: Some("tftp".into()),
        timeout: Some(Arc::new(policy)),
        ..commit(0)
    };
    act(
        &ct,
        &ovs,
        &question(),
        &Action {
            commit: false,
            ..a.clone()
        },
        S,
    )
    .expect("not dropped");
    act(&ct, &ovs, &question(), &a, S).expect("not dropped");
    let s = only(&ct, S);
    assert_eq!((s.helper.as_deref(), s.timeout), (Some("tftp"), 7));
}

#[test]
fn established_connections_are_liberal() {
    let (ct, ovs) = (nulls(), Ovs::new());
    let seg = |flags, seq, ack| Tcp {
        flags,
        seq,
        ack,
        win: 1000,
        ..Tcp::default()
    };
    let there = |t: &Tcp<'_>| tcp(C, 1, D, 2, t);
    let back = |t: &Tcp<'_>| tcp(D, 2, C, 1, t);
    for p in [
        there(&seg("S", 0, 0)),
        back(&seg("SA", 0, 1)),
        there(&seg("A", 1, 1)),
        there(&seg("A", 1, 1)),
    ] {
        act(&ct, &ovs, &p, &commit(0), S).expect("not dropped");
    }
    let wild = there(&seg("A", 900_000, 1));
    let state = act(&ct, &ovs, &wild, &look(0), S).expect("not dropped");
    assert_eq!(state, State::TRACKED | State::ESTABLISHED);
}
