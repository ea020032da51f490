//! The knobs of one namespace, by their kernel names (`net.netfilter.*`). Each is a number on its own, read and written Relaxed.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// Why a knob was not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlError {
    /// No such name.
    Unknown(String),
    /// Not a number in the knob's range.
    Invalid {
        /// The knob.
        name: &'static str,
        /// What was to be set.
        value: String,
    },
}

impl fmt::Display for SysctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(n) => write!(f, "unknown sysctl {n}"),
            Self::Invalid { name, value } => write!(f, "{value:?} is not a value for {name}"),
        }
    }
}

impl std::error::Error for SysctlError {}

macro_rules! sysctls {
    ($($var:ident $name:literal $default:literal ..= $max:expr, $doc:literal;)*) => {
        /// A knob. Timeouts are in seconds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Sysctl { $(#[doc = $doc] $var,)* }

        impl Sysctl {
            /// Every knob.
            pub const ALL: &'static [Sysctl] = &[$(Sysctl::$var,)*];

            /// The kernel's name, without `net.netfilter.`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$var => concat!("nf_conntrack_", $name),)* }
            }

            /// Value in a fresh namespace.
            #[must_use]
            pub const fn default_value(self) -> u32 {
                match self { $(Self::$var => $default,)* }
            }

            const fn max(self) -> u32 {
                match self { $(Self::$var => $max,)* }
            }
        }
    };
}

/// Timeouts are kept in ticks by the kernel, in a signed `int`.
const T: u32 = i32::MAX as u32;

sysctls! {
    Acct "acct" 0..=1, "Count packets and bytes of new connections.";
    Checksum "checksum" 1..=1, "Verify transport checksums at PRE_ROUTING.";
    Events "events" 2..=2, "0 no events, 1 always, 2 when someone listens.";
    LogInvalid "log_invalid" 0..=255, "Protocol whose invalid packets are logged, 255 = all.";
    Timestamp "timestamp" 0..=1, "Keep start and stop times of new connections.";
    GenericTimeout "generic_timeout" 600..=T, "Protocols without a tracker.";
    IcmpTimeout "icmp_timeout" 30..=T, "ICMP queries.";
    Icmpv6Timeout "icmpv6_timeout" 30..=T, "ICMPv6 queries.";
    UdpTimeout "udp_timeout" 30..=T, "UDP, unanswered or short.";
    UdpTimeoutStream "udp_timeout_stream" 120..=T, "UDP streams.";
    GreTimeout "gre_timeout" 30..=T, "GRE, unanswered.";
    GreTimeoutStream "gre_timeout_stream" 180..=T, "GRE, answered.";
    TcpTimeoutSynSent "tcp_timeout_syn_sent" 120..=T, "TCP, SYN seen.";
    TcpTimeoutSynRecv "tcp_timeout_syn_recv" 60..=T, "TCP, SYN-ACK seen.";
    TcpTimeoutEstablished "tcp_timeout_established" 432000..=T, "TCP, established.";
    TcpTimeoutFinWait "tcp_timeout_fin_wait" 120..=T, "TCP, first FIN seen.";
    TcpTimeoutCloseWait "tcp_timeout_close_wait" 60..=T, "TCP, first FIN acknowledged.";
    TcpTimeoutLastAck "tcp_timeout_last_ack" 30..=T, "TCP, both FINs seen.";
    TcpTimeoutTimeWait "tcp_timeout_time_wait" 120..=T, "TCP, last FIN acknowledged.";
    TcpTimeoutClose "tcp_timeout_close" 10..=T, "TCP, reset.";
    TcpTimeoutMaxRetrans "tcp_timeout_max_retrans" 300..=T, "TCP, after too many retransmissions or with a closed window.";
    TcpTimeoutUnacknowledged "tcp_timeout_unacknowledged" 300..=T, "TCP, with data not acknowledged.";
    TcpLoose "tcp_loose" 1..=1, "Pick up TCP connections in the middle.";
    TcpBeLiberal "tcp_be_liberal" 0..=1, "Out-of-window segments are not invalid (except RST).";
    TcpIgnoreInvalidRst "tcp_ignore_invalid_rst" 0..=1, "RST below the acknowledged sequence is not invalid.";
    TcpMaxRetrans "tcp_max_retrans" 3..=255, "Retransmissions until the shorter timeout applies.";
    SctpTimeoutClosed "sctp_timeout_closed" 10..=T, "SCTP, CLOSED.";
    SctpTimeoutCookieWait "sctp_timeout_cookie_wait" 3..=T, "SCTP, COOKIE_WAIT.";
    SctpTimeoutCookieEchoed "sctp_timeout_cookie_echoed" 3..=T, "SCTP, COOKIE_ECHOED.";
    SctpTimeoutEstablished "sctp_timeout_established" 210..=T, "SCTP, ESTABLISHED.";
    SctpTimeoutShutdownSent "sctp_timeout_shutdown_sent" 3..=T, "SCTP, SHUTDOWN_SENT.";
    SctpTimeoutShutdownRecd "sctp_timeout_shutdown_recd" 3..=T, "SCTP, SHUTDOWN_RECD.";
    SctpTimeoutShutdownAckSent "sctp_timeout_shutdown_ack_sent" 3..=T, "SCTP, SHUTDOWN_ACK_SENT.";
    SctpTimeoutHeartbeatSent "sctp_timeout_heartbeat_sent" 30..=T, "SCTP, HEARTBEAT_SENT.";
    Frag6Timeout "frag6_timeout" 60..=T, "Seconds until an incomplete IPv6 datagram is given up.";
    Frag6HighThresh "frag6_high_thresh" 4194304..=u32::MAX, "Bytes that waiting IPv6 fragments may use.";
    Frag6LowThresh "frag6_low_thresh" 3145728..=u32::MAX, "Kept for its name; the kernel ignores it too.";
    ExpectMax "expect_max" 4096..=u32::MAX, "Most expectations.";
}

/// The values of all knobs.
#[derive(Debug)]
pub struct Sysctls([AtomicU32; Sysctl::ALL.len()]);

impl Default for Sysctls {
    fn default() -> Self {
        Self(std::array::from_fn(|i| {
            AtomicU32::new(Sysctl::ALL[i].default_value())
        }))
    }
}

impl Sysctls {
    /// The value.
    #[must_use]
    pub fn get(&self, s: Sysctl) -> u32 {
        self.0[s as usize].load(Ordering::Relaxed)
    }

    /// Sets a value; packets seen from now on obey it.
    ///
    /// # Errors
    /// [`SysctlError::Invalid`] when it is out of range.
    pub fn set(&self, s: Sysctl, value: u32) -> Result<(), SysctlError> {
        if value > s.max() {
            return Err(SysctlError::Invalid {
                name: s.name(),
                value: value.to_string(),
            });
        }
        self.0[s as usize].store(value, Ordering::Relaxed);
        Ok(())
    }

    /// Finds a knob by name, with or without `net.netfilter.` before it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Sysctl> {
        let name = name.strip_prefix("net.netfilter.").unwrap_or(name);
        Sysctl::ALL.iter().copied().find(|s| s.name() == name)
    }
}
