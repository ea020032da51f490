//! The map whose entries lie in the buckets: what a look-up puts together from words that it loads one by one is one state of
//! its key, whoever rewrites slots, recycles spill lines, or moves the bucket meanwhile.
//!
//! Slots are atomic words, so that nothing here is a race; what a look-up must not do is mix. Values say whose they are.

use crate::harness::{Model, spawn};
use crate::table::hash;
use crate::verdict::saw;
use nulls::{Equivalent, InlineInsertError, InlineMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "inline/read-beside-insert",
        proves: "an entry is found whole or not at all",
        floor: 10,
        outcomes: &["found", "not yet"],
        kills: &[
            "inline:tag-before-words",
            "order:inline_tags_load",
            "order:inline_tags_store",
        ],
        body: read_beside_insert,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/slot-of-another",
        proves: "a look-up whose slot gets another key's entry does not take that one's value",
        floor: 50,
        outcomes: &["found", "gone"],
        kills: &[
            "inline:skip-validation",
            "inline:leave-without-step",
            "order:inline_word_load",
            "order:inline_word_store",
        ],
        body: slot_of_another,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/slot-and-back",
        proves: "a slot that gets another key and then the first one again does not lend that the other's value",
        fast_bound: 1,
        full_bound: 2,
        limit: 300,
        floor: 20,
        outcomes: &["first", "second", "gone"],
        kills: &["inline:skip-validation"],
        body: slot_and_back,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/keys-of-two-words",
        proves: "no key that was never in the map is compared, or found",
        floor: 50,
        outcomes: &["found", "gone"],
        kills: &[
            "inline:compare-torn-keys",
            "order:inline_word_load",
            "order:inline_word_store",
        ],
        body: keys_of_two_words,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/replace",
        proves: "a key that is given a new value is there at every moment",
        floor: 10,
        outcomes: &["old", "new"],
        body: replace,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/two-updates",
        proves: "of two updates of one key none is lost",
        floor: 20,
        outcomes: &["both"],
        kills: &["inline:leave-without-step", "inline:take-from-any-version"],
        body: two_updates,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/update-against-remove",
        proves: "an update and a removal of one key take effect one after the other",
        floor: 20,
        outcomes: &["updated, then removed", "removed first"],
        kills: &["order:inline_ticket_load"],
        body: update_against_remove,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/two-inserters",
        proves: "of two insertions of one key one sees the other's value",
        floor: 20,
        outcomes: &["first", "second"],
        kills: &["inline:take-from-any-version"],
        body: two_inserters,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/limit",
        proves: "of two insertions into the last place one is refused",
        floor: 10,
        outcomes: &["first", "second"],
        body: limit,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/read-beside-spill",
        proves: "an entry in a new spill line is found whole or not at all, and the others are not missed",
        floor: 50,
        outcomes: &["found", "not yet"],
        kills: &["order:inline_leave"],
        body: read_beside_spill,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/spill-line-recycled",
        proves: "a look-up on a spill line that goes to another bucket misses nothing that stays behind it",
        floor: 100,
        outcomes: &["found"],
        kills: &[
            "inline:skip-validation",
            "order:inline_next_load",
            "order:inline_next_store",
        ],
        body: spill_line_recycled,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/spill-line-recycled-by-another",
        proves: "the same if one thread takes the line out and another one uses it again at once",
        threads: 3,
        limit: 300,
        full_bound: 2,
        floor: 100,
        outcomes: &["found"],
        kills: &["inline:free-before-leave"],
        body: spill_line_recycled_by_another,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/remove-beside-unlink",
        proves: "two removals from neighbouring spill lines both take effect, and what stays is found",
        floor: 50,
        outcomes: &["both"],
        body: remove_beside_unlink,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/read-beside-move-2-to-3",
        proves: "an entry is found while its bucket moves to shared targets",
        fast_bound: 1,
        full_bound: 2,
        limit: 300,
        floor: 50,
        outcomes: &["found"],
        kills: &["inline:moved-before-placed", "inline:ignore-moved"],
        body: || read_beside_move(2, 3),
        ..Model::DEFAULT
    },
    Model {
        name: "inline/read-beside-move-1-to-2",
        proves: "an entry is found while its bucket, spill line and all, moves to targets of its own",
        fast_bound: 1,
        full_bound: 2,
        limit: 300,
        floor: 50,
        outcomes: &["found"],
        kills: &["order:latch_heads"],
        body: || read_beside_move(1, 2),
        ..Model::DEFAULT
    },
    Model {
        name: "inline/read-beside-split",
        proves: "an entry is found while its bucket, without a spill line, is split into two",
        floor: 20,
        outcomes: &["found"],
        kills: &["inline:moved-before-placed"],
        body: || read_beside_line_move(1, 2),
        ..Model::DEFAULT
    },
    Model {
        name: "inline/read-beside-merge",
        proves: "an entry is found while its bucket, without a spill line, goes into one with room",
        floor: 20,
        outcomes: &["found"],
        kills: &["inline:moved-before-placed"],
        body: || read_beside_line_move(2, 1),
        ..Model::DEFAULT
    },
    Model {
        name: "inline/read-1-to-2-to-1",
        proves: "an entry is found though the table grows and shrinks back within one look-up, and old arrays are freed",
        fast_bound: 1,
        full_bound: 2,
        floor: 50,
        outcomes: &["found"],
        body: read_there_and_back,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/insert-beside-move",
        proves: "an insertion into a bucket that moves is neither lost nor doubled",
        fast_bound: 1,
        full_bound: 2,
        limit: 300,
        floor: 50,
        outcomes: &["inserted"],
        body: insert_beside_move,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/update-beside-move",
        proves: "an update in a bucket that moves is not lost",
        floor: 50,
        full_bound: 2,
        outcomes: &["updated"],
        body: update_beside_move,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/two-movers-one-target",
        proves: "two old buckets that share a target move into it without losing an entry",
        fast_bound: 1,
        full_bound: 2,
        limit: 300,
        floor: 50,
        outcomes: &["moved"],
        kills: &["inline:share-without-lock"],
        body: two_movers_one_target,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/two-movers-merge",
        proves: "two old buckets that become one move into its slots without losing an entry",
        floor: 20,
        outcomes: &["moved"],
        kills: &["inline:share-without-lock"],
        body: two_movers_merge,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/iter-beside-growth",
        proves: "iteration yields what stays exactly once while a writer grows the table",
        floor: 50,
        full_bound: 2,
        outcomes: &["with the new one", "without"],
        body: iter_beside_growth,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/iter-from-fine-to-coarse",
        proves: "a step that was led from a finer generation to a coarser one ends where the finer bucket ends",
        fast_bound: 1,
        full_bound: 2,
        limit: 300,
        floor: 10,
        outcomes: &["once"],
        kills: &["inline:end-of-last-only"],
        body: iter_beside_shrinking,
        ..Model::DEFAULT
    },
    Model {
        name: "inline/clear-beside-insert",
        proves: "what is inserted beside a clearing is there or not, and counted as it is",
        floor: 20,
        outcomes: &["cleared", "stays"],
        body: clear_beside_insert,
        ..Model::DEFAULT
    },
];

/// Key `100 p + t` and so on has a hash in part `p` of twelve, with tag `t / 10`: keys that differ in the last digit only have the
/// same hash. Of six buckets, parts 0 and 1 make the first.
#[derive(Default)]
struct Placed(u64);

impl Hasher for Placed {
    fn finish(&self) -> u64 {
        crate::unspread::unspread(hash(self.0 / 100, self.0 % 100 / 10))
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = u64::from_ne_bytes(bytes[..8].try_into().expect("a word"));
    }
    fn write_usize(&mut self, _: usize) {}
    fn write_u64(&mut self, k: u64) {
        self.0 = k;
    }
}

type Map<K = u64> = InlineMap<K, u64, BuildHasherDefault<Placed>>;

/// A map of `buckets` buckets, two slots each, in which key `k` has the value `10 k`. More entries than buckets make it grow.
fn map(buckets: usize, keys: &[u64]) -> Arc<Map> {
    let map = Map::with_capacity_and_hasher(buckets, Default::default());
    for &k in keys {
        assert_eq!(map.pin().insert(k, 10 * k), None);
    }
    assert_eq!(map.buckets(), buckets);
    Arc::new(map)
}

fn beside<T: 'static>(
    map: &Arc<Map>,
    f: impl FnOnce(&Map) -> T + 'static,
) -> loom::thread::JoinHandle<T> {
    let map = map.clone();
    spawn(move || f(&map))
}

fn read_beside_insert() {
    let m = map(6, &[]);
    let reader = beside(&m, |m| {
        saw(match m.pin().get(&11) {
            Some(110) => "found",
            None => "not yet",
            v => panic!("value {v:?}"),
        });
    });
    m.pin().insert(11, 110);
    reader.join().unwrap();
}

fn slot_of_another() {
    let m = map(6, &[11]);
    let reader = beside(&m, |m| {
        saw(match m.pin().get(&11) {
            Some(110) => "found",
            None => "gone",
            v => panic!("another key's value {v:?}"),
        });
    });
    // Under one guard: the fence of a second one, which pinning makes in models only, would order the two.
    let view = m.pin();
    assert_eq!(view.remove(&11), Some(110));
    // The same slot, the same tag.
    view.insert(12, 120);
    reader.join().unwrap();
}

fn slot_and_back() {
    let m = map(6, &[11]);
    let reader = beside(&m, |m| {
        saw(match m.pin().get(&11) {
            Some(110) => "first",
            Some(111) => "second",
            None => "gone",
            v => panic!("another key's value {v:?}"),
        });
    });
    m.pin().remove(&11);
    m.pin().insert(12, 120);
    m.pin().remove(&12);
    m.pin().insert(11, 111);
    reader.join().unwrap();
}

/// A key of two words that fit together, looked for by somebody who notices others.
struct Pair(u64);

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        [self.0, self.0 + 1000].hash(state);
    }
}

impl Equivalent<[u64; 2]> for Pair {
    fn equivalent(&self, key: &[u64; 2]) -> bool {
        assert_eq!(key[0] + 1000, key[1], "a key that never was is compared");
        self.0 == key[0]
    }
}

fn keys_of_two_words() {
    let m = Arc::new(Map::<[u64; 2]>::with_capacity_and_hasher(
        6,
        Default::default(),
    ));
    m.pin().insert([11, 1011], 110);
    let reader = {
        let m = m.clone();
        spawn(move || {
            saw(match m.pin().get(&Pair(11)) {
                Some(110) => "found",
                None => "gone",
                v => panic!("another key's value {v:?}"),
            });
        })
    };
    let view = m.pin();
    assert_eq!(view.remove(&Pair(11)), Some(110));
    view.insert([12, 1012], 120);
    reader.join().unwrap();
}

fn replace() {
    let m = map(6, &[11]);
    let reader = beside(&m, |m| {
        saw(match m.pin().get(&11) {
            Some(110) => "old",
            Some(111) => "new",
            v => panic!("a key that stays has {v:?}"),
        });
    });
    assert_eq!(m.pin().insert(11, 111), Some(110));
    reader.join().unwrap();
}

fn two_updates() {
    let m = map(6, &[11]);
    let other = beside(&m, |m| m.pin().update(&11, |v| v + 1));
    m.pin().update(&11, |v| v + 1);
    other.join().unwrap();
    assert_eq!(m.pin().get(&11), Some(112), "an update is lost");
    saw("both");
}

fn update_against_remove() {
    let m = map(6, &[11]);
    let other = beside(&m, |m| m.pin().update(&11, |v| v + 1));
    let removed = m.pin().remove(&11);
    match (other.join().unwrap(), removed) {
        (Some(111), Some(111)) => saw("updated, then removed"),
        (None, Some(110)) => saw("removed first"),
        other => panic!("{other:?}: no order of the two explains it"),
    }
    assert!(m.is_empty());
}

fn two_inserters() {
    let m = map(6, &[]);
    fn insert(m: &Map, v: u64) -> u64 {
        m.pin().get_or_insert_with(11, || v)
    }
    let other = beside(&m, |m| insert(m, 20));
    let mine = insert(&m, 30);
    assert_eq!(other.join().unwrap(), mine, "two values of one key");
    assert_eq!((m.len(), m.pin().iter().count()), (1, 1));
    saw(if mine == 20 { "second" } else { "first" });
}

fn limit() {
    let m = Arc::new(Map::with_limit(6, 1, Default::default()).expect("memory"));
    fn try_one(m: &Map, k: u64) -> bool {
        match m.pin().try_insert(k, k) {
            Ok(()) => true,
            Err(InlineInsertError::Full) => false,
            Err(e) => panic!("{e:?}"),
        }
    }
    let other = beside(&m, |m| try_one(m, 411));
    let mine = try_one(&m, 11);
    assert_ne!(other.join().unwrap(), mine, "exactly one finds room");
    assert_eq!((m.len(), m.pin().iter().count()), (1, 1));
    saw(if mine { "first" } else { "second" });
}

fn read_beside_spill() {
    let m = map(6, &[11, 21]);
    let reader = beside(&m, |m| {
        let view = m.pin();
        saw(match view.get(&31) {
            Some(310) => "found",
            None => "not yet",
            v => panic!("value {v:?}"),
        });
        assert_eq!(view.get(&21), Some(210), "a key that stays is missed");
    });
    m.pin().insert(31, 310);
    reader.join().unwrap();
}

/// Two buckets, one of which has two spill lines: `[11 21] [51 _] [31 41]`.
fn two_spill_lines() -> Arc<Map> {
    let m = map(12, &[11, 21, 31, 41, 51, 111, 121]);
    assert_eq!(m.pin().get(&51), Some(510));
    m
}

fn spill_line_recycled() {
    let m = two_spill_lines();
    let reader = beside(&m, |m| {
        assert_eq!(
            m.pin().get(&31),
            Some(310),
            "an entry behind the line is missed"
        );
        saw("found");
    });
    // The line in front goes, and comes to the other bucket.
    let view = m.pin();
    assert_eq!(view.remove(&51), Some(510));
    view.insert(131, 1310);
    reader.join().unwrap();
}

fn spill_line_recycled_by_another() {
    let m = two_spill_lines();
    let reader = beside(&m, |m| {
        assert_eq!(
            m.pin().get(&31),
            Some(310),
            "an entry behind the line is missed"
        );
        saw("found");
    });
    let other = beside(&m, |m| assert_eq!(m.pin().insert(131, 1310), None));
    assert_eq!(m.pin().remove(&51), Some(510));
    reader.join().unwrap();
    other.join().unwrap();
}

fn remove_beside_unlink() {
    let m = two_spill_lines();
    m.pin().remove(&41);
    let other = beside(&m, |m| m.pin().remove(&31));
    assert_eq!(m.pin().remove(&51), Some(510));
    assert_eq!(other.join().unwrap(), Some(310));
    let view = m.pin();
    assert_eq!(
        [11, 21, 31, 51].map(|k| view.get(&k)),
        [Some(110), Some(210), None, None]
    );
    assert_eq!(m.len(), 4);
    saw("both");
}

fn read_beside_move(from: usize, to: usize) {
    // Three entries in the first bucket, whatever the length.
    let m = map(3.max(from), &[11, 21, 31]);
    m.resize(from).expect("memory");
    m.maintain().expect("memory");
    m.resize(to).expect("memory");
    let reader = beside(&m, |m| {
        let view = m.pin();
        assert_eq!(view.get(&11), Some(110), "a key that stays is missed");
        assert_eq!(view.get(&31), Some(310), "a key that stays is missed");
        saw("found");
    });
    m.maintain().expect("memory");
    reader.join().unwrap();
}

fn read_beside_line_move(from: usize, to: usize) {
    let m = map(from, &[11]);
    m.resize(to).expect("memory");
    let reader = beside(&m, |m| {
        assert_eq!(m.pin().get(&11), Some(110), "a key that stays is missed");
        saw("found");
    });
    m.maintain().expect("memory");
    reader.join().unwrap();
}

fn read_there_and_back() {
    let m = map(1, &[11]);
    let reader = beside(&m, |m| {
        assert_eq!(m.pin().get(&11), Some(110), "a key that stays is missed");
        saw("found");
    });
    m.resize(2).expect("memory");
    m.maintain().expect("memory");
    m.resize(1).expect("memory");
    m.maintain().expect("memory");
    reader.join().unwrap();
}

fn insert_beside_move() {
    let m = map(2, &[11]);
    m.resize(3).expect("memory");
    let writer = beside(&m, |m| assert_eq!(m.pin().insert(21, 210), None));
    m.maintain().expect("memory");
    writer.join().unwrap();
    let view = m.pin();
    assert_eq!(
        (view.get(&11), view.get(&21), m.len()),
        (Some(110), Some(210), 2)
    );
    assert_eq!(view.iter().count(), 2, "an entry is there twice");
    saw("inserted");
}

fn update_beside_move() {
    let m = map(2, &[11]);
    m.resize(3).expect("memory");
    let writer = beside(&m, |m| m.pin().update(&11, |v| v + 1));
    m.maintain().expect("memory");
    assert_eq!(writer.join().unwrap(), Some(111));
    assert_eq!(m.pin().get(&11), Some(111), "an update is lost");
    saw("updated");
}

fn two_movers_one_target() {
    // Parts 0 to 5 and 6 to 11; then 4 to 7 are the middle one of three.
    let m = map(2, &[511, 611]);
    m.resize(3).expect("memory");
    let other = beside(&m, |m| m.pin().insert(521, 5210));
    m.pin().insert(621, 6210);
    other.join().unwrap();
    m.maintain().expect("memory");
    let view = m.pin();
    assert_eq!(
        [511, 521, 611, 621].map(|k| view.get(&k)),
        [Some(5110), Some(5210), Some(6110), Some(6210)]
    );
    saw("moved");
}

fn two_movers_merge() {
    let m = map(2, &[511, 611]);
    m.resize(1).expect("memory");
    let other = beside(&m, |m| m.pin().update(&511, |v| v + 1));
    m.pin().update(&611, |v| v + 1);
    other.join().unwrap();
    m.maintain().expect("memory");
    let view = m.pin();
    assert_eq!(
        [511, 611].map(|k| view.get(&k)),
        [Some(5111), Some(6111)],
        "an entry is lost"
    );
    saw("moved");
}

fn iter_beside_growth() {
    let m = map(1, &[11]);
    let reader = beside(&m, |m| {
        let mut all: Vec<u64> = m.pin().iter().map(|(k, _)| k).collect();
        all.sort_unstable();
        match all.as_slice() {
            [11] => saw("without"),
            [11, 811] => saw("with the new one"),
            other => panic!("{other:?}: what stays, once"),
        }
    });
    m.pin().insert(811, 8110);
    reader.join().unwrap();
}

fn iter_beside_shrinking() {
    let m = map(3, &[11, 511]);
    m.resize(2).expect("memory");
    let reader = beside(&m, |m| {
        let mut all: Vec<u64> = m.pin().iter().map(|(k, _)| k).collect();
        all.sort_unstable();
        assert_eq!(all, [11, 511], "what stays, once");
        saw("once");
    });
    m.maintain().expect("memory");
    reader.join().unwrap();
}

fn clear_beside_insert() {
    let m = map(6, &[11]);
    let writer = beside(&m, |m| {
        m.pin().insert(21, 210);
    });
    m.pin().clear();
    writer.join().unwrap();
    let view = m.pin();
    assert_eq!(view.get(&11), None);
    let stays = view.get(&21).is_some();
    assert_eq!(m.len(), usize::from(stays));
    saw(if stays { "stays" } else { "cleared" });
}
