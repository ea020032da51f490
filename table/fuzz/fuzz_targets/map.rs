//! Operations on the map against `std`'s: the same answers, whatever the table's length and the hasher.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nulls::{HashMap, TryInsertError};
use std::hash::{BuildHasher, Hasher};

#[derive(Arbitrary, Debug)]
enum Op {
    Get(u8),
    GetMany([u8; 3]),
    Insert(u8, u16),
    TryInsert(u8, u16),
    GetOrInsert(u8, u16),
    Update(u8),
    Remove(u8),
    Iterate,
    Clear,
    Resize(u8),
    Reserve(u8),
    Shrink,
    Maintain,
}

#[derive(Arbitrary, Debug)]
struct Input {
    /// How much of a key's hash is left.
    mask: u64,
    shift: u8,
    limit: Option<u8>,
    ops: Vec<Op>,
}

/// The key times an odd number, cut to the bits of a mask: hashes collide as the input likes.
#[derive(Clone, Copy)]
struct Build(u64, u8);

struct Hash(Build, u64);

impl BuildHasher for Build {
    type Hasher = Hash;
    fn build_hasher(&self) -> Hash {
        Hash(*self, 0)
    }
}

impl Hasher for Hash {
    fn finish(&self) -> u64 {
        (self.1.wrapping_mul(0x9e37_79b9_7f4a_7c15) & self.0.0).rotate_left(u32::from(self.0.1))
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.1 = self.1 << 8 | u64::from(*b);
        }
    }
}

fuzz_target!(|input: Input| {
    let limit = input.limit.map_or(usize::MAX, usize::from);
    let hasher = Build(input.mask, input.shift);
    let map = match input.limit {
        Some(l) => HashMap::with_limit(0, usize::from(l), hasher).expect("memory"),
        None => HashMap::with_hasher(hasher),
    };
    let mut model = std::collections::HashMap::new();
    for op in input.ops {
        let view = map.pin();
        let room = |k: &u8, model: &std::collections::HashMap<u8, u16>| {
            model.contains_key(k) || model.len() < limit
        };
        match op {
            Op::Get(k) => assert_eq!(view.get(&k), model.get(&k)),
            Op::GetMany(ks) => {
                let mut found = [None; 3];
                view.get_many(&ks.each_ref(), |i, v| found[i] = v.copied());
                assert_eq!(found, ks.map(|k| model.get(&k).copied()));
            }
            // Beyond the limit these panic, as documented.
            Op::Insert(k, v) => {
                if room(&k, &model) {
                    assert_eq!(view.insert(k, v).copied(), model.insert(k, v));
                }
            }
            Op::GetOrInsert(k, v) => {
                if room(&k, &model) {
                    let mine = *model.entry(k).or_insert(v);
                    assert_eq!(*view.get_or_insert_with(k, || v), mine);
                }
            }
            Op::TryInsert(k, v) => match view.try_insert(k, v) {
                Ok(w) => {
                    assert_eq!(*w, v);
                    assert_eq!(model.insert(k, v), None);
                    assert!(model.len() <= limit);
                }
                Err(TryInsertError::Occupied { current, .. }) => {
                    assert_eq!(Some(current), model.get(&k));
                }
                Err(TryInsertError::Full { .. }) => assert_eq!(model.len(), limit),
                Err(e) => panic!("{e}"),
            },
            Op::Update(k) => {
                let next = model.get_mut(&k).map(|v| {
                    *v = v.wrapping_add(1);
                    *v
                });
                assert_eq!(view.update(&k, |v| v.wrapping_add(1)).copied(), next);
            }
            Op::Remove(k) => assert_eq!(view.remove(&k).copied(), model.remove(&k)),
            Op::Iterate => {
                let mut all: Vec<_> = view.iter().map(|(k, v)| (*k, *v)).collect();
                let mut expected: Vec<_> = model.iter().map(|(k, v)| (*k, *v)).collect();
                all.sort_unstable();
                expected.sort_unstable();
                assert_eq!(all, expected);
            }
            Op::Clear => {
                view.clear();
                model.clear();
            }
            Op::Resize(n) => map.resize(usize::from(n)).expect("memory"),
            Op::Reserve(n) => map.reserve(usize::from(n)).expect("memory"),
            Op::Shrink => map.shrink_to_fit().expect("memory"),
            Op::Maintain => {
                let _ = map.maintain().expect("memory");
            }
        }
        assert_eq!(map.len(), model.len());
    }
});
