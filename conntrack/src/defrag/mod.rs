//! Reassembly before tracking (`nf_defrag_ipv4`, `nf_defrag_ipv6`): the tracker sees whole datagrams.
//!
//! A fragment that does not complete its datagram is kept and its packet is [`Verdict::Stolen`]; the one that completes it goes on with the
//! whole datagram in it. Fragments that contradict each other take their datagram with them. Memory is bounded: above
//! [`Config::high_thresh`] bytes nothing more is kept, and a datagram that is not complete in time is given up.

mod output;
mod pieces;
mod v4;
mod v6;

pub use output::{Origin, decrease_ttl};

use crate::clock::Nanos;
use crate::hooks::{Pipeline, prio};
use crate::packet::{Hook, Packet, Verdict};
use crate::store::Store;
use crate::sysctl::Sysctl;
use crate::tracker::Tracker;
use crate::tuple::Family;
use parking_lot::Mutex;
use pieces::{Pieces, Wrong};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes that a kept fragment costs besides its data, roughly what the kernel counts for a buffer.
const OVERHEAD: usize = 256;

/// Limits of IPv4 reassembly. Those of IPv6 are knobs of the tracker (`nf_conntrack_frag6_timeout`, `nf_conntrack_frag6_high_thresh`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Seconds until an incomplete datagram is given up (`net.ipv4.ipfrag_time`).
    pub timeout: u32,
    /// Bytes that waiting fragments may use (`net.ipv4.ipfrag_high_thresh`).
    pub high_thresh: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: 30,
            high_thresh: 4 << 20,
        }
    }
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// No fragment, or one that reassembly does not touch: it goes on as it is.
    Untouched,
    /// Kept.
    Kept,
    /// Contradicts other fragments, or there is no room; forgotten.
    Refused,
    /// Completes this datagram, which came like that.
    Datagram(Vec<u8>, Origin),
}

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    protonum: u8,
    zone: u16,
    iif: u32,
}

/// A fragment, taken apart.
struct Fragment<'a> {
    key: Key,
    offset: u32,
    more: bool,
    ecn: u8,
    /// The header with which the datagram begins if this is its first fragment.
    header: Vec<u8>,
    data: &'a [u8],
    /// Length of the whole packet.
    size: usize,
    /// DF.
    dont: bool,
}

/// How a datagram is put together.
trait Join {
    /// What a fragment is whose length contradicts those of others: IPv6 forgets that one, IPv4 all of them.
    const LENGTHS: Wrong;

    /// The datagram that begins with `header`, with DF if `dont`; `None` when it would be too long.
    fn join(header: Vec<u8>, payload: &[u8], ecn: u8, dont: bool) -> Option<Vec<u8>>;
}

#[derive(Debug, Default)]
struct Waiting {
    datagrams: HashMap<Key, Pieces>,
    /// Deadlines with a serial number that makes them distinct.
    deadlines: BTreeMap<(Nanos, u64), Key>,
    serial: u64,
    bytes: usize,
}

/// Datagrams that are not complete yet.
#[derive(Debug)]
pub struct Defrag {
    v4: Mutex<Waiting>,
    v6: Mutex<Waiting>,
    timeout: AtomicU32,
    high_thresh: usize,
}

impl Defrag {
    /// Nothing waiting.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            v4: Mutex::default(),
            v6: Mutex::default(),
            timeout: AtomicU32::new(config.timeout),
            high_thresh: config.high_thresh,
        }
    }

    /// Changes `net.ipv4.ipfrag_time`, for datagrams that begin from now on.
    pub fn set_timeout(&self, secs: u32) {
        // Relaxed: a number on its own.
        self.timeout.store(secs, Ordering::Relaxed);
    }

    /// Hangs reassembly in a pipeline, where the kernel has it: before the raw tables, at PRE_ROUTING and LOCAL_OUT.
    pub fn register<S: Store>(self: &Arc<Self>, pipeline: &mut Pipeline<S>) {
        for hook in [Hook::PreRouting, Hook::LocalOut] {
            let me = Arc::clone(self);
            pipeline.register(
                hook,
                prio::CONNTRACK_DEFRAG,
                "defrag",
                move |ct: &Tracker<S>, pkt: &mut Packet<'_, '_, S>, _: Hook| me.hook(ct, pkt),
            );
        }
    }

    fn hook<S: Store>(&self, ct: &Tracker<S>, pkt: &mut Packet<'_, '_, S>) -> Verdict {
        if pkt.nfct().info().is_some() {
            return Verdict::Accept;
        }
        let zone = pkt.template.as_ref().map_or(0, |t| t.zone.id);
        let gathered = match pkt.family() {
            Family::Ipv4 => self.ipv4(pkt.data(), zone, pkt.now()),
            Family::Ipv6 => {
                let timeout = ct.knob(Sysctl::Frag6Timeout);
                let room = ct.knob(Sysctl::Frag6HighThresh) as usize;
                self.ipv6(pkt.data(), zone, pkt.iif, pkt.now(), timeout, room)
            }
        };
        match gathered {
            Gathered::Untouched => Verdict::Accept,
            Gathered::Kept => Verdict::Stolen,
            // The IPv4 side says "stolen" for whatever it did not complete.
            Gathered::Refused if pkt.family() == Family::Ipv4 => Verdict::Stolen,
            Gathered::Refused => Verdict::Drop,
            Gathered::Datagram(data, origin) => {
                pkt.set_data(data);
                pkt.set_origin(origin);
                Verdict::Accept
            }
        }
    }

    /// Takes an IPv4 packet of `zone`, which ends where its header says.
    pub fn ipv4(&self, packet: &[u8], zone: u16, now: Nanos) -> Gathered {
        let Some(fragment) = v4::parse(packet, zone) else {
            return Gathered::Untouched;
        };
        let timeout = self.timeout.load(Ordering::Relaxed);
        self.v4
            .lock()
            .take::<v4::V4>(fragment, now, timeout, self.high_thresh)
    }

    /// Takes an IPv6 packet of `zone` that came in on interface `iif`, which ends where its header says.
    pub fn ipv6(
        &self,
        packet: &[u8],
        zone: u16,
        iif: u32,
        now: Nanos,
        timeout: u32,
        high_thresh: usize,
    ) -> Gathered {
        match v6::parse(packet, zone, iif) {
            v6::Parsed::Untouched => Gathered::Untouched,
            v6::Parsed::TooFar => Gathered::Refused,
            v6::Parsed::Odd(key) => {
                self.v6.lock().forget(&key);
                Gathered::Untouched
            }
            v6::Parsed::Fragment(f) => self.v6.lock().take::<v6::V6>(f, now, timeout, high_thresh),
        }
    }

    /// Bytes that waiting fragments use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.lock().bytes + self.v6.lock().bytes
    }
}

impl Waiting {
    fn take<F: Join>(
        &mut self,
        f: Fragment<'_>,
        now: Nanos,
        timeout: u32,
        room: usize,
    ) -> Gathered {
        self.expire(now);
        if self.bytes > room {
            return Gathered::Refused;
        }
        let key = f.key;
        let (deadlines, serial) = (&mut self.deadlines, &mut self.serial);
        let pieces = self.datagrams.entry(key).or_insert_with(|| {
            *serial += 1;
            let deadline = (
                now.saturating_add(Nanos::from(timeout) * 1_000_000_000),
                *serial,
            );
            deadlines.insert(deadline, key);
            Pieces::new(deadline)
        });
        let before = pieces.cost(OVERHEAD);
        let added = pieces.add(f, F::LENGTHS);
        self.bytes += pieces.cost(OVERHEAD) - before;
        match added {
            Ok(true) => {}
            Ok(false) => return Gathered::Kept,
            Err(Wrong::Duplicate) => return Gathered::Kept,
            Err(Wrong::Refused) => return Gathered::Refused,
            Err(Wrong::Contradiction) => {
                self.forget(&key);
                return Gathered::Refused;
            }
        }
        match self.forget(&key).and_then(Pieces::finish::<F>) {
            Some((datagram, origin)) => Gathered::Datagram(datagram, origin),
            None => Gathered::Refused,
        }
    }

    fn expire(&mut self, now: Nanos) {
        while let Some((&(deadline, _), &key)) = self.deadlines.first_key_value() {
            if deadline > now {
                return;
            }
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &Key) -> Option<Pieces> {
        let pieces = self.datagrams.remove(key)?;
        self.deadlines.remove(&pieces.deadline());
        self.bytes -= pieces.cost(OVERHEAD);
        Some(pieces)
    }
}

/// Combines what fragments said about congestion: `seen` has bit `1 << ecn` for each. `None`: a combination that no honest path makes.
fn ecn(seen: u8) -> Option<u8> {
    const NOT_ECT: u8 = 1;
    const CE: u8 = 1 << 3;
    match (seen & CE != 0, seen & NOT_ECT != 0) {
        (true, true) => None,
        (true, false) if seen != CE => Some(3),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests;
