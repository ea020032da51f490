//! The stores that can be compared. One more needs a variant here and an arm in [`StoreKind::run`].

use clap::ValueEnum;
use nulls_conntrack::{Config, LockedStore, NullsStore, Store, Tracker};

use crate::store_dashmap::DashStore;
use crate::store_papaya::PapayaStore;

/// What holds the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoreKind {
    /// The table of this project: lock-free readers, entries in type-stable memory
    Nulls,
    /// dashmap 6, as well as it can be done
    Dashmap,
    /// papaya 0.2, likewise
    Papaya,
    /// An ordered map behind one lock
    Locked,
}

impl StoreKind {
    /// Compared unless told otherwise.
    pub(crate) const DEFAULT: [StoreKind; 2] = [StoreKind::Nulls, StoreKind::Dashmap];

    pub(crate) fn name(self) -> &'static str {
        match self {
            StoreKind::Nulls => "nulls",
            StoreKind::Dashmap => "dashmap",
            StoreKind::Papaya => "papaya",
            StoreKind::Locked => "locked",
        }
    }

    /// Makes a fresh tracker on this store and gives the maker to `job`.
    pub(crate) fn run<J: Job>(self, room: Room, config: Config, job: J) -> J::Output {
        let expected = room.expected as usize;
        match self {
            StoreKind::Nulls => job.run(|| {
                let store = NullsStore::<()>::with_capacity(room.most, room.expected);
                Tracker::new(store.expect("memory"), config)
            }),
            StoreKind::Dashmap => {
                job.run(|| Tracker::new(DashStore::with_capacity(expected, None), config))
            }
            StoreKind::Papaya => {
                job.run(|| Tracker::new(PapayaStore::with_capacity(expected), config))
            }
            StoreKind::Locked => {
                job.run(|| Tracker::new(LockedStore::<()>::new(room.most as usize), config))
            }
        }
    }
}

/// Numbers of entries that a store is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// There are never more.
    pub(crate) most: u32,
    /// What the store has room for from the beginning.
    pub(crate) expected: u32,
}

/// Something to do with a tracker on any store.
pub(crate) trait Job {
    type Output;

    /// Does it; `make` is called once.
    fn run<S: Store<User = ()>>(self, make: impl FnOnce() -> Tracker<S>) -> Self::Output;
}
