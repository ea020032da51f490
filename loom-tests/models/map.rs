//! The map users see: values are whole while a view that found them lives, and each operation is one step.
//!
//! A value's payload is a loom cell that its maker writes, every finder reads, and its destructor writes: a value that is
//! dropped under a reader is a race.

use crate::harness::{Model, spawn};
use crate::table::hash;
use crate::verdict::saw;
use loom::cell::UnsafeCell;
use nulls::{HashMap, TryInsertError};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "map/replace",
        proves: "a key that is given a new value is there at every moment, and the old value outlives its readers",
        floor: 100,
        outcomes: &["old", "new"],
        kills: &[
            "line:replace-by-remove-and-insert",
            "rcu:ignore-active-reader",
        ],
        body: replace,
        ..Model::DEFAULT
    },
    Model {
        name: "map/remove",
        proves: "a removed value outlives its readers",
        floor: 50,
        outcomes: &["found", "gone"],
        kills: &[
            "rcu:ignore-active-reader",
            "rcu:newer-or-equal",
            "rcu:no-light-fence",
        ],
        body: remove,
        ..Model::DEFAULT
    },
    Model {
        name: "map/two-updates",
        proves: "of two updates of one key none is lost",
        floor: 50,
        outcomes: &["both"],
        kills: &["ticket:leave-without-step", "ticket:take-from-any-version"],
        body: two_updates,
        ..Model::DEFAULT
    },
    Model {
        name: "map/update-against-remove",
        proves: "an update and a removal of one key take effect one after the other",
        floor: 50,
        outcomes: &["updated, then removed", "removed first"],
        body: update_against_remove,
        ..Model::DEFAULT
    },
    Model {
        name: "map/get-or-insert-twice",
        proves: "two threads that make a key's value on demand get the same one",
        floor: 50,
        outcomes: &["first made it", "second made it"],
        kills: &["ticket:take-from-any-version"],
        body: get_or_insert_twice,
        ..Model::DEFAULT
    },
    Model {
        name: "map/limit",
        proves: "of two insertions into the last place one is refused, and gets its value back",
        floor: 10,
        outcomes: &["first", "second"],
        body: limit,
        ..Model::DEFAULT
    },
    Model {
        name: "map/get-many-beside-growth",
        proves: "a batch of look-ups finds all that stays while writers grow the table under it",
        floor: 500,
        full_bound: 2,
        outcomes: &["all", "not yet"],
        body: get_many,
        ..Model::DEFAULT
    },
    Model {
        name: "map/iter-beside-growth",
        proves: "iteration yields what stays exactly once while a writer grows the table",
        floor: 500,
        full_bound: 2,
        outcomes: &["with the new one", "without"],
        body: iter,
        ..Model::DEFAULT
    },
];

/// Key `k` lies in part `k - 1` of twelve.
#[derive(Default)]
struct Placed(u64);

impl Hasher for Placed {
    fn finish(&self) -> u64 {
        crate::unspread::unspread(hash(self.0 - 1, self.0))
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }
    fn write_u64(&mut self, k: u64) {
        self.0 = k;
    }
}

const DEAD: usize = 0;

/// A value that shows use after its drop, and use before it was published, as a race.
struct Value(UnsafeCell<usize>);

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Value {}
// SAFETY: as above.
unsafe impl Send for Value {}

impl Value {
    fn new(n: usize) -> Self {
        Self(UnsafeCell::new(n))
    }

    fn get(&self) -> usize {
        // SAFETY: found under a guard that is alive; loom checks it.
        let n = self.0.with(|p| unsafe { *p });
        assert_ne!(n, DEAD, "a dropped value is read");
        n
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: `&mut self`; loom checks it.
        self.0.with_mut(|p| unsafe { *p = DEAD });
    }
}

type Map = HashMap<u64, Value, BuildHasherDefault<Placed>>;

/// A map of `buckets` buckets in which key `k` has the value `10 k`.
fn map(buckets: usize, keys: &[u64]) -> Arc<Map> {
    let map = Map::with_capacity_and_hasher(buckets, Default::default());
    for &k in keys {
        let view = map.pin();
        assert!(view.insert(k, Value::new(10 * k as usize)).is_none());
    }
    Arc::new(map)
}

fn replace() {
    let m = map(4, &[1]);
    let reader = {
        let m = m.clone();
        spawn(move || {
            let view = m.pin();
            let v = view.get(&1).expect("a key that stays is missed").get();
            saw(match v {
                10 => "old",
                11 => "new",
                n => panic!("value {n}"),
            });
        })
    };
    assert_eq!(m.pin().insert(1, Value::new(11)).map(Value::get), Some(10));
    m.maintain().expect("memory");
    reader.join().unwrap();
}

fn remove() {
    let m = map(4, &[1]);
    let reader = {
        let m = m.clone();
        spawn(move || {
            let view = m.pin();
            match view.get(&1).map(Value::get) {
                Some(10) => saw("found"),
                None => saw("gone"),
                n => panic!("value {n:?}"),
            }
        })
    };
    assert_eq!(m.pin().remove(&1).map(Value::get), Some(10));
    m.maintain().expect("memory");
    reader.join().unwrap();
}

fn two_updates() {
    let m = map(4, &[1]);
    fn add(m: &Map) {
        let view = m.pin();
        assert!(view.update(&1, |v| Value::new(v.get() + 1)).is_some());
    }
    let other = {
        let m = m.clone();
        spawn(move || add(&m))
    };
    add(&m);
    other.join().unwrap();
    assert_eq!(
        m.pin().get(&1).map(Value::get),
        Some(12),
        "an update is lost"
    );
    saw("both");
}

fn update_against_remove() {
    let m = map(4, &[1]);
    let other = {
        let m = m.clone();
        spawn(move || {
            let view = m.pin();
            view.update(&1, |v| Value::new(v.get() + 1)).map(Value::get)
        })
    };
    let removed = m.pin().remove(&1).map(Value::get);
    match (other.join().unwrap(), removed) {
        (Some(11), Some(11)) => saw("updated, then removed"),
        (None, Some(10)) => saw("removed first"),
        other => panic!("{other:?}: no order of the two explains it"),
    }
    assert!(m.is_empty());
}

fn get_or_insert_twice() {
    let m = map(4, &[]);
    let other = {
        let m = m.clone();
        spawn(move || m.pin().get_or_insert_with(1, || Value::new(20)).get())
    };
    let mine = m.pin().get_or_insert_with(1, || Value::new(30)).get();
    assert_eq!(other.join().unwrap(), mine, "two values of one key");
    assert_eq!(m.len(), 1);
    saw(if mine == 20 {
        "second made it"
    } else {
        "first made it"
    });
}

fn limit() {
    let m = Arc::new(Map::with_limit(4, 1, Default::default()).expect("memory"));
    fn try_one(m: &Map, k: u64) -> bool {
        match m.pin().try_insert(k, Value::new(k as usize)) {
            Ok(v) => {
                assert_eq!(v.get(), k as usize);
                true
            }
            Err(TryInsertError::Full { key, value }) => {
                assert_eq!((key, value.get()), (k, k as usize));
                false
            }
            Err(e) => panic!("{e:?}"),
        }
    }
    let other = {
        let m = m.clone();
        spawn(move || try_one(&m, 4))
    };
    let mine = try_one(&m, 10);
    assert_ne!(other.join().unwrap(), mine, "exactly one finds room");
    assert_eq!(m.len(), 1);
    saw(if mine { "first" } else { "second" });
}

fn get_many() {
    let m = map(1, &[1, 10]);
    let reader = {
        let m = m.clone();
        spawn(move || {
            let view = m.pin();
            let mut found = [None; 3];
            view.get_many(&[&1, &10, &5], |i, v| found[i] = v.map(Value::get));
            assert_eq!(
                found[..2],
                [Some(10), Some(100)],
                "a key that stays is missed"
            );
            saw(match found[2] {
                Some(50) => "all",
                None => "not yet",
                n => panic!("value {n:?}"),
            });
        })
    };
    assert!(m.pin().insert(5, Value::new(50)).is_none());
    reader.join().unwrap();
}

fn iter() {
    let m = map(1, &[1, 10]);
    let reader = {
        let m = m.clone();
        spawn(move || {
            let view = m.pin();
            let all: Vec<u64> = view
                .iter()
                .map(|(k, v)| {
                    assert_eq!(v.get(), 10 * *k as usize);
                    *k
                })
                .collect();
            match all.as_slice() {
                [1, 10] => saw("without"),
                [1, 5, 10] => saw("with the new one"),
                other => panic!("{other:?}: what stays, once, in order"),
            }
        })
    };
    assert!(m.pin().insert(5, Value::new(50)).is_none());
    reader.join().unwrap();
}
