//! A concurrent hash map whose readers never lock, never wait and never write shared memory.

pub mod pool;
pub mod raw;
pub mod rcu;
pub mod scale;

mod map;
mod mem;
mod prefetch;
mod slab;
mod stripe;
#[allow(dead_code, unused_imports)]
mod sync;

pub use map::{DefaultHashBuilder, Equivalent, HashMap, HashMapRef, Iter, TryInsertError};
pub use mem::AllocError;
pub use slab::{Exhausted, SlabStats};

/// What the `loom-tests` driver steers a checking build with.
#[cfg(any(nulls_loom, nulls_check))]
#[doc(hidden)]
pub mod checking {
    pub use crate::rcu::garbage::Garbage;
    pub use crate::sync::check::{mutant_hits, set_mutant};
    pub use crate::sync::order::ALL as ORDERINGS;
}
