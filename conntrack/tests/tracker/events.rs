//! Events: one for each packet that changed something, one beginning and one end for each connection.

use super::support::*;
use nulls_conntrack::events::{Event, ExpectEvent, Kind, Listener, mask};
use nulls_conntrack::expect::{Expectation, Policy};
use nulls_conntrack::{Conn, Hook, NullsStore, Packet, Tracker};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Default)]
struct Log {
    told: Mutex<Vec<(u32, u16)>>,
    expected: Mutex<Vec<(Kind, u16)>>,
    deaf: AtomicBool,
}

impl Log {
    fn take(&self) -> Vec<u32> {
        self.told.lock().drain(..).map(|t| t.0).collect()
    }
}

impl Listener<u32> for Log {
    fn connection(&self, e: &Event<'_, u32>) -> bool {
        if self.deaf.load(Ordering::Relaxed) {
            return false;
        }
        let port = e.conn.tuple(Direction::Original).src_l4();
        self.told.lock().push((e.mask, port));
        true
    }

    fn expectation(&self, e: &ExpectEvent) {
        self.expected.lock().push((e.kind, e.expected.what.dport));
    }
}

fn heard() -> (Nulls, Arc<Log>) {
    let (ct, log) = (nulls(), Arc::new(Log::default()));
    ct.set_listener(Some(log.clone()));
    (ct, log)
}

fn seg(flags: &str, seq: u32, ack: u32) -> Tcp<'_> {
    Tcp {
        flags,
        seq,
        ack,
        win: 1000,
        ..Tcp::default()
    }
}

#[test]
fn a_packet_makes_one_event_of_all_it_did() {
    let (ct, log) = heard();
    pass(&ct, &tcp(C, 1, D, 2, &seg("S", 0, 0)), 0);
    assert_eq!(log.take(), [mask::NEW | mask::PROTOINFO]);
    pass(&ct, &tcp(D, 2, C, 1, &seg("SA", 100, 1)), 0);
    assert_eq!(log.take(), [mask::PROTOINFO | mask::REPLY]);
    pass(&ct, &tcp(C, 1, D, 2, &seg("A", 1, 101)), 0);
    assert_eq!(log.take(), [mask::PROTOINFO | mask::ASSURED]);
    pass(&ct, &tcp(C, 1, D, 2, &seg("A", 1, 101)), 0);
    assert_eq!(log.take(), [0; 0]);

    // What a rule changes is told when the packet leaves.
    let data = tcp(C, 1, D, 2, &seg("FA", 1, 101));
    let mut pkt = Packet::new(&data, family(&data), 0);
    ct.track(&mut pkt, Hook::PreRouting);
    let conn = pkt.conn().expect("an entry");
    conn.set_mark(7);
    conn.set_labels([1, 0, 0, 0], [1, 0, 0, 0]);
    assert_eq!(log.take(), [0; 0]);
    ct.confirm(&mut pkt, Hook::PostRouting);
    assert_eq!(log.take(), [mask::PROTOINFO | mask::MARK | mask::LABEL]);
    // The same again is no change.
    pkt.conn().expect("an entry").set_mark(7);
    ct.confirm(&mut pkt, Hook::PostRouting);
    assert_eq!(log.take(), [0; 0]);

    ct.report_change(pkt.conn().expect("an entry"), 0);
    assert_eq!(log.take(), [mask::CHANGED]);
    ct.delete_if(0, |_| true);
    assert_eq!(log.take(), [mask::DESTROY]);
    ct.report_change(pkt.conn().expect("an entry"), 0);
    assert_eq!(log.take(), [0; 0], "nothing after the end");
}

#[test]
fn only_connections_that_began_while_somebody_listened_have_events() {
    let (ct, log) = (nulls(), Arc::new(Log::default()));
    pass(&ct, &udp(C, 1, D, 2, 0), 0);
    ct.set_listener(Some(log.clone()));
    pass(&ct, &udp(D, 2, C, 1, 0), 0);
    pass(&ct, &udp(C, 2, D, 2, 0), 0);
    ct.set_sysctl("nf_conntrack_events", "0").expect("a knob");
    pass(&ct, &udp(C, 3, D, 2, 0), 0);
    ct.set_listener(None);
    ct.set_sysctl("nf_conntrack_events", "1").expect("a knob");
    pass(&ct, &udp(C, 4, D, 2, 0), 0);
    ct.set_listener(Some(log.clone()));
    ct.delete_if(0, |_| true);
    let mut told = log.told.lock().clone();
    told.sort_by_key(|t| (t.1, t.0));
    let (new, gone) = (mask::NEW, mask::DESTROY);
    assert_eq!(told, [(new, 2), (gone, 2), (gone, 4)]);
}

#[test]
fn a_packet_that_does_not_leave_tells_nothing() {
    let (ct, log) = heard();
    let data = udp(C, 1, D, 2, 0);
    let mut pkt = Packet::new(&data, family(&data), 0);
    ct.track(&mut pkt, Hook::PreRouting);
    drop(pkt);
    assert_eq!(log.take(), [0; 0]);
}

#[test]
fn what_could_not_be_told_is_told_with_the_next() {
    let (ct, log) = heard();
    log.deaf.store(true, Ordering::Relaxed);
    pass(&ct, &udp(C, 1, D, 2, 0), 0);
    log.deaf.store(false, Ordering::Relaxed);
    pass(&ct, &udp(C, 1, D, 2, 0), 0);
    assert_eq!(log.take(), [0; 0], "nothing new, nothing told");
    pass(&ct, &udp(D, 2, C, 1, 0), 0);
    assert_eq!(log.take(), [mask::NEW | mask::REPLY]);
    log.deaf.store(true, Ordering::Relaxed);
    pass(&ct, &udp(C, 2, D, 2, 0), 0);
    log.deaf.store(false, Ordering::Relaxed);
    ct.delete_if(0, |c| c.tuple(Direction::Original).src_l4() == 2);
    assert_eq!(log.take(), [mask::NEW, mask::DESTROY]);
}

#[test]
fn expectations_are_told_when_made_replaced_used_and_given_up() {
    let (ct, log) = heard();
    pass(&ct, &udp(C, 1, D, 2, 0), 0);
    let expect = |dport, now| {
        let what = Expectation::new(Some(D), C, 17, dport);
        let policy = Policy {
            class: 0,
            max: 2,
            timeout: 10,
        };
        ct.for_each(now, |c: &_| {
            let c: &Conn<u32> = c;
            if c.tuple(Direction::Original).src_l4() == 1 {
                ct.expect(c, what, policy, now).expect("room");
            }
        });
    };
    for dport in [10, 11, 11, 12] {
        expect(dport, 0);
    }
    pass(&ct, &udp(D, 9, C, 12, 0), S);
    assert_eq!(log.take(), [mask::NEW, mask::RELATED]);
    assert_eq!(ct.expectations(11 * S), []);
    use Kind::{Destroy, New};
    let told = std::mem::take(&mut *log.expected.lock());
    assert_eq!(
        told,
        [
            (New, 10),
            (New, 11),
            (Destroy, 11),
            (New, 11),
            (Destroy, 10),
            (New, 12),
            (Destroy, 12),
            (Destroy, 11),
        ]
    );
    assert_eq!((ct.stats().expect_create, ct.stats().expect_delete), (4, 4));
    // They go with their master.
    expect(13, 11 * S);
    ct.delete_if(11 * S, |_| true);
    assert_eq!(*log.expected.lock(), [(New, 13), (Destroy, 13)]);
}

/// Threads that make and delete the same few connections: for each, beginnings and ends alternate.
#[test]
fn every_connection_begins_once_and_ends_once() {
    #[derive(Default)]
    struct Order {
        live: Mutex<HashMap<usize, bool>>,
        begun: AtomicUsize,
        wrong: AtomicUsize,
    }
    impl Listener<u32> for Order {
        fn connection(&self, e: &Event<'_, u32>) -> bool {
            // A port's connections follow each other in the table, but the end of one may be told after the next has begun: tell them
            // apart by where they are.
            let place = std::ptr::from_ref(e.conn) as usize;
            let mut live = self.live.lock();
            let alive = live.entry(place).or_default();
            let wanted = match e.kind() {
                Kind::New => {
                    self.begun.fetch_add(1, Ordering::Relaxed);
                    !std::mem::replace(alive, true)
                }
                Kind::Update => *alive,
                Kind::Destroy => std::mem::replace(alive, false),
            };
            if !wanted {
                self.wrong.fetch_add(1, Ordering::Relaxed);
            }
            true
        }
    }
    let ct = Tracker::new(NullsStore::<u32>::new(100, 64).expect("memory"), config());
    let order = Arc::new(Order::default());
    ct.set_listener(Some(order.clone()));
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for n in 0..3000u16 {
                    let port = n % 5;
                    pass(&ct, &udp(C, port, D, 2, 0), 0);
                    pass(&ct, &udp(D, 2, C, port, 0), 0);
                    if n % 3 == 0 {
                        ct.delete_if(0, |c| c.tuple(Direction::Original).src_l4() == port);
                    }
                }
            });
        }
    });
    ct.delete_if(0, |_| true);
    assert_eq!(order.wrong.load(Ordering::Relaxed), 0);
    assert!(order.begun.load(Ordering::Relaxed) > 100);
    assert!(order.live.lock().values().all(|alive| !alive));
}
