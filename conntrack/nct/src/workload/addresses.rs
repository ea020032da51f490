//! Who talks to whom: addresses and ports that are used once.

use rand::RngExt;
use rand_distr::{Distribution, Zipf};

use super::Rng;
use super::conn::Script;
use super::packet::{Ends, mix};

/// Clients live in 10.0.0.0/8, servers in 198.18.0.0/15, which RFC 2544 keeps for measurements.
const CLIENTS: u32 = 0x0a00_0000;
const SERVERS: u32 = 0xc612_0000;
/// Client ports from here on.
const FIRST_PORT: u32 = 1024;
const PORTS: u32 = 65_536 - FIRST_PORT;
/// Number of clients before a client uses its next port.
const HOSTS: u32 = 1 << 16;

/// Gives every connection a client address and port of its own (4.2 G of them) and a server by popularity (Zipf, s = 1).
#[derive(Debug)]
pub(crate) struct Addresses {
    used: u64,
    /// Which client comes first differs with the seed.
    offset: u64,
    popularity: Zipf<f64>,
}

impl Addresses {
    pub(crate) fn new(rng: &mut Rng) -> Addresses {
        Addresses {
            used: 0,
            offset: rng.random(),
            popularity: Zipf::new(50_000.0, 1.0).expect("a valid exponent"),
        }
    }

    /// The ends of the next connection.
    pub(crate) fn next(&mut self, script: &Script, v6: bool, rng: &mut Rng) -> Ends {
        let (host, port) = self.client();
        let popular = self.popularity.sample(rng) as u32;
        let server_port = match script {
            Script::Echo { .. } => 0,
            Script::Udp {
                exchanges: 1..=2, ..
            } => 53,
            _ => [443, 443, 443, 80, 22, 993, 8080, 8443][rng.random_range(0..8)],
        };
        Ends {
            client: CLIENTS + host,
            server: server(popular),
            client_port: port,
            server_port,
            v6,
        }
    }

    /// A client and a port that were not used yet.
    pub(crate) fn client(&mut self) -> (u32, u16) {
        let n = self.used;
        self.used += 1;
        // Hosts take turns; each host goes through its ports from a place of its own.
        let host = (n % u64::from(HOSTS)) as u32;
        let turn = n / u64::from(HOSTS);
        let port = (mix(self.offset ^ u64::from(host)).wrapping_add(turn)) % u64::from(PORTS);
        (host, (FIRST_PORT + port as u32) as u16)
    }
}

/// The address of server number `rank`.
pub(crate) fn server(rank: u32) -> u32 {
    SERVERS + rank % (1 << 17)
}

/// The address of client number `host`.
pub(crate) fn client(host: u32) -> u32 {
    CLIENTS + host % (1 << 24)
}

/// `n` numbered ends with `ports` connections a client, one server each: how address translation is measured.
pub(crate) fn numbered(n: u64, ports: u64, server_port: u16) -> Ends {
    Ends {
        client: client((n / ports) as u32),
        server: server((mix(n) >> 32) as u32),
        client_port: (FIRST_PORT as u64 + n % ports) as u16,
        server_port,
        v6: false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::workload::rng;

    #[test]
    fn no_client_uses_a_port_twice() {
        let mut addresses = Addresses::new(&mut rng(1));
        let mut seen = HashSet::new();
        for _ in 0..300_000 {
            assert!(seen.insert(addresses.client()));
        }
        // One host goes through all of its ports.
        addresses.used = 0;
        let mut ports = HashSet::new();
        for turn in 0..u64::from(PORTS) {
            addresses.used = turn * u64::from(HOSTS);
            assert!(ports.insert(addresses.client()));
        }
    }

    #[test]
    fn numbered_ends_differ() {
        let ends: HashSet<_> = (0..200_000).map(|n| numbered(n, 63, 80)).collect();
        assert_eq!(ends.len(), 200_000);
    }
}
