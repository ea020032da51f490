//! Command lines of the commands that watch traffic.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nulls_conntrack::Filter;
use nulls_conntrack::filter::{self, FilterError, Prefix};
use nulls_conntrack::tuple::Family;

use crate::store_any::AnyKind;

/// Where packets come from, and under which settings they are tracked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Captures {
    /// Capture files (pcap or pcapng, plain or gzip-compressed); `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// No progress bar
    #[arg(long)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Settings of the tracker.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Change a setting, by its kernel name: net.netfilter.nf_conntrack_acct=1, nf_conntrack_acct=1 or acct=1
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Settings")]
    pub(crate) sysctl: Vec<String>,

    /// Read settings from a file: a JSON object, or lines `name = value` as in sysctl.conf
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    pub(crate) sysctls: Vec<PathBuf>,

    /// What holds the connections; the result is the same
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        default_value = "nulls",
        help_heading = "Settings"
    )]
    pub(crate) store: AnyKind,
}

/// Which connections, with the letters of conntrack(8).
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which connections (all that is given must fit)")]
pub(crate) struct FilterArgs {
    /// Transport protocol, by name or number
    #[arg(short = 'p', long, value_name = "PROTO", value_parser = told(filter::protocol))]
    proto: Option<u8>,
    /// Address family: ipv4 or ipv6
    #[arg(short = 'f', long, value_name = "FAMILY", value_parser = told(family))]
    family: Option<Family>,
    /// Source of the original direction: an address, or a prefix such as 10.0.0.0/8
    #[arg(short = 's', long = "src", alias = "orig-src", value_name = "ADDR", value_parser = told(str::parse::<Prefix>))]
    src: Option<Prefix>,
    /// Destination of the original direction
    #[arg(short = 'd', long = "dst", alias = "orig-dst", value_name = "ADDR", value_parser = told(str::parse::<Prefix>))]
    dst: Option<Prefix>,
    /// Source of the reply direction
    #[arg(short = 'r', long = "reply-src", value_name = "ADDR", value_parser = told(str::parse::<Prefix>))]
    reply_src: Option<Prefix>,
    /// Destination of the reply direction
    #[arg(short = 'q', long = "reply-dst", value_name = "ADDR", value_parser = told(str::parse::<Prefix>))]
    reply_dst: Option<Prefix>,
    /// Source port of the original direction
    #[arg(long, alias = "orig-port-src", value_name = "PORT")]
    sport: Option<u16>,
    /// Destination port of the original direction
    #[arg(long, alias = "orig-port-dst", value_name = "PORT")]
    dport: Option<u16>,
    /// Source port of the reply direction
    #[arg(long, value_name = "PORT")]
    reply_port_src: Option<u16>,
    /// Destination port of the reply direction
    #[arg(long, value_name = "PORT")]
    reply_port_dst: Option<u16>,
    /// Mark, or bits of it: 0x10/0xf0
    #[arg(short = 'm', long, value_name = "MARK[/MASK]", value_parser = told(filter::masked))]
    mark: Option<filter::Masked>,
    /// Status: ASSURED, SEEN_REPLY, UNREPLIED, EXPECTED, FIXED_TIMEOUT, UNSET; several with commas
    #[arg(short = 'u', long, value_name = "STATUS", value_parser = told(filter::status_bits))]
    status: Option<filter::Masked>,
    /// Label bits that are set, by number; several with commas
    #[arg(short = 'l', long, value_name = "BITS", value_parser = told(labels))]
    label: Option<Labels>,
    /// Zone
    #[arg(short = 'w', long, value_name = "ZONE")]
    zone: Option<u16>,
    /// State of TCP or SCTP: ESTABLISHED, SYN_SENT, …
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// The connection's number
    #[arg(long, value_name = "ID")]
    id: Option<u32>,
}

/// Label bits.
#[derive(Clone, Copy, Debug)]
struct Labels([u32; 4]);

fn labels(word: &str) -> Result<Labels, FilterError> {
    filter::label_bits(word).map(Labels)
}

fn family(word: &str) -> Result<Family, FilterError> {
    match word {
        "ipv4" => Ok(Family::Ipv4),
        "ipv6" => Ok(Family::Ipv6),
        _ => Err(FilterError::Value(word.to_owned())),
    }
}

/// A parser whose errors clap can tell.
fn told<T: Clone + Send + Sync + 'static>(
    parse: fn(&str) -> Result<T, FilterError>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |word| parse(word).map_err(|e| e.to_string())
}

impl FilterArgs {
    /// The filter.
    pub(crate) fn filter(&self) -> Filter {
        let mut f = Filter {
            family: self.family,
            proto: self.proto,
            mark: self.mark,
            status: self.status,
            labels: self.label.map(|l| l.0),
            zone: self.zone,
            state: self.state.clone(),
            id: self.id,
            ..Filter::default()
        };
        (f.original.src, f.original.dst) = (self.src, self.dst);
        (f.original.src_l4, f.original.dst_l4) = (self.sport, self.dport);
        (f.reply.src, f.reply.dst) = (self.reply_src, self.reply_dst);
        (f.reply.src_l4, f.reply.dst_l4) = (self.reply_port_src, self.reply_port_dst);
        f
    }
}

/// How connections and events are printed, with the words of conntrack(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Word {
    /// The address family comes first
    Extended,
    /// The connection's number
    Id,
    /// When an event happened
    Timestamp,
    /// When the connection began and ended (with --sysctl timestamp=1)
    Ktimestamp,
    /// Labels
    Labels,
    /// XML
    Xml,
    /// One JSON object per line
    Json,
    /// Lines as in /proc/net/nf_conntrack (list only)
    Proc,
}

/// The chosen words.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Format {
    /// How to print; several with commas: extended,id
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        value_name = "FORMAT",
        value_delimiter = ','
    )]
    pub(crate) words: Vec<Word>,
}

impl Format {
    /// Was it chosen?
    pub(crate) fn has(&self, w: Word) -> bool {
        self.words.contains(&w)
    }
}

/// `nct list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) from: Captures,
    #[command(flatten)]
    pub(crate) format: Format,
    /// Print only how many connections fit
    #[arg(short = 'C', long)]
    pub(crate) count: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// `nct events`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) from: Captures,
    #[command(flatten)]
    pub(crate) format: Format,
    /// Only these kinds; several with commas
    #[arg(
        short = 'e',
        long = "event-mask",
        value_enum,
        value_name = "KIND",
        value_delimiter = ',',
        ignore_case = true
    )]
    pub(crate) kinds: Vec<EventWord>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventWord {
    /// A connection begins
    New,
    /// It changes
    #[value(alias = "update")]
    Updates,
    /// It ends
    Destroy,
}

/// Formats of statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsFormat {
    /// As `conntrack -S` prints them
    #[default]
    Conntrack,
    /// As /proc/net/stat/nf_conntrack
    Proc,
    /// One JSON object
    Json,
}

/// `nct stats`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    pub(crate) from: Captures,
    /// How to print
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: StatsFormat,
}

/// Formats of flow records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowFormat {
    /// One JSON object per line
    #[default]
    Json,
    /// Comma-separated values, with a header
    Csv,
    /// IPFIX messages (RFC 7011, both directions in one record as in RFC 5103)
    Ipfix,
    /// Apache Parquet (needs --write)
    #[cfg(feature = "parquet")]
    Parquet,
}

/// Where flow records go.
#[derive(Clone, Debug, Args)]
pub(crate) struct FlowOutput {
    /// Format of flow records
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) flow_format: FlowFormat,
    /// Write flow records to this file (live: nothing is written without it; else standard output)
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Leave out connections that are still open at the end
    #[arg(long)]
    pub(crate) ended_only: bool,
}

/// `nct flows`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Flows {
    #[command(flatten)]
    pub(crate) from: Captures,
    #[command(flatten)]
    pub(crate) output: FlowOutput,
    #[command(flatten)]
    pub(crate) filter: FlowFilter,
}

/// The filter of `nct flows`: `-w` is the file there.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which connections (all that is given must fit)")]
pub(crate) struct FlowFilter {
    /// Options of `nct list` in one text: "-p tcp --dport 443"
    #[arg(long = "only", value_name = "OPTIONS", value_parser = told(str::parse::<Filter>), allow_hyphen_values = true)]
    pub(crate) only: Option<Filter>,
}

/// What a live view shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// The table, when it ends
    #[default]
    Table,
    /// Events, as they happen
    Events,
    /// The busiest connections, all the time (a terminal is needed; q ends it)
    Top,
    /// Nothing
    None,
}

/// `nct live` and `nct top`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Live {
    /// Network interface, for example eth0
    #[arg(value_name = "IFACE")]
    pub(crate) interface: String,
    /// What to show
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub(crate) show: Show,
    /// End after so many seconds (else with Ctrl-C)
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) seconds: Option<u64>,
    /// End after so many packets
    #[arg(long, value_name = "N")]
    pub(crate) packets: Option<u64>,
    /// Offer Prometheus metrics at http://ADDR/metrics; only addresses of this host are allowed
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:9327")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Verify transport checksums. By default they are not: packets that this machine sends get theirs from the network card, after they were seen
    #[arg(long)]
    pub(crate) checksums: bool,
    #[command(flatten)]
    pub(crate) flows: FlowOutput,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) filter: FlowFilter,
}
