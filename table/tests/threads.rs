//! Threads that come and go, and threads that use the map while they are being torn down.

mod support;

use nulls::{HashMap, rcu};
use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::thread;
use support::in_time;

/// The number of reader records is the process's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// 100,000 threads, eight at a time: their reader records are used again.
#[test]
fn a_hundred_thousand_threads() {
    let _one = ONE.lock();
    const GROUPS: u64 = 12_500;
    let map: HashMap<u64, u64> = HashMap::new();
    for group in 0..GROUPS {
        thread::scope(|s| {
            let threads = [0, 1, 2, 3, 4, 5, 6, 7].map(|t| {
                let map = &map;
                s.spawn(move || {
                    let k = (group * 8 + t) % 1000;
                    let pinned = map.pin();
                    pinned.insert(k, group);
                    assert!(pinned.get(&k).is_some_and(|v| *v <= group));
                    pinned.remove(&((k + 500) % 1000));
                })
            });
            // Joining waits until a thread's locals are destroyed, too; the end of a scope does not.
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }
    assert_eq!(map.pin().iter().count(), map.len());
    // Eight at once; the rest are other tests'.
    assert!(rcu::readers() <= 40, "{} records", rcu::readers());
    assert!(
        rcu::oldest_reader().is_none(),
        "nobody reads any more: {:?}",
        rcu::oldest_reader()
    );
    while !map.maintain().unwrap() {
        thread::yield_now();
    }
    assert_eq!(map.garbage(), 0);
}

static LATE: Mutex<Option<&'static HashMap<u64, String>>> = Mutex::new(None);
static LATE_RUNS: AtomicUsize = AtomicUsize::new(0);

/// Uses the map when its thread-local is destroyed.
struct Late(u64);

impl Drop for Late {
    fn drop(&mut self) {
        let map = LATE.lock().unwrap().expect("set by the test");
        let pinned = map.pin();
        let key = self.0;
        pinned.insert(key, key.to_string());
        // Nested, and more than once.
        let inner = map.pin();
        assert_eq!(
            inner.get(&key).map(String::as_str),
            Some(key.to_string().as_str())
        );
        drop(pinned);
        assert_eq!(
            inner.update(&key, |v| format!("{v}!")),
            Some(&format!("{key}!"))
        );
        drop(inner);
        map.pin().remove(&(key ^ 1));
        let _ = rcu::thread_index();
        let _ = rcu::OwnedGuard::new();
        assert!(!rcu::is_pinned());
        LATE_RUNS.fetch_add(1, Relaxed);
    }
}

/// Before, after and without the thread's first use of a map: destructors of thread-locals run in an order that depends on it.
#[test]
fn the_map_in_destructors_of_thread_locals() {
    let _one = ONE.lock();
    thread_local! {
        static A: RefCell<Option<Late>> = const { RefCell::new(None) };
        static B: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    let map: &'static HashMap<u64, String> = Box::leak(Box::new(HashMap::new()));
    *LATE.lock().unwrap() = Some(map);
    let before = rcu::readers();
    const ROUNDS: u64 = 500;
    in_time("late pins", || {
        for round in 0..ROUNDS {
            thread::scope(|s| {
                let threads = [0, 1, 2, 3].map(|order| {
                    s.spawn(move || {
                        let key = (round * 4 + order) * 4;
                        if order != 1 && order != 3 {
                            map.pin().insert(key + 3, "early".into());
                        }
                        A.set(Some(Late(key)));
                        if order == 1 {
                            map.pin().insert(key + 3, "between".into());
                        }
                        B.set(Some(Late(key + 2)));
                    })
                });
                threads.into_iter().for_each(|t| t.join().unwrap());
            });
        }
    });
    assert_eq!(LATE_RUNS.load(Relaxed), 2 * 4 * ROUNDS as usize);
    let pinned = map.pin();
    for i in 0..4 * ROUNDS {
        for key in [i * 4, i * 4 + 2] {
            assert_eq!(pinned.get(&key), Some(&format!("{key}!")));
        }
    }
    drop(pinned);
    assert!(
        rcu::readers() <= before + 16,
        "{} records, {before} before",
        rcu::readers()
    );
    assert!(rcu::oldest_reader().is_none(), "{:?}", rcu::oldest_reader());
}

/// A view kept in a thread-local goes with the thread, and what it protected is free then.
#[test]
fn a_guard_in_a_thread_local() {
    let _one = ONE.lock();
    static MAP: std::sync::LazyLock<HashMap<u64, u64>> = std::sync::LazyLock::new(HashMap::new);
    thread_local! {
        static KEPT: RefCell<Option<nulls::HashMapRef<'static, u64, u64>>> = const { RefCell::new(None) };
        static FIRST: RefCell<Option<rcu::Guard>> = const { RefCell::new(None) };
    }
    for order in 0..2 {
        thread::spawn(move || {
            if order == 0 {
                FIRST.set(Some(rcu::pin()));
            }
            KEPT.set(Some(MAP.pin()));
            if order == 1 {
                FIRST.set(Some(rcu::pin()));
            }
            MAP.pin().insert(1, 1);
            MAP.pin().insert(1, 2);
            MAP.maintain().unwrap();
            assert!(MAP.garbage() >= 1);
        })
        .join()
        .unwrap();
        while !MAP.maintain().unwrap() {
            thread::yield_now();
        }
        assert_eq!(MAP.garbage(), 0);
        assert!(rcu::oldest_reader().is_none());
    }
}

/// A map that is a thread's own is dropped with it, garbage and all.
#[test]
fn a_map_in_a_thread_local() {
    let _one = ONE.lock();
    let ledger = support::Ledger::new();
    thread_local!(static OWN: RefCell<Option<HashMap<u64, support::Token>>> = const { RefCell::new(None) });
    for round in 0..200 {
        let ledger = ledger.clone();
        thread::spawn(move || {
            let map = HashMap::new();
            if round % 2 == 0 {
                OWN.set(Some(map));
                OWN.with_borrow(|map| {
                    (0..100).for_each(|i| {
                        _ = map.as_ref().unwrap().pin().insert(i % 30, ledger.token())
                    })
                });
            } else {
                (0..100).for_each(|i| _ = map.pin().insert(i % 30, ledger.token()));
                OWN.set(Some(map));
            }
        })
        .join()
        .unwrap();
    }
    assert_eq!(ledger.made(), 20_000);
    ledger.assert_all_dropped_once();
}
