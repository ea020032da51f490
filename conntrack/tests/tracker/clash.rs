//! Several packets of one flow on their way at once.

use super::support::*;
use nulls_conntrack::status::NAT_CLASH;
use nulls_conntrack::{Hook, Packet, PacketState, Store, Tracker, Verdict};

with_each_store!(
    udp_goes_over_to_the_winner,
    tcp_loses_the_second_packet,
    mirror_images_are_the_same_flow,
    a_dropped_loser_leaves_nothing,
);

fn tracked<'d, 't, St: Store>(ct: &'t Tracker<St>, p: &'d [u8]) -> Packet<'d, 't, St> {
    let mut pkt = Packet::new(p, family(p), 0);
    assert_eq!(ct.track(&mut pkt, Hook::PreRouting), Verdict::Accept);
    assert_eq!(pkt.state(), PacketState::New);
    pkt
}

fn udp_goes_over_to_the_winner<St: Store>(ct: &Tracker<St>) {
    ct.set_sysctl("nf_conntrack_acct", "1").expect("a knob");
    let p = udp(C, 1, D, 53, 2);
    let (mut a, mut b) = (tracked(ct, &p), tracked(ct, &p));
    assert_eq!(ct.net().count(), 2);
    assert_eq!(ct.confirm(&mut a, Hook::PostRouting), Verdict::Accept);
    assert_eq!(ct.confirm(&mut b, Hook::PostRouting), Verdict::Accept);
    let (x, y) = (a.conn().expect("an entry"), b.conn().expect("an entry"));
    assert!(std::ptr::eq(x, y));
    assert_eq!(b.state(), PacketState::New, "ctinfo stays");
    assert_eq!(x.counters(Direction::Original), Some((2, 60)));
    assert_eq!(
        (
            ct.stats().clash_resolve,
            ct.stats().insert_failed,
            ct.net().count()
        ),
        (1, 0, 1)
    );
}

fn tcp_loses_the_second_packet<St: Store>(ct: &Tracker<St>) {
    let p = tcp(
        C,
        1,
        D,
        80,
        &Tcp {
            flags: "S",
            win: 10,
            ..Tcp::default()
        },
    );
    let (mut a, mut b) = (tracked(ct, &p), tracked(ct, &p));
    ct.confirm(&mut a, Hook::PostRouting);
    assert_eq!(ct.confirm(&mut b, Hook::PostRouting), Verdict::Drop);
    assert_eq!(
        (ct.stats().drop, ct.stats().insert_failed, ct.dump(0).len()),
        (1, 1, 1)
    );
}

fn mirror_images_are_the_same_flow<St: Store>(ct: &Tracker<St>) {
    let (there, back) = (udp(C, 1, D, 53, 2), udp(D, 53, C, 1, 2));
    let (mut a, mut b) = (tracked(ct, &there), tracked(ct, &back));
    ct.confirm(&mut a, Hook::PostRouting);
    assert_eq!(ct.confirm(&mut b, Hook::PostRouting), Verdict::Accept);
    assert_eq!((ct.stats().clash_resolve, ct.dump(0).len()), (1, 1));
    assert_eq!(b.conn().map(|c| c.has(NAT_CLASH)), Some(false));
}

fn a_dropped_loser_leaves_nothing<St: Store>(ct: &Tracker<St>) {
    let p = ip(C, D, 253, b"");
    let (mut a, mut b) = (tracked(ct, &p), tracked(ct, &p));
    ct.confirm(&mut a, Hook::PostRouting);
    assert_eq!(
        ct.confirm(&mut b, Hook::PostRouting),
        Verdict::Drop,
        "generic protocols do not resolve clashes"
    );
    drop((a, b));
    assert_eq!((ct.net().count(), ct.store().len()), (1, 2));
}
