//! The stories of the kernel's own packetdrill scripts (`tools/testing/selftests/net/netfilter/packetdrill`), told to the tracker, over IPv4
//! and IPv6. The peer is the client of the first story, the local host that of the others, as there.

use super::support::*;
use nulls_conntrack::status::{ASSURED, SEEN_REPLY};
use nulls_conntrack::{PacketState, ProtoInfo};
use std::net::IpAddr;

const LOCAL: u16 = 8080;
const PEER: u16 = 45678;

struct Story {
    ct: Nulls,
    local: IpAddr,
    peer: IpAddr,
    invalid: u32,
}

impl Story {
    fn each_family(tell: impl Fn(Story)) {
        for (local, peer) in [(C, D), (C6, D6)] {
            tell(Story {
                ct: nulls(),
                local,
                peer,
                invalid: 0,
            });
        }
    }

    fn segment(
        &mut self,
        from_peer: bool,
        flags: &str,
        seq: u32,
        len: usize,
        ack: u32,
        win: u16,
    ) -> Seen {
        let t = Tcp {
            flags,
            seq,
            ack,
            win,
            len,
            options: if flags.contains('S') {
                &[2, 4, 3, 0xe8]
            } else {
                &[]
            },
        };
        let p = if from_peer {
            tcp(self.peer, PEER, self.local, LOCAL, &t)
        } else {
            tcp(self.local, LOCAL, self.peer, PEER, &t)
        };
        let seen = pass(&self.ct, &p, 0);
        self.invalid += u32::from(seen.state == PacketState::Invalid);
        seen
    }

    /// `<` in the scripts.
    fn peer(&mut self, flags: &str, seq: u32, len: usize, ack: u32) -> Seen {
        self.segment(true, flags, seq, len, ack, 32792)
    }

    /// `>` in the scripts.
    fn local(&mut self, flags: &str, seq: u32, len: usize, ack: u32) -> Seen {
        self.segment(false, flags, seq, len, ack, 65535)
    }

    fn expect(&self, state: &str, set: u32, clear: u32) {
        let e = only(&self.ct, 0);
        let ProtoInfo::Tcp { state: now, .. } = e.proto else {
            panic!("TCP")
        };
        assert_eq!(now, state);
        assert_eq!(
            (e.status & set, e.status & clear),
            (set, 0),
            "status {:#x}",
            e.status
        );
    }

    fn handshake_by_local(&mut self) {
        self.local("S", 0, 0, 0);
        self.peer("SA", 0, 0, 1);
        self.local("A", 1, 0, 1);
        self.expect("ESTABLISHED", ASSURED, 0);
    }
}

#[test]
fn ack_loss_stall() {
    Story::each_family(|mut s| {
        s.peer("S", 0, 0, 0);
        s.local("SA", 0, 0, 1);
        s.peer("A", 1, 0, 1);
        for n in 0..46 {
            s.peer("PA", 1 + n * 1460, 1460, 1);
            s.local("A", 1, 0, 1 + (n + 1) * 1460);
        }
        // The acknowledgements were lost on their way.
        for _ in 0..3 {
            let old = s.peer("PA", 1, 1460, 1);
            assert_eq!(old.state, PacketState::Established);
            s.local("A", 1, 0, 67161);
        }
        assert_eq!(s.invalid, 0);
    });
}

#[test]
fn inexact_rst() {
    Story::each_family(|mut s| {
        s.handshake_by_local();
        s.peer("PA", 1, 1000, 1);
        s.local("A", 1, 0, 1001);
        s.peer("PA", 1001, 1000, 1);
        s.peer("PA", 2001, 1000, 1);
        s.local("A", 1, 0, 3001);
        s.local("PA", 1, 1000, 3001);
        s.peer("FA", 3001, 0, 1001);
        s.expect("FIN_WAIT", 0, 0);
        s.local("A", 1001, 0, 3002);
        s.expect("CLOSE_WAIT", 0, 0);
        s.local("RA", 1001, 0, 3002);
        s.expect("CLOSE", 0, 0);
        s.peer("R", 2001, 0, 0);
        s.expect("CLOSE", 0, 0);
        assert_eq!(s.invalid, 0);
    });
}

#[test]
fn rst_invalid() {
    Story::each_family(|mut s| {
        s.handshake_by_local();
        s.peer("PA", 1, 3000, 1);
        s.local("A", 1, 0, 3001);
        s.peer("R", 0, 0, 0);
        s.peer("R", 1_000_000, 0, 0);
        s.peer("R", 42, 0, 0);
        s.peer("RA", 3000, 0, 1);
        assert_eq!(s.invalid, 4);
        s.expect("ESTABLISHED", ASSURED, 0);
        s.peer("RA", 3001, 0, 1);
        s.expect("CLOSE", ASSURED, 0);
        assert_eq!(s.invalid, 4);
    });
}

#[test]
fn syn_challenge_ack() {
    Story::each_family(|mut s| {
        s.local("S", 643_160_522, 0, 0);
        s.expect("SYN_SENT", 0, SEEN_REPLY);
        // The peer still has an old connection.
        s.peer("A", 145_824_453, 0, 643_160_523);
        s.local("R", 643_160_523, 0, 0);
        s.expect("CLOSE", 0, ASSURED);
        s.local("S", 643_160_522, 0, 0);
        s.expect("SYN_SENT", 0, SEEN_REPLY);
        s.peer("SA", 0, 0, 643_160_523);
        s.local("A", 643_160_523, 0, 1);
        s.expect("ESTABLISHED", ASSURED, 0);
        assert_eq!(s.invalid, 0);
    });
}

#[test]
fn synack_old() {
    Story::each_family(|mut s| {
        s.local("S", 0, 0, 0);
        s.expect("SYN_SENT", 0, SEEN_REPLY);
        let old = s.peer("SA", 145_824_453, 0, 643_160_523);
        assert_eq!(old.state, PacketState::Invalid);
        s.local("S", 0, 0, 0);
        s.expect("SYN_SENT", 0, SEEN_REPLY);
        s.peer("SA", 145_758_918, 0, 1);
        s.local("A", 1, 0, 145_758_919);
        s.expect("ESTABLISHED", ASSURED, 0);
        assert_eq!(s.invalid, 1);
    });
}

#[test]
fn synack_reuse() {
    Story::each_family(|mut s| {
        s.peer("S", 0, 0, 0);
        s.local("SA", 0, 0, 1);
        s.peer("A", 1, 0, 1);
        s.peer("PA", 1, 100, 1);
        s.local("A", 1, 0, 101);
        s.expect("ESTABLISHED", ASSURED, 0);
        s.peer("S", 2000, 0, 0);
        s.local("A", 1, 0, 101);
        s.peer("RA", 101, 0, 1);
        s.expect("CLOSE", ASSURED, 0);
        s.peer("S", 2000, 0, 0);
        s.local("SA", 0, 0, 2001);
        s.expect("SYN_RECV", SEEN_REPLY, ASSURED);
        assert_eq!(s.invalid, 0);
    });
}

#[test]
fn one_side_alone_cannot_close_with_a_syn_and_a_wrong_reset() {
    Story::each_family(|mut s| {
        s.handshake_by_local();
        s.local("S", 5_000_000, 0, 0);
        s.local("R", 900_000, 0, 0);
        s.expect("ESTABLISHED", ASSURED, 0);
    });
}
