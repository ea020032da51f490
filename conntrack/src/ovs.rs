//! The `ct()` action of Open vSwitch (`net/openvswitch/conntrack.c`): one call that looks a packet up, and, if told so, keeps its connection.
//!
//! The action works on an IP packet as a switch sees it: there are no hooks, and the packet is tracked as if it came in (PRE_ROUTING). What it finds
//! is told as [`State`] bits. A connection that is not committed leaves no trace.
//!
//! ```
//! use nulls_conntrack::ovs::{Action, Ovs, State};
//! use nulls_conntrack::{Config, Family, NullsStore, Packet, Tracker, Zone};
//! let ct = Tracker::new(NullsStore::<()>::new(1000, 64)?, Config::default());
//! let ovs = Ovs::new();
//! let commit = Action { commit: true, zone: Zone::both(7), mark: Some((1, u32::MAX)), ..Action::default() };
//! # let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
//! # bytes.extend([0, 9, 0, 53, 0, 8, 0, 0]);
//! let mut packet = Packet::new(&bytes, Family::Ipv4, 0);
//! let state = ovs.execute(&ct, &mut packet, &commit).expect("not dropped");
//! assert_eq!(state, State::TRACKED | State::NEW);
//! assert_eq!(packet.conn().map(|c| c.mark()), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::hooks::HookFn;
use crate::nat::{Manip, Nat as Translation, Question, Range};
use crate::packet::{Hook, Packet, SkbNfct, Verdict};
use crate::policy::{Template, TimeoutPolicy};
use crate::status::{ASSURED, CONFIRMED, CtInfo, DST_NAT, EXPECTED, SRC_NAT};
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Tuple};
use crate::zone::Zone;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::sync::Arc;

/// What a packet is to its connection (`OVS_CS_F_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State(u32);

impl State {
    /// Not yet committed, or committed and never answered.
    pub const NEW: Self = Self(0x01);
    /// Part of a connection.
    pub const ESTABLISHED: Self = Self(0x02);
    /// Caused or announced by another connection.
    pub const RELATED: Self = Self(0x04);
    /// In the reply direction.
    pub const REPLY_DIR: Self = Self(0x08);
    /// Could not be tracked.
    pub const INVALID: Self = Self(0x10);
    /// Went through an action.
    pub const TRACKED: Self = Self(0x20);
    /// The connection's source is translated.
    pub const SRC_NAT: Self = Self(0x40);
    /// Its destination is.
    pub const DST_NAT: Self = Self(0x80);

    /// The bits, with the numbers of Open vSwitch.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Are all of `other`'s bits set?
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for State {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for State {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(State, &str); 8] = [
            (State::NEW, "new"),
            (State::ESTABLISHED, "est"),
            (State::RELATED, "rel"),
            (State::REPLY_DIR, "rpl"),
            (State::INVALID, "inv"),
            (State::TRACKED, "trk"),
            (State::SRC_NAT, "snat"),
            (State::DST_NAT, "dnat"),
        ];
        let set = NAMES.iter().filter(|(bit, _)| self.has(*bit));
        let names: Vec<&str> = set.map(|(_, n)| *n).collect();
        f.write_str(&names.join("|"))
    }
}

/// Address translation of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nat {
    /// As the connection has it, if it has any.
    Existing,
    /// New connections are translated so.
    New(Manip, Range),
}

/// What the action does.
#[derive(Clone, Debug, Default)]
pub struct Action {
    /// Keep the connection in the table.
    pub commit: bool,
    /// With `commit`: this packet's direction becomes the original one. A connection that has it as its reply is deleted and begins anew.
    pub force: bool,
    /// The zone.
    pub zone: Zone,
    /// Mark and which of its bits are set; needs `commit`.
    pub mark: Option<(u32, u32)>,
    /// Labels, lowest bits first, and which of them are set; needs `commit`.
    pub labels: Option<([u32; 4], [u32; 4])>,
    /// Address translation.
    pub nat: Option<Nat>,
    /// Helper of a connection that is committed.
    pub helper: Option<Arc<str>>,
    /// Timeouts of a connection that begins.
    pub timeout: Option<Arc<TimeoutPolicy>>,
}

/// Why the packet is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The action makes no sense: mark, labels, `force` or new translation without `commit`.
    Action,
    /// The zone has as many connections as it may.
    ZoneFull,
    /// The tracker dropped it: the table is full, or the connection clashed.
    Tracker,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "mark, labels, force and new translation need commit",
            Self::ZoneFull => "the zone is full",
            Self::Tracker => "the tracker dropped the packet",
        })
    }
}

impl std::error::Error for Refused {}

/// State of a switch: the limits of its zones.
#[derive(Debug, Default)]
pub struct Ovs {
    limits: Mutex<Limits>,
}

#[derive(Debug, Default)]
struct Limits {
    default: Option<u32>,
    zones: HashMap<u16, u32>,
    /// Connections counted in each limited zone: by original tuple. Cleaned of those that ended whenever a zone seems full.
    counted: HashMap<u16, HashMap<Tuple, u32>>,
}

impl Ovs {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The most connections each zone without a limit of its own may have; `None`: any number.
    pub fn set_default_limit(&self, limit: Option<u32>) {
        self.limits.lock().default = limit;
    }

    /// The most connections `zone` may have (`ovs-dpctl ct-set-limits`); `None`: the default. Connections that it has already stay.
    pub fn set_limit(&self, zone: u16, limit: Option<u32>) {
        let limits = &mut self.limits.lock();
        match limit {
            Some(n) => limits.zones.insert(zone, n),
            None => limits.zones.remove(&zone),
        };
    }

    /// The limit of `zone`, and how many of its connections were committed through here and still exist (`ct-get-limits`).
    pub fn limit<S: Store>(&self, ct: &Tracker<S>, zone: u16, now: Nanos) -> (Option<u32>, usize) {
        let limits = &mut *self.limits.lock();
        let counted = limits.counted.entry(zone).or_default();
        let n = clean(ct, counted, zone, now);
        (limits.zones.get(&zone).copied().or(limits.default), n)
    }

    /// Counts a connection that is about to be committed (`ovs_ct_check_limit`). False: there is no room.
    fn admit<S: Store>(&self, ct: &Tracker<S>, c: &Conn<S::User>, now: Nanos) -> bool {
        let zone = c.zone().id;
        let limits = &mut *self.limits.lock();
        let Some(limit) = limits.zones.get(&zone).copied().or(limits.default) else {
            return true;
        };
        let counted = limits.counted.entry(zone).or_default();
        if counted.len() >= limit as usize && clean(ct, counted, zone, now) >= limit as usize {
            return false;
        }
        counted.insert(c.tuple(Direction::Original), c.id());
        true
    }

    /// A connection that was admitted did not come into being.
    fn dismiss(&self, zone: u16, tuple: &Tuple, id: u32) {
        if let Some(counted) = self.limits.lock().counted.get_mut(&zone)
            && counted.get(tuple) == Some(&id)
        {
            counted.remove(tuple);
        }
    }

    /// Executes the action on a packet; `Ok` tells what the packet is. A packet that an earlier action has tracked in the same zone, with the same
    /// helper and timeouts, is not looked up again.
    ///
    /// # Errors
    /// See [`Refused`]: the packet is to be dropped.
    pub fn execute<'t, S: Store>(
        &self,
        ct: &'t Tracker<S>,
        pkt: &mut Packet<'_, 't, S>,
        action: &Action,
    ) -> Result<State, Refused> {
        let new_nat = matches!(action.nat, Some(Nat::New(..)));
        let needs_commit =
            action.force || new_nat || action.mark.is_some() || action.labels.is_some();
        if needs_commit && !action.commit {
            return Err(Refused::Action);
        }
        let cached = self.cached(ct, pkt, action);
        if !cached {
            look_up(ct, pkt, action)?;
        }
        let Some(c) = pkt.conn() else {
            return Ok(state_of(pkt));
        };
        let fresh = !c.is_confirmed();
        if let Some(helper) = action.helper.as_ref().filter(|_| fresh && action.commit) {
            // Refused if it has one already.
            c.set_helper(helper);
        }
        translate(ct, pkt, action)?;
        let helps = if fresh { action.commit } else { !cached };
        if helps && ct.help(pkt, Hook::PostRouting) != Verdict::Accept {
            return Err(Refused::Tracker);
        }
        if action.commit {
            self.commit(ct, pkt, action)?;
        }
        Ok(state_of(pkt))
    }

    /// Takes the packet's connection off it and marks it as not to be tracked (`ct_clear`).
    pub fn clear<S: Store>(&self, pkt: &mut Packet<'_, '_, S>) {
        pkt.set_untracked();
    }

    /// Does what an earlier action found serve this one too (`skb_nfct_cached`)? Deletes a connection that `force` wants the other way round.
    fn cached<'t, S: Store>(
        &self,
        ct: &'t Tracker<S>,
        pkt: &mut Packet<'_, 't, S>,
        action: &Action,
    ) -> bool {
        let Some(c) = pkt.conn() else {
            return false;
        };
        let same_helper = action.helper.is_none() || c.helper() == action.helper;
        let same_policy = match (&action.timeout, &c.inner().policy) {
            (None, _) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (Some(_), None) => false,
        };
        if c.net_id() != ct.net().id
            || c.zone().id != action.zone.id
            || !same_helper
            || !same_policy
        {
            return false;
        }
        !drop_reversed(ct, pkt, action)
    }

    /// `ovs_ct_commit`: limit, mark and labels come before the connection is seen by others.
    fn commit<'t, S: Store>(
        &self,
        ct: &'t Tracker<S>,
        pkt: &mut Packet<'_, 't, S>,
        action: &Action,
    ) -> Result<(), Refused> {
        let Some(c) = pkt.conn() else { return Ok(()) };
        let fresh = !c.is_confirmed();
        if fresh && !self.admit(ct, c, pkt.now()) {
            return Err(Refused::ZoneFull);
        }
        if let Some((value, mask)) = action.mark {
            c.set_mark(value & mask | c.mark() & !mask);
        }
        if let Some((value, mask)) = action.labels {
            let value = std::array::from_fn(|i| value[i] & mask[i]);
            c.set_labels(value, mask);
        }
        let (zone, tuple, id) = (c.zone().id, c.tuple(Direction::Original), c.id());
        let verdict = ct.confirm(pkt, Hook::PostRouting);
        // After a clash the packet goes on with the other entry, which was counted when it was committed.
        let other = pkt.conn().is_none_or(|c| c.id() != id);
        if fresh && (verdict != Verdict::Accept || other) {
            self.dismiss(zone, &tuple, id);
        }
        if verdict == Verdict::Accept {
            Ok(())
        } else {
            Err(Refused::Tracker)
        }
    }
}

/// Forgets connections that ended; returns how many are left.
fn clean<S: Store>(
    ct: &Tracker<S>,
    counted: &mut HashMap<Tuple, u32>,
    zone: u16,
    now: Nanos,
) -> usize {
    counted.retain(|tuple, id| {
        let found = ct.find(tuple, Zone::both(zone), now);
        found.is_some_and(|(c, _)| c.id() == *id)
    });
    counted.len()
}

/// Translates the packet as its connection is, or, while that is not committed, as the action says (`ovs_ct_nat`).
fn translate<'t, S: Store>(
    ct: &'t Tracker<S>,
    pkt: &mut Packet<'_, 't, S>,
    action: &Action,
) -> Result<(), Refused> {
    let (Some(nat), Some(c), Some(info)) = (&action.nat, pkt.conn(), pkt.nfct().info()) else {
        return Ok(());
    };
    let bits = c.status();
    let known = bits & (SRC_NAT | DST_NAT) != 0
        && info != CtInfo::New
        && (info != CtInfo::Related || action.commit);
    let run = |pkt: &mut Packet<'_, 't, S>, rules: &Translation, hook| {
        if rules.call(ct, pkt, hook) == Verdict::Accept {
            Ok(())
        } else {
            Err(Refused::Tracker)
        }
    };
    if known {
        let nothing_new = Translation::new(|_: &Question| None);
        run(pkt, &nothing_new, Hook::PreRouting)?;
        return run(pkt, &nothing_new, Hook::PostRouting);
    }
    match nat {
        Nat::New(manip, range) if bits & CONFIRMED == 0 => {
            let (manip, range) = (*manip, *range);
            let rules = Translation::new(move |_: &Question| Some(range));
            let hook = match manip {
                Manip::Src => Hook::PostRouting,
                Manip::Dst => Hook::PreRouting,
            };
            run(pkt, &rules, hook)
        }
        _ => Ok(()),
    }
}

/// With `force`: if the packet goes in its connection's reply direction, deletes that connection and takes it off the packet; true then.
fn drop_reversed<'t, S: Store>(
    ct: &'t Tracker<S>,
    pkt: &mut Packet<'_, 't, S>,
    action: &Action,
) -> bool {
    if !action.force || pkt.direction() != Some(Direction::Reply) {
        return false;
    }
    if let Some(entry) = pkt.nfct().to_ref() {
        ct.delete(&entry, pkt.now());
    }
    pkt.set_nfct(SkbNfct::NONE);
    true
}

/// `__ovs_ct_lookup`.
fn look_up<'t, S: Store>(
    ct: &'t Tracker<S>,
    pkt: &mut Packet<'_, 't, S>,
    action: &Action,
) -> Result<(), Refused> {
    loop {
        pkt.set_nfct(SkbNfct::NONE);
        pkt.template = Some(Arc::new(Template {
            zone: action.zone,
            timeouts: action.timeout.clone(),
            helper: None,
        }));
        if ct.track(pkt, Hook::PreRouting) != Verdict::Accept {
            return Err(Refused::Tracker);
        }
        if !drop_reversed(ct, pkt, action) {
            break;
        }
    }
    // Windows are not checked: a switch does not see every packet.
    if let Some(c) = pkt.conn()
        && c.is_confirmed()
        && c.has(ASSURED)
    {
        c.inner().proto.be_liberal();
    }
    Ok(())
}

/// `ovs_ct_get_state`, and what it adds for connections that are not yet committed or have a master.
fn state_of<S: Store>(pkt: &Packet<'_, '_, S>) -> State {
    let mut state = State::TRACKED;
    let (Some(c), Some(info)) = (pkt.conn(), pkt.nfct().info()) else {
        return match pkt.nfct().info() {
            Some(CtInfo::Untracked) => State::default(),
            _ => state | State::INVALID,
        };
    };
    if info.dir() == Direction::Reply {
        state |= State::REPLY_DIR;
    }
    state |= match info {
        CtInfo::Established | CtInfo::EstablishedReply => State::ESTABLISHED,
        CtInfo::Related | CtInfo::RelatedReply => State::RELATED,
        CtInfo::New | CtInfo::Untracked => State::NEW,
    };
    if !c.is_confirmed() {
        state |= State::NEW;
    }
    if c.has(EXPECTED) {
        state |= State::RELATED;
    }
    for (bit, s) in [(SRC_NAT, State::SRC_NAT), (DST_NAT, State::DST_NAT)] {
        if c.has(bit) {
            state |= s;
        }
    }
    state
}
