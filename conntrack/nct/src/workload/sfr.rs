//! `sfr`: the application mix of a service provider's network, as the TRex traffic generator ships it (`avl.csv`, `sfr_full.py`).
//!
//! Each application has a rate, a number of packets and of bytes for each flow; here a flow is a connection and its packets are
//! those of both directions. TRex plays its templates with 10 ms between packets. TCP sends as many data packets for one
//! acknowledgement as it takes to reach the bytes with segments of at most 1,448 bytes.

use rand::RngExt;
use rand_distr::Exp1;

use super::Rng;
use super::addresses::Addresses;
use super::conn::{Close, Conn, MAX_PER_ACK, MILLISECOND, MSS, SECOND, Script};
use super::packet::{ETHERNET, IPV4, TCP, UDP};
use super::stream::Arrivals;

/// One kind of flow.
struct Template {
    /// Flows a second at the scale of the original file.
    rate: f64,
    /// Packets of a flow.
    packets: u32,
    /// Bytes of a flow with Ethernet headers.
    bytes: u32,
    tcp: bool,
}

const fn tcp(rate: f64, packets: u32, bytes: u32) -> Template {
    Template {
        rate,
        packets,
        bytes,
        tcp: true,
    }
}

const fn udp(rate: f64, packets: u32, bytes: u32) -> Template {
    Template {
        rate,
        packets,
        bytes,
        tcp: false,
    }
}

const MIX: &[Template] = &[
    tcp(102.0, 44, 38_182),     // http get
    tcp(102.0, 54, 48_900),     // http post
    tcp(33.0, 96, 92_387),      // https
    tcp(179.0, 37, 34_721),     // http browsing
    tcp(64.0, 43, 10_192),      // exchange
    tcp(1.2, 20, 5_763),        // pop
    tcp(1.2, 114, 102_429),     // pop
    tcp(1.2, 30, 15_870),       // pop
    tcp(20.0, 302, 58_547),     // oracle
    udp(0.7, 84, 97_484),       // rtp 160k
    udp(0.7, 1_244, 1_138_480), // rtp 160k
    udp(0.5, 108, 147_128),     // rtp 250k
    udp(0.5, 1_920, 1_767_018), // rtp 250k
    tcp(1.85, 22, 5_794),       // smtp
    tcp(1.85, 35, 18_624),      // smtp
    tcp(1.85, 110, 97_424),     // smtp
    tcp(3.0, 2_325, 2_551_177), // video call
    udp(7.4, 1_558, 123_704),   // voice
    tcp(11.0, 272, 86_729),     // citrix
    udp(498.0, 2, 178),         // dns
    udp(7.4, 7, 2_723),         // sip
    tcp(1.2, 20, 4_038),        // rtsp
];

/// Between two packets of a flow.
const GAP: f64 = 10.0 * MILLISECOND;
/// The longest connection (23 s) and the longest timeout after it.
const WARM_UP: f64 = 150.0;

impl Template {
    fn script(&self) -> Script {
        let bytes = |header: usize| {
            self.bytes
                .saturating_sub(self.packets * (ETHERNET + IPV4 + header) as u32)
        };
        if !self.tcp {
            // An odd packet (sip has 7) is left out.
            let payload = (bytes(UDP) / self.packets) as u16;
            return Script::Udp {
                exchanges: self.packets / 2,
                answered: true,
                payload,
            };
        }
        let middle = self.packets - 6;
        let data = |per_ack: u8| middle / (u32::from(per_ack) + 1) * u32::from(per_ack);
        let per_ack = (1..MAX_PER_ACK)
            .find(|&n| bytes(TCP) / data(n) <= u32::from(MSS))
            .unwrap_or(MAX_PER_ACK);
        Script::Tcp {
            groups: middle / (u32::from(per_ack) + 1),
            per_ack,
            segment: (bytes(TCP) / data(per_ack)).min(u32::from(MSS)) as u16,
            close: Close::Fin,
        }
    }

    fn seconds(&self) -> f64 {
        f64::from(self.packets) * GAP / SECOND
    }
}

/// Poisson arrivals of that mix.
#[derive(Debug)]
pub(crate) struct Sfr {
    interval: f64,
    clock: f64,
    addresses: Addresses,
}

impl Sfr {
    /// `entries` is the size of the table in the steady state.
    pub(crate) fn new(entries: u64, rng: &mut Rng) -> Sfr {
        // Entries at the original rates: sum of rate times life.
        let at_scale_1: f64 = MIX
            .iter()
            .map(|t| t.rate * (t.seconds() + t.script().linger(t.seconds())))
            .sum();
        let rate = total_rate() * entries as f64 / at_scale_1;
        Sfr {
            interval: SECOND / rate,
            clock: -WARM_UP * SECOND,
            addresses: Addresses::new(rng),
        }
    }
}

fn total_rate() -> f64 {
    MIX.iter().map(|t| t.rate).sum()
}

impl Arrivals for Sfr {
    fn next(&mut self, rng: &mut Rng) -> Option<(i64, Conn)> {
        loop {
            self.clock += self.interval * rng.sample::<f64, _>(Exp1);
            let mut at = rng.random::<f64>() * total_rate();
            let template = MIX
                .iter()
                .find(|t| {
                    at -= t.rate;
                    at < 0.0
                })
                .unwrap_or(&MIX[0]);
            let script = template.script();
            let ends = self.addresses.next(&script, false, rng);
            let life = 2.0 * template.seconds() + script.linger(template.seconds());
            if self.clock + (life + 1.0) * SECOND >= 0.0 {
                return Some((self.clock as i64, Conn::new(ends, script, GAP, GAP, rng)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_original() {
        let sum = |f: &dyn Fn(&Template) -> f64| MIX.iter().map(f).sum::<f64>();
        let flows = total_rate();
        let packets = sum(&|t| t.rate * f64::from(t.packets));
        let bytes = sum(&|t| t.rate * f64::from(t.bytes));
        let concurrent = sum(&|t| t.rate * t.seconds());
        let udp = sum(&|t| if t.tcp { 0.0 } else { t.rate });
        assert!((flows - 1039.5).abs() < 0.1, "{flows}");
        assert!((packets / 53_596.0 - 1.0).abs() < 0.001, "{packets}");
        assert!((packets / flows - 51.6).abs() < 0.1);
        assert!((bytes / packets - 593.0).abs() < 1.0, "{}", bytes / packets);
        assert!((concurrent - 536.0).abs() < 1.0, "{concurrent}");
        assert!((udp / flows - 0.496).abs() < 0.001);
    }

    #[test]
    fn scripts_have_the_packets_and_bytes_of_their_templates() {
        for t in MIX {
            let script = t.script();
            let missing = i64::from(t.packets) - script.packets() as i64;
            // Whole groups only.
            assert!(
                (0..i64::from(MAX_PER_ACK)).contains(&missing),
                "{missing} of {}",
                t.packets
            );
            let payload = match script {
                Script::Tcp {
                    groups,
                    per_ack,
                    segment,
                    ..
                } => groups * u32::from(per_ack) * u32::from(segment),
                Script::Udp {
                    exchanges, payload, ..
                } => 2 * exchanges * u32::from(payload),
                _ => unreachable!(),
            };
            let headers =
                script.packets() as u32 * (ETHERNET + IPV4 + if t.tcp { TCP } else { UDP }) as u32;
            let error = f64::from(payload + headers) / f64::from(t.bytes) - 1.0;
            assert!(error.abs() < 0.16, "{error} of {} bytes", t.bytes);
        }
    }
}
