//! Realistic traffic as packets: which connections there are, what they send, and when.
//!
//! * [`packet`] writes bytes, [`conn`] knows what one connection sends, [`addresses`] who talks to whom;
//! * `campus`, `sfr`, `dns` say which connections arrive when, [`stream::Scheduler`] interleaves their packets;
//! * [`sessions`] draws packets from a fixed population of connections;
//! * [`stream::Stream`] holds the result.
//!
//! Everything is a function of workload, size, number of packets and seed.

use clap::ValueEnum;
use rand::SeedableRng;

pub(crate) mod addresses;
pub(crate) mod campus;
pub(crate) mod conn;
pub(crate) mod dns;
pub(crate) mod packet;
pub(crate) mod sessions;
pub(crate) mod sfr;
pub(crate) mod stream;

#[cfg(test)]
mod tests;

use sessions::Sessions;
use stream::{Scheduler, Stream};

/// Fast, and the same on every machine and in every version.
pub(crate) type Rng = rand_xoshiro::Xoshiro256PlusPlus;

/// The generator that `seed` stands for.
pub(crate) fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

/// The kinds of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// A campus's Internet edge: published flow lengths and protocol mix, connections come and go
    Campus,
    /// The application mix that TRex calls SFR: web, mail, databases, voice and DNS
    Sfr,
    /// Two packets a connection, entries expire after 30 s: insert and expire
    Dns,
    /// Half of the packets are SYNs of a flood, the table is full: early_drop
    SynFlood,
    /// Few long connections, every packet finds its entry: the floor
    Elephants,
    /// The same number of packets over more and more connections: cost by size
    NatLadder,
    /// A backbone: 1.88 million tuples by Zipf's law, 6 % of the packets open a new one
    Caida,
}

impl Workload {
    /// Sizes that a run goes through unless told otherwise: entries in the table.
    pub(crate) fn sizes(self) -> &'static [u64] {
        match self {
            Workload::Campus | Workload::Sfr | Workload::Dns => &[131_072],
            Workload::SynFlood => &[65_536],
            Workload::Elephants => &[1_000],
            Workload::NatLadder => &[64_512, 258_048, 1_032_192, 4_128_768],
            Workload::Caida => &[1_880_000],
        }
    }

    /// Whether the table's limit is the size, so that entries are dropped early.
    pub(crate) fn fills_the_table(self) -> bool {
        self == Workload::SynFlood
    }

    /// What `size` means.
    pub(crate) fn size_means(self) -> &'static str {
        match self {
            Workload::Campus | Workload::Sfr | Workload::Dns => "entries in the steady state",
            Workload::SynFlood => "limit of the table (a quarter is established traffic)",
            Workload::Elephants | Workload::NatLadder => "open connections",
            Workload::Caida => "tuples that packets are drawn from",
        }
    }

    /// The packets: a warm-up and `packets` more. `None` when `go_on`, which is told the measured packets so far, said no.
    pub(crate) fn generate(
        self,
        size: u64,
        packets: u64,
        seed: u64,
        go_on: impl FnMut(u64) -> bool,
    ) -> Option<Stream> {
        let mut rng = rng(seed);
        match self {
            Workload::Campus => {
                let arrivals = campus::Campus::new(size, &mut rng);
                Stream::collect(Scheduler::new(arrivals, rng), packets, go_on)
            }
            Workload::Sfr => {
                let arrivals = sfr::Sfr::new(size, &mut rng);
                Stream::collect(Scheduler::new(arrivals, rng), packets, go_on)
            }
            Workload::Dns => {
                let arrivals = dns::Dns::new(size, &mut rng);
                Stream::collect(Scheduler::new(arrivals, rng), packets, go_on)
            }
            Workload::SynFlood => {
                Stream::collect(Sessions::syn_flood(size, packets, rng), packets, go_on)
            }
            Workload::Elephants => {
                Stream::collect(Sessions::elephants(size, packets, rng), packets, go_on)
            }
            Workload::NatLadder => {
                Stream::collect(Sessions::nat_ladder(size, packets, rng), packets, go_on)
            }
            Workload::Caida => Stream::collect(Sessions::caida(size, packets, rng), packets, go_on),
        }
    }
}
