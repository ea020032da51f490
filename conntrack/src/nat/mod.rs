//! Network address translation (`nf_nat_core.c`).
//!
//! The decision is made once per connection and direction of translation, with its first packet: rules (the application's [`Rules`]) name a
//! [`Range`], or nothing, which is a decision too (a *void binding*: addresses stay, but a source port gives way if the answers' tuple is taken).
//! From then on the connection's reply tuple tells how to rewrite: packets in one direction as the inverse of the other direction's tuple.
//!
//! A source keeps its mapping for all its connections where it can; a closed TCP connection gives up its port when no other is free.

mod mangle;
pub(crate) mod source;
mod unique;

#[cfg(test)]
mod tests;

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::expect::Follow;
use crate::hooks::{HookFn, Pipeline, prio};
use crate::packet::{Hook, Packet, Verdict};
use crate::parse;
use crate::status::{self, CtInfo};
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Family, Tuple, ipproto};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Which end of a connection is translated (`enum nf_nat_manip_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manip {
    /// The source: at POST_ROUTING and LOCAL_IN.
    Src,
    /// The destination: at PRE_ROUTING and LOCAL_OUT.
    Dst,
}

impl Manip {
    /// The translation that belongs to a hook point; FORWARD has none.
    #[must_use]
    pub const fn at(hook: Hook) -> Option<Self> {
        match hook {
            Hook::PreRouting | Hook::LocalOut => Some(Self::Dst),
            Hook::PostRouting | Hook::LocalIn => Some(Self::Src),
            Hook::Forward => None,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Src => Self::Dst,
            Self::Dst => Self::Src,
        }
    }

    const fn status(self) -> u32 {
        match self {
            Self::Src => status::SRC_NAT,
            Self::Dst => status::DST_NAT,
        }
    }

    const fn done(self) -> u32 {
        match self {
            Self::Src => status::SRC_NAT_DONE,
            Self::Dst => status::DST_NAT_DONE,
        }
    }
}

/// Which port of those that are possible is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PortChoice {
    /// The present one, if it may be used; else a random one for sources, the lowest for destinations.
    #[default]
    Present,
    /// A random one (`NF_NAT_RANGE_PROTO_RANDOM`, `NF_NAT_RANGE_PROTO_RANDOM_FULLY`, which do the same).
    Random,
    /// As far above the lowest as the present one is above this port (`NF_NAT_RANGE_PROTO_OFFSET`): ranges are shifted.
    Shifted(u16),
}

/// What an end is translated to (`struct nf_nat_range2`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First and last address; the present one when `None`.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// First and last port (or ICMP id) that may be used; any when `None`.
    pub ports: Option<(u16, u16)>,
    /// Which port is tried first.
    pub choice: PortChoice,
    /// Of several addresses, a client gets the same one for all destinations (`NF_NAT_RANGE_PERSISTENT`).
    pub persistent: bool,
    /// The address is that of the interface the packet leaves by: should the connection's packets leave by another one, it is deleted.
    pub masquerade: bool,
}

impl Range {
    /// One address, the port if possible as it is.
    #[must_use]
    pub fn to(addr: IpAddr) -> Self {
        Self::between(addr, addr)
    }

    /// One of several addresses; which one depends on both ends of the connection, and is the same every time.
    #[must_use]
    pub fn between(first: IpAddr, last: IpAddr) -> Self {
        Self {
            addrs: Some((first, last)),
            ..Self::default()
        }
    }

    /// The address of the interface that the packet leaves by (`masquerade`).
    #[must_use]
    pub fn masquerade(addr: IpAddr) -> Self {
        Self {
            masquerade: true,
            ..Self::to(addr)
        }
    }

    /// The same host in another network (`netmap`): the bits in which `first` and `last` differ stay those of `present`.
    #[must_use]
    pub fn netmap(present: IpAddr, first: IpAddr, last: IpAddr) -> Self {
        let addr = match (present, first, last) {
            (IpAddr::V4(p), IpAddr::V4(a), IpAddr::V4(b)) => {
                let (p, a, b) = (p.to_bits(), a.to_bits(), b.to_bits());
                let net = !(a ^ b);
                IpAddr::V4((a & net | p & !net).into())
            }
            (IpAddr::V6(p), IpAddr::V6(a), IpAddr::V6(b)) => {
                let (p, a, b) = (p.to_bits(), a.to_bits(), b.to_bits());
                let net = !(a ^ b);
                IpAddr::V6((a & net | p & !net).into())
            }
            _ => present,
        };
        Self::to(addr)
    }

    /// Restricts the ports.
    #[must_use]
    pub const fn ports(mut self, first: u16, last: u16) -> Self {
        self.ports = Some((first, last));
        self
    }
}

/// What rules may ask about the first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The hook point.
    pub hook: Hook,
    /// Which end is to be decided.
    pub manip: Manip,
    /// Interface it came in on, 0 = none.
    pub iif: u32,
    /// Interface it leaves by, 0 = none.
    pub oif: u32,
    /// The packet as it is now: after destination translation, if the source is to be decided.
    pub tuple: Tuple,
}

/// The application's rules.
pub trait Rules: Send + Sync {
    /// The first rule that fits decides; `None` when there is none.
    fn decide(&self, question: &Question) -> Option<Range>;
}

impl<F: Fn(&Question) -> Option<Range> + Send + Sync> Rules for F {
    fn decide(&self, question: &Question) -> Option<Range> {
        self(question)
    }
}

/// Translation at the four hook points of one family.
#[derive(Clone)]
pub struct Nat(Arc<dyn Rules>);

impl fmt::Debug for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nat").finish_non_exhaustive()
    }
}

impl Nat {
    /// Translation by these rules.
    pub fn new(rules: impl Rules + 'static) -> Self {
        Self(Arc::new(rules))
    }

    /// Hangs translation of `family` in a pipeline, at the kernel's priorities. Without it connections carry no translation bits at all.
    pub fn register<S: Store>(&self, pipeline: &mut Pipeline<S>, family: Family) {
        for (hook, priority) in [
            (Hook::PreRouting, prio::NAT_DST),
            (Hook::LocalOut, prio::NAT_DST),
            (Hook::PostRouting, prio::NAT_SRC),
            (Hook::LocalIn, prio::NAT_SRC),
        ] {
            pipeline.register_boxed(hook, priority, "nat", Some(family), Box::new(self.clone()));
        }
    }

    /// Makes the decision for one end of a new connection, unless it is made.
    fn decide<'t, S: Store>(
        &self,
        ct: &Tracker<S>,
        conn: &Conn<S::User>,
        pkt: &Packet<'_, 't, S>,
        hook: Hook,
        manip: Manip,
    ) {
        if conn.has(manip.done()) || conn.is_confirmed() {
            return;
        }
        // Void before any translation; after that of the destination, what the packet looks like now.
        let Some(now) = conn.tuple(Direction::Reply).invert() else {
            return;
        };
        let question = Question {
            hook,
            manip,
            iif: pkt.iif,
            oif: pkt.oif,
            tuple: now,
        };
        let range = self.0.decide(&question).unwrap_or_default();
        bind(ct, conn, &now, range, manip, pkt.now(), pkt.oif);
    }
}

impl<S: Store> HookFn<S> for Nat {
    fn call<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict {
        let (Some(manip), Some(info)) = (Manip::at(hook), pkt.nfct().info()) else {
            return Verdict::Accept;
        };
        let Some(entry) = pkt.nfct().to_ref() else {
            return Verdict::Accept;
        };
        if matches!(info, CtInfo::Related | CtInfo::RelatedReply) && is_icmp(pkt) {
            return if translate_error(&entry, info.dir(), manip, pkt) {
                Verdict::Accept
            } else {
                Verdict::Drop
            };
        }
        if matches!(info, CtInfo::New | CtInfo::Related | CtInfo::RelatedReply) {
            self.decide(ct, &entry, pkt, hook, manip);
        }
        if translates(&entry, info.dir(), manip) {
            if hook == Hook::PostRouting && moved(&entry, info, pkt) {
                ct.kill(&entry, info, pkt);
                return Verdict::Drop;
            }
            let Some(target) = entry.tuple(opposite(info.dir())).invert() else {
                return Verdict::Drop;
            };
            let family = pkt.family();
            if !mangle::packet(pkt.data_mut(), 0, family, &target, manip) {
                return Verdict::Drop;
            }
        }
        Verdict::Accept
    }
}

/// Maps one end of a new connection, which looks like `now`, into `range` (`nf_nat_setup_info`).
fn bind<S: Store>(
    ct: &Tracker<S>,
    conn: &Conn<S::User>,
    now: &Tuple,
    range: Range,
    manip: Manip,
    time: Nanos,
    oif: u32,
) {
    let new = unique::tuple(ct, conn, now, range, manip, time);
    if let Some(reply) = new.invert().filter(|_| new != *now) {
        conn.set_tuple(Direction::Reply, &reply);
        conn.set_status(manip.status());
    }
    if manip == Manip::Src {
        conn.remember_source(&new);
        if range.masquerade {
            conn.inner().kin().masqueraded_by = oif;
        }
    }
    conn.set_status(manip.done());
}

/// Translates an announced connection as its master is (`nf_nat_follow_master`).
pub(crate) fn follow<S: Store>(
    ct: &Tracker<S>,
    conn: &Conn<S::User>,
    follow: &Follow,
    time: Nanos,
) {
    for (manip, (addr, key)) in [(Manip::Src, follow.src), (Manip::Dst, follow.dst)] {
        let mut range = Range::to(addr);
        range.ports = key.map(|k| (k, k));
        if let Some(now) = conn.tuple(Direction::Reply).invert() {
            bind(ct, conn, &now, range, manip, time, 0);
        }
    }
}

/// Is this a packet of a masqueraded connection that leaves by another interface than the first one (`nf_nat_oif_changed`)?
fn moved<S: Store>(conn: &Conn<S::User>, info: CtInfo, pkt: &Packet<'_, '_, S>) -> bool {
    if info.dir() != Direction::Original {
        return false;
    }
    let by = conn.inner().masqueraded_by();
    by != 0 && by != pkt.oif
}

impl<S: Store> Tracker<S> {
    /// An interface has gone or lost its address: connections that were masqueraded by it are deleted (`masq_device_event`). Returns how many.
    pub fn forget_masqueraded(&self, oif: u32, now: Nanos) -> usize {
        self.delete_if(now, |c| {
            c.has(status::SRC_NAT) && oif != 0 && c.inner().masqueraded_by() == oif
        })
    }
}

/// 16 random bits from the standard library's randomness, which is keyed per process and differs per call.
pub(crate) fn random() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0u8) & 0xffff) as u16
}

fn opposite(dir: Direction) -> Direction {
    match dir {
        Direction::Original => Direction::Reply,
        Direction::Reply => Direction::Original,
    }
}

/// Is `manip` the translation of packets in direction `dir`? Answers are translated back at the other end.
fn translates<U>(conn: &Conn<U>, dir: Direction, manip: Manip) -> bool {
    let bit = match dir {
        Direction::Original => manip,
        Direction::Reply => manip.other(),
    };
    conn.has(bit.status())
}

fn is_icmp<S: Store>(pkt: &Packet<'_, '_, S>) -> bool {
    let icmp = match pkt.family() {
        Family::Ipv4 => ipproto::ICMP,
        Family::Ipv6 => ipproto::ICMPV6,
    };
    parse::l4proto(pkt.data(), 0, pkt.family()).is_some_and(|(protonum, _)| protonum == icmp)
}

/// Translates an ICMP error about a connection: the quoted packet back to what its sender knows, and the outer addresses
/// (`nf_nat_icmp_reply_translation`). False: it must not pass.
fn translate_error<S: Store>(
    conn: &Conn<S::User>,
    dir: Direction,
    manip: Manip,
    pkt: &mut Packet<'_, '_, S>,
) -> bool {
    const REDIRECT: u8 = 5;
    const NAT: u32 = status::SRC_NAT | status::DST_NAT;
    const DONE: u32 = status::SRC_NAT_DONE | status::DST_NAT_DONE;
    let family = pkt.family();
    let Some((_, l4)) = parse::l4proto(pkt.data(), 0, family) else {
        return false;
    };
    let quoted = l4 + 8;
    let shortest = match family {
        Family::Ipv4 => 20,
        Family::Ipv6 => 40,
    };
    if pkt.data().len() < quoted + shortest {
        return false;
    }
    let bits = conn.status();
    // A redirect would give away addresses that only one side may know.
    if family == Family::Ipv4
        && pkt.data()[l4] == REDIRECT
        && (bits & DONE != DONE || bits & NAT != 0)
    {
        return false;
    }
    if !translates(conn, dir, manip) {
        return true;
    }
    let back = conn.tuple(opposite(dir));
    let Some(target) = back.invert() else {
        return false;
    };
    let data = pkt.data_mut();
    if !mangle::packet(data, quoted, family, &back, manip.other()) {
        return false;
    }
    mangle::addresses(data, 0, family, &target, manip);
    mangle::icmp_checksum(data, l4, family);
    true
}
