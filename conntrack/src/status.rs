//! Status bits of an entry (`enum ip_conntrack_status`) and the state a packet is in (`enum ip_conntrack_info`).

use crate::tuple::Direction;

/// Created by an expectation.
pub const EXPECTED: u32 = 1;
/// Packets were seen in both directions.
pub const SEEN_REPLY: u32 = 1 << 1;
/// Never evicted early.
pub const ASSURED: u32 = 1 << 2;
/// Is, or was, in the table.
pub const CONFIRMED: u32 = 1 << 3;
/// The source was translated.
pub const SRC_NAT: u32 = 1 << 4;
/// The destination was translated.
pub const DST_NAT: u32 = 1 << 5;
/// TCP sequence numbers are adjusted.
pub const SEQ_ADJUST: u32 = 1 << 6;
/// The decision about source translation was made.
pub const SRC_NAT_DONE: u32 = 1 << 7;
/// The decision about destination translation was made.
pub const DST_NAT_DONE: u32 = 1 << 8;
/// Someone won the right to delete this entry.
pub const DYING: u32 = 1 << 9;
/// The timeout is not refreshed.
pub const FIXED_TIMEOUT: u32 = 1 << 10;
/// Not a connection but a template (never seen on entries of this library, whose templates are a type of their own).
pub const TEMPLATE: u32 = 1 << 11;
/// Linked in the reply direction only, after a clash.
pub const NAT_CLASH: u32 = 1 << 12;
/// A helper was attached explicitly.
pub const HELPER: u32 = 1 << 13;
/// In a flow table.
pub const OFFLOAD: u32 = 1 << 14;
/// In a flow table of hardware.
pub const HW_OFFLOAD: u32 = 1 << 15;

/// What a packet is to its connection. The numbers are the kernel's and fit into three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CtInfo {
    /// Part of an established connection, original direction.
    Established = 0,
    /// Related to a connection (an ICMP error, or the first packet of an expected connection), original direction.
    Related = 1,
    /// Starts a connection, or repeats the start of an unanswered one.
    New = 2,
    /// Part of an established connection, reply direction.
    EstablishedReply = 3,
    /// Related, reply direction.
    RelatedReply = 4,
    /// Deliberately not tracked; there is no entry.
    Untracked = 7,
}

impl CtInfo {
    /// From the three tag bits; numbers that mean nothing give `None`.
    #[must_use]
    pub const fn from_bits(b: usize) -> Option<Self> {
        Some(match b & 7 {
            0 => Self::Established,
            1 => Self::Related,
            2 => Self::New,
            3 => Self::EstablishedReply,
            4 => Self::RelatedReply,
            7 => Self::Untracked,
            _ => return None,
        })
    }

    /// The direction (`CTINFO2DIR`).
    #[must_use]
    pub const fn dir(self) -> Direction {
        match self {
            Self::EstablishedReply | Self::RelatedReply => Direction::Reply,
            _ => Direction::Original,
        }
    }
}

/// What rules match on (`ct state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketState {
    /// No entry belongs to the packet: it was never tracked, or tracking found it faulty.
    Invalid,
    /// Starts a connection.
    New,
    /// Belongs to a connection.
    Established,
    /// Belongs to something that another connection announced or caused.
    Related,
    /// Deliberately not tracked.
    Untracked,
}

impl PacketState {
    /// Lower-case name, as rule sets write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::New => "new",
            Self::Established => "established",
            Self::Related => "related",
            Self::Untracked => "untracked",
        }
    }
}
