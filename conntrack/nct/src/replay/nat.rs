//! The translation rules of a recording, as answers to the library's questions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use nulls_conntrack::nat::{Manip, Nat, PortChoice, Question, Range};
use nulls_conntrack::{Family, Pipeline};

use super::case::{NatChains, NatKind, NatRule, Ports};
use super::rules::ifindex;
use super::table::Table;

/// Rules in the order they are asked; more may be added while packets pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct NatRules(Arc<RwLock<Vec<Compiled>>>);

/// A rule whose addresses are parsed.
#[derive(Clone, Debug)]
struct Compiled {
    rule: NatRule,
    target: Target,
    ports: Option<(u16, u16)>,
    choice: PortChoice,
    persistent: bool,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    /// To one of these addresses.
    Between(IpAddr, IpAddr),
    /// To the router's own address, which is this one for IPv4.
    Router(IpAddr),
    /// To the same host in another network.
    Net {
        from: Ipv4Addr,
        to: Ipv4Addr,
        mask: u32,
    },
}

impl NatRules {
    /// Adds a rule behind the others.
    pub(crate) fn add(&self, rule: &NatRule) -> Result<(), String> {
        let mut compiled = Compiled {
            rule: rule.clone(),
            target: target(rule)?,
            ports: rule.to_port.as_ref().map(Ports::ends).transpose()?,
            choice: PortChoice::Present,
            persistent: false,
        };
        for flag in &rule.flags {
            match flag.as_str() {
                "persistent" => compiled.persistent = true,
                "random" | "fully-random" => compiled.choice = PortChoice::Random,
                other => return Err(format!("unknown flag `{other}` of a translation")),
            }
        }
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(compiled);
        Ok(())
    }

    /// Hangs translation in the pipeline, for the families that have a chain. Without a chain there are no decisions.
    pub(crate) fn register(&self, pipeline: &mut Pipeline<Table>, chains: NatChains) {
        let rules = self.clone();
        let nat = Nat::new(move |q: &Question| rules.decide(q));
        for (family, wanted) in [(Family::Ipv4, chains.v4), (Family::Ipv6, chains.v6)] {
            if wanted {
                nat.register(pipeline, family);
            }
        }
    }

    fn decide(&self, q: &Question) -> Option<Range> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .find_map(|r| r.decide(q))
    }
}

impl Compiled {
    fn decide(&self, q: &Question) -> Option<Range> {
        let r = &self.rule;
        let manip = match r.kind {
            NatKind::Snat | NatKind::Masquerade | NatKind::Netmap => Manip::Src,
            NatKind::Dnat | NatKind::Redirect => Manip::Dst,
        };
        let fits = manip == q.manip
            && r.iif.is_none_or(|s| ifindex(s) == q.iif)
            && r.oif.is_none_or(|s| ifindex(s) == q.oif)
            && r.src.is_none_or(|a| a == q.tuple.src())
            && r.proto.is_none_or(|p| p.number() == q.tuple.protonum())
            && r.dport.is_none_or(|p| p == q.tuple.dst_l4());
        if !fits {
            return None;
        }
        let mut last = None;
        let addr = match (self.target, q.tuple.src()) {
            (Target::Between(a, b), src) if a.is_ipv4() == src.is_ipv4() => {
                last = Some(b);
                a
            }
            // The recordings name the IPv4 address only.
            (Target::Router(a), IpAddr::V4(_)) => a,
            (Target::Router(_), IpAddr::V6(_)) => {
                let side = if manip == Manip::Src { q.oif } else { q.iif };
                Ipv6Addr::new(0x2001, 0xdb8, side as u16, 0, 0, 0, 0, 1).into()
            }
            (Target::Net { from, to, mask }, IpAddr::V4(src))
                if u32::from(src) & mask == u32::from(from) & mask =>
            {
                Ipv4Addr::from(u32::from(to) & mask | u32::from(src) & !mask).into()
            }
            _ => return None,
        };
        let mut range = match r.kind {
            NatKind::Masquerade => Range::masquerade(addr),
            _ => Range::between(addr, last.unwrap_or(addr)),
        };
        range.ports = self.ports;
        range.choice = self.choice;
        range.persistent = self.persistent;
        Some(range)
    }
}

fn target(rule: &NatRule) -> Result<Target, String> {
    let missing = |what: &str| format!("a rule of type {:?} lacks its `{what}`", rule.kind);
    let addr = |text: &str| {
        text.parse()
            .map_err(|_| format!("`{text}` is not an address"))
    };
    match rule.kind {
        NatKind::Snat | NatKind::Dnat => {
            let to = rule.to.as_deref().ok_or_else(|| missing("to"))?;
            let (first, last) = to.split_once('-').unwrap_or((to, to));
            Ok(Target::Between(addr(first)?, addr(last)?))
        }
        NatKind::Masquerade | NatKind::Redirect => rule
            .address
            .map(Target::Router)
            .ok_or_else(|| missing("address")),
        NatKind::Netmap => {
            let (from, len) = prefix(rule.from.as_deref().ok_or_else(|| missing("from"))?)?;
            let (to, same) = prefix(rule.to.as_deref().ok_or_else(|| missing("to"))?)?;
            if len != same {
                return Err("the networks of a netmap rule differ in size".to_owned());
            }
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            Ok(Target::Net { from, to, mask })
        }
    }
}

/// `192.0.2.0/24`.
fn prefix(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(a, len)| Some((a.parse().ok()?, len.parse().ok().filter(|l| *l <= 32)?)));
    parsed.ok_or_else(|| format!("`{text}` is not a network"))
}
