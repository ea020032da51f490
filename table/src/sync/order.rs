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
        /// Every named ordering with what it is, for the mutant runner.
        #[cfg(any(nulls_loom, nulls_check))]
        pub const ALL: &[(&str, Ordering)] = &[$((concat!("order:", stringify!($name)), Ordering::$ord)),*];
    };
}

/// What a mutant puts in an ordering's place.
#[cfg(any(nulls_loom, nulls_check))]
fn weakened(_: Ordering) -> Ordering {
    Ordering::Relaxed
}

orderings! {
    // --- lock

    /// Taking a shard's lock: what the last holder did is visible. Pairs with `lock_release`.
    lock_take: Acquire;
    /// Seeing that a shard's lock is held carries no data.
    lock_look: Relaxed;
    /// Leaving a shard's lock: pairs with `lock_take`.
    lock_release: Release;

    // --- rcu

    /// A reader takes the epoch it announces. Relaxed: a stamping whose value is read here stands behind a heavy fence,
    /// and before the light fence that follows, so the two fences synchronise.
    rcu_epoch_read: Relaxed;
    /// The reader announces itself. Release because this store may replace the idle mark of an *earlier* section of the same
    /// record: a scan that reads this value (newer than its stamp) must have the reads of that earlier section behind it. Pairs
    /// with `rcu_scan`.
    rcu_pin: Release;
    /// The owner looks at its own announcement: its own last store.
    rcu_own: Relaxed;
    /// The light side, where `membarrier` cannot be had (and in every model): keeps the announcement before the reads of
    /// the section. Pairs with `rcu_heavy`: one of the two fences comes first in the total order of fences; if it is this
    /// one, the scan sees the announcement; if it is the other, the reader sees the unlinking.
    rcu_light: SeqCst;
    /// The heavy side: between the unlinking and the scan. Pairs with `rcu_light`.
    rcu_heavy: SeqCst;
    /// The reader's section ends: its reads come before whatever follows a scan that sees the idle mark. Pairs with
    /// `rcu_scan`.
    rcu_unpin: Release;
    /// The scan reads a record. Pairs with `rcu_unpin` and `rcu_pin`: an idle or newer record has its earlier sections behind it.
    rcu_scan: Acquire;
    /// Stamps a batch and opens the next epoch. Pairs with `rcu_completed`, so that the heavy fence before it comes before
    /// the scan; being a read-modify-write it also keeps alive the release sequences of older stamps.
    rcu_stamp: Release;
    /// The bound of a scan: batches stamped below it had their heavy fence before this scan. Pairs with `rcu_stamp`.
    rcu_completed: Acquire;
    /// Links a new record into the registry: its fields are visible to whoever finds it. Pairs with `rcu_registry`.
    rcu_register: Release;
    /// Finds the registry's records. Pairs with `rcu_register`, and through the unbroken chain of read-modify-writes
    /// with those of all older records.
    rcu_registry: Acquire;
    /// Takes a returned record. Pairs with `rcu_return`: the mark of the last owner's end precedes our announcement in the
    /// modification order of the epoch, or else a scan could read it instead.
    rcu_claim: Acquire;
    /// Whether a record looks free: the exchange that follows decides.
    rcu_claim_look: Relaxed;
    /// Returns a record. Pairs with `rcu_claim`.
    rcu_return: Release;
    /// Reads which flavour of fence was decided on. Pairs with `rcu_flavour_set`, so that the registration with the
    /// kernel comes before its use.
    rcu_flavour: Acquire;
    /// Decides the flavour, once. Pairs with `rcu_flavour`.
    rcu_flavour_set: Release;
    /// Which thread owns a record: for reports only.
    rcu_report: Relaxed;

    // --- slab

    /// A segment's base address for a handle: whoever has a handle had it from a thread that saw the segment, so the
    /// base's store comes before this load, and it never changes again.
    slab_base: Relaxed;
    /// Whether a segment exists, asked by a thread about to hand out its handles. Pairs with `slab_install`: the blank
    /// slots are visible before any of their handles is.
    slab_segment: Acquire;
    /// Installs a segment. Pairs with `slab_segment`.
    slab_install: Release;
    /// Handles never given out: a number, unique by the exchange alone.
    slab_fresh: Relaxed;
    /// Accounting.
    slab_count: Relaxed;

    // --- pool

    /// Takes a reference to an entry whose count is not zero. Pairs with `pool_publish`, and through the chain of
    /// read-modify-writes on the count it does so however many references were taken since: the entry's fields are visible.
    pool_try_get: Acquire;
    /// The count before it is raised: the exchange decides.
    pool_look: Relaxed;
    /// One more reference from a live one: nothing to order, as the entry is reachable through the live one.
    pool_clone: Relaxed;
    /// Gives a reference back: what the holder did to the entry comes before its recycling. Pairs with `pool_last`.
    pool_put: Release;
    /// The last reference is gone: everything every holder did is visible to `recycle`. Pairs with `pool_put`. (A load
    /// of the zero we just wrote: it continues the release sequence of every decrement.)
    pool_last: Acquire;
    /// The entry goes live. Pairs with `pool_try_get`. In "link first, then make live" this is where the insertion
    /// takes effect.
    pool_publish: Release;
    /// The link word of an entry's slot, which also says that the slot was constructed. Release because a later
    /// rewriting of the word must still carry the construction to `pool_built`.
    pool_link: Release;
    /// Whether a slot was ever constructed. Pairs with `pool_link`.
    pool_built: Acquire;
    /// The link word as read under the lock of its list, or by the slot's only owner.
    pool_link_read: Relaxed;

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
    /// new life, not even that a tag it looks for is not there, without what led to it: that its old bucket has moved.
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
    /// Looks at the ticket again after a walk. Relaxed: the walk's loads are Acquire, so whoever saw a store made under the
    /// lock sees that the lock was taken.
    ticket_again: Relaxed;
    /// Takes the lock. Relaxed: the exchange succeeds from the value that a probe's Acquire load has seen, so all that was
    /// stored under the lock before is behind the probe already. (A value comes twice only if a holder gave the lock back
    /// unchanged, having stored nothing.) Whoever sees a store made under this lock, and then takes the ticket from an
    /// older value, fails: exchanges read the newest.
    ticket_take: Relaxed;
    /// Gives the lock back, changed, unchanged or MOVED. Pairs with `ticket_load`.
    ticket_leave: Release;

    // --- inline map

    /// A look-up or a probe looks at the ticket. Pairs with `inline_leave`: it sees what former holders wrote, the spill line
    /// that the ticket names, and if MOVED, the entries in the next generation.
    inline_ticket_load: Acquire;
    /// A look-up looks at the ticket again. Relaxed: its loads of tags, words and links are Acquire, so whoever saw a store
    /// made under a later lock sees a later ticket.
    inline_ticket_again: Relaxed;
    /// Takes the lock. Relaxed as `ticket_take`: the exchange succeeds from the value that a probe's Acquire load has seen.
    inline_take: Relaxed;
    /// Gives the lock back. Pairs with `inline_ticket_load`.
    inline_leave: Release;
    /// Loads the tags of a line. Pairs with `inline_tags_store`: a slot whose tag is seen has its words; a tag that is seen
    /// to be gone, or is that of a recycled line, has a later ticket behind it.
    inline_tags_load: Acquire;
    /// Sets or clears tags. Pairs with `inline_tags_load`.
    inline_tags_store: Release;
    /// Loads a word of a slot. Pairs with `inline_word_store`: a word of a later entry has a later ticket behind it.
    inline_word_load: Acquire;
    /// Writes a word of a slot. Pairs with `inline_word_load`.
    inline_word_store: Release;
    /// Loads the handle of the next spill line. Pairs with `inline_next_store`: the line is written; and if this one has been
    /// recycled, a later ticket is behind the handle.
    inline_next_load: Acquire;
    /// Links a spill line behind another, or into the list of free ones. Pairs with `inline_next_load`.
    inline_next_store: Release;

    // --- generations

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
    /// Reads the heads alone. Pairs with `latch_write_fence`, behind which they are stored: the array is initialised.
    latch_heads: Acquire;
    /// Stands between the reads of the copy and the second look at the count. Pairs with `latch_write_fence` and
    /// `latch_write_fence2`: whoever read a word of a later publication sees a later count.
    latch_read_fence: Acquire;
    /// Says that a resize begins, before the successor can be found. Pairs with `latch_begin`: the copies are as the last
    /// publication left them, which may have been another thread's.
    latch_unsettle: Release;
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

    // --- count

    /// Admits a handle under a limit. Pairs with `count_release`: what takes the place of a removed entry comes after
    /// its removal.
    count_admit: AcqRel;
    /// Makes room under a limit. Pairs with `count_admit`.
    count_release: Release;
}
