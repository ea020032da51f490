//! Where a packet meets its connection (`nf_conntrack_in`).

use super::Tracker;
use super::batch::Hint;
use crate::clock::{Jiffies, Nanos};
use crate::conn::{Birth, Conn, EXT_ACCT, EXT_ECACHE, EXT_TSTAMP};
use crate::events;
use crate::nat;
use crate::packet::{Hook, Packet, SkbNfct, Verdict};
use crate::parse;
use crate::policy::Template;
use crate::proto::icmp::{self, Before};
use crate::proto::{self, Ctx, Outcome};
use crate::reason::What;
use crate::stats::Stat;
use crate::status::{CtInfo, DYING, EXPECTED, HELPER, SEEN_REPLY};
use crate::store::Store;
use crate::sysctl::Sysctl;
use crate::tuple::{Direction, Family, Tuple, ipproto};
use crate::zone::{Key, Link, Zone};
use std::sync::atomic::Ordering;

/// The table is full and nothing could be evicted.
struct TableFull;

impl<S: Store> Tracker<S> {
    /// Finds out what connection a packet belongs to, or begins one (`nf_conntrack_in`), at PRE_ROUTING or LOCAL_OUT. Afterwards
    /// [`Packet::state`], [`Packet::conn`], [`Packet::direction`] and [`Packet::reason`] tell the result.
    ///
    /// `Accept`, even for invalid packets; `Drop` when the table is full, or when a closed TCP connection could not be reopened because
    /// somebody else is just deleting it.
    pub fn track<'t>(&'t self, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict {
        self.track_found(pkt, hook, None)
    }

    /// As [`Tracker::track`]; `hint` is what an earlier look-up found.
    #[inline]
    pub(super) fn track_found<'t>(
        &'t self,
        pkt: &mut Packet<'_, 't, S>,
        hook: Hook,
        hint: Option<Hint<'_, 't, S>>,
    ) -> Verdict {
        if pkt.nfct().info().is_some() {
            // The second pass of a looped packet, or not to be tracked.
            return Verdict::Accept;
        }
        let template = pkt.template.take();
        let (family, now, checksum_ok) = (pkt.family(), pkt.now(), pkt.checksum_ok);
        let zone = zone_of(template.as_deref(), pkt.mark);
        let (data, nfct, reasons) = pkt.parts();
        if hook == Hook::LocalOut && is_fragment(data, family) {
            return Verdict::Accept;
        }
        let Some((protonum, l4)) = parse::l4proto(data, 0, family) else {
            self.net.stats.inc(Stat::Invalid);
            return Verdict::Accept;
        };
        // Formed here, where all that it is made of is in registers.
        let formed;
        let (link, early) = match hint {
            Some(hint) => (Some(hint.link), hint.found),
            None => {
                formed = parse::tuple(data, 0, l4, family, protonum)
                    .map(|t| self.link(self.net.complete(t), zone, Direction::Original));
                (formed.as_ref(), SkbNfct::NONE)
            }
        };
        *reasons = [None; 2];
        let mut cx = Ctx {
            net: &self.net,
            data,
            family,
            protonum,
            l4,
            now: Jiffies::at(now),
            hook,
            checksum_ok,
            reasons,
        };
        self.follow(&mut cx, template.as_deref(), zone, now, link, early, nfct)
    }

    /// `link` is what the packet is looked up by, `None` if no tuple can be formed; `early` what was found by it before the packet's turn.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "half of `track_found`, which is nobody else's"
    )]
    fn follow<'t>(
        &'t self,
        cx: &mut Ctx<'_>,
        tmpl: Option<&Template>,
        zone: Zone,
        now: Nanos,
        link: Option<&Link>,
        mut early: SkbNfct<'t, S>,
        nfct: &mut SkbNfct<'t, S>,
    ) -> Verdict {
        if matches!(cx.protonum, ipproto::ICMP | ipproto::ICMPV6) {
            let related = match icmp::before(cx) {
                Before::Query => None,
                Before::Untracked => {
                    *nfct = SkbNfct::UNTRACKED;
                    return Verdict::Accept;
                }
                Before::Error(inner) => Some(self.related(cx, inner, zone, now)),
                Before::Invalid => Some(None),
            };
            if let Some(related) = related {
                match related {
                    Some(related) => *nfct = related,
                    None => self.net.stats.inc(Stat::Error),
                }
                return Verdict::Accept;
            }
        }
        let Some(link) = link else {
            self.net.stats.inc(Stat::Invalid);
            return Verdict::Accept;
        };
        loop {
            let early = std::mem::replace(&mut early, SkbNfct::NONE);
            let mut found = match self.resolve(link, tmpl, zone, now, early) {
                Ok(found) => found,
                Err(TableFull) => {
                    self.net.stats.inc(Stat::Drop);
                    return Verdict::Drop;
                }
            };
            let (Some(c), Some(info)) = (found.conn(), found.info()) else {
                self.net.stats.inc(Stat::Invalid);
                return Verdict::Accept;
            };
            match proto::packet(cx, c, info) {
                Outcome::Accept => {}
                Outcome::Invalid => {
                    self.net.stats.inc(Stat::Invalid);
                    return Verdict::Accept;
                }
                Outcome::Reopen => {
                    if found.into_ref().is_some_and(|e| self.delete(&e, now)) {
                        continue;
                    }
                    self.net.stats.inc(Stat::Invalid);
                    self.net.stats.inc(Stat::Drop);
                    return Verdict::Drop;
                }
                Outcome::KillAcct => {
                    cx.account(c, info);
                    if let Some(entry) = found.into_ref() {
                        self.delete(&entry, now);
                        found = SkbNfct::new(&self.core.store, entry, info);
                    } else {
                        found = SkbNfct::NONE;
                    }
                }
            }
            // Only now: the protocol saw the first answer with the bit still clear.
            if info == CtInfo::EstablishedReply
                && let Some(c) = found.conn()
                && !c.has(SEEN_REPLY)
            {
                c.set_status(SEEN_REPLY);
                c.note(events::mask::REPLY);
            }
            *nfct = found;
            return Verdict::Accept;
        }
    }

    /// The entry of the packet's tuple, found or made, and what the packet is to it (`resolve_normal_ct`). `early` is what was found before the
    /// packet's turn. `SkbNfct::NONE`: the tuple has no inverse.
    #[inline(always)]
    fn resolve<'t>(
        &'t self,
        link: &Link,
        tmpl: Option<&Template>,
        zone: Zone,
        now: Nanos,
        early: SkbNfct<'t, S>,
    ) -> Result<SkbNfct<'t, S>, TableFull> {
        // What was found early may be gone by now.
        let is_good = |c: &Conn<S::User>| !c.has(DYING) && !c.is_expired(now);
        let mut found = early;
        if !found.conn().is_some_and(is_good) {
            found = self.look(link, zone, now);
        }
        let Some(c) = found.conn() else {
            let Some(entry) = self.create(link, tmpl, zone, now)? else {
                return Ok(SkbNfct::NONE);
            };
            let info = if entry.has(EXPECTED) {
                CtInfo::Related
            } else {
                CtInfo::New
            };
            return Ok(SkbNfct::new(&self.core.store, entry, info));
        };
        if found.info() != Some(CtInfo::EstablishedReply) {
            let st = c.status();
            let info = if st & SEEN_REPLY != 0 {
                CtInfo::Established
            } else if st & EXPECTED != 0 {
                CtInfo::Related
            } else {
                CtInfo::New
            };
            found.set_info(info);
        }
        Ok(found)
    }

    /// A new entry, not yet in the table (`init_conntrack`). `None`: its tuple has no inverse.
    #[inline(never)]
    fn create<'t>(
        &'t self,
        link: &Link,
        tmpl: Option<&Template>,
        zone: Zone,
        now: Nanos,
    ) -> Result<Option<S::Ref<'t>>, TableFull> {
        let Some(reply) = link.key.tuple.invert() else {
            return Ok(None);
        };
        let count = self.net.entry_made();
        let max = self.core.max.load(Ordering::Relaxed);
        let full = max != 0 && count > max && !self.early_drop(link.hash, now);
        let Some(entry) = (if full { None } else { self.core.store.alloc() }) else {
            self.net.entry_freed();
            self.core.ask_gc_to_make_room();
            return Err(TableFull);
        };
        let zone = Zone {
            from_mark: false,
            ..zone
        };
        // Most packets that begin a connection go on to link it, the answers' key included.
        let reply = self.link(reply, zone, Direction::Reply);
        self.core.store.expect(reply.hash);
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
        let announced = self.expected(&link.key.tuple, zone, now);
        // What was announced is not for the rules' helper.
        let helper = tmpl
            .filter(|_| announced.is_none())
            .and_then(|t| t.helper.clone());
        entry.init(Birth {
            original: &link.key.tuple,
            reply: &reply.key.tuple,
            zone,
            net: &self.net,
            ext,
            hashes: [link.hash, reply.hash],
            policy: tmpl.and_then(|t| t.timeouts.clone()),
        });
        if let Some(helper) = helper {
            entry.attach_helper(helper);
            entry.set_status(HELPER);
        }
        if let Some(announced) = announced {
            entry.set_status(EXPECTED);
            entry.inherit_mark(announced.mark);
            if let Some(helper) = announced.helper {
                entry.attach_helper(helper.into());
            }
            {
                let mut inner = entry.inner();
                let kin = inner.kin();
                kin.master = Some(announced.master);
                kin.parent = Some(announced.parent);
            }
            if let Some(follow) = &announced.follow {
                nat::follow(self, &entry, follow, now);
            }
        }
        if let Some(hook) = self.birth_hook.get() {
            hook(&entry);
        }
        Ok(Some(self.core.store.publish(entry)))
    }

    /// The connection that an ICMP error is about (`nf_conntrack_inet_error`).
    fn related<'t>(
        &'t self,
        cx: &mut Ctx<'_>,
        inner: usize,
        zone: Zone,
        now: Nanos,
    ) -> Option<SkbNfct<'t, S>> {
        let tuple = icmp::quoted(cx, inner)?;
        let (entry, dir) = self.find(&tuple, zone, now)?;
        let outer = parse::outer_addrs(cx.data, cx.family)?;
        let matched = entry.tuple(dir);
        if !outer.same_dst(&matched) {
            cx.log(What::OuterDaddr(outer.dst(), matched.dst()));
            return None;
        }
        let info = if dir == Direction::Original {
            CtInfo::Related
        } else {
            CtInfo::RelatedReply
        };
        Some(SkbNfct::new(&self.core.store, entry, info))
    }

    /// Key and hash of a tuple in this namespace.
    #[inline]
    pub(super) fn link(&self, tuple: Tuple, zone: Zone, dir: Direction) -> Link {
        let key = Key::new(tuple, zone, dir, self.net.id);
        Link {
            hash: self.core.hasher.hash(&key),
            key,
        }
    }
}

pub(super) fn zone_of(tmpl: Option<&Template>, mark: u32) -> Zone {
    let zone = tmpl.map_or(Zone::DEFAULT, |t| t.zone);
    if zone.from_mark {
        Zone {
            id: mark as u16,
            ..zone
        }
    } else {
        zone
    }
}

/// Is this a piece of an IPv4 datagram?
fn is_fragment(data: &[u8], family: Family) -> bool {
    family == Family::Ipv4 && parse::be16(data, 6).is_some_and(|f| f & 0x3fff != 0)
}
