//! Where a new connection enters the table (`__nf_conntrack_confirm`), and what happens if it is there already.

use super::Tracker;
use crate::clock::{HZ, Jiffies};
use crate::conn::{Conn, EXT_HELPER};
use crate::events::mask;
use crate::packet::{Hook, Packet, SkbNfct, Verdict};
use crate::proto;
use crate::stats::Stat;
use crate::status::{CONFIRMED, CtInfo, DYING, EXPECTED, FIXED_TIMEOUT, NAT_CLASH};
use crate::store::{InsertError, Store};
use crate::sync::mutant;
use crate::tuple::Direction;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

impl<S: Store> Tracker<S> {
    /// Puts the packet's new connection into the table (`nf_conntrack_confirm`), at POST_ROUTING or LOCAL_IN. A packet that is never
    /// confirmed leaves no trace. `Drop` when the connection could not be linked. After a clash the packet may belong to
    /// another entry than before: ask [`Packet::conn`] again.
    pub fn confirm<'t>(&'t self, pkt: &mut Packet<'_, 't, S>, _hook: Hook) -> Verdict {
        let Some(c) = pkt.conn() else {
            return Verdict::Accept;
        };
        let verdict = if c.is_confirmed() {
            Verdict::Accept
        } else {
            self.enter(pkt)
        };
        // After a clash it may be another entry.
        if let Some(c) = pkt
            .conn()
            .filter(|c| verdict == Verdict::Accept && c.has_events())
        {
            self.ear.deliver(c, 0, pkt.now());
        }
        verdict
    }

    /// `__nf_conntrack_confirm`.
    fn enter<'t>(&'t self, pkt: &mut Packet<'_, 't, S>) -> Verdict {
        let Some(c) = pkt.conn() else {
            return Verdict::Accept;
        };
        let original = |i: CtInfo| i.dir() == Direction::Original;
        if !pkt.nfct().info().is_some_and(original) {
            return Verdict::Accept;
        }
        if c.has(DYING) {
            self.net.stats.inc(Stat::InsertFailed);
            return Verdict::Drop;
        }
        let Some(entry) = pkt.nfct().to_ref() else {
            return Verdict::Accept;
        };
        // The original key cannot have changed since it was looked up; the reply's may have, by address translation.
        let original = entry.link(Direction::Original);
        let mut reply = entry.link(Direction::Reply);
        if reply.hash == 0 {
            reply.hash = self.core.hasher.hash(&reply.key);
            entry.set_hash(Direction::Reply, reply.hash);
        }

        let now = Jiffies::at(pkt.now());
        let relative = entry.deadline();
        // Nobody reads the deadline before CONFIRMED is set.
        if !mutant("ct:deadline-after-confirmed") {
            entry.set_deadline(now.plus(relative));
        }
        if mutant("ct:confirmed-before-linked") {
            entry.set_status(CONFIRMED);
        }
        entry.stamp_start(pkt.now());
        // Noted before anybody can see the entry, and so delete it.
        let beginning = if entry.has(EXPECTED) {
            mask::RELATED
        } else {
            mask::NEW
        };
        entry.note(beginning);
        if entry.has_ext(EXT_HELPER) {
            entry.note(mask::HELPER);
        }
        match self
            .core
            .store
            .insert(&entry, &original, &reply, self.chain_limit())
        {
            Ok(()) => {
                entry.set_status(CONFIRMED);
                if mutant("ct:deadline-after-confirmed") {
                    entry.set_deadline(now.plus(relative));
                }
                Verdict::Accept
            }
            Err(InsertError::Clash { winner, .. })
                if S::same(&winner, &entry) && !mutant("ct:own-copy-is-a-clash") =>
            {
                // A copy of this packet was quicker. It is in the table once, and stays confirmed: only this copy goes.
                Verdict::Drop
            }
            Err(e) => {
                entry.set_deadline(relative);
                entry
                    .event_cache()
                    .clear(mask::NEW | mask::RELATED | mask::HELPER);
                match e {
                    InsertError::Clash { winner, .. } => self.resolve_clash(pkt, entry, winner),
                    InsertError::ChainTooLong => {
                        self.net.stats.inc(Stat::ChainTooLong);
                        self.net.stats.inc(Stat::InsertFailed);
                        Verdict::Drop
                    }
                    InsertError::Full => {
                        self.net.stats.inc(Stat::InsertFailed);
                        Verdict::Drop
                    }
                }
            }
        }
    }

    /// `nf_ct_resolve_clash`: the connection is there already, made by a packet that overtook this one.
    fn resolve_clash<'t>(
        &'t self,
        pkt: &mut Packet<'_, 't, S>,
        loser: S::Ref<'t>,
        winner: S::Ref<'t>,
    ) -> Verdict {
        let allowed = proto::allows_clash(loser.tuple(Direction::Original).protonum());
        if allowed && (self.merge(pkt, &loser, winner) || self.link_reply_only(pkt, &loser)) {
            self.net.stats.inc(Stat::ClashResolve);
            return Verdict::Accept;
        }
        self.net.stats.inc(Stat::Drop);
        self.net.stats.inc(Stat::InsertFailed);
        Verdict::Drop
    }

    /// If both are the same flow the packet goes over to the winner.
    fn merge<'t>(
        &'t self,
        pkt: &mut Packet<'_, 't, S>,
        loser: &S::Ref<'t>,
        winner: S::Ref<'t>,
    ) -> bool {
        if !same_flow(&winner, loser) {
            return false;
        }
        let info = pkt.nfct().info().unwrap_or(CtInfo::New);
        if let Some((packets, bytes)) = loser.counters(info.dir()) {
            winner.account(info.dir(), packets, bytes);
        }
        if !mutant("ct:keep-handle-after-clash") {
            pkt.set_nfct(SkbNfct::new(&self.core.store, winner, info));
        }
        true
    }

    /// Only the original tuple is taken, by a flow that was translated differently: for a second, answers shall find this one.
    fn link_reply_only<'t>(&'t self, pkt: &mut Packet<'_, 't, S>, loser: &S::Ref<'t>) -> bool {
        loser.set_deadline(Jiffies::at(pkt.now()).plus(Jiffies(HZ)));
        // It had no beginning that anybody was told of, so it shall have no end.
        loser.without_events();
        loser.set_status(FIXED_TIMEOUT | NAT_CLASH);
        match self
            .core
            .store
            .insert_reply(loser, &loser.link(Direction::Reply))
        {
            Ok(()) => {
                loser.set_status(CONFIRMED);
                true
            }
            Err(InsertError::Clash { winner, .. }) => self.merge(pkt, loser, winner),
            Err(InsertError::ChainTooLong | InsertError::Full) => false,
        }
    }

    /// The longest chain an entry may join: 50, and up to 29 more so that nobody can tell.
    pub(super) fn chain_limit(&self) -> usize {
        const SPREAD: u64 = 30;
        thread_local!(static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0u8) | 1));
        let random = STATE.with(|s| {
            // xorshift64; it only has to be uneven.
            let mut x = s.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            s.set(x);
            x
        });
        self.core
            .config
            .chain_limit
            .saturating_add((random % SPREAD) as usize)
    }
}

/// Same tuples both ways and same zones, or each the mirror image of the other (`nf_ct_match`, `nf_ct_match_reverse`).
fn same_flow<U>(a: &Conn<U>, b: &Conn<U>) -> bool {
    use Direction::{Original, Reply};
    let equal = |x, y| a.key(x) == b.key(y);
    (equal(Original, Original) && equal(Reply, Reply))
        || (equal(Original, Reply) && equal(Reply, Original))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NullsStore;
    use crate::tracker::Config;
    use crate::tuple::{Family, Tuple};

    fn datagram() -> Vec<u8> {
        let mut p = vec![
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        p.extend([0, 9, 0, 53, 0, 8, 0, 0]);
        p
    }

    fn translated<'t>(
        ct: &'t Tracker<NullsStore>,
        p: &'t [u8],
        to: u8,
    ) -> Packet<'t, 't, NullsStore> {
        let mut pkt = Packet::new(p, Family::Ipv4, 0);
        assert_eq!(ct.track(&mut pkt, Hook::PreRouting), Verdict::Accept);
        let reply = Tuple::v4([10, 0, 1, to], [10, 0, 0, 1], 17, 53, 9);
        pkt.conn()
            .expect("an entry")
            .set_tuple(Direction::Reply, &reply);
        pkt
    }

    /// Two packets of one flow were translated differently: both servers' answers find their way for a second.
    #[test]
    fn a_clash_between_different_translations_is_linked_for_answers_only() {
        let ct = Tracker::new(NullsStore::new(16, 16).expect("memory"), Config::default());
        let p = datagram();
        let (mut a, mut b, mut c) = (
            translated(&ct, &p, 1),
            translated(&ct, &p, 2),
            translated(&ct, &p, 2),
        );
        for pkt in [&mut a, &mut b] {
            assert_eq!(ct.confirm(pkt, Hook::PostRouting), Verdict::Accept);
        }
        let late = b.conn().expect("an entry");
        assert_eq!(late.status(), CONFIRMED | FIXED_TIMEOUT | NAT_CLASH);
        assert_eq!((ct.store().len(), ct.stats().clash_resolve), (3, 1));
        for to in [1, 2] {
            let (found, dir) = ct
                .find(
                    &Tuple::v4([10, 0, 1, to], [10, 0, 0, 1], 17, 53, 9),
                    Default::default(),
                    0,
                )
                .expect("linked");
            assert_eq!((dir, found.has(NAT_CLASH)), (Direction::Reply, to == 2));
        }
        assert_eq!(ct.dump(0).len(), 1, "dumps show original links");

        // A third one with the second's translation merges with it.
        assert_eq!(ct.confirm(&mut c, Hook::PostRouting), Verdict::Accept);
        assert!(std::ptr::eq(c.conn().expect("an entry"), late));

        drop((a, b, c));
        assert_eq!(
            (ct.gc_all(1_000_000_000), ct.store().len(), ct.net().count()),
            (1, 2, 1)
        );
        assert_eq!(ct.delete_if(0, |_| true), 1);
        assert_eq!((ct.store().len(), ct.net().count()), (0, 0));
    }

    #[test]
    fn a_dying_entry_is_not_linked() {
        let ct = Tracker::new(
            NullsStore::<()>::new(16, 16).expect("memory"),
            Config::default(),
        );
        let p = datagram();
        let mut pkt = Packet::new(&p, Family::Ipv4, 0);
        ct.track(&mut pkt, Hook::PreRouting);
        pkt.conn().expect("an entry").set_status(DYING);
        assert_eq!(ct.confirm(&mut pkt, Hook::PostRouting), Verdict::Drop);
        assert_eq!((ct.store().len(), ct.stats().insert_failed), (0, 1));
    }
}
