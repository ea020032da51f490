//! A concurrent hash map whose readers never lock, never wait and never write shared memory.

pub mod raw;
pub mod rcu;
pub mod scale;

mod mem;
mod prefetch;
mod stripe;
#[allow(dead_code, unused_imports)]
mod sync;

pub use mem::AllocError;
