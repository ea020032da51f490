//! Walks: what a reader that stands on a node finds when the node moves on without it (G3, G5, G15, G16).

use super::{Link, follow, node, nulls, pair};
use crate::harness::{Model, spawn};
use crate::verdict::saw;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::Arc;

pub const MODELS: [&[Model]; 4] = [
    &pair!("g3-allocation-zeroes-the-link", "a recycled node's link is a next node or an end marker, always",
        threads: 2, outcomes: &["found", "passed by"], zeroed_link),
    &pair!("g5-restart-from-a-remembered-head", "a walk that begins again reads the head again, so it ends when writers do",
        threads: 2, outcomes: &["at once", "began again"], remembered_head),
    &pair!("g15-reuse-at-the-tail", "a node that is reused in its own list goes to the head, so that nobody is led past others",
        threads: 2, outcomes: &["with the other", "without"], reuse),
    &pair!("g16-replace-by-remove-and-insert", "a key whose node is replaced is there at every moment",
        threads: 2, outcomes: &["old", "new"], replace),
];

/// Two lists over four nodes.
struct Lists {
    heads: [AtomicUsize; 2],
    links: [AtomicUsize; 4],
}

impl Lists {
    /// The first list holds nodes `0..n`.
    fn new(n: usize) -> Arc<Self> {
        let next = |i: usize| if i < n { node(i) } else { nulls(0) };
        Arc::new(Self {
            heads: [AtomicUsize::new(next(0)), AtomicUsize::new(nulls(1))],
            links: std::array::from_fn(|i| AtomicUsize::new(next(i + 1))),
        })
    }
}

fn zeroed_link(fixed: bool) {
    let l = Lists::new(2);
    let reader = {
        let l = l.clone();
        spawn(move || {
            let mut link = l.heads[0].load(Acquire);
            let mut seen = false;
            loop {
                match follow(link) {
                    Link::Node(i) => {
                        seen |= i == 0;
                        link = l.links[i].load(Acquire);
                    }
                    Link::End(_) => return saw(if seen { "found" } else { "passed by" }),
                }
            }
        })
    };
    // Node 0 goes out and is allocated again; nothing of it is linked yet.
    l.heads[0].store(node(1), Release);
    if !fixed {
        l.links[0].store(0, Relaxed);
    }
    // Its new life is in the other list.
    l.links[0].store(nulls(1), Release);
    l.heads[1].store(node(0), Release);
    reader.join().unwrap();
}

fn remembered_head(fixed: bool) {
    let l = Lists::new(1);
    let reader = {
        let l = l.clone();
        spawn(move || {
            let mut first = l.heads[0].load(Acquire);
            let mut restarts = 0;
            loop {
                let mut link = first;
                let end = loop {
                    match follow(link) {
                        Link::Node(i) => link = l.links[i].load(Acquire),
                        Link::End(b) => break b,
                    }
                };
                if end == 0 {
                    return saw(if restarts == 0 {
                        "at once"
                    } else {
                        "began again"
                    });
                }
                restarts += 1;
                assert!(
                    restarts < 4,
                    "one writer's one move, and the walk never ends"
                );
                if fixed {
                    first = l.heads[0].load(Acquire);
                }
            }
        })
    };
    // The node moves to the other list.
    l.heads[0].store(nulls(0), Release);
    l.links[0].store(nulls(1), Release);
    l.heads[1].store(node(0), Release);
    reader.join().unwrap();
}

fn reuse(fixed: bool) {
    // [0 1]: node 1 stays, node 0 goes out and comes back.
    let l = Lists::new(2);
    let reader = {
        let l = l.clone();
        spawn(move || {
            let mut link = l.heads[0].load(Acquire);
            let (mut other, mut found) = (false, false);
            while let Link::Node(i) = follow(link) {
                other |= i == 0;
                found |= i == 1;
                link = l.links[i].load(Acquire);
            }
            assert!(found, "a node that stays is missed");
            saw(if other { "with the other" } else { "without" });
        })
    };
    l.heads[0].store(node(1), Release);
    if fixed {
        l.links[0].store(node(1), Release);
        l.heads[0].store(node(0), Release);
    } else {
        l.links[0].store(nulls(0), Release);
        l.links[1].store(node(0), Release);
    }
    reader.join().unwrap();
}

fn replace(fixed: bool) {
    // Nodes 0 and 1 have the same key; 0 is linked.
    let l = Lists::new(1);
    let reader = {
        let l = l.clone();
        spawn(move || match follow(l.heads[0].load(Acquire)) {
            Link::Node(0) => saw("old"),
            Link::Node(_) => saw("new"),
            Link::End(_) => panic!("a key that stays is missed"),
        })
    };
    l.links[1].store(nulls(0), Relaxed);
    if !fixed {
        l.heads[0].store(nulls(0), Release);
    }
    l.heads[0].store(node(1), Release);
    reader.join().unwrap();
}
