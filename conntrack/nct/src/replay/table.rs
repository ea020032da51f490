//! The connection table that replays use: one type for all of them, and the numbers of its entries.

use std::sync::atomic::{AtomicU32, Ordering};

use nulls_conntrack::{Config, Conn, Nanos, Snapshot, Store, Tracker};

use super::settings::Setting;
use crate::store_any::{AnyKind, AnyStore};

/// Storage of the entries. Each carries the number that [`Numbers`] gave it in the slot that the library leaves to the
/// application: an entry that goes and comes back is a new one, and gets a new number.
pub(crate) type Table = AnyStore<u32>;

/// The setting for the number of buckets.
pub(crate) const BUCKETS: &str = "nf_conntrack_buckets";

/// Buckets to begin with when nothing is said: the table grows as needed.
const FIRST_BUCKETS: usize = 512;

/// Makes an empty table. Of the settings only `nf_conntrack_buckets` is used: it must be known beforehand. How many
/// entries there may be is `nf_conntrack_max`'s business; memory is taken as they come.
pub(crate) fn tracker(kind: AnyKind, settings: &[Setting]) -> Result<Tracker<Table>, String> {
    let mut buckets = FIRST_BUCKETS;
    for (_, value) in settings.iter().filter(|(name, _)| name == BUCKETS) {
        let n: u32 = value
            .parse()
            .map_err(|_| format!("`{value}` is not a value for {BUCKETS}"))?;
        buckets = n as usize;
    }
    let store = AnyStore::new(kind, buckets).map_err(|e| format!("{BUCKETS} = {buckets}: {e}"))?;
    Ok(Tracker::new(store, Config::default()))
}

/// Numbers entries in order of appearance, from 1.
#[derive(Debug)]
pub(crate) struct Numbers(AtomicU32);

impl Numbers {
    /// Nothing numbered yet.
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(1))
    }

    /// The number of an entry in the table, given now if it has none yet.
    pub(crate) fn of(&self, conn: &Conn<u32>) -> u32 {
        // Relaxed: only uniqueness matters, and the replay is one thread.
        *conn
            .user()
            .get_or_set_with(|| self.0.fetch_add(1, Ordering::Relaxed))
    }

    /// Copies of all live entries with their numbers, in order of appearance. Expired entries are removed on the way.
    pub(crate) fn dump(&self, ct: &Tracker<Table>, now: Nanos) -> Vec<(u32, Snapshot)> {
        let mut out = Vec::new();
        ct.for_each(now, |r| {
            out.push((self.of(r), Snapshot::of(r, Table::count(r), now)))
        });
        out.sort_by_key(|(c, _)| *c);
        out
    }
}
