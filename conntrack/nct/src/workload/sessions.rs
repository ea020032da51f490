//! `elephants`, `nat-ladder`, `caida` and `syn-flood`: a population of open connections, and for each packet a choice whose turn it is.
//!
//! The warm-up opens the whole population (a TCP handshake, or a datagram each way) within the last [`OPENING`] seconds before
//! measuring starts.

use rand::RngExt;
use rand_distr::{Distribution, Zipf};

use super::Rng;
use super::addresses::{client, numbered, server};
use super::conn::{Close, Conn, ENDLESS, MILLISECOND, MSS, SECOND, Script};
use super::packet::{Ends, mix};
use super::stream::{Packet, Source, emit, opens};

/// Seconds of the warm-up.
const OPENING: f64 = 10.0;
/// CSIT's address translation tests have so many connections for each inside host.
const PORTS_PER_HOST: u64 = 63;
/// Inter-packet time unless the workload says otherwise: a million packets a second.
const INTERVAL: f64 = 1_000.0;
/// The measured part never takes longer than this on the virtual clock, so that no connection of the population expires.
const LONGEST: f64 = 10.0 * SECOND;

/// Backbone: packets and new tuples a second (`caida-nyc2019`), and the exponent of the popularity.
const CAIDA_PACKETS: f64 = 484_000.0;
const CAIDA_NEW: f64 = 31_000.0;
const CAIDA_EXPONENT: f64 = 1.05;

/// Whose turn is it?
#[derive(Debug)]
enum Turn {
    /// Anyone's.
    Uniform,
    /// By rank; and some packets belong to a new connection, which takes the place of any old one.
    Popular { ranks: Zipf<f64>, new: f64 },
    /// With probability 1/2 a SYN that belongs to nothing.
    Flood,
}

/// See the module's comment.
#[derive(Debug)]
pub(crate) struct Sessions {
    rng: Rng,
    population: Vec<Conn>,
    /// Packets of each connection that open it, TCP and UDP.
    turn: Turn,
    make: fn(u64, &mut Rng) -> Conn,
    /// Connections made so far.
    made: u64,
    /// Flood packets sent so far.
    flooded: u64,
    opening: Opening,
    clock: f64,
    interval: f64,
}

/// Progress of the warm-up.
#[derive(Debug)]
struct Opening {
    /// Rounds through the population: the first packet of each, then the second of each, …
    round: u32,
    at: usize,
    /// Flood packets that fill the table.
    fill: u64,
    interval: f64,
}

/// Packets that open a connection.
fn opening_packets(conn: &Conn) -> u32 {
    match conn.script {
        Script::Tcp { .. } => 3,
        _ => 2,
    }
}

impl Sessions {
    /// Few long connections, three quarters TCP: every packet finds its entry, and the entries fit into the cache.
    pub(crate) fn elephants(size: u64, packets: u64, rng: Rng) -> Sessions {
        let make = |n: u64, rng: &mut Rng| {
            endless(numbered(n, PORTS_PER_HOST, 443), !n.is_multiple_of(4), rng)
        };
        Sessions::new(size, 0, Turn::Uniform, make, packets, INTERVAL, rng)
    }

    /// UDP sessions of [`PORTS_PER_HOST`] for each host, all equally busy.
    pub(crate) fn nat_ladder(size: u64, packets: u64, rng: Rng) -> Sessions {
        let make = |n: u64, rng: &mut Rng| endless(numbered(n, PORTS_PER_HOST, 4500), false, rng);
        Sessions::new(size, 0, Turn::Uniform, make, packets, INTERVAL, rng)
    }

    /// Packets by Zipf's law over `size` tuples, 6.4 % of them the first of a new one.
    pub(crate) fn caida(size: u64, packets: u64, rng: Rng) -> Sessions {
        let make = |n: u64, rng: &mut Rng| {
            let to = mix(n);
            let ends = Ends {
                client: client((n / 16) as u32),
                client_port: 1024 + (n % 16) as u16 * 4000 + ((n >> 28) % 4000) as u16,
                server: server((to >> 40) as u32),
                server_port: if to & 7 < 6 { 443 } else { 53 },
                v6: to & 0x38 == 0,
            };
            endless(ends, to & 7 < 6, rng)
        };
        let ranks = Zipf::new(size as f64, CAIDA_EXPONENT).expect("a valid exponent");
        let turn = Turn::Popular {
            ranks,
            new: CAIDA_NEW / CAIDA_PACKETS,
        };
        Sessions::new(size, 0, turn, make, packets, SECOND / CAIDA_PACKETS, rng)
    }

    /// A quarter of the table is established TCP; SYNs of never seen sources fill it before measuring starts and go on, one for
    /// each packet of established traffic.
    pub(crate) fn syn_flood(table: u64, packets: u64, rng: Rng) -> Sessions {
        let make = |n: u64, rng: &mut Rng| endless(numbered(n, PORTS_PER_HOST, 443), true, rng);
        let established = (table / 4).max(1);
        let fill = table - established.min(table) + table / 8;
        Sessions::new(established, fill, Turn::Flood, make, packets, INTERVAL, rng)
    }

    fn new(
        size: u64,
        fill: u64,
        turn: Turn,
        make: fn(u64, &mut Rng) -> Conn,
        packets: u64,
        interval: f64,
        mut rng: Rng,
    ) -> Sessions {
        let population: Vec<Conn> = (0..size).map(|n| make(n, &mut rng)).collect();
        let opening: u64 = population
            .iter()
            .map(|c| u64::from(opening_packets(c)))
            .sum();
        Sessions {
            rng,
            population,
            turn,
            make,
            made: size,
            flooded: 0,
            opening: Opening {
                round: 0,
                at: 0,
                fill,
                interval: OPENING * SECOND / (opening + fill + 1) as f64,
            },
            clock: -OPENING * SECOND,
            interval: interval.min(LONGEST / packets as f64),
        }
    }

    /// The next packet of the warm-up; false when that is over.
    fn open(&mut self, packet: &mut Packet) -> bool {
        while self.opening.round < 3 {
            let Some(conn) = self.population.get_mut(self.opening.at) else {
                self.opening.round += 1;
                self.opening.at = 0;
                continue;
            };
            self.opening.at += 1;
            if self.opening.round < opening_packets(conn) {
                let opens = (self.opening.round == 0).then(|| opens(conn));
                self.clock += self.opening.interval;
                emit(conn, self.clock as i64, opens, &mut self.rng, packet);
                return true;
            }
        }
        if self.opening.fill > 0 {
            self.opening.fill -= 1;
            self.clock += self.opening.interval;
            self.flood(packet);
            return true;
        }
        false
    }

    /// A SYN from a random source; sources do not repeat within 2^48 packets.
    fn flood(&mut self, packet: &mut Packet) {
        let n = self.flooded;
        self.flooded += 1;
        let source = scramble48(n);
        let ends = Ends {
            client: (source >> 16) as u32,
            client_port: source as u16,
            server: server(0),
            server_port: 80,
            v6: false,
        };
        let mut conn = Conn::new(
            ends,
            Script::Unanswered { syns: 1 },
            SECOND,
            SECOND,
            &mut self.rng,
        );
        let opens = Some(opens(&conn));
        emit(&mut conn, self.clock as i64, opens, &mut self.rng, packet);
    }
}

/// A bijection of 48-bit numbers that looks random: every step can be undone within 48 bits.
fn scramble48(n: u64) -> u64 {
    const MASK: u64 = (1 << 48) - 1;
    let mut x = (n ^ 0x5bd1_e995_7a3c) & MASK;
    for multiplier in [0x9e37_79b9_7f4b, 0xbf58_476d_1ce5] {
        x ^= x >> 25;
        x = x.wrapping_mul(multiplier) & MASK;
    }
    x ^ (x >> 25)
}

/// A connection that never ends, TCP or UDP.
fn endless(ends: Ends, tcp: bool, rng: &mut Rng) -> Conn {
    let script = if tcp {
        Script::Tcp {
            groups: ENDLESS,
            per_ack: 1,
            segment: MSS,
            close: Close::Fin,
        }
    } else {
        Script::Udp {
            exchanges: ENDLESS,
            answered: true,
            payload: 172,
        }
    };
    Conn::new(ends, script, MILLISECOND, 8.0 * MILLISECOND, rng)
}

impl Source for Sessions {
    fn next(&mut self, packet: &mut Packet) -> bool {
        if self.clock < 0.0 {
            if self.open(packet) {
                return true;
            }
            self.clock = 0.0;
        }
        let chosen = match &self.turn {
            Turn::Flood if self.rng.random_bool(0.5) => {
                self.flood(packet);
                self.clock += self.interval;
                return true;
            }
            Turn::Flood | Turn::Uniform => self.rng.random_range(0..self.population.len()),
            Turn::Popular { new, .. } if self.rng.random_bool(*new) => {
                let taken = self.rng.random_range(0..self.population.len());
                self.population[taken] = (self.make)(self.made, &mut self.rng);
                self.made += 1;
                let conn = &mut self.population[taken];
                let opens = Some(opens(conn));
                emit(conn, self.clock as i64, opens, &mut self.rng, packet);
                self.clock += self.interval;
                return true;
            }
            Turn::Popular { ranks, .. } => ranks.sample(&mut self.rng) as usize - 1,
        };
        emit(
            &mut self.population[chosen],
            self.clock as i64,
            None,
            &mut self.rng,
            packet,
        );
        self.clock += self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn flood_sources_do_not_repeat() {
        let sources: HashSet<u64> = (0..500_000).map(scramble48).collect();
        assert_eq!(sources.len(), 500_000);
        assert!(sources.iter().all(|s| s >> 48 == 0));
    }
}
