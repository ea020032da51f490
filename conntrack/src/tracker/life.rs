//! Looking up and deleting entries.

use super::{ChangeError, Tracker};
use crate::clock::{Jiffies, Nanos};
use crate::conn::{Conn, EXT_HELPER};
use crate::helper::pptp;
use crate::packet::{Packet, SkbNfct};
use crate::policy::TimeoutPolicy;
use crate::stats::Stat;
use crate::status::{CONFIRMED, CtInfo, DYING, FIXED_TIMEOUT, NAT_CLASH};
use crate::store::Store;
use crate::sync::mutant;
use crate::sysctl::Sysctl;
use crate::tuple::{Direction, Tuple, ipproto};
use crate::zone::{Link, Zone};
use std::sync::Arc;

impl<S: Store> Tracker<S> {
    /// Looks a connection up by one of its tuples (`nf_conntrack_find_get`): under the zone's id for the original direction, then for the reply.
    #[must_use]
    pub fn find(&self, tuple: &Tuple, zone: Zone, now: Nanos) -> Option<(S::Ref<'_>, Direction)> {
        let found = self.look(&self.link(*tuple, zone, Direction::Original), zone, now);
        let dir = found.info()?.dir();
        Some((found.into_ref()?, dir))
    }

    /// As [`Tracker::find`], `link` being that of the original direction's zone. The result is as [`Tracker::found`] packs it.
    #[inline]
    pub(super) fn look<'t>(&'t self, link: &Link, zone: Zone, now: Nanos) -> SkbNfct<'t, S> {
        let found = self.look_once(link, now);
        if found.conn().is_some() || zone.id_for(Direction::Reply) == link.key.zone {
            return found;
        }
        self.look_once(&self.link(link.key.tuple, zone, Direction::Reply), now)
    }

    /// One look into the table. An expired entry is deleted by whoever meets it.
    fn look_once<'t>(&'t self, link: &Link, now: Nanos) -> SkbNfct<'t, S> {
        match self.core.store.find(link.hash, &link.key) {
            Some((entry, dir)) if !entry.is_expired(now) => self.found(entry, dir),
            Some((expired, _)) => {
                self.delete_expired(&expired, now);
                SkbNfct::NONE
            }
            None => SkbNfct::NONE,
        }
    }

    /// Packs what was found into two registers. `New` stands for the original direction: what the entry is to a packet is found out when it is the
    /// packet's turn.
    #[inline]
    pub(super) fn found<'t>(&'t self, entry: S::Ref<'t>, dir: Direction) -> SkbNfct<'t, S> {
        let info = match dir {
            Direction::Original => CtInfo::New,
            Direction::Reply => CtInfo::EstablishedReply,
        };
        SkbNfct::new(&self.core.store, entry, info)
    }

    /// Would the answers to `tuple` be taken for those of another connection than `ignored` (`nf_nat_used_tuple`)? One that began with the same
    /// packet does not count: confirmation settles that.
    pub(crate) fn answers_taken(&self, tuple: &Tuple, ignored: &Conn<S::User>, now: Nanos) -> bool {
        let Some(reply) = tuple.invert() else {
            return false;
        };
        let link = self.link(reply, ignored.zone(), Direction::Reply);
        let other = self.look_once(&link, now);
        let Some(other) = other.conn() else {
            return false;
        };
        if std::ptr::eq::<Conn<S::User>>(other, ignored)
            || other.key(Direction::Original) == ignored.key(Direction::Original)
        {
            return false;
        }
        self.net.stats.inc(Stat::Found);
        true
    }

    /// `nf_ct_gc_expired`: CONFIRMED is asked first, because the deadline is a span until then.
    pub(super) fn delete_expired(&self, entry: &S::Ref<'_>, now: Nanos) -> bool {
        entry.status() & (CONFIRMED | DYING) == CONFIRMED
            && entry.is_expired(now)
            && self.delete(entry, now)
    }

    /// Deletes a connection (`nf_ct_delete`): false when somebody else did, or it is not in the table. Packets that hold it keep it alive.
    pub fn delete(&self, entry: &S::Ref<'_>, now: Nanos) -> bool {
        // Setting DYING decides who of all that want to delete it does.
        if !entry.is_confirmed() && !mutant("ct:delete-unlinked") {
            return false;
        }
        if !entry.claim_death() {
            return false;
        }
        let overdue = entry
            .deadline()
            .until(Jiffies::at(now))
            .min(0)
            .unsigned_abs();
        entry.stamp_stop(now.saturating_sub(Jiffies(overdue).as_nanos()));
        if entry.has_events() {
            self.ear.end(entry, now);
        }
        let gre = entry.tuple(Direction::Original).protonum() == ipproto::GRE;
        if gre || entry.has_ext(EXT_HELPER) {
            pptp::gone(self, entry, now);
        }
        let original = (!entry.has(NAT_CLASH)).then(|| entry.link(Direction::Original));
        self.core
            .store
            .remove(entry, original.as_ref(), &entry.link(Direction::Reply));
        self.forget_expectations_of(entry, now);
        true
    }

    /// Counts a packet and deletes its connection (`nf_ct_kill_acct`).
    pub(crate) fn kill(&self, entry: &S::Ref<'_>, info: CtInfo, pkt: &Packet<'_, '_, S>) -> bool {
        entry.account(info.dir(), 1, pkt.data().len() as u64);
        self.delete(entry, pkt.now())
    }

    /// Changes a connection's timeout (`conntrack -U --timeout`, in seconds).
    ///
    /// # Errors
    /// [`ChangeError::Fixed`] and [`ChangeError::Dying`].
    pub fn set_timeout(
        &self,
        conn: &Conn<S::User>,
        secs: u32,
        now: Nanos,
    ) -> Result<(), ChangeError> {
        let st = conn.status();
        if st & FIXED_TIMEOUT != 0 {
            return Err(ChangeError::Fixed);
        }
        if st & DYING != 0 {
            return Err(ChangeError::Dying);
        }
        let span = Jiffies::secs(secs);
        conn.set_deadline(if st & CONFIRMED != 0 {
            Jiffies::at(now).plus(span)
        } else {
            span
        });
        Ok(())
    }

    /// Gives a new connection timeouts of its own (`ct timeout set`), and the time left that a new connection has under them. A confirmed
    /// one keeps what it has; false then.
    pub fn set_timeout_policy(
        &self,
        conn: &Conn<S::User>,
        policy: &Arc<TimeoutPolicy>,
        now: Nanos,
    ) -> bool {
        if conn.is_confirmed() {
            return false;
        }
        conn.set_policy(Arc::clone(policy));
        let first = match conn.tuple(Direction::Original).protonum() {
            ipproto::ICMP => Sysctl::IcmpTimeout,
            ipproto::ICMPV6 => Sysctl::Icmpv6Timeout,
            ipproto::TCP => Sysctl::TcpTimeoutSynSent,
            ipproto::UDP | ipproto::UDPLITE => Sysctl::UdpTimeout,
            ipproto::GRE => Sysctl::GreTimeout,
            ipproto::SCTP => Sysctl::SctpTimeoutClosed,
            _ => Sysctl::GenericTimeout,
        };
        let secs = policy.get(first).unwrap_or_else(|| self.knob(first));
        self.set_timeout(conn, secs, now).is_ok()
    }
}
