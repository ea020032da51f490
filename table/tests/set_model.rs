//! `HashSet` against `std`'s, in sequential use.

mod support;

use nulls::HashSet;
use proptest::prelude::*;
use std::collections::HashSet as Std;
use support::Bad;

#[derive(Clone, Debug)]
enum Op {
    Insert(u64),
    TryInsert(u64),
    Replace(u64),
    GetOrInsert(u64),
    Remove(u64),
    RemoveIf(u64, bool),
    Take(u64),
    Retain(u64),
    Drain,
    Clear,
    Resize(usize),
    Shrink,
    Algebra(Vec<u64>),
}

fn op() -> impl Strategy<Value = Op> {
    let x = || 0..40u64;
    prop_oneof![
        8 => x().prop_map(Op::Insert),
        2 => x().prop_map(Op::TryInsert),
        2 => x().prop_map(Op::Replace),
        2 => x().prop_map(Op::GetOrInsert),
        4 => x().prop_map(Op::Remove),
        2 => (x(), any::<bool>()).prop_map(|(x, yes)| Op::RemoveIf(x, yes)),
        1 => x().prop_map(Op::Take),
        1 => (2..5u64).prop_map(Op::Retain),
        1 => Just(Op::Drain),
        1 => Just(Op::Clear),
        1 => (1..60usize).prop_map(Op::Resize),
        1 => Just(Op::Shrink),
        2 => proptest::collection::vec(x(), 0..40).prop_map(Op::Algebra),
    ]
}

fn sorted<'a>(elements: impl Iterator<Item = &'a u64>) -> Vec<u64> {
    let mut all: Vec<u64> = elements.copied().collect();
    all.sort_unstable();
    all
}

fn algebra(set: &HashSet<u64, Bad>, std: &Std<u64>, other: &[u64]) {
    let (a, b) = (set.pin(), HashSet::<u64>::from_iter(other.iter().copied()));
    let (b, c) = (b.pin(), Std::from_iter(other.iter().copied()));
    assert_eq!(a.is_disjoint(&b), std.is_disjoint(&c));
    assert_eq!(a.is_subset(&b), std.is_subset(&c));
    assert_eq!(a.is_superset(&b), std.is_superset(&c));
    assert_eq!(sorted(a.intersection(&b)), sorted(std.intersection(&c)));
    assert_eq!(sorted(a.difference(&b)), sorted(std.difference(&c)));
    assert_eq!(sorted(a.union(&b)), sorted(std.union(&c)));
    assert_eq!(
        sorted(a.symmetric_difference(&b)),
        sorted(std.symmetric_difference(&c))
    );
}

fn apply(set: &mut HashSet<u64, Bad>, std: &mut Std<u64>, op: Op) {
    match op {
        Op::Insert(x) => assert_eq!(set.pin().insert(x), std.insert(x)),
        Op::TryInsert(x) => assert_eq!(set.pin().try_insert(x), Ok(std.insert(x))),
        Op::Replace(x) => assert_eq!(set.pin().replace(x), std.replace(x)),
        Op::GetOrInsert(x) => {
            assert_eq!(set.pin().get_or_insert(x), &x);
            std.insert(x);
        }
        Op::Remove(x) => assert_eq!(set.pin().remove(&x).copied(), std.take(&x)),
        Op::RemoveIf(x, yes) => {
            let gone = set.pin().remove_if(&x, |_| yes).copied();
            assert_eq!(gone, if yes { std.take(&x) } else { None });
        }
        Op::Take(x) => assert_eq!(set.take(&x), std.take(&x)),
        Op::Retain(n) => {
            set.pin().retain(|x| x % n != 0);
            std.retain(|x| x % n != 0);
        }
        Op::Drain => {
            assert_eq!(sorted(set.pin().drain()), sorted(std.iter()));
            std.clear();
        }
        Op::Clear => {
            set.pin().clear();
            std.clear();
        }
        Op::Resize(n) => set.as_map().resize(n).unwrap(),
        Op::Shrink => set.shrink_to_fit().unwrap(),
        Op::Algebra(other) => algebra(set, std, &other),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_set_does_what_std_s_does(
        hasher in prop_oneof![Just(Bad::Fx), Just(Bad::Identity), Just(Bad::Constant), Just(Bad::Low)],
        ops in proptest::collection::vec(op(), 1..300),
    ) {
        let mut set = HashSet::with_hasher(hasher);
        let mut std = Std::new();
        for op in ops {
            apply(&mut set, &mut std, op);
            assert_eq!((set.len(), set.is_empty()), (std.len(), std.is_empty()));
            for x in 0..40 {
                assert_eq!(set.pin().contains(&x), std.contains(&x));
                assert_eq!(set.pin().get(&x), std.get(&x));
            }
        }
        assert_eq!(sorted(set.pin().iter()), sorted(std.iter()));
        assert_eq!(sorted(set.pin().range(..)), sorted(std.iter()));
    }
}
