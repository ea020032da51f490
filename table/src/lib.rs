//! A concurrent hash map whose readers never lock, never wait and never write shared memory.

pub mod scale;

#[allow(dead_code, unused_imports)]
mod sync;

/// What the `loom-tests` driver steers a checking build with.
#[cfg(any(nulls_loom, nulls_check))]
#[doc(hidden)]
pub mod checking {
    pub use crate::sync::check::{mutant_hits, set_mutant};
    pub use crate::sync::order::ALL as ORDERINGS;
}
