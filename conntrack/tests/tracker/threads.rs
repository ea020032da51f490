//! Several threads at once.

use super::support::*;
use nulls_conntrack::{Hook, Packet, Store, Tracker, Verdict};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

with_each_store!(
    the_same_new_flow_from_all_sides,
    one_thread_deletes_and_the_others_learn_it,
    flows_come_and_go,
    the_limit_holds,
);

const THREADS: usize = 4;

fn all<R: Send>(f: impl Fn(usize) -> R + Sync) -> Vec<R> {
    std::thread::scope(|s| {
        let handles: Vec<_> = (0..THREADS)
            .map(|t| {
                s.spawn({
                    let f = &f;
                    move || f(t)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|h| h.join().expect("no panic"))
            .collect()
    })
}

/// All threads begin the same flow, half of them from the other end: one entry, every packet accepted.
fn the_same_new_flow_from_all_sides<St: Store>(ct: &Tracker<St>) {
    ct.set_sysctl("nf_conntrack_acct", "1").expect("a knob");
    let barrier = Barrier::new(THREADS);
    for round in 1..=200u16 {
        let (there, back) = (udp(C, round, D, 53, 2), udp(D, 53, C, round, 2));
        let verdicts = all(|t| {
            let p = if t % 2 == 0 { &there } else { &back };
            let mut pkt = Packet::new(p, family(p), 0);
            barrier.wait();
            let first = ct.track(&mut pkt, Hook::PreRouting);
            if first == Verdict::Accept {
                ct.confirm(&mut pkt, Hook::PostRouting)
            } else {
                first
            }
        });
        assert_eq!(verdicts, [Verdict::Accept; THREADS]);
        assert_eq!(ct.net().count(), usize::from(round));
        assert_eq!(ct.store().len(), 2 * usize::from(round));
    }
    // Whoever lost the race gave its count to the winner.
    for e in ct.dump(0) {
        let [(a, _), (b, _)] = e.counters.expect("counted");
        assert_eq!(a + b, THREADS as u64);
    }
}

/// DYING decides.
fn one_thread_deletes_and_the_others_learn_it<St: Store>(ct: &Tracker<St>) {
    let barrier = Barrier::new(THREADS);
    for n in 1..=200u16 {
        let p = udp(C, n, D, 53, 2);
        pass(ct, &p, 0);
        let won: usize = all(|t| {
            let mut pkt = Packet::new(&p, family(&p), 0);
            ct.track(&mut pkt, Hook::PreRouting);
            let entry = pkt.nfct().to_ref().expect("an entry");
            barrier.wait();
            usize::from(match t % 3 {
                0 => ct.delete(&entry, 0),
                1 => ct.gc_all(40 * S) > 0,
                _ => ct.delete_if(0, |c| c.tuple(Direction::Original).src_l4() == n) > 0,
            })
        })
        .into_iter()
        .sum();
        assert_eq!(won, 1, "round {n}");
        assert_eq!((ct.net().count(), ct.store().len()), (0, 0));
    }
}

/// Packets of many flows, deletions, dumps and garbage collection: what is found is what was looked for, and in the end nothing is left over.
fn flows_come_and_go<St: Store>(ct: &Tracker<St>) {
    const FLOWS: u64 = 64;
    let clock = AtomicU64::new(0);
    let wrong = AtomicUsize::new(0);
    all(|t| {
        let mut x = t as u64 + 1;
        for _ in 0..20_000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let now = clock.fetch_add(S / 100, Ordering::Relaxed);
            let port = (x % FLOWS) as u16 + 1;
            match x >> 32 & 63 {
                0 => {
                    ct.gc(now);
                }
                1 => {
                    ct.delete_if(now, |c| c.tuple(Direction::Original).src_l4() == port);
                }
                2 => assert!(ct.dump(now).len() <= 2 * FLOWS as usize),
                k => {
                    let p = if k & 1 == 0 {
                        udp(C, port, D, 53, 2)
                    } else {
                        udp(D, 53, C, port, 2)
                    };
                    let mut pkt = Packet::new(&p, family(&p), now);
                    ct.track(&mut pkt, Hook::PreRouting);
                    let c = pkt.conn().expect("UDP is always tracked");
                    let mine = c.tuple(pkt.direction().expect("with an entry"));
                    if mine.src_l4().min(mine.dst_l4()) != port.min(53)
                        || mine.src_l4().max(mine.dst_l4()) != port.max(53)
                    {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                    ct.confirm(&mut pkt, Hook::PostRouting);
                }
            }
        }
    });
    assert_eq!(wrong.into_inner(), 0);
    assert_eq!(ct.store().len(), 2 * ct.net().count());
    let now = clock.into_inner();
    assert!(ct.dump(now).len() <= FLOWS as usize);
    ct.gc_all(now + 1000 * S);
    assert_eq!((ct.net().count(), ct.store().len()), (0, 0));
}

fn the_limit_holds<St: Store>(ct: &Tracker<St>) {
    ct.set_sysctl("nf_conntrack_max", "100").expect("a knob");
    let accepted: usize = all(|t| {
        (1..=200u16)
            .filter(|n| {
                pass(
                    ct,
                    &tcp(
                        C,
                        *n,
                        D,
                        80 + t as u16,
                        &Tcp {
                            flags: "S",
                            win: 9,
                            ..Tcp::default()
                        },
                    ),
                    0,
                )
                .verdict
                    == Verdict::Accept
            })
            .count()
    })
    .into_iter()
    .sum();
    let evicted = ct.stats().early_drop as usize;
    assert!(
        ct.net().count() <= 100 + THREADS,
        "{} entries",
        ct.net().count()
    );
    assert_eq!(accepted, ct.net().count() + evicted);
}
