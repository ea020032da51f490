//! Extension slots: typed values of the application, with hooks for their beginning and end.

use super::support::*;
use nulls_conntrack::ext::{Extensions, Registry};
use nulls_conntrack::{Hook, NullsStore, Packet, Tracker};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

type Ct = Tracker<NullsStore<Extensions>>;

fn tracker() -> Ct {
    Tracker::new(NullsStore::new(1000, 16).expect("memory"), config())
}

#[test]
fn slots_have_types_hooks_and_a_text_in_dumps() {
    let mut r = Registry::new();
    let gone = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&gone);
    let bytes = r
        .add::<AtomicU64>("bytes")
        .made_at_birth_by(|_| AtomicU64::new(0))
        .dropped_by(move |n| log.lock().push(n.into_inner()))
        .shown_by(|n| n.load(Ordering::Relaxed).to_string())
        .done();
    let name = r
        .add::<String>("name")
        .shown_by(|s| format!("{s:?}"))
        .done();
    let hidden = r.add::<Vec<u8>>("hidden").done();
    let lazy = r
        .add::<u16>("port")
        .made_by(|c| c.tuple(Direction::Original).dst_l4())
        .done();
    let r = r.finish();
    let ct = tracker();
    r.attach(&ct);
    let data = udp(C, 1, D, 53, 4);
    let mut pkt = Packet::new(&data, family(&data), 0);
    ct.track(&mut pkt, Hook::PreRouting);
    let c = pkt.conn().expect("an entry");
    assert_eq!(
        r.get(c, bytes).map(|n| n.load(Ordering::Relaxed)),
        Some(0),
        "made at birth"
    );
    r.get(c, bytes)
        .expect("there")
        .fetch_add(32, Ordering::Relaxed);
    assert_eq!(r.get(c, lazy), None);
    assert_eq!(r.get_or_make(c, lazy), Some(&53));
    assert_eq!(r.get_or_make(c, name), None, "nothing makes it");
    assert_eq!(r.set(c, name, "dns".to_owned()), Ok(&"dns".to_owned()));
    assert_eq!(r.set(c, name, "late".to_owned()), Err("late".to_owned()));
    r.set(c, hidden, vec![1]).expect("free");
    ct.confirm(&mut pkt, Hook::PostRouting);
    drop(pkt);
    let line = ct.proc_net_nf_conntrack(0);
    assert!(
        line.ends_with("mark=0 zone=0 bytes=32 name=\"dns\" use=2\n"),
        "{line}"
    );
    assert!(gone.lock().is_empty());
    ct.delete_if(0, |_| true);
    assert_eq!(*gone.lock(), [32], "once, when the last reference went");
}

#[test]
#[should_panic(expected = "another registry")]
fn a_slot_of_another_registry_is_refused() {
    let mut a = Registry::new();
    let _mine = a.add::<u8>("x").done();
    let mut b = Registry::new();
    let theirs = b.add::<u8>("x").done();
    let a = a.finish();
    let ct = tracker();
    let data = udp(C, 1, D, 53, 4);
    let mut pkt = Packet::new(&data, family(&data), 0);
    ct.track(&mut pkt, Hook::PreRouting);
    let _ = a.get(pkt.conn().expect("an entry"), theirs);
}

#[test]
fn every_value_that_was_made_is_dropped_once_under_threads() {
    let (made, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut r = Registry::new();
    let (m, d) = (Arc::clone(&made), Arc::clone(&dropped));
    let slot = r
        .add::<Box<u32>>("x")
        .made_by(move |_| {
            m.fetch_add(1, Ordering::Relaxed);
            Box::new(7)
        })
        .dropped_by(move |v| {
            assert_eq!(*v, 7);
            d.fetch_add(1, Ordering::Relaxed);
        })
        .done();
    let r = r.finish();
    let ct = tracker();
    std::thread::scope(|s| {
        for _ in 0..4 {
            let (ct, r) = (&ct, &r);
            s.spawn(move || {
                for n in 0..2000u16 {
                    let data = udp(C, n % 50 + 1, D, 53, 0);
                    let mut pkt = Packet::new(&data, family(&data), 0);
                    ct.track(&mut pkt, Hook::PreRouting);
                    let c = pkt.conn().expect("an entry");
                    assert_eq!(r.get_or_make(c, slot).map(|v| **v), Some(7));
                    ct.confirm(&mut pkt, Hook::PostRouting);
                    drop(pkt);
                    if n % 10 == 0 {
                        ct.delete_if(0, |c| c.tuple(Direction::Original).src_l4() == n % 50 + 1);
                    }
                }
            });
        }
    });
    ct.delete_if(0, |_| true);
    assert_eq!(ct.net().count(), 0);
    assert_eq!(
        made.load(Ordering::Relaxed),
        dropped.load(Ordering::Relaxed)
    );
}
