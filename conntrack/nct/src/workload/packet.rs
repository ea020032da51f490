//! Writing packets: IPv4 or IPv6 with TCP, UDP or ICMP echo, every length and checksum right.
//!
//! Payloads are all zero and are not stored (the *snap length* ends with the last header). Zeros add nothing to an Internet
//! checksum, so the checksum over headers and pseudo header alone is the one of the whole packet: append `wire_len - bytes.len()`
//! zeros and a checksum test passes.

/// Who sends: the one that opened the connection, or the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client = 0,
    Server = 1,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// Transport protocols that the workloads use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proto {
    Tcp,
    Udp,
    Icmp,
}

/// The two ends of a connection in 17 bytes. IPv6 addresses are a fixed prefix with the 32-bit address behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) client: u32,
    pub(crate) server: u32,
    /// For ICMP the identifier of the echo.
    pub(crate) client_port: u16,
    pub(crate) server_port: u16,
    pub(crate) v6: bool,
}

impl Ends {
    /// As receive-side scaling does it: both directions of a connection give the same number, and the high bits choose the thread.
    pub(crate) fn rss(&self) -> u32 {
        let a = (u64::from(self.client) << 16) | u64::from(self.client_port);
        let b = (u64::from(self.server) << 16) | u64::from(self.server_port);
        let key = mix(a.min(b)) ^ mix(a.max(b).wrapping_add(0x9e37_79b9_7f4a_7c15));
        (mix(key) >> 32) as u32
    }

    fn address(&self, side: Side) -> u32 {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    fn port(&self, side: Side) -> u16 {
        match side {
            Side::Client => self.client_port,
            Side::Server => self.server_port,
        }
    }
}

/// The finaliser of splitmix64: a bijection that looks random.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// What stands behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer4 {
    Tcp {
        flags: u8,
        seq: u32,
        ack: u32,
        window: u16,
        /// Value of the timestamp option, in milliseconds.
        stamp: u32,
    },
    Udp,
    /// Echo request from the client, echo reply from the server.
    Echo {
        seq: u16,
    },
}

/// One packet, before it is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from: Side,
    pub(crate) layer4: Layer4,
    /// Bytes of payload, all zero, not stored.
    pub(crate) payload: u16,
}

/// Header lengths in bytes.
pub(crate) const IPV4: usize = 20;
pub(crate) const IPV6: usize = 40;
/// TCP with NOP, NOP, timestamps: what an established connection between today's hosts sends.
pub(crate) const TCP: usize = 32;
/// TCP with the options of a SYN: MSS, SACK permitted, timestamps, NOP, window scale.
pub(crate) const TCP_SYN: usize = 40;
pub(crate) const UDP: usize = 8;
pub(crate) const ECHO: usize = 8;
/// Not stored; only some sources of figures count it.
pub(crate) const ETHERNET: usize = 14;

/// The window scale that both sides announce.
pub(crate) const WINDOW_SCALE: u8 = 7;

/// Appends the headers of `segment` to `out` and returns the length of the whole packet, payload included.
pub(crate) fn write(ends: &Ends, segment: &Segment, out: &mut Vec<u8>) -> u16 {
    let header4 = match segment.layer4 {
        Layer4::Tcp { flags, .. } if flags & SYN != 0 => TCP_SYN,
        Layer4::Tcp { .. } => TCP,
        Layer4::Udp => UDP,
        Layer4::Echo { .. } => ECHO,
    };
    let len4 = header4 + usize::from(segment.payload);
    let pseudo = if ends.v6 {
        write_ipv6(ends, segment, len4, out)
    } else {
        write_ipv4(ends, segment, len4, out)
    };
    let start4 = out.len();
    out.resize(start4 + header4, 0);
    let h = &mut out[start4..];
    let (src, dst) = (ends.port(segment.from), ends.port(segment.from.other()));
    let checksum_at = match segment.layer4 {
        Layer4::Tcp {
            flags,
            seq,
            ack,
            window,
            stamp,
        } => {
            put16(h, 0, src);
            put16(h, 2, dst);
            put32(h, 4, seq);
            put32(h, 8, ack);
            h[12] = (header4 as u8 / 4) << 4;
            h[13] = flags;
            put16(h, 14, window);
            if flags & SYN != 0 {
                let mss = if ends.v6 { 1440 } else { 1460 };
                h[20..24].copy_from_slice(&[2, 4, (mss >> 8) as u8, mss as u8]);
                h[24..28].copy_from_slice(&[4, 2, 8, 10]);
                put32(h, 28, stamp);
                h[36..40].copy_from_slice(&[1, 3, 3, WINDOW_SCALE]);
            } else {
                h[20..24].copy_from_slice(&[1, 1, 8, 10]);
                put32(h, 24, stamp);
            }
            16
        }
        Layer4::Udp => {
            put16(h, 0, src);
            put16(h, 2, dst);
            put16(h, 4, len4 as u16);
            6
        }
        Layer4::Echo { seq } => {
            h[0] = match (segment.from, ends.v6) {
                (Side::Client, false) => 8,
                (Side::Server, false) => 0,
                (Side::Client, true) => 128,
                (Side::Server, true) => 129,
            };
            put16(h, 4, ends.client_port);
            put16(h, 6, seq);
            2
        }
    };
    // ICMP for IPv4 is the one protocol here without a pseudo header.
    let initial = match (segment.layer4, ends.v6) {
        (Layer4::Echo { .. }, false) => 0,
        _ => pseudo,
    };
    let checksum = match (fold(initial + sum(h)), segment.layer4) {
        // In UDP a zero means that there is no checksum.
        (0, Layer4::Udp) => 0xffff,
        (c, _) => c,
    };
    put16(h, checksum_at, checksum);
    let ip = if ends.v6 { IPV6 } else { IPV4 };
    (ip + len4) as u16
}

fn write_ipv4(ends: &Ends, segment: &Segment, len4: usize, out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    out.resize(start + IPV4, 0);
    let h = &mut out[start..];
    h[0] = 0x45;
    put16(h, 2, (IPV4 + len4) as u16);
    h[6] = 0x40; // don't fragment
    h[8] = 64;
    h[9] = match segment.layer4 {
        Layer4::Tcp { .. } => 6,
        Layer4::Udp => 17,
        Layer4::Echo { .. } => 1,
    };
    put32(h, 12, ends.address(segment.from));
    put32(h, 16, ends.address(segment.from.other()));
    let checksum = fold(sum(h));
    put16(h, 10, checksum);
    sum(&h[12..20]) + u32::from(h[9]) + len4 as u32
}

fn write_ipv6(ends: &Ends, segment: &Segment, len4: usize, out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    out.resize(start + IPV6, 0);
    let h = &mut out[start..];
    h[0] = 0x60;
    put16(h, 4, len4 as u16);
    h[6] = match segment.layer4 {
        Layer4::Tcp { .. } => 6,
        Layer4::Udp => 17,
        Layer4::Echo { .. } => 58,
    };
    h[7] = 64;
    for (at, side) in [(8, segment.from), (24, segment.from.other())] {
        // 2001:db8::/32 is for documentation; the next 16 bits keep clients and servers apart.
        h[at..at + 4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        h[at + 5] = side as u8 + 1;
        put32(h, at + 12, ends.address(side));
    }
    sum(&h[8..40]) + u32::from(h[6]) + len4 as u32
}

fn put16(h: &mut [u8], at: usize, value: u16) {
    h[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn put32(h: &mut [u8], at: usize, value: u32) {
    h[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Sum of 16-bit words; all inputs here are far below the 128 KiB at which it could overflow.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let words: u32 = words
        .iter()
        .map(|w| u32::from(u16::from_be_bytes(*w)))
        .sum();
    words + rest.first().map_or(0, |&b| u32::from(b) << 8)
}

/// One's complement of the folded sum.
fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An independent check, over the whole packet with its payload of zeros, as a receiver would do it.
    pub(crate) fn verify(bytes: &[u8], wire_len: u16) {
        let mut whole = bytes.to_vec();
        assert!(whole.len() <= usize::from(wire_len));
        whole.resize(usize::from(wire_len), 0);
        let ones = |parts: &[&[u8]]| {
            let mut total: u64 = 0;
            for part in parts {
                for (i, &b) in part.iter().enumerate() {
                    total += u64::from(b) << if i % 2 == 0 { 8 } else { 0 };
                }
            }
            while total > 0xffff {
                total = (total & 0xffff) + (total >> 16);
            }
            total
        };
        let (proto, addresses, body) = match whole[0] >> 4 {
            4 => {
                assert_eq!(whole[0], 0x45);
                assert_eq!(u16::from_be_bytes([whole[2], whole[3]]), wire_len);
                assert_eq!(ones(&[&whole[..20]]), 0xffff, "IPv4 header checksum");
                (whole[9], whole[12..20].to_vec(), whole[20..].to_vec())
            }
            6 => {
                assert_eq!(u16::from_be_bytes([whole[4], whole[5]]), wire_len - 40);
                (whole[6], whole[8..40].to_vec(), whole[40..].to_vec())
            }
            other => panic!("IP version {other}"),
        };
        let pseudo = [0, proto, (body.len() >> 8) as u8, body.len() as u8];
        let got = match proto {
            1 => ones(&[&body]),
            _ => ones(&[&addresses, &pseudo, &body]),
        };
        assert_eq!(got, 0xffff, "checksum of protocol {proto}");
        if proto == 17 {
            assert_eq!(
                usize::from(u16::from_be_bytes([body[4], body[5]])),
                body.len()
            );
            assert_ne!([body[6], body[7]], [0, 0]);
        }
    }

    fn ends(v6: bool) -> Ends {
        Ends {
            client: 0x0a01_0203,
            server: 0xc612_0001,
            client_port: 40_000,
            server_port: 443,
            v6,
        }
    }

    #[test]
    fn lengths_and_checksums_hold_for_every_kind_of_packet() {
        for v6 in [false, true] {
            for from in [Side::Client, Side::Server] {
                for payload in [0, 1, 2, 99, 1448] {
                    for layer4 in [
                        Layer4::Udp,
                        Layer4::Echo { seq: 7 },
                        Layer4::Tcp {
                            flags: SYN,
                            seq: 1,
                            ack: 0,
                            window: 65_535,
                            stamp: 9,
                        },
                        Layer4::Tcp {
                            flags: ACK | PSH,
                            seq: u32::MAX,
                            ack: 12,
                            window: 1,
                            stamp: u32::MAX,
                        },
                    ] {
                        let mut out = Vec::new();
                        let segment = Segment {
                            from,
                            layer4,
                            payload,
                        };
                        let wire = write(&ends(v6), &segment, &mut out);
                        verify(&out, wire);
                        assert_eq!(usize::from(wire), out.len() + usize::from(payload));
                    }
                }
            }
        }
    }

    #[test]
    fn a_udp_checksum_is_never_written_as_zero() {
        // Walk the port until the sum folds to 0xffff, which must be sent as 0xffff and not as its complement.
        let all_ones = (0..=u16::MAX).any(|port| {
            let mut out = Vec::new();
            let ends = Ends {
                client_port: port,
                ..ends(false)
            };
            let segment = Segment {
                from: Side::Client,
                layer4: Layer4::Udp,
                payload: 0,
            };
            let wire = write(&ends, &segment, &mut out);
            verify(&out, wire);
            out[26..28] == [0xff, 0xff]
        });
        assert!(all_ones);
    }

    #[test]
    fn both_directions_share_one_rss_number_and_threads_get_equal_shares() {
        let mut high = 0;
        for i in 0..10_000u32 {
            let one = Ends {
                client: 0x0a00_0000 + i,
                ..ends(false)
            };
            let turned = Ends {
                client: one.server,
                server: one.client,
                client_port: one.server_port,
                server_port: one.client_port,
                v6: false,
            };
            assert_eq!(one.rss(), turned.rss());
            high += one.rss() >> 31;
        }
        assert!((4_700..5_300).contains(&high), "{high}");
    }
}
