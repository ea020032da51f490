//! One entry under two keys: the raw table with counted entries, as connection tracking uses it.
//!
//! A user is found by number and by name. Both keys lead to the same entry, and are inserted and removed together.
//!
//! `cargo run -p nulls --release --example two_keys`

use nulls::pool::{Entry, Pool, Ref};
use nulls::raw::{InsertError, Table};
use nulls::rcu;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Slots are used again while readers may still look at them, so that every field is an atomic; a name is eight bytes here.
#[derive(Default)]
struct User {
    number: AtomicU64,
    name: AtomicU64,
    log_ins: AtomicU64,
}

impl Entry for User {}

struct Users {
    table: Table,
    pool: Pool<User>,
    hasher: RandomState,
}

/// A handle of the table is an entry's handle and one bit that says which key this is.
#[derive(Clone, Copy)]
enum Key {
    Number(u64),
    Name(u64),
}

fn name(text: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    u64::from_be_bytes(bytes)
}

impl Users {
    fn new(most: u32) -> Self {
        Self {
            table: Table::new(),
            pool: Pool::with_capacity(most),
            hasher: RandomState::new(),
        }
    }

    fn hash(&self, key: Key) -> u64 {
        match key {
            Key::Number(n) => self.hasher.hash_one((0, n)),
            Key::Name(n) => self.hasher.hash_one((1, n)),
        }
    }

    /// The key that a handle stands for.
    fn key(&self, handle: u32) -> Key {
        let user = self.pool.peek(handle >> 1);
        match handle & 1 {
            0 => Key::Number(user.number.load(Relaxed)),
            _ => Key::Name(user.name.load(Relaxed)),
        }
    }

    fn is(&self, handle: u32, key: Key) -> bool {
        match (self.key(handle), key) {
            (Key::Number(a), Key::Number(b)) | (Key::Name(a), Key::Name(b)) => a == b,
            _ => false,
        }
    }

    /// A reference to the entry, which keeps it for as long as it is held, without a guard.
    fn find(&self, key: Key) -> Option<Ref<'_, User>> {
        let guard = rcu::pin();
        self.table.find(&guard, self.hash(key), |handle| {
            // The reference first, the comparison afterwards: the slot may have been used again in between.
            let user = self.pool.try_get(handle >> 1)?;
            self.is(handle, key).then_some(user)
        })
    }

    /// Adds a user unless the number or the name is taken.
    fn add(&self, number: u64, name: u64) -> bool {
        let guard = rcu::pin();
        let rehash = |handle| self.hash(self.key(handle));
        let Ok(user) = self.pool.alloc() else {
            return false;
        };
        user.number.store(number, Relaxed);
        user.name.store(name, Relaxed);
        user.log_ins.store(0, Relaxed);
        let probe = |key| {
            self.table.probe(
                &guard,
                self.hash(key),
                |handle| self.is(handle, key),
                &rehash,
            )
        };
        loop {
            let (p, q) = (probe(Key::Number(number)), probe(Key::Name(name)));
            if p.hit().is_some() || q.hit().is_some() {
                return false; // the entry goes back to the pool
            }
            let handle = user.handle() << 1;
            match self.table.insert2(p, handle, q, handle | 1) {
                Ok(written) => {
                    // Linked first, live afterwards; the table keeps this reference.
                    user.publish().into_raw();
                    written.assist(&guard, &rehash);
                    return true;
                }
                Err(InsertError::Stale) => {}
                Err(_) => return false,
            }
        }
    }

    /// Removes a user under both keys.
    fn remove(&self, number: u64) -> bool {
        let guard = rcu::pin();
        let rehash = |handle| self.hash(self.key(handle));
        loop {
            let Some(user) = self.find(Key::Number(number)) else {
                return false;
            };
            let name = user.name.load(Relaxed);
            let linked = user.handle() << 1;
            let probe = |key, wanted: u32| {
                self.table
                    .probe(&guard, self.hash(key), |handle| handle == wanted, &rehash)
            };
            let p = probe(Key::Number(number), linked);
            let q = probe(Key::Name(name), linked | 1);
            if p.hit().is_none() || q.hit().is_none() {
                continue; // another thread removed it
            }
            if let Ok((_, written)) = self.table.remove2(p, q) {
                // SAFETY: the table's reference, given away in `add` and taken back once: only one thread's `remove2` succeeds.
                drop(unsafe { self.pool.from_raw(user.handle()) });
                written.assist(&guard, &rehash);
                return true;
            }
        }
    }
}

fn main() {
    let users = Users::new(10_000);
    std::thread::scope(|s| {
        for t in 0..4u64 {
            let users = &users;
            s.spawn(move || {
                for i in 0..2000 {
                    let number = i * 4 + t;
                    let name = name(&format!("u{number}"));
                    assert!(users.add(number, name));
                    let user = users.find(Key::Name(name)).expect("just added");
                    user.log_ins.fetch_add(1, Relaxed);
                    assert_eq!(user.number.load(Relaxed), number);
                    if i % 2 == 0 {
                        assert!(users.remove(number));
                        assert!(users.find(Key::Name(name)).is_none());
                        // What we hold stays what it is.
                        assert_eq!(user.log_ins.load(Relaxed), 1);
                    }
                }
            });
        }
    });
    // Number 5 is taken; 1 was removed.
    assert!(!users.add(5, name("else")) && users.add(1, name("else")));
    println!(
        "{} users under {} keys",
        users.pool.stats().used,
        users.table.len()
    );
    assert_eq!(users.table.len(), 2 * users.pool.stats().used);
}
