//! A packet on its way, and the tagged handle it carries.

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::defrag::Origin;
use crate::policy::Template;
use crate::reason::{Reason, What};
use crate::status::{CtInfo, PacketState};
use crate::store::Store;
use crate::tuple::{Direction, Family};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Hook points (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hook {
    /// Came in, not yet routed.
    PreRouting = 0,
    /// For this host.
    LocalIn = 1,
    /// Passing through.
    Forward = 2,
    /// Made by this host.
    LocalOut = 3,
    /// About to leave.
    PostRouting = 4,
}

impl Hook {
    /// All five, in numerical order.
    pub const ALL: [Hook; 5] = [
        Hook::PreRouting,
        Hook::LocalIn,
        Hook::Forward,
        Hook::LocalOut,
        Hook::PostRouting,
    ];
}

/// What a hook decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// The packet is to be forgotten.
    Drop = 0,
    /// On to the next hook.
    Accept = 1,
    /// The hook keeps the packet.
    Stolen = 2,
    /// To be queued to user space.
    Queue = 3,
    /// Call this hook again.
    Repeat = 4,
    /// Accepted, no further hooks of this hook point.
    Stop = 5,
}

/// What a packet carries of its connection (`skb->_nfct`): entry and [`CtInfo`] in one word, the latter in the low three bits. Owns one reference.
pub struct SkbNfct<'t, S: Store + 't> {
    word: usize,
    store: Option<&'t S>,
}

const INFOMASK: usize = 7;

impl<'t, S: Store> SkbNfct<'t, S> {
    /// Nothing: not tracked yet, or found invalid.
    pub const NONE: Self = Self {
        word: 0,
        store: None,
    };
    /// Marked as not to be tracked.
    pub const UNTRACKED: Self = Self {
        word: CtInfo::Untracked as usize,
        store: None,
    };

    /// Packs a reference.
    #[must_use]
    #[inline]
    pub fn new(store: &'t S, r: S::Ref<'t>, info: CtInfo) -> Self {
        let word = S::into_word(r);
        debug_assert!(
            word != 0 && word & INFOMASK == 0,
            "the low three bits belong to ctinfo"
        );
        Self {
            word: word | info as usize,
            store: Some(store),
        }
    }

    /// The entry, borrowed.
    #[must_use]
    #[inline]
    pub fn conn(&self) -> Option<&Conn<S::User>> {
        let store = self.store?;
        // SAFETY: the word was packed by `new`; its reference is held until `self` is dropped or taken apart, and the result borrows `self`.
        Some(unsafe { store.peek_word(self.word & !INFOMASK) })
    }

    /// What the packet is to its connection; `None` when there is neither an entry nor the untracked mark.
    #[must_use]
    #[inline]
    pub fn info(&self) -> Option<CtInfo> {
        if self.store.is_none() && self.word == 0 {
            None
        } else {
            CtInfo::from_bits(self.word)
        }
    }

    /// Replaces the ctinfo, keeps the entry.
    #[inline]
    pub fn set_info(&mut self, info: CtInfo) {
        self.word = self.word & !INFOMASK | info as usize;
    }

    /// Takes the reference out.
    #[must_use]
    #[inline]
    pub fn into_ref(self) -> Option<S::Ref<'t>> {
        let store = self.store?;
        let word = self.word & !INFOMASK;
        std::mem::forget(self);
        // SAFETY: packed by `new`, and `self` is forgotten, so the reference is taken once.
        Some(unsafe { store.from_word(word) })
    }

    /// Another counted reference to the same entry.
    #[must_use]
    #[inline]
    pub fn to_ref(&self) -> Option<S::Ref<'t>> {
        let store = self.store?;
        // SAFETY: packed by `new`; the original is forgotten again, so `self` keeps its reference.
        let mine = std::mem::ManuallyDrop::new(unsafe { store.from_word(self.word & !INFOMASK) });
        Some((*mine).clone())
    }
}

impl<S: Store> Drop for SkbNfct<'_, S> {
    fn drop(&mut self) {
        if let Some(store) = self.store {
            // SAFETY: packed by `new`, not taken (`into_ref` forgets `self`).
            drop(unsafe { store.from_word(self.word & !INFOMASK) });
        }
    }
}

impl<S: Store> fmt::Debug for SkbNfct<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SkbNfct")
            .field("info", &self.info())
            .field("conn", &self.conn())
            .finish()
    }
}

/// A packet at the IP layer.
pub struct Packet<'d, 't, S: Store + 't> {
    data: Cow<'d, [u8]>,
    family: Family,
    now: Nanos,
    /// `skb->mark`.
    pub mark: u32,
    /// Number of the interface it came in on, 0 = none. Free for the application.
    pub iif: u32,
    /// Number of the interface it leaves by, 0 = none. Free for the application.
    pub oif: u32,
    /// Transport checksums were verified already (`CHECKSUM_UNNECESSARY`).
    pub checksum_ok: bool,
    /// Zone, timeout policy and helper for a connection that this packet may start.
    pub template: Option<Arc<Template>>,
    pub(crate) nfct: SkbNfct<'t, S>,
    reasons: [Option<Reason>; 2],
    origin: Option<Box<Origin>>,
    mangled: bool,
}

impl<'d, 't, S: Store> Packet<'d, 't, S> {
    /// A packet whose `data` begins with the IP header and ends where that header says (see [`crate::input`]), seen at time `now`.
    #[must_use]
    pub fn new(data: &'d [u8], family: Family, now: Nanos) -> Self {
        Self {
            data: Cow::Borrowed(data),
            family,
            now,
            mark: 0,
            iif: 0,
            oif: 0,
            checksum_ok: false,
            template: None,
            nfct: SkbNfct::NONE,
            reasons: [None; 2],
            origin: None,
            mangled: false,
        }
    }

    /// The bytes, from the IP header on.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Replaces the bytes (reassembly).
    pub(crate) fn set_data(&mut self, data: Vec<u8>) {
        self.data = Cow::Owned(data);
    }

    /// How the datagram came, if it came in fragments: it should leave like that ([`Origin::split`]).
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// Did a helper rewrite the payload? The kernel then leaves the transport checksum to the device; this library has computed it.
    #[must_use]
    pub fn is_mangled(&self) -> bool {
        self.mangled
    }

    pub(crate) fn set_mangled(&mut self) {
        self.mangled = true;
    }

    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.origin = Some(Box::new(origin));
    }

    /// The bytes, to be changed in place: by translation, or by the application, which keeps lengths and checksums right.
    pub fn data_mut(&mut self) -> &mut Vec<u8> {
        self.data.to_mut()
    }

    /// The address family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// When it is seen.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// The handle.
    #[must_use]
    pub fn nfct(&self) -> &SkbNfct<'t, S> {
        &self.nfct
    }

    /// Replaces the handle.
    pub fn set_nfct(&mut self, nfct: SkbNfct<'t, S>) {
        self.nfct = nfct;
    }

    /// Excludes the packet from tracking (`notrack`).
    pub fn set_untracked(&mut self) {
        self.nfct = SkbNfct::UNTRACKED;
    }

    /// The packet's connection.
    #[must_use]
    pub fn conn(&self) -> Option<&Conn<S::User>> {
        self.nfct.conn()
    }

    /// What rules match on.
    #[must_use]
    pub fn state(&self) -> PacketState {
        match self.nfct.info() {
            None => PacketState::Invalid,
            Some(CtInfo::Untracked) => PacketState::Untracked,
            Some(CtInfo::New) => PacketState::New,
            Some(CtInfo::Established | CtInfo::EstablishedReply) => PacketState::Established,
            Some(CtInfo::Related | CtInfo::RelatedReply) => PacketState::Related,
        }
    }

    /// The direction, when there is an entry.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.nfct.conn()?;
        self.nfct.info().map(CtInfo::dir)
    }

    /// What the kernel would have logged about this packet (`nf_conntrack_log_invalid`), if anything.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        self.reasons().next()
    }

    /// All that the kernel would have logged: a segment that shortens its connection's timeout gives two.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.iter().flatten()
    }

    /// Notes why a helper refuses the packet.
    pub(crate) fn explain(&mut self, what: What) {
        let protonum = self
            .conn()
            .map_or(0, |c| c.tuple(Direction::Original).protonum());
        self.reasons = [Some(Reason { protonum, what }), None];
    }

    /// What tracking reads and what it fills in.
    pub(crate) fn parts(&mut self) -> (&[u8], &mut SkbNfct<'t, S>, &mut [Option<Reason>; 2]) {
        (&self.data, &mut self.nfct, &mut self.reasons)
    }
}

impl<S: Store> fmt::Debug for Packet<'_, '_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.data.len())
            .field("nfct", &self.nfct)
            .finish_non_exhaustive()
    }
}
