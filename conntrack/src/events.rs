//! Events about connections and expectations, coalesced as the kernel does it (`nf_conntrack_ecache.c`).
//!
//! What happens to a connection while one of its packets is on its way is noted as bits in the entry ([`mask`]); when the packet leaves, one event
//! tells all of them ([`Tracker::confirm`]). The end of a connection is told at once. A connection that was never confirmed has no events,
//! nor has one that only answers find (after a clash).
//!
//! Entries made while nobody listens (`nf_conntrack_events` 2, the default), or with that knob 0, never have events, as in the kernel; they cost
//! one test of a flag per packet.
//!
//! Each confirmed connection has exactly one [`Kind::New`] and exactly one [`Kind::Destroy`], in this order, and updates between them only: events of
//! one connection are told under a lock of its own. (The kernel may tell an end without a beginning.)

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::expect::Expected;
use crate::status::{CONFIRMED, DYING};
use crate::store::Store;
use crate::tracker::Tracker;
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What happened, as bits (`1 << IPCT_*`, `enum ip_conntrack_events`).
pub mod mask {
    /// A connection is in the table.
    pub const NEW: u32 = 1;
    /// The same for one that another connection has announced.
    pub const RELATED: u32 = 1 << 1;
    /// It was deleted.
    pub const DESTROY: u32 = 1 << 2;
    /// The first answer.
    pub const REPLY: u32 = 1 << 3;
    /// It became assured.
    pub const ASSURED: u32 = 1 << 4;
    /// The protocol's state changed.
    pub const PROTOINFO: u32 = 1 << 5;
    /// It has a helper.
    pub const HELPER: u32 = 1 << 6;
    /// The mark changed.
    pub const MARK: u32 = 1 << 7;
    /// Sequence numbers are shifted.
    pub const SEQADJ: u32 = 1 << 8;
    /// The security mark changed.
    pub const SECMARK: u32 = 1 << 9;
    /// Labels changed.
    pub const LABEL: u32 = 1 << 10;
    /// SYN proxying.
    pub const SYNPROXY: u32 = 1 << 11;
    /// What a change by the control plane tells (`ctnetlink_new_conntrack`).
    pub const CHANGED: u32 =
        REPLY | ASSURED | PROTOINFO | HELPER | MARK | SEQADJ | LABEL | SYNPROXY;
}

/// Kind of an event: the message and the group it goes to (`ctnetlink_conntrack_event`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The connection is there.
    New,
    /// It has changed.
    Update,
    /// It is gone.
    Destroy,
}

impl Kind {
    /// The kind that a set of bits makes.
    #[must_use]
    pub const fn of(mask: u32) -> Self {
        if mask & mask::DESTROY != 0 {
            Self::Destroy
        } else if mask & (mask::NEW | mask::RELATED) != 0 {
            Self::New
        } else {
            Self::Update
        }
    }
}

/// Something happened to a connection.
pub struct Event<'a, U> {
    /// All that happened, see [`mask`].
    pub mask: u32,
    /// The connection, as it is now.
    pub conn: &'a Conn<U>,
    /// When.
    pub now: Nanos,
}

impl<U> Event<'_, U> {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        Kind::of(self.mask)
    }
}

impl<U> fmt::Debug for Event<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("mask", &format_args!("{:#x}", self.mask))
            .field("conn", &self.conn)
            .field("now", &self.now)
            .finish()
    }
}

/// Something happened to an expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectEvent {
    /// [`Kind::New`] or [`Kind::Destroy`] (fulfilled, given up, replaced, or gone with its master).
    pub kind: Kind,
    /// The expectation.
    pub expected: Expected,
    /// When.
    pub now: Nanos,
}

/// Who is told. Called from the packet path, by any thread, with locks held: be quick, and do not call the tracker.
pub trait Listener<U>: Send + Sync {
    /// A connection's event. False: it could not be told; its bits are kept for the connection's next event. (Whatever is answered to
    /// [`Kind::Destroy`], it is the last.)
    fn connection(&self, event: &Event<'_, U>) -> bool;

    /// An expectation's event.
    fn expectation(&self, event: &ExpectEvent) {
        let _ = event;
    }
}

/// Bits that wait in an entry.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Not yet told: set by packets, taken when one leaves. Above them, what was told in vain: the bits are twelve. Relaxed: the lock orders the telling,
    /// and whoever sets a bit tells it later itself.
    bits: AtomicU32,
    /// Makes events of one entry follow each other.
    telling: Mutex<()>,
}

/// Where what was told in vain begins.
const MISSED: u32 = 16;
/// What was not told yet.
const UNTOLD: u32 = (1 << MISSED) - 1;

impl Cache {
    pub(crate) fn set(&self, bits: u32) {
        self.bits.fetch_or(bits, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self, bits: u32) {
        self.bits.fetch_and(!bits, Ordering::Relaxed);
    }

    /// For the entry's next incarnation.
    pub(crate) fn reset(&self) {
        self.bits.store(0, Ordering::Relaxed);
    }
}

/// The listener of one namespace.
pub(crate) struct Ear<U> {
    present: AtomicBool,
    listener: RwLock<Option<Arc<dyn Listener<U>>>>,
}

impl<U> Default for Ear<U> {
    fn default() -> Self {
        Self {
            present: AtomicBool::new(false),
            listener: RwLock::new(None),
        }
    }
}

impl<U> Ear<U> {
    /// Does anybody listen?
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed: an entry made at the same moment may or may not have events.
        self.present.load(Ordering::Relaxed)
    }

    pub(crate) fn tell_expectation(&self, event: &ExpectEvent) {
        if self.is_open()
            && let Some(listener) = &*self.listener.read()
        {
            listener.expectation(event);
        }
    }

    /// `None`: there is nobody to tell, and nothing is kept.
    fn tell(&self, mask: u32, conn: &Conn<U>, now: Nanos) -> bool {
        match &*self.listener.read() {
            Some(listener) => listener.connection(&Event { mask, conn, now }),
            None => true,
        }
    }

    /// Tells what has gathered (`nf_ct_deliver_cached_events`), and `more`.
    pub(crate) fn deliver(&self, conn: &Conn<U>, more: u32, now: Nanos) {
        let cache = conn.event_cache();
        if more == 0 && cache.bits.load(Ordering::Relaxed) & UNTOLD == 0 {
            return;
        }
        let _telling = cache.telling.lock();
        // Asked under the lock: who deletes sets DYING first and then takes the lock, so nothing is told after the end.
        if conn.status() & (CONFIRMED | DYING) != CONFIRMED {
            return;
        }
        let word = cache.bits.fetch_and(!UNTOLD, Ordering::Relaxed);
        let bits = word & UNTOLD | more;
        if bits == 0 {
            return;
        }
        let all = bits | word >> MISSED;
        if self.tell(all, conn, now) {
            cache.bits.fetch_and(UNTOLD, Ordering::Relaxed);
        } else {
            cache.bits.fetch_or(all << MISSED, Ordering::Relaxed);
        }
    }

    /// Tells the end, after the beginning if that has not been told. DYING is set already.
    pub(crate) fn end(&self, conn: &Conn<U>, now: Nanos) {
        const BEGINNING: u32 = mask::NEW | mask::RELATED;
        let cache = conn.event_cache();
        let _telling = cache.telling.lock();
        let word = cache.bits.swap(0, Ordering::Relaxed);
        let untold = word & UNTOLD | word >> MISSED;
        if untold & BEGINNING != 0 {
            self.tell(untold, conn, now);
        }
        self.tell(mask::DESTROY, conn, now);
    }
}

impl<S: Store> Tracker<S> {
    /// Who is told about connections of this namespace that begin from now on; `None`: nobody. With `nf_conntrack_events` 1 connections that begin
    /// earlier are told of, too.
    pub fn set_listener(&self, listener: Option<Arc<dyn Listener<S::User>>>) {
        let present = listener.is_some();
        *self.ear.listener.write() = listener;
        self.ear.present.store(present, Ordering::Relaxed);
    }

    /// Tells at once that the control plane has changed a connection (`conntrack -U`): an update with all of [`mask::CHANGED`].
    pub fn report_change(&self, conn: &Conn<S::User>, now: Nanos) {
        if conn.has_events() {
            self.ear.deliver(conn, mask::CHANGED, now);
        }
    }
}
