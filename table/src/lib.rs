//! A concurrent hash map whose readers never lock, never wait and never write shared memory.

pub mod scale;

#[allow(dead_code, unused_imports)]
mod sync;
