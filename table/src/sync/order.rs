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
    // --- raw table: lines

    /// A look-up loads the tags. Pairs with `tag_set` and `tag_clear`: what a cleared tag hides has been removed (or its
    /// bucket marked MOVED) before, which the look-up's end then sees.
    tags_load: Acquire;
    /// A look-up loads a handle. Pairs with `handle_set`: the entry's contents are complete; and with `handle_clear`:
    /// whoever sees a line wiped by a mover sees MOVED.
    handle_load: Acquire;
    /// A walk loads the link. Pairs with `line_link`, `head_link` and `unlink`: the line it leads to was empty, or
    /// properly linked, before.
    link_load: Acquire;
    /// Sets a tag before its handle. Pairs with `tags_load`: a reader that stands on a recycled line sees nothing of its
    /// new life without what led to it.
    tag_set: Release;
    /// Clears a tag after its handle. Pairs with `tags_load`.
    tag_clear: Release;
    /// Publishes an entry. Pairs with `handle_load`.
    handle_set: Release;
    /// Removes an entry. Pairs with `handle_load`.
    handle_clear: Release;
    /// Gives a line its link before it is linked itself. Pairs with `link_load` of readers that stand on the line from
    /// its former life.
    line_link: Release;
    /// Links a line behind the first. Pairs with `link_load`.
    head_link: Release;
    /// Takes an empty line out of its chain. Pairs with `link_load`.
    unlink: Release;

    // --- raw table: the bucket's ticket

    /// Looks at the ticket. Pairs with `ticket_leave`: a probe sees what former holders wrote; MOVED leads to a
    /// generation that holds the entries.
    ticket_load: Acquire;
    /// Takes the lock. Pairs with `ticket_leave`: the stores under the lock come after those of the last holder.
    ticket_take: Acquire;
    /// Gives the lock back, changed, unchanged or MOVED. Pairs with `ticket_load` and `ticket_take`.
    ticket_leave: Release;

    // --- raw table: generations

    /// Looks for the next generation. Pairs with `next_publish`: its header and lines are initialised.
    next_load: Acquire;
    /// Announces the next generation. Pairs with `next_load`.
    next_publish: Release;
    /// Reads the watermark. Pairs with `watermark_advance`: the buckets below are MOVED, and their entries are in the
    /// next generation.
    watermark_load: Acquire;
    /// Advances the watermark. Release pairs with `watermark_load`; Acquire keeps what former advancers saw.
    watermark_advance: AcqRel;
    /// Begins to read the latch. Pairs with `latch_odd` and `latch_even`: the copy that the count names is complete.
    latch_begin: Acquire;
    /// Stands between the reads of the copy and the second look at the count. Pairs with `latch_write_fence` and
    /// `latch_write_fence2`: whoever read a word of a later publication sees a later count.
    latch_read_fence: Acquire;
    /// Names copy 1, which the last publication wrote. Pairs with `latch_begin`.
    latch_odd: Release;
    /// Stands between the odd count and the stores into copy 0. Pairs with `latch_read_fence`.
    latch_write_fence: Release;
    /// Names copy 0. Pairs with `latch_begin`.
    latch_even: Release;
    /// Stands between the even count and the stores into copy 1. Pairs with `latch_read_fence`.
    latch_write_fence2: Release;
    /// Stands between the wish for a resize and the attempt to take `admin`, and between leaving `admin` and the look at
    /// the wish: store buffering, so both need the total order.
    wanted_fence: SeqCst;

    // --- raw table: count

    /// Admits a handle under a limit. Pairs with `count_release`: what takes the place of a removed entry comes after
    /// its removal.
    count_admit: AcqRel;
    /// Makes room under a limit. Pairs with `count_admit`.
    count_release: Release;

    // --- locks that are only tried

    /// Takes the lock. Pairs with `try_lock_release`.
    try_lock_acquire: Acquire;
    /// Leaves the lock. Pairs with `try_lock_acquire`.
    try_lock_release: Release;
}
