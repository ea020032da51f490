//! Keys and values that are not `'static`: a map's drop leaves nothing behind, so they may borrow from what dies after it.

use nulls::{HashMap, rcu};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// A value that writes into what it borrows from when it is dropped.
struct Witness<'a> {
    name: u32,
    log: &'a RefCell<Vec<u32>>,
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.log.borrow_mut().push(self.name);
    }
}

/// The log dies right after the map, so retired values must have been dropped by then, and write to it while it lives.
#[test]
fn retired_values_go_with_the_map() {
    // Neither a guard nor an owned guard elsewhere delays that.
    let _guard = rcu::pin();
    let _owned = rcu::OwnedGuard::new();
    let log = RefCell::new(Vec::new());
    {
        let map = HashMap::new();
        let pinned = map.pin();
        for i in 0..300u32 {
            pinned.insert(i % 100, Witness { name: i, log: &log });
        }
        for i in 0..50u32 {
            assert_eq!(pinned.remove(&i).map(|w| w.name), Some(200 + i));
        }
        assert!(log.borrow().is_empty(), "the guard protects them");
    }
    let mut log = log.into_inner();
    log.sort_unstable();
    assert!(log.into_iter().eq(0..300));
}

/// Keys that borrow, looked up by something shorter-lived.
#[test]
fn borrowed_keys() {
    let text = String::from("the quick brown fox jumps over the lazy dog and the quick cat");
    let map: HashMap<&str, Vec<&str>> = HashMap::new();
    {
        let pinned = map.pin();
        for word in text.split(' ') {
            pinned.get_or_insert_with(word, Vec::new);
            pinned.update(word, |all| all.iter().copied().chain([word]).collect());
        }
        let asked = String::from("the");
        assert_eq!(pinned.get(asked.as_str()).map(Vec::len), Some(3));
    }
    let keys: Vec<&str> = {
        let pinned = map.pin();
        pinned.iter().map(|(k, _)| *k).collect()
    };
    drop(map);
    // They borrow from the text, not from the map.
    assert_eq!(keys.len(), 10);
    assert!(keys.iter().all(|k| text.contains(*k)));
}

/// Threads of a scope share a map of borrowed counters.
#[test]
fn scoped_threads_share_borrowed_values() {
    let counters: Vec<AtomicUsize> = (0..10).map(|_| AtomicUsize::new(0)).collect();
    {
        let map: HashMap<usize, &AtomicUsize> = HashMap::new();
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for i in 0..1000 {
                        map.pin()
                            .get_or_insert_with(i % 10, || &counters[i % 10])
                            .fetch_add(1, Relaxed);
                    }
                });
            }
        });
    }
    assert!(counters.into_iter().all(|c| c.into_inner() == 400));
}

/// A single thread may keep what no other may see.
#[test]
fn keys_and_values_that_belong_to_a_thread() {
    use std::rc::Rc;
    let value = Rc::new(RefCell::new(0));
    let map: HashMap<Rc<str>, Rc<RefCell<i32>>> = HashMap::new();
    for i in 0..200 {
        let pinned = map.pin();
        pinned.insert(Rc::from(format!("{}", i % 20)), value.clone());
        *pinned.get("0").unwrap().borrow_mut() += 1;
    }
    assert_eq!(*value.borrow(), 200);
    drop(map);
    assert_eq!(Rc::strong_count(&value), 1);
}
