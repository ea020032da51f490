//! The tracker: look-up, creation, confirmation, deletion (`nf_conntrack_core.c`).

mod confirm;
mod control;
mod gc;
mod ingress;
mod life;
mod walk;
mod worker;

pub use control::{ControlError, zone_of};
pub use gc::GcReport;
pub use worker::GcWorker;

use crate::conn::{Conn, EXT_HELPER};
use crate::events::Ear;
use crate::expect::Expectations;
use crate::hash::{HashKind, KeyHasher};
use crate::hooks::HookFn;
use crate::net::Net;
use crate::packet::{Hook, Packet, Verdict};
use crate::seqadj;
use crate::stats::StatsSnapshot;
use crate::status::{self, CtInfo};
use crate::store::Store;
use crate::sysctl::{Sysctl, SysctlError, Sysctls};
use crate::tuple::Family;
use crate::zone::NetId;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

const MAX: &str = "nf_conntrack_max";
const BUCKETS: &str = "nf_conntrack_buckets";

/// What all namespaces of one table share.
struct Core<S> {
    store: S,
    hasher: KeyHasher,
    config: Config,
    /// `nf_conntrack_max`: a number on its own, Relaxed.
    max: AtomicUsize,
    gc: Mutex<gc::GcState>,
    /// A hint to the collector, Relaxed: seen late it helps late.
    make_room: AtomicBool,
}

/// The application's text for a connection.
type Formatter<U> = Arc<dyn Fn(&Conn<U>) -> Option<String> + Send + Sync>;

/// Connection tracking of one namespace.
pub struct Tracker<S: Store> {
    core: Arc<Core<S>>,
    net: Arc<Net>,
    users: [AtomicUsize; 2],
    formatter: RwLock<Option<Formatter<S::User>>>,
    helpers: RwLock<HashMap<String, Arc<dyn HookFn<S>>>>,
    pub(crate) expect: Expectations,
    pub(crate) ear: Ear<S::User>,
}

impl<S: Store> Tracker<S> {
    /// A tracker for namespace 0 with entries in `store`.
    #[must_use]
    pub fn new(store: S, config: Config) -> Self {
        let (k0, k1) = config.seed.unwrap_or_else(random_seed);
        let hasher = KeyHasher::new(config.hash, k0, k1);
        let max = AtomicUsize::new(config.max);
        let (gc, make_room) = (Mutex::default(), AtomicBool::new(false));
        Self::with(
            Arc::new(Core {
                store,
                hasher,
                config,
                max,
                gc,
                make_room,
            }),
            NetId(0),
        )
    }

    /// A tracker for another namespace over the same table. Its entries, knobs and counters are its own; `nf_conntrack_max` is common.
    #[must_use]
    pub fn namespace(&self, id: NetId) -> Self {
        Self::with(Arc::clone(&self.core), id)
    }

    fn with(core: Arc<Core<S>>, id: NetId) -> Self {
        let users = [AtomicUsize::new(1), AtomicUsize::new(1)];
        Self {
            core,
            net: Arc::new(Net::new(id)),
            users,
            formatter: RwLock::new(None),
            helpers: RwLock::default(),
            expect: Expectations::default(),
            ear: Ear::default(),
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

    /// Sets a knob by its kernel name, with or without `net.netfilter.`. `nf_conntrack_buckets` resizes the table, to the next multiple of 512 as the
    /// kernel does.
    ///
    /// # Errors
    /// Unknown names, and values out of range; a table that cannot be resized so.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), SysctlError> {
        let name = name.strip_prefix("net.netfilter.").unwrap_or(name);
        let invalid = |name| SysctlError::Invalid {
            name,
            value: value.to_owned(),
        };
        let value = value.trim();
        match name {
            MAX => self
                .core
                .max
                .store(value.parse().map_err(|_| invalid(MAX))?, Ordering::Relaxed),
            BUCKETS => {
                let wanted = value.parse::<u32>().ok().filter(|n| *n != 0);
                let buckets = wanted.map(|n| (n as usize).next_multiple_of(512));
                if !buckets.is_some_and(|n| self.core.store.resize(n)) {
                    return Err(invalid(BUCKETS));
                }
            }
            _ => {
                let s =
                    Sysctls::by_name(name).ok_or_else(|| SysctlError::Unknown(name.to_owned()))?;
                self.net
                    .sysctl
                    .set(s, value.parse().map_err(|_| invalid(s.name()))?)?;
            }
        }
        Ok(())
    }

    /// A knob's value as text; `nf_conntrack_count` and `nf_conntrack_buckets` too.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<String> {
        match name.strip_prefix("net.netfilter.").unwrap_or(name) {
            MAX => Some(self.core.max.load(Ordering::Relaxed).to_string()),
            "nf_conntrack_count" => Some(self.net.count().to_string()),
            BUCKETS => Some(self.core.store.buckets().to_string()),
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

    /// Somebody needs tracking of `family` (`nf_ct_netns_get`). A fresh tracker has one user for each family.
    pub fn enable(&self, family: Family) {
        // AcqRel, here and in `disable`: one caller at a time sees the change from 0. `is_enabled` is an answer about the past in any case.
        if self.users(family).fetch_add(1, Ordering::AcqRel) == 0 {
            self.forget_tcp_windows(family);
        }
    }

    /// The reverse of [`Tracker::enable`] (`nf_ct_netns_put`). Without users a pipeline's own hooks let packets of that family pass untouched.
    pub fn disable(&self, family: Family) {
        let _ = self
            .users(family)
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| n.checked_sub(1));
    }

    /// Has tracking of `family` users?
    #[must_use]
    pub fn is_enabled(&self, family: Family) -> bool {
        self.users(family).load(Ordering::Relaxed) != 0
    }

    /// Registers what connections with the helper `name` run for each packet that leaves (`nf_conntrack_helper_register`).
    pub fn register_helper(&self, name: &str, helper: Arc<dyn HookFn<S>>) {
        self.helpers.write().insert(name.to_owned(), helper);
    }

    /// Runs the helper of the packet's connection, if it has one that is registered, and shifts TCP sequence numbers where a helper has changed
    /// lengths before. Not for errors about answers.
    pub fn help<'t>(&'t self, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict {
        let special = |c: &&Conn<S::User>| c.has_ext(EXT_HELPER) || c.has(status::SEQ_ADJUST);
        let Some(c) = pkt.conn().filter(special) else {
            return Verdict::Accept;
        };
        let Some(info) = pkt.nfct().info().filter(|i| *i != CtInfo::RelatedReply) else {
            return Verdict::Accept;
        };
        // A packet that the helper changes now keeps its number: the shift begins behind it.
        let shifts = c.has(status::SEQ_ADJUST).then(|| c.inner().seqadj());
        let helper = c
            .helper()
            .and_then(|name| self.helpers.read().get(&*name).cloned());
        let verdict = helper.map_or(Verdict::Accept, |h| h.call(self, pkt, hook));
        if verdict != Verdict::Accept {
            return verdict;
        }
        match shifts {
            Some(shifts) if !seqadj::packet(pkt, &shifts, info.dir()) => Verdict::Drop,
            _ => Verdict::Accept,
        }
    }

    fn users(&self, family: Family) -> &AtomicUsize {
        &self.users[usize::from(family == Family::Ipv6)]
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
