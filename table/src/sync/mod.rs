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
//! | the same and `--cfg nulls_shuttle` | shuttle's | looked up by name at run time | seeded bugs |
//!
//! The checking builds are made by the `loom-tests` driver only and never released.

mod backoff;
pub(crate) mod check;
mod lock;
pub(crate) mod order;

pub(crate) use backoff::Backoff;
pub(crate) use lock::{Held, Lock};

#[cfg(not(nulls_loom))]
mod std_impl;
#[cfg(not(nulls_loom))]
pub(crate) use std_impl::*;

#[cfg(all(nulls_loom, not(nulls_shuttle)))]
mod loom_impl;
#[cfg(all(nulls_loom, not(nulls_shuttle)))]
pub(crate) use loom_impl::*;

#[cfg(nulls_shuttle)]
mod shuttle_impl;
#[cfg(nulls_shuttle)]
pub(crate) use shuttle_impl::*;

/// Declares a constructor that is `const` where atomics can be made in constants: everywhere but under loom.
macro_rules! const_unless_loom {
    ($(#[$attr:meta])* $vis:vis const fn $($rest:tt)*) => {
        #[cfg(not(nulls_loom))]
        $(#[$attr])* $vis const fn $($rest)*
        #[cfg(nulls_loom)]
        $(#[$attr])* $vis fn $($rest)*
    };
}
pub(crate) use const_unless_loom;

/// Ends the process.
#[cfg(feature = "std")]
pub(crate) fn abort() -> ! {
    std::process::abort()
}

/// Ends the process, as far as that can be done without an operating system: a panic within a panic.
#[cfg(not(feature = "std"))]
pub(crate) fn abort() -> ! {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            panic!("a count that would overflow");
        }
    }
    let _again = Again;
    panic!("a count that would overflow")
}
