//! Limits, eviction, garbage collection, zones, namespaces, knobs.

use super::support::*;
use nulls_conntrack::status::{ASSURED, DYING};
use nulls_conntrack::sysctl::{Sysctl, SysctlError};
use nulls_conntrack::{
    Config, LockedStore, NetId, NullsStore, PacketState, Store, Template, Tracker, Tuple, Verdict,
    Zone,
};
use std::sync::Arc;

with_each_store!(
    what_is_not_confirmed_leaves_no_trace,
    a_full_table_drops_new_connections_only,
    eviction_spares_assured_entries,
    the_collector_removes_what_expired,
    the_collector_spreads_its_work,
    namespaces_share_a_table_but_not_entries,
    zones_separate_equal_tuples,
    a_zone_in_one_direction,
    untracked_packets_are_left_alone,
    deleting_while_a_packet_holds_the_entry,
    user_data_goes_with_the_entry,
    walks_in_slices_see_everything_once,
    knobs_by_name,
    a_packet_that_is_confirmed_twice,
);

fn flow(n: u16) -> Vec<u8> {
    udp(C, n, D, 53, 1)
}

fn what_is_not_confirmed_leaves_no_trace<St: Store>(ct: &Tracker<St>) {
    let p = flow(1);
    let mut pkt = nulls_conntrack::Packet::new(&p, family(&p), 0);
    assert_eq!(
        ct.track(&mut pkt, nulls_conntrack::Hook::PreRouting),
        Verdict::Accept
    );
    assert_eq!(
        (pkt.state(), ct.net().count(), ct.dump(0).len()),
        (PacketState::New, 1, 0)
    );
    drop(pkt);
    assert_eq!((ct.net().count(), ct.store().len()), (0, 0));
}

fn a_full_table_drops_new_connections_only<St: Store>(ct: &Tracker<St>) {
    ct.set_sysctl("nf_conntrack_max", "2").expect("a knob");
    for n in 1..=2 {
        pass(ct, &flow(n), 0);
        pass(ct, &udp(D, 53, C, n, 1), 0);
        pass(ct, &flow(n), 3 * S);
    }
    assert!(ct.dump(3 * S).iter().all(|e| e.status & ASSURED != 0));
    let seen = pass(ct, &flow(3), 3 * S);
    assert_eq!(
        (seen.verdict, seen.state),
        (Verdict::Drop, PacketState::Invalid)
    );
    assert_eq!(
        (ct.stats().drop, ct.stats().early_drop, ct.net().count()),
        (1, 0, 2)
    );
    assert_eq!(pass(ct, &flow(1), 3 * S).state, PacketState::Established);
    ct.set_sysctl("nf_conntrack_max", "0").expect("no limit");
    assert_eq!(pass(ct, &flow(3), 3 * S).state, PacketState::New);
}

fn eviction_spares_assured_entries<St: Store>(_: &Tracker<St>) {
    // Four buckets: all are within the range of eight that is searched.
    let ct = Tracker::new(LockedStore::<u32>::new(4), config());
    ct.set_sysctl("nf_conntrack_max", "10").expect("a knob");
    for n in 1..=5 {
        pass(&ct, &flow(n), 0);
        pass(&ct, &udp(D, 53, C, n, 1), 0);
        pass(&ct, &flow(n), 3 * S);
    }
    for n in 6..=10 {
        pass(&ct, &flow(n), 3 * S);
    }
    for n in 11..100 {
        assert_eq!(pass(&ct, &flow(n), 3 * S).verdict, Verdict::Accept);
        assert!(ct.net().count() <= 10);
    }
    let assured = ct
        .dump(3 * S)
        .iter()
        .filter(|e| e.status & ASSURED != 0)
        .count();
    assert_eq!(assured, 5);
    assert!(ct.stats().early_drop >= 89 / 5 && ct.stats().drop == 0);
}

fn the_collector_removes_what_expired<St: Store>(ct: &Tracker<St>) {
    for n in 1..=200 {
        pass(ct, &flow(n), if n % 2 == 0 { 0 } else { 20 * S });
    }
    assert_eq!(ct.gc_all(29 * S), 0);
    assert_eq!((ct.gc_all(30 * S), ct.net().count()), (100, 100));
    assert_eq!(
        (ct.gc_all(50 * S), ct.net().count(), ct.store().len()),
        (100, 0, 0)
    );
}

fn the_collector_spreads_its_work<St: Store>(ct: &Tracker<St>) {
    for n in 1..=2000 {
        pass(ct, &flow(n), 0);
    }
    let first = ct.gc(40 * S);
    assert!(
        first.evicted > 0 && first.evicted < 2000 && !first.whole,
        "{first:?}"
    );
    let mut sum = first.evicted;
    loop {
        let r = ct.gc(40 * S);
        sum += r.evicted;
        if r.whole {
            assert!(r.next_in >= S && r.next_in <= 60 * S, "{r:?}");
            break;
        }
    }
    assert_eq!((sum, ct.net().count()), (2000, 0));
}

fn namespaces_share_a_table_but_not_entries<St: Store>(ct: &Tracker<St>) {
    let other = ct.namespace(NetId(7));
    assert_eq!(pass(ct, &flow(1), 0).state, PacketState::New);
    assert_eq!(
        pass(&other, &udp(D, 53, C, 1, 1), 0).state,
        PacketState::New,
        "the answer means nothing there"
    );
    assert_eq!(
        pass(&other, &udp(D, 53, C, 1, 1), 0).state,
        PacketState::New
    );
    assert_eq!(
        pass(ct, &udp(D, 53, C, 1, 1), 0).state,
        PacketState::Established
    );
    assert_eq!(
        (ct.net().count(), other.net().count(), ct.store().len()),
        (1, 1, 4)
    );
    assert_eq!((ct.dump(0).len(), other.dump(0).len()), (1, 1));
    assert_eq!(ct.delete_if(0, |_| true), 1);
    assert_eq!((ct.net().count(), other.net().count()), (0, 1));
    other
        .set_sysctl("nf_conntrack_udp_timeout", "5")
        .expect("a knob");
    assert_eq!(ct.knob(Sysctl::UdpTimeout), 30);
    // One table, one collector.
    assert_eq!((ct.gc_all(40 * S), other.net().count()), (1, 0));
}

fn zoned<St: Store>(ct: &Tracker<St>, p: &[u8], zone: Zone) -> Seen {
    pass_with(ct, p, 0, |pkt| {
        pkt.template = Some(Arc::new(Template {
            zone,
            ..Template::default()
        }))
    })
}

fn zones_separate_equal_tuples<St: Store>(ct: &Tracker<St>) {
    for z in 0..100 {
        assert_eq!(zoned(ct, &flow(1), Zone::both(z)).state, PacketState::New);
    }
    let back = udp(D, 53, C, 1, 1);
    assert_eq!(
        zoned(ct, &back, Zone::both(50)).state,
        PacketState::Established
    );
    assert_eq!(zoned(ct, &back, Zone::both(100)).state, PacketState::New);
    assert_eq!(ct.dump(0).len(), 101);
    let tuple = Tuple::new(C, D, 17, 1, 53).expect("one family");
    assert!(ct.find(&tuple, Zone::both(50), 0).is_some());
    assert!(ct.find(&tuple, Zone::both(101), 0).is_none());
    // The zone may come from the packet's mark.
    let marked = Zone {
        from_mark: true,
        ..Zone::DEFAULT
    };
    let seen = pass_with(ct, &flow(1), 0, |pkt| {
        pkt.mark = 300;
        pkt.template = Some(Arc::new(Template {
            zone: marked,
            ..Template::default()
        }));
    });
    assert_eq!(seen.state, PacketState::New);
    assert!(ct.find(&tuple, Zone::both(300), 0).is_some());
}

fn a_zone_in_one_direction<St: Store>(ct: &Tracker<St>) {
    let zone = Zone::one_way(3, Direction::Original);
    assert_eq!(zoned(ct, &flow(1), zone).state, PacketState::New);
    assert_eq!(
        pass(ct, &udp(D, 53, C, 1, 1), 0).state,
        PacketState::Established,
        "answers come back in zone 0"
    );
    assert_eq!(
        pass(ct, &flow(1), 0).state,
        PacketState::New,
        "but questions do not"
    );
    assert_eq!(ct.dump(0).len(), 1, "and that one's answers clash");
}

fn untracked_packets_are_left_alone<St: Store>(ct: &Tracker<St>) {
    let seen = pass_with(ct, &flow(1), 0, |p| p.set_untracked());
    assert!(seen.is(PacketState::Untracked, None) && seen.verdict == Verdict::Accept);
    assert_eq!(ct.net().count(), 0);
}

fn deleting_while_a_packet_holds_the_entry<St: Store>(ct: &Tracker<St>) {
    let p = flow(1);
    pass(ct, &p, 0);
    let mut pkt = nulls_conntrack::Packet::new(&p, family(&p), 0);
    ct.track(&mut pkt, nulls_conntrack::Hook::PreRouting);
    let entry = pkt.nfct().to_ref().expect("an entry");
    assert!(ct.delete(&entry, 0));
    assert!(!ct.delete(&entry, 0), "once");
    assert_eq!((ct.dump(0).len(), ct.net().count()), (0, 1));
    assert_eq!(pkt.conn().map(|c| c.has(DYING)), Some(true));
    assert_eq!(
        ct.set_timeout(&entry, 5, 0),
        Err(nulls_conntrack::tracker::ChangeError::Dying)
    );
    drop(entry);
    drop(pkt);
    assert_eq!(ct.net().count(), 0);
    let mut pkt = nulls_conntrack::Packet::new(&p, family(&p), 0);
    ct.track(&mut pkt, nulls_conntrack::Hook::PreRouting);
    assert!(
        !ct.delete(&pkt.nfct().to_ref().expect("an entry"), 0),
        "not in the table yet"
    );
}

fn user_data_goes_with_the_entry<St: Store<User = u32>>(ct: &Tracker<St>) {
    pass(ct, &flow(1), 0);
    ct.for_each(0, |r| {
        assert_eq!(r.user().set(42), Ok(&42));
        assert_eq!(r.user().set(43), Err(43));
    });
    ct.for_each(0, |r| assert_eq!(r.user().get(), Some(&42)));
    ct.delete_if(0, |c| c.user().get() == Some(&42));
    for n in 1..50 {
        pass(ct, &flow(n), 0);
    }
    ct.for_each(0, |r| assert_eq!(r.user().get(), None));
}

fn walks_in_slices_see_everything_once<St: Store>(ct: &Tracker<St>) {
    for n in 1..=500 {
        pass(ct, &flow(n), 0);
    }
    let mut ports = Vec::new();
    let (mut cursor, mut slices) = (Some(0), 0);
    while let Some(c) = cursor {
        cursor = ct.for_each_slice(0, c, |r| ports.push(r.tuple(Direction::Original).src_l4()));
        slices += 1;
        // The table changes between the slices.
        pass(ct, &flow(10_000 + slices), 0);
    }
    ports.retain(|p| *p <= 500);
    ports.sort_unstable();
    assert_eq!(ports, (1..=500).collect::<Vec<_>>());
    assert!(slices > 10);
}

fn knobs_by_name<St: Store>(ct: &Tracker<St>) {
    assert_eq!(
        ct.sysctl("net.netfilter.nf_conntrack_tcp_timeout_established")
            .as_deref(),
        Some("432000")
    );
    ct.set_sysctl(
        "net.netfilter.nf_conntrack_tcp_timeout_established",
        " 100\n",
    )
    .expect("a knob");
    assert_eq!(ct.knob(Sysctl::TcpTimeoutEstablished), 100);
    assert_eq!(
        ct.set_sysctl("nf_conntrack_tea", "1"),
        Err(SysctlError::Unknown("nf_conntrack_tea".into()))
    );
    for bad in ["", "-1", "x", "2"] {
        assert!(ct.set_sysctl("nf_conntrack_acct", bad).is_err(), "{bad:?}");
    }
    for s in Sysctl::ALL {
        assert_eq!(ct.sysctl(s.name()), Some(ct.knob(*s).to_string()));
    }
    pass(ct, &flow(1), 0);
    assert_eq!(ct.sysctl("nf_conntrack_count").as_deref(), Some("1"));
    assert_eq!(ct.sysctl("nf_conntrack_max").as_deref(), Some("262144"));
}

fn a_packet_that_is_confirmed_twice<St: Store>(ct: &Tracker<St>) {
    use nulls_conntrack::{CtInfo, Hook, Packet, SkbNfct};
    let p = flow(1);
    let mut a = Packet::new(&p, family(&p), 0);
    ct.track(&mut a, Hook::PreRouting);
    let mut b = Packet::new(&p, family(&p), 0);
    b.set_nfct(SkbNfct::new(
        ct.store(),
        a.nfct().to_ref().expect("an entry"),
        CtInfo::New,
    ));
    assert_eq!(ct.confirm(&mut a, Hook::PostRouting), Verdict::Accept);
    assert_eq!(
        ct.confirm(&mut b, Hook::PostRouting),
        Verdict::Accept,
        "confirmed already"
    );
    assert_eq!((ct.dump(0).len(), ct.store().len()), (1, 2));
}

#[test]
fn an_attacker_cannot_make_chains_longer_than_the_limit() {
    let ct = Tracker::new(
        LockedStore::<u32>::new(1),
        Config {
            chain_limit: 50,
            ..config()
        },
    );
    let mut dropped = 0;
    for n in 1..=200 {
        dropped += u32::from(pass(&ct, &flow(n), 0).verdict == Verdict::Drop);
    }
    // Two links of each entry share the only bucket.
    let entries = ct.dump(0).len();
    assert!((26..=41).contains(&entries), "{entries} entries");
    assert_eq!(u64::from(dropped), ct.stats().chaintoolong);
    assert_eq!(
        (dropped as usize, ct.stats().insert_failed),
        (200 - entries, u64::from(dropped))
    );
}

#[test]
fn memory_is_bounded_by_the_store() {
    let ct = Tracker::new(
        NullsStore::<u32>::new(3, 16).expect("memory"),
        Config { max: 0, ..config() },
    );
    let verdicts: Vec<_> = (1..=5).map(|n| pass(&ct, &flow(n), 0).verdict).collect();
    assert_eq!(
        verdicts,
        [
            Verdict::Accept,
            Verdict::Accept,
            Verdict::Accept,
            Verdict::Drop,
            Verdict::Drop
        ]
    );
    assert_eq!(ct.net().count(), 3);
}

#[test]
fn the_number_of_buckets_is_a_knob() {
    let ct = nulls();
    ct.set_sysctl("nf_conntrack_buckets", "700")
        .expect("memory");
    assert_eq!(ct.sysctl("nf_conntrack_buckets").as_deref(), Some("1024"));
    assert!(ct.set_sysctl("nf_conntrack_buckets", "0").is_err());
    assert!(
        locked().set_sysctl("nf_conntrack_buckets", "700").is_err(),
        "this store has a fixed number"
    );
}

#[test]
fn resizing_loses_nothing() {
    let ct = nulls();
    for n in 1..=3000 {
        pass(&ct, &flow(n), 0);
    }
    for buckets in [1, 7, 5000, 64, 100_000] {
        ct.store().resize(buckets).expect("memory");
        for n in 1..=3000 {
            assert!(
                pass(&ct, &udp(D, 53, C, n, 1), 0)
                    .is(PacketState::Established, Some(Direction::Reply))
            );
        }
        assert_eq!(ct.dump(0).len(), 3000);
    }
}
