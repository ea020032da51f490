//! Every memory ordering of the crate by name, with its reason and the access it pairs with.
//!
//! An ordinary build sees constants. A checking build looks each one up, so that the `loom-tests` driver can weaken any
//! of them to `Relaxed` by name at run time: a model must then fail.

use core::sync::atomic::Ordering;

/// Declares named orderings. `name: Strong` yields `fn name() -> Ordering`.
macro_rules! orderings {
    ($($(#[$doc:meta])* $name:ident: $ord:ident;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $name() -> Ordering {
                #[cfg(any(nulls_loom, nulls_check))]
                if super::check::mutant(concat!("order:", stringify!($name))) {
                    return weakened(Ordering::$ord);
                }
                Ordering::$ord
            }
        )*
        /// Every named ordering, for the mutant runner.
        #[cfg(any(nulls_loom, nulls_check))]
        pub const ALL: &[&str] = &[$(concat!("order:", stringify!($name))),*];
    };
}

/// What a mutant puts in an ordering's place.
#[cfg(any(nulls_loom, nulls_check))]
fn weakened(_: Ordering) -> Ordering {
    Ordering::Relaxed
}

orderings! {
    /// Placeholder, replaced as modules land.
    example: Release;
}
