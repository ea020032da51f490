//! What must hold whatever the threads do: the invariants of a tracker that `threads` and `torture` leave out. (Those have: one live entry for each
//! tuple, links linked and unlinked once, no false negatives, the count, sets kept by resizes, events that begin and end once.)
//!
//! Nothing here depends on the schedule: what is awaited is brought about by whoever waits, or by threads that go on until it has happened.

use super::support::*;
use nulls_conntrack::status::{CONFIRMED, DYING};
use nulls_conntrack::tuple::{Tuple, ipproto};
use nulls_conntrack::{Hook, NullsStore, Packet, Store, Tracker, Verdict, Zone};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

with_each_store!(
    phases_end_in_order,
    what_expires_goes_though_nobody_looks,
    refreshing_never_shortens,
);

const THREADS: u16 = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

fn flow(port: u16) -> Tuple {
    Tuple::new(C, D, ipproto::UDP, port, 53).expect("one family")
}

/// Tracks and confirms; a packet that may go on belongs to an entry that was linked, and an entry that was linked stays one that was.
fn send<St: Store>(ct: &Tracker<St>, data: &[u8], now: Nanos) -> Verdict {
    let mut pkt = Packet::new(data, family(data), now);
    let verdict = ct.track(&mut pkt, Hook::PreRouting);
    assert_eq!(verdict, Verdict::Accept, "there is room");
    let verdict = ct.confirm(&mut pkt, Hook::PostRouting);
    if verdict == Verdict::Accept {
        let c = pkt.conn().expect("UDP always has one");
        assert!(c.is_confirmed(), "a packet went on with a private entry");
    }
    verdict
}

/// A storm of packets, deletions and look-ups, then quiet, over and over: in every quiet both links of each entry are there, and no others.
fn phases_end_in_order<St: Store>(ct: &Tracker<St>) {
    for phase in 0..30 {
        thread::scope(|s| {
            for t in 0..THREADS {
                s.spawn(move || storm(ct, phase * u64::from(THREADS) + u64::from(t)));
            }
        });
        check_quiet(ct);
    }
    assert!(ct.delete_if(0, |_| true) > 0, "something was there");
    assert_eq!((ct.net().count(), ct.store().len()), (0, 0));
}

fn storm<St: Store>(ct: &Tracker<St>, seed: u64) {
    const PORTS: u64 = 200;
    let mut r = Random(seed + 1);
    for _ in 0..400 {
        let port = 1 + r.below(PORTS) as u16;
        match r.below(8) {
            0 => {
                if let Some((e, _)) = ct.find(&flow(port), Zone::DEFAULT, 0) {
                    ct.delete(&e, 0);
                    assert!(e.is_confirmed() && e.has(DYING));
                }
            }
            1 => {
                // There has never been such a flow: the look-up ends, and finds none.
                let none = flow(port + 10_000);
                assert!(ct.find(&none, Zone::DEFAULT, 0).is_none());
            }
            2 => {
                // Not every store has buckets.
                let buckets = 512 * (1 + r.below(8));
                let _ = ct.set_sysctl("nf_conntrack_buckets", &buckets.to_string());
            }
            3 | 4 => {
                send(ct, &udp(C, port, D, 53, 0), 0);
            }
            _ => {
                send(ct, &udp(D, 53, C, port, 0), 0);
            }
        }
    }
}

/// With no packet on its way.
fn check_quiet<St: Store>(ct: &Tracker<St>) {
    let all = ct.dump(0);
    assert_eq!(all.len(), ct.net().count(), "entries that exist are linked");
    assert_eq!(
        ct.store().len(),
        2 * all.len(),
        "each by two links, and nothing else"
    );
    for snapshot in &all {
        let mut places = Vec::new();
        for (dir, tuple) in [Direction::Original, Direction::Reply]
            .iter()
            .zip(&snapshot.tuples)
        {
            let (e, found) = ct.find(tuple, Zone::DEFAULT, 0).expect("both are linked");
            assert_eq!((found, e.id()), (*dir, snapshot.id));
            assert_eq!(e.status() & (CONFIRMED | DYING), CONFIRMED);
            places.push(std::ptr::from_ref(&*e));
        }
        assert_eq!(places[0], places[1], "of one entry");
    }
}

/// Nobody looks anything up: the collector alone empties the table, in a bounded number of runs.
fn what_expires_goes_though_nobody_looks<St: Store>(ct: &Tracker<St>) {
    const FLOWS: u16 = 500;
    thread::scope(|s| {
        for t in 0..THREADS {
            s.spawn(move || {
                for port in 1..=FLOWS {
                    send(ct, &udp(C, port, D, 100 + t, 0), 0);
                }
            });
        }
    });
    assert_eq!(ct.net().count(), usize::from(FLOWS * THREADS));
    let mut now = 29 * S;
    assert_eq!(ct.gc_all(now), 0, "all have a second left");
    now += 2 * S;
    // Several may ask at once; one run happens at a time.
    for _ in 0..100_000 {
        let next = thread::scope(|s| {
            let other = s.spawn(|| ct.gc(now));
            let next = ct.gc(now).next_in;
            next.min(other.join().expect("no panic").next_in)
        });
        now += next;
        if ct.net().count() == 0 {
            break;
        }
    }
    assert_eq!((ct.net().count(), ct.store().len()), (0, 0));
}

/// All threads refresh the same entries at the same moment; a moment later no entry ends earlier than it would have.
fn refreshing_never_shortens<St: Store>(ct: &Tracker<St>) {
    const FLOWS: u16 = 20;
    let ends = |now: Nanos| -> Vec<u64> {
        (1..=FLOWS)
            .map(|port| {
                let (e, _) = ct.find(&flow(port), Zone::DEFAULT, now).expect("it stays");
                now / S + u64::from(e.secs_left(now))
            })
            .collect()
    };
    for port in 1..=FLOWS {
        send(ct, &udp(C, port, D, 53, 0), 0);
    }
    let mut before = ends(0);
    for second in 1..20u64 {
        let now = second * S;
        thread::scope(|s| {
            for t in 0..THREADS {
                s.spawn(move || {
                    for port in 1..=FLOWS {
                        // Some are answered, some are not.
                        if port % 2 == 0 && t % 2 == 0 {
                            send(ct, &udp(D, 53, C, port, 0), now);
                        } else {
                            send(ct, &udp(C, port, D, 53, 0), now);
                        }
                    }
                });
            }
        });
        let after = ends(now);
        for (a, b) in before.iter().zip(&after) {
            assert!(a <= b, "{before:?} then {after:?}");
        }
        before = after;
    }
    assert!(
        before[1] >= 19 + 119,
        "answered flows live longer: {before:?}"
    );
    assert!(before[0] <= 19 + 30);
}

/// Memory is used again and again while readers hold references: what they hold is what they asked for, and stays so.
#[test]
fn what_is_held_stays_what_it_was() {
    const ROOM: usize = 64;
    const REUSED: usize = 40 * ROOM;
    const HITS: usize = 20_000;
    let ct: Nulls = Tracker::new(NullsStore::new(ROOM as u32, 16).expect("memory"), config());
    send(&ct, &udp(C, 1, D, 53, 0), 0);
    let (done, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|s| {
        for t in 0..2u64 {
            let (ct, done, made) = (&ct, &done, &made);
            s.spawn(move || {
                let mut r = Random(t + 1);
                while !done.load(Ordering::Relaxed) {
                    let port = 2 + r.below(30) as u16;
                    let mut pkt_data = udp(C, port, D, 53, 0);
                    if r.below(2) == 0 {
                        pkt_data = udp(D, 53, C, port, 0);
                    }
                    // There may be no room while readers hold much.
                    if pass(ct, &pkt_data, 0).verdict == Verdict::Accept {
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                    let other = flow(2 + r.below(30) as u16);
                    if let Some((e, _)) = ct.find(&other, Zone::DEFAULT, 0) {
                        ct.delete(&e, 0);
                    }
                }
            });
        }
        let readers: Vec<_> = (0..2u64)
            .map(|t| {
                let (ct, made) = (&ct, &made);
                s.spawn(move || {
                    let mut r = Random(t + 77);
                    let mut hits = 0;
                    // One flow stays, so that there is always something to be found.
                    while hits < HITS || made.load(Ordering::Relaxed) < REUSED {
                        let there = flow(1 + r.below(8) as u16);
                        let back = there.invert().expect("UDP inverts");
                        let asked = if r.below(2) == 0 { there } else { back };
                        let Some((e, dir)) = ct.find(&asked, Zone::DEFAULT, 0) else {
                            continue;
                        };
                        hits += 1;
                        let (id, both) = (e.id(), [dir, dir.other()].map(|d| e.tuple(d)));
                        assert_eq!(both[0], asked, "not what was asked for");
                        assert_eq!(Some(both[1]), asked.invert());
                        if hits % 64 == 0 {
                            thread::yield_now();
                        }
                        // Whoever deletes it meanwhile, its memory waits.
                        assert!(e.is_confirmed());
                        assert_eq!([dir, dir.other()].map(|d| e.tuple(d)), both);
                        assert_eq!(e.id(), id);
                    }
                })
            })
            .collect();
        let results: Vec<_> = readers
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::Relaxed);
        for r in results {
            r.expect("no panic");
        }
    });
    assert!(ct.find(&flow(1), Zone::DEFAULT, 0).is_some(), "it stayed");
    ct.delete_if(0, |_| true);
    assert_eq!((ct.net().count(), ct.store().len()), (0, 0));
}
