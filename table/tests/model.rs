//! Sequential use: the map against `std::collections::HashMap`, operation by operation.

use nulls::{Compute, Entry, Equivalent, HashMap, Operation};
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

/// A key by reference.
#[derive(Hash)]
struct Short(u16);

impl Equivalent<u16> for Short {
    fn equivalent(&self, key: &u16) -> bool {
        self.0 == *key
    }
}

impl From<&Short> for u16 {
    fn from(s: &Short) -> u16 {
        s.0
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
    Compute(u16, u32),
    Entry(u16, u32),
    EntryRemove(u16),
    UpdateOrInsert(u16, u32),
    Upsert(u16, u32),
    RemoveIf(u16),
    RemoveValue(u16, u32),
    RemoveSame(u16),
    Retain(u32),
    Drain(usize),
    Scan(usize),
    Copies,
    Owned(u16, u32),
    Resize(u16),
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
        1 => proptest::collection::vec(key.clone(), 0..100).prop_map(Op::GetMany),
        4 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::Compute(k, v)),
        4 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::Entry(k, v)),
        2 => key.clone().prop_map(Op::EntryRemove),
        4 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::UpdateOrInsert(k, v)),
        4 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::Upsert(k, v)),
        4 => key.clone().prop_map(Op::RemoveIf),
        2 => (key.clone(), 0..4u32).prop_map(|(k, v)| Op::RemoveValue(k, v)),
        2 => key.clone().prop_map(Op::RemoveSame),
        1 => (2u32..9).prop_map(Op::Retain),
        1 => (0usize..300).prop_map(Op::Drain),
        1 => (0usize..90).prop_map(Op::Scan),
        1 => Just(Op::Copies),
        2 => (key.clone(), any::<u32>()).prop_map(|(k, v)| Op::Owned(k, v)),
        1 => (1u16..999).prop_map(Op::Resize),
        1 => Just(Op::Iter),
        1 => Just(Op::Clear),
        1 => (0u16..2000).prop_map(Op::Reserve),
        1 => Just(Op::Shrink),
        1 => Just(Op::Maintain),
    ]
}

fn run(hasher: Weak, ops: Vec<Op>) {
    let mut map = HashMap::with_hasher(hasher);
    let mut std = Std::new();
    for op in ops {
        if let Op::Owned(k, v) = op {
            if let Some(x) = map.get_mut(&k) {
                *x = v;
            }
            std.entry(k).and_modify(|x| *x = v);
            assert_eq!(map.take(&(k / 2)), std.remove_entry(&(k / 2)));
            continue;
        }
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
            Op::Compute(k, v) => {
                // Inserts, replaces, removes or leaves alone, as the value says.
                let done = pinned.compute(k, |seen| match seen {
                    None if v % 4 == 0 => Operation::Remove,
                    None => Operation::Insert(v),
                    Some((_, old)) if old % 3 == 0 => Operation::Abort(*old),
                    Some((_, old)) if old % 3 == 1 => Operation::Insert(old.wrapping_add(v)),
                    Some(_) => Operation::Remove,
                });
                match (std.get(&k).copied(), done) {
                    (None, Compute::Absent) => assert_eq!(v % 4, 0),
                    (None, Compute::Inserted(a, b)) => {
                        assert_eq!((*a, *b), (k, v));
                        std.insert(k, v);
                    }
                    (Some(old), Compute::Aborted(x)) => assert_eq!((old % 3, x), (0, old)),
                    (Some(old), Compute::Updated { old: a, new: b }) => {
                        assert_eq!((*a.1, *b.1), (old, old.wrapping_add(v)));
                        std.insert(k, *b.1);
                    }
                    (Some(old), Compute::Removed(a, b)) => {
                        assert_eq!((old % 3, *a, *b), (2, k, old));
                        std.remove(&k);
                    }
                    (was, done) => panic!("{was:?} {done:?}"),
                }
            }
            Op::Entry(k, v) => {
                let new = pinned
                    .entry(k)
                    .and_modify(|x| x.wrapping_mul(3))
                    .or_insert(v);
                assert_eq!(
                    new,
                    std.entry(k)
                        .and_modify(|x| *x = x.wrapping_mul(3))
                        .or_insert(v)
                );
                assert_eq!(pinned.entry_ref(&Short(k)).key().0, k);
            }
            Op::EntryRemove(k) => match pinned.entry(k) {
                Entry::Occupied(e) => {
                    assert_eq!(
                        e.remove_entry().ok(),
                        std.remove_entry(&k).as_ref().map(|(k, v)| (k, v))
                    );
                }
                Entry::Vacant(e) => assert_eq!((e.into_key(), std.get(&k)), (k, None)),
            },
            Op::UpdateOrInsert(k, v) => assert_eq!(
                pinned.update_or_insert(k, |x| x ^ v, v),
                std.entry(k).and_modify(|x| *x ^= v).or_insert(v)
            ),
            Op::Upsert(k, v) => {
                assert_eq!(pinned.try_upsert(k, v).unwrap().copied(), std.insert(k, v));
            }
            Op::RemoveIf(k) => {
                let gone = pinned.remove_if(&k, |a, b| *a == k && b % 2 == 0);
                let want = std.get(&k).copied().filter(|v| v % 2 == 0);
                assert_eq!(gone.map(|(_, v)| *v), want);
                want.map(|_| std.remove(&k));
            }
            Op::RemoveValue(k, v) => {
                let v = if v == 0 {
                    std.get(&k).copied().unwrap_or(9)
                } else {
                    v
                };
                let want = std.get(&k) == Some(&v);
                assert_eq!(pinned.remove_value(&k, &v).is_some(), want);
                if want {
                    std.remove(&k);
                }
            }
            Op::RemoveSame(k) => {
                if let Some(v) = pinned.get(&k) {
                    let equal = *v;
                    assert!(pinned.remove_same(&k, &equal).is_none());
                    assert_eq!(pinned.remove_same(&k, v), Some((&k, v)));
                    std.remove(&k);
                }
            }
            Op::Retain(n) => {
                pinned.retain(|_, v| v % n != 0);
                std.retain(|_, v| *v % n != 0);
            }
            Op::Drain(n) => {
                let mut drain = pinned.drain();
                for (k, v) in drain.by_ref().take(n) {
                    assert_eq!(std.remove(k), Some(*v));
                }
                drop(drain);
                std.clear();
            }
            Op::Scan(n) => {
                let (mut cursor, mut all) = (Some(0), Std::new());
                while let Some(from) = cursor {
                    cursor = pinned.scan(from, n, |k, v| assert!(all.insert(*k, *v).is_none()));
                }
                assert_eq!(all, std);
            }
            Op::Copies => {
                let copy = map.clone();
                assert!(copy == map);
                copy.pin().insert(1000, 0);
                assert!(copy != map);
                let given: Std<u16, u32> = copy.into_iter().filter(|(k, _)| *k != 1000).collect();
                assert_eq!(given, std);
            }
            Op::Owned(..) => unreachable!(),
            Op::Resize(n) => map.resize(n as usize).unwrap(),
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
