//! Protocol trackers.
//!
//! Each gets the packet, its transport header's offset and the entry, and says what becomes of the packet. What concerns the table (killing an
//! entry and looking up again) is left to the tracker.

use crate::checksum;
use crate::clock::Jiffies;
use crate::conn::{Conn, EXT_TIMEOUT};
use crate::ctnetlink::ProtoRecord;
use crate::net::Net;
use crate::packet::Hook;
use crate::parse;
use crate::policy::TimeoutPolicy;
use crate::reason::{Reason, What};
use crate::snapshot::ProtoInfo;
use crate::status::{self, CtInfo};
use crate::sysctl::Sysctl;
use crate::tuple::{Family, ipproto};

pub(crate) mod gre;
pub(crate) mod icmp;
pub(crate) mod sctp;
pub(crate) mod tcp;
pub(crate) mod udp;

/// A connection's protocol state, behind the entry's lock.
#[derive(Debug, Default)]
pub(crate) enum Proto {
    /// Nothing to remember.
    #[default]
    None,
    /// Windows and state.
    Tcp(tcp::Tcp),
    /// Tags and state.
    Sctp(sctp::Sctp),
    /// Timeouts: unanswered, answered.
    Gre([Jiffies; 2]),
}

impl Proto {
    pub(crate) fn info(&self) -> ProtoInfo {
        match self {
            Self::None => ProtoInfo::None,
            Self::Tcp(t) => t.info(),
            Self::Sctp(s) => s.info(),
            Self::Gre([t, s]) => ProtoInfo::Gre {
                timeout: t.whole_secs(),
                stream_timeout: s.whole_secs(),
            },
        }
    }

    /// Takes over what the control plane says of a connection of protocol `protonum`. False: it says nonsense.
    pub(crate) fn set(&mut self, protonum: u8, r: &ProtoRecord) -> bool {
        match (r, protonum) {
            (
                ProtoRecord::Tcp {
                    state,
                    wscale,
                    flags,
                },
                ipproto::TCP,
            ) => {
                if !matches!(self, Self::Tcp(_)) {
                    *self = Self::Tcp(tcp::Tcp::default());
                }
                let Self::Tcp(t) = self else { return false };
                t.set(*state, *wscale, *flags)
            }
            (ProtoRecord::Sctp { state, vtag }, ipproto::SCTP) => {
                if !matches!(self, Self::Sctp(_)) {
                    *self = Self::Sctp(sctp::Sctp::default());
                }
                let Self::Sctp(s) = self else { return false };
                s.set(*state, *vtag)
            }
            _ => false,
        }
    }

    /// An established TCP connection: windows are not checked any more (`nf_ct_set_tcp_be_liberal`).
    pub(crate) fn be_liberal(&mut self) {
        if let Self::Tcp(t) = self {
            t.be_liberal();
        }
    }

    /// Windows are to be learnt anew (`nf_ct_tcp_fixup`).
    pub(crate) fn forget_windows(&mut self) {
        if let Self::Tcp(t) = self {
            t.forget_windows();
        }
    }

    /// May an assured entry in this state be evicted when the table is full? (`can_early_drop`)
    pub(crate) fn can_early_drop(&self) -> bool {
        match self {
            Self::Tcp(t) => t.is_closing(),
            Self::Sctp(s) => s.is_closing(),
            _ => false,
        }
    }
}

/// May entries of this protocol survive a clash (`allow_clash`)?
pub(crate) fn allows_clash(protonum: u8) -> bool {
    matches!(protonum, ipproto::UDP | ipproto::UDPLITE | ipproto::GRE)
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It belongs to the entry.
    Accept,
    /// It does not (`-NF_ACCEPT`).
    Invalid,
    /// Kill the entry; if that worked look up again (`-NF_REPEAT`), else drop the packet.
    Reopen,
    /// Count the packet and kill the entry; the packet belongs to it.
    KillAcct,
}

/// A packet as protocol trackers see it.
pub(crate) struct Ctx<'a> {
    pub(crate) net: &'a Net,
    pub(crate) data: &'a [u8],
    pub(crate) family: Family,
    pub(crate) protonum: u8,
    /// Offset of the transport header.
    pub(crate) l4: usize,
    pub(crate) now: Jiffies,
    pub(crate) hook: Hook,
    /// The transport checksum needs no check.
    pub(crate) checksum_ok: bool,
    pub(crate) reasons: &'a mut [Option<Reason>; 2],
}

impl<'a> Ctx<'a> {
    /// The transport header and all that follows.
    pub(crate) fn l4(&self) -> &'a [u8] {
        self.data.get(self.l4..).unwrap_or(&[])
    }

    /// Notes why, for whoever wants to know.
    pub(crate) fn log(&mut self, what: What) {
        let reason = Reason {
            protonum: self.protonum,
            what,
        };
        match self.reasons {
            [first @ None, _] => *first = Some(reason),
            [_, second] => *second = Some(reason),
        }
    }

    /// As `log`, for a packet that is invalid.
    pub(crate) fn invalid(&mut self, what: What) -> Outcome {
        self.log(what);
        Outcome::Invalid
    }

    pub(crate) fn knob(&self, s: Sysctl) -> u32 {
        self.net.sysctl.get(s)
    }

    /// The connection's own timeout, else the namespace's.
    pub(crate) fn timeout(&self, policy: Option<&TimeoutPolicy>, s: Sysctl) -> Jiffies {
        Jiffies::secs(
            policy
                .and_then(|p| p.get(s))
                .unwrap_or_else(|| self.knob(s)),
        )
    }

    /// As [`timeout`](Self::timeout), without the entry's lock where the connection has none of its own.
    pub(crate) fn timeout_of<U>(&self, c: &Conn<U>, s: Sysctl) -> Jiffies {
        if c.has_ext(EXT_TIMEOUT) {
            self.timeout(c.inner().policy.as_deref(), s)
        } else {
            self.timeout(None, s)
        }
    }

    /// Are checksums to be verified here?
    pub(crate) fn wants_checksum(&self) -> bool {
        self.hook == Hook::PreRouting && !self.checksum_ok && self.knob(Sysctl::Checksum) != 0
    }

    /// Does the checksum over the first `covered` bytes of the transport part hold? The pseudo header tells `pseudo_proto` and the whole length.
    pub(crate) fn checksum_holds(&self, pseudo_proto: Option<u8>, covered: usize) -> bool {
        let l4 = self.l4();
        let pseudo = match (pseudo_proto, parse::outer_addrs(self.data, self.family)) {
            (Some(p), Some(t)) => checksum::pseudo(t.src(), t.dst(), p, l4.len() as u32),
            (None, _) => 0,
            (Some(_), None) => return false,
        };
        checksum::fold(checksum::sum(&l4[..covered.min(l4.len())], pseudo)) == 0xffff
    }

    /// Moves the deadline and counts the packet (`nf_ct_refresh_acct`). While the entry is not confirmed its deadline is a span.
    pub(crate) fn refresh<U>(&self, c: &Conn<U>, info: CtInfo, span: Jiffies) {
        let st = c.status();
        if st & status::FIXED_TIMEOUT == 0 {
            c.set_deadline(if st & status::CONFIRMED != 0 {
                self.now.plus(span)
            } else {
                span
            });
        }
        self.account(c, info);
    }

    /// Counts the packet.
    pub(crate) fn account<U>(&self, c: &Conn<U>, info: CtInfo) {
        c.account(info.dir(), 1, self.data.len() as u64);
    }
}

/// Shows a packet to its protocol (`nf_conntrack_handle_packet`).
pub(crate) fn packet<U>(cx: &mut Ctx<'_>, c: &Conn<U>, info: CtInfo) -> Outcome {
    match cx.protonum {
        ipproto::TCP => tcp::packet(cx, c, info),
        ipproto::UDP => udp::packet(cx, c, info),
        ipproto::UDPLITE => udp::lite_packet(cx, c, info),
        ipproto::ICMP => icmp::packet(cx, c, info),
        ipproto::ICMPV6 => icmp::packet6(cx, c, info),
        ipproto::SCTP => sctp::packet(cx, c, info),
        ipproto::GRE => gre::packet(cx, c, info),
        _ => {
            simple(cx, c, info, Sysctl::GenericTimeout);
            Outcome::Accept
        }
    }
}

/// One timeout for everything.
fn simple<U>(cx: &Ctx<'_>, c: &Conn<U>, info: CtInfo, s: Sysctl) {
    cx.refresh(c, info, cx.timeout_of(c, s));
}
