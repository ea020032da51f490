//! A concurrent hash map whose readers never lock, never wait and never write shared memory.
//!
//! ```
//! use nulls::HashMap;
//! let sessions = HashMap::new();
//! std::thread::scope(|s| {
//!     s.spawn(|| sessions.pin().insert(7, "seven").copied());
//!     s.spawn(|| sessions.pin().get(&7).copied());
//! });
//! assert_eq!(sessions.pin().get(&7), Some(&"seven"));
//! ```
//!
//! * [`HashMap`] and [`HashSet`]: what most users want. The [`guide`] says when, and how.
//! * [`InlineMap`]: the same for small plain entries, which lie in the buckets themselves.
//! * [`raw::Table`]: the engine, for entries under several keys and entries in storage of your own.
//! * [`pool`]: type-stable storage with counted references, the kernel's `SLAB_TYPESAFE_BY_RCU`.
//! * [`rcu`]: grace periods.
//! * [`design`]: invariants, linearization points, progress, and the argument why a miss is right.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

pub mod pool;
pub mod raw;
pub mod rcu;
pub mod scale;

mod budget;
mod count;
mod generations;
mod inline;
mod map;
mod mem;
mod prefetch;
#[cfg(feature = "rayon")]
mod rayon;
mod scratch;
#[cfg(feature = "serde")]
mod serde;
mod set;
mod slab;
mod stripe;
#[allow(dead_code, unused_imports)]
mod sync;
mod tags;

#[doc = include_str!("../docs/design.md")]
pub mod design {}

#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

/// The examples of the crate's first page run too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(feature = "rayon")]
#[cfg_attr(docsrs, doc(cfg(feature = "rayon")))]
pub use crate::rayon::{ParIter, SetParIter};
pub use inline::{InlineInsertError, InlineIter, InlineMap, InlineMapRef};
pub use map::{
    ByRef, ByValue, CloneKey, Compute, DefaultHashBuilder, Drain, Entry, EntryRef, Equivalent,
    HashMap, HashMapBuilder, HashMapRef, InsertError, IntoIter, Iter, Key, Keys, MapStats,
    NotReplaced, OccupiedEntry, Operation, TryInsertError, VacantEntry, Values,
};
pub use mem::{AllocError, mapped_bytes};
pub use set::{HashSet, HashSetRef, SetDrain, SetIntoIter, SetIter};
pub use slab::{Exhausted, SlabStats};

/// What the `loom-tests` driver steers a checking build with.
#[cfg(any(nulls_loom, nulls_check))]
#[doc(hidden)]
pub mod checking {
    pub use crate::mem::{Pages, Zeroable, ZeroedArray};
    pub use crate::rcu::garbage::Garbage;
    pub use crate::rcu::stamps;
    pub use crate::slab::{NodeSlab, Slab, Slot};
    pub use crate::sync::check::{
        mutant, mutant_hits, record_mutants, recorded_mutants, set_mutant,
    };
    pub use crate::sync::order::ALL as ORDERINGS;
    #[cfg(all(nulls_loom, not(nulls_shuttle)))]
    pub use loom;
}
