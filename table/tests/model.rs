//! Sequential use: the map against `std::collections::HashMap`, operation by operation.

use nulls::HashMap;
use proptest::prelude::*;
use std::collections::HashMap as Std;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// Hashers that are weak on purpose.
#[derive(Clone, Copy, Debug)]
enum Weak {
    Good,
    Identity,
    Fx,
    Few,
    Constant,
}

#[derive(Clone, Copy, Debug)]
struct WeakHasher(Weak, u64);

impl BuildHasher for Weak {
    type Hasher = WeakHasher;
    fn build_hasher(&self) -> WeakHasher {
        WeakHasher(*self, 0)
    }
}

impl Hasher for WeakHasher {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.1 = self.1.rotate_left(8) ^ *b as u64;
        }
    }
    fn finish(&self) -> u64 {
        match self.0 {
            Weak::Good => {
                let mut h =
                    BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
                h.write_u64(self.1);
                h.finish()
            }
            Weak::Identity => self.1,
            Weak::Fx => self.1.wrapping_mul(0x517c_c1b7_2722_0a95),
            Weak::Few => self.1 & 3,
            Weak::Constant => 42,
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, u32),
    TryInsert(u16, u32),
    GetOrInsert(u16, u32),
    Update(u16, u32),
    Remove(u16),
    Get(u16),
    GetMany(Vec<u16>),
    Iter,
    Clear,
    Reserve(u16),
    Shrink,
    Maintain,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u16..400;
    prop_oneof![
        12 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::Insert(k, v)),
        4 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::TryInsert(k, v)),
        4 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::GetOrInsert(k, v)),
        4 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::Update(k, v)),
        8 => key.clone().prop_map(Op::Remove),
        8 => key.clone().prop_map(Op::Get),
        1 => proptest::collection::vec(key, 0..100).prop_map(Op::GetMany),
        1 => Just(Op::Iter),
        1 => Just(Op::Clear),
        1 => (0u16..2000).prop_map(Op::Reserve),
        1 => Just(Op::Shrink),
        1 => Just(Op::Maintain),
    ]
}

fn run(hasher: Weak, ops: Vec<Op>) {
    let map = HashMap::with_hasher(hasher);
    let mut std = Std::new();
    for op in ops {
        let pinned = map.pin();
        match op {
            Op::Insert(k, v) => assert_eq!(pinned.insert(k, v).copied(), std.insert(k, v)),
            Op::TryInsert(k, v) => match pinned.try_insert(k, v) {
                Ok(x) => {
                    assert_eq!(*x, v);
                    assert_eq!(std.insert(k, v), None);
                }
                Err(nulls::TryInsertError::Occupied {
                    current,
                    key,
                    value,
                }) => {
                    assert_eq!((key, value), (k, v));
                    assert_eq!(std.get(&k), Some(current));
                }
                Err(e) => panic!("{e}"),
            },
            Op::GetOrInsert(k, v) => assert_eq!(
                pinned.get_or_insert_with(k, || v),
                std.entry(k).or_insert(v)
            ),
            Op::Update(k, v) => {
                let new = pinned.update(&k, |old| old.wrapping_add(v)).copied();
                assert_eq!(
                    new,
                    std.get_mut(&k).map(|old| {
                        *old = old.wrapping_add(v);
                        *old
                    })
                );
            }
            Op::Remove(k) => assert_eq!(pinned.remove(&k).copied(), std.remove(&k)),
            Op::Get(k) => assert_eq!(pinned.get(&k), std.get(&k)),
            Op::GetMany(keys) => {
                let refs: Vec<&u16> = keys.iter().collect();
                let mut next = 0;
                pinned.get_many(&refs, |i, v| {
                    assert_eq!(i, next);
                    next += 1;
                    assert_eq!(v, std.get(&keys[i]));
                });
                assert_eq!(next, keys.len());
            }
            Op::Iter => {
                let mut all: Vec<_> = pinned.iter().map(|(k, v)| (*k, *v)).collect();
                let mut want: Vec<_> = std.iter().map(|(k, v)| (*k, *v)).collect();
                all.sort_unstable();
                want.sort_unstable();
                assert_eq!(all, want);
            }
            Op::Clear => {
                pinned.clear();
                std.clear();
            }
            Op::Reserve(n) => {
                map.reserve(n as usize).unwrap();
            }
            Op::Shrink => map.shrink_to_fit().unwrap(),
            Op::Maintain => {
                map.maintain().unwrap();
            }
        }
        assert_eq!(map.len(), std.len());
    }
    for (k, v) in &std {
        assert_eq!(map.pin().get(k), Some(v));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn equals_std(
        hasher in prop_oneof![
            4 => Just(Weak::Good), 2 => Just(Weak::Identity), 2 => Just(Weak::Fx), 1 => Just(Weak::Few), 1 => Just(Weak::Constant)
        ],
        ops in proptest::collection::vec(op(), 1..600),
    ) {
        run(hasher, ops);
    }
}

/// Iteration goes through the intervals of hashes in order, whatever the table's length.
#[test]
fn iterates_in_the_order_of_intervals() {
    let map = HashMap::with_hasher(Weak::Good);
    let pinned = map.pin();
    for i in 0..10_000u32 {
        pinned.insert(i, ());
    }
    for buckets in [1, 7, 100, 5000] {
        map.resize(buckets).unwrap();
        map.maintain().unwrap();
        assert_eq!(map.stats().table.buckets, buckets);
        let scale = |k| nulls::scale::reciprocal_scale(map.hash_of(k), buckets as u64);
        let order: Vec<u64> = pinned.keys().map(scale).collect();
        assert!(order.is_sorted(), "{buckets} buckets");
        assert_eq!(order.len(), 10_000);
        let all: std::collections::HashSet<&u32> = pinned.keys().collect();
        assert_eq!(all.len(), 10_000);
    }
}
