//! The control plane: making, changing, finding and deleting connections by what a message says (`ctnetlink_new_conntrack` and its kin).

use super::{ChangeError, Tracker};
use crate::clock::{Jiffies, Nanos};
use crate::conn::{Birth, Conn, EXT_ACCT, EXT_ECACHE, EXT_TSTAMP};
use crate::ctnetlink::Record;
use crate::events::mask;
use crate::filter::Filter;
use crate::stats::Stat;
use crate::status::{
    ASSURED, CONFIRMED, DYING, EXPECTED, FIXED_TIMEOUT, HELPER, SEEN_REPLY, SEQ_ADJUST,
};
use crate::store::{InsertError, Store};
use crate::sysctl::Sysctl;
use crate::tuple::{Direction, Tuple};
use crate::zone::Zone;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why the control plane's wish was not done. [`ControlError::errno`] is what the kernel would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// There is none (`ENOENT`).
    NotFound,
    /// There is one already (`EEXIST`).
    Exists,
    /// The wish makes no sense (`EINVAL`).
    Invalid,
    /// What is wished cannot be changed (`EOPNOTSUPP`).
    Unsupported,
    /// A bit may not be changed that way (`EBUSY`).
    Busy,
    /// Its timeout is fixed (`EPERM`).
    Fixed,
    /// It is being deleted (`ETIME`).
    Dying,
    /// No room: the table is full, or a chain too long (`ENOSPC`).
    Full,
}

impl ControlError {
    /// The error number, positive.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Fixed => 1,
            Self::NotFound => 2,
            Self::Busy => 16,
            Self::Exists => 17,
            Self::Invalid => 22,
            Self::Full => 28,
            Self::Dying => 62,
            Self::Unsupported => 95,
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is no such connection",
            Self::Exists => "the connection exists already",
            Self::Invalid => "the request makes no sense",
            Self::Unsupported => "this cannot be changed",
            Self::Busy => "this status cannot be changed so",
            Self::Fixed => "the timeout is fixed",
            Self::Dying => "the connection is being deleted",
            Self::Full => "no room",
        })
    }
}

impl std::error::Error for ControlError {}

impl From<ChangeError> for ControlError {
    fn from(e: ChangeError) -> Self {
        match e {
            ChangeError::Fixed => Self::Fixed,
            ChangeError::Dying => Self::Dying,
            ChangeError::Busy => Self::Busy,
        }
    }
}

/// Bits that a request may set: `FIXED_TIMEOUT`, `HELPER`, and the two that also may never be cleared again.
const SETTABLE: u32 = SEEN_REPLY | ASSURED | FIXED_TIMEOUT | HELPER;

/// The zone of a request.
#[must_use]
pub fn zone_of(r: &Record) -> Zone {
    match (r.zone, r.tuple_zones) {
        (Some(id), _) => Zone::both(id),
        (None, [Some(id), None]) => Zone::one_way(id, Direction::Original),
        (None, [None, Some(id)]) => Zone::one_way(id, Direction::Reply),
        (None, [Some(a), Some(b)]) if a == b => Zone::both(a),
        (None, _) => Zone::DEFAULT,
    }
}

impl<S: Store> Tracker<S> {
    /// The connection that a request names: by its original tuple, else by its reply tuple (`conntrack -G`).
    ///
    /// # Errors
    /// [`ControlError::Invalid`] without a tuple; [`ControlError::NotFound`].
    pub fn get(&self, r: &Record, now: Nanos) -> Result<S::Ref<'_>, ControlError> {
        let tuple = r.tuples[0].or(r.tuples[1]).ok_or(ControlError::Invalid)?;
        let (entry, _) = self
            .find(&tuple, zone_of(r), now)
            .ok_or(ControlError::NotFound)?;
        if r.id.is_some_and(|id| id != entry.id()) {
            return Err(ControlError::NotFound);
        }
        Ok(entry)
    }

    /// The connection with this number; looks at all.
    #[must_use]
    pub fn find_by_id(&self, id: u32, now: Nanos) -> Option<S::Ref<'_>> {
        let mut cursor = Some(0);
        let mut found = Vec::new();
        while let Some(c) = cursor {
            cursor = self.core.store.step(
                c,
                &mut |p, d| d == Direction::Original && self.is_ours(p),
                &mut found,
            );
            let hit = found.drain(..).find(|(entry, _)| {
                !self.delete_expired(entry, now)
                    && entry.net_id() == self.net.id
                    && entry.id() == id
            });
            if let Some((entry, _)) = hit {
                return Some(entry);
            }
        }
        None
    }

    /// Makes a connection as the record tells it (`conntrack -I`): both tuples and the timeout must be there, the rest is zero if not said.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] when something is missing, the tuples do not belong together, or the protocol's state is none;
    /// [`ControlError::Exists`], [`ControlError::Full`]; [`ControlError::NotFound`] when there is no such master.
    pub fn insert(&self, r: &Record, now: Nanos) -> Result<S::Ref<'_>, ControlError> {
        let [Some(orig), Some(reply)] = r.tuples else {
            return Err(ControlError::Invalid);
        };
        let secs = r.timeout.ok_or(ControlError::Invalid)?;
        if orig.protonum() != reply.protonum() || orig.family() != reply.family() {
            return Err(ControlError::Invalid);
        }
        let zone = zone_of(r);
        for tuple in [orig, reply] {
            if self.find(&tuple, zone, now).is_some() {
                return Err(ControlError::Exists);
            }
        }
        let master = match &r.master {
            Some(t) => Some(self.master(t, zone, now)?),
            None => None,
        };
        let entry = self.bear(&orig, &reply, zone)?;
        entry.set_deadline(Jiffies::at(now).plus(Jiffies::secs(secs)));
        entry.stamp_start(now);
        let mut bits = r.status.unwrap_or(0) & SETTABLE;
        {
            let mut inner = entry.inner();
            if let Some(p) = &r.proto
                && !inner.proto.set(orig.protonum(), p)
            {
                return Err(ControlError::Invalid);
            }
            if r.seqadj.iter().any(Option::is_some) {
                inner.kin().seqadj = r.seqadj.map(Option::unwrap_or_default);
                bits |= SEQ_ADJUST;
            }
            if let Some((master, parent)) = master {
                let kin = inner.kin();
                (kin.master, kin.parent) = (Some(master), Some(parent));
                bits |= EXPECTED;
            }
        }
        if let Some(helper) = &r.helper {
            entry.attach_helper(helper.clone());
            bits |= HELPER;
        }
        entry.set_status(bits);
        entry.inherit_mark(r.mark.unwrap_or(0));
        if let Some(labels) = r.labels {
            entry.set_labels(labels, r.labels_mask.unwrap_or([u32::MAX; 4]));
        }
        // Noted before anybody can see the entry, and so delete it.
        let beginning = if bits & EXPECTED != 0 {
            mask::RELATED
        } else {
            mask::NEW
        };
        entry.note(beginning | mask::CHANGED);
        self.enter_table(&entry)?;
        if entry.has_events() {
            self.ear.deliver(&entry, 0, now);
        }
        Ok(entry)
    }

    /// Original tuple of the connection that is to be the master, and what counts its children.
    fn master(&self, t: &Tuple, zone: Zone, now: Nanos) -> Result<(Tuple, Arc<()>), ControlError> {
        let (m, dir) = self.find(t, zone, now).ok_or(ControlError::NotFound)?;
        if dir != Direction::Original {
            return Err(ControlError::NotFound);
        }
        let children = Arc::clone(&m.inner().kin().children);
        Ok((m.tuple(Direction::Original), children))
    }

    /// An entry of this namespace that nobody else knows yet.
    fn bear(&self, orig: &Tuple, reply: &Tuple, zone: Zone) -> Result<S::Ref<'_>, ControlError> {
        let count = self.net.entry_made();
        let max = self.core.max.load(Ordering::Relaxed);
        let full = max != 0 && count > max;
        let Some(entry) = (if full { None } else { self.core.store.alloc() }) else {
            self.net.entry_freed();
            return Err(ControlError::Full);
        };
        let mut ext = 0;
        for (knob, bit) in [(Sysctl::Acct, EXT_ACCT), (Sysctl::Timestamp, EXT_TSTAMP)] {
            if self.knob(knob) != 0 {
                ext |= bit;
            }
        }
        let events = self.knob(Sysctl::Events);
        if events == 1 || (events == 2 && self.ear.is_open()) {
            ext |= EXT_ECACHE;
        }
        entry.init(Birth {
            original: orig,
            reply,
            zone,
            net: &self.net,
            ext,
            hashes: [self.link(*orig, zone, Direction::Original).hash, 0],
            policy: None,
        });
        Ok(self.core.store.publish(entry))
    }

    /// Links a finished entry (`nf_conntrack_hash_check_insert`).
    fn enter_table<'t>(&'t self, entry: &S::Ref<'t>) -> Result<(), ControlError> {
        let original = entry.link(Direction::Original);
        let reply = self.link(
            entry.tuple(Direction::Reply),
            entry.zone(),
            Direction::Reply,
        );
        entry.set_hash(Direction::Reply, reply.hash);
        match self
            .core
            .store
            .insert(entry, &original, &reply, self.chain_limit())
        {
            Ok(()) => {
                entry.set_status(CONFIRMED);
                self.net.stats.inc(Stat::Insert);
                Ok(())
            }
            Err(InsertError::Clash { .. }) => Err(ControlError::Exists),
            Err(InsertError::ChainTooLong) => {
                self.net.stats.inc(Stat::ChainTooLong);
                Err(ControlError::Full)
            }
            Err(InsertError::Full) => Err(ControlError::Full),
        }
    }

    /// Changes a connection as the record tells (`conntrack -U`): timeout, status, protocol's state, mark, sequence shifts and labels, in this order.
    /// What comes before an error stays changed.
    ///
    /// # Errors
    /// [`ControlError::Unsupported`] for another helper or a master; those of each change.
    pub fn change(&self, conn: &Conn<S::User>, r: &Record, now: Nanos) -> Result<(), ControlError> {
        self.apply(conn, r, now)?;
        self.report_change(conn, now);
        Ok(())
    }

    fn apply(&self, conn: &Conn<S::User>, r: &Record, now: Nanos) -> Result<(), ControlError> {
        let other_master = r.master.is_some() && conn.inner().master() != r.master;
        if other_master || (r.helper.is_some() && conn.helper() != r.helper) {
            return Err(ControlError::Unsupported);
        }
        if let Some(secs) = r.timeout {
            self.set_timeout(conn, secs, now)?;
        }
        if let Some(bits) = r.status {
            self.change_status(conn, bits)?;
        }
        if let Some(p) = &r.proto
            && !conn
                .inner()
                .proto
                .set(conn.tuple(Direction::Original).protonum(), p)
        {
            return Err(ControlError::Invalid);
        }
        if let Some(mark) = r.mark {
            let mask = r.mark_mask.unwrap_or(u32::MAX);
            conn.set_mark((conn.mark() & !mask) ^ mark);
        }
        if r.seqadj.iter().any(Option::is_some) {
            let inner = &mut conn.inner();
            let kin = inner.kin();
            for (old, new) in kin.seqadj.iter_mut().zip(r.seqadj) {
                *old = new.unwrap_or(*old);
            }
            conn.set_status(SEQ_ADJUST);
        }
        if let Some(labels) = r.labels {
            conn.set_labels(labels, r.labels_mask.unwrap_or([u32::MAX; 4]));
        }
        Ok(())
    }

    /// Sets the status bits that may be set (`ctnetlink_change_status`).
    ///
    /// # Errors
    /// [`ControlError::Busy`]: a bit that nobody may touch differs, or one that may only be set is missing.
    pub fn change_status(&self, conn: &Conn<S::User>, bits: u32) -> Result<(), ControlError> {
        let old = conn.status();
        let differ = old ^ bits;
        if differ & (EXPECTED | CONFIRMED | DYING) != 0
            || differ & old & (SEEN_REPLY | ASSURED) != 0
        {
            return Err(ControlError::Busy);
        }
        conn.set_status(bits & SETTABLE);
        Ok(())
    }

    /// Deletes the connections that fit (`conntrack -D`, and with the default filter `-F`); returns how many.
    pub fn delete_matching(&self, filter: &Filter, now: Nanos) -> usize {
        self.delete_if(now, |c| filter.matches(c))
    }

    /// Calls `f` for each live connection that fits.
    pub fn for_each_matching(&self, filter: &Filter, now: Nanos, mut f: impl FnMut(&S::Ref<'_>)) {
        self.for_each(now, |r| {
            if filter.matches(r) {
                f(r);
            }
        });
    }

    /// Changes the connections that fit; returns how many were changed, and the last refusal if there was one.
    pub fn change_matching(
        &self,
        filter: &Filter,
        r: &Record,
        now: Nanos,
    ) -> (usize, Option<ControlError>) {
        let (mut changed, mut refusal) = (0, None);
        self.for_each_matching(filter, now, |c| match self.change(c, r, now) {
            Ok(()) => changed += 1,
            Err(e) => refusal = Some(e),
        });
        (changed, refusal)
    }
}
