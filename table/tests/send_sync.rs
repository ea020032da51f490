//! What may cross threads. Every line of this file is checked when it is compiled.

use nulls::raw::{Probe, Table};
use nulls::rcu::{Guard, OwnedGuard};
use nulls::{
    HashMap, HashMapRef, HashSet, InlineIter, InlineMap, InlineMapRef, Iter, TryInsertError,
};
use std::cell::{Cell, RefCell};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::MutexGuard;

/// Does not compile unless `$t: $bound`.
macro_rules! is {
    ($bound:ident: $($t:ty),* $(,)?) => {
        const _: () = {
            const fn is<T: $bound + ?Sized>() {}
            $(is::<$t>();)*
        };
    };
}

/// Does not compile if `$t: $bound`: both impls would apply, and the method be ambiguous.
macro_rules! is_not {
    ($bound:ident: $($t:ty),* $(,)?) => {
        const _: () = {
            trait Ambiguous<A> {
                const IT: () = ();
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Invalid;
            impl<T: ?Sized + $bound> Ambiguous<Invalid> for T {}
            $(let () = <$t as Ambiguous<_>>::IT;)*
        };
    };
}

/// `Send`, not `Sync`.
type OnlySend = Cell<u64>;
/// `Sync`, not `Send`.
type OnlySync = MutexGuard<'static, u64>;
type Neither = Rc<u64>;

is!(Send: OnlySend);
is_not!(Sync: OnlySend);
is!(Sync: OnlySync);
is_not!(Send: OnlySync);

// A map owns its entries: it may move if they may.
is!(Send: HashMap<u64, u64>, HashMap<u64, OnlySend>, HashMap<OnlySend, u64>, HashMap<u64, RefCell<u64>>);
is_not!(Send: HashMap<u64, Neither>, HashMap<Neither, u64>, HashMap<u64, OnlySync>, HashMap<OnlySync, u64>);
is!(Send: HashMap<u64, u64, OnlySend>);
is_not!(Send: HashMap<u64, u64, Neither>, HashMap<u64, u64, OnlySync>);

// A shared map gives `&V` to every thread (needs `Sync`), and takes and drops values on any of them (needs `Send`).
is!(Sync: HashMap<u64, u64>, HashMap<String, Vec<u64>>);
is_not!(Sync: HashMap<u64, OnlySend>, HashMap<OnlySend, u64>);
is_not!(Sync: HashMap<u64, OnlySync>, HashMap<OnlySync, u64>);
is_not!(Sync: HashMap<u64, Neither>, HashMap<Neither, u64>);
// The hasher is only shared.
is!(Sync: HashMap<u64, u64, OnlySync>);
is_not!(Sync: HashMap<u64, u64, OnlySend>, HashMap<u64, u64, Neither>);

// Guards belong to their thread, and so does all that contains or borrows one.
is_not!(Send: Guard, &'static Guard, HashMapRef<'static, u64, u64>, &'static HashMapRef<'static, u64, u64>);
is_not!(Sync: Guard, HashMapRef<'static, u64, u64>);
is_not!(Send: Iter<'static, u64, u64, Cell<u64>>, Iter<'static, u64, u64, u64>);
is_not!(Sync: Iter<'static, u64, u64, u64>);
is!(Send: OwnedGuard, &'static OwnedGuard);
is!(Sync: OwnedGuard);

// The raw table holds numbers.
is!(Send: Table);
is!(Sync: Table);

// What comes back is as good as what went in.
is!(Send: TryInsertError<'static, u64, u64>, Probe<'static>);
is_not!(Send: TryInsertError<'static, u64, Neither>, TryInsertError<'static, u64, OnlySend>);

/// So that the file is a test, and an owned guard is seen at work in another thread than its maker's.
#[test]
fn an_owned_guard_protects_wherever_it_is() {
    let map: HashMap<u64, String> = HashMap::new();
    map.pin().insert(1, "one".into());
    let guard = OwnedGuard::new();
    let value = map.get_with(&1, &guard);
    std::thread::scope(|s| {
        // Two threads use it at once, and neither is pinned itself.
        let a = s.spawn(|| map.remove_with(&1, &guard).cloned());
        let b = s.spawn(|| map.get_with(&1, &guard).cloned());
        assert_eq!(a.join().unwrap().as_deref(), Some("one"));
        assert!(b.join().unwrap().is_none_or(|v| v == "one"));
    });
    map.maintain().unwrap();
    assert_eq!((map.garbage(), value.map(String::as_str)), (1, Some("one")));
    // Its end may come in another thread too.
    std::thread::spawn(move || drop(guard)).join().unwrap();
    while !map.maintain().unwrap() {
        std::thread::yield_now();
    }
}

// A panic leaves a map as usable as it was: what counts is what keys, values and hashers say of themselves.
is!(UnwindSafe: HashMap<u64, String>, HashSet<String>, HashMap<u64, Cell<u64>>);
is!(RefUnwindSafe: HashMap<u64, String>, HashSet<String>);
is_not!(UnwindSafe: HashMap<u64, &'static mut u64>, HashMap<&'static mut u64, u64>, HashMap<u64, u64, &'static mut u64>);
is_not!(RefUnwindSafe: HashMap<u64, Cell<u64>>, HashMap<Cell<u64>, u64>, HashMap<u64, u64, Cell<u64>>);

// A map of plain entries gives copies to whoever has it, and takes some from everybody who shares it; the hasher is only shared.
is!(Send: InlineMap<u64, u64>, InlineMap<u64, OnlySend>, InlineMap<OnlySend, u64>, InlineMap<u64, u64, OnlySend>);
is_not!(Send: InlineMap<u64, Neither>, InlineMap<Neither, u64>, InlineMap<u64, OnlySync>, InlineMap<OnlySync, u64>);
is_not!(Send: InlineMap<u64, u64, Neither>, InlineMap<u64, u64, OnlySync>);
is!(Sync: InlineMap<u64, u64>, InlineMap<u64, u64, OnlySync>);
is_not!(Sync: InlineMap<u64, OnlySend>, InlineMap<OnlySend, u64>, InlineMap<u64, OnlySync>, InlineMap<OnlySync, u64>);
is_not!(Sync: InlineMap<u64, u64, OnlySend>, InlineMap<u64, u64, Neither>);
is!(Send: InlineMapRef<'static, u64, u64, (), OwnedGuard>);
is!(Sync: InlineMapRef<'static, u64, u64, (), OwnedGuard>);
is_not!(Send: InlineMapRef<'static, u64, u64>, InlineIter<'static, u64, u64, ()>);
is_not!(Sync: InlineMapRef<'static, u64, u64>, InlineIter<'static, u64, u64, ()>);
is_not!(Send: InlineMapRef<'static, u64, OnlySend, (), OwnedGuard>);
is!(UnwindSafe: InlineMap<u64, u64>);
is!(RefUnwindSafe: InlineMap<u64, u64>);
is_not!(RefUnwindSafe: InlineMap<u64, u64, Cell<u64>>);
