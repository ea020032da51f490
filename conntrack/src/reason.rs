//! Why a packet was not followed, in the kernel's words (`nf_ct_l4proto_log_invalid`).
//!
//! A [`Reason`] is a few plain numbers; it becomes text when it is displayed.

use std::fmt;
use std::net::IpAddr;

/// What the kernel would log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Protocol number in the message's prefix.
    pub protonum: u8,
    /// The rest.
    pub what: What,
}

/// The message behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A fixed text.
    Text(&'static str),
    /// This helper drops the packet, and why.
    Helper(&'static str, &'static str),
    /// TCP: this kind of segment is invalid, or ignored, in this state.
    TcpState {
        /// Kind of segment (`enum tcp_bit_set`).
        index: u8,
        /// Direction, 0 or 1.
        dir: u8,
        /// Ignored rather than invalid?
        ignored: bool,
        /// Name of the state.
        state: &'static str,
    },
    /// TCP: sequence number beyond the receiver's window; the bound.
    SeqOver(u32),
    /// TCP: acknowledges what was not seen; the bound.
    AckOver(u32),
    /// TCP: entirely acknowledged already; the bound.
    SeqUnder(u32),
    /// TCP: acknowledges something long gone; the bound.
    AckUnder(u32),
    /// TCP: a little beyond the window; how many bytes.
    Overshot(u32),
    /// TCP: the second out-of-window FIN or RST shortens the timeout (in ticks).
    LowerTimeout {
        /// Kind of segment.
        index: u8,
        /// Direction, 0 or 1.
        dir: u8,
        /// Kind of the earlier segment from the other side.
        last_index: u8,
        /// The new timeout in ticks.
        timeout: u32,
    },
    /// ICMP: the error is not addressed to whoever sent the quoted packet.
    OuterDaddr(IpAddr, IpAddr),
    /// SCTP: a chunk at an impossible place.
    SctpChunk {
        /// Its number in the packet.
        count: u32,
        /// Its type.
        kind: u8,
        /// Its length as the kernel prints it: not converted from network order.
        len: u16,
        /// 1 if a chunk that must stand alone was seen up to here.
        flag: u8,
    },
    /// SCTP: wrong verification tag, the expected one, the direction; tags as the kernel prints them, not converted from network order.
    SctpVtag(u32, u32, u8),
    /// SCTP: this chunk is invalid in this state.
    SctpState {
        /// The state's number.
        old: u8,
        /// Direction, 0 or 1.
        dir: u8,
        /// The chunk's type.
        kind: u8,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let What::Helper(helper, why) = self.what {
            return write!(f, "nf_ct_{helper}: dropping packet: {why}");
        }
        write!(f, "nf_ct_proto_{}: ", self.protonum)?;
        match self.what {
            What::Text(t) | What::Helper(_, t) => f.write_str(t),
            What::TcpState {
                index,
                dir,
                ignored,
                state,
            } => {
                let verb = if ignored { "ignored" } else { "invalid" };
                write!(
                    f,
                    "packet (index {index}) in dir {dir} {verb}, state {state}"
                )
            }
            What::SeqOver(b) => write!(
                f,
                "SEQ is over upper bound {b} (over the window of the receiver)"
            ),
            What::AckOver(b) => write!(f, "ACK is over upper bound {b} (ACKed data not seen yet)"),
            What::SeqUnder(b) => write!(
                f,
                "SEQ is under lower bound {b} (already ACKed data retransmitted)"
            ),
            What::AckUnder(b) => write!(
                f,
                "ignored ACK under lower bound {b} (possible overly delayed)"
            ),
            What::Overshot(n) => write!(f, "{n} bytes more than expected"),
            What::LowerTimeout {
                index,
                dir,
                last_index,
                timeout,
            } => {
                write!(
                    f,
                    "packet (index {index}, dir {dir}) response for index {last_index} lower timeout to {timeout}"
                )
            }
            What::OuterDaddr(outer, inner) => {
                write!(
                    f,
                    "outer daddr {} != inner {}",
                    crate::proc_fs::Addr(outer),
                    crate::proc_fs::Addr(inner)
                )
            }
            What::SctpChunk {
                count,
                kind,
                len,
                flag,
            } => {
                write!(
                    f,
                    "do_basic_checks failed. chunk num {count}, type {kind}, len {len} flag {flag}"
                )
            }
            What::SctpVtag(tag, expected, dir) => {
                write!(
                    f,
                    "verification tag check failed {tag:x} vs {expected:x} for dir {dir}"
                )
            }
            What::SctpState { old, dir, kind } => {
                write!(f, "Invalid, old_state {old}, dir {dir}, type {kind}")
            }
        }
    }
}
