//! Connections as text, as conntrack(8) prints them: plain and extended lines, events, XML, counters.
//!
//! All of it is written from a [`Record`], so what came over netlink prints the same way as what this tracker holds. `/proc/net/nf_conntrack` has its own
//! module, [`crate::proc_fs`].

mod text;
mod xml;

pub use text::{TextOptions, write_line};
pub use xml::{XML_FOOTER, XML_HEADER, XmlOptions, write_xml};

use crate::ctnetlink::{Record, TCP_STATES};
use crate::events::Kind;
use crate::stats::StatsSnapshot;
use crate::tuple::{Family, Tuple, ipproto};
use std::fmt::{self, Write};

/// Name of a transport protocol as libnetfilter_conntrack has it.
fn l4_name(protonum: u8) -> &'static str {
    match protonum {
        33 => "dccp",
        other => crate::proc_fs::l4_name(other),
    }
}

/// The parts of a tuple that depend on the protocol, with their names.
enum L4 {
    Ports(u16, u16),
    Keys(u16, u16),
    Icmp { kind: u8, code: u8, id: u16 },
    Nothing,
}

fn l4(t: &Tuple) -> L4 {
    match t.protonum() {
        ipproto::TCP | ipproto::UDP | ipproto::UDPLITE | ipproto::SCTP | 33 => {
            L4::Ports(t.src_l4(), t.dst_l4())
        }
        ipproto::GRE => L4::Keys(t.src_l4(), t.dst_l4()),
        ipproto::ICMP | ipproto::ICMPV6 => L4::Icmp {
            kind: t.icmp_type(),
            code: t.icmp_code(),
            id: t.src_l4(),
        },
        _ => L4::Nothing,
    }
}

fn family(r: &Record) -> Family {
    r.family().unwrap_or(Family::Ipv4)
}

fn protonum(r: &Record) -> u8 {
    r.tuples.iter().flatten().next().map_or(0, Tuple::protonum)
}

/// Name of an event's kind in `conntrack -E`, as wide as it prints it.
fn event_name(kind: Kind) -> &'static str {
    match kind {
        Kind::New => "    [NEW] ",
        Kind::Update => " [UPDATE] ",
        Kind::Destroy => "[DESTROY] ",
    }
}

/// Writes the line that `conntrack -S` prints for one processor.
///
/// # Errors
/// Those of `out`.
pub fn write_stats(out: &mut impl Write, cpu: usize, s: &StatsSnapshot) -> fmt::Result {
    write!(out, "cpu={cpu:<4}\t")?;
    for (name, value) in s
        .pairs()
        .into_iter()
        .filter(|(n, _)| !n.starts_with("expect_"))
    {
        write!(out, "{name}={value} ")?;
    }
    out.write_char('\n')
}

#[cfg(test)]
mod tests;
