//! The one place that chooses between `std` and the model checker.
//!
//! Every atomic, cell, fence and wait of the crate comes from here. Three builds exist:
//!
//! | build | atomics | [`order`] | [`check`] |
//! |---|---|---|---|
//! | ordinary | `core` | constants | nothing: every hook is an empty inline function |
//! | `--cfg nulls_check` | `core` | looked up by name at run time | random pauses, seeded bugs |
//! | `--cfg nulls_loom` | loom's | looked up by name at run time | seeded bugs |
//!
//! The two checking builds are made by the `loom-tests` driver only and never released.

pub(crate) mod check;
pub(crate) mod order;

#[cfg(not(nulls_loom))]
mod std_impl;
#[cfg(not(nulls_loom))]
pub(crate) use std_impl::*;

#[cfg(nulls_loom)]
mod loom_impl;
#[cfg(nulls_loom)]
pub(crate) use loom_impl::*;
