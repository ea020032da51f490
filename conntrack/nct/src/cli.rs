//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::run;
use crate::store_any::AnyKind;
use crate::watch::args;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "nct",
    version,
    about = "Linux-equal connection tracking in user space",
    long_about = "Linux-equal connection tracking in user space.\n\n\
        Without a subcommand, nct drives its connection table with a realistic traffic mix and reports what it measured \
        (options below). With captures of your own: `nct list dump.pcap` prints the connections in them, `nct events` what \
        happened to them, `nct flows` a record for each, `nct replay` the table as /proc/net/nf_conntrack would show it, or what became \
        of every packet. `nct live eth0` and `nct top eth0` do the same with the packets of an interface.",
    after_help = "Exit status: 0 success, 1 failure (such as an unreadable or damaged capture), 2 wrong usage.",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: run::Options,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Track the packets of captures and print the connection table
    #[command(long_about = REPLAY_ABOUT, after_help = REPLAY_EXAMPLES)]
    Replay(Replay),
    /// Print the connections after captures, as conntrack -L prints them
    #[command(after_help = LIST_EXAMPLES)]
    List(args::List),
    /// Print what happens to connections during captures, as conntrack -E prints it
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(args::Events),
    /// Print the tracker's counters after captures, as conntrack -S prints them
    Stats(args::Stats),
    /// Write one record for each connection of captures when it ends
    #[command(after_help = FLOWS_EXAMPLES)]
    Flows(args::Flows),
    /// Track the packets of a network interface
    #[cfg(target_os = "linux")]
    #[command(after_help = LIVE_EXAMPLES)]
    Live(args::Live),
    /// Show the busiest connections of a network interface (live --show top)
    #[cfg(target_os = "linux")]
    Top(args::Live),
    /// Print a script that completes nct's command line in a shell
    #[command(after_help = "For example: nct completions bash > /etc/bash_completion.d/nct")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    #[command(after_help = "For example: nct man > nct.1; man ./nct.1")]
    Man,
}

const LIST_EXAMPLES: &str = "\
Examples:
  nct list dump.pcap                                  every connection that is in the table after the last packet
  nct list -p tcp --state ESTABLISHED -o extended,id dump.pcap
  nct list -s 10.0.0.0/8 --dport 443 -o json dump.pcap
  nct list -C -u UNREPLIED dump.pcap                  how many never had an answer";

const EVENTS_EXAMPLES: &str = "\
Examples:
  nct events dump.pcap
  nct events -e new,destroy -o timestamp,id dump.pcap
  nct events -o json -p udp dump.pcap                 with sequence numbers; a gap would be a lost event";

const FLOWS_EXAMPLES: &str = "\
Examples:
  nct flows dump.pcap                                 JSON lines
  nct flows --flow-format csv -w flows.csv dump.pcap
  nct flows --flow-format ipfix -w flows.ipfix --only '-p tcp --dport 443' dump.pcap

Packets and bytes are counted and times kept (--sysctl acct=1, timestamp=1 are set). A record is written when the
connection ends: `reason` tells whether it fell silent (idle), said so (closed), was deleted (forced) or was still
open when the captures ended.";

#[cfg(target_os = "linux")]
const LIVE_EXAMPLES: &str = "\
Examples:
  sudo nct live eth0                                  until Ctrl-C, then the table
  sudo nct live eth0 --show events -o timestamp
  sudo nct top eth0
  sudo nct live eth0 --show none --metrics            Prometheus metrics at http://127.0.0.1:9327/metrics
  sudo nct live eth0 --for 60 -w flows.csv --flow-format csv

It needs root or the capability CAP_NET_RAW, and changes nothing: packets are only looked at. Packets and bytes are
counted and times kept (acct=1, timestamp=1).";

const REPLAY_ABOUT: &str = "\
Tracks the packets of captures (pcap or pcapng, plain or gzip-compressed) as the Linux kernel's connection tracking \
would if a router forwarded them, and prints the connection table as it is after the last packet. Captures of any \
size are read in bounded memory; several files are one stream, in the order given.

The capture's time stamps are the clock (time never goes back: an earlier stamp counts as the latest one seen). Every \
packet passes the hooks PRE_ROUTING, FORWARD and POST_ROUTING; nothing is dropped for its TTL, address or route, since \
where the capture was taken is not known. A packet with a broken IP header reaches no hook at all. Link types: \
Ethernet (VLAN tags are skipped), Linux cooked v1 and v2, raw IP, BSD null and loop.

Settings begin with the kernel's defaults: nf_conntrack_acct is 0, so packets and bytes are not counted unless \
`--sysctl acct=1` is given. Captures taken on the sending machine often hold packets whose checksum the network card \
would have filled in later: the kernel calls those INVALID, and so does nct unless `--sysctl checksum=0` is given. \
Checksums of packets that the capture cut short are not verified.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  nct replay dump.pcap                          the table after the capture, as /proc/net/nf_conntrack lines
  tcpdump -w - -i eth0 | nct replay -           from standard input
  nct replay --sysctl acct=1 -o json a.pcap.gz b.pcapng
  nct replay --trace --entries own dump.pcap    one JSON object per packet: its state and its connection
  nct replay --sysctl tcp_loose=0 --sysctls router.conf dump.pcap

Exit status:
  0  success
  1  failure: unreadable or damaged capture (what precedes the damage is processed and printed), bad setting
  2  wrong usage";

/// `nct replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Capture files; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "case")]
    pub(crate) files: Vec<PathBuf>,

    /// How to print the connection table at the end
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Output::Proc)]
    pub(crate) output: Output,

    /// Print one JSON object per packet instead of the table at the end
    #[arg(long)]
    pub(crate) trace: bool,

    /// Which table entries a trace line holds
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Entries::All)]
    pub(crate) entries: Entries,

    /// Change a setting, by its kernel name: net.netfilter.nf_conntrack_acct=1, nf_conntrack_acct=1 or acct=1
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<String>,

    /// Read settings from a file: a JSON object, or lines `name = value` as in sysctl.conf
    #[arg(long, value_name = "FILE")]
    pub(crate) sysctls: Vec<PathBuf>,

    /// What holds the connections; the result is the same
    #[arg(long, value_enum, value_name = "NAME", default_value = "nulls")]
    pub(crate) store: AnyKind,

    /// Replay recordings of a kernel (directories with packets.pcap, sysctls.json, meta.json and ticks.jsonl) through
    /// the recorder's router, rules and operations included, and print the trace
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["files", "sysctl", "sysctls"])]
    pub(crate) case: Vec<PathBuf>,

    /// With --case: write OUT/RECORDING/actual.jsonl instead of printing
    #[arg(long, value_name = "OUT", requires = "case", conflicts_with = "files")]
    pub(crate) out: Option<PathBuf>,

    /// With --case: print what /proc/net/nf_conntrack showed after every packet, and what conntrack -E, -L and -S printed, as one JSON object
    #[arg(long, requires = "case", conflicts_with = "trace")]
    pub(crate) texts: bool,
}

/// Formats of the final table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Lines as in /proc/net/nf_conntrack
    Proc,
    /// One JSON object per entry
    Json,
}

/// Entries in a trace line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Entries {
    /// The whole table after the packet (slow when it is large)
    All,
    /// The packet's own entry
    Own,
    /// No entries
    None,
}
