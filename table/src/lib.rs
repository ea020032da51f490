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
