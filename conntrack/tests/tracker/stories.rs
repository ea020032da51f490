//! Stories of the kernel's own tests that are not about TCP's windows: `conntrack_tcp_unreplied.sh` and `nft_zones_many.sh`.

use super::support::*;
use nulls_conntrack::nat::{Manip, Nat, Question, Range};
use nulls_conntrack::{
    Config, Family, Layout, NullsStore, Packet, PacketState, Pipeline, Store, Template, Tracker,
    Verdict, Zone, status,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A client repeats its SYN, to nobody. A rule is added that redirects it: the repetitions must not have kept the old entry alive, so that the
/// rule is asked when it has expired.
#[test]
fn repeated_syns_do_not_keep_an_unreplied_entry_from_a_new_rule() {
    let ct = nulls();
    ct.set_sysctl("nf_conntrack_tcp_timeout_syn_sent", "10")
        .expect("a knob");
    let redirect = Arc::new(AtomicBool::new(false));
    let rule = Arc::clone(&redirect);
    let mut pipeline = Pipeline::new(Layout::Linux618);
    Nat::new(move |q: &Question| {
        (q.manip == Manip::Dst && rule.load(Ordering::Relaxed))
            .then(|| Range::to(E).ports(8080, 8080))
    })
    .register(&mut pipeline, Family::Ipv4);

    let syn = tcp(
        C,
        1000,
        D,
        80,
        &Tcp {
            flags: "S",
            win: 1000,
            ..Tcp::default()
        },
    );
    let send = |now| {
        let mut pkt = Packet::new(&syn, Family::Ipv4, now);
        assert_eq!(pipeline.forward(&ct, &mut pkt), Verdict::Accept);
        assert_eq!(pkt.state(), PacketState::New);
        pkt.conn().expect("an entry").status() & status::DST_NAT != 0
    };
    assert!(!send(0));
    redirect.store(true, Ordering::Relaxed);
    for second in 1..10 {
        assert!(!send(second * S), "the decision is for life");
        assert_eq!(only(&ct, second * S).timeout, 10 - second as u32);
    }
    assert!(send(10 * S), "and now it is a new one");
    assert_eq!(only(&ct, 10 * S).tuples[1].src(), E);
}

/// The same tuple in two thousand zones: as many entries, none of them in another's way.
#[test]
fn the_same_tuple_in_two_thousand_zones() {
    const ZONES: u16 = 2000;
    let ct = Tracker::new(
        NullsStore::<u32>::new(10_000, 4096).expect("memory"),
        Config::default(),
    );
    let data = udp(C, 1000, D, 53, 4);
    let answer = udp(D, 53, C, 1000, 4);
    let send = |data: &[u8], zone| {
        pass_with(&ct, data, 0, |pkt| {
            pkt.template = Some(Arc::new(Template {
                zone: Zone::both(zone),
                ..Template::default()
            }));
        })
    };
    for zone in 1..=ZONES {
        assert!(
            send(&data, zone).is(PacketState::New, Some(Direction::Original)),
            "{zone}"
        );
    }
    assert_eq!(
        (ct.net().count(), ct.stats().insert_failed),
        (2000, 0),
        "the zone is part of the hash"
    );
    for zone in 1..=ZONES {
        assert!(send(&answer, zone).is(PacketState::Established, Some(Direction::Reply)));
    }
    assert!(send(&answer, ZONES + 1).is(PacketState::New, Some(Direction::Original)));
    let mut zones: Vec<u16> = ct.dump(0).iter().map(|e| e.zone.id).collect();
    zones.sort_unstable();
    assert!(zones.iter().copied().eq(1..=ZONES + 1));
    assert_eq!(ct.delete_if(0, |c| c.zone().id % 2 == 0), 1000);
    assert_eq!(ct.store().len(), 2 * 1001);
}

/// With a zone for answers only, a tuple seen from one side is not that of an answer seen from the other.
fn a_zone_for_answers_separates_them_from_equal_originals<St: Store>(ct: &Tracker<St>) {
    let (there, back) = (udp(C, 1, D, 2, 0), udp(D, 2, C, 1, 0));
    let zoned = |data: &[u8]| {
        pass_with(ct, data, 0, |pkt| {
            pkt.template = Some(Arc::new(Template {
                zone: Zone::one_way(3, Direction::Reply),
                ..Template::default()
            }));
        })
    };
    let new = (PacketState::New, Some(Direction::Original));
    assert!(pass(ct, &back, 0).is(new.0, new.1));
    // Its reply tuple is this packet's, but in zone 0 both ways.
    assert!(zoned(&there).is(new.0, new.1));
    assert_eq!((ct.dump(0).len(), ct.stats().insert_failed), (2, 0));
    // Each goes on being what it is.
    assert!(pass(ct, &back, 0).is(new.0, new.1));
    assert!(zoned(&there).is(new.0, new.1));
}

with_each_store!(a_zone_for_answers_separates_them_from_equal_originals);
