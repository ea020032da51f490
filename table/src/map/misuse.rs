//! Programs that must not compile, each beside a twin that does and differs in nothing but the mistake.
//!
//! # A map is shared only if its keys and values may be
//!
//! ```
//! let map: nulls::HashMap<std::sync::Arc<u8>, u8> = nulls::HashMap::new();
//! std::thread::scope(|s| { s.spawn(|| map.len()); });
//! ```
//! ```compile_fail,E0277
//! let map: nulls::HashMap<std::rc::Rc<u8>, u8> = nulls::HashMap::new();
//! std::thread::scope(|s| { s.spawn(|| map.len()); });
//! ```
//!
//! ```
//! let map: nulls::HashMap<u8, std::sync::atomic::AtomicU8> = nulls::HashMap::new();
//! std::thread::scope(|s| { s.spawn(|| map.len()); });
//! ```
//! ```compile_fail,E0277
//! let map: nulls::HashMap<u8, std::cell::Cell<u8>> = nulls::HashMap::new();
//! std::thread::scope(|s| { s.spawn(|| map.len()); });
//! ```
//!
//! A map of cells may be moved, but one of counted references may not, since others may hold some.
//!
//! ```
//! let map: nulls::HashMap<u8, std::cell::Cell<u8>> = nulls::HashMap::new();
//! std::thread::spawn(move || map.len());
//! ```
//! ```compile_fail,E0277
//! let map: nulls::HashMap<u8, std::rc::Rc<u8>> = nulls::HashMap::new();
//! std::thread::spawn(move || map.len());
//! ```
//!
//! # Views, guards and iterators belong to their thread
//!
//! ```
//! let map: nulls::HashMap<u8, u8> = nulls::HashMap::new();
//! std::thread::scope(|s| { s.spawn(|| { let view = map.pin(); view.len() }); });
//! ```
//! ```compile_fail,E0277
//! let map: nulls::HashMap<u8, u8> = nulls::HashMap::new();
//! std::thread::scope(|s| { let view = map.pin(); s.spawn(move || { view.len() }); });
//! ```
//! ```compile_fail,E0277
//! let map: nulls::HashMap<u8, u8> = nulls::HashMap::new();
//! let view = map.pin();
//! std::thread::scope(|s| { s.spawn(|| { view.len() }); });
//! ```
//!
//! ```
//! let map: nulls::HashMap<u8, u8> = nulls::HashMap::new();
//! let guard = nulls::rcu::OwnedGuard::new();
//! std::thread::scope(|s| { s.spawn(|| map.get_with(&1, &guard).is_some()); });
//! ```
//! ```compile_fail,E0277
//! let map: nulls::HashMap<u8, u8> = nulls::HashMap::new();
//! let guard = map.guard();
//! std::thread::scope(|s| { s.spawn(|| map.get_with(&1, &guard).is_some()); });
//! ```
//!
//! ```
//! let map: nulls::HashMap<u8, u8> = nulls::HashMap::new();
//! let guard = nulls::rcu::OwnedGuard::new();
//! std::thread::scope(|s| { s.spawn(|| map.iter_with(&guard).count()); });
//! ```
//! ```compile_fail,E0277
//! let map: nulls::HashMap<u8, u8> = nulls::HashMap::new();
//! let guard = nulls::rcu::OwnedGuard::new();
//! std::thread::scope(|s| { let iter = map.iter_with(&guard); s.spawn(|| iter.count()); });
//! ```
//!
//! # References do not outlive the view
//!
//! ```
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let view = map.pin();
//! let value = view.get(&1);
//! assert!(value.is_none());
//! drop(view);
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let view = map.pin();
//! let value = view.get(&1);
//! drop(view);
//! assert!(value.is_none());
//! ```
//! ```compile_fail,E0716
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let value = map.pin().insert(1, String::new());
//! assert!(value.is_none());
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let view = map.pin();
//! let value = view.remove(&1);
//! drop(view);
//! assert!(value.is_none());
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let view = map.pin();
//! let error = view.try_insert(1, String::new());
//! drop(view);
//! assert!(error.is_ok());
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let view = map.pin();
//! let mut iter = view.iter();
//! drop(view);
//! assert!(iter.next().is_none());
//! ```
//!
//! Nor do they escape through a callback.
//!
//! ```
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let view = map.pin();
//! let mut kept = Vec::new();
//! view.get_many(&[&1], |_, v| kept.push(v));
//! assert_eq!(kept, [None]);
//! drop(view);
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let view = map.pin();
//! let mut kept = Vec::new();
//! view.get_many(&[&1], |_, v| kept.push(v));
//! drop(view);
//! assert_eq!(kept, [None]);
//! ```
//!
//! ```
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let mut kept = None;
//! map.pin().update(&1, |v| { kept = Some(v.clone()); String::new() });
//! assert!(kept.is_none());
//! ```
//! ```compile_fail,E0521
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let mut kept = None;
//! map.pin().update(&1, |v| { kept = Some(v); String::new() });
//! assert!(kept.is_none());
//! ```
//!
//! # References outlive neither the guard nor the map
//!
//! ```
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let guard = map.guard();
//! let value = map.get_with(&1, &guard);
//! assert!(value.is_none());
//! drop(guard);
//! drop(map);
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let guard = map.guard();
//! let value = map.get_with(&1, &guard);
//! drop(guard);
//! assert!(value.is_none());
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let guard = map.guard();
//! let value = map.get_with(&1, &guard);
//! drop(map);
//! assert!(value.is_none());
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let guard = nulls::rcu::OwnedGuard::new();
//! let value = map.get_with(&1, &guard);
//! drop(guard);
//! assert!(value.is_none());
//! ```
//! ```compile_fail,E0505
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let view = map.pin();
//! drop(map);
//! assert_eq!(view.len(), 0);
//! ```
//!
//! # Nor a refreshing
//!
//! ```
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let mut guard = map.guard();
//! let value = map.get_with(&1, &guard);
//! assert!(value.is_none());
//! guard.refresh();
//! ```
//! ```compile_fail,E0502
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let mut guard = map.guard();
//! let value = map.get_with(&1, &guard);
//! guard.refresh();
//! assert!(value.is_none());
//! ```
//! ```compile_fail,E0502
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let mut guard = nulls::rcu::OwnedGuard::new();
//! let value = map.get_with(&1, &guard);
//! guard.refresh();
//! assert!(value.is_none());
//! ```
//! ```compile_fail,E0502
//! let map: nulls::HashMap<u8, String> = nulls::HashMap::new();
//! let mut view = map.pin();
//! let value = view.get(&1);
//! view.refresh();
//! assert!(value.is_none());
//! ```
//! The guard inside of an owned one cannot be had to refresh, or to replace, while others share it.
//!
//! ```compile_fail,E0596
//! let mut guard = nulls::rcu::OwnedGuard::new();
//! let inner: &mut nulls::rcu::Guard = &mut *guard;
//! inner.refresh();
//! ```
//!
//! # What a map holds outlives it
//!
//! ```
//! let text = String::from("key");
//! let map: nulls::HashMap<&str, u8> = nulls::HashMap::new();
//! map.pin().insert(&text, 1);
//! drop(map);
//! drop(text);
//! ```
//! ```compile_fail,E0505
//! let text = String::from("key");
//! let map: nulls::HashMap<&str, u8> = nulls::HashMap::new();
//! map.pin().insert(&text, 1);
//! drop(text);
//! drop(map);
//! ```
//! The map's own drop runs the destructors of what it holds, so that this order of declaration is an error even without
//! another use.
//!
//! ```
//! let text;
//! let map: nulls::HashMap<&str, u8>;
//! text = String::from("key");
//! map = nulls::HashMap::new();
//! map.pin().insert(&text, 1);
//! ```
//! ```compile_fail,E0597
//! let map: nulls::HashMap<&str, u8>;
//! let text;
//! text = String::from("key");
//! map = nulls::HashMap::new();
//! map.pin().insert(&text, 1);
//! ```
//!
//! A map cannot pose as one of shorter-lived keys or values, into which those could be put.
//!
//! ```
//! let map: nulls::HashMap<&'static str, u8> = nulls::HashMap::new();
//! let text = String::from("key");
//! let same: &nulls::HashMap<&str, u8> = &map;
//! assert!(same.pin().get(text.as_str()).is_none());
//! ```
//! ```compile_fail,E0597
//! let map: nulls::HashMap<&'static str, u8> = nulls::HashMap::new();
//! let text = String::from("key");
//! let same: &nulls::HashMap<&str, u8> = &map;
//! same.pin().insert(text.as_str(), 1);
//! ```
//! ```compile_fail,E0597
//! let map: nulls::HashMap<u8, &'static str> = nulls::HashMap::new();
//! let text = String::from("value");
//! let same: nulls::HashMapRef<'_, u8, &str> = map.pin();
//! same.insert(1, text.as_str());
//! ```
//!
//! # The raw table
//!
//! ```
//! use nulls::{raw::Table, rcu};
//! let (table, guard) = (Table::new(), rcu::pin());
//! let probe = table.probe(&guard, 1, |_| false, &|_| 1);
//! assert!(probe.hit().is_none());
//! drop(guard);
//! ```
//! ```compile_fail,E0505
//! use nulls::{raw::Table, rcu};
//! let (table, guard) = (Table::new(), rcu::pin());
//! let probe = table.probe(&guard, 1, |_| false, &|_| 1);
//! drop(guard);
//! assert!(probe.hit().is_none());
//! ```
//! ```compile_fail,E0505
//! use nulls::{raw::Table, rcu};
//! let (table, guard) = (Table::new(), rcu::pin());
//! let probe = table.probe(&guard, 1, |_| false, &|_| 1);
//! drop(table);
//! assert!(probe.hit().is_none());
//! ```
