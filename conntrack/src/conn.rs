//! One connection (`struct nf_conn`).
//!
//! Memory of an entry may be reused for another connection while lock-free readers still look at it (the table's type-stable pool does that).
//! So everything a reader may touch before it holds a counted reference is an atomic: tuples, zone, namespace, status and deadline. All else is
//! behind the entry's lock or meaningful to holders of a reference only.
//!
//! # Orderings
//!
//! Three edges carry everything; whatever is `Relaxed` below rides on one of them or is a number on its own.
//! * *Birth*: `Conn::init` writes all fields, then the store makes the count 1 with Release. It pairs with the Acquire of whoever takes a reference
//!   (increment if not zero): the key that is compared **afterwards**, and all else, is the new incarnation's.
//! * *Confirmation*: deadline and hashes are written, the entry is linked, then CONFIRMED is set with Release (`Conn::set_status`). It pairs
//!   with the Acquire of `Conn::status`: who sees CONFIRMED sees an absolute deadline, and an entry that was linked.
//! * *The entry's lock* protects `Inner`.
//!
//! Counters, marks, labels, times and the deadline of a living entry are read and written without regard to each other, as in the kernel.

use crate::clock::{Jiffies, Nanos};
use crate::events::{self, Cache};
use crate::helper::ftp::Lines;
use crate::helper::pptp::Control;
use crate::net::Net;
use crate::policy::TimeoutPolicy;
use crate::proto::Proto;
use crate::seqadj::SeqAdj;
use crate::slot::UserSlot;
use crate::status;
use crate::store::Peek;
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, fence, mutant, order};
use crate::tuple::{Direction, Tuple};
use crate::zone::{Key, Link, NetId, Zone};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32 as Number32, AtomicU64 as Number64, Ordering};
use std::sync::{Arc, OnceLock};

/// Extension: packets and bytes are counted.
pub(crate) const EXT_ACCT: u32 = 1;
/// Extension: start and stop times are kept.
pub(crate) const EXT_TSTAMP: u32 = 2;
/// Extension: changes are noted for events.
pub(crate) const EXT_ECACHE: u32 = 4;
/// Extension: a helper is attached.
pub(crate) const EXT_HELPER: u32 = 8;
/// Extension: timeouts of its own.
pub(crate) const EXT_TIMEOUT: u32 = 16;

/// What the entry's lock protects. The protocol's state comes first: it fills the entry's third cache line, and packets of established connections
/// need nothing of what is behind it.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Inner {
    pub(crate) proto: Proto,
    pub(crate) net: Option<Arc<Net>>,
    /// See [`EXT_TIMEOUT`].
    pub(crate) policy: Option<Arc<TimeoutPolicy>>,
    kin: Option<Box<Kin>>,
}

/// What few connections have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kin {
    /// Name of the attached helper.
    helper: Option<Arc<str>>,
    /// Original tuple of the connection that announced this one.
    pub(crate) master: Option<Tuple>,
    /// Held by the master and by each connection that it announced: so it knows how many of them there are, which the kernel's count of
    /// references shows.
    pub(crate) children: Arc<()>,
    /// The master's.
    pub(crate) parent: Option<Arc<()>>,
    /// What the FTP helper remembers.
    pub(crate) lines: Lines,
    /// What the PPTP helper remembers.
    pptp: Option<Box<Control>>,
    /// Shifts of the sequence numbers, original and reply.
    pub(crate) seqadj: [SeqAdj; 2],
    /// Interface whose address the source became; 0: none.
    pub(crate) masqueraded_by: u32,
}

impl Kin {
    /// Made on first use.
    pub(crate) fn pptp(&mut self) -> &mut Control {
        self.pptp.get_or_insert_default()
    }
}

impl Inner {
    /// What the PPTP helper remembers, if this is one of its connections.
    pub(crate) fn pptp(&mut self) -> Option<&mut Control> {
        self.kin.as_mut()?.pptp.as_deref_mut()
    }

    /// Made on first use.
    pub(crate) fn kin(&mut self) -> &mut Kin {
        self.kin.get_or_insert_default()
    }

    /// Connections that exist because this one announced them.
    pub(crate) fn children(&self) -> u32 {
        let kin = self.kin.as_ref();
        kin.map_or(0, |k| (Arc::strong_count(&k.children) - 1) as u32)
    }

    /// Shifts of the sequence numbers; none unless a helper changed the length of something.
    pub(crate) fn seqadj(&self) -> [SeqAdj; 2] {
        self.kin.as_ref().map(|k| k.seqadj).unwrap_or_default()
    }

    /// Interface whose address the source became; 0: none.
    pub(crate) fn masqueraded_by(&self) -> u32 {
        self.kin.as_ref().map_or(0, |k| k.masqueraded_by)
    }

    /// Name of the attached helper.
    pub(crate) fn helper(&self) -> Option<Arc<str>> {
        self.kin.as_ref()?.helper.clone()
    }

    /// Original tuple of the connection that announced this one.
    pub(crate) fn master(&self) -> Option<Tuple> {
        self.kin.as_ref()?.master
    }
}

/// What connections have if the settings or the rules say so: of its own, since by default they have none of it.
#[derive(Default)]
struct Extra {
    counters: [[Number64; 2]; 2],
    start: Number64,
    stop: Number64,
    labels: [Number32; 4],
}

/// What a new entry begins with.
pub(crate) struct Birth<'a> {
    pub(crate) original: &'a Tuple,
    pub(crate) reply: &'a Tuple,
    pub(crate) zone: Zone,
    pub(crate) net: &'a Arc<Net>,
    pub(crate) ext: u32,
    /// Hashes of both keys; 0 for one that is not known yet.
    pub(crate) hashes: [u64; 2],
    pub(crate) policy: Option<Arc<TimeoutPolicy>>,
}

/// A connection. Reached through a store's counted references.
#[repr(C)]
pub struct Conn<U = ()> {
    // What every look-up reads, in the first cache line with the pool's count (8 bytes before). What packets of established connections need
    // besides is in the second, with the reply tuple; UDP needs no more than these two. What TCP remembers is the third.
    status: AtomicU32,
    timeout: AtomicU32,
    zone: AtomicU32,
    net: AtomicU32,
    tuples: [[AtomicU64; 5]; 2],
    ext: Number32,
    mark: Number32,
    stream_from: Number64,
    inner: Mutex<Inner>,
    hashes: [AtomicU64; 2],
    events: Cache,
    extra: UserSlot<Extra>,
    user: UserSlot<U>,
}

// Entry and count are four whole cache lines, so that every entry in the pool begins where a line does.
#[cfg(all(target_pointer_width = "64", not(nulls_loom)))]
const _: () = assert!(size_of::<Conn<u8>>() + 8 == 4 * 64);
// The lock is the last word of the second line, so that what it protects begins with the third.
#[cfg(all(target_pointer_width = "64", not(nulls_loom)))]
const _: () = assert!(std::mem::offset_of!(Conn<u8>, inner) + 16 == 2 * 64);

impl<U> Conn<U> {
    /// An entry as [`crate::store::Store::alloc`] must give it: blank.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            tuples: Default::default(),
            status: AtomicU32::new(0),
            timeout: AtomicU32::new(0),
            zone: AtomicU32::new(0),
            net: AtomicU32::new(0),
            ext: Number32::new(0),
            mark: Number32::new(0),
            stream_from: Number64::new(0),
            inner: Mutex::new(Inner::default()),
            hashes: Default::default(),
            events: Cache::default(),
            extra: UserSlot::new(),
            user: UserSlot::new(),
        }
    }

    /// The tuple of packets in direction `dir`.
    #[must_use]
    #[inline]
    pub fn tuple(&self, dir: Direction) -> Tuple {
        // Relaxed: holders of a reference see what publication released; others compare again after taking one.
        Tuple(std::array::from_fn(|i| {
            self.tuples[dir.index()][i].load(Ordering::Relaxed)
        }))
    }

    /// Changes a tuple of an entry that is not in the table. Its hash is not known from then on.
    pub(crate) fn set_tuple(&self, dir: Direction, t: &Tuple) {
        for (a, w) in self.tuples[dir.index()].iter().zip(t.0) {
            a.store(w, Ordering::Relaxed);
        }
        self.set_hash(dir, 0);
    }

    /// The zone.
    #[must_use]
    #[inline]
    pub fn zone(&self) -> Zone {
        Zone::unpack(self.zone.load(Ordering::Relaxed))
    }

    /// The namespace.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        NetId(self.net.load(Ordering::Relaxed))
    }

    /// The key under which the entry's `dir` link is found.
    #[must_use]
    pub fn key(&self, dir: Direction) -> Key {
        Key::new(self.tuple(dir), self.zone(), dir, self.net_id())
    }

    /// Is `key` the key of the `dir` link, right now? A reader without a reference may be told about a mixture of two incarnations.
    #[must_use]
    #[inline]
    pub fn matches(&self, dir: Direction, key: &Key) -> bool {
        self.tuple(dir).is(&key.tuple)
            && self.zone().id_for(dir) == key.zone
            && key.links & (1 << dir.index()) != 0
            && self.net_id() == key.net
    }

    /// Status bits, see [`crate::status`].
    #[must_use]
    #[inline]
    pub fn status(&self) -> u32 {
        // Acquire: CONFIRMED seen means the absolute deadline is seen too (pairs with `set_status`).
        self.status.load(order::status_read())
    }

    /// Sets status bits, tells whether all of them were clear before.
    pub(crate) fn set_status(&self, bits: u32) -> bool {
        // AcqRel: a total order of the setters of one bit decides arbitration (DYING); Release publishes what happened before (CONFIRMED).
        self.status.fetch_or(bits, order::status_set()) & bits == 0
    }

    /// Sets DYING; tells whether it was not set before, which makes the caller the one who deletes.
    pub(crate) fn claim_death(&self) -> bool {
        if mutant("ct:unlink-without-dying") {
            return true;
        }
        if mutant("ct:dying-looked-at") {
            let mine = !self.has(status::DYING);
            self.set_status(status::DYING);
            return mine;
        }
        self.set_status(status::DYING)
    }

    /// Is the bit set?
    #[must_use]
    #[inline]
    pub fn has(&self, bit: u32) -> bool {
        self.status() & bit != 0
    }

    /// Linked and not yet judged dead.
    #[must_use]
    #[inline]
    pub fn is_confirmed(&self) -> bool {
        self.has(status::CONFIRMED)
    }

    /// What a walker may see without a reference.
    #[must_use]
    pub fn peek(&self) -> Peek {
        Peek {
            status: self.status(),
            timeout: self.timeout.load(Ordering::Relaxed),
            net: self.net.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn deadline(&self) -> Jiffies {
        Jiffies(self.timeout.load(Ordering::Relaxed))
    }

    pub(crate) fn set_deadline(&self, j: Jiffies) {
        // Stored only when different: most packets of a busy flow come within one tick, and the line stays clean.
        if self.timeout.load(Ordering::Relaxed) != j.0 {
            self.timeout.store(j.0, Ordering::Relaxed);
        }
    }

    /// When what goes to and fro becomes a stream (UDP); `None` until its first packet was seen.
    pub(crate) fn stream_from(&self) -> Option<Jiffies> {
        let word = self.stream_from.load(Ordering::Relaxed);
        (word != 0).then_some(Jiffies(word as u32))
    }

    pub(crate) fn set_stream_from(&self, j: Jiffies) {
        // Any number of jiffies is possible, so that a bit above them says that there is one.
        let word = 1 << 32 | u64::from(j.0);
        self.stream_from.store(word, Ordering::Relaxed);
    }

    /// Gives a new connection timeouts of its own.
    pub(crate) fn set_policy(&self, policy: Arc<TimeoutPolicy>) {
        self.inner.lock().policy = Some(policy);
        self.ext.fetch_or(EXT_TIMEOUT, Ordering::Relaxed);
    }

    /// Has the deadline passed?
    #[must_use]
    #[inline]
    pub fn is_expired(&self, now: Nanos) -> bool {
        self.deadline().until(Jiffies::at(now)) <= 0
    }

    /// Seconds left at `now`, rounded down.
    #[must_use]
    pub fn secs_left(&self, now: Nanos) -> u32 {
        Jiffies(self.deadline().until(Jiffies::at(now)).max(0) as u32).whole_secs()
    }

    /// The mark.
    #[must_use]
    pub fn mark(&self) -> u32 {
        self.mark.load(Ordering::Relaxed)
    }

    /// Sets the mark (rules, and `conntrack -U`).
    pub fn set_mark(&self, mark: u32) {
        if self.mark.swap(mark, Ordering::Relaxed) != mark {
            self.note(events::mask::MARK);
        }
    }

    /// Sets the mark of a connection that begins.
    pub(crate) fn inherit_mark(&self, mark: u32) {
        self.mark.store(mark, Ordering::Relaxed);
    }

    /// The 128 label bits as four words, lowest first.
    #[must_use]
    pub fn labels(&self) -> [u32; 4] {
        self.extra.get().map_or([0; 4], |extra| {
            std::array::from_fn(|i| extra.labels[i].load(Ordering::Relaxed))
        })
    }

    /// Changes label bits: each word becomes `(old & !mask) ^ data`.
    pub fn set_labels(&self, data: [u32; 4], mask: [u32; 4]) {
        let labels = &self.extra().labels;
        let mut changed = false;
        for i in 0..4 {
            let new = |old| (old & !mask[i]) ^ data[i];
            let old =
                labels[i].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(new(old)));
            changed |= old.is_ok_and(|old| new(old) != old);
        }
        if changed {
            self.note(events::mask::LABEL);
        }
    }

    /// The almost unique number of this connection (`nf_ct_get_id`): a keyed hash of where it is and what it is, so that it tells nothing.
    #[must_use]
    pub fn id(&self) -> u32 {
        static SEED: OnceLock<RandomState> = OnceLock::new();
        let place = std::ptr::from_ref(self) as usize;
        SEED.get_or_init(RandomState::new)
            .hash_one((place, self.tuple(Direction::Original))) as u32
    }

    /// The hash under which the `dir` link is in the table. Of an entry that is not in the table it may be 0: not known yet.
    #[must_use]
    pub fn hash(&self, dir: Direction) -> u64 {
        self.hashes[dir.index()].load(Ordering::Relaxed)
    }

    pub(crate) fn set_hash(&self, dir: Direction, hash: u64) {
        self.hashes[dir.index()].store(hash, Ordering::Relaxed);
    }

    /// Key and hash of the `dir` link.
    #[must_use]
    pub fn link(&self, dir: Direction) -> Link {
        Link {
            hash: self.hash(dir),
            key: self.key(dir),
        }
    }

    /// Packets and bytes in direction `dir`, when accounting was on as the entry was made.
    #[must_use]
    pub fn counters(&self, dir: Direction) -> Option<(u64, u64)> {
        let c = &self.extra_for(EXT_ACCT)?.counters[dir.index()];
        Some((c[0].load(Ordering::Relaxed), c[1].load(Ordering::Relaxed)))
    }

    /// Sets the counters of both directions to 0 (`GET_CTRZERO`). Packets counted between reading and this are lost.
    pub fn zero_counters(&self) {
        for c in self
            .extra
            .get()
            .iter()
            .flat_map(|x| x.counters.as_flattened())
        {
            c.store(0, Ordering::Relaxed);
        }
    }

    /// What is kept of its own, made if there is nothing yet.
    fn extra(&self) -> &Extra {
        self.extra.get_or_set_with(Extra::default)
    }

    /// The same, for one of the extensions that come with it, if the connection has that.
    #[inline]
    fn extra_for(&self, ext: u32) -> Option<&Extra> {
        self.has_ext(ext).then(|| self.extra())
    }

    pub(crate) fn has_ext(&self, ext: u32) -> bool {
        self.ext.load(Ordering::Relaxed) & ext != 0
    }

    /// Are changes noted for events?
    pub(crate) fn has_events(&self) -> bool {
        self.has_ext(EXT_ECACHE)
    }

    /// Where it is: tells entries apart as long as they are.
    pub(crate) fn place(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Notes what the source has become, for other connections of the same source.
    pub(crate) fn remember_source(&self, new: &Tuple) {
        if let Some(net) = &self.inner.lock().net {
            let mapping = (new.src(), new.src_l4());
            net.sources
                .add(&self.key(Direction::Original), self.place(), mapping);
        }
    }

    /// Nothing is told of this connection.
    pub(crate) fn without_events(&self) {
        self.ext.fetch_and(!EXT_ECACHE, Ordering::Relaxed);
    }

    /// Notes what happened, for the event when the packet leaves (`nf_conntrack_event_cache`).
    pub(crate) fn note(&self, bits: u32) {
        if self.has_events() {
            self.events.set(bits);
        }
    }

    pub(crate) fn event_cache(&self) -> &Cache {
        &self.events
    }

    /// Counts a packet (`nf_ct_acct_add`).
    pub(crate) fn account(&self, dir: Direction, packets: u64, bytes: u64) {
        if let Some(extra) = self.extra_for(EXT_ACCT) {
            let c = &extra.counters[dir.index()];
            c[0].fetch_add(packets, Ordering::Relaxed);
            c[1].fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Start and stop time, when timestamps were on as the entry was made; 0 = not yet.
    #[must_use]
    pub fn timestamps(&self) -> Option<(Nanos, Nanos)> {
        let Extra { start, stop, .. } = self.extra_for(EXT_TSTAMP)?;
        Some((start.load(Ordering::Relaxed), stop.load(Ordering::Relaxed)))
    }

    pub(crate) fn stamp_start(&self, now: Nanos) {
        if let Some(extra) = self.extra_for(EXT_TSTAMP) {
            extra.start.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn stamp_stop(&self, now: Nanos) {
        if let Some(extra) = self.extra_for(EXT_TSTAMP) {
            extra.stop.store(now, Ordering::Relaxed);
        }
    }

    /// The application's slot.
    #[must_use]
    pub fn user(&self) -> &UserSlot<U> {
        &self.user
    }

    /// Name of the attached helper.
    #[must_use]
    pub fn helper(&self) -> Option<Arc<str>> {
        self.inner.lock().helper()
    }

    /// Attaches a helper by name. Only new connections without one take one.
    pub fn set_helper(&self, name: &str) -> bool {
        if self.is_confirmed() || !self.set_status(status::HELPER) {
            return false;
        }
        self.attach_helper(name.into());
        true
    }

    /// What the protocol remembers, as far as dumps show it.
    #[must_use]
    pub fn proto_info(&self) -> crate::snapshot::ProtoInfo {
        self.inner().proto.info()
    }

    /// Attaches a helper to a new connection, whatever its status says.
    pub(crate) fn attach_helper(&self, name: Arc<str>) {
        self.inner.lock().kin().helper = Some(name);
        self.ext.fetch_or(EXT_HELPER, Ordering::Relaxed);
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Fills a blank entry (`init_conntrack`). The order is the kernel's: everything, then a fence, then the store makes the count 1.
    pub(crate) fn init(&self, b: Birth<'_>) {
        // First of all the old incarnation's CONFIRMED goes.
        self.status.store(0, Ordering::Relaxed);
        self.set_tuple(Direction::Original, b.original);
        self.set_tuple(Direction::Reply, b.reply);
        self.timeout.store(0, Ordering::Relaxed);
        self.zone.store(b.zone.pack(), Ordering::Relaxed);
        self.net.store(b.net.id.0, Ordering::Relaxed);
        let own_timeouts = if b.policy.is_some() { EXT_TIMEOUT } else { 0 };
        self.ext.store(b.ext | own_timeouts, Ordering::Relaxed);
        self.mark.store(0, Ordering::Relaxed);
        self.stream_from.store(0, Ordering::Relaxed);
        for (dir, hash) in Direction::BOTH.into_iter().zip(b.hashes) {
            self.set_hash(dir, hash);
        }
        self.events.reset();
        *self.inner.lock() = Inner {
            net: Some(Arc::clone(b.net)),
            policy: b.policy,
            ..Inner::default()
        };
        // Release: whoever takes a reference with Acquire after the count became 1 sees all of this.
        fence(Ordering::Release);
    }

    /// Lets go of everything the connection owns, so that its memory can wait for the next one.
    ///
    /// # Safety
    /// The reference count is 0: nobody borrows anything of this entry.
    pub(crate) unsafe fn recycle(&self) {
        let inner = std::mem::take(&mut *self.inner.lock());
        if let Some(net) = &inner.net {
            if self.has(status::SRC_NAT_DONE) {
                net.sources
                    .forget(&self.key(Direction::Original), self.place());
            }
            net.entry_freed();
        }
        // SAFETY: passed on to the caller.
        unsafe {
            self.extra.clear();
            self.user.clear();
        }
    }
}

impl<U> Drop for Conn<U> {
    fn drop(&mut self) {
        // SAFETY: `&mut self` excludes every borrow.
        unsafe { self.recycle() }
    }
}

impl<U> fmt::Debug for Conn<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("original", &self.tuple(Direction::Original))
            .field("reply", &self.tuple(Direction::Reply))
            .field("zone", &self.zone())
            .field("status", &format_args!("{:#x}", self.status()))
            .finish_non_exhaustive()
    }
}
