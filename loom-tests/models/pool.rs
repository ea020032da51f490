//! Counted, type-stable entries: nobody holds a slot twice, and a reference holds the entry that its key says.
//!
//! An entry's payload is a loom cell that the owner writes and every holder of a reference reads.

use crate::harness::{Model, spawn};
use crate::verdict::saw;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use nulls::pool::{Entry, Pool, Unique};
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "pool/alloc-in-two-threads",
        proves: "two threads are never given the same slot, and never refused while one is free",
        floor: 100,
        outcomes: &["same slot, one after the other", "two slots"],
        kills: &[
            "slab:fresh-without-exchange",
            "order:slab_segment",
            "order:slab_install",
        ],
        body: alloc_in_two_threads,
        ..Model::DEFAULT
    },
    Model {
        name: "pool/exhaustion-is-exact",
        proves: "an allocation fails only if at one moment every slot was in use",
        floor: 100,
        outcomes: &["had"],
        body: exhaustion_is_exact,
        ..Model::DEFAULT
    },
    Model {
        name: "pool/get-against-last-drop",
        proves: "a reference is had while others are alive, or not at all; recycling comes after every use",
        floor: 10,
        outcomes: &["got", "gone"],
        kills: &[
            "order:pool_put",
            "order:pool_last",
            "pool:raise-from-zero",
            "pool:recycle-before-last",
        ],
        body: get_against_last_drop,
        ..Model::DEFAULT
    },
    Model {
        name: "pool/get-against-publish",
        proves: "an entry is had only when it is published, with all its fields",
        floor: 5,
        outcomes: &["got", "not yet"],
        kills: &["order:pool_try_get", "order:pool_publish"],
        body: get_against_publish,
        ..Model::DEFAULT
    },
    Model {
        name: "pool/reuse-under-a-reader",
        proves: "with the key compared after the reference, a reader has the entry of that key, old life or new",
        floor: 100,
        outcomes: &["old", "new", "other key", "gone"],
        kills: &["pool:raise-from-zero", "order:pool_publish"],
        body: reuse_under_a_reader,
        ..Model::DEFAULT
    },
    Model {
        name: "pool/peek-at-a-guessed-handle",
        proves: "a slot that is looked at before its handle was given away is constructed, or refused",
        floor: 10,
        outcomes: &["not built", "built"],
        kills: &["order:pool_built", "order:pool_link"],
        body: peek_at_a_guessed_handle,
        ..Model::DEFAULT
    },
    Model {
        name: "pool/peek-against-construction",
        proves: "a slot whose handle is known is constructed",
        floor: 5,
        outcomes: &["not built", "built"],
        body: peek_after_construction,
        ..Model::DEFAULT
    },
];

#[derive(Default)]
struct Conn {
    key: AtomicUsize,
    payload: UnsafeCell<usize>,
}

// SAFETY: loom checks every access to the payload.
unsafe impl Sync for Conn {}
// SAFETY: as above.
unsafe impl Send for Conn {}

impl Conn {
    fn write(&self, key: usize, payload: usize) {
        self.key.store(key, Relaxed);
        // SAFETY: the caller is the slot's only owner; loom checks it.
        self.payload.with_mut(|p| unsafe { *p = payload });
    }

    fn payload(&self) -> usize {
        // SAFETY: a reference is held, so nobody writes; loom checks it.
        self.payload.with(|p| unsafe { *p })
    }
}

const RECYCLED: usize = 999;

impl Entry for Conn {
    fn recycle(&self) {
        self.write(0, RECYCLED);
    }
}

fn fresh(pool: &Pool<Conn>, key: usize, payload: usize) -> Unique<'_, Conn> {
    let e = pool.alloc().expect("a slot is free");
    e.write(key, payload);
    e
}

fn alloc_in_two_threads() {
    let pool = Arc::new(Pool::<Conn>::with_capacity(2));
    let other = {
        let pool = pool.clone();
        spawn(move || {
            let e = fresh(&pool, 1, 10);
            assert_eq!(e.payload(), 10, "somebody else has the slot");
            e.handle()
        })
    };
    let mine = {
        let e = fresh(&pool, 2, 20);
        assert_eq!(e.payload(), 20, "somebody else has the slot");
        e.handle()
    };
    let same = other.join().unwrap() == mine;
    saw(if same {
        "same slot, one after the other"
    } else {
        "two slots"
    });
}

fn exhaustion_is_exact() {
    let pool = Arc::new(Pool::<Conn>::with_capacity(2));
    let other = {
        let pool = pool.clone();
        spawn(move || {
            drop(fresh(&pool, 1, 10));
            drop(fresh(&pool, 1, 11));
        })
    };
    // At most one slot is in use by each thread: there is always one left.
    drop(fresh(&pool, 2, 20));
    saw("had");
    other.join().unwrap();
}

fn get_against_last_drop() {
    let pool = Arc::new(Pool::<Conn>::with_capacity(1));
    let entry = fresh(&pool, 1, 10).publish().into_raw();
    let other = {
        let pool = pool.clone();
        spawn(move || match pool.try_get(entry) {
            Some(e) => {
                assert_eq!(e.payload(), 10, "a recycled entry is used");
                saw("got");
            }
            None => saw("gone"),
        })
    };
    // SAFETY: from `into_raw` above, once.
    drop(unsafe { pool.from_raw(entry) });
    other.join().unwrap();
}

fn get_against_publish() {
    let pool = Arc::new(Pool::<Conn>::with_capacity(1));
    let entry = pool.alloc().expect("a slot is free");
    let handle = entry.handle();
    let other = {
        let pool = pool.clone();
        spawn(move || match pool.try_get(handle) {
            Some(e) => {
                assert_eq!(e.payload(), 10);
                saw("got");
            }
            None => saw("not yet"),
        })
    };
    entry.write(1, 10);
    let kept = entry.publish();
    other.join().unwrap();
    drop(kept);
}

fn reuse_under_a_reader() {
    let pool = Arc::new(Pool::<Conn>::with_capacity(2));
    let old = fresh(&pool, 1, 10).publish();
    let handle = old.handle();
    let old = old.into_raw();
    let reader = {
        let pool = pool.clone();
        spawn(move || {
            let Some(e) = pool.try_get(handle) else {
                return saw("gone");
            };
            if e.key.load(Relaxed) != 1 {
                return saw("other key");
            }
            match e.payload() {
                10 => saw("old"),
                11 => saw("new"),
                n => panic!("payload {n} under key 1"),
            }
        })
    };
    // SAFETY: from `into_raw` above, once.
    drop(unsafe { pool.from_raw(old) });
    // The slot lives again under another key, then again under the first.
    drop(fresh(&pool, 2, 20).publish());
    drop(fresh(&pool, 1, 11).publish());
    reader.join().unwrap();
}

/// What its constructor wrote is read without a reference.
struct Built(UnsafeCell<usize>);

impl Default for Built {
    fn default() -> Self {
        Self(UnsafeCell::new(7))
    }
}

impl Entry for Built {}

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Built {}
// SAFETY: as above.
unsafe impl Send for Built {}

fn peek_at_a_guessed_handle() {
    let pool = Arc::new(Pool::<Built>::with_capacity(1));
    let reader = {
        let pool = pool.clone();
        spawn(move || match pool.try_peek(1) {
            None => saw("not built"),
            Some(e) => {
                // SAFETY: nobody writes it after the construction; loom checks it.
                assert_eq!(e.0.with(|p| unsafe { *p }), 7);
                saw("built");
            }
        })
    };
    for _ in 0..2 {
        let e = pool.alloc().expect("a slot is free");
        assert_eq!(e.handle(), 1, "the reader's guess");
    }
    reader.join().unwrap();
}

fn peek_after_construction() {
    let pool = Arc::new(Pool::<Conn>::with_capacity(1));
    let known = Arc::new(AtomicUsize::new(0));
    let reader = {
        let (pool, known) = (pool.clone(), known.clone());
        spawn(move || match known.load(Acquire) {
            0 => saw("not built"),
            handle => {
                // Atomics mean something without a reference.
                let _ = pool.peek(handle as u32).key.load(Relaxed);
                saw("built");
            }
        })
    };
    let e = fresh(&pool, 1, 10);
    known.store(e.handle() as usize, Release);
    reader.join().unwrap();
}
