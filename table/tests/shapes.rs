//! Keys and values of every shape: without size, large, strictly aligned, unsized behind a box.

mod support;

use nulls::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::thread;

#[test]
fn without_size() {
    let set: HashMap<u64, ()> = HashMap::new();
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| (0..2000).for_each(|k| _ = set.pin().insert(k, ())));
        }
    });
    assert_eq!(set.len(), 2000);
    assert_eq!(set.pin().get(&7), Some(&()));

    /// A value without size that counts its drops.
    struct Counted;
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Relaxed);
        }
    }
    let map: HashMap<(), Counted> = HashMap::new();
    for _ in 0..1000 {
        map.pin().insert((), Counted);
    }
    assert_eq!(map.len(), 1);
    assert!(map.pin().remove(&()).is_some());
    assert!(map.pin().get(&()).is_none());
    map.pin().insert((), Counted);
    drop(map);
    assert_eq!(DROPS.load(Relaxed), 1001);

    let nothing: HashMap<(), ()> = HashMap::new();
    assert!(nothing.pin().insert((), ()).is_none());
    assert!(nothing.pin().insert((), ()).is_some());
    assert_eq!(nothing.pin().iter().count(), 1);
}

#[test]
fn large() {
    let fill = |k: u16| [k; 2048]; // 4 KiB each
    let map: HashMap<[u16; 2048], [u16; 2048]> = HashMap::new();
    thread::scope(|s| {
        for t in 0..2u16 {
            let map = &map;
            s.spawn(move || {
                for i in 0..600u16 {
                    let k = t * 1000 + i % 300;
                    map.pin().insert(fill(k), fill(!k));
                    if i % 3 == 0 {
                        let pinned = map.pin();
                        let v = pinned.remove(&fill(k)).expect("inserted above");
                        assert!(v.iter().all(|x| *x == !k));
                    }
                }
            });
        }
    });
    let pinned = map.pin();
    for (k, v) in &pinned {
        assert!(k.iter().all(|x| *x == k[0]) && v.iter().all(|x| *x == !k[0]));
    }
    assert_eq!(pinned.iter().count(), map.len());
    assert_eq!(map.len(), 400);
}

#[test]
fn strictly_aligned() {
    fn check<T: Copy + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync>(
        make: impl Fn(u64) -> T,
    ) {
        let map: HashMap<T, T> = HashMap::new();
        let sized: HashMap<T, u8> = HashMap::with_capacity(5000);
        for i in 0..3000 {
            map.pin().insert(make(i), make(!i));
            sized.pin().insert(make(i), i as u8);
        }
        let pinned = map.pin();
        for i in 0..3000 {
            let (k, v) = pinned.get_key_value(&make(i)).unwrap();
            assert_eq!((*k, *v), (make(i), make(!i)));
            for address in [std::ptr::from_ref(k), std::ptr::from_ref(v)] {
                assert_eq!(address.addr() % align_of::<T>(), 0);
            }
            assert_eq!(sized.pin().get(&make(i)), Some(&(i as u8)));
        }
    }
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    #[repr(align(64))]
    struct Line(u64);
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    #[repr(align(256))]
    struct More(u64);
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    #[repr(align(4096))]
    struct Page(u64);
    check(Line);
    check(More);
    check(Page);
    check(|i| i as u128);
    check(|i| i as u8 as u64 | i << 8);
}

/// Whatever derefs to it finds it.
#[test]
fn looked_up_by_what_is_equivalent() {
    let strings: HashMap<String, usize> = HashMap::new();
    let boxes: HashMap<Box<str>, usize> = HashMap::new();
    let bytes: HashMap<Vec<u8>, Box<[usize]>> = HashMap::new();
    for i in 0..500 {
        let s = format!("key {i}");
        strings.pin().insert(s.clone(), i);
        boxes.pin().insert(s.clone().into(), i);
        bytes.pin().insert(s.into_bytes(), vec![i; i].into());
    }
    for i in 0..500 {
        let s = format!("key {i}");
        let s: &str = &s;
        assert_eq!(strings.pin().get(s), Some(&i));
        assert_eq!(boxes.pin().get(s), Some(&i));
        assert_eq!(bytes.pin().get(s.as_bytes()).map(|v| v.len()), Some(i));
        let mut found = Vec::new();
        let pinned = strings.pin();
        pinned.get_many(&[s, "no key"], |_, v| found.push(v.copied()));
        assert_eq!(found, [Some(i), None]);
    }
    let pinned = strings.pin();
    assert_eq!(pinned.update("key 7", |v| v + 1), Some(&8));
    assert_eq!(
        pinned.remove_entry("key 7"),
        Some((&"key 7".to_owned(), &8))
    );
    assert!(!pinned.contains_key("key 7"));
    assert_eq!(
        pinned.get_key_value("key 8").map(|(k, _)| k.as_str()),
        Some("key 8")
    );
}
