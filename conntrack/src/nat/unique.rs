//! Finding a tuple that no other connection's answers have (`get_unique_tuple`).

use super::source::End;
use super::{Manip, PortChoice, Range, random};
use crate::clock::Nanos;
use crate::conn::Conn;
use crate::hash::jhash2;
use crate::proto::{self, Proto};
use crate::status::{DST_NAT, DYING, FIXED_TIMEOUT, HW_OFFLOAD, OFFLOAD, SEQ_ADJUST, SRC_NAT};
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Tuple, ipproto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ports tried in one round (`NF_NAT_MAX_ATTEMPTS`), and the fewest.
const MAX_ATTEMPTS: u32 = 128;
const MIN_ATTEMPTS: u32 = 16;

/// In the last so many attempts of a round a closed connection gives way (`NF_NAT_HARDER_THRESH`).
const HARDER: u32 = MAX_ATTEMPTS / 4;

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
    let zone = conn.zone();
    let random = range.choice == PortChoice::Random;
    if manip == Manip::Src && !random {
        if fits(now, range) {
            if !taken(now) || mirrored(ct, conn, now, time) {
                return *now;
            }
        } else {
            let mapped = |to: End| with_end(now, to);
            let zone = zone.id_for(Direction::Original);
            let found = ct
                .net()
                .sources
                .find(now, zone, |to| fits(&mapped(to), range));
            if let Some(new) = found.map(mapped).filter(|t| !taken(t)) {
                return new;
            }
        }
    }
    let mut new = *now;
    if let Some((first, last)) = range.addrs {
        let addr = choose(now, first, last, range.persistent, zone.id);
        new = with_addr(&new, manip, addr);
    }
    let free = match (range.choice, range.ports) {
        (PortChoice::Random, _) | (PortChoice::Shifted(_), Some(_)) => false,
        (_, Some((low, high))) => in_range(&new, manip, low, high) && (low == high || !taken(&new)),
        (_, None) => !taken(&new),
    };
    if free {
        new
    } else {
        search(ct, conn, new, range, manip, time)
    }
}

/// One address between `first` and `last`, evenly spread and always the same for the same ends (`find_best_ips_proto`).
fn choose(t: &Tuple, first: IpAddr, last: IpAddr, persistent: bool, zone: u16) -> IpAddr {
    if first == last {
        return first;
    }
    // Addresses as the kernel keeps them: four words of memory, the first of them if it is IPv4.
    let words = |a: IpAddr| -> [u32; 4] {
        let mut bytes = [0; 16];
        match a {
            IpAddr::V4(a) => bytes[..4].copy_from_slice(&a.octets()),
            IpAddr::V6(a) => bytes = a.octets(),
        }
        std::array::from_fn(|i| {
            u32::from_ne_bytes([
                bytes[4 * i],
                bytes[4 * i + 1],
                bytes[4 * i + 2],
                bytes[4 * i + 3],
            ])
        })
    };
    let len = if first.is_ipv4() { 1 } else { 4 };
    let (src, dst, first, last) = (words(t.src()), words(t.dst()), words(first), words(last));
    let seed = if persistent {
        0
    } else {
        dst[len - 1] ^ u32::from(zone)
    };
    let mut hash = jhash2(&src, seed);
    let mut full = false;
    let mut out = [0u32; 4];
    for i in 0..len {
        let (low, distance) = if full {
            (0, u32::MAX)
        } else {
            let (low, high) = (u32::from_be(first[i]), u32::from_be(last[i]));
            (low, high.wrapping_sub(low).wrapping_add(1))
        };
        let step = (u64::from(hash) * u64::from(distance)) >> 32;
        out[i] = low.wrapping_add(step as u32).to_be();
        full |= out[i] != last[i];
        if !persistent {
            hash ^= dst[i];
        }
    }
    if len == 1 {
        Ipv4Addr::from(out[0].to_ne_bytes()).into()
    } else {
        let mut bytes = [0; 16];
        for (b, w) in bytes.chunks_exact_mut(4).zip(out) {
            b.copy_from_slice(&w.to_ne_bytes());
        }
        Ipv6Addr::from(bytes).into()
    }
}

/// Is the source within the range already?
fn fits(t: &Tuple, range: Range) -> bool {
    range
        .addrs
        .is_none_or(|(first, last)| (first..=last).contains(&t.src()))
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
    !(has_ports(t) || is_icmp(t) || t.protonum() == ipproto::GRE)
        || (low..=high).contains(&key(t, manip))
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

/// The source replaced.
fn with_end(t: &Tuple, (addr, l4): End) -> Tuple {
    build(addr, t.dst(), t, l4, t.dst_l4())
}

fn with_key(t: &Tuple, manip: Manip, key: u16) -> Tuple {
    let (src_l4, dst_l4) = if manip == Manip::Src || is_icmp(t) {
        (key, t.dst_l4())
    } else {
        (t.src_l4(), key)
    };
    build(t.src(), t.dst(), t, src_l4, dst_l4)
}

/// Tries numbers of the range, in ever shorter rounds (`nf_nat_l4proto_unique_tuple`).
fn search<S: Store>(
    ct: &Tracker<S>,
    conn: &Conn<S::User>,
    t: Tuple,
    range: Range,
    manip: Manip,
    time: Nanos,
) -> Tuple {
    let gre = t.protonum() == ipproto::GRE;
    if !(has_ports(&t) || is_icmp(&t) || (gre && conn.inner().master().is_some())) {
        return t;
    }
    let (low, high) = match range.ports {
        Some((a, b)) => (a.min(b), a.max(b)),
        None if is_icmp(&t) => (0, u16::MAX),
        None if gre => (1, u16::MAX),
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
    let mut offset: u16 = match range.choice {
        PortChoice::Shifted(base) => key(&t, manip).wrapping_sub(base),
        PortChoice::Present if manip == Manip::Dst => 0,
        PortChoice::Present | PortChoice::Random => random(),
    };
    let mut attempts = size.min(MAX_ATTEMPTS);
    let mut last = t;
    loop {
        for left in (1..=attempts).rev() {
            last = with_key(&t, manip, low + (u32::from(offset) % size) as u16);
            if !taken_harder(ct, conn, &last, left, time) {
                return last;
            }
            offset = offset.wrapping_add(1);
        }
        if attempts >= size || attempts < MIN_ATTEMPTS {
            return last;
        }
        attempts /= 2;
        offset = random();
    }
}

/// Is the tuple taken? With few attempts `left`, a TCP connection that is over gives way to a new one whose numbers are beyond its own
/// (`nf_nat_used_tuple_harder`).
fn taken_harder<S: Store>(
    ct: &Tracker<S>,
    conn: &Conn<S::User>,
    t: &Tuple,
    left: u32,
    time: Nanos,
) -> bool {
    let begins = match &conn.inner().proto {
        Proto::Tcp(tcp) => tcp.syn_end(),
        _ => None,
    };
    let (Some(begins), true) = (begins, left <= HARDER) else {
        return ct.answers_taken(t, conn, time);
    };
    let Some((other, dir)) = t
        .invert()
        .and_then(|reply| ct.find(&reply, conn.zone(), time))
    else {
        return false;
    };
    let st = other.status();
    let over = match &other.inner().proto {
        Proto::Tcp(tcp) => tcp.is_over_before(begins),
        _ => false,
    };
    let may_go =
        dir == Direction::Reply && over && st & (FIXED_TIMEOUT | DYING) == 0 && st & SRC_NAT != 0;
    !(may_go && ct.delete(&other, time)) || st & (OFFLOAD | HW_OFFLOAD) != 0
}
