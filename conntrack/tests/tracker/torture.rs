//! The kernel's own stress tests told again: many threads with one tuple, and resizes under everything else. What must hold all the time:
//! one live entry for each tuple, links and entries in step, events that begin and end once, and dumps and look-ups that miss nothing that stays.

use super::support::*;
use nulls_conntrack::event_queue::Body;
use nulls_conntrack::events::Kind;
use nulls_conntrack::hooks::{Layout, Pipeline};
use nulls_conntrack::nat::{Manip, Nat, Question, Range};
use nulls_conntrack::status::NAT_CLASH;
use nulls_conntrack::tuple::{Tuple, ipproto};
use nulls_conntrack::{EventQueue, Family, NullsStore, Packet, Store as _, Verdict, Zone};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

/// A pseudo-random sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// 128 threads send the same datagram at once through a router that translates to one of three ports: each gets through, whoever answers
/// finds the way back, and there is one entry that look-ups in the original direction find.
#[test]
fn one_hundred_and_twenty_eight_threads_and_one_tuple() {
    const THREADS: usize = 128;
    let ct = nulls();
    let turn = AtomicUsize::new(0);
    let turn: &'static AtomicUsize = Box::leak(Box::new(turn));
    let mut pipeline = Pipeline::<NullsStore<u32>>::new(Layout::Linux618);
    let rules = Nat::new(move |q: &Question| {
        (q.manip == Manip::Dst).then(|| {
            let port = 5000 + (turn.fetch_add(1, Ordering::Relaxed) % 3) as u16;
            Range {
                ports: Some((port, port)),
                ..Range::default()
            }
        })
    });
    rules.register(&mut pipeline, Family::Ipv4);
    let barrier = Barrier::new(THREADS);
    let mut resolved = 0;
    for round in 1..=8u16 {
        let data = udp(C, round, D, 53, 2);
        let passed: usize = thread::scope(|s| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    s.spawn(|| {
                        let mut pkt = Packet::new(&data, Family::Ipv4, S);
                        barrier.wait();
                        usize::from(pipeline.forward(&ct, &mut pkt) == Verdict::Accept)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().expect("no panic"))
                .sum()
        });
        assert_eq!(passed, THREADS, "no packet is lost");
        let tuple = Tuple::new(C, D, ipproto::UDP, round, 53).expect("one family");
        let (winner, dir) = ct.find(&tuple, Zone::DEFAULT, S).expect("it is there");
        assert_eq!((dir, winner.has(NAT_CLASH)), (Direction::Original, false));
        drop(winner);
        // What remains are the winner and at most one entry for each other translation, all different.
        let mut replies = HashSet::new();
        for port in 5000..5003 {
            let back = Tuple::new(D, C, ipproto::UDP, port, round).expect("one family");
            if let Some((e, dir)) = ct.find(&back, Zone::DEFAULT, S) {
                assert_eq!(dir, Direction::Reply);
                assert!(replies.insert(e.tuple(Direction::Reply)));
            }
        }
        assert!((1..=3).contains(&replies.len()));
        assert_eq!(
            ct.store().len(),
            replies.len() + 1,
            "the losers' original links are nowhere"
        );
        assert_eq!(ct.net().count(), replies.len(), "the others are gone");
        resolved = ct.stats().clash_resolve;
        ct.delete_if(S, |_| true);
        assert_eq!((ct.net().count(), ct.store().len()), (0, 0));
    }
    let s = ct.stats();
    assert_eq!((s.drop, s.insert_failed), (0, 0));
    eprintln!("{resolved} clashes resolved");
}

/// Entries that stay are in every dump exactly once, and found by every look-up, while others come and go and the table grows and shrinks.
#[test]
fn nothing_that_stays_is_missed_while_the_table_is_resized() {
    const STAY: u16 = 400;
    let ct = nulls();
    let (queue, mut events) = EventQueue::new(1 << 18);
    ct.set_listener(Some(Arc::new(queue)));
    for port in 1..=STAY {
        pass(&ct, &udp(C, port, D, 53, 0), 0);
    }
    let staying: HashMap<Tuple, u32> = ct.dump(0).iter().map(|s| (s.tuples[0], s.id)).collect();
    assert_eq!(staying.len(), usize::from(STAY));
    let stop = AtomicBool::new(false);
    let (dumps, resizes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let churn = |seed: u64| {
        let mut r = Random(seed);
        for _ in 0..15_000 {
            let port = 1000 + (r.next() % 500) as u16;
            match r.next() % 16 {
                0 => {
                    ct.delete_if(0, |c| c.tuple(Direction::Original).src_l4() == port);
                }
                1 => {
                    pass(&ct, &udp(D, 53, E, port, 0), 0);
                }
                _ => {
                    pass(&ct, &udp(E, port, D, 53, 0), 0);
                }
            }
        }
    };
    thread::scope(|s| {
        let churners: Vec<_> = [1, 2].map(|n| s.spawn(move || churn(n))).into();
        // One dumps, slice by slice, one looks up, one resizes.
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut seen = HashMap::<Tuple, u32>::new();
                let mut cursor = Some(0);
                while let Some(c) = cursor {
                    cursor = ct.for_each_slice(0, c, |e| {
                        let t = e.tuple(Direction::Original);
                        if staying.contains_key(&t) {
                            *seen.entry(t).or_default() += 1;
                        }
                    });
                    thread::yield_now();
                }
                assert_eq!(seen.len(), staying.len(), "one is missing");
                assert!(seen.values().all(|n| *n == 1), "one came twice");
                dumps.fetch_add(1, Ordering::Relaxed);
            }
        });
        s.spawn(|| {
            let mut r = Random(77);
            while !stop.load(Ordering::Relaxed) {
                let port = 1 + (r.next() % u64::from(STAY)) as u16;
                let there = Tuple::new(C, D, ipproto::UDP, port, 53).expect("one family");
                let (e, dir) = ct.find(&there, Zone::DEFAULT, 0).expect("it stays");
                assert_eq!((e.id(), dir), (staying[&there], Direction::Original));
                let back = there.invert().expect("UDP inverts");
                let (e, dir) = ct.find(&back, Zone::DEFAULT, 0).expect("it stays");
                assert_eq!((e.id(), dir), (staying[&there], Direction::Reply));
            }
        });
        s.spawn(|| {
            let mut r = Random(99);
            while !stop.load(Ordering::Relaxed) {
                let buckets = 512 * (1 + r.next() % 40);
                ct.set_sysctl("nf_conntrack_buckets", &buckets.to_string())
                    .expect("it can be resized");
                resizes.fetch_add(1, Ordering::Relaxed);
            }
        });
        for c in churners {
            c.join().expect("no panic");
        }
        // On a busy machine the others may not have had their turn yet.
        while dumps.load(Ordering::Relaxed) < 3 || resizes.load(Ordering::Relaxed) < 3 {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(ct.store().len(), 2 * ct.net().count());
    let mut live = HashSet::new();
    for s in ct.dump(0) {
        assert!(live.insert(s.tuples[0]), "one live entry for each tuple");
    }
    ct.delete_if(0, |_| true);
    assert_eq!((ct.net().count(), ct.store().len()), (0, 0));
    check_events(&mut events);
}

/// Each number begins once and ends once, in this order, and nothing comes after the end. (A number may come back when all before it has ended.)
fn check_events(events: &mut nulls_conntrack::EventReader) {
    let mut alive = HashSet::new();
    let (mut begun, mut ended) = (0, 0);
    for (expect, e) in events.by_ref().enumerate() {
        assert_eq!(e.seq, expect as u64, "nothing was lost");
        let Body::Connection { snapshot, .. } = &e.body else {
            continue;
        };
        let key = (snapshot.id, snapshot.tuples[0]);
        match e.kind() {
            Kind::New => {
                begun += 1;
                assert!(alive.insert(key), "{key:?} began twice");
            }
            Kind::Update => assert!(alive.contains(&key), "{key:?} changes without being"),
            Kind::Destroy => {
                ended += 1;
                assert!(alive.remove(&key), "{key:?} ends without having begun");
            }
        }
    }
    assert_eq!(events.lost(), 0);
    assert!(alive.is_empty(), "{} never ended", alive.len());
    assert!(begun == ended && begun >= 400);
}

/// With a queue that is too small: what was lost is counted, the packets do not wait, and nothing ends that a reader did not see begin, gaps apart.
#[test]
fn a_full_queue_loses_events_and_says_so() {
    let ct = nulls();
    let (queue, mut events) = EventQueue::new(8);
    ct.set_listener(Some(Arc::new(queue)));
    for port in 1..=100u16 {
        pass(&ct, &udp(C, port, D, 53, 0), 0);
    }
    assert_eq!(events.lost(), 92);
    assert_eq!(events.by_ref().count(), 8);
    // The ninth is told with its next event: the beginning was kept.
    pass(&ct, &udp(D, 53, C, 9, 0), 0);
    let late = events.try_next().expect("an event");
    assert_eq!((late.kind(), late.seq), (Kind::New, 100));
    let before = events.lost();
    ct.delete_if(0, |_| true);
    let told = events.by_ref().count() as u64;
    // 100 ends; 91 beginnings that were never told are tried once more.
    assert_eq!(told, 8);
    assert_eq!(events.lost() - before, 100 + 91 - told);
}

/// Bursts and single packets end in the same table.
#[test]
fn batches_do_what_single_packets_do() {
    let (one, many) = (nulls(), nulls());
    let mut r = Random(5);
    for round in 0..200u64 {
        let now = round * S / 4;
        let burst: Vec<Vec<u8>> = (0..r.next() % 70)
            .map(|_| {
                let n = r.next();
                let (port, back) = (1 + (n % 40) as u16, n >> 8 & 1 == 1);
                match n >> 16 & 7 {
                    0 => icmp(C, D, 8, 0, port, b"x"),
                    1 => icmp(D, C, 3, 1, 0, &udp(C, port, D, 53, 0)),
                    2 | 3 => {
                        let flags = ["S", "A", "FA", "R"][(n >> 20 & 3) as usize];
                        let t = Tcp {
                            flags,
                            win: 100,
                            ..Tcp::default()
                        };
                        if back {
                            tcp(D, 80, C, port, &t)
                        } else {
                            tcp(C, port, D, 80, &t)
                        }
                    }
                    4 => udp(C6, port, D6, 53, 1),
                    5 => vec![0x45; (n >> 24 & 31) as usize + 1],
                    _ if back => udp(D, 53, C, port, 1),
                    _ => udp(C, port, D, 53, 1),
                }
            })
            .collect();
        let singles: Vec<_> = burst
            .iter()
            .map(|p| {
                let s = pass(&one, p, now);
                (s.state, s.dir, s.verdict, s.reason)
            })
            .collect();
        let mut packets: Vec<_> = burst
            .iter()
            .map(|p| Packet::new(p, family(p), now))
            .collect();
        let mut bursts = Vec::new();
        many.track_batch(
            &mut packets,
            nulls_conntrack::Hook::PreRouting,
            |ct, pkt, v| {
                let (state, dir) = (pkt.state(), pkt.direction());
                let reason = pkt.reason().map(ToString::to_string);
                let v = if v == Verdict::Accept {
                    ct.confirm(pkt, nulls_conntrack::Hook::PostRouting)
                } else {
                    v
                };
                bursts.push((state, dir, v, reason));
            },
        );
        drop(packets);
        assert_eq!(singles, bursts, "round {round}");
        let table = |ct: &Nulls| {
            let mut all: Vec<_> = ct
                .dump(now)
                .into_iter()
                .map(|s| nulls_conntrack::Snapshot { id: 0, ..s })
                .collect();
            all.sort_by_key(|s| s.tuples);
            all
        };
        assert_eq!(table(&one), table(&many), "round {round}");
        if round % 16 == 15 {
            for ct in [&one, &many] {
                ct.delete_if(now, |c| c.tuple(Direction::Original).src_l4() % 3 == 0);
                ct.gc_all(now);
            }
        }
    }
    assert_eq!(one.stats(), many.stats());
}
