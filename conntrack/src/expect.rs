//! Expectations: connections that another one has announced (`nf_conntrack_expect.c`).
//!
//! A helper reads in a connection (the *master*) where the next one will go, and notes it here. The first packet that fits begins a connection
//! that is RELATED and knows its master. A note serves once; it goes with its master, and when its time is over. The number of notes is bounded
//! by `nf_conntrack_expect_max`, and per master by its helper.

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::events::{ExpectEvent, Kind};
use crate::stats::Stat;
use crate::status::{CONFIRMED, DYING};
use crate::store::Store;
use crate::sysctl::Sysctl;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Tuple};
use crate::zone::{Key, Zone};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Where it comes from; from anywhere when `None`.
    pub src: Option<IpAddr>,
    /// Source port; any when `None`.
    pub sport: Option<u16>,
    /// Where it goes.
    pub dst: IpAddr,
    /// Transport protocol.
    pub protonum: u8,
    /// Destination port.
    pub dport: u16,
    /// Not used up by the first connection that fits (`NF_CT_EXPECT_PERMANENT`).
    pub permanent: bool,
    /// Helper that the connection gets.
    pub helper: Option<&'static str>,
    /// How the connection is translated when it comes.
    pub follow: Option<Follow>,
    /// When the connection comes, whatever expects this one need not be expected any more: the other direction of a PPTP call.
    pub twin: Option<Tuple>,
}

impl Expectation {
    /// One connection from `src` (or anywhere), any port, to `dst` and `dport`; not translated, without a helper.
    #[must_use]
    pub const fn new(src: Option<IpAddr>, dst: IpAddr, protonum: u8, dport: u16) -> Self {
        Self {
            src,
            sport: None,
            dst,
            protonum,
            dport,
            permanent: false,
            helper: None,
            follow: None,
            twin: None,
        }
    }

    fn place(&self) -> Place {
        (self.dst, self.dport, self.protonum)
    }

    /// Tuple and mask are the same (`expect_matches`).
    fn same(&self, other: &Self) -> bool {
        self.place() == other.place() && self.src == other.src && self.sport == other.sport
    }

    /// A connection could fit both (`expect_clash`).
    fn meets(&self, other: &Self) -> bool {
        fn common<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        self.place() == other.place()
            && common(self.src, other.src)
            && common(self.sport, other.sport)
    }

    fn fits(&self, t: &Tuple) -> bool {
        self.src.is_none_or(|a| a == t.src()) && self.sport.is_none_or(|p| p == t.src_l4())
    }
}

/// An expectation as dumps show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// What is expected.
    pub what: Expectation,
    /// Original tuple of the connection that announced it.
    pub master: Tuple,
    /// Its zone.
    pub zone: Zone,
    /// Name of the announcing connection's helper.
    pub helper: Option<Arc<str>>,
    /// Class within that helper.
    pub class: u32,
    /// Whole seconds left.
    pub timeout: u32,
}

/// Translation of an announced connection, as its master is (`nf_nat_follow_master`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Its source becomes this address, and this port (or key) if one is named.
    pub src: (IpAddr, Option<u16>),
    /// Its destination, likewise.
    pub dst: (IpAddr, Option<u16>),
}

impl Follow {
    /// From `src`, whatever the port, to `dst` and `port`.
    #[must_use]
    pub const fn new(src: IpAddr, dst: IpAddr, port: u16) -> Self {
        Self {
            src: (src, None),
            dst: (dst, Some(port)),
        }
    }
}

/// What a helper allows its connections (`struct nf_conntrack_expect_policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Number of the class of expectations that this is about; a helper with one kind of them has class 0.
    pub class: u32,
    /// Expectations of this class that one master has at a time; one more makes it forget the oldest. 0 = no limit.
    pub max: usize,
    /// Seconds until an expectation is given up.
    pub timeout: u32,
}

/// Why nothing is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectError {
    /// Something is expected already that the same connection could fit (`EBUSY`).
    Busy,
    /// The same is expected in another class (`EALREADY`).
    Already,
    /// Too many expectations (`EMFILE`).
    Full,
}

impl fmt::Display for ExpectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "something else is expected there",
            Self::Already => "the same is expected already",
            Self::Full => "too many expectations",
        })
    }
}

impl std::error::Error for ExpectError {}

/// Who expects. A connection's memory may be reused: the number tells incarnations apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Master {
    key: Key,
    id: u32,
}

impl Master {
    fn of<U>(conn: &Conn<U>) -> Self {
        Self {
            key: conn.key(Direction::Original),
            id: conn.id(),
        }
    }
}

#[derive(Clone, Debug)]
struct Note {
    what: Expectation,
    class: u32,
    helper: Option<Arc<str>>,
    master: Master,
    /// Does the master have events?
    events: bool,
    zone: Zone,
    deadline: Nanos,
    /// Order of making.
    serial: u64,
}

impl Note {
    fn shown(&self, now: Nanos) -> Expected {
        Expected {
            what: self.what,
            master: self.master.key.tuple,
            zone: self.zone,
            helper: self.helper.clone(),
            class: self.class,
            timeout: u32::try_from(self.deadline.saturating_sub(now) / SECOND).unwrap_or(u32::MAX),
        }
    }
}

const SECOND: Nanos = 1_000_000_000;

/// Destination, by which notes are found.
type Place = (IpAddr, u16, u8);

/// The notes of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Expectations {
    /// Number of notes, so that nobody takes the lock when there are none.
    count: AtomicUsize,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    places: HashMap<Place, Vec<Note>>,
    len: usize,
    serial: u64,
}

/// What a new connection gets from its master.
pub(crate) struct Inheritance {
    pub(crate) master: Tuple,
    pub(crate) parent: Arc<()>,
    pub(crate) mark: u32,
    pub(crate) helper: Option<&'static str>,
    pub(crate) follow: Option<Follow>,
}

impl Notes {
    /// Removes what `gone` says, oldest first.
    fn take(&mut self, mut gone: impl FnMut(&Note) -> bool) -> Vec<Note> {
        let mut taken = Vec::new();
        self.places.retain(|_, notes| {
            taken.extend(notes.extract_if(.., |n| gone(n)));
            !notes.is_empty()
        });
        self.len -= taken.len();
        taken.sort_by_key(|n| n.serial);
        taken
    }

    fn add(&mut self, note: Note) {
        self.serial += 1;
        let serial = self.serial;
        self.len += 1;
        self.places
            .entry(note.what.place())
            .or_default()
            .push(Note { serial, ..note });
    }
}

impl Expectations {
    fn any(&self) -> bool {
        // Relaxed: a connection that is made at the same moment may or may not have been announced.
        self.count.load(Ordering::Relaxed) != 0
    }
}

impl<S: Store> Tracker<S> {
    /// Notes that `master` expects a connection (`nf_ct_expect_related`). The same again takes the place of the first.
    ///
    /// # Errors
    /// [`ExpectError`]; nothing is noted then.
    pub fn expect(
        &self,
        master: &Conn<S::User>,
        what: Expectation,
        policy: Policy,
        now: Nanos,
    ) -> Result<(), ExpectError> {
        let me = Master::of(master);
        let helper = master.helper();
        let events = master.has_events();
        let mut notes = self.expect.notes.lock();
        self.drop_notes(&mut notes, now, |n| n.deadline <= now);
        let result = self.place(&mut notes, &me, &what, policy, now);
        if result.is_ok() {
            let note = Note {
                what,
                class: policy.class,
                helper,
                master: me,
                events,
                zone: master.zone(),
                deadline: now.saturating_add(Nanos::from(policy.timeout) * SECOND),
                serial: 0,
            };
            self.net().stats.inc(Stat::ExpectCreate);
            self.tell(Kind::New, &note, now);
            notes.add(note);
        }
        self.expect.count.store(notes.len, Ordering::Relaxed);
        result
    }

    /// Makes room for an expectation, or tells why there is none (`__nf_ct_expect_check`).
    fn place(
        &self,
        notes: &mut Notes,
        me: &Master,
        what: &Expectation,
        policy: Policy,
        now: Nanos,
    ) -> Result<(), ExpectError> {
        // The youngest is met first, and an identical one ends the search.
        let there = notes.places.get(&what.place());
        let met = there
            .into_iter()
            .flatten()
            .rev()
            .find(|n| n.what.meets(what));
        if let Some(n) = met {
            if n.master != *me || !n.what.same(what) {
                return Err(ExpectError::Busy);
            }
            if n.class != policy.class {
                return Err(ExpectError::Already);
            }
            let serial = n.serial;
            self.drop_notes(notes, now, |n| n.serial == serial);
        }
        let mine = |n: &&Note| n.master == *me && n.class == policy.class;
        let all = || notes.places.values().flatten();
        if policy.max != 0 && all().filter(mine).count() >= policy.max {
            let oldest = all().filter(mine).map(|n| n.serial).min();
            self.drop_notes(notes, now, |n| Some(n.serial) == oldest);
        }
        if notes.len >= self.knob(Sysctl::ExpectMax) as usize {
            return Err(ExpectError::Full);
        }
        Ok(())
    }

    /// Removes notes and tells it; returns how many.
    fn drop_notes(&self, notes: &mut Notes, now: Nanos, gone: impl FnMut(&Note) -> bool) -> usize {
        if notes.len == 0 {
            return 0;
        }
        let taken = notes.take(gone);
        for note in &taken {
            self.tell(Kind::Destroy, note, now);
        }
        self.expect.count.store(notes.len, Ordering::Relaxed);
        self.net().stats.add(Stat::ExpectDelete, taken.len() as u64);
        taken.len()
    }

    fn tell(&self, kind: Kind, note: &Note, now: Nanos) {
        if note.events && self.ear.is_open() {
            let expected = note.shown(now);
            self.ear.tell_expectation(&ExpectEvent {
                kind,
                expected,
                now,
            });
        }
    }

    /// Is the connection that begins with `tuple` expected? Then the expectation is fulfilled (`nf_ct_find_expectation`).
    pub(crate) fn expected(&self, tuple: &Tuple, zone: Zone, now: Nanos) -> Option<Inheritance> {
        let expect = &self.expect;
        if !expect.any() {
            return None;
        }
        let fits = |n: &Note| n.deadline > now && n.zone.id == zone.id && n.what.fits(tuple);
        let place = (tuple.dst(), tuple.dst_l4(), tuple.protonum());
        let note = expect
            .notes
            .lock()
            .places
            .get(&place)?
            .iter()
            .rev()
            .find(|n| fits(n))
            .cloned()?;
        // Without the lock: whoever looks for the master may have to delete it, and its notes with it.
        let (master, _) = self.find(&note.master.key.tuple, note.zone, now)?;
        if master.id() != note.master.id || master.status() & (CONFIRMED | DYING) != CONFIRMED {
            return None;
        }
        // Of several that fit the same note one gets it.
        let mine = note.what.permanent
            || self.drop_notes(&mut expect.notes.lock(), now, |n| n.serial == note.serial) == 1;
        mine.then(|| {
            self.net().stats.inc(Stat::ExpectNew);
            if let Some(twin) = &note.what.twin {
                self.unexpect(twin, zone, now);
            }
            Inheritance {
                master: note.master.key.tuple,
                parent: Arc::clone(&master.inner().kin().children),
                mark: master.mark(),
                helper: note.what.helper,
                follow: note.what.follow,
            }
        })
    }

    /// Forgets what the connection that begins with `tuple` would fulfil (`nf_ct_unexpect_related`). False: nothing expects it.
    pub fn unexpect(&self, tuple: &Tuple, zone: Zone, now: Nanos) -> bool {
        if !self.expect.any() {
            return false;
        }
        let mut notes = self.expect.notes.lock();
        let place = (tuple.dst(), tuple.dst_l4(), tuple.protonum());
        let there = notes.places.get(&place).into_iter().flatten().rev();
        let serial = there
            .filter(|n| n.deadline > now && n.zone.id == zone.id && n.what.fits(tuple))
            .map(|n| n.serial)
            .next();
        serial.is_some() && self.drop_notes(&mut notes, now, |n| Some(n.serial) == serial) == 1
    }

    /// A connection goes, and what it expected with it (`nf_ct_remove_expectations`).
    pub(crate) fn forget_expectations_of(&self, master: &Conn<S::User>, now: Nanos) {
        if self.expect.any() {
            let me = Master::of(master);
            self.drop_notes(&mut self.expect.notes.lock(), now, |n| n.master == me);
        }
    }

    /// Gives up what has been expected for too long. [`Tracker::gc`] does it, and [`Tracker::expectations`].
    pub(crate) fn expire_expectations(&self, now: Nanos) {
        if self.expect.any() {
            self.drop_notes(&mut self.expect.notes.lock(), now, |n| n.deadline <= now);
        }
    }

    /// What is expected at `now`, oldest first (`/proc/net/nf_conntrack_expect`).
    #[must_use]
    pub fn expectations(&self, now: Nanos) -> Vec<Expected> {
        self.expire_expectations(now);
        let notes = self.expect.notes.lock();
        let mut live: Vec<&Note> = notes.places.values().flatten().collect();
        live.sort_by_key(|n| n.serial);
        live.iter().map(|n| n.shown(now)).collect()
    }
}
