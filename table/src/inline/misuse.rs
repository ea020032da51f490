//! Programs that must not compile, each beside a twin that does and differs in nothing but the mistake.
//!
//! # A map is shared, or moved, only if its keys and values may be
//!
//! ```
//! let map: nulls::InlineMap<u64, u64> = nulls::InlineMap::new();
//! std::thread::scope(|s| { s.spawn(|| map.len()); });
//! ```
//! ```
//! #[derive(Clone, Copy, PartialEq, Eq, Hash)]
//! #[repr(transparent)]
//! struct Key(u64, std::marker::PhantomData<u8>);
//! // SAFETY: a `u64`.
//! unsafe impl bytemuck::NoUninit for Key {}
//! let map: nulls::InlineMap<Key, u64> = nulls::InlineMap::new();
//! std::thread::spawn(move || map.len());
//! ```
//! ```compile_fail,E0277
//! #[derive(Clone, Copy, PartialEq, Eq, Hash)]
//! #[repr(transparent)]
//! struct Key(u64, std::marker::PhantomData<*const u8>);
//! // SAFETY: a `u64`.
//! unsafe impl bytemuck::NoUninit for Key {}
//! let map: nulls::InlineMap<Key, u64> = nulls::InlineMap::new();
//! std::thread::spawn(move || map.len());
//! ```
//!
//! # Views and iterators belong to their thread
//!
//! ```
//! let map: nulls::InlineMap<u8, u8> = nulls::InlineMap::new();
//! std::thread::scope(|s| { let view = map.pin_owned(); s.spawn(move || { view.len() }); });
//! ```
//! ```compile_fail,E0277
//! let map: nulls::InlineMap<u8, u8> = nulls::InlineMap::new();
//! std::thread::scope(|s| { let view = map.pin(); s.spawn(move || { view.len() }); });
//! ```
//! ```compile_fail,E0277
//! let map: nulls::InlineMap<u8, u8> = nulls::InlineMap::new();
//! let view = map.pin_owned();
//! std::thread::scope(|s| { let iter = view.iter(); s.spawn(|| iter.count()); });
//! ```
//!
//! # The map outlives its views
//!
//! ```
//! let map: nulls::InlineMap<u8, u8> = nulls::InlineMap::new();
//! let view = map.pin();
//! assert_eq!(view.len(), 0);
//! drop(view);
//! drop(map);
//! ```
//! ```compile_fail,E0505
//! let map: nulls::InlineMap<u8, u8> = nulls::InlineMap::new();
//! let view = map.pin();
//! drop(map);
//! assert_eq!(view.len(), 0);
//! ```
//! ```compile_fail,E0505
//! let map: nulls::InlineMap<u8, u8> = nulls::InlineMap::new();
//! let view = map.pin();
//! let mut iter = view.iter();
//! drop(view);
//! assert!(iter.next().is_none());
//! ```
//!
//! # What does not lie in a slot
//!
//! Values of more than a word, keys of no size, and keys of more than a spill line:
//!
//! ```
//! assert!(nulls::InlineMap::<u64, u64>::new().is_empty());
//! assert!(nulls::InlineMap::<[u64; 13], u64>::new().is_empty());
//! ```
//! ```compile_fail,E0080
//! assert!(nulls::InlineMap::<u64, u128>::new().is_empty());
//! ```
//! ```compile_fail,E0080
//! assert!(nulls::InlineMap::<u64, [u8; 9]>::new().is_empty());
//! ```
//! ```compile_fail,E0080
//! assert!(nulls::InlineMap::<(), u64>::new().is_empty());
//! ```
//! ```compile_fail,E0080
//! assert!(nulls::InlineMap::<[u64; 14], u64>::new().is_empty());
//! ```
//!
//! What is not plain bytes, or has some that are no value of anything:
//!
//! ```compile_fail,E0277
//! nulls::InlineMap::<String, u64>::new();
//! ```
//! ```compile_fail,E0277
//! nulls::InlineMap::<u64, &'static str>::new();
//! ```
//! ```compile_fail,E0277
//! #[derive(Clone, Copy, PartialEq, Eq, Hash)]
//! struct Gap(u8, u16);
//! nulls::InlineMap::<Gap, u64>::new();
//! ```
