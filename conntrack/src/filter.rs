//! Which connections are meant: by tuple, zone, mark, status, protocol and state, number (the options of conntrack(8), and `CTA_FILTER`).
//!
//! ```
//! use nulls_conntrack::Filter;
//! let f: Filter = "-p tcp --state ESTABLISHED -s 10.0.0.0/8 --dport 443 -m 0x10/0xf0".parse()?;
//! assert_eq!(f.proto, Some(6));
//! # Ok::<(), nulls_conntrack::filter::FilterError>(())
//! ```

use crate::conn::Conn;
use crate::ctnetlink::Record;
use crate::snapshot::{ProtoInfo, Snapshot};
use crate::status;
use crate::tuple::{Direction, Family, Tuple, ipproto};
use crate::zone::Zone;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    addr: IpAddr,
    bits: u32,
}

impl Prefix {
    /// The first `bits` bits of `addr`; `None` when it has not so many.
    #[must_use]
    pub fn new(addr: IpAddr, bits: u32) -> Option<Self> {
        let all = if addr.is_ipv4() { 32 } else { 128 };
        (bits <= all).then_some(Self { addr, bits })
    }

    /// Does `a` begin so? Addresses of the other family do not.
    #[must_use]
    pub fn contains(&self, a: IpAddr) -> bool {
        let differ = match (self.addr, a) {
            (IpAddr::V4(x), IpAddr::V4(y)) => (u32::from(x) ^ u32::from(y)).leading_zeros(),
            (IpAddr::V6(x), IpAddr::V6(y)) => (u128::from(x) ^ u128::from(y)).leading_zeros(),
            _ => return false,
        };
        differ >= self.bits
    }
}

impl FromStr for Prefix {
    type Err = FilterError;

    fn from_str(s: &str) -> Result<Self, FilterError> {
        let bad = || FilterError::Value(s.to_owned());
        let (addr, bits) = match s.split_once('/') {
            Some((a, b)) => (a, Some(b)),
            None => (s, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| bad())?;
        let all = if addr.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => all,
            Some(b) => match b.parse::<u32>() {
                Ok(n) => n,
                Err(_) => mask_bits(addr, b).ok_or_else(bad)?,
            },
        };
        Self::new(addr, bits).ok_or_else(bad)
    }
}

/// Bits of a mask such as 255.255.0.0, if its ones come first.
fn mask_bits(addr: IpAddr, mask: &str) -> Option<u32> {
    let (ones, mask) = match (addr, mask.parse().ok()?) {
        (IpAddr::V4(_), IpAddr::V4(m)) => (u32::from(m).leading_ones(), u32::from(m).count_ones()),
        (IpAddr::V6(_), IpAddr::V6(m)) => {
            (u128::from(m).leading_ones(), u128::from(m).count_ones())
        }
        _ => return None,
    };
    (ones == mask).then_some(ones)
}

/// What one tuple must be; `None` fits everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TupleFilter {
    /// Source address.
    pub src: Option<Prefix>,
    /// Destination address.
    pub dst: Option<Prefix>,
    /// Source port, ICMP id or GRE key.
    pub src_l4: Option<u16>,
    /// Destination port or GRE key.
    pub dst_l4: Option<u16>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// The zone of this direction.
    pub zone: Option<u16>,
}

impl TupleFilter {
    fn fits(&self, t: &Tuple, zone: u16) -> bool {
        self.src.is_none_or(|p| p.contains(t.src()))
            && self.dst.is_none_or(|p| p.contains(t.dst()))
            && is(self.src_l4, t.src_l4())
            && is(self.dst_l4, t.dst_l4())
            && is(self.icmp_type, t.icmp_type())
            && is(self.icmp_code, t.icmp_code())
            && is(self.zone, zone)
    }
}

fn is<T: PartialEq>(want: Option<T>, have: T) -> bool {
    want.is_none_or(|w| w == have)
}

/// A number and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The number.
    pub value: u32,
    /// The bits.
    pub mask: u32,
}

impl Masked {
    fn fits(self, have: u32) -> bool {
        have & self.mask == self.value & self.mask
    }
}

/// Which connections are meant: those that fit everything that is said. The default fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Address family.
    pub family: Option<Family>,
    /// Transport protocol.
    pub proto: Option<u8>,
    /// The original tuple.
    pub original: TupleFilter,
    /// The reply tuple.
    pub reply: TupleFilter,
    /// The mark.
    pub mark: Option<Masked>,
    /// Status bits, see [`crate::status`].
    pub status: Option<Masked>,
    /// The zone, whatever direction it is for.
    pub zone: Option<u16>,
    /// Label bits that must be set.
    pub labels: Option<[u32; 4]>,
    /// The connection's number.
    pub id: Option<u32>,
    /// Name of the TCP or SCTP state.
    pub state: Option<String>,
    /// Its source was translated.
    pub src_nat: bool,
    /// Its destination was translated.
    pub dst_nat: bool,
    /// One of both was.
    pub any_nat: bool,
}

/// What a filter looks at.
struct Subject<'a> {
    tuples: [Tuple; 2],
    zone: Zone,
    status: u32,
    mark: u32,
    labels: [u32; 4],
    id: u32,
    state: Option<&'a str>,
}

impl Filter {
    /// Does the connection fit, right now?
    #[must_use]
    pub fn matches<U>(&self, c: &Conn<U>) -> bool {
        let info = self.state.as_ref().map(|_| c.proto_info());
        self.fits(&Subject {
            tuples: Direction::BOTH.map(|d| c.tuple(d)),
            zone: c.zone(),
            status: c.status(),
            mark: c.mark(),
            labels: c.labels(),
            // A keyed hash: not for those who do not ask.
            id: self.id.map_or(0, |_| c.id()),
            state: info.as_ref().and_then(state),
        })
    }

    /// Does a copy of a connection fit?
    #[must_use]
    pub fn matches_snapshot(&self, s: &Snapshot) -> bool {
        self.fits(&Subject {
            tuples: s.tuples,
            zone: s.zone,
            status: s.status,
            mark: s.mark,
            labels: s.labels,
            id: s.id,
            state: state(&s.proto),
        })
    }

    fn fits(&self, s: &Subject<'_>) -> bool {
        let [orig, reply] = &s.tuples;
        let zone = |d| s.zone.id_for(d);
        let (snat, dnat) = translated(s);
        is(self.family, orig.family())
            && is(self.proto, orig.protonum())
            && self.original.fits(orig, zone(Direction::Original))
            && self.reply.fits(reply, zone(Direction::Reply))
            && self.mark.is_none_or(|m| m.fits(s.mark))
            && self.status.is_none_or(|m| m.fits(s.status))
            && is(self.zone, s.zone.id)
            && is(self.id, s.id)
            && self
                .labels
                .is_none_or(|want| want.iter().zip(s.labels).all(|(w, h)| h & w == *w))
            && self
                .state
                .as_deref()
                .is_none_or(|w| s.state.is_some_and(|h| h.eq_ignore_ascii_case(w)))
            && (!self.src_nat || snat)
            && (!self.dst_nat || dnat)
            && (!self.any_nat || snat || dnat)
    }

    /// The filter that a dump or flush request carries. A part of a tuple counts if `CTA_FILTER` says so.
    #[must_use]
    pub fn of_request(family: Option<Family>, r: &Record) -> Self {
        let flags = r.filter.unwrap_or([0; 2]);
        let side = |i: usize| {
            let Some(t) = r.tuples[i] else {
                return TupleFilter::default();
            };
            let has = |bit: u32| flags[i] >> bit & 1 != 0;
            let whole = |a: IpAddr| Prefix {
                addr: a,
                bits: if a.is_ipv4() { 32 } else { 128 },
            };
            TupleFilter {
                src: has(0).then(|| whole(t.src())),
                dst: has(1).then(|| whole(t.dst())),
                zone: has(2).then_some(r.tuple_zones[i]).flatten(),
                src_l4: (has(4) || has(8) || has(11)).then_some(t.src_l4()),
                dst_l4: has(5).then_some(t.dst_l4()),
                icmp_type: (has(6) || has(9)).then_some(t.icmp_type()),
                icmp_code: (has(7) || has(10)).then_some(t.icmp_code()),
            }
        };
        let proto = (0..2)
            .find(|i| flags[*i] >> 3 & 1 != 0)
            .and_then(|i| r.tuples[i].map(|t| t.protonum()));
        Self {
            family,
            proto,
            original: side(0),
            reply: side(1),
            mark: r.mark.map(|value| Masked {
                value,
                mask: r.mark_mask.unwrap_or(u32::MAX),
            }),
            status: r.status.map(|value| Masked {
                value,
                mask: r.status_mask.unwrap_or(value),
            }),
            zone: r.zone,
            ..Self::default()
        }
    }
}

fn state(p: &ProtoInfo) -> Option<&'static str> {
    match p {
        ProtoInfo::Tcp { state, .. } | ProtoInfo::Sctp { state, .. } => Some(state),
        ProtoInfo::Gre { .. } | ProtoInfo::None => None,
    }
}

/// Were source and destination translated to something else?
fn translated(s: &Subject<'_>) -> (bool, bool) {
    let [orig, reply] = &s.tuples;
    let ports = !matches!(orig.protonum(), ipproto::ICMP | ipproto::ICMPV6);
    let src = orig.src() != reply.dst() || (ports && orig.src_l4() != reply.dst_l4());
    let dst = orig.dst() != reply.src() || (ports && orig.dst_l4() != reply.src_l4());
    (
        s.status & status::SRC_NAT_DONE != 0 && src,
        s.status & status::DST_NAT_DONE != 0 && dst,
    )
}

/// Why words are no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// An option that is not known.
    Option(String),
    /// An option without its value.
    NoValue(String),
    /// A value that means nothing.
    Value(String),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(o) => write!(f, "unknown option `{o}`"),
            Self::NoValue(o) => write!(f, "`{o}` lacks its value"),
            Self::Value(v) => write!(f, "`{v}` is not a valid value"),
        }
    }
}

impl std::error::Error for FilterError {}

/// A protocol by name or number.
///
/// # Errors
/// Neither.
pub fn protocol(word: &str) -> Result<u8, FilterError> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "icmp" => ipproto::ICMP,
        "tcp" => ipproto::TCP,
        "udp" => ipproto::UDP,
        "dccp" => 33,
        "gre" => ipproto::GRE,
        "icmpv6" | "ipv6-icmp" => ipproto::ICMPV6,
        "sctp" => ipproto::SCTP,
        "udplite" => ipproto::UDPLITE,
        other => other
            .parse()
            .map_err(|_| FilterError::Value(word.to_owned()))?,
    })
}

/// A number, decimal or hexadecimal, and after a slash the bits that count.
///
/// # Errors
/// Something else.
pub fn masked(word: &str) -> Result<Masked, FilterError> {
    let number = |w: &str| {
        let n = w
            .strip_prefix("0x")
            .map_or_else(|| w.parse().ok(), |h| u32::from_str_radix(h, 16).ok());
        n.ok_or_else(|| FilterError::Value(word.to_owned()))
    };
    let (value, mask) = match word.split_once('/') {
        Some((v, m)) => (number(v)?, number(m)?),
        None => (number(word)?, u32::MAX),
    };
    Ok(Masked { value, mask })
}

/// Status bits by name, with commas between; `UNSET` asks for connections with neither an answer nor assurance.
///
/// # Errors
/// A name that is not known.
pub fn status_bits(word: &str) -> Result<Masked, FilterError> {
    let mut all = Masked { value: 0, mask: 0 };
    for name in word.split(',') {
        let (value, mask) = match name.to_ascii_uppercase().as_str() {
            "ASSURED" => (status::ASSURED, status::ASSURED),
            "SEEN_REPLY" => (status::SEEN_REPLY, status::SEEN_REPLY),
            "UNREPLIED" => (0, status::SEEN_REPLY),
            "EXPECTED" => (status::EXPECTED, status::EXPECTED),
            "FIXED_TIMEOUT" => (status::FIXED_TIMEOUT, status::FIXED_TIMEOUT),
            "OFFLOAD" => (status::OFFLOAD, status::OFFLOAD),
            "HW_OFFLOAD" => (status::HW_OFFLOAD, status::HW_OFFLOAD),
            "UNSET" => (0, status::SEEN_REPLY | status::ASSURED),
            _ => return Err(FilterError::Value(name.to_owned())),
        };
        all.value |= value;
        all.mask |= mask;
    }
    Ok(all)
}

/// Label bits by number, with commas between.
///
/// # Errors
/// Something that is no number below 128.
pub fn label_bits(word: &str) -> Result<[u32; 4], FilterError> {
    let mut labels = [0; 4];
    for n in word.split(',') {
        let bit: usize = number(n)?;
        let word = labels
            .get_mut(bit / 32)
            .ok_or_else(|| FilterError::Value(n.to_owned()))?;
        *word |= 1 << (bit % 32);
    }
    Ok(labels)
}

fn number<T: FromStr>(word: &str) -> Result<T, FilterError> {
    word.parse()
        .map_err(|_| FilterError::Value(word.to_owned()))
}

impl Filter {
    /// Adds one option of conntrack(8); `value` is asked for its value if it has one. False: the option is not one of a filter.
    ///
    /// # Errors
    /// A value that is missing or wrong.
    pub fn option<'a>(
        &mut self,
        option: &str,
        value: &mut dyn FnMut() -> Option<&'a str>,
    ) -> Result<bool, FilterError> {
        let mut value = || value().ok_or_else(|| FilterError::NoValue(option.to_owned()));
        let (o, r) = (&mut self.original, &mut self.reply);
        match option {
            "-p" | "--proto" | "--protonum" => self.proto = Some(protocol(value()?)?),
            "-f" | "--family" => {
                self.family = Some(match value()? {
                    "ipv4" => Family::Ipv4,
                    "ipv6" => Family::Ipv6,
                    other => return Err(FilterError::Value(other.to_owned())),
                });
            }
            "-s" | "--src" | "--orig-src" => o.src = Some(value()?.parse()?),
            "-d" | "--dst" | "--orig-dst" => o.dst = Some(value()?.parse()?),
            "-r" | "--reply-src" => r.src = Some(value()?.parse()?),
            "-q" | "--reply-dst" => r.dst = Some(value()?.parse()?),
            "--sport" | "--orig-port-src" => o.src_l4 = Some(number(value()?)?),
            "--dport" | "--orig-port-dst" => o.dst_l4 = Some(number(value()?)?),
            "--reply-port-src" => r.src_l4 = Some(number(value()?)?),
            "--reply-port-dst" => r.dst_l4 = Some(number(value()?)?),
            "--icmp-id" => o.src_l4 = Some(number(value()?)?),
            "--icmp-type" => o.icmp_type = Some(number(value()?)?),
            "--icmp-code" => o.icmp_code = Some(number(value()?)?),
            "--srckey" => o.src_l4 = Some(masked(value()?)?.value as u16),
            "--dstkey" => o.dst_l4 = Some(masked(value()?)?.value as u16),
            "-m" | "--mark" => self.mark = Some(masked(value()?)?),
            "-l" | "--label" => self.labels = Some(label_bits(value()?)?),
            "-u" | "--status" => self.status = Some(status_bits(value()?)?),
            "-w" | "--zone" => self.zone = Some(number(value()?)?),
            "--orig-zone" => o.zone = Some(number(value()?)?),
            "--reply-zone" => r.zone = Some(number(value()?)?),
            "--state" => self.state = Some(value()?.to_ascii_uppercase()),
            "--id" => self.id = Some(number(value()?)?),
            "-n" | "--src-nat" => self.src_nat = true,
            "-g" | "--dst-nat" => self.dst_nat = true,
            "-j" | "--any-nat" => self.any_nat = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads a filter from the words of a command line. NAT options take no address here.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, FilterError> {
        let mut f = Self::default();
        let mut words = words.into_iter();
        while let Some(option) = words.next() {
            if !f.option(option, &mut || words.next())? {
                return Err(FilterError::Option(option.to_owned()));
            }
        }
        Ok(f)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(s: &str) -> Result<Self, FilterError> {
        Self::from_words(s.split_whitespace())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let t = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 9], ipproto::TCP, 40000, 443);
        Snapshot {
            id: 77,
            tuples: [
                t,
                Tuple::v4([192, 0, 2, 9], [203, 0, 113, 1], ipproto::TCP, 443, 1024),
            ],
            zone: Zone::both(5),
            status: status::SEEN_REPLY | status::ASSURED | status::SRC_NAT | status::SRC_NAT_DONE,
            timeout: 9,
            proto: ProtoInfo::Tcp {
                state: "ESTABLISHED",
                wscale: [0; 2],
                flags: [0; 2],
            },
            counters: None,
            timestamps: None,
            mark: 0x12,
            labels: [1 << 3, 0, 0, 0],
            helper: None,
            master: None,
            seqadj: None,
            uses: 2,
        }
    }

    #[test]
    fn every_option_takes_and_refuses() {
        let s = snapshot();
        for fits in [
            "",
            "-p tcp",
            "-p 6 -f ipv4",
            "-s 10.0.0.0/8",
            "-s 10.0.0.1 -d 192.0.2.0/255.255.255.0",
            "-r 192.0.2.9 -q 203.0.113.1",
            "--sport 40000 --dport 443",
            "--reply-port-src 443 --reply-port-dst 1024",
            "-m 18",
            "-m 0x10/0xf0",
            "-l 3",
            "-u ASSURED,SEEN_REPLY",
            "-w 5 --orig-zone 5 --reply-zone 5",
            "--state established",
            "--id 77",
            "-n",
            "-j",
        ] {
            let f: Filter = fits.parse().expect(fits);
            assert!(f.matches_snapshot(&s), "{fits}");
        }
        for differs in [
            "-p udp",
            "-f ipv6",
            "-s 11.0.0.0/8",
            "-s ::/0",
            "-d 10.0.0.1",
            "-r 10.0.0.1",
            "-q 10.0.0.1",
            "--sport 1",
            "--dport 1",
            "--reply-port-src 1",
            "--reply-port-dst 443",
            "-m 1",
            "-m 0x20/0xf0",
            "-l 3,4",
            "-l 127",
            "-u UNREPLIED",
            "-u UNSET",
            "-u EXPECTED",
            "-w 0",
            "--orig-zone 1",
            "--reply-zone 1",
            "--state SYN_SENT",
            "--id 78",
            "-g",
            "-p tcp --dport 80",
        ] {
            let f: Filter = differs.parse().expect(differs);
            assert!(!f.matches_snapshot(&s), "{differs}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in [
            "-p",
            "-p nonsense",
            "-s 10.0.0.0/33",
            "-s 10.0.0.0/255.0.255.0",
            "-s ten",
            "--dport 65536",
            "-m 1/x",
            "-l 128",
            "-u WRONG",
            "-w -1",
            "--frobnicate 1",
        ] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn requests_compare_what_their_flags_say() {
        let s = snapshot();
        let mut r = Record {
            tuples: [Some(s.tuples[0]), None],
            filter: Some([0b11_1011, 0]),
            ..Record::default()
        };
        assert!(Filter::of_request(None, &r).matches_snapshot(&s));
        let other = Tuple::v4([10, 0, 0, 2], [192, 0, 2, 9], ipproto::TCP, 40000, 443);
        r.tuples[0] = Some(other);
        assert!(!Filter::of_request(None, &r).matches_snapshot(&s));
        r.filter = Some([0b11_1010, 0]);
        assert!(Filter::of_request(None, &r).matches_snapshot(&s));
        assert!(!Filter::of_request(Some(Family::Ipv6), &r).matches_snapshot(&s));
        // A status without a mask means those bits.
        r.status = Some(status::ASSURED);
        assert!(Filter::of_request(None, &r).matches_snapshot(&s));
        r.status_mask = Some(u32::MAX);
        assert!(!Filter::of_request(None, &r).matches_snapshot(&s));
    }
}
