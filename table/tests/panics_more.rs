//! As `panics`, for the operations that take a decision: `compute`, entries, conditional removals, `retain`, `drain`, limits.

mod support;

use nulls::{Compute, Entry, Operation};
use support::bombs::Site::{CloneKey, Closure, DropKey, DropValue, Eq as EqSite, Hash as HashSite};
use support::bombs::*;

#[test]
fn compute() {
    let bangs = everywhere(
        "compute",
        |c| {
            let pinned = c.map.pin();
            let done = pinned.compute(c.key(OLD), |seen| {
                pass(Closure);
                assert_eq!(seen.unwrap().1.0, OLD * 10);
                Operation::<_, ()>::Insert(c.value(7))
            });
            assert!(matches!(done, Compute::Updated { .. }));
            let done = pinned.compute(c.key(NEW), |seen| {
                pass(Closure);
                assert!(seen.is_none());
                // The first decision is outdated at once.
                if pinned.len() == HELD as usize {
                    c.put(NEW, 9);
                }
                Operation::<Value, _>::Abort("enough")
            });
            assert!(matches!(done, Compute::Aborted("enough")));
        },
        |k| match k {
            OLD => vec![Some(OLD * 10), Some(7)],
            NEW => vec![None, Some(9)],
            _ => unchanged(k),
        },
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue, Closure]);
}

#[test]
fn compute_removes() {
    let bangs = everywhere(
        "compute, remove",
        |c| {
            let pinned = c.map.pin();
            let done = pinned.compute(c.key(OLD), |_| {
                pass(Closure);
                Operation::<Value, ()>::Remove
            });
            assert!(matches!(done, Compute::Removed(..)));
            let pinned = c.map.pin();
            let done = pinned.compute(c.key(NEW), |_| Operation::<Value, ()>::Remove);
            assert!(matches!(done, Compute::Absent));
        },
        or(OLD, None),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue, Closure]);
}

/// The value that was made for an absent key is kept while the key comes and goes.
#[test]
fn update_or_insert() {
    let bangs = everywhere(
        "update_or_insert_with",
        |c| {
            let pinned = c.map.pin();
            let mut made = 0;
            let v = pinned.update_or_insert_with(
                c.key(NEW),
                |v| {
                    pass(Closure);
                    pinned.remove(&Id(NEW));
                    c.value(v.0 + 1)
                },
                || {
                    made += 1;
                    c.put(NEW, 3);
                    c.value(7)
                },
            );
            // Made when it was absent; it was there when that should be committed; and gone again when the update should.
            assert_eq!((v.0, made), (7, 1));
        },
        |k| match k {
            NEW => vec![None, Some(3), Some(7)],
            _ => unchanged(k),
        },
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue, Closure]);
}

#[test]
fn entry_or_insert() {
    let bangs = everywhere(
        "entry, or_insert_with",
        |c| {
            let pinned = c.map.pin();
            let v = pinned.entry(c.key(NEW)).or_insert_with(|| {
                pass(Closure);
                c.value(7)
            });
            assert_eq!(v.0, 7);
            assert_eq!(
                pinned.entry(c.key(OLD)).or_insert_with(|| unreachable!()).0,
                OLD * 10
            );
        },
        or(NEW, Some(7)),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, Closure]);
}

#[test]
fn entry_and_modify() {
    let bangs = everywhere(
        "entry, and_modify",
        |c| {
            let pinned = c.map.pin();
            let entry = pinned.entry(c.key(OLD)).and_modify(|v| {
                pass(Closure);
                c.value(v.0 + 1)
            });
            let Entry::Occupied(now) = entry else {
                panic!("it is there")
            };
            assert_eq!((now.key().0, now.get().0), (OLD, OLD * 10 + 1));
        },
        or(OLD, Some(OLD * 10 + 1)),
    );
    expect(
        &bangs,
        &[HashSite, EqSite, CloneKey, DropKey, DropValue, Closure],
    );
}

#[test]
fn entries_that_were_overtaken() {
    let bangs = everywhere(
        "overtaken entries",
        |c| {
            let pinned = c.map.pin();
            let Entry::Occupied(seen) = pinned.entry(c.key(OLD)) else {
                panic!("it is there")
            };
            c.put(OLD, 7);
            let not = seen.insert(c.value(8)).err().expect("it was replaced");
            assert_eq!((not.value.0, not.reason), (8, None));
            let Entry::Occupied(now) = not.entry else {
                panic!("it is there")
            };
            assert_eq!(now.get().0, 7);
            assert!(now.remove().is_ok());
            let Entry::Vacant(gap) = pinned.entry(c.key(NEW)) else {
                panic!("it is not there")
            };
            assert!(gap.insert(c.value(9)).is_ok());
        },
        |k| match k {
            OLD => vec![Some(OLD * 10), Some(7), None],
            NEW => vec![None, Some(9)],
            _ => unchanged(k),
        },
    );
    expect(&bangs, &[HashSite, EqSite, CloneKey, DropKey, DropValue]);
}

#[test]
fn remove_if() {
    let bangs = everywhere(
        "remove_if",
        |c| {
            let pinned = c.map.pin();
            let condition = |_: &Key, v: &Value| {
                pass(Closure);
                v.0 == OLD * 10
            };
            assert!(pinned.remove_if(&Id(1), condition).is_none());
            assert!(pinned.remove_if(&Id(NEW), condition).is_none());
            assert!(pinned.remove_if(&Id(OLD), condition).is_some());
        },
        or(OLD, None),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue, Closure]);
}

#[test]
fn retain() {
    let bangs = everywhere(
        "retain",
        |c| {
            c.map.pin().retain(|k, _| {
                pass(Closure);
                k.0 % 2 == 0
            });
        },
        |k| {
            let mut may = unchanged(k);
            if k % 2 == 1 {
                may.push(None);
            }
            may
        },
    );
    expect(&bangs, &[HashSite, DropKey, DropValue, Closure]);
}

#[test]
fn drain() {
    let bangs = everywhere(
        "drain",
        |c| {
            let pinned = c.map.pin();
            for (k, v) in pinned.drain() {
                assert_eq!(k.0 * 10, v.0);
                // A panic here unwinds through the iterator, which removes the rest.
                pass(Closure);
            }
        },
        |k| {
            let mut may = unchanged(k);
            may.push(None);
            may
        },
    );
    expect(&bangs, &[HashSite, DropKey, DropValue, Closure]);
}

#[test]
fn scan_and_range() {
    let bangs = everywhere(
        "scan",
        |c| {
            let pinned = c.map.pin();
            let (mut cursor, mut n) = (Some(0), 0);
            while let Some(from) = cursor {
                cursor = pinned.scan(from, 7, |_, _| {
                    pass(Closure);
                    n += 1;
                });
            }
            assert_eq!(n, HELD);
        },
        unchanged,
    );
    expect(&bangs, &[Closure]);
}

/// What an exclusive borrow allows: dropped exactly once, too.
#[test]
fn owned() {
    let bangs = everywhere(
        "take and get_mut",
        |c| {
            // A shared reference is all a case gives: a map of its own, with the same objects.
            let mut map: Map = Map::with_hasher(*c.map.hasher());
            map.pin().insert(c.key(1), c.value(1));
            map.pin().insert(c.key(2), c.value(2));
            map.get_mut(&Id(2)).unwrap().0 += 1;
            let (k, v) = map.take(&Id(1)).unwrap();
            assert_eq!((k.0, v.0), (1, 1));
            let mut rest = map.into_iter();
            let (k, v) = rest.next().unwrap();
            assert_eq!((k.0, v.0), (2, 3));
        },
        unchanged,
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

/// A set's closures: what they were asked about when they panicked is still there, and the set goes on.
#[test]
fn sets() {
    let set: nulls::HashSet<u64> = (0..100).collect();
    let pinned = set.pin();
    let caught = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();

    assert!(caught(
        &|| _ = pinned.remove_if(&3, |_| panic!("a condition"))
    ));
    assert!(pinned.contains(&3));
    assert_eq!(pinned.remove_if(&3, |_| true), Some(&3));

    let asked = std::cell::Cell::new(0);
    assert!(caught(&|| pinned.retain(|x| {
        asked.set(asked.get() + 1);
        assert_ne!(asked.get(), 50, "a filter");
        x % 2 == 0
    })));
    // 49 were decided about, all of them for good.
    assert!((0..100).step_by(2).all(|x| pinned.contains(&x)));
    let odd = (1..100).step_by(2).filter(|x| pinned.contains(x)).count();
    assert_eq!(set.len(), 50 + odd);
    pinned.retain(|x| x % 2 == 0);
    assert_eq!(set.len(), 50);
}
