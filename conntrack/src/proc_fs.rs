//! `/proc/net/nf_conntrack`: one line for each connection, byte for byte; and `/proc/net/stat/nf_conntrack`.

use crate::clock::Nanos;
use crate::snapshot::{ProtoInfo, Snapshot};
use crate::stats::StatsSnapshot;
use crate::status;
use crate::tuple::{Direction, Family, Tuple, ipproto};
use std::fmt::{self, Write};
use std::net::IpAddr;

/// Name of a transport protocol as the kernel prints it.
#[must_use]
pub fn l4_name(protonum: u8) -> &'static str {
    match protonum {
        ipproto::ICMP => "icmp",
        ipproto::TCP => "tcp",
        ipproto::UDP => "udp",
        ipproto::GRE => "gre",
        ipproto::ICMPV6 => "icmpv6",
        ipproto::SCTP => "sctp",
        ipproto::UDPLITE => "udplite",
        _ => "unknown",
    }
}

/// Writes the line of `s`, newline included. `extra` is the application's own text; it stands, with a space behind it, before `use=`.
///
/// # Errors
/// Those of `out`.
pub fn write_line(
    out: &mut impl Write,
    s: &Snapshot,
    extra: Option<&str>,
    now: Nanos,
) -> fmt::Result {
    let family = s.tuples[0].family();
    let protonum = s.tuples[0].protonum();
    write!(
        out,
        "{:<8} {} {:<8} {} ",
        family.name(),
        family as u8,
        l4_name(protonum),
        protonum
    )?;
    let offload = s.status & status::OFFLOAD != 0;
    if !offload {
        write!(out, "{} ", s.timeout)?;
    }
    match &s.proto {
        ProtoInfo::Tcp { state, .. } | ProtoInfo::Sctp { state, .. } if !offload => {
            write!(out, "{state} ")?
        }
        ProtoInfo::Gre {
            timeout,
            stream_timeout,
        } => write!(out, "timeout={timeout}, stream_timeout={stream_timeout} ")?,
        _ => {}
    }
    direction(out, s, Direction::Original)?;
    if s.status & status::SEEN_REPLY == 0 {
        out.write_str("[UNREPLIED] ")?;
    }
    direction(out, s, Direction::Reply)?;
    if s.status & status::HW_OFFLOAD != 0 {
        out.write_str("[HW_OFFLOAD] ")?;
    } else if offload {
        out.write_str("[OFFLOAD] ")?;
    } else if s.status & status::ASSURED != 0 {
        out.write_str("[ASSURED] ")?;
    }
    write!(out, "mark={} ", s.mark)?;
    if s.zone.dirs == 3 {
        write!(out, "zone={} ", s.zone.id)?;
    }
    if let Some((start, _)) = s.timestamps {
        write!(
            out,
            "delta-time={} ",
            now.saturating_sub(start) / 1_000_000_000
        )?;
    }
    if let Some(extra) = extra {
        write!(out, "{extra} ")?;
    }
    writeln!(out, "use={}", s.uses)
}

/// First line of `/proc/net/stat/nf_conntrack`.
pub const STAT_HEADER: &str = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  \
     expect_new expect_create expect_delete search_restart\n";

/// Writes a line of `/proc/net/stat/nf_conntrack`, newline included: the kernel has one for each processor, every one with the number of all `entries`.
///
/// # Errors
/// Those of `out`.
pub fn write_stat_line(out: &mut impl Write, entries: usize, s: &StatsSnapshot) -> fmt::Result {
    write!(out, "{entries:08x} ")?;
    let counted = [
        s.clash_resolve,
        s.found,
        0,
        s.invalid,
        0,
        0,
        s.chaintoolong,
        s.insert,
        s.insert_failed,
        s.drop,
        s.early_drop,
        s.error,
    ];
    for n in counted {
        write!(out, " {n:08x}")?;
    }
    let expected = [s.expect_new, s.expect_create, s.expect_delete];
    out.write_char(' ')?;
    for n in expected {
        write!(out, " {n:08x}")?;
    }
    writeln!(out, " {:08x}", s.search_restart)
}

fn direction(out: &mut impl Write, s: &Snapshot, dir: Direction) -> fmt::Result {
    write_tuple(out, &s.tuples[dir.index()])?;
    if s.zone.dirs == 1 << dir.index() {
        let name = if dir == Direction::Original {
            "zone-orig"
        } else {
            "zone-reply"
        };
        write!(out, "{name}={} ", s.zone.id)?;
    }
    if let Some(c) = s.counters {
        let (packets, bytes) = c[dir.index()];
        write!(out, "packets={packets} bytes={bytes} ")?;
    }
    Ok(())
}

/// Writes a tuple as the kernel prints it, with a space behind.
///
/// # Errors
/// Those of `out`.
pub fn write_tuple(out: &mut impl Write, t: &Tuple) -> fmt::Result {
    write!(out, "src={} dst={} ", Addr(t.src()), Addr(t.dst()))?;
    match t.protonum() {
        ipproto::ICMP if t.family() == Family::Ipv4 => icmp(out, t),
        ipproto::ICMPV6 if t.family() == Family::Ipv6 => icmp(out, t),
        ipproto::TCP | ipproto::UDP | ipproto::UDPLITE | ipproto::SCTP => {
            write!(out, "sport={} dport={} ", t.src_l4(), t.dst_l4())
        }
        ipproto::GRE => write!(out, "srckey={:#x} dstkey={:#x} ", t.src_l4(), t.dst_l4()),
        _ => Ok(()),
    }
}

fn icmp(out: &mut impl Write, t: &Tuple) -> fmt::Result {
    write!(
        out,
        "type={} code={} id={} ",
        t.icmp_type(),
        t.icmp_code(),
        t.src_l4()
    )
}

/// IPv6 in full, as `%pI6` does.
pub(crate) struct Addr(pub(crate) IpAddr);

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(a) => write!(f, "{a}"),
            IpAddr::V6(a) => {
                for (i, s) in a.segments().into_iter().enumerate() {
                    write!(f, "{}{s:04x}", if i == 0 { "" } else { ":" })?;
                }
                Ok(())
            }
        }
    }
}
