//! `InlineMap` in sequential use: against `std::collections::HashMap`, operation by operation; bad hashers, limits, panics,
//! use from within its own operations.

mod support;

use bytemuck::NoUninit;
use nulls::{AllocError, InlineInsertError, InlineMap};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashMap as Std;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::num::{NonZeroU8, NonZeroU64};
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::bombs::{Site, alone, pass, with_bomb};
use support::{Bad, in_time};

/// What can be done to a map. Keys and values are numbers, of which each shape makes its own.
#[derive(Clone, Debug)]
enum Op {
    Get(u16),
    GetMany(Vec<u16>),
    Insert(u16, u32),
    Upsert(u16, u32),
    TryInsert(u16, u32),
    GetOrInsert(u16, u32),
    GetOrInsertWith(u16, u32),
    Update(u16, u32),
    UpdateOrInsert(u16, u32),
    CompareExchange(u16, u32, bool),
    Remove(u16),
    RemoveIf(u16, u64),
    Retain(u64),
    Clear,
    Iter,
    Resize(u16),
    Reserve(u16),
    Shrink,
    Maintain,
    Copies,
    Extend(Vec<(u16, u32)>),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u16..300;
    let entry = (key.clone(), any::<u32>());
    prop_oneof![
        8 => key.clone().prop_map(Op::Get),
        2 => proptest::collection::vec(key.clone(), 0..100).prop_map(Op::GetMany),
        12 => entry.clone().prop_map(|(k, v)| Op::Insert(k, v)),
        4 => entry.clone().prop_map(|(k, v)| Op::Upsert(k, v)),
        4 => entry.clone().prop_map(|(k, v)| Op::TryInsert(k, v)),
        4 => entry.clone().prop_map(|(k, v)| Op::GetOrInsert(k, v)),
        4 => entry.clone().prop_map(|(k, v)| Op::GetOrInsertWith(k, v)),
        4 => entry.clone().prop_map(|(k, v)| Op::Update(k, v)),
        4 => entry.clone().prop_map(|(k, v)| Op::UpdateOrInsert(k, v)),
        4 => (entry.clone(), any::<bool>()).prop_map(|((k, v), right)| Op::CompareExchange(k, v, right)),
        8 => key.clone().prop_map(Op::Remove),
        4 => (key.clone(), 2u64..4).prop_map(|(k, n)| Op::RemoveIf(k, n)),
        1 => (2u64..9).prop_map(Op::Retain),
        1 => Just(Op::Clear),
        1 => Just(Op::Iter),
        3 => (1u16..200).prop_map(Op::Resize),
        1 => (0u16..1000).prop_map(Op::Reserve),
        1 => Just(Op::Shrink),
        2 => Just(Op::Maintain),
        1 => Just(Op::Copies),
        2 => proptest::collection::vec(entry, 0..150).prop_map(Op::Extend),
    ]
}

/// A number that says something of all bytes of an entry.
fn digest<K: NoUninit, V: NoUninit>(key: &K, value: &V) -> u64 {
    let bytes = bytemuck::bytes_of(key)
        .iter()
        .chain(bytemuck::bytes_of(value));
    bytes.fold(7, |n, b| n * 31 % 1_000_003 + u64::from(*b))
}

fn run<K, V>(hasher: Bad, ops: Vec<Op>, key: fn(u16) -> K, value: fn(u32) -> V)
where
    K: NoUninit + Hash + Eq + Debug,
    V: NoUninit + PartialEq + Debug,
{
    let mut map = InlineMap::with_hasher(hasher);
    let mut std = Std::new();
    // Some value that follows from the one before.
    let next = |old: V, v: u32| value(v ^ digest(&(), &old) as u32);
    for op in ops {
        if let Op::Extend(entries) = op {
            let entries = entries.into_iter().map(|(k, v)| (key(k), value(v)));
            std.extend(entries.clone());
            map.extend(entries);
            assert_eq!(map.len(), std.len());
            continue;
        }
        let view = map.pin();
        match op {
            Op::Get(k) => {
                assert_eq!(view.get(&key(k)), std.get(&key(k)).copied());
                assert_eq!(view.contains_key(&key(k)), std.contains_key(&key(k)));
            }
            Op::GetMany(keys) => {
                let keys: Vec<K> = keys.into_iter().map(key).collect();
                let mut expected = 0;
                view.get_many(&keys, |i, v| {
                    assert_eq!(i, expected);
                    expected += 1;
                    assert_eq!(v, std.get(&keys[i]).copied());
                });
                assert_eq!(expected, keys.len());
            }
            Op::Insert(k, v) => {
                assert_eq!(view.insert(key(k), value(v)), std.insert(key(k), value(v)));
            }
            Op::Upsert(k, v) => assert_eq!(
                view.try_upsert(key(k), value(v)),
                Ok(std.insert(key(k), value(v)))
            ),
            Op::TryInsert(k, v) => match view.try_insert(key(k), value(v)) {
                Ok(()) => assert_eq!(std.insert(key(k), value(v)), None),
                Err(InlineInsertError::Occupied { current }) => {
                    assert_eq!(std.get(&key(k)), Some(&current));
                }
                Err(e) => panic!("{e}"),
            },
            Op::GetOrInsert(k, v) => assert_eq!(
                view.get_or_insert(key(k), value(v)),
                *std.entry(key(k)).or_insert(value(v))
            ),
            Op::GetOrInsertWith(k, v) => {
                let mut called = false;
                let there = std.contains_key(&key(k));
                let got = view.get_or_insert_with(key(k), || {
                    called = true;
                    value(v)
                });
                assert_eq!(got, *std.entry(key(k)).or_insert(value(v)));
                assert_ne!(called, there);
            }
            Op::Update(k, v) => assert_eq!(
                view.update(&key(k), |old| next(old, v)),
                std.get_mut(&key(k)).map(|old| {
                    *old = next(*old, v);
                    *old
                })
            ),
            Op::UpdateOrInsert(k, v) => assert_eq!(
                view.update_or_insert(key(k), |old| next(old, v), value(v)),
                *std.entry(key(k))
                    .and_modify(|old| *old = next(*old, v))
                    .or_insert(value(v))
            ),
            Op::CompareExchange(k, v, right) => {
                let now = std.get(&key(k)).copied();
                let current = if right {
                    now.unwrap_or(value(v))
                } else {
                    value(v)
                };
                let done = view.compare_exchange(&key(k), current, value(v.rotate_left(9)));
                if now == Some(current) {
                    assert_eq!(done, Ok(current));
                    std.insert(key(k), value(v.rotate_left(9)));
                } else {
                    assert_eq!(done, Err(now));
                }
            }
            Op::Remove(k) => assert_eq!(view.remove(&key(k)), std.remove(&key(k))),
            Op::RemoveIf(k, n) => {
                let is_to_go = |v: V| digest(&(), &v).is_multiple_of(n);
                let want = std.get(&key(k)).copied().filter(|v| is_to_go(*v));
                assert_eq!(view.remove_if(&key(k), is_to_go), want);
                want.map(|_| std.remove(&key(k)));
            }
            Op::Retain(n) => {
                view.retain(|k, v| !digest(&k, &v).is_multiple_of(n));
                std.retain(|k, v| !digest(k, v).is_multiple_of(n));
            }
            Op::Clear => {
                view.clear();
                std.clear();
            }
            Op::Iter => {
                let (mut all, mut n) = (Std::new(), 0);
                for (k, v) in view.iter() {
                    all.insert(k, v);
                    n += 1;
                }
                assert_eq!((&all, n), (&std, std.len()));
            }
            Op::Resize(n) => map.resize(n as usize).unwrap(),
            Op::Reserve(n) => map.reserve(n as usize).unwrap(),
            Op::Shrink => map.shrink_to_fit().unwrap(),
            Op::Maintain => _ = map.maintain().unwrap(),
            Op::Copies => {
                let copy = map.clone();
                assert!(copy == map);
                let all: Std<K, V> = copy.pin().iter().collect();
                assert_eq!(all, std);
                if let Some((k, _)) = view.iter().next() {
                    copy.pin().remove(&k);
                    assert!(copy != map);
                }
            }
            Op::Extend(_) => unreachable!(),
        }
        assert_eq!(map.len(), std.len());
        assert_eq!(map.is_empty(), std.is_empty());
    }
    let view = map.pin();
    for (k, v) in &std {
        assert_eq!(view.get(k), Some(*v));
    }
    assert_eq!(view.iter().count(), std.len());
}

fn hasher() -> impl Strategy<Value = Bad> {
    prop_oneof![
        4 => Just(Bad::Fx), 2 => Just(Bad::Identity), 1 => Just(Bad::Low), 1 => Just(Bad::Top), 1 => Just(Bad::Constant)
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 1..400)
}

fn wide(k: u16) -> [u8; 16] {
    let k = u64::from(k).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&k.to_le_bytes());
    bytes[8..].copy_from_slice(&(!k).to_le_bytes());
    bytes
}

fn odd(k: u16) -> [u8; 13] {
    // Two of three keys differ only behind the first word.
    let mut bytes = [5; 13];
    bytes[0] = (k % 3) as u8;
    bytes[11..].copy_from_slice(&k.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 60 }, ..ProptestConfig::default() })]

    #[test]
    fn words(hasher in hasher(), ops in ops()) {
        run(hasher, ops, u64::from, |v| u64::from(v) << 20);
    }

    #[test]
    fn bytes(hasher in hasher(), ops in ops()) {
        run(hasher, ops, |k| k as u8, |v| v as i16);
    }

    #[test]
    fn keys_of_two_words(hasher in hasher(), ops in ops()) {
        run(hasher, ops.clone(), wide, |v| v);
        run(hasher, ops, odd, |v| v);
    }

    #[test]
    fn values_without_size(hasher in hasher(), ops in ops()) {
        run(hasher, ops.clone(), u64::from, |_| ());
        run(hasher, ops, odd, |_| ());
    }

    #[test]
    fn what_is_never_zero(hasher in hasher(), ops in ops()) {
        run(
            hasher,
            ops,
            |k| NonZeroU64::new(u64::from(k) + 1).unwrap(),
            |v| NonZeroU8::new(v as u8 | 1).unwrap(),
        );
    }
}

/// As many words as fit, of which a spill line holds one entry.
#[test]
fn the_largest_key() {
    type Large = [[u64; 13]; 1];
    let large = |k: u64| -> Large { [std::array::from_fn(|i| k * 100 + i as u64)] };
    let map = InlineMap::<Large, u64, _>::with_hasher(Bad::Low);
    for k in 0..1000 {
        assert_eq!(map.pin().insert(large(k), k), None);
    }
    map.resize(3).unwrap();
    map.maintain().unwrap();
    for k in 0..1000 {
        assert_eq!(map.pin().get(&large(k)), Some(k));
    }
    map.pin().retain(|_, v| v % 2 == 0);
    assert_eq!(map.pin().iter().map(|(_, v)| v).sum::<u64>(), 249_500);
}

/// What is in the map when `clear` is called is not there afterwards, although a resize is half-way through, whose buckets
/// do not end where the old ones end.
#[test]
fn clearing_in_the_middle_of_a_resize() {
    for (from, to) in [
        (7, 10),
        (10, 7),
        (3, 100),
        (100, 3),
        (8, 16),
        (90, 70),
        (70, 90),
    ] {
        for writes in [0, 1, 3] {
            let map = InlineMap::<u64, u64, _>::with_hasher(Bad::Fx);
            (0..300).for_each(|k| _ = map.pin().insert(k, k));
            map.resize(from).unwrap();
            map.maintain().unwrap();
            map.resize(to).unwrap();
            (0..writes).for_each(|k| _ = map.pin().remove(&k));
            map.pin().clear();
            assert_eq!(
                map.pin().iter().next(),
                None,
                "{from} to {to}, {} left",
                map.len()
            );
            assert!(map.is_empty());
        }
    }
}

/// Whoever overwrites takes part in a resize as whoever inserts and removes.
#[test]
fn overwriting_advances_a_resize() {
    for way in 0..4 {
        let map: InlineMap<u64, u64> = (0..1000).map(|k| (k, k)).collect();
        map.resize(999).unwrap();
        for k in 0..1000 {
            let view = map.pin();
            match way {
                0 => _ = view.insert(k, k),
                1 => _ = view.update(&k, |v| v + 1),
                2 => _ = view.update_or_insert(k, |v| v + 1, 0),
                _ => _ = view.compare_exchange(&k, k, k),
            }
        }
        assert!(!map.is_resizing(), "{way}");
        assert_eq!(map.buckets(), 999);
    }
}

/// A length that no memory has is refused, at the ends of what can be multiplied too, and the map is as before.
#[test]
fn lengths_that_are_too_large() {
    fn check<K: NoUninit + Hash + Eq, V: NoUninit>(map: &InlineMap<K, V>) {
        for words in 1..130 {
            for less in 0..3 {
                assert_eq!(
                    map.resize(usize::MAX / words - less),
                    Err(AllocError::System),
                    "{words}"
                );
            }
        }
        assert_eq!(map.reserve(usize::MAX), Err(AllocError::System));
        assert!(!map.is_resizing());
        assert_eq!(map.buckets(), 1);
        let hasher = map.hasher().clone();
        assert!(InlineMap::<K, V, _>::with_limit(usize::MAX, 1, hasher).is_err());
    }
    check(&InlineMap::from([(1u8, ())]));
    check(&InlineMap::from([(1u64, 1u64)]));
    check(&InlineMap::from([([1u8; 13], 1u32)]));
    check(&InlineMap::from([([1u64; 8], 1u32)]));
}

/// What compares equal need not be the same.
#[test]
fn compare_exchange_returns_what_was_there() {
    let map = InlineMap::from([(1u8, -0.0f64)]);
    let before = map.pin().compare_exchange(&1, 0.0, 1.0).unwrap();
    assert!(before.is_sign_negative());
    // A value that differs from itself is never the current one.
    map.pin().insert(1, f64::NAN);
    assert!(map.pin().compare_exchange(&1, f64::NAN, 1.0).is_err());
}

/// Iteration and interval by interval, whatever the number of buckets; growth by a tenth each time; from `n` to `m` and back.
#[test]
fn lengths_of_all_kinds() {
    let map = InlineMap::<u64, u64, _>::with_hasher(Bad::Fx);
    let view = map.pin();
    (0..3000).for_each(|k| _ = view.insert(k, !k));
    let check = |buckets: usize| {
        map.resize(buckets).unwrap();
        map.maintain().unwrap();
        assert_eq!(map.buckets(), buckets);
        let all: Std<u64, u64> = view.iter().collect();
        assert_eq!((all.len(), view.iter().count()), (3000, 3000));
        assert!((0..3000).all(|k| view.get(&k) == Some(!k)));
    };
    let mut n = 10;
    while n < 2000 {
        check(n);
        n += n / 10;
    }
    for (n, m) in [(1, 999), (1000, 1001), (17, 34), (64, 63), (900, 1)] {
        check(n);
        check(m);
        check(n);
    }
}

/// A wish during a resize is fulfilled after it; of several the last.
#[test]
fn a_resize_during_a_resize_is_queued() {
    let map: InlineMap<u64, u64> = (0..5000).map(|k| (k, k)).collect();
    map.maintain().unwrap();
    map.resize(50_000).unwrap();
    map.pin().insert(5000, 5000);
    assert!(map.is_resizing());
    map.resize(777).unwrap();
    map.resize(333).unwrap();
    map.maintain().unwrap();
    assert!(!map.is_resizing());
    assert_eq!(map.buckets(), 333);
    assert!((0..=5000).all(|k| map.pin().get(&k) == Some(k)));
}

/// A table that has lost nearly everything shrinks by itself, not below what was asked for; it grows again.
#[test]
fn shrinking() {
    let _alone = alone();
    let settle = |map: &InlineMap<u64, u64>| while !map.maintain().unwrap() {};
    let map = InlineMap::<u64, u64>::new();
    (0..50_000).for_each(|k| _ = map.pin().insert(k, k));
    settle(&map);
    let (buckets, memory) = (map.buckets(), map.memory());
    (100..50_000).for_each(|k| _ = map.pin().remove(&k));
    settle(&map);
    assert!(map.buckets() * 50 < buckets, "{} {buckets}", map.buckets());
    assert!(map.memory() * 2 < memory, "{} {memory}", map.memory());
    assert!((0..100).all(|k| map.pin().get(&k) == Some(k)));
    map.reserve(10_000).unwrap();
    map.maintain().unwrap();
    assert!(map.capacity() >= 10_000);
    (0..10_000).for_each(|k| _ = map.pin().insert(k, k));
    (100..10_000).for_each(|k| _ = map.pin().remove(&k));
    map.maintain().unwrap();
    assert!(map.capacity() >= 10_000);
    map.shrink_to_fit().unwrap();
    assert_eq!(map.buckets(), 25, "four entries a bucket");
    assert_eq!(map.pin().iter().count(), 100);
}

/// 10,000 keys of one hash behave as a list, whose lines are given back.
#[test]
fn one_hash_for_all() {
    let n = if cfg!(miri) { 200 } else { 10_000u64 };
    let map = InlineMap::<u64, u64, _>::with_hasher(Bad::Constant);
    let mut memory = Vec::new();
    for round in 0..6 {
        (0..n).for_each(|k| assert_eq!(map.pin().insert(k, k * 2), None));
        assert_eq!(
            (map.len(), map.pin().iter().count()),
            (n as usize, n as usize)
        );
        assert_eq!(map.pin().get(&(n / 2)), Some(n));
        assert_eq!(map.pin().get(&n), None);
        match round % 3 {
            0 => map.pin().clear(),
            1 => (0..n).for_each(|k| assert_eq!(map.pin().remove(&k), Some(k * 2))),
            _ => map.pin().retain(|_, _| false),
        }
        assert!(map.is_empty());
        map.shrink_to_fit().unwrap();
        while !map.maintain().unwrap() {
            std::thread::yield_now();
        }
        memory.push(map.memory());
    }
    assert!(memory.iter().all(|m| *m <= memory[0]), "{memory:?}");
}

/// Hashers that say something else each time, or now and then: answers are wrong, but all comes to its end.
#[test]
fn hashers_that_lie() {
    in_time("lies", || {
        for hasher in [Bad::Random, Bad::Flaky] {
            let map = InlineMap::<u64, u64, _>::with_hasher(hasher);
            for i in 0..5000u64 {
                let view = map.pin();
                view.insert(i % 700, i);
                view.remove(&(i * 7 % 700));
                view.update(&(i * 3 % 700), |v| v + 1);
                if i % 500 == 0 {
                    map.resize(1 + (i % 300) as usize).unwrap();
                    assert!(view.iter().all(|(k, v)| k < 700 && v <= 6000));
                }
            }
            map.maintain().unwrap();
            map.shrink_to_fit().unwrap();
            map.pin().retain(|_, v| v % 2 == 0);
            map.pin().clear();
            assert_eq!(map.pin().iter().count(), 0);
            assert_eq!(map.len(), 0);
        }
    });
}

/// A limit is exact, overwriting needs no room, and every removal makes some.
#[test]
fn limits() {
    let map = InlineMap::with_limit(0, 100, Bad::Fx).unwrap();
    let view = map.pin();
    assert_eq!(map.limit(), Some(100));
    (0..100u64).for_each(|k| assert_eq!(view.try_insert(k, k), Ok(())));
    assert_eq!(view.try_insert(100, 0), Err(InlineInsertError::Full));
    assert_eq!(view.try_upsert(100, 0), Err(InlineInsertError::Full));
    assert_eq!(view.try_upsert(99, 0), Ok(Some(99)));
    assert_eq!(
        view.try_insert(98, 0),
        Err(InlineInsertError::Occupied { current: 98 })
    );
    assert_eq!(view.get_or_insert(97, 0), 97);
    assert_eq!(view.update_or_insert(96, |v| v + 1, 0), 97);
    let full = catch_unwind(AssertUnwindSafe(|| _ = view.insert(100, 0)));
    assert!(full.is_err());
    let copy = map.clone();
    assert_eq!(
        (copy.limit(), copy.pin().try_insert(100, 0)),
        (None, Ok(()))
    );
    assert_eq!(view.remove(&5), Some(5));
    assert_eq!(view.try_insert(100, 0), Ok(()));
    assert_eq!(view.try_insert(101, 0), Err(InlineInsertError::Full));
    view.retain(|k, _| k >= 50);
    assert_eq!(
        (50..200)
            .filter(|k| view.try_insert(k + 1000, 0).is_ok())
            .count(),
        49
    );
    view.clear();
    assert_eq!(
        (0..200).filter(|k| view.try_insert(*k, 0).is_ok()).count(),
        100
    );
    // The same in one chain: a new line is given back if there is no room for its entry.
    let map = InlineMap::with_limit(0, 30, Bad::Constant).unwrap();
    for round in 0..50 {
        let view = map.pin();
        assert_eq!(
            (0..100u64)
                .filter(|k| view.try_insert(*k, 0).is_ok())
                .count(),
            30
        );
        assert_eq!(map.len(), 30);
        view.clear();
        assert!(map.memory() < 100_000, "round {round}");
    }
}

/// A key whose `Hash` and `Eq` may panic.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Bomb(u64);

// SAFETY: a `u64`.
unsafe impl NoUninit for Bomb {}

impl Hash for Bomb {
    fn hash<H: Hasher>(&self, h: &mut H) {
        pass(Site::Hash);
        h.write_u64(self.0);
    }
}

impl PartialEq for Bomb {
    fn eq(&self, other: &Self) -> bool {
        pass(Site::Eq);
        self.0 == other.0
    }
}

impl Eq for Bomb {}

type BombMap = InlineMap<Bomb, u64, Bad>;

/// Lets `op` panic at every pass of every site, in a settled map and in one that is being resized. Afterwards the map works, and
/// each key has its old value or one that `allowed` says.
fn everywhere(op: impl Fn(&BombMap), allowed: impl Fn(u64, Option<u64>) -> bool + Sync) {
    const HELD: u64 = 60;
    let _alone = alone();
    let mut bangs = 0;
    for (hasher, wish) in [
        (Bad::Fx, None),
        (Bad::Fx, Some(17)),
        (Bad::Fx, Some(20)),
        (Bad::Constant, Some(17)),
        (Bad::Constant, None),
    ] {
        for site in [Site::Hash, Site::Eq, Site::Closure] {
            for n in (0..12).chain((12..400).step_by(23)) {
                let map = BombMap::with_hasher(hasher);
                (0..HELD).for_each(|k| _ = map.pin().insert(Bomb(k), k * 10));
                map.resize(10).unwrap();
                map.maintain().unwrap();
                wish.into_iter().for_each(|n| map.resize(n).unwrap());
                if !with_bomb(site, n, || op(&map)) {
                    break;
                }
                bangs += 1;
                let context = format!("{site:?} {n}, {hasher:?}, {wish:?}");
                in_time(&context, || {
                    let all: Vec<(Bomb, u64)> = map.pin().iter().collect();
                    let distinct: Std<u64, u64> = all.iter().map(|(k, v)| (k.0, *v)).collect();
                    assert_eq!((all.len(), map.len()), (distinct.len(), distinct.len()));
                    for k in (0..HELD).chain([1000]) {
                        let now = map.pin().get(&Bomb(k));
                        assert_eq!(distinct.get(&k).copied(), now, "{context}");
                        let old = (k < HELD).then_some(k * 10);
                        assert!(now == old || allowed(k, now), "{context}: {k} is {now:?}");
                    }
                    (0..300).for_each(|k| _ = map.pin().insert(Bomb(k), k));
                    map.maintain().unwrap();
                    assert!((0..300).all(|k| map.pin().get(&Bomb(k)) == Some(k)));
                    assert!((0..300).all(|k| map.pin().remove(&Bomb(k)) == Some(k)));
                    map.pin().clear();
                    assert_eq!((map.len(), map.pin().iter().count()), (0, 0));
                });
            }
        }
    }
    assert!(bangs > 10, "{bangs}");
}

const OLD: Bomb = Bomb(33);
const NEW: Bomb = Bomb(1000);

#[test]
fn panics_while_looking() {
    everywhere(
        |map| {
            assert_eq!(map.pin().get(&OLD), Some(330));
            assert!(!map.pin().contains_key(&NEW));
            map.pin()
                .get_many(&[NEW, OLD, NEW], |_, _| pass(Site::Closure));
            assert_eq!(map.pin().iter().count(), 60);
        },
        |_, _| false,
    );
}

#[test]
fn panics_while_inserting() {
    everywhere(
        |map| {
            map.pin().insert(OLD, 1);
            map.pin().insert(NEW, 1);
        },
        |k, v| (k == OLD.0 || k == NEW.0) && v == Some(1),
    );
    everywhere(
        |map| {
            let seven = || {
                pass(Site::Closure);
                7
            };
            map.pin().get_or_insert_with(OLD, seven);
            map.pin().get_or_insert_with(NEW, seven);
        },
        |k, v| k == NEW.0 && v == Some(7),
    );
}

#[test]
fn panics_while_updating() {
    let more = |v| {
        pass(Site::Closure);
        v + 1
    };
    everywhere(
        |map| _ = map.pin().update(&OLD, more),
        |k, v| k == OLD.0 && v == Some(331),
    );
    everywhere(
        |map| {
            map.pin().update_or_insert(OLD, more, 5);
            map.pin().update_or_insert(NEW, more, 5);
            map.pin().update_or_insert(NEW, more, 5);
        },
        |k, v| k == OLD.0 && v == Some(331) || k == NEW.0 && matches!(v, Some(5 | 6)),
    );
    everywhere(
        |map| _ = map.pin().compare_exchange(&OLD, 330, 1),
        |k, v| k == OLD.0 && v == Some(1),
    );
}

#[test]
fn panics_while_removing() {
    everywhere(
        |map| {
            let gone = map.pin().remove_if(&OLD, |v| {
                pass(Site::Closure);
                v == 330
            });
            assert_eq!(gone, Some(330));
            map.pin().remove(&NEW);
        },
        |k, v| k == OLD.0 && v.is_none(),
    );
    everywhere(
        |map| {
            map.pin().retain(|_, v| {
                pass(Site::Closure);
                v % 20 == 0
            });
        },
        |k, v| k % 2 == 1 && v.is_none(),
    );
    everywhere(|map| map.pin().clear(), |_, v| v.is_none());
}

#[test]
fn panics_while_resizing() {
    everywhere(
        |map| {
            map.resize(7).unwrap();
            map.maintain().unwrap();
            map.resize(70).unwrap();
            map.shrink_to_fit().unwrap();
        },
        |_, _| false,
    );
}

/// An iterator whose map's `Hash` has panicked goes on: it yields what it has not yielded, and nothing twice.
#[test]
fn an_iterator_goes_on_after_a_panic() {
    let _alone = alone();
    let map = BombMap::with_hasher(Bad::Fx);
    (0..200).for_each(|k| _ = map.pin().insert(Bomb(k), k));
    map.resize(100).unwrap();
    map.maintain().unwrap();
    // Steps do not end where buckets end, so that keys are hashed.
    map.resize(70).unwrap();
    map.pin().remove(&Bomb(0));
    for n in 0..100 {
        let (mut seen, mut bang) = (vec![0; 200], false);
        let view = map.pin();
        let mut iter = view.iter();
        let mut take = |n: usize| {
            iter.by_ref()
                .take(n)
                .for_each(|(k, _)| seen[k.0 as usize] += 1)
        };
        bang |= with_bomb(Site::Hash, n, || take(200));
        take(200);
        assert!(bang || n > 0, "nothing was hashed");
        assert!(seen[1..].iter().all(|n| *n == 1), "{n}: {seen:?}");
    }
}

/// Closures that use the map they are called by: they write to their own bucket, too, in the first call only (each change of the
/// bucket has them called again).
#[test]
fn closures_use_the_map() {
    in_time("closures", || {
        for hasher in [Bad::Fx, Bad::Constant] {
            let map = InlineMap::<u64, u64, _>::with_hasher(hasher);
            let view = map.pin();
            let first = Cell::new(true);
            let once = |f: &dyn Fn()| {
                if first.replace(false) {
                    f();
                }
            };
            let again = || first.set(true);

            let got = view.get_or_insert_with(1, || {
                once(&|| {
                    view.insert(1, 5);
                    (100..400).for_each(|k| _ = view.insert(k, k));
                });
                6
            });
            assert_eq!((got, view.get(&1)), (5, Some(5)));
            let got = view.get_or_insert_with(2, || {
                (400..500).for_each(|k| _ = view.insert(k, k));
                map.maintain().unwrap();
                6
            });
            assert_eq!((got, map.len()), (6, 402));

            again();
            let new = view.update(&1, |v| {
                once(&|| {
                    assert_eq!(view.update(&1, |v| v * 2), Some(10));
                    map.resize(77).unwrap();
                    map.maintain().unwrap();
                });
                v + 1
            });
            assert_eq!(new, Some(11));
            let gone = view.update(&1, |v| view.remove(&1).unwrap_or(v));
            assert_eq!((gone, view.get(&1)), (None, None));

            again();
            let new = view.update_or_insert(
                2,
                |v| {
                    once(&|| view.clear());
                    v + 1
                },
                9,
            );
            assert_eq!((new, map.len()), (9, 1));

            again();
            let gone = view.remove_if(&2, |v| {
                once(&|| _ = view.insert(2, 50));
                v == 9 || v == 50
            });
            assert_eq!((gone, map.len()), (Some(50), 0));

            (0..100).for_each(|k| _ = view.insert(k, k));
            view.retain(|k, v| {
                // Entries that come and go, in the same bucket or not.
                view.insert(k + 1000, v);
                view.remove(&(k + 1000));
                v % 2 == 0
            });
            assert_eq!(map.len(), 50);
            let mut found = 0;
            view.get_many(&[0, 1, 2], |i, v| {
                view.insert(1, 1);
                view.remove(&(i as u64));
                found += usize::from(v.is_some());
            });
            assert!(found >= 2);
            for (k, v) in view.iter() {
                assert_eq!(view.remove(&k), Some(v));
                view.insert(k + 10_000, v);
                if k > 10_000 {
                    view.remove(&(k + 10_000));
                }
            }
        }
    });
}

/// Nested views, and a view that is held while the map changes its size.
#[test]
fn views() {
    let map: InlineMap<u32, u32> = (0..10).map(|k| (k, k)).collect();
    let mut a = map.pin();
    let b = map.pin_owned();
    (0..5000).for_each(|k| _ = a.insert(k, k));
    map.shrink_to_fit().unwrap();
    assert_eq!((a.get(&4999), b.get(&4999)), (Some(4999), Some(4999)));
    a.refresh();
    std::thread::scope(|s| {
        s.spawn(|| assert_eq!(b.remove(&1), Some(1)));
    });
    assert_eq!((a.get(&1), a.len(), b.map().len()), (None, 4999, 4999));
    assert_eq!(format!("{:?}", InlineMap::from([(1u8, 2u8)])), "{1: 2}");
}
