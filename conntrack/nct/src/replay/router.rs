//! The way of one packet: input checks of the IP layer, the hooks, and the router's decision between them.
//!
//! A new connection enters the table in the last hook of its first packet. Whatever ends the packet's way before (a
//! filter rule, an exhausted TTL, an address that cannot be routed) leaves the table as it was.

use std::net::IpAddr;
use std::sync::Arc;

use nulls_conntrack::checksum;
use nulls_conntrack::defrag::{self, Defrag, decrease_ttl};
use nulls_conntrack::helper;
use nulls_conntrack::input::{ip_rcv, ip_rcv_local};
use nulls_conntrack::tuple::ipproto;
use nulls_conntrack::{
    Direction, Family, Hook, Nanos, Packet, Pipeline, Snapshot, Store, Tracker, Verdict,
};

use super::case::{Config, NatChains, NatRule, Side};
use super::journal::{Journal, Told};
use super::nat::NatRules;
use super::options::{self, Wishes};
use super::route::{self, Fate};
use super::rules::{self, Observer, Progress, ifindex};
use super::settings::Setting;
use super::table::{self, Numbers, Table};
use super::trace::{Entry, Reasons};
use crate::capture::frame;
use crate::store_any::AnyKind;

/// Shortest time between two runs of the garbage collector: one tick of the kernel's clock.
const GC_MIN_INTERVAL: Nanos = 4_000_000;

/// Bytes that a link takes.
const MTU: usize = 1500;

/// What became of a packet.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Name of the packet's state; `none`: the IP layer dropped it before any hook, `drop`: tracking itself did,
    /// `stolen`: kept until the other fragments of its datagram come.
    pub(crate) state: &'static str,
    pub(crate) dir: Option<Direction>,
    /// Status bits of its entry just after tracking.
    pub(crate) status: u32,
    /// `forward`, `local` or `drop`.
    pub(crate) verdict: &'static str,
    /// What the kernel would have logged.
    pub(crate) reason: Reasons,
    /// Its entry after the last hook, with its number, if it is in the table.
    pub(crate) entry: Option<(u32, Snapshot)>,
    /// What is sent on, if its way leads out, and to which side.
    pub(crate) sent: Vec<(Side, Vec<u8>)>,
}

impl Outcome {
    fn early(state: &'static str) -> Self {
        Self {
            state,
            dir: None,
            status: 0,
            verdict: "drop",
            reason: Reasons::None,
            entry: None,
            sent: Vec::new(),
        }
    }
}

/// An IP packet as it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) family: frame::Family,
    pub(crate) bytes: &'a [u8],
    /// Where it came in; `None`: not known, then it is forwarded whatever its addresses and TTL.
    pub(crate) side: Option<Side>,
    pub(crate) now: Nanos,
    /// Its transport checksum cannot be verified and counts as right.
    pub(crate) checksum_ok: bool,
}

/// A tracker with its hooks.
#[derive(Debug)]
pub(crate) struct Router {
    ct: Tracker<Table>,
    pipeline: Pipeline<Table>,
    observer: Observer,
    defrag: Arc<Defrag>,
    nat: NatRules,
    numbers: Arc<Numbers>,
    journal: Arc<Journal>,
    next_gc: Nanos,
}

impl Router {
    /// A router with the rules of `config`, translation for the families in `chains`, and the given settings.
    pub(crate) fn new(
        store: AnyKind,
        settings: &[Setting],
        config: &Config,
        chains: NatChains,
    ) -> Result<Self, String> {
        let defrag = Arc::new(Defrag::new(defrag::Config::default()));
        let observer = Observer::new();
        let mut pipeline = rules::pipeline(config, &defrag, &observer)?;
        let nat = NatRules::default();
        config.nat.iter().try_for_each(|rule| nat.add(rule))?;
        nat.register(&mut pipeline, chains);
        let ct = table::tracker(store, settings)?;
        helper::register(&ct);
        let numbers = Arc::new(Numbers::new());
        let journal = Arc::new(Journal::new(Arc::clone(&numbers)));
        let router = Self {
            ct,
            pipeline,
            observer,
            defrag,
            nat,
            numbers,
            journal,
            next_gc: 0,
        };
        for setting in settings {
            router.set(setting)?;
        }
        Ok(router)
    }

    /// Changes a setting. The number of buckets is fixed from the beginning.
    pub(crate) fn set(&self, (name, value): &Setting) -> Result<(), String> {
        match name.as_str() {
            table::BUCKETS => Ok(()),
            "net.ipv4.ipfrag_time" => {
                let secs = value
                    .parse()
                    .map_err(|_| format!("`{value}` is not a value for {name}"))?;
                self.defrag.set_timeout(secs);
                Ok(())
            }
            _ => self.ct.set_sysctl(name, value).map_err(|e| e.to_string()),
        }
    }

    /// Adds a translation rule behind those there are.
    pub(crate) fn add_nat(&self, rule: &NatRule) -> Result<(), String> {
        self.nat.add(rule)
    }

    /// The tracker.
    pub(crate) fn tracker(&self) -> &Tracker<Table> {
        &self.ct
    }

    /// The numbers of its entries.
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The whole table, in order of appearance; expired entries are removed.
    pub(crate) fn entries(&self, now: Nanos) -> Vec<Entry> {
        self.numbers
            .dump(&self.ct, now)
            .iter()
            .map(|(c, s)| Entry::new(s, Some(*c)))
            .collect()
    }

    /// Writes down from now on what happens to connections that begin from now on.
    pub(crate) fn listen(&self) {
        self.ct.set_listener(Some(self.journal.clone()));
    }

    /// What was written down since the last call.
    pub(crate) fn heard(&self) -> Vec<Told> {
        self.journal.take()
    }

    /// Runs the garbage collector when it is due.
    pub(crate) fn collect(&mut self, now: Nanos) {
        if now >= self.next_gc {
            self.next_gc = now.saturating_add(self.ct.gc(now).next_in.max(GC_MIN_INTERVAL));
        }
    }

    /// Sends one packet on its way.
    pub(crate) fn packet(&self, arrival: &Arrival<'_>) -> Outcome {
        let family = match arrival.family {
            frame::Family::V4 => Family::Ipv4,
            frame::Family::V6 => Family::Ipv6,
        };
        // Where a capture was taken is not known: it may have been the loopback interface.
        let received = if arrival.side.is_some() {
            ip_rcv(arrival.bytes, family)
        } else {
            ip_rcv_local(arrival.bytes, family)
        };
        let Ok(data) = received else {
            return Outcome::early("none");
        };
        let mut pkt = Packet::new(data, family, arrival.now);
        pkt.checksum_ok = arrival.checksum_ok;
        pkt.iif = arrival.side.map_or(0, ifindex);
        let first = self.pipeline.run(&self.ct, &mut pkt, Hook::PreRouting);
        let seen = match self.observer.take() {
            Progress::Tracked(seen) => seen,
            // Reassembly kept it, or refused it: no more was ever seen of it.
            Progress::Arrived => return Outcome::early("stolen"),
            Progress::Whole => {
                return Outcome {
                    reason: reason(&pkt),
                    ..Outcome::early("drop")
                };
            }
        };
        let verdict = if first == Verdict::Accept {
            self.rest(&mut pkt, arrival.side)
        } else {
            "drop"
        };
        let sent = match arrival.side {
            Some(side) if verdict == "forward" => {
                send(&pkt).into_iter().map(|p| (side.other(), p)).collect()
            }
            _ => Vec::new(),
        };
        let entry = pkt.nfct().to_ref().filter(|r| r.is_confirmed());
        let reason = reason(&pkt);
        // The packet's own reference must not be counted below.
        drop(pkt);
        let entry = entry.map(|r| {
            (
                self.numbers.of(&r),
                Snapshot::of(&r, Table::count(&r), arrival.now),
            )
        });
        Outcome {
            state: seen.state.name(),
            dir: seen.dir,
            status: seen.status,
            verdict,
            reason,
            entry,
            sent,
        }
    }

    /// From the routing decision to the end.
    fn rest<'t>(&'t self, pkt: &mut Packet<'_, 't, Table>, side: Option<Side>) -> &'static str {
        let fate = match (side, ends(pkt)) {
            (None, _) => Fate::Forward,
            (Some(side), Some((src, dst, ttl))) => route::route(src, dst, ttl, side),
            (Some(_), None) => Fate::Drop,
        };
        let wishes = match pkt.family() {
            Family::Ipv4 if side.is_some() => match options::read(pkt.data()) {
                Some(wishes) => wishes,
                None => return "drop",
            },
            _ => Wishes::default(),
        };
        let out: &[Hook] = &[Hook::Forward, Hook::PostRouting];
        let (hooks, done, oif) = match fate {
            Fate::Local => (&[Hook::LocalIn][..], "local", None),
            Fate::Forward => (out, "forward", side.map(Side::other)),
            Fate::Unreachable => (out, "drop", side),
            Fate::Drop => return "drop",
        };
        pkt.oif = oif.map_or(0, ifindex);
        if side.is_some() && fate != Fate::Local {
            let family = pkt.family();
            if !decrease_ttl(pkt.data_mut(), family) {
                return "drop";
            }
        }
        for &hook in hooks {
            if hook == Hook::PostRouting
                && let Some(side) = oif
            {
                let millis = (pkt.now() / 1_000_000 % 86_400_000) as u32;
                options::write(pkt.data_mut(), wishes, route::address(side), millis);
            }
            if self.pipeline.run(&self.ct, pkt, hook) != Verdict::Accept {
                return "drop";
            }
        }
        done
    }
}

/// The packet as it leaves: in fragments, if it came in fragments.
fn send(pkt: &Packet<'_, '_, Table>) -> Vec<Vec<u8>> {
    let data = if pkt.is_mangled() {
        &unfinished(pkt.data(), pkt.family())
    } else {
        pkt.data()
    };
    match pkt.origin() {
        Some(origin) => origin.split(data, pkt.family(), MTU, 0),
        None => vec![data.to_vec()],
    }
}

/// A TCP or UDP packet whose checksum the device is to finish: the recorder's never did, and recorded only the pseudo header's sum.
fn unfinished(data: &[u8], family: Family) -> Vec<u8> {
    let mut data = data.to_vec();
    let (at, protonum, src, dst) = match family {
        Family::Ipv4 => (
            usize::from(data[0] & 15) * 4,
            data[9],
            &data[12..16],
            &data[16..20],
        ),
        Family::Ipv6 => (40, data[6], &data[8..24], &data[24..40]),
    };
    let len = (data.len() - at) as u64;
    let pseudo = checksum::sum(dst, checksum::sum(src, len + u64::from(protonum)));
    let sum = checksum::fold(pseudo).to_be_bytes();
    let field = at + if protonum == ipproto::TCP { 16 } else { 6 };
    if let Some(field) = data.get_mut(field..field + 2) {
        field.copy_from_slice(&sum);
    }
    data
}

fn reason(pkt: &Packet<'_, '_, Table>) -> Reasons {
    let mut all: Vec<String> = pkt.reasons().map(ToString::to_string).collect();
    match all.len() {
        0 => Reasons::None,
        1 => Reasons::One(all.remove(0)),
        _ => Reasons::Several(all),
    }
}

/// Source, destination and remaining hops.
fn ends(pkt: &Packet<'_, '_, Table>) -> Option<(IpAddr, IpAddr, u8)> {
    let data = pkt.data();
    let v4 = |at: usize| {
        Some(IpAddr::from(
            <[u8; 4]>::try_from(data.get(at..at + 4)?).ok()?,
        ))
    };
    let v6 = |at: usize| {
        Some(IpAddr::from(
            <[u8; 16]>::try_from(data.get(at..at + 16)?).ok()?,
        ))
    };
    Some(match pkt.family() {
        Family::Ipv4 => (v4(12)?, v4(16)?, *data.get(8)?),
        Family::Ipv6 => (v6(8)?, v6(24)?, *data.get(7)?),
    })
}
