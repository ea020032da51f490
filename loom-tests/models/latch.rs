//! The table's ticket by itself: a sequence count over two copies of what readers fetch.
//!
//! A snapshot's words all tell its number, so that a torn one shows. In a whole table two publications are far apart, and
//! what a reader finds between them hides half of these orderings.

use crate::harness::{Model, spawn};
use crate::verdict::saw;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use nulls::raw::models::Latch;
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "latch/load-beside-two-publications",
        proves: "a root is fetched whole, whichever copy the count names, and never goes back",
        full_bound: 2,
        limit: 300,
        floor: 50_000,
        outcomes: &["first", "second", "third"],
        kills: &[
            "order:latch_begin",
            "order:latch_read_fence",
            "order:latch_odd",
            "order:latch_even",
            "order:latch_write_fence",
            "order:latch_write_fence2",
            "latch:skip-recheck",
        ],
        body: load_beside_two,
        ..Model::DEFAULT
    },
    Model {
        name: "latch/load-twice",
        proves: "a second fetch is of the same root or of a later one",
        floor: 100,
        outcomes: &["same", "later"],
        body: load_twice,
        ..Model::DEFAULT
    },
    Model {
        name: "latch/settled-beside-a-publication",
        proves: "the only generation is told whole, or not while there are two",
        floor: 50,
        outcomes: &["first", "second", "two generations"],
        kills: &["order:latch_read_fence", "latch:skip-recheck"],
        body: settled,
        ..Model::DEFAULT
    },
    Model {
        name: "latch/unsettled-by-another-thread",
        proves: "a root is fetched whole by whoever sees that another thread than its publisher began the next resize",
        threads: 3,
        floor: 50,
        outcomes: &["first", "second"],
        kills: &["order:latch_unsettle"],
        body: unsettled_by_another,
        ..Model::DEFAULT
    },
];

fn publish(latch: &Latch, n: usize) {
    latch.unsettle();
    latch.publish(n);
}

fn load_beside_two() {
    let latch = Arc::new(Latch::new(1));
    let reader = {
        let latch = latch.clone();
        spawn(move || saw(["first", "second", "third"][latch.load() - 1]))
    };
    publish(&latch, 2);
    publish(&latch, 3);
    reader.join().unwrap();
    assert_eq!(latch.load(), 3);
}

fn load_twice() {
    let latch = Arc::new(Latch::new(1));
    let reader = {
        let latch = latch.clone();
        spawn(move || {
            let (a, b) = (latch.load(), latch.load());
            assert!(a <= b, "the root went back");
            saw(if a == b { "same" } else { "later" });
        })
    };
    publish(&latch, 2);
    reader.join().unwrap();
}

fn settled() {
    let latch = Arc::new(Latch::new(1));
    let reader = {
        let latch = latch.clone();
        spawn(move || match latch.try_settled() {
            Some(n) => saw(["first", "second", "third"][n - 1]),
            None => saw("two generations"),
        })
    };
    publish(&latch, 2);
    latch.unsettle();
    reader.join().unwrap();
    assert_eq!(latch.try_settled(), None);
}

fn unsettled_by_another() {
    let latch = Arc::new(Latch::new(1));
    let published = Arc::new(AtomicUsize::new(0));
    let publisher = {
        let (latch, published) = (latch.clone(), published.clone());
        spawn(move || {
            publish(&latch, 2);
            // As the table's lock of its administrators.
            published.store(1, Release);
        })
    };
    let other = {
        let (latch, published) = (latch.clone(), published.clone());
        spawn(move || {
            if published.load(Acquire) == 1 {
                latch.unsettle();
            }
        })
    };
    saw(["first", "second"][latch.load() - 1]);
    publisher.join().unwrap();
    other.join().unwrap();
}
