//! Lines of `conntrack -L` and `-E` (`__snprintf_conntrack_default` of libnetfilter_conntrack).

use super::{L4, event_name, family, l4, l4_name, protonum};
use crate::clock::Nanos;
use crate::ctnetlink::Record;
use crate::events::Kind;
use crate::status;
use std::fmt::{self, Write};

/// What `-o` of conntrack(8) chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// `extended`: the address family comes first.
    pub extended: bool,
    /// `id`: the connection's number.
    pub id: bool,
    /// `ktimestamp`: when the connection began and ended.
    pub ktimestamp: bool,
    /// `timestamp`: when the event came, before everything else. Nanoseconds since 1970.
    pub timestamp: Option<Nanos>,
    /// `labels`: as bit numbers.
    pub labels: bool,
}

/// Writes the line of a connection, or of an event of it; no newline. `now` is for the age of connections with time stamps.
///
/// # Errors
/// Those of `out`.
pub fn write_line(
    out: &mut impl Write,
    r: &Record,
    kind: Option<Kind>,
    o: TextOptions,
    now: Nanos,
) -> fmt::Result {
    let mut line = String::new();
    if let Some(t) = o.timestamp {
        let (secs, us) = (t / 1_000_000_000, t / 1000 % 1_000_000);
        write!(line, "[{secs:<8}.{us:06}]\t")?;
    }
    if let Some(kind) = kind {
        line.push_str(event_name(kind));
    }
    let f = family(r);
    if o.extended {
        write!(line, "{:<8} {} ", f.name(), f as u8)?;
    }
    write!(line, "{:<8} {} ", l4_name(protonum(r)), protonum(r))?;
    if let Some(timeout) = r.timeout {
        write!(line, "{timeout} ")?;
    }
    if let Some(p) = &r.proto {
        write!(line, "{} ", p.state_name())?;
    }
    direction(&mut line, r, 0)?;
    let status = r.status;
    if status.is_some_and(|s| s & status::SEEN_REPLY == 0) {
        line.push_str("[UNREPLIED] ");
    }
    direction(&mut line, r, 1)?;
    match status.unwrap_or(0) {
        s if s & status::HW_OFFLOAD != 0 => line.push_str("[HW_OFFLOAD] "),
        s if s & status::OFFLOAD != 0 => line.push_str("[OFFLOAD] "),
        s if s & status::ASSURED != 0 => line.push_str("[ASSURED] "),
        _ => {}
    }
    if let Some(mark) = r.mark {
        write!(line, "mark={mark} ")?;
    }
    if let Some(zone) = r.zone {
        write!(line, "zone={zone} ")?;
    }
    if let Some((start, stop)) = r.timestamps {
        times(&mut line, start, stop, o.ktimestamp, now)?;
    }
    if let Some(helper) = &r.helper {
        write!(line, "helper={helper} ")?;
    }
    if let Some(uses) = r.uses {
        write!(line, "use={uses} ")?;
    }
    if let Some(id) = r.id.filter(|_| o.id) {
        write!(line, "id={id} ")?;
    }
    if let Some(labels) = r.labels.filter(|_| o.labels) {
        let set: Vec<String> = (0..128)
            .filter(|b| labels[b / 32] >> (b % 32) & 1 != 0)
            .map(|b| b.to_string())
            .collect();
        write!(line, "labels={} ", set.join(","))?;
    }
    out.write_str(line.trim_end_matches(' '))
}

fn direction(out: &mut String, r: &Record, dir: usize) -> fmt::Result {
    if let Some(t) = &r.tuples[dir] {
        write!(out, "src={} dst={} ", t.src(), t.dst())?;
        match l4(t) {
            L4::Ports(s, d) => write!(out, "sport={s} dport={d} ")?,
            L4::Keys(s, d) => write!(out, "srckey={s:#x} dstkey={d:#x} ")?,
            L4::Icmp { kind, code, id } => write!(out, "type={kind} code={code} id={id} ")?,
            L4::Nothing => {}
        }
    }
    if let Some(zone) = r.tuple_zones[dir] {
        let name = ["zone-orig", "zone-reply"][dir];
        write!(out, "{name}={zone} ")?;
    }
    if let Some((packets, bytes)) = r.counters[dir] {
        write!(out, "packets={packets} bytes={bytes} ")?;
    }
    Ok(())
}

/// Age in seconds, and beginning and end as ctime(3) has them, in UTC.
fn times(out: &mut String, start: u64, stop: Option<u64>, whole: bool, now: Nanos) -> fmt::Result {
    const SECOND: u64 = 1_000_000_000;
    let stop = stop.filter(|t| *t != 0);
    let until = stop.unwrap_or(now) / SECOND;
    if whole {
        write!(out, "[start={}] ", ctime(start / SECOND))?;
        if let Some(stop) = stop {
            write!(out, "[stop={}] ", ctime(stop / SECOND))?;
        }
        return Ok(());
    }
    write!(out, "delta-time={} ", until.saturating_sub(start / SECOND))
}

/// `Sun Nov 22 11:06:15 2026`.
fn ctime(secs: u64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let t = Utc::at(secs);
    format!(
        "{} {} {:2} {:02}:{:02}:{:02} {}",
        DAYS[t.weekday as usize],
        MONTHS[t.month as usize - 1],
        t.day,
        t.hour,
        t.minute,
        t.second,
        t.year
    )
}

/// A point in time, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Utc {
    pub(super) year: u64,
    /// 1–12.
    pub(super) month: u64,
    /// 1–31.
    pub(super) day: u64,
    /// 0 is Sunday.
    pub(super) weekday: u64,
    pub(super) hour: u64,
    pub(super) minute: u64,
    pub(super) second: u64,
}

impl Utc {
    /// From seconds since 1970 (the civil calendar counted in eras of 400 years that begin in March).
    pub(super) fn at(secs: u64) -> Self {
        let (days, rest) = (secs / 86_400, secs % 86_400);
        let shifted = days + 719_468;
        let (era, doe) = (shifted / 146_097, shifted % 146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let m = (5 * doy + 2) / 153;
        let month = if m < 10 { m + 3 } else { m - 9 };
        Self {
            year: era * 400 + yoe + u64::from(month <= 2),
            month,
            day: doy - (153 * m + 2) / 5 + 1,
            weekday: (days + 4) % 7,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
}
