//! The tracker: look-up, creation, confirmation, deletion (`nf_conntrack_core.c`).

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::hash::{HashKind, KeyHasher};
use crate::net::Net;
use crate::packet::{Hook, Packet, Verdict};
use crate::snapshot::Snapshot;
use crate::stats::StatsSnapshot;
use crate::store::Store;
use crate::sysctl::{Sysctl, SysctlError, Sysctls};
use crate::tuple::{Direction, Tuple};
use crate::zone::{NetId, Zone};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Settings of a table of connections, shared by all its namespaces.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which hash.
    pub hash: HashKind,
    /// The hash's 128-bit secret; random when `None`.
    pub seed: Option<(u64, u64)>,
    /// `nf_conntrack_max`; 0 = no limit but the store's.
    pub max: usize,
    /// Longest chain that still takes an entry, before a random 0–29 is added; the kernel's is 50. `usize::MAX` = no limit.
    pub chain_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hash: HashKind::SipHash,
            seed: None,
            max: 262_144,
            chain_limit: 50,
        }
    }
}

/// What all namespaces of one table share.
struct Core<S> {
    store: S,
    hasher: KeyHasher,
    config: Config,
    max: AtomicUsize,
}

/// Connection tracking of one namespace.
pub struct Tracker<S: Store> {
    core: Arc<Core<S>>,
    net: Arc<Net>,
}

/// What a garbage collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Entries removed.
    pub evicted: usize,
    /// Nanoseconds until the next run is due (`next_run` of the kernel's worker).
    pub next_in: Nanos,
    /// Did this run reach the end of the table?
    pub whole: bool,
}

impl<S: Store> Tracker<S> {
    /// A tracker for namespace 0 with entries in `store`.
    #[must_use]
    pub fn new(store: S, config: Config) -> Self {
        let (k0, k1) = config.seed.unwrap_or_else(random_seed);
        let hasher = KeyHasher::new(config.hash, k0, k1);
        let max = AtomicUsize::new(config.max);
        Self {
            core: Arc::new(Core {
                store,
                hasher,
                config,
                max,
            }),
            net: Arc::new(Net::new(NetId(0))),
        }
    }

    /// A tracker for another namespace over the same table. Its entries, knobs and counters are its own; `nf_conntrack_max` is common.
    #[must_use]
    pub fn namespace(&self, id: NetId) -> Self {
        Self {
            core: Arc::clone(&self.core),
            net: Arc::new(Net::new(id)),
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.core.store
    }

    /// The namespace's state.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Sets a knob by its kernel name, with or without `net.netfilter.`.
    ///
    /// # Errors
    /// Unknown names, and values out of range.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), SysctlError> {
        if name.strip_prefix("net.netfilter.").unwrap_or(name) == "nf_conntrack_max" {
            let v = value.trim().parse().map_err(|_| SysctlError::Invalid {
                name: "nf_conntrack_max",
                value: value.to_owned(),
            })?;
            self.core.max.store(v, Ordering::Relaxed);
            return Ok(());
        }
        let s = Sysctls::by_name(name).ok_or_else(|| SysctlError::Unknown(name.to_owned()))?;
        let v = value.trim().parse().map_err(|_| SysctlError::Invalid {
            name: s.name(),
            value: value.to_owned(),
        })?;
        self.net.sysctl.set(s, v)
    }

    /// A knob's value as text; `nf_conntrack_count` and `nf_conntrack_buckets` too.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<String> {
        match name.strip_prefix("net.netfilter.").unwrap_or(name) {
            "nf_conntrack_max" => Some(self.core.max.load(Ordering::Relaxed).to_string()),
            "nf_conntrack_count" => Some(self.net.count().to_string()),
            "nf_conntrack_buckets" => Some(self.core.store.buckets().to_string()),
            n => Sysctls::by_name(n).map(|s| self.net.sysctl.get(s).to_string()),
        }
    }

    /// A knob's value.
    #[must_use]
    pub fn knob(&self, s: Sysctl) -> u32 {
        self.net.sysctl.get(s)
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> StatsSnapshot {
        self.net.stats.snapshot()
    }

    /// Finds out what connection a packet belongs to, or begins one (`nf_conntrack_in`), at PRE_ROUTING or LOCAL_OUT. Afterwards
    /// [`Packet::state`], [`Packet::conn`], [`Packet::direction`] and [`Packet::reason`] tell the result.
    ///
    /// `Accept`, even for invalid packets, or `Drop` when the table is full.
    pub fn track<'t>(&'t self, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict {
        let _ = (pkt, hook);
        Verdict::Accept
    }

    /// Puts the packet's new connection into the table (`nf_conntrack_confirm`), at POST_ROUTING or LOCAL_IN. A packet that is never
    /// confirmed leaves no trace. `Drop` when the connection could not be linked.
    pub fn confirm<'t>(&'t self, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict {
        let _ = (pkt, hook);
        Verdict::Accept
    }

    /// Looks a connection up by one of its tuples (`nf_conntrack_find_get`): in the zone's id for the original direction, then for the reply.
    #[must_use]
    pub fn find(&self, tuple: &Tuple, zone: Zone, now: Nanos) -> Option<(S::Ref<'_>, Direction)> {
        let _ = (tuple, zone, now);
        None
    }

    /// Deletes a connection (`nf_ct_delete`): false when somebody else did, or it is not in the table.
    pub fn delete(&self, conn: &S::Ref<'_>, now: Nanos) -> bool {
        let _ = (conn, now);
        false
    }

    /// Deletes all connections of this namespace that `pred` wants; returns how many (`conntrack -D`, `-F`).
    pub fn delete_if(&self, now: Nanos, pred: impl FnMut(&Conn<S::User>) -> bool) -> usize {
        let _ = (now, pred);
        0
    }

    /// Calls `f` for each live connection of this namespace (once, at its original link); removes expired ones it meets (dumps).
    pub fn for_each(&self, now: Nanos, f: impl FnMut(&S::Ref<'_>)) {
        let _ = (now, f);
    }

    /// Copies of all live connections of this namespace, in table order.
    #[must_use]
    pub fn dump(&self, now: Nanos) -> Vec<Snapshot> {
        let mut out = Vec::new();
        self.for_each(now, |r| out.push(Snapshot::of(r, S::count(r), now)));
        out
    }

    /// `/proc/net/nf_conntrack`: one line for each connection. A registered formatter's text stands before `use=`.
    #[must_use]
    pub fn proc_net_nf_conntrack(&self, now: Nanos) -> String {
        let _ = now;
        String::new()
    }

    /// One run of the garbage collector (`gc_worker`), for all namespaces of the table.
    pub fn gc(&self, now: Nanos) -> GcReport {
        let _ = now;
        GcReport::default()
    }

    /// Changes a connection's timeout (`conntrack -U --timeout`, in seconds).
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn set_timeout(
        &self,
        conn: &Conn<S::User>,
        secs: u32,
        now: Nanos,
    ) -> Result<(), ChangeError> {
        let _ = (conn, secs, now);
        Ok(())
    }
}

/// Why a connection was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Its timeout is fixed (`EPERM`).
    Fixed,
    /// It is being deleted (`ETIME`).
    Dying,
    /// A bit may not be changed that way (`EBUSY`).
    Busy,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed => "the timeout is fixed",
            Self::Dying => "the connection is being deleted",
            Self::Busy => "this status cannot be changed so",
        })
    }
}

impl std::error::Error for ChangeError {}

impl<S: Store> fmt::Debug for Tracker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker")
            .field("net", &self.net)
            .field("config", &self.core.config)
            .finish_non_exhaustive()
    }
}

/// Two random words from the standard library's per-process randomness.
fn random_seed() -> (u64, u64) {
    use std::hash::{BuildHasher, RandomState};
    (
        RandomState::new().hash_one(1u8),
        RandomState::new().hash_one(2u8),
    )
}
