//! Where a new connection enters the table (`__nf_conntrack_confirm`), and what happens if it is there already.

use super::Tracker;
use crate::clock::{HZ, Jiffies};
use crate::conn::Conn;
use crate::packet::{Hook, Packet, SkbNfct, Verdict};
use crate::proto;
use crate::stats::Stat;
use crate::status::{CONFIRMED, CtInfo, DYING, FIXED_TIMEOUT, NAT_CLASH};
use crate::store::{InsertError, Store};
use crate::tuple::Direction;
use std::cell::Cell;

impl<S: Store> Tracker<S> {
    /// Puts the packet's new connection into the table (`nf_conntrack_confirm`), at POST_ROUTING or LOCAL_IN. A packet that is never
    /// confirmed leaves no trace. `Drop` when the connection could not be linked. After a clash the packet may belong to
    /// another entry than before: ask [`Packet::conn`] again.
    pub fn confirm<'t>(&'t self, pkt: &mut Packet<'_, 't, S>, _hook: Hook) -> Verdict {
        let Some(c) = pkt.conn() else {
            return Verdict::Accept;
        };
        if c.is_confirmed()
            || pkt
                .nfct()
                .info()
                .is_none_or(|i| i.dir() != Direction::Original)
        {
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
        let reply = entry.key(Direction::Reply);
        let reply = self.link(reply.tuple, reply.zone);
        entry.set_hash(Direction::Reply, reply.hash);

        let now = Jiffies::at(pkt.now());
        let relative = entry.deadline();
        // Nobody reads the deadline before CONFIRMED is set.
        entry.set_deadline(now.plus(relative));
        entry.stamp_start(pkt.now());
        match self
            .core
            .store
            .insert(&entry, &original, &reply, self.chain_limit())
        {
            Ok(()) => {
                entry.set_status(CONFIRMED);
                Verdict::Accept
            }
            Err(InsertError::Clash { winner, .. }) if S::same(&winner, &entry) => {
                // A copy of this packet was quicker. It is in the table once, and stays confirmed: only this copy goes.
                Verdict::Drop
            }
            Err(e) => {
                entry.set_deadline(relative);
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
        pkt.set_nfct(SkbNfct::new(&self.core.store, winner, info));
        true
    }

    /// Only the original tuple is taken, by a flow that was translated differently: for a second, answers shall find this one.
    fn link_reply_only<'t>(&'t self, pkt: &mut Packet<'_, 't, S>, loser: &S::Ref<'t>) -> bool {
        loser.set_deadline(Jiffies::at(pkt.now()).plus(Jiffies(HZ)));
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
    fn chain_limit(&self) -> usize {
        const SPREAD: u64 = 30;
        thread_local!(static STATE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) });
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
