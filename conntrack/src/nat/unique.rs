//! Finding a tuple that no other connection's answers have (`get_unique_tuple`).

use super::{Manip, Range};
use crate::clock::Nanos;
use crate::conn::Conn;
use crate::proto;
use crate::status::{DST_NAT, SEQ_ADJUST, SRC_NAT};
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Tuple, ipproto};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Ports tried in one round (`NF_NAT_MAX_ATTEMPTS`), and the fewest.
const MAX_ATTEMPTS: u32 = 128;
const MIN_ATTEMPTS: u32 = 16;

/// The tuple that `now` becomes when its `manip` end is mapped into `range`. When everything is taken it is one that is taken: the connection
/// then fails to enter the table.
pub(super) fn tuple<S: Store>(
    ct: &Tracker<S>,
    conn: &Conn<S::User>,
    now: &Tuple,
    range: Range,
    manip: Manip,
    time: Nanos,
) -> Tuple {
    let taken = |t: &Tuple| ct.answers_taken(t, conn, time);
    if manip == Manip::Src && fits(now, range) && (!taken(now) || mirrored(ct, conn, now, time)) {
        return *now;
    }
    let mut new = *now;
    if let Some(addr) = range.addr {
        new = with_addr(&new, manip, addr);
    }
    let free = match range.ports {
        Some((low, high)) => in_range(&new, manip, low, high) && (low == high || !taken(&new)),
        None => !taken(&new),
    };
    if free {
        new
    } else {
        search(new, range, manip, taken)
    }
}

/// Is the source within the range already?
fn fits(t: &Tuple, range: Range) -> bool {
    range.addr.is_none_or(|a| a == t.src())
        && range
            .ports
            .is_none_or(|(low, high)| in_range(t, Manip::Src, low, high))
}

/// The connection in the way is this one seen from the other side, and neither is translated: confirmation will merge them.
fn mirrored<S: Store>(ct: &Tracker<S>, conn: &Conn<S::User>, t: &Tuple, time: Nanos) -> bool {
    const TRANSLATED: u32 = SRC_NAT | DST_NAT | SEQ_ADJUST;
    if !proto::allows_clash(t.protonum()) {
        return false;
    }
    let found = ct
        .find(t, conn.zone(), time)
        .or_else(|| ct.find(&t.invert()?, conn.zone(), time));
    let Some((other, dir)) = found else {
        // It went away in between.
        return true;
    };
    dir == Direction::Reply
        && !other.has(TRANSLATED)
        && other.tuple(Direction::Original) == conn.tuple(Direction::Reply)
        && other.tuple(Direction::Reply) == conn.tuple(Direction::Original)
}

fn has_ports(t: &Tuple) -> bool {
    matches!(
        t.protonum(),
        ipproto::TCP | ipproto::UDP | ipproto::UDPLITE | ipproto::SCTP
    )
}

fn is_icmp(t: &Tuple) -> bool {
    matches!(t.protonum(), ipproto::ICMP | ipproto::ICMPV6)
}

/// The number that may change: a port, or the id of ICMP, which both directions share.
fn key(t: &Tuple, manip: Manip) -> u16 {
    if manip == Manip::Src || is_icmp(t) {
        t.src_l4()
    } else {
        t.dst_l4()
    }
}

fn in_range(t: &Tuple, manip: Manip, low: u16, high: u16) -> bool {
    // Protocols without a number are in every range (`l4proto_in_range`).
    !(has_ports(t) || is_icmp(t)) || (low..=high).contains(&key(t, manip))
}

fn build(src: IpAddr, dst: IpAddr, like: &Tuple, src_l4: u16, dst_l4: u16) -> Tuple {
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            Tuple::v4(s.octets(), d.octets(), like.protonum(), src_l4, dst_l4)
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            Tuple::v6(s.octets(), d.octets(), like.protonum(), src_l4, dst_l4)
        }
        // A rule for the other family changes nothing.
        _ => *like,
    }
}

fn with_addr(t: &Tuple, manip: Manip, addr: IpAddr) -> Tuple {
    let (src, dst) = match manip {
        Manip::Src => (addr, t.dst()),
        Manip::Dst => (t.src(), addr),
    };
    build(src, dst, t, t.src_l4(), t.dst_l4())
}

fn with_key(t: &Tuple, manip: Manip, key: u16) -> Tuple {
    let (src_l4, dst_l4) = if manip == Manip::Src || is_icmp(t) {
        (key, t.dst_l4())
    } else {
        (t.src_l4(), key)
    };
    build(t.src(), t.dst(), t, src_l4, dst_l4)
}

/// Tries numbers of the range, from a random one on for sources, in ever shorter rounds (`nf_nat_l4proto_unique_tuple`).
fn search(t: Tuple, range: Range, manip: Manip, taken: impl Fn(&Tuple) -> bool) -> Tuple {
    if !(has_ports(&t) || is_icmp(&t)) {
        return t;
    }
    let (low, high) = match range.ports {
        Some((a, b)) => (a.min(b), a.max(b)),
        None if is_icmp(&t) => (0, u16::MAX),
        // The port of a destination has a meaning.
        None if manip == Manip::Dst => return t,
        // Low ports stay low, by convention.
        None => match key(&t, manip) {
            0..512 => (1, 511),
            512..1024 => (600, 1023),
            _ => (1024, u16::MAX),
        },
    };
    let size = u32::from(high - low) + 1;
    let mut offset = if manip == Manip::Dst { 0 } else { random() };
    let mut attempts = size.min(MAX_ATTEMPTS);
    let mut last = t;
    loop {
        for _ in 0..attempts {
            last = with_key(&t, manip, low + (offset % size) as u16);
            if !taken(&last) {
                return last;
            }
            offset += 1;
        }
        if attempts >= size || attempts < MIN_ATTEMPTS {
            return last;
        }
        attempts /= 2;
        offset = random();
    }
}

/// 16 random bits from the standard library's randomness, which is keyed per process and differs per call.
fn random() -> u32 {
    (RandomState::new().hash_one(0u8) & 0xffff) as u32
}
