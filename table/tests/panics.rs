//! Panics in the user's code, at every place of every operation and in every state of the table.
//!
//! Afterwards all locks are free, every other entry is as it was, the entry in question is as before or as after the
//! operation, the length is right, and in the end every object has been dropped exactly once.

mod support;

use nulls::{Equivalent, HashMap};
use std::cell::Cell;
use std::collections::HashMap as Std;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use support::{Bad, Ledger, Token, in_time};

/// Where the user's code may panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    Hash,
    Eq,
    CloneKey,
    DropKey,
    DropValue,
    Closure,
}

const SITES: [Site; 6] = [
    Site::Hash,
    Site::Eq,
    Site::CloneKey,
    Site::DropKey,
    Site::DropValue,
    Site::Closure,
];

thread_local! {
    /// The site at which this thread panics, and after how many passes.
    static BOMB: Cell<Option<(Site, u32)>> = const { Cell::new(None) };
}

const BANG: &str = "a panic on purpose";

/// A place where a bomb may be.
fn pass(site: Site) {
    let Ok(Some((armed, n))) = BOMB.try_with(Cell::get) else {
        return;
    };
    if armed == site {
        BOMB.set((n > 0).then(|| (site, n - 1)));
        if n == 0 {
            panic!("{BANG}");
        }
    }
}

/// Runs `f` with a bomb at the pass numbered `n` of `site`. Whether it went off.
fn with_bomb(site: Site, n: u32, f: impl FnOnce()) -> bool {
    BOMB.set(Some((site, n)));
    let result = catch_unwind(AssertUnwindSafe(f));
    let left = BOMB.take();
    if let Err(e) = &result {
        assert_eq!(
            e.downcast_ref::<String>().map(String::as_str),
            Some(BANG),
            "another panic than ours"
        );
    }
    assert_eq!(result.is_err(), left.is_none());
    result.is_err()
}

/// One test at a time (a reader in another test would delay the garbage that these wait for), and no noise.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<String>().map(String::as_str) != Some(BANG) {
                loud(info);
            }
        }));
    });
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

struct Key(u64, Token);

impl Hash for Key {
    fn hash<H: Hasher>(&self, h: &mut H) {
        pass(Site::Hash);
        self.1.check();
        h.write_u64(self.0);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        pass(Site::Eq);
        self.1.check();
        other.1.check();
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        pass(Site::DropKey);
    }
}

/// Looks up a [`Key`] without making one.
struct Id(u64);

impl Hash for Id {
    fn hash<H: Hasher>(&self, h: &mut H) {
        pass(Site::Hash);
        h.write_u64(self.0);
    }
}

impl Equivalent<Key> for Id {
    fn equivalent(&self, key: &Key) -> bool {
        pass(Site::Eq);
        key.1.check();
        self.0 == key.0
    }
}

struct Value(u64, Token);

impl Drop for Value {
    fn drop(&mut self) {
        pass(Site::DropValue);
    }
}

type Map = HashMap<Key, Value, Bad>;

/// A map under test and what makes its objects.
struct Case {
    map: Map,
    ledger: Arc<Ledger>,
}

thread_local!(static LEDGER: Cell<Option<Arc<Ledger>>> = const { Cell::new(None) });

impl Clone for Key {
    fn clone(&self) -> Self {
        pass(Site::CloneKey);
        let ledger = LEDGER.take().expect("cloned within a case");
        let token = ledger.token();
        LEDGER.set(Some(ledger));
        Key(self.0, token)
    }
}

impl Case {
    fn key(&self, k: u64) -> Key {
        Key(k, self.ledger.token())
    }
    fn value(&self, v: u64) -> Value {
        Value(v, self.ledger.token())
    }
    fn put(&self, k: u64, v: u64) {
        self.map.pin().insert(self.key(k), self.value(v));
    }
}

/// Keys in every map at the start: `0..HELD`, with ten times the key as value.
const HELD: u64 = 60;
/// A key that is not.
const NEW: u64 = 1000;
/// A key that is.
const OLD: u64 = 33;

#[derive(Clone, Copy, Debug)]
enum State {
    Settled,
    /// A resize has begun that must hash every key again.
    Resizing,
    /// And another one waits for its end.
    Queued,
    /// The next removal or replacement frees garbage.
    Littered,
}

const STATES: [State; 4] = [
    State::Settled,
    State::Resizing,
    State::Queued,
    State::Littered,
];

fn case(state: State, hasher: Bad) -> Case {
    let case = Case {
        map: HashMap::with_hasher(hasher),
        ledger: Ledger::new(),
    };
    LEDGER.set(Some(case.ledger.clone()));
    for k in 0..HELD {
        case.put(k, k * 10);
    }
    while !case.map.maintain().unwrap() {}
    case.map.resize(10).unwrap();
    while !case.map.maintain().unwrap() {}
    match state {
        State::Settled => {}
        State::Resizing => case.map.resize(17).unwrap(),
        State::Queued => {
            case.map.resize(17).unwrap();
            case.map.resize(7).unwrap();
        }
        State::Littered => {
            // A first bag of 64 whose grace period has ended, and a second one that lacks one item to be full.
            for i in 0..64 + 127 {
                case.put(i % HELD, (i % HELD) * 10);
            }
            assert_eq!(case.map.garbage(), 64 + 127);
        }
    }
    case
}

fn keys_and_values(map: &Map) -> Std<u64, u64> {
    let mut all = Std::new();
    for (k, v) in &map.pin() {
        k.1.check();
        v.1.check();
        assert!(all.insert(k.0, v.0).is_none(), "key {} twice", k.0);
    }
    for (k, v) in &all {
        assert_eq!(
            map.pin().get(&Id(*k)).map(|v| v.0),
            Some(*v),
            "iterated but not found: {k}"
        );
    }
    assert_eq!(map.len(), all.len());
    all
}

/// What must hold after a panic. `allowed(key)`: the values that the key may have now.
fn examine(case: Case, context: &str, allowed: impl Fn(u64) -> Vec<Option<u64>>) {
    let Case { map, ledger } = &case;
    ledger.assert_none_dropped_twice();
    let all = in_time(context, || keys_and_values(map));
    for k in (0..HELD).chain([NEW]) {
        let now = all.get(&k).copied();
        assert!(allowed(k).contains(&now), "{context}: key {k} is {now:?}");
    }
    assert!(all.keys().all(|k| *k < HELD || *k == NEW), "{context}");
    // Every bucket can be written by another thread, and a resize comes to its end.
    in_time(context, || {
        for k in 0..300 {
            case.put(k, k + 1);
        }
        for k in 0..300 {
            assert_eq!(map.pin().get(&Id(k)).map(|v| v.0), Some(k + 1), "{context}");
        }
        for k in (0..300).step_by(2) {
            assert_eq!(
                map.pin().remove(&Id(k)).map(|v| v.0),
                Some(k + 1),
                "{context}"
            );
        }
        map.maintain().unwrap();
        assert!(!map.is_resizing(), "{context}");
        assert_eq!(
            keys_and_values(map).len(),
            150 + usize::from(all.contains_key(&NEW)),
            "{context}"
        );
    });
    let Case { map, ledger } = case;
    drop(map);
    ledger.assert_all_dropped_once();
    LEDGER.take();
}

/// Lets `op` panic at every pass of every site in every state. `allowed(key)`: the values that a key may have then.
/// Returns how often each site went off.
fn everywhere(
    name: &str,
    op: impl Fn(&Case),
    allowed: impl Fn(u64) -> Vec<Option<u64>>,
) -> Std<String, u32> {
    let _alone = alone();
    let mut bangs = Std::new();
    for state in STATES {
        for hasher in [Bad::Fx, Bad::Constant] {
            for site in SITES {
                // The many passes of a scan differ in nothing after the first few.
                for n in (0..12).chain((12..4000).step_by(23)) {
                    let case = case(state, hasher);
                    if !with_bomb(site, n, || op(&case)) {
                        break;
                    }
                    *bangs.entry(format!("{site:?}")).or_default() += 1;
                    let context = format!("{name}: {site:?} {n}, {state:?}, {hasher:?}");
                    examine(case, &context, &allowed);
                }
            }
        }
    }
    bangs
}

fn unchanged(k: u64) -> Vec<Option<u64>> {
    vec![(k < HELD).then_some(k * 10)]
}

/// Key `which` may also have the value `then`.
fn or(which: u64, then: Option<u64>) -> impl Fn(u64) -> Vec<Option<u64>> {
    move |k| {
        let mut may = unchanged(k);
        if k == which {
            may.push(then);
        }
        may
    }
}

/// The sites that must have gone off for the test to mean anything, and those that must not exist.
fn expect(bangs: &Std<String, u32>, sites: &[Site]) {
    for site in SITES {
        let n = bangs.get(&format!("{site:?}")).copied().unwrap_or(0);
        assert_eq!(n > 0, sites.contains(&site), "{site:?} went off {n} times");
    }
}

use Site::{CloneKey, Closure, DropKey, DropValue, Eq as EqSite, Hash as HashSite};

#[test]
fn get() {
    let bangs = everywhere(
        "get",
        |c| {
            let pinned = c.map.pin();
            assert_eq!(pinned.get(&Id(OLD)).unwrap().0, OLD * 10);
            assert!(pinned.get(&Id(NEW)).is_none());
            let (a, b) = (Id(1), Id(NEW));
            pinned.get_many(&[&a, &b, &a], |_, v| {
                pass(Site::Closure);
                assert!(v.is_none_or(|v| v.0 == 10));
            });
        },
        unchanged,
    );
    expect(&bangs, &[HashSite, EqSite, Closure]);
}

#[test]
fn insert_a_new_key() {
    let bangs = everywhere("insert new", |c| c.put(NEW, 7), or(NEW, Some(7)));
    // Only keys with the same tag are compared: those of one hash.
    expect(&bangs, &[HashSite, EqSite]);
}

#[test]
fn insert_over_an_old_key() {
    let bangs = everywhere("insert over", |c| c.put(OLD, 7), or(OLD, Some(7)));
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

#[test]
fn try_insert() {
    let bangs = everywhere(
        "try_insert",
        |c| {
            let pinned = c.map.pin();
            assert!(pinned.try_insert(c.key(NEW), c.value(7)).is_ok());
            assert!(pinned.try_insert(c.key(OLD), c.value(8)).is_err());
        },
        or(NEW, Some(7)),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

#[test]
fn get_or_insert_with() {
    let bangs = everywhere(
        "get_or_insert_with",
        |c| {
            let pinned = c.map.pin();
            let make = |v| {
                move || {
                    pass(Site::Closure);
                    c.value(v)
                }
            };
            assert_eq!(pinned.get_or_insert_with(c.key(NEW), make(7)).0, 7);
            assert_eq!(pinned.get_or_insert_with(c.key(OLD), make(8)).0, OLD * 10);
        },
        or(NEW, Some(7)),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, Closure]);
}

/// The loser of a race drops its own key and value: here the closure itself is the winner.
#[test]
fn get_or_insert_with_too_late() {
    let bangs = everywhere(
        "get_or_insert_with, too late",
        |c| {
            let pinned = c.map.pin();
            let got = pinned.get_or_insert_with(c.key(NEW), || {
                c.put(NEW, 7);
                c.value(8)
            });
            assert_eq!(got.0, 7);
        },
        or(NEW, Some(7)),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

#[test]
fn update() {
    let bangs = everywhere(
        "update",
        |c| {
            let pinned = c.map.pin();
            let add = |old: &Value| {
                pass(Site::Closure);
                c.value(old.0 + 1)
            };
            assert!(pinned.update(&Id(NEW), add).is_none());
            assert_eq!(pinned.update(&Id(OLD), add).unwrap().0, OLD * 10 + 1);
        },
        or(OLD, Some(OLD * 10 + 1)),
    );
    expect(
        &bangs,
        &[HashSite, EqSite, CloneKey, DropKey, DropValue, Closure],
    );
}

#[test]
fn remove() {
    let bangs = everywhere(
        "remove",
        |c| {
            let pinned = c.map.pin();
            assert!(pinned.remove(&Id(NEW)).is_none());
            let (k, v) = pinned.remove_entry(&Id(OLD)).unwrap();
            assert_eq!((k.0, v.0), (OLD, OLD * 10));
        },
        or(OLD, None),
    );
    expect(&bangs, &[HashSite, EqSite, DropKey, DropValue]);
}

#[test]
fn clear() {
    let bangs = everywhere(
        "clear",
        |c| c.map.pin().clear(),
        |k| {
            let mut may = unchanged(k);
            may.push(None);
            may
        },
    );
    expect(&bangs, &[HashSite, DropKey, DropValue]);
}

#[test]
fn iterate() {
    let bangs = everywhere(
        "iterate",
        // Only a step that does not begin with a bucket asks for hashes.
        |c| {
            assert_eq!(c.map.pin().iter().count(), HELD as usize);
            let (low, high) = (
                c.map.pin().range(..5 << 60).count(),
                c.map.pin().range(5 << 60..).count(),
            );
            assert_eq!(low + high, HELD as usize);
        },
        unchanged,
    );
    expect(&bangs, &[HashSite]);
}

#[test]
fn maintain_and_shrink() {
    let bangs = everywhere(
        "maintain",
        |c| {
            c.map.maintain().unwrap();
            c.map.shrink_to_fit().unwrap();
        },
        unchanged,
    );
    expect(&bangs, &[HashSite, DropKey, DropValue]);
}

/// An iterator whose key panicked goes on where it was: what stays in the map is still visited exactly once.
#[test]
fn an_iterator_survives_a_panic() {
    let _alone = alone();
    for state in STATES {
        let mut bangs = 0;
        for n in 0..20 {
            let case = case(state, Bad::Fx);
            // Some buckets have moved, so that steps ask for hashes, and most have not.
            while !case.map.maintain().unwrap() {}
            case.map.resize(100).unwrap();
            while !case.map.maintain().unwrap() {}
            case.map.resize(170).unwrap();
            case.put(5, 50);
            assert!(case.map.is_resizing());
            {
                let pinned = case.map.pin();
                let mut iter = pinned.iter();
                let mut seen = Vec::new();
                bangs += u32::from(with_bomb(Site::Hash, n, || {
                    seen.extend(iter.by_ref().map(|(k, _)| k.0))
                }));
                seen.extend(iter.map(|(k, _)| k.0));
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..HELD), "{state:?} {n}: {seen:?}");
            }
            examine(case, "iterator", unchanged);
        }
        assert!(bangs > 5, "{bangs}");
    }
}

/// A destructor that panics while the map is dropped loses no other entry: neither linked nor in the garbage.
#[test]
fn dropping_the_map() {
    let _alone = alone();
    for state in STATES {
        for site in [Site::DropKey, Site::DropValue] {
            let mut bangs = 0;
            for n in (0..20).chain((20..400).step_by(17)) {
                let Case { map, ledger } = case(state, Bad::Fx);
                if !with_bomb(site, n, || drop(map)) {
                    break;
                }
                bangs += 1;
                ledger.assert_all_dropped_once();
            }
            assert!(bangs > 20, "{bangs}");
        }
    }
}

/// A panic in one thread while others write: nobody waits for ever, and the count is right.
#[test]
fn among_other_threads() {
    let _alone = alone();
    let case = Case {
        map: HashMap::with_hasher(Bad::Fx),
        ledger: Ledger::new(),
    };
    let mut bangs = 0;
    in_time("among other threads", || {
        std::thread::scope(|s| {
            let threads: Vec<_> = (0..3u64)
                .map(|t| {
                    let case = &case;
                    s.spawn(move || {
                        LEDGER.set(Some(case.ledger.clone()));
                        let mut rng = support::Xorshift(t + 1);
                        let mut bangs = 0;
                        for i in 0..6000 {
                            let k = rng.below(200);
                            let site = SITES[rng.below(6) as usize];
                            let n = rng.below(8) as u32;
                            bangs += u32::from(with_bomb(site, n, || match rng.below(5) {
                                0 | 1 => case.put(k, i),
                                2 => drop(case.map.pin().update(&Id(k), |v| {
                                    pass(Site::Closure);
                                    case.value(v.0)
                                })),
                                3 => drop(case.map.pin().remove(&Id(k))),
                                _ => drop(case.map.pin().get_or_insert_with(case.key(k), || {
                                    pass(Site::Closure);
                                    case.value(i)
                                })),
                            }));
                            if i % 100 == 0 {
                                case.map.resize(1 + rng.below(60) as usize).unwrap();
                            }
                        }
                        LEDGER.take();
                        bangs
                    })
                })
                .collect();
            bangs = threads.into_iter().map(|t| t.join().unwrap()).sum::<u32>();
        });
    });
    assert!(bangs > 500, "{bangs}");
    assert!(keys_and_values(&case.map).keys().all(|k| *k < 200));
    case.map.maintain().unwrap();
    assert!(!case.map.is_resizing());
    drop(case.map);
    case.ledger.assert_all_dropped_once();
}
