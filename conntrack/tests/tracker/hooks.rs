//! The pipeline: order, verdicts, layouts, hooks of the application.

use super::support::*;
use nulls_conntrack::hooks::{Layout, Pipeline, prio};
use nulls_conntrack::{Family, Hook, NullsStore, Packet, PacketState, Tracker, Verdict};
use parking_lot::Mutex;
use std::sync::Arc;

type Store = NullsStore<u32>;

#[test]
fn layouts() {
    let four = Pipeline::<Store>::new(Layout::Linux618);
    assert_eq!(four.list(Hook::PreRouting), [(-200, "conntrack_in")]);
    assert_eq!(four.list(Hook::LocalOut), [(-200, "conntrack_local")]);
    assert_eq!(four.list(Hook::PostRouting), [(i32::MAX, "confirm")]);
    assert_eq!(four.list(Hook::LocalIn), [(i32::MAX, "confirm")]);
    assert!(four.list(Hook::Forward).is_empty());
    let six = Pipeline::<Store>::new(Layout::Linux411);
    for h in [Hook::PostRouting, Hook::LocalIn] {
        assert_eq!(six.list(h), [(300, "helper"), (i32::MAX, "confirm")]);
    }
}

#[test]
fn hooks_run_in_order_of_priority_then_of_registration() {
    let ct = nulls();
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut p = Pipeline::<Store>::new(Layout::Linux618);
    for (priority, name) in [
        (prio::MANGLE, "c"),
        (prio::RAW, "a"),
        (prio::MANGLE, "d"),
        (prio::CONNTRACK, "b"),
    ] {
        let log = Arc::clone(&log);
        p.register(
            Hook::PreRouting,
            priority,
            name,
            move |_: &Tracker<Store>, pkt: &mut Packet<'_, '_, Store>, _: Hook| {
                log.lock().push((name, pkt.state()));
                Verdict::Accept
            },
        );
    }
    let data = udp(C, 1, D, 2, 3);
    let mut pkt = Packet::new(&data, Family::Ipv4, 0);
    assert_eq!(p.forward(&ct, &mut pkt), Verdict::Accept);
    let (before, after) = (PacketState::Invalid, PacketState::New);
    assert_eq!(
        *log.lock(),
        [("a", before), ("b", after), ("c", after), ("d", after)]
    );
    assert_eq!(ct.dump(0).len(), 1);
}

#[test]
fn what_a_filter_drops_is_never_confirmed() {
    let ct = nulls();
    let mut p = Pipeline::<Store>::new(Layout::Linux618);
    p.register(
        Hook::Forward,
        prio::FILTER,
        "filter",
        |_: &Tracker<Store>, pkt: &mut Packet<'_, '_, Store>, _: Hook| {
            if pkt.state() == PacketState::New {
                Verdict::Drop
            } else {
                Verdict::Accept
            }
        },
    );
    let data = udp(C, 1, D, 2, 3);
    let mut pkt = Packet::new(&data, Family::Ipv4, 0);
    assert_eq!(p.forward(&ct, &mut pkt), Verdict::Drop);
    drop(pkt);
    assert_eq!(ct.net().count(), 0);
    let mut pkt = Packet::new(&data, Family::Ipv4, 0);
    assert_eq!(
        p.local_in(&ct, &mut pkt),
        Verdict::Accept,
        "there is no filter on that way"
    );
    let mut pkt = Packet::new(&data, Family::Ipv4, 0);
    assert_eq!(p.local_out(&ct, &mut pkt), Verdict::Accept);
    assert_eq!(ct.dump(0).len(), 1);
}

#[test]
fn verdicts_of_hooks() {
    let ct = nulls();
    let calls = Arc::new(Mutex::new(0));
    let mut p = Pipeline::<Store>::empty();
    let n = Arc::clone(&calls);
    p.register(
        Hook::Forward,
        0,
        "again",
        move |_: &Tracker<Store>, _: &mut Packet<'_, '_, Store>, _: Hook| {
            *n.lock() += 1;
            if *n.lock() < 3 {
                Verdict::Repeat
            } else {
                Verdict::Accept
            }
        },
    );
    p.register(
        Hook::Forward,
        1,
        "stop",
        |_: &Tracker<Store>, _: &mut Packet<'_, '_, Store>, _: Hook| Verdict::Stop,
    );
    p.register(
        Hook::Forward,
        2,
        "never",
        |_: &Tracker<Store>, _: &mut Packet<'_, '_, Store>, _: Hook| Verdict::Drop,
    );
    p.register(
        Hook::LocalIn,
        0,
        "keep",
        |_: &Tracker<Store>, _: &mut Packet<'_, '_, Store>, _: Hook| Verdict::Stolen,
    );
    let data = udp(C, 1, D, 2, 3);
    let mut pkt = Packet::new(&data, Family::Ipv4, 0);
    assert_eq!(p.run(&ct, &mut pkt, Hook::Forward), Verdict::Accept);
    assert_eq!(*calls.lock(), 3);
    assert_eq!(p.run(&ct, &mut pkt, Hook::LocalIn), Verdict::Stolen);
}

#[test]
fn a_hook_can_attach_data_before_the_entry_is_confirmed() {
    let ct = nulls();
    let mut p = Pipeline::<Store>::new(Layout::Linux618);
    p.register(
        Hook::PreRouting,
        prio::MANGLE,
        "tag",
        |_: &Tracker<Store>, pkt: &mut Packet<'_, '_, Store>, _: Hook| {
            if let Some(c) = pkt.conn() {
                c.user()
                    .get_or_set_with(|| u32::from(c.tuple(Direction::Original).src_l4()));
            }
            Verdict::Accept
        },
    );
    ct.set_formatter(|c| c.user().get().map(|v| format!("tag={v}")));
    let data = udp(C, 99, D, 2, 3);
    p.forward(&ct, &mut Packet::new(&data, Family::Ipv4, 0));
    assert!(ct.proc_net_nf_conntrack(0).contains(" zone=0 tag=99 use=2"));
}

#[test]
fn without_users_packets_pass_untouched() {
    let ct = nulls();
    let p = Pipeline::<Store>::new(Layout::Linux618);
    ct.disable(Family::Ipv4);
    let (four, six) = (udp(C, 1, D, 2, 3), udp(C6, 1, D6, 2, 3));
    p.forward(&ct, &mut Packet::new(&four, Family::Ipv4, 0));
    assert_eq!(ct.net().count(), 0);
    p.forward(&ct, &mut Packet::new(&six, Family::Ipv6, 0));
    assert_eq!(ct.net().count(), 1);
    ct.enable(Family::Ipv4);
    p.forward(&ct, &mut Packet::new(&four, Family::Ipv4, 0));
    assert_eq!(ct.net().count(), 2);
}

/// Users are counted for each namespace and family; who comes first again finds TCP's windows forgotten (`nf_ct_tcp_fixup`).
#[test]
fn users_are_counted_per_namespace_and_family() {
    use nulls_conntrack::hooks::HookFamily;
    use nulls_conntrack::zone::NetId;
    let a = nulls();
    let b = a.namespace(NetId(1));
    let users = |ct: &Nulls| [ct.hook_users(Family::Ipv4), ct.hook_users(Family::Ipv6)];
    assert_eq!((users(&a), users(&b)), ([1, 1], [1, 1]));
    a.netns_get(HookFamily::Inet);
    a.netns_get(HookFamily::Ipv6);
    b.netns_get(HookFamily::Bridge);
    assert_eq!((users(&a), users(&b)), ([2, 3], [2, 2]));
    for what in [HookFamily::Inet, HookFamily::Ipv6, HookFamily::Inet] {
        a.netns_put(what);
    }
    assert_eq!((users(&a), users(&b)), ([0, 0], [2, 2]));
    assert!(!a.is_enabled(Family::Ipv4) && b.is_enabled(Family::Ipv4));
    a.netns_put(HookFamily::Ipv4);
    assert_eq!(users(&a), [0, 0], "not below nothing");

    let p = Pipeline::<Store>::new(Layout::Linux411);
    let data = udp(C, 1, D, 53, 0);
    let through = |ct: &Nulls| {
        let mut pkt = Packet::new(&data, Family::Ipv4, 0);
        assert_eq!(p.forward(ct, &mut pkt), Verdict::Accept);
        ct.net().count()
    };
    assert_eq!((through(&a), through(&b)), (0, 1));

    // An established connection; then nobody tracks for a while, and it goes on elsewhere.
    a.netns_get(HookFamily::Ipv4);
    let seg = |flags, seq, ack| Tcp {
        flags,
        seq,
        ack,
        win: 100,
        ..Tcp::default()
    };
    for d in [
        tcp(C, 1, D, 2, &seg("S", 0, 0)),
        tcp(D, 2, C, 1, &seg("SA", 0, 1)),
        tcp(C, 1, D, 2, &seg("A", 1, 1)),
    ] {
        pass(&a, &d, 0);
    }
    let far = tcp(C, 1, D, 2, &seg("A", 900_000, 1));
    assert_eq!(pass(&a, &far, 0).state, PacketState::Invalid);
    a.netns_get(HookFamily::Ipv4);
    assert_eq!(
        pass(&a, &far, 0).state,
        PacketState::Invalid,
        "the second user changes nothing"
    );
    a.netns_put(HookFamily::Ipv4);
    a.netns_put(HookFamily::Ipv4);
    a.netns_get(HookFamily::Ipv6);
    assert_eq!(
        pass(&a, &far, 0).state,
        PacketState::Invalid,
        "another family"
    );
    a.netns_get(HookFamily::Ipv4);
    assert_eq!(pass(&a, &far, 0).state, PacketState::Established);
}

#[test]
fn hooks_can_be_taken_away_again() {
    let mut p = Pipeline::<Store>::new(Layout::Linux411);
    assert_eq!(p.unregister(Hook::LocalIn, "helper"), 1);
    assert_eq!(p.unregister(Hook::LocalIn, "helper"), 0);
    assert_eq!(
        p.list(Hook::LocalIn),
        [(prio::CONNTRACK_CONFIRM, "confirm")]
    );
    assert_eq!(p.list(Hook::PostRouting).len(), 2);
}
