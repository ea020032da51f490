//! `campus`: flow lengths and protocol mix of a campus's Internet edge.
//!
//! Source: P. Jurkiewicz, G. Rzym, P. Boryło, "Flow length and size distributions in campus Internet traffic", Computer
//! Communications 167 (2021), arXiv:1809.03486: 4.03 G NetFlow records of 30 days. The mixtures below are its fitted flow
//! lengths for TCP and UDP; a flow's length is `floor(x) + 1` packets.
//!
//! Those flows are **unidirectional**. Here two of them make a connection, and both have the same length (they are perfectly
//! rank-correlated), so each direction alone has exactly the published distribution. Some flows have no counterpart: scans and
//! lost queries. The paper does not say how many; [`has_counterpart`] is an assumption, and the share of unanswered connections is
//! reported with every result. A flow that has a counterpart is kept with probability 1/2, because its counterpart would be drawn
//! just as often.
//!
//! Assumptions, too: pace (log-normal gaps, median 50 ms, σ 1.5, at most 300 s / length, which is the active timeout of the
//! records), round trips (log-normal, median 20 ms, σ 0.8), one connection in five IPv6, 15 % of longer TCP connections closed by
//! RST.

use rand::RngExt;
use rand_distr::{Exp1, StandardNormal};

use super::Rng;
use super::addresses::Addresses;
use super::conn::{Close, Conn, MILLISECOND, MSS, SECOND, Script};
use super::stream::Arrivals;

/// One part of a mixture: its weight, and a uniform `[0, k)` or a log-normal `scale · exp(σ · N(0, 1))`.
enum Part {
    Uniform(f64, f64),
    LogNormal(f64, f64, f64),
}
use Part::{LogNormal as L, Uniform as U};

impl Part {
    fn weight(&self) -> f64 {
        match *self {
            U(weight, _) | L(weight, _, _) => weight,
        }
    }
}

/// Lengths of TCP flows in packets.
const TCP: &[Part] = &[
    U(0.058044, 1.0),
    U(0.310525, 2.0),
    U(0.055097, 3.0),
    U(0.047754, 4.0),
    U(0.005883, 5.0),
    U(0.125291, 6.0),
    L(0.206543, 0.5122, 7.954),
    L(0.121896, 0.7508, 21.742),
    L(0.052507, 1.1085, 115.97),
    L(0.016460, 1.9932, 845.91),
];

/// Lengths of UDP flows in packets.
const UDP: &[Part] = &[
    U(0.582734, 1.0),
    U(0.187226, 2.0),
    U(0.091471, 3.0),
    U(0.056224, 4.0),
    L(0.029448, 0.4895, 9.674),
    L(0.040228, 0.2603, 4.884),
    L(0.004723, 0.4494, 29.41),
    L(0.005631, 0.9247, 67.48),
    L(0.001812, 1.0498, 594.5),
    L(0.000321, 1.8548, 7892.5),
    L(0.000156, 1.1264, 19824.0),
    L(2.757e-5, 0.4013, 90370.0),
    L(1.49e-7, 0.5734, 12757029.0),
];

/// Shares of TCP and UDP in flows; the rest (3.06 %) is ICMP echo here, with the mean length that its share of packets gives:
/// 78.58 packets · 0.48 % / 3.06 %.
const TCP_SHARE: f64 = 0.5385;
const UDP_SHARE: f64 = 0.4309;
const OTHER_MEAN: f64 = 12.3;

/// Longest flow of a record in seconds.
const ACTIVE_TIMEOUT: f64 = 300.0;
/// The warm-up starts this long before measuring: the longest connection and the longest timeout after it, in seconds.
const WARM_UP: f64 = ACTIVE_TIMEOUT + 120.0;

fn length(mixture: &[Part], rng: &mut Rng) -> u32 {
    let mut at = rng.random::<f64>() * mixture.iter().map(Part::weight).sum::<f64>();
    let mut chosen = &mixture[0];
    for part in mixture {
        chosen = part;
        at -= part.weight();
        if at < 0.0 {
            break;
        }
    }
    let x = match *chosen {
        U(_, below) => rng.random::<f64>() * below,
        L(_, sigma, scale) => scale * (sigma * rng.sample::<f64, _>(StandardNormal)).exp(),
    };
    // 2^31 packets: far beyond what is ever sent, and ENDLESS is out of reach.
    x.min(f64::from(1u32 << 31)) as u32 + 1
}

/// A unidirectional flow as the paper counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Tcp(u32),
    Udp(u32),
    Other(u32),
}

fn flow(rng: &mut Rng) -> Flow {
    let kind = rng.random::<f64>();
    if kind < TCP_SHARE {
        Flow::Tcp(length(TCP, rng))
    } else if kind < TCP_SHARE + UDP_SHARE {
        Flow::Udp(length(UDP, rng))
    } else {
        // Geometric with the mean wanted.
        let x = rng.sample::<f64, _>(Exp1) / -(1.0 - 1.0 / OTHER_MEAN).ln();
        Flow::Other(x as u32 + 1)
    }
}

/// The assumed probability that a flow has a counterpart in the other direction.
fn has_counterpart(flow: Flow) -> f64 {
    match flow {
        Flow::Tcp(1) => 0.5,
        Flow::Tcp(2) => 0.75,
        Flow::Tcp(_) => 1.0,
        Flow::Udp(1) => 0.8,
        Flow::Udp(_) => 0.9,
        Flow::Other(_) => 1.0,
    }
}

/// A connection's script: flows are drawn until one is kept.
fn script(rng: &mut Rng) -> Script {
    loop {
        let flow = flow(rng);
        let pair = rng.random_bool(has_counterpart(flow));
        if pair && rng.random_bool(0.5) {
            continue;
        }
        return match (flow, pair) {
            (Flow::Tcp(n), false) => Script::Unanswered { syns: n },
            (Flow::Tcp(1), true) => Script::Refused,
            (Flow::Tcp(2), true) => Script::Aborted,
            (Flow::Tcp(n), true) => Script::Tcp {
                groups: n - 3,
                per_ack: 1,
                segment: if rng.random_bool(0.75) {
                    MSS
                } else {
                    rng.random_range(40..MSS)
                },
                close: if n > 3 && rng.random_bool(0.15) {
                    Close::Rst
                } else {
                    Close::Fin
                },
            },
            (Flow::Udp(n), answered) => Script::Udp {
                exchanges: n,
                answered,
                // Long flows are media and QUIC, short ones queries; the mean over packets is 613 bytes in the paper.
                payload: if n < 10 {
                    rng.random_range(30..300)
                } else {
                    rng.random_range(100..1100)
                },
            },
            (Flow::Other(n), _) => Script::Echo {
                exchanges: n,
                payload: 56,
            },
        };
    }
}

/// Nanoseconds between the packets of both directions, and of a round trip.
fn pace(script: &Script, rng: &mut Rng) -> (f64, f64) {
    let median = 50.0 * MILLISECOND;
    let gap = median * (1.5 * rng.sample::<f64, _>(StandardNormal)).exp();
    let gap = gap.min(ACTIVE_TIMEOUT * SECOND / script.packets() as f64);
    let rtt = 20.0 * MILLISECOND * (0.8 * rng.sample::<f64, _>(StandardNormal)).exp();
    (gap, rtt.min(SECOND))
}

/// Poisson arrivals of such connections, as many as keep the wanted number of entries in the table.
#[derive(Debug)]
pub(crate) struct Campus {
    /// Mean nanoseconds between arrivals.
    interval: f64,
    /// Start of the next connection.
    clock: f64,
    addresses: Addresses,
}

impl Campus {
    /// `entries` is the size of the table in the steady state: arrival rate times the mean life of an entry.
    pub(crate) fn new(entries: u64, rng: &mut Rng) -> Campus {
        const SAMPLES: u32 = 100_000;
        let lives: f64 = (0..SAMPLES)
            .map(|_| {
                let script = script(rng);
                life(&script, pace(&script, rng).0)
            })
            .sum();
        let life = lives / f64::from(SAMPLES);
        Campus {
            interval: life * SECOND / entries as f64,
            clock: -WARM_UP * SECOND,
            addresses: Addresses::new(rng),
        }
    }
}

/// Seconds from the first packet to the end of the entry.
fn life(script: &Script, gap: f64) -> f64 {
    let seconds = match *script {
        // Waits between retransmissions double: 1, 2, 4, 8, 8, …
        Script::Unanswered { syns } => (0..syns - 1).map(|i| f64::from(1u32 << i.min(3))).sum(),
        _ => script.packets() as f64 * gap / SECOND,
    };
    match script.linger(seconds) {
        0.0 => 0.0,
        linger => seconds + linger,
    }
}

impl Arrivals for Campus {
    fn next(&mut self, rng: &mut Rng) -> Option<(i64, Conn)> {
        loop {
            self.clock += self.interval * rng.sample::<f64, _>(Exp1);
            let script = script(rng);
            let (gap, rtt) = pace(&script, rng);
            let ends = self.addresses.next(&script, rng.random_bool(0.2), rng);
            let ended = self.clock + 1.5 * life(&script, gap) * SECOND < 0.0;
            // What is long gone when measuring starts leaves no trace in the table.
            if !ended {
                return Some((self.clock as i64, Conn::new(ends, script, gap, rtt, rng)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::rng;

    /// Shares of flows of at most so many packets, in per cent, as published: (length, TCP, UDP).
    const PUBLISHED: &[(u32, f64, f64)] = &[
        (1, 26.57, 72.09),
        (2, 47.57, 85.92),
        (3, 53.75, 90.78),
        (4, 58.92, 93.45),
        (6, 68.11, 95.90),
        (10, 77.09, 97.49),
        (20, 86.30, 98.71),
        (50, 92.80, 99.37),
        (100, 95.43, 99.59),
        (1_000, 99.08, 99.90),
        (10_000, 99.82, 99.97),
    ];

    const DRAWS: usize = 400_000;

    fn share_up_to(lengths: &[u32], limit: u32) -> f64 {
        100.0 * lengths.iter().filter(|&&n| n <= limit).count() as f64 / lengths.len() as f64
    }

    #[test]
    fn flow_lengths_follow_the_published_distribution() {
        let mut rng = rng(1);
        let tcp: Vec<u32> = (0..DRAWS).map(|_| length(TCP, &mut rng)).collect();
        let udp: Vec<u32> = (0..DRAWS).map(|_| length(UDP, &mut rng)).collect();
        for &(limit, want_tcp, want_udp) in PUBLISHED {
            // The mixture is a fit: 1.25 points off the histogram at 6 TCP packets.
            let (tcp, udp) = (share_up_to(&tcp, limit), share_up_to(&udp, limit));
            assert!(
                (tcp - want_tcp).abs() < 1.4,
                "TCP ≤ {limit}: {tcp} instead of {want_tcp}"
            );
            assert!(
                (udp - want_udp).abs() < 1.4,
                "UDP ≤ {limit}: {udp} instead of {want_udp}"
            );
        }
        let mean = |lengths: &[u32]| {
            lengths.iter().map(|&n| f64::from(n)).sum::<f64>() / lengths.len() as f64
        };
        // One million draws gave 115.7 and 27.1; the tails are heavy.
        assert!((100.0..135.0).contains(&mean(&tcp)), "{}", mean(&tcp));
        assert!((12.0..60.0).contains(&mean(&udp)), "{}", mean(&udp));
    }

    #[test]
    fn pairing_keeps_the_lengths_of_both_directions() {
        let mut rng = rng(2);
        let (mut tcp, mut udp, mut other) = (Vec::new(), Vec::new(), 0);
        for _ in 0..DRAWS {
            match script(&mut rng) {
                Script::Unanswered { syns } => tcp.push(syns),
                Script::Refused => tcp.extend([1, 1]),
                Script::Aborted => tcp.extend([2, 2]),
                Script::Tcp { groups, .. } => tcp.extend([groups + 3, groups + 3]),
                Script::Udp {
                    exchanges,
                    answered: true,
                    ..
                } => udp.extend([exchanges, exchanges]),
                Script::Udp { exchanges, .. } => udp.push(exchanges),
                Script::Echo { .. } => other += 2,
            }
        }
        for &(limit, want_tcp, want_udp) in PUBLISHED {
            let (tcp, udp) = (share_up_to(&tcp, limit), share_up_to(&udp, limit));
            assert!(
                (tcp - want_tcp).abs() < 1.4,
                "TCP ≤ {limit}: {tcp} instead of {want_tcp}"
            );
            assert!(
                (udp - want_udp).abs() < 1.4,
                "UDP ≤ {limit}: {udp} instead of {want_udp}"
            );
        }
        let flows = (tcp.len() + udp.len() + other) as f64;
        assert!((tcp.len() as f64 / flows - TCP_SHARE).abs() < 0.005);
        assert!((udp.len() as f64 / flows - UDP_SHARE).abs() < 0.005);
    }

    #[test]
    fn the_weights_of_a_mixture_add_up_to_one() {
        for mixture in [TCP, UDP] {
            let total: f64 = mixture.iter().map(Part::weight).sum();
            assert!((total - 1.0).abs() < 0.001, "{total}");
        }
    }

    #[test]
    fn the_two_ends_of_a_connection_send_as_many_packets() {
        use crate::workload::packet::Side;
        let mut rng = rng(3);
        let mut addresses = Addresses::new(&mut rng);
        for _ in 0..2_000 {
            let script = script(&mut rng);
            if !script.answered() || script.packets() > 10_000 {
                continue;
            }
            let ends = addresses.next(&script, false, &mut rng);
            let mut conn = Conn::new(ends, script, MILLISECOND, MILLISECOND, &mut rng);
            let mut sent = [0u64; 2];
            while !conn.is_done() {
                let (segment, _) = conn.next(0, &mut rng);
                sent[segment.from as usize] += 1;
            }
            assert_eq!(
                sent[Side::Client as usize],
                sent[Side::Server as usize],
                "{script:?}"
            );
            assert_eq!(sent[0] + sent[1], script.packets(), "{script:?}");
        }
    }
}
