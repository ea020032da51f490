//! Packets that general parsers refuse, and packets that are no packets.

use super::support::*;
use nulls_conntrack::input::{InputError, ip_rcv, ip_rcv_local};
use nulls_conntrack::{Family, Hook, Packet, PacketState, Store, Tracker};
use proptest::prelude::*;

with_each_store!(
    extension_headers_are_walked,
    later_fragments_are_invalid,
    options_move_the_transport_header,
    other_protocols_are_tracked_by_addresses,
);

fn options_move_the_transport_header<St: Store>(ct: &Tracker<St>) {
    let mut p = udp(C, 1, D, 2, 3);
    p[0] = 0x47;
    p.splice(20..20, [1; 8]);
    assert_eq!(pass(ct, &p, 0).state, PacketState::New);
    assert_eq!(
        (
            only(ct, 0).tuples[0].src_l4(),
            only(ct, 0).tuples[0].dst_l4()
        ),
        (1, 2)
    );
}

fn later_fragments_are_invalid<St: Store>(ct: &Tracker<St>) {
    let mut p = udp(C, 1, D, 2, 3);
    p[7] = 1;
    assert_eq!(pass(ct, &p, 0).state, PacketState::Invalid);
    let mut p = udp(C6, 1, D6, 2, 3);
    p[6] = 44;
    p.splice(40..40, [17, 0, 0, 0x08, 0, 0, 0, 1]);
    assert_eq!(pass(ct, &p, 0).state, PacketState::Invalid);
    p[43] = 0;
    assert_eq!(
        pass(ct, &p, 0).state,
        PacketState::New,
        "a fragment that is the whole packet"
    );
}

fn extension_headers_are_walked<St: Store>(ct: &Tracker<St>) {
    let mut p = udp(C6, 1, D6, 2, 3);
    p[6] = 0;
    // Hop-by-hop of 16 bytes, routing of 8, authentication of 12, destination options of 8.
    let chain = [
        &[43, 1][..],
        &[0; 14],
        &[51, 0],
        &[0; 6],
        &[60, 1],
        &[0; 10],
        &[17, 0],
        &[0; 6],
    ]
    .concat();
    p.splice(40..40, chain);
    assert_eq!(pass(ct, &p, 0).state, PacketState::New);
    assert_eq!(only(ct, 0).tuples[0].protonum(), 17);
    p[6] = 59;
    assert_eq!(
        pass(ct, &p, 0).state,
        PacketState::Invalid,
        "nothing follows"
    );
}

fn other_protocols_are_tracked_by_addresses<St: Store>(ct: &Tracker<St>) {
    assert!(pass(ct, &ip(C, D, 253, b""), 0).is(PacketState::New, Some(Direction::Original)));
    assert!(
        pass(ct, &ip(D, C, 253, b"abc"), S).is(PacketState::Established, Some(Direction::Reply))
    );
    assert_eq!((only(ct, S).timeout, only(ct, S).status), (600, 10));
    assert_eq!(pass(ct, &ip(C, D, 254, b""), 0).state, PacketState::New);
}

#[test]
fn the_ip_layer_checks_headers_and_cuts_padding() {
    let p = udp(C, 1, D, 2, 3);
    let mut padded = p.clone();
    padded.extend([0; 9]);
    assert_eq!(ip_rcv(&padded, Family::Ipv4), Ok(&p[..]));
    assert_eq!(
        ip_rcv(&p[..p.len() - 1], Family::Ipv4),
        Err(InputError::Truncated)
    );
    assert_eq!(ip_rcv(&p[..19], Family::Ipv4), Err(InputError::Truncated));
    assert_eq!(ip_rcv(&p, Family::Ipv6), Err(InputError::Truncated));
    let with = |at: usize, value: u8| {
        let mut q = p.clone();
        q[at] = value;
        q
    };
    assert_eq!(
        ip_rcv(&with(10, !p[10]), Family::Ipv4),
        Err(InputError::BadChecksum)
    );
    assert_eq!(
        ip_rcv(&with(0, 0x55), Family::Ipv4),
        Err(InputError::BadHeader)
    );
    assert_eq!(
        ip_rcv(&with(0, 0x44), Family::Ipv4),
        Err(InputError::BadHeader)
    );
    let v6 = udp(C6, 1, D6, 2, 3);
    assert_eq!(ip_rcv(&v6, Family::Ipv6), Ok(&v6[..]));
    assert_eq!(
        ip_rcv(&v6[..v6.len() - 1], Family::Ipv6),
        Err(InputError::Truncated)
    );
}

#[test]
fn hop_by_hop_options_are_read_before_anything_else() {
    let check = |options: &[u8]| {
        let mut p = udp(C6, 1, D6, 2, 3);
        p[6] = 0;
        let mut header = vec![17, ((options.len() + 2) / 8 - 1) as u8];
        header.extend(options);
        p[5] += header.len() as u8;
        p.splice(40..40, header);
        ip_rcv(&p, Family::Ipv6).map(<[u8]>::len)
    };
    assert_eq!(check(&[1, 4, 0, 0, 0, 0]), Ok(40 + 8 + 11));
    assert_eq!(
        check(&[5, 2, 0, 0, 0, 0]),
        Ok(59),
        "router alert and two bytes of padding"
    );
    assert_eq!(
        check(&[0x3e, 0, 1, 2, 0, 0]),
        Ok(59),
        "unknown, may be skipped"
    );
    for bad in [
        [1, 4, 0, 0, 0, 9],
        [1, 5, 0, 0, 0, 0],
        [5, 1, 0, 0, 0, 0],
        [0x7e, 0, 1, 2, 0, 0],
        [0xc2, 4, 0, 0, 0, 0],
        [0x3e, 9, 0, 0, 0, 0],
    ] {
        assert_eq!(check(&bad), Err(InputError::BadOptions), "{bad:?}");
    }
    assert_eq!(
        check(&[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Err(InputError::BadOptions),
        "too much padding"
    );
    let mut p = udp(C6, 1, D6, 2, 3);
    p[8] = 0xff;
    assert_eq!(
        ip_rcv(&p, Family::Ipv6),
        Err(InputError::BadAddress),
        "multicast as source"
    );
    assert_eq!(ip_rcv_local(&p, Family::Ipv6), Err(InputError::BadAddress));
    let own = std::net::Ipv6Addr::LOCALHOST.octets();
    let mut p = udp(C6, 1, D6, 2, 3);
    p[8..24].copy_from_slice(&own);
    p[24..40].copy_from_slice(&own);
    assert_eq!(ip_rcv(&p, Family::Ipv6), Err(InputError::BadAddress));
    assert_eq!(ip_rcv_local(&p, Family::Ipv6), Ok(&p[..]));
}

proptest! {
    /// Whatever comes, nothing panics, and what is found out about it is consistent.
    #[test]
    fn any_bytes_can_be_tracked(mut data in proptest::collection::vec(any::<u8>(), 0..200), v6 in any::<bool>(), proto in any::<u8>(), known in any::<bool>()) {
        let ct = nulls();
        let family = if v6 { Family::Ipv6 } else { Family::Ipv4 };
        if known && data.len() > 9 {
            data[0] = if v6 { 0x60 } else { 0x45 };
            data[if v6 { 6 } else { 9 }] = [1, 6, 17, 47, 58, 132, 136, 0][usize::from(proto % 8)];
        }
        ct.set_sysctl("nf_conntrack_checksum", "0").expect("a knob");
        let _ = ip_rcv(&data, family);
        let mut pkt = Packet::new(&data, family, 0);
        ct.track(&mut pkt, Hook::PreRouting);
        prop_assert_eq!(pkt.conn().is_some(), pkt.direction().is_some());
        let tracked = pkt.conn().is_some();
        ct.confirm(&mut pkt, Hook::PostRouting);
        drop(pkt);
        prop_assert_eq!(ct.dump(0).len(), usize::from(tracked));
        prop_assert_eq!(ct.net().count(), usize::from(tracked));
    }
}
