//! The rules of a recording as hooks of the library's pipeline, at the priorities nft(8) gave them.

use std::sync::{Arc, Mutex, PoisonError};

use nulls_conntrack::defrag::Defrag;
use nulls_conntrack::helper;
use nulls_conntrack::hooks::prio;
use nulls_conntrack::{
    Direction, Family, Hook, Layout, Packet, PacketState, Pipeline, Template, TimeoutPolicy,
    Tracker, Verdict, Zone,
};

use super::case::{
    Config, FamilyName, Match, Proto, RuleHook, Side, StateName, TimeoutRule, ZoneDir,
};
use super::table::Table;

/// Interface number of a side.
pub(crate) fn ifindex(side: Side) -> u32 {
    match side {
        Side::Client => 1,
        Side::Server => 2,
    }
}

/// What the packet was right after tracking, before any rule of a recording could change its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) state: PacketState,
    pub(crate) dir: Option<Direction>,
    pub(crate) status: u32,
}

/// How far a packet got.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    /// Not past reassembly.
    Arrived,
    /// Before tracking.
    Whole,
    /// Tracked.
    Tracked(Seen),
}

/// What two hooks, before and after tracking, know about the packet at hand.
#[derive(Clone, Debug)]
pub(crate) struct Observer(Arc<Mutex<Progress>>);

impl Observer {
    /// For no packet yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Progress::Arrived)))
    }

    fn set(&self, progress: Progress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// How far the packet got; then ready for the next one.
    pub(crate) fn take(&self) -> Progress {
        std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            Progress::Arrived,
        )
    }
}

type Pkt<'d, 't> = Packet<'d, 't, Table>;

/// Builds the pipeline for `config`, with `defrag` before everything.
pub(crate) fn pipeline(
    config: &Config,
    defrag: &Arc<Defrag>,
    observer: &Observer,
) -> Result<Pipeline<Table>, String> {
    let mut p = Pipeline::new(Layout::Linux618);
    defrag.register(&mut p);
    for rule in &config.notrack {
        let (iif, proto, sport, dport) = (rule.iif, rule.proto, rule.sport, rule.dport);
        let rule = Match {
            iif,
            proto,
            sport,
            dport,
        };
        p.register(
            Hook::PreRouting,
            prio::RAW,
            "notrack",
            move |_: &_, pkt: &mut Pkt<'_, '_>, _| {
                if matches(&rule, pkt) {
                    pkt.set_untracked();
                }
                Verdict::Accept
            },
        );
    }
    for rule in &config.zone {
        let (iif, dscp) = (rule.iif, rule.dscp);
        let zone = match rule.zone_dir {
            None => Zone::both(rule.zone),
            Some(ZoneDir::Original) => Zone::one_way(rule.zone, Direction::Original),
            Some(ZoneDir::Reply) => Zone::one_way(rule.zone, Direction::Reply),
        };
        p.register(
            Hook::PreRouting,
            prio::RAW,
            "zone",
            move |_: &_, pkt: &mut Pkt<'_, '_>, _| {
                // The first rule that matches decides: later ones find the packet marked.
                let hit = came_from(iif, pkt)
                    && dscp.is_none_or(|d| d == dscp_of(pkt))
                    && pkt.template.is_none();
                if hit {
                    pkt.template = Some(Arc::new(Template {
                        zone,
                        ..Template::default()
                    }));
                }
                Verdict::Accept
            },
        );
    }
    let seen = observer.clone();
    p.register(
        Hook::PreRouting,
        prio::CONNTRACK - 1,
        "observe",
        move |_: &_, _: &mut Pkt<'_, '_>, _| {
            seen.set(Progress::Whole);
            Verdict::Accept
        },
    );
    let seen = observer.clone();
    p.register(
        Hook::PreRouting,
        prio::CONNTRACK + 1,
        "observe",
        move |_: &_, pkt: &mut Pkt<'_, '_>, _| {
            let status = pkt.conn().map_or(0, |c| c.status());
            seen.set(Progress::Tracked(Seen {
                state: pkt.state(),
                dir: pkt.direction(),
                status,
            }));
            Verdict::Accept
        },
    );
    for rule in &config.timeout_policy {
        let policy = Arc::new(policy(rule)?);
        let family = family(rule.l3proto);
        let proto = rule.proto.number();
        p.register(
            Hook::PreRouting,
            prio::MANGLE,
            "timeout",
            move |ct: &Tracker<Table>, pkt: &mut Pkt<'_, '_>, _| {
                let number = transport(pkt.family(), pkt.data()).map(|(number, _)| number);
                if let Some(conn) = pkt
                    .conn()
                    .filter(|_| pkt.family() == family && number == Some(proto))
                {
                    ct.set_timeout_policy(conn, &policy, pkt.now());
                }
                Verdict::Accept
            },
        );
    }
    for rule in &config.helper {
        let name = rule.name.clone();
        let rule = Match {
            proto: Some(rule.proto),
            dport: Some(rule.dport),
            ..Match::default()
        };
        p.register(
            Hook::PreRouting,
            prio::MANGLE,
            "helper",
            move |_: &_, pkt: &mut Pkt<'_, '_>, _| {
                if let Some(conn) = pkt
                    .conn()
                    .filter(|_| helper::follows(&name, pkt.family()) && matches(&rule, pkt))
                {
                    conn.set_helper(&name);
                }
                Verdict::Accept
            },
        );
    }
    for rule in &config.ct_mark {
        let RuleHook::Forward = rule.hook;
        let (state, set, or) = (rule.state, rule.set, rule.or.unwrap_or(0));
        p.register(
            Hook::Forward,
            prio::FILTER,
            "mark",
            move |_: &_, pkt: &mut Pkt<'_, '_>, _| {
                if state.is_none_or(|s| is_state(s, pkt.state()))
                    && let Some(conn) = pkt.conn()
                {
                    conn.set_mark(set.unwrap_or(conn.mark()) | or);
                }
                Verdict::Accept
            },
        );
    }
    for rule in &config.ct_label {
        let RuleHook::Forward = rule.hook;
        let bit = rule.bit & 127;
        p.register(
            Hook::Forward,
            prio::FILTER,
            "label",
            move |_: &_, pkt: &mut Pkt<'_, '_>, _| {
                let mut word = [0; 4];
                word[usize::from(bit / 32)] = 1 << (bit % 32);
                if let Some(conn) = pkt.conn() {
                    conn.set_labels(word, word);
                }
                Verdict::Accept
            },
        );
    }
    for rule in &config.filter {
        let RuleHook::Forward = rule.hook;
        let (iif, states) = (rule.iif, rule.state.clone());
        p.register(
            Hook::Forward,
            prio::FILTER,
            "filter",
            move |_: &_, pkt: &mut Pkt<'_, '_>, _| {
                let hit = came_from(iif, pkt) && states.iter().any(|&s| is_state(s, pkt.state()));
                if hit { Verdict::Drop } else { Verdict::Accept }
            },
        );
    }
    Ok(p)
}

fn family(name: FamilyName) -> Family {
    match name {
        FamilyName::Ipv4 => Family::Ipv4,
        FamilyName::Ipv6 => Family::Ipv6,
    }
}

/// Timeouts by nft's names for states.
fn policy(rule: &TimeoutRule) -> Result<TimeoutPolicy, String> {
    let mut policy = TimeoutPolicy::new();
    for (state, &seconds) in &rule.seconds {
        let name = match (rule.proto, state.as_str()) {
            (Proto::Udp, "unreplied") => "nf_conntrack_udp_timeout".to_owned(),
            (Proto::Udp, "replied") => "nf_conntrack_udp_timeout_stream".to_owned(),
            (Proto::Udp, _) => return Err(format!("unknown timeout `{state}` of udp")),
            (Proto::Tcp, state) => format!("nf_conntrack_tcp_timeout_{state}"),
        };
        policy.set(&name, seconds).map_err(|e| e.to_string())?;
    }
    Ok(policy)
}

fn is_state(name: StateName, state: PacketState) -> bool {
    match name {
        StateName::Invalid => state == PacketState::Invalid,
        StateName::New => state == PacketState::New,
        StateName::Established => state == PacketState::Established,
        StateName::Related => state == PacketState::Related,
        StateName::Untracked => state == PacketState::Untracked,
    }
}

fn came_from(side: Option<Side>, pkt: &Pkt<'_, '_>) -> bool {
    side.is_none_or(|s| ifindex(s) == pkt.iif)
}

fn dscp_of(pkt: &Pkt<'_, '_>) -> u8 {
    match (pkt.family(), pkt.data()) {
        (Family::Ipv4, [_, tos, ..]) => tos >> 2,
        (Family::Ipv6, [a, b, ..]) => (a << 4 | b >> 4) >> 2,
        _ => 0,
    }
}

fn matches(rule: &Match, pkt: &Pkt<'_, '_>) -> bool {
    if !came_from(rule.iif, pkt) {
        return false;
    }
    let transport = transport(pkt.family(), pkt.data());
    let wanted = |port: Option<u16>, at: usize| match (port, &transport) {
        (None, _) => true,
        (Some(port), Some((_, l4))) => l4.get(at..at + 2) == Some(&port.to_be_bytes()),
        (Some(_), None) => false,
    };
    let proto = match (rule.proto, &transport) {
        (None, _) => true,
        (Some(proto), Some((number, _))) => proto.number() == *number,
        (Some(_), None) => false,
    };
    proto && wanted(rule.sport, 0) && wanted(rule.dport, 2)
}

/// Protocol number and bytes of the transport header, if there is one.
fn transport(family: Family, data: &[u8]) -> Option<(u8, &[u8])> {
    match family {
        Family::Ipv4 => {
            let ihl = usize::from(data.first()? & 15) * 4;
            let fragment = u16::from_be_bytes([*data.get(6)?, *data.get(7)?]) & 0x1fff;
            (fragment == 0).then_some((*data.get(9)?, data.get(ihl..)?))
        }
        Family::Ipv6 => {
            let (mut next, mut at) = (*data.get(6)?, 40);
            loop {
                let header = data.get(at..)?;
                let len = match next {
                    0 | 43 | 60 => (usize::from(*header.get(1)?) + 1) * 8,
                    51 => (usize::from(*header.get(1)?) + 2) * 4,
                    44 if u16::from_be_bytes([*header.get(2)?, *header.get(3)?]) & !7 == 0 => 8,
                    44 => return None,
                    _ => return Some((next, header)),
                };
                next = *header.first()?;
                at += len;
            }
        }
    }
}
