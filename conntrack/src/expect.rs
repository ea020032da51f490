//! Expectations: connections that another one has announced (`nf_conntrack_expect.c`).
//!
//! A helper reads in a connection (the *master*) where the next one will go, and notes it here. The first packet that fits begins a connection
//! that is RELATED and knows its master. A note serves once; it goes with its master, and when its time is over. The number of notes is bounded
//! by `nf_conntrack_expect_max`, and per master by its helper.

use crate::clock::Nanos;
use crate::conn::Conn;
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
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is expected. The source port is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Where it comes from; from anywhere when `None`.
    pub src: Option<IpAddr>,
    /// Where it goes.
    pub dst: IpAddr,
    /// Transport protocol.
    pub protonum: u8,
    /// Destination port.
    pub dport: u16,
    /// How the connection is translated when it comes.
    pub follow: Option<Follow>,
}

/// Translation of an announced connection, as its master is (`nf_nat_follow_master`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Its source becomes this address.
    pub src: IpAddr,
    /// Its destination becomes this address and port.
    pub dst: (IpAddr, u16),
}

/// What a helper allows its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Expectations of one master at a time; one more makes it forget the oldest.
    pub max: usize,
    /// Seconds until an expectation is given up.
    pub timeout: u32,
}

/// Why nothing is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectError {
    /// Another connection expects the same (`EBUSY`).
    Busy,
    /// Too many expectations (`EMFILE`).
    Full,
}

impl fmt::Display for ExpectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "another connection expects the same",
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

#[derive(Clone, Copy, Debug)]
struct Note {
    what: Expectation,
    master: Master,
    zone: Zone,
    deadline: Nanos,
    /// Order of making.
    serial: u64,
}

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
    serial: u64,
}

/// What a new connection gets from its master.
pub(crate) struct Inheritance {
    pub(crate) master: Tuple,
    pub(crate) mark: u32,
    pub(crate) follow: Option<Follow>,
}

impl Notes {
    fn len(&self) -> usize {
        self.places.values().map(Vec::len).sum()
    }

    /// Removes what `gone` says; returns how many.
    fn remove_if(&mut self, mut gone: impl FnMut(&Note) -> bool) -> usize {
        let before = self.len();
        self.places.retain(|_, notes| {
            notes.retain(|n| !gone(n));
            !notes.is_empty()
        });
        before - self.len()
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
        let expect = &self.expect;
        let me = Master::of(master);
        let mut notes = expect.notes.lock();
        let mut gone = notes.remove_if(|n| n.deadline <= now || (n.master == me && n.what == what));
        let place = (what.dst, what.dport, what.protonum);
        let meets = |n: &Note| n.what.src.is_none() || what.src.is_none() || n.what.src == what.src;
        let busy = notes
            .places
            .get(&place)
            .is_some_and(|there| there.iter().any(|n| n.master != me && meets(n)));
        let mine: Vec<u64> = notes
            .places
            .values()
            .flatten()
            .filter(|n| n.master == me)
            .map(|n| n.serial)
            .collect();
        if !busy && mine.len() >= policy.max {
            let oldest = mine.iter().min().copied();
            gone += notes.remove_if(|n| Some(n.serial) == oldest);
        }
        let len = notes.len();
        let full = len >= self.knob(Sysctl::ExpectMax) as usize;
        let result = if busy {
            Err(ExpectError::Busy)
        } else if full {
            Err(ExpectError::Full)
        } else {
            notes.serial += 1;
            let note = Note {
                what,
                master: me,
                zone: master.zone(),
                deadline: now.saturating_add(Nanos::from(policy.timeout) * 1_000_000_000),
                serial: notes.serial,
            };
            notes.places.entry(place).or_default().push(note);
            self.net().stats.inc(Stat::ExpectCreate);
            Ok(())
        };
        expect
            .count
            .store(len + usize::from(result.is_ok()), Ordering::Relaxed);
        self.net().stats.add(Stat::ExpectDelete, gone as u64);
        result
    }

    /// Is the connection that begins with `tuple` expected? Then the expectation is fulfilled (`nf_ct_find_expectation`).
    pub(crate) fn expected(&self, tuple: &Tuple, zone: Zone, now: Nanos) -> Option<Inheritance> {
        let expect = &self.expect;
        if !expect.any() {
            return None;
        }
        let fits = |n: &Note| {
            n.deadline > now && n.zone.id == zone.id && n.what.src.is_none_or(|a| a == tuple.src())
        };
        let place = (tuple.dst(), tuple.dst_l4(), tuple.protonum());
        let note = *expect
            .notes
            .lock()
            .places
            .get(&place)?
            .iter()
            .rev()
            .find(|n| fits(n))?;
        // Without the lock: whoever looks for the master may have to delete it, and its notes with it.
        let (master, _) = self.find(&note.master.key.tuple, note.zone, now)?;
        if master.id() != note.master.id || master.status() & (CONFIRMED | DYING) != CONFIRMED {
            return None;
        }
        // Of several that fit the same note one gets it.
        let taken = self.forget_expectations(|n| n.serial == note.serial);
        (taken == 1).then(|| {
            self.net().stats.inc(Stat::ExpectNew);
            Inheritance {
                master: note.master.key.tuple,
                mark: master.mark(),
                follow: note.what.follow,
            }
        })
    }

    /// A connection goes, and what it expected with it (`nf_ct_remove_expectations`).
    pub(crate) fn forget_expectations_of(&self, master: &Conn<S::User>) {
        if self.expect.any() {
            let me = Master::of(master);
            self.forget_expectations(|n| n.master == me);
        }
    }

    fn forget_expectations(&self, gone: impl FnMut(&Note) -> bool) -> usize {
        let mut notes = self.expect.notes.lock();
        let n = notes.remove_if(gone);
        self.expect.count.store(notes.len(), Ordering::Relaxed);
        self.net().stats.add(Stat::ExpectDelete, n as u64);
        n
    }

    /// What is expected at `now`, oldest first.
    #[must_use]
    pub fn expectations(&self, now: Nanos) -> Vec<Expectation> {
        let notes = self.expect.notes.lock();
        let mut live: Vec<&Note> = notes
            .places
            .values()
            .flatten()
            .filter(|n| n.deadline > now)
            .collect();
        live.sort_by_key(|n| n.serial);
        live.iter().map(|n| n.what).collect()
    }
}
