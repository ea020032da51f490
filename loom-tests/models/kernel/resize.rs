//! Look-ups beside a resize that moves nodes one by one (G6), and what settles the question of coinciding end markers.
//!
//! | end marker | a miss looks at the resize count again | a miss beside a resize |
//! |---|---|---|
//! | the bucket's number | no (the kernel) | wrong: the marker coincides, or the list is empty already |
//! | number and generation | no | still wrong: the old list is empty before the new table is announced |
//! | the bucket's number | yes | right |
//!
//! So a generation in the marker does not settle it, and the second look does, with any marker. The kernel may accept
//! the wrong miss because confirmation looks again under the lock; a look-up that nothing follows may not. The shipped table
//! keeps moved buckets as forwarding marks and tests *those* at the end of a miss, which is a second look for one bucket.

use super::{Link, follow, node, nulls, pair};
use crate::harness::{Model, spawn};
use crate::verdict::{Expect, saw};
use loom::sync::atomic::{AtomicUsize, Ordering::*, fence};
use std::sync::Arc;

pub const MODELS: [&[Model]; 4] = [
    &pair!("g6-pointer-and-size", "a table's pointer and size are of one table",
        threads: 2, outcomes: &["small", "large"], pointer_and_size),
    &pair!("g6-one-resize", "an entry that stays is found beside a resize that moves it",
        threads: 2, outcomes: &["found"], one_resize),
    &pair!("g6-there-and-back", "an entry that stays is found though the table is resized twice within the look-up",
        threads: 2, outcomes: &["found"], there_and_back),
    &[
        Model {
            name: "kernel/g6-generation-in-the-marker-only",
            proves: "a generation in the end marker alone does not save the miss: caught",
            expect: Expect::Caught,
            body: || look_up(&[2], Marker::Generation, false),
            ..Model::DEFAULT
        },
        Model {
            name: "kernel/g6-coinciding-buckets",
            proves: "growing n to m, bucket b coincides with itself exactly if b < n / (m - n)",
            threads: 1,
            floor: 1,
            outcomes: &["counted"],
            body: coinciding,
            ..Model::DEFAULT
        },
    ],
];

fn pointer_and_size(fixed: bool) {
    const LENGTHS: [usize; 2] = [1, 2];
    struct World {
        seq: AtomicUsize,
        table: AtomicUsize,
        size: AtomicUsize,
    }
    let w = Arc::new(World {
        seq: AtomicUsize::new(0),
        table: AtomicUsize::new(0),
        size: AtomicUsize::new(LENGTHS[0]),
    });
    let reader = {
        let w = w.clone();
        spawn(move || {
            // Two tries are enough for one resize.
            for _ in 0..2 {
                let seq = w.seq.load(Acquire);
                let (table, size) = (w.table.load(Relaxed), w.size.load(Relaxed));
                fence(Acquire);
                if fixed && (seq & 1 != 0 || w.seq.load(Relaxed) != seq) {
                    loom::thread::yield_now();
                    continue;
                }
                // The highest hash: the last bucket.
                assert!(size - 1 < LENGTHS[table], "beyond the table's end");
                return saw(if table == 0 { "small" } else { "large" });
            }
        })
    };
    w.seq.store(1, Relaxed);
    fence(Release);
    w.size.store(LENGTHS[1], Relaxed);
    w.table.store(1, Relaxed);
    w.seq.store(2, Release);
    reader.join().unwrap();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    Bucket,
    Generation,
}

/// Tables of one bucket each (the first, which coincides with itself whatever the lengths), and three nodes.
struct Tables {
    seq: AtomicUsize,
    root: AtomicUsize,
    heads: [AtomicUsize; 3],
    links: [AtomicUsize; 2],
    marker: Marker,
}

impl Tables {
    fn end(&self, table: usize) -> usize {
        match self.marker {
            Marker::Bucket => nulls(0),
            Marker::Generation => nulls(table),
        }
    }

    /// Moves every node to table `to`, one after another, then announces it. Writers are shut out by all the locks.
    fn resize(&self, from: usize, to: usize) {
        let seq = self.seq.load(Relaxed);
        self.seq.store(seq + 1, Relaxed);
        fence(Release);
        while let Link::Node(i) = follow(self.heads[from].load(Relaxed)) {
            self.heads[from].store(self.links[i].load(Relaxed), Release);
            self.links[i].store(self.heads[to].load(Relaxed), Release);
            self.heads[to].store(node(i), Release);
        }
        self.root.store(to, Release);
        self.seq.store(seq + 2, Release);
    }

    /// Looks for node 1, which stands last.
    fn find(&self, again: bool) -> Option<bool> {
        for _ in 0..3 {
            let seq = self.seq.load(Acquire);
            let table = self.root.load(Acquire);
            let mut link = self.heads[table].load(Acquire);
            let end = loop {
                match follow(link) {
                    Link::Node(1) => return Some(true),
                    Link::Node(i) => link = self.links[i].load(Acquire),
                    Link::End(_) => break link,
                }
            };
            fence(Acquire);
            let drifted = end != self.end(table);
            let resized = again && (seq & 1 != 0 || self.seq.load(Relaxed) != seq);
            if !drifted && !resized {
                return Some(false);
            }
            loom::thread::yield_now();
        }
        // More restarts than this model has resizes to cause: not a miss.
        None
    }
}

fn look_up(to: &'static [usize], marker: Marker, again: bool) {
    let mut t = Tables {
        seq: AtomicUsize::new(0),
        root: AtomicUsize::new(0),
        heads: std::array::from_fn(|_| AtomicUsize::new(0)),
        links: [AtomicUsize::new(node(1)), AtomicUsize::new(0)],
        marker,
    };
    let ends: Vec<usize> = (0..3).map(|i| t.end(i)).collect();
    t.heads = std::array::from_fn(|i| AtomicUsize::new(if i == 0 { node(0) } else { ends[i] }));
    t.links[1] = AtomicUsize::new(ends[0]);
    let t = Arc::new(t);
    let reader = {
        let t = t.clone();
        spawn(move || match t.find(again) {
            Some(true) => saw("found"),
            Some(false) => panic!("an entry that stays is missed"),
            None => {}
        })
    };
    let mut from = 0;
    for &to in to {
        t.resize(from, to);
        from = to;
    }
    reader.join().unwrap();
}

fn one_resize(fixed: bool) {
    look_up(&[2], Marker::Bucket, fixed);
}

fn there_and_back(fixed: bool) {
    look_up(&[2, 0], Marker::Bucket, fixed);
}

/// How many buckets of `n` share a hash with the bucket of the same number of `m`.
fn coincide(n: u64, m: u64) -> u64 {
    // Bucket b is the interval [b / n, (b + 1) / n); compared without division.
    (0..n.min(m))
        .filter(|b| b * m < (b + 1) * n && b * n < (b + 1) * m)
        .count() as u64
}

fn coinciding() {
    assert_eq!(
        coincide(65_536, 66_048),
        128,
        "one page more: the 128 lowest"
    );
    assert_eq!(coincide(65_536, 131_072), 1, "doubling: the first only");
    assert_eq!(coincide(131_072, 65_536), 1, "halving: the first only");
    for n in 1..200 {
        for m in n + 1..=2 * n {
            assert_eq!(coincide(n, m), n.div_ceil(m - n).min(n), "{n} to {m}");
        }
    }
    saw("counted");
}
