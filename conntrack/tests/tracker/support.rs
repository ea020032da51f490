//! Packets from scratch, and a router that shows them to a tracker.

use nulls_conntrack::checksum::{fold, pseudo, sum};
use nulls_conntrack::{
    Config, Family, Hook, LockedStore, NullsStore, Packet, PacketState, Snapshot, Store, Tracker,
    Verdict,
};
pub(crate) use nulls_conntrack::{Direction, Nanos};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One second.
pub(crate) const S: Nanos = 1_000_000_000;

/// A client, a server, somebody else.
pub(crate) const C: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const D: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub(crate) const E: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
pub(crate) const C6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
pub(crate) const D6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

pub(crate) fn config() -> Config {
    Config {
        seed: Some((1, 2)),
        ..Config::default()
    }
}

pub(crate) type Nulls = Tracker<NullsStore<u32>>;

pub(crate) fn nulls() -> Nulls {
    Tracker::new(NullsStore::new(100_000, 1024).expect("memory"), config())
}

pub(crate) fn locked() -> Tracker<LockedStore<u32>> {
    Tracker::new(LockedStore::new(1024), config())
}

/// Runs a test that is generic over the store with each of them.
macro_rules! with_each_store {
    ($($name:ident),* $(,)?) => {
        mod on_nulls { $(#[test] fn $name() { super::$name(&$crate::support::nulls()); })* }
        mod on_locked { $(#[test] fn $name() { super::$name(&$crate::support::locked()); })* }
    };
}
pub(crate) use with_each_store;

pub(crate) fn ip(src: IpAddr, dst: IpAddr, proto: u8, payload: &[u8]) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let len = (20 + payload.len()) as u16;
            let mut h = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0];
            h[2..4].copy_from_slice(&len.to_be_bytes());
            h.extend(s.octets());
            h.extend(d.octets());
            let check = !fold(sum(&h, 0));
            h[10..12].copy_from_slice(&check.to_be_bytes());
            h.extend(payload);
            h
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let mut h = vec![0x60, 0, 0, 0];
            h.extend((payload.len() as u16).to_be_bytes());
            h.extend([proto, 64]);
            h.extend(s.octets());
            h.extend(d.octets());
            h.extend(payload);
            h
        }
        _ => panic!("mixed families"),
    }
}

/// Puts the checksum at `at` of a transport header and wraps it up.
fn sealed(src: IpAddr, dst: IpAddr, proto: u8, mut l4: Vec<u8>, at: usize) -> Vec<u8> {
    let with_pseudo = proto != 1;
    let acc = if with_pseudo {
        pseudo(src, dst, proto, l4.len() as u32)
    } else {
        0
    };
    let check = match !fold(sum(&l4, acc)) {
        0 if proto == 17 => 0xffff,
        c => c,
    };
    l4[at..at + 2].copy_from_slice(&check.to_be_bytes());
    ip(src, dst, proto, &l4)
}

pub(crate) fn udp(src: IpAddr, sport: u16, dst: IpAddr, dport: u16, data: usize) -> Vec<u8> {
    let mut l4 = Vec::new();
    for word in [sport, dport, 8 + data as u16, 0] {
        l4.extend(word.to_be_bytes());
    }
    l4.resize(8 + data, b'd');
    sealed(src, dst, 17, l4, 6)
}

pub(crate) fn icmp(src: IpAddr, dst: IpAddr, kind: u8, code: u8, id: u16, data: &[u8]) -> Vec<u8> {
    let mut l4 = vec![kind, code, 0, 0];
    l4.extend(id.to_be_bytes());
    l4.extend([0, 1]);
    l4.extend(data);
    sealed(src, dst, if src.is_ipv4() { 1 } else { 58 }, l4, 2)
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tcp<'a> {
    pub(crate) flags: &'a str,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) win: u16,
    pub(crate) len: usize,
    pub(crate) options: &'a [u8],
}

pub(crate) fn tcp(src: IpAddr, sport: u16, dst: IpAddr, dport: u16, t: &Tcp<'_>) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(sport.to_be_bytes());
    l4.extend(dport.to_be_bytes());
    l4.extend(t.seq.to_be_bytes());
    l4.extend(t.ack.to_be_bytes());
    let words = 5 + t.options.len().div_ceil(4);
    let bits = t
        .flags
        .chars()
        .fold(0u8, |f, c| f | 1 << "FSRPAUEC".find(c).expect("a flag"));
    l4.extend([(words as u8) << 4, bits]);
    l4.extend(t.win.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(t.options);
    l4.resize(words * 4, 0);
    l4.resize(words * 4 + t.len, b'd');
    sealed(src, dst, 6, l4, 16)
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: PacketState,
    pub(crate) dir: Option<Direction>,
    pub(crate) verdict: Verdict,
    pub(crate) reason: Option<String>,
}

impl Seen {
    pub(crate) fn is(&self, state: PacketState, dir: Option<Direction>) -> bool {
        (self.state, self.dir) == (state, dir)
    }
}

pub(crate) fn family(data: &[u8]) -> Family {
    if data[0] >> 4 == 6 {
        Family::Ipv6
    } else {
        Family::Ipv4
    }
}

/// Forwards a packet: tracked as it comes in, confirmed as it leaves.
pub(crate) fn pass<St: Store>(ct: &Tracker<St>, data: &[u8], now: Nanos) -> Seen {
    pass_with(ct, data, now, |_| {})
}

/// As `pass`, with a hand on the packet before it is tracked.
pub(crate) fn pass_with<'t, St: Store>(
    ct: &'t Tracker<St>,
    data: &[u8],
    now: Nanos,
    prepare: impl FnOnce(&mut Packet<'_, 't, St>),
) -> Seen {
    let mut pkt = Packet::new(data, family(data), now);
    prepare(&mut pkt);
    let mut verdict = ct.track(&mut pkt, Hook::PreRouting);
    let (state, dir) = (pkt.state(), pkt.direction());
    let reason = pkt.reasons().last().map(ToString::to_string);
    if verdict == Verdict::Accept {
        verdict = ct.confirm(&mut pkt, Hook::PostRouting);
    }
    Seen {
        state,
        dir,
        verdict,
        reason,
    }
}

/// The only entry.
pub(crate) fn only<St: Store>(ct: &Tracker<St>, now: Nanos) -> Snapshot {
    let mut all = ct.dump(now);
    assert_eq!(all.len(), 1, "one entry expected: {all:#?}");
    all.remove(0)
}
