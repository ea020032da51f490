//! `dns`: a query and its answer, 89 bytes each with the Ethernet header, and nothing more: entries are made and expire after 30 s.

use rand::RngExt;
use rand_distr::Exp1;

use super::Rng;
use super::addresses::{Addresses, server};
use super::conn::{Conn, MILLISECOND, SECOND, Script};
use super::packet::{ETHERNET, Ends, IPV4, UDP};
use super::stream::Arrivals;

/// The tracker's timeout of a datagram's entry that did not become a stream, in seconds.
const TIMEOUT: f64 = 30.0;
const SCRIPT: Script = Script::Udp {
    exchanges: 1,
    answered: true,
    payload: (89 - ETHERNET - IPV4 - UDP) as u16,
};
const RESOLVERS: u32 = 4;

/// Poisson arrivals of queries.
#[derive(Debug)]
pub(crate) struct Dns {
    interval: f64,
    clock: f64,
    addresses: Addresses,
}

impl Dns {
    /// `entries` is rate times timeout.
    pub(crate) fn new(entries: u64, rng: &mut Rng) -> Dns {
        Dns {
            interval: TIMEOUT * SECOND / entries as f64,
            clock: -(TIMEOUT + 1.0) * SECOND,
            addresses: Addresses::new(rng),
        }
    }
}

impl Arrivals for Dns {
    fn next(&mut self, rng: &mut Rng) -> Option<(i64, Conn)> {
        self.clock += self.interval * rng.sample::<f64, _>(Exp1);
        let (client, client_port) = self.addresses.client();
        let ends = Ends {
            client: super::addresses::client(client),
            client_port,
            server: server(rng.random_range(0..RESOLVERS)),
            server_port: 53,
            v6: false,
        };
        let rtt = MILLISECOND * (1.0 + 20.0 * rng.sample::<f64, _>(Exp1));
        Some((
            self.clock as i64,
            Conn::new(ends, SCRIPT, MILLISECOND, rtt, rng),
        ))
    }
}
