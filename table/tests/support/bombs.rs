//! Panics in the user's code, at every place of an operation and in every state of the table.
#![allow(dead_code, reason = "each test file uses a part of it")]

use super::{Bad, Ledger, Token, in_time};
use nulls::{Equivalent, HashMap};
use std::cell::Cell;
use std::collections::HashMap as Std;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once};

/// Where the user's code may panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    Hash,
    Eq,
    CloneKey,
    DropKey,
    DropValue,
    Closure,
}

pub const SITES: [Site; 6] = [
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

pub const BANG: &str = "a panic on purpose";

/// A place where a bomb may be.
pub fn pass(site: Site) {
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
pub fn with_bomb(site: Site, n: u32, f: impl FnOnce()) -> bool {
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
pub fn alone() -> MutexGuard<'static, ()> {
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

pub struct Key(pub u64, pub Token);

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
pub struct Id(pub u64);

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

pub struct Value(pub u64, pub Token);

impl Drop for Value {
    fn drop(&mut self) {
        pass(Site::DropValue);
    }
}

pub type Map = HashMap<Key, Value, Bad>;

/// A map under test and what makes its objects.
pub struct Case {
    pub map: Map,
    pub ledger: Arc<Ledger>,
}

thread_local!(pub static LEDGER: Cell<Option<Arc<Ledger>>> = const { Cell::new(None) });

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
    pub fn key(&self, k: u64) -> Key {
        Key(k, self.ledger.token())
    }
    pub fn value(&self, v: u64) -> Value {
        Value(v, self.ledger.token())
    }
    pub fn put(&self, k: u64, v: u64) {
        self.map.pin().insert(self.key(k), self.value(v));
    }
}

/// Keys in every map at the start: `0..HELD`, with ten times the key as value.
pub const HELD: u64 = 60;
/// A key that is not.
pub const NEW: u64 = 1000;
/// A key that is.
pub const OLD: u64 = 33;

#[derive(Clone, Copy, Debug)]
pub enum State {
    Settled,
    /// A resize has begun that must hash every key again.
    Resizing,
    /// And another one waits for its end.
    Queued,
    /// The next removal or replacement frees garbage.
    Littered,
}

pub const STATES: [State; 4] = [
    State::Settled,
    State::Resizing,
    State::Queued,
    State::Littered,
];

pub fn case(state: State, hasher: Bad) -> Case {
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

pub fn keys_and_values(map: &Map) -> Std<u64, u64> {
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
pub fn examine(case: Case, context: &str, allowed: impl Fn(u64) -> Vec<Option<u64>>) {
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
pub fn everywhere(
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

pub fn unchanged(k: u64) -> Vec<Option<u64>> {
    vec![(k < HELD).then_some(k * 10)]
}

/// Key `which` may also have the value `then`.
pub fn or(which: u64, then: Option<u64>) -> impl Fn(u64) -> Vec<Option<u64>> {
    move |k| {
        let mut may = unchanged(k);
        if k == which {
            may.push(then);
        }
        may
    }
}

/// The sites that must have gone off for the test to mean anything, and those that must not exist.
pub fn expect(bangs: &Std<String, u32>, sites: &[Site]) {
    for site in SITES {
        let n = bangs.get(&format!("{site:?}")).copied().unwrap_or(0);
        assert_eq!(n > 0, sites.contains(&site), "{site:?} went off {n} times");
    }
}
