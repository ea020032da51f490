//! SCTP, GRE and UDP-Lite.

use super::support::*;
use PacketState::{Established, Invalid, New};
use nulls_conntrack::status::ASSURED;
use nulls_conntrack::{PacketState, ProtoInfo, Store, Tracker};

with_each_store!(
    an_association_from_init_to_shutdown,
    both_sides_begin_at_once,
    a_repeated_init_is_no_collision,
    a_first_init_counts,
    tags_and_checksums_are_checked,
    gre_by_call_id,
    udplite_checksums_are_what_the_kernel_takes_them_for,
);

fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut c = vec![kind, 0];
    c.extend((4 + body.len() as u16).to_be_bytes());
    c.extend(body);
    c.resize(c.len().next_multiple_of(4), 0);
    c
}

fn init(kind: u8, tag: u32) -> Vec<u8> {
    let mut body = tag.to_be_bytes().to_vec();
    body.extend([0; 12]);
    chunk(kind, &body)
}

fn packet(from_a: bool, vtag: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let (src, dst, sport, dport) = if from_a {
        (C, D, 500u16, 600u16)
    } else {
        (D, C, 600, 500)
    };
    let mut l4 = Vec::new();
    l4.extend(sport.to_be_bytes());
    l4.extend(dport.to_be_bytes());
    l4.extend(vtag.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(chunks.concat());
    let crc = crc32c::crc32c(&l4);
    l4[8..12].copy_from_slice(&crc.to_le_bytes());
    ip(src, dst, 132, &l4)
}

fn send<St: Store>(ct: &Tracker<St>, from_a: bool, vtag: u32, chunks: &[Vec<u8>]) -> Seen {
    pass(ct, &packet(from_a, vtag, chunks), 0)
}

fn state<St: Store>(ct: &Tracker<St>) -> (&'static str, u32, [u32; 2]) {
    let e = only(ct, 0);
    match e.proto {
        ProtoInfo::Sctp { state, vtag } => (state, e.timeout, vtag),
        other => panic!("not SCTP: {other:?}"),
    }
}

const DATA: u8 = 0;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;

fn an_association_from_init_to_shutdown<St: Store>(ct: &Tracker<St>) {
    let steps: [(bool, u32, Vec<u8>, &str, u32); 8] = [
        (true, 0, init(1, 7), "CLOSED", 10),
        (false, 7, init(2, 9), "COOKIE_WAIT", 3),
        (true, 9, chunk(COOKIE_ECHO, b"biscuit"), "COOKIE_ECHOED", 3),
        (false, 7, chunk(COOKIE_ACK, b""), "ESTABLISHED", 210),
        (true, 9, chunk(DATA, &[0; 16]), "ESTABLISHED", 210),
        (true, 9, chunk(7, &[0; 4]), "SHUTDOWN_SENT", 3),
        (false, 7, chunk(8, b""), "SHUTDOWN_ACK_SENT", 3),
        (true, 9, chunk(14, b""), "CLOSED", 10),
    ];
    for (n, (from_a, vtag, c, name, timeout)) in steps.into_iter().enumerate() {
        let seen = send(ct, from_a, vtag, &[c]);
        assert_eq!(
            seen.state,
            if n == 0 { New } else { Established },
            "step {n}"
        );
        assert_eq!((state(ct).0, state(ct).1), (name, timeout), "step {n}");
    }
    assert_eq!(only(ct, 0).status & ASSURED, ASSURED);
    assert_eq!(state(ct).2, [9, 7]);
}

/// The story of the kernel's `conntrack_sctp_collision.sh`.
fn both_sides_begin_at_once<St: Store>(ct: &Tracker<St>) {
    let (a, b) = (2_017_837_359, 1_187_206_187);
    send(ct, true, 0, &[init(1, a)]);
    send(ct, false, 0, &[init(1, b)]);
    send(ct, true, b, &[init(2, a)]);
    send(ct, false, a, &[chunk(COOKIE_ECHO, b"biscuit")]);
    send(ct, true, b, &[chunk(COOKIE_ACK, b"")]);
    // The kernel's table does not follow the states of a collision, but it learns the tags.
    assert_eq!(state(ct), ("CLOSED", 10, [b, a]));
    // It was under way all the time.
    assert_eq!(send(ct, false, a, &[init(2, 164_579_970)]).state, Invalid);
    assert_eq!(
        send(ct, true, b, &[chunk(DATA, &[0; 16])]).state,
        Established
    );
    assert_eq!(
        send(ct, false, a, &[chunk(DATA, &[0; 16])]).state,
        Established
    );
    assert_eq!(state(ct).2, [b, a]);
}

fn a_repeated_init_is_no_collision<St: Store>(ct: &Tracker<St>) {
    send(ct, true, 0, &[init(1, 7)]);
    send(ct, false, 7, &[init(2, 9)]);
    send(ct, true, 9, &[chunk(COOKIE_ECHO, b"biscuit")]);
    send(ct, false, 7, &[chunk(COOKIE_ACK, b"")]);
    // The peer begins anew; then an old INIT comes along, whose tag is known.
    send(ct, false, 0, &[init(1, 10)]);
    send(ct, true, 0, &[init(1, 7)]);
    assert_eq!(
        send(ct, true, 10, &[init(2, 8)]).state,
        Established,
        "only the peer has begun"
    );
    assert_eq!(state(ct).2, [10, 8]);
    // With a tag of its own it is a beginning.
    send(ct, true, 0, &[init(1, 77)]);
    assert_eq!(
        send(ct, true, 10, &[init(2, 78)]).state,
        Invalid,
        "both have begun"
    );
}

fn a_first_init_counts<St: Store>(ct: &Tracker<St>) {
    send(ct, true, 0, &[init(1, 7)]);
    send(ct, false, 0, &[init(1, 9)]);
    assert_eq!(
        send(ct, true, 9, &[init(2, 8)]).state,
        Invalid,
        "both began, and this is not the tag it began with"
    );
    assert_eq!(send(ct, true, 9, &[init(2, 7)]).state, Established);
}

fn tags_and_checksums_are_checked<St: Store>(ct: &Tracker<St>) {
    assert_eq!(
        send(ct, true, 3, &[init(1, 7)]).state,
        Invalid,
        "INIT has tag 0"
    );
    for first in [DATA, 6, COOKIE_ACK, 14] {
        assert_eq!(
            send(ct, true, 0, &[chunk(first, &[0; 16])]).state,
            Invalid,
            "begins with {first}"
        );
    }
    send(ct, true, 0, &[init(1, 7)]);
    let seen = send(ct, false, 0x0102_0304, &[chunk(DATA, &[0; 16])]);
    assert_eq!(
        seen.reason.as_deref(),
        Some("nf_ct_proto_132: verification tag check failed 4030201 vs 7000000 for dir 1")
    );
    let seen = send(ct, false, 7, &[chunk(3, b""), init(2, 9)]);
    assert_eq!(
        seen.reason.as_deref(),
        Some("nf_ct_proto_132: do_basic_checks failed. chunk num 1, type 2, len 5120 flag 1")
    );
    let mut bad = packet(false, 7, &[init(2, 9)]);
    bad[40] ^= 1;
    assert_eq!(
        pass(ct, &bad, 0).reason.as_deref(),
        Some("nf_ct_proto_132: nf_ct_sctp: bad CRC")
    );
    assert_eq!(send(ct, false, 7, &[]).state, Invalid, "no chunk");
    assert_eq!(state(ct).0, "CLOSED");
}

fn gre_by_call_id<St: Store>(ct: &Tracker<St>) {
    let v1 = |call: u8| ip(C, D, 47, &[0x30, 1, 0x88, 0x0b, 0, 0, 0, call]);
    assert_eq!(pass(ct, &v1(1), 0).state, New);
    assert_eq!(pass(ct, &v1(2), 0).state, New);
    assert_eq!(ct.dump(0).len(), 2);
    assert_eq!(
        pass(ct, &ip(C, D, 47, &[0x30, 1, 8, 0, 0, 0, 0, 1]), 0).state,
        Invalid,
        "version 1 is PPP"
    );
    assert_eq!(pass(ct, &ip(C, D, 47, &[0, 0, 8, 0]), 0).state, New);
    assert_eq!(pass(ct, &ip(D, C, 47, &[0, 0, 8, 0]), 0).state, Established);
    pass(ct, &ip(C, D, 47, &[0, 0, 8, 0]), 0);
    let e = ct
        .dump(0)
        .into_iter()
        .find(|e| e.tuples[0].dst_l4() == 0)
        .expect("the plain one");
    assert_eq!((e.timeout, e.status & ASSURED), (180, ASSURED));
}

fn udplite_checksums_are_what_the_kernel_takes_them_for<St: Store>(ct: &Tracker<St>) {
    // The checksum that UDP would have, over the whole datagram, holds; UDP-Lite's own does not.
    let as_udp = udp(C, 1, D, 2, 4);
    let mut lite = as_udp.clone();
    lite[9] = 136;
    lite[24..26].copy_from_slice(&[0, 0]);
    // Coverage 0 instead of the length 12 in the header.
    let check = u16::from_be_bytes([lite[26], lite[27]]);
    let adjusted = nulls_conntrack::checksum::fold(u64::from(check) + 12);
    lite[26..28].copy_from_slice(&adjusted.to_be_bytes());
    assert_eq!(pass(ct, &lite, 0).state, New);
    let own = nulls_conntrack::checksum::fold(u64::from(adjusted) + 0xffff - (136 - 17));
    lite[26..28].copy_from_slice(&own.to_be_bytes());
    assert_eq!(
        pass(ct, &lite, 0).reason.as_deref(),
        Some("nf_ct_proto_136: bad checksum")
    );
    lite[25] = 5;
    assert_eq!(
        pass(ct, &lite, 0).reason.as_deref(),
        Some("nf_ct_proto_136: invalid checksum coverage")
    );
}
