//! Packets through two trackers, on the lock-free store and on the simplest one: no panic, the same verdicts, the same entries.
//!
//! Input: records of one byte of time (tenths of a second), two bytes of length, and that many bytes of packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nulls_conntrack::{
    Config, Family, Hook, LockedStore, NullsStore, Packet, Store, Tracker, Verdict,
};

fn config() -> Config {
    Config {
        seed: Some((1, 2)),
        chain_limit: usize::MAX,
        ..Config::default()
    }
}

fn pass<S: Store>(ct: &Tracker<S>, data: &[u8], now: u64) -> String {
    let family = if data.first().is_some_and(|b| b >> 4 == 6) {
        Family::Ipv6
    } else {
        Family::Ipv4
    };
    let mut pkt = Packet::new(data, family, now);
    let mut verdict = ct.track(&mut pkt, Hook::PreRouting);
    if verdict == Verdict::Accept {
        verdict = ct.confirm(&mut pkt, Hook::PostRouting);
    }
    format!("{:?} {:?} {verdict:?}", pkt.state(), pkt.direction())
}

fuzz_target!(|input: &[u8]| {
    let a = Tracker::new(
        NullsStore::<()>::new(1 << 10, 16).expect("memory"),
        config(),
    );
    let b = Tracker::new(LockedStore::<()>::new(16), config());
    let mut now = 1_000_000_000;
    let mut rest = input;
    while let [time, hi, lo, tail @ ..] = rest {
        now += u64::from(*time) * 100_000_000;
        let len = usize::from(u16::from_be_bytes([*hi, *lo])).min(tail.len());
        let (packet, after) = tail.split_at(len);
        assert_eq!(pass(&a, packet, now), pass(&b, packet, now));
        rest = after;
    }
    let dump = |mut d: Vec<nulls_conntrack::Snapshot>| {
        let mut all: Vec<String> = d
            .drain(..)
            .map(|s| format!("{:?} {:#x} {:?}", s.tuples, s.status, s.timeout))
            .collect();
        all.sort();
        all
    };
    assert_eq!(dump(a.dump(now)), dump(b.dump(now)));
    assert_eq!(a.net().count(), b.net().count());
    // A day later nothing is left but what never ends.
    let later = now + 6 * 86_400_000_000_000;
    assert_eq!(a.gc_all(later), b.gc_all(later));
    assert_eq!(a.store().len(), b.store().len());
});
