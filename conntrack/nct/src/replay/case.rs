//! A recording of a kernel, as files in a directory.
//!
//! `packets.pcap` holds what was sent, in Ethernet frames whose source address tells the side; `sysctls.json` every
//! setting when the recording began; `meta.json` the rules (`config`) and, in words of nft(8), which NAT chains existed;
//! `ticks.jsonl` the operations done between packets. A rule or operation this program does not know is an error: a
//! replay that ignored it would mean nothing.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::op::Op;
use super::settings::{self, Setting};

/// One of the two sides of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    /// Where a packet that came in here goes out.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Rules of a recording.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) zone: Vec<ZoneRule>,
    pub(crate) notrack: Vec<Match>,
    pub(crate) ct_mark: Vec<MarkRule>,
    pub(crate) ct_label: Vec<LabelRule>,
    pub(crate) filter: Vec<FilterRule>,
    pub(crate) nat: Vec<NatRule>,
    pub(crate) helper: Vec<HelperRule>,
    pub(crate) timeout_policy: Vec<TimeoutRule>,
    pub(crate) table_full: Option<TableFull>,
    /// Fields that differ from run to run; of use to whoever compares.
    pub(crate) nondeterministic: Vec<String>,
}

/// Puts packets in a zone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZoneRule {
    pub(crate) iif: Option<Side>,
    pub(crate) dscp: Option<u8>,
    pub(crate) zone: u16,
    pub(crate) zone_dir: Option<ZoneDir>,
}

/// The direction a zone applies to; both when not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ZoneDir {
    Original,
    Reply,
}

/// Packets a rule applies to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Match {
    pub(crate) iif: Option<Side>,
    pub(crate) proto: Option<Proto>,
    pub(crate) sport: Option<u16>,
    pub(crate) dport: Option<u16>,
}

/// Transport protocols that rules name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Proto {
    Tcp,
    Udp,
}

impl Proto {
    /// The protocol's number in an IP header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// The hook of a rule; the recordings have rules of this kind in one place only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuleHook {
    Forward,
}

/// A connection state as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StateName {
    Invalid,
    New,
    Established,
    Related,
    Untracked,
}

/// Sets or ors the connection's mark.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MarkRule {
    pub(crate) hook: RuleHook,
    pub(crate) state: Option<StateName>,
    pub(crate) set: Option<u32>,
    pub(crate) or: Option<u32>,
}

/// Sets a bit of the connection's labels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelRule {
    pub(crate) hook: RuleHook,
    pub(crate) bit: u8,
}

/// Drops packets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterRule {
    pub(crate) hook: RuleHook,
    pub(crate) iif: Option<Side>,
    pub(crate) state: Vec<StateName>,
    #[expect(
        dead_code,
        reason = "reading it refuses every verdict but the one there is"
    )]
    pub(crate) verdict: Verdict,
}

/// The only verdict filter rules of recordings have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Drop,
}

/// Kinds of address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NatKind {
    Snat,
    Dnat,
    Masquerade,
    Redirect,
    Netmap,
}

/// One port, or `first-last`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ports {
    One(u16),
    Range(String),
}

impl Ports {
    /// First and last.
    pub(crate) fn ends(&self) -> Result<(u16, u16), String> {
        match self {
            Self::One(p) => Ok((*p, *p)),
            Self::Range(text) => text
                .split_once('-')
                .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
                .ok_or_else(|| format!("`{text}` is not a range of ports")),
        }
    }
}

/// A translation rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NatRule {
    #[serde(rename = "type")]
    pub(crate) kind: NatKind,
    pub(crate) iif: Option<Side>,
    pub(crate) oif: Option<Side>,
    pub(crate) proto: Option<Proto>,
    pub(crate) dport: Option<u16>,
    pub(crate) src: Option<IpAddr>,
    /// Netmap: the prefix that is mapped.
    pub(crate) from: Option<String>,
    /// An address, `first-last`, or for netmap the prefix mapped to.
    pub(crate) to: Option<String>,
    pub(crate) to_port: Option<Ports>,
    /// `random`, `fully-random`, `persistent`.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    /// Masquerade and redirect: the address the router uses.
    pub(crate) address: Option<IpAddr>,
}

/// Assigns a helper to connections.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HelperRule {
    pub(crate) name: String,
    pub(crate) proto: Proto,
    pub(crate) dport: u16,
}

/// Address families as timeout policies name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FamilyName {
    Ipv4,
    Ipv6,
}

/// Gives connections timeouts of their own, in seconds by state.
#[derive(Debug, Deserialize)]
pub(crate) struct TimeoutRule {
    pub(crate) l3proto: FamilyName,
    pub(crate) proto: Proto,
    #[serde(flatten)]
    pub(crate) seconds: std::collections::BTreeMap<String, u32>,
}

/// The recording was made with a nearly full table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableFull {
    pub(crate) fillers: String,
    pub(crate) max_equivalent: u32,
}

impl TableFull {
    /// The limit that makes a table without the fillers behave the same. Unassured fillers give way to every new
    /// connection, so that there is no limit to speak of.
    pub(crate) fn limit(&self) -> Option<u32> {
        (!self.fillers.starts_with("unassured")).then_some(self.max_equivalent)
    }
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    config: Config,
    #[serde(default)]
    nft: String,
    #[serde(default)]
    sysctls: std::collections::BTreeMap<String, serde_json::Number>,
}

/// Which families had a NAT chain, and so give every connection a (possibly void) translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NatChains {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

/// An operation and the packet it follows.
#[derive(Debug)]
pub(crate) struct Timed {
    /// Index of the last packet before it; -1: before the first.
    pub(crate) after: i64,
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    /// `None`: the table was only read.
    pub(crate) op: Option<Op>,
}

/// A recording, packets excepted.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) config: Config,
    pub(crate) nat: NatChains,
    pub(crate) settings: Vec<Setting>,
    pub(crate) ops: Vec<Timed>,
    pub(crate) packets: PathBuf,
}

#[derive(Deserialize)]
struct Tick {
    after: i64,
    t: f64,
    op: Option<Vec<String>>,
}

impl Case {
    /// Reads the recording in `dir`.
    pub(crate) fn load(dir: &Path) -> Result<Self, String> {
        let meta: Meta = parse(&dir.join("meta.json"))?;
        let path = dir.join("sysctls.json");
        let mut settings =
            settings::file(&text(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
        // Changed settings outside of conntrack's own directory are only here.
        let changed = meta.sysctls.into_iter();
        settings
            .extend(changed.map(|(name, value)| (settings::kernel_name(&name), value.to_string())));
        Ok(Self {
            nat: nat_chains(&meta.nft),
            config: meta.config,
            settings,
            ops: ops(&dir.join("ticks.jsonl"))?,
            packets: packets(dir),
        })
    }
}

/// The capture, which may be compressed.
fn packets(dir: &Path) -> PathBuf {
    let packed = dir.join("packets.pcap.gz");
    if packed.exists() {
        packed
    } else {
        dir.join("packets.pcap")
    }
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, String> {
    serde_json::from_str(&text(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

fn ops(path: &Path) -> Result<Vec<Timed>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    let mut out = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let place = |e: String| format!("{} line {}: {e}", path.display(), n + 1);
        let tick: Tick = serde_json::from_str(line).map_err(|e| place(e.to_string()))?;
        let op = tick.op.map(|words| Op::parse(&words)).transpose();
        out.push(Timed {
            after: tick.after,
            time: (tick.t * 1e9) as i64,
            op: op.map_err(place)?,
        });
    }
    Ok(out)
}

/// Finds the NAT chains in nft text: a `type nat` chain serves the families of the table it stands in.
fn nat_chains(nft: &str) -> NatChains {
    let mut chains = NatChains::default();
    for table in nft
        .split("table ")
        .skip(1)
        .filter(|t| t.contains("type nat "))
    {
        let family = table.split_whitespace().next();
        chains.v4 |= matches!(family, Some("ip" | "inet"));
        chains.v6 |= matches!(family, Some("ip6" | "inet"));
    }
    chains
}
