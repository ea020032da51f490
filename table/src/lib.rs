//! A concurrent hash map whose readers never lock, never wait and never write shared memory.

pub mod pool;
pub mod rcu;
pub mod scale;

#[allow(dead_code, unreachable_pub, reason = "models reach it from outside")]
mod mem;
#[allow(dead_code, unreachable_pub, reason = "models reach it from outside")]
mod slab;
#[allow(dead_code)]
mod stripe;
#[allow(dead_code, unused_imports)]
mod sync;

pub use mem::AllocError;
pub use slab::Exhausted;

/// What the `loom-tests` driver steers a checking build with.
#[cfg(any(nulls_loom, nulls_check))]
#[doc(hidden)]
pub mod checking {
    pub use crate::mem::{Pages, Zeroable, ZeroedArray};
    pub use crate::rcu::garbage::Garbage;
    pub use crate::slab::{NodeSlab, Slab, Slot};
    pub use crate::sync::check::{mutant_hits, set_mutant};
    pub use crate::sync::order::ALL as ORDERINGS;
}
