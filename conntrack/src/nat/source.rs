//! What sources have been mapped to (`nf_nat_bysource`): a source that has connections already is mapped as they are, if the rules allow it, so that it
//! looks the same to everybody.

use crate::tuple::Tuple;
use crate::zone::Key;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// An address with a port (or id).
pub(crate) type End = (IpAddr, u16);

/// Source address and port, protocol, zone of the original direction.
type Source = (IpAddr, u16, u8, u16);

/// By source, the mappings of its entries, each with the entry's place; the youngest last.
type Shard = Mutex<HashMap<Source, Vec<(usize, End)>>>;

const SHARDS: usize = 16;

/// The mappings of one namespace; each belongs to an entry and goes with it.
#[derive(Debug)]
pub(crate) struct Sources {
    hasher: RandomState,
    shards: [Shard; SHARDS],
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

fn source(t: &Tuple, zone: u16) -> Source {
    (t.src(), t.src_l4(), t.protonum(), zone)
}

impl Sources {
    fn shard(&self, s: &Source) -> &Shard {
        &self.shards[self.hasher.hash_one(s) as usize % SHARDS]
    }

    /// The entry at `place`, with the original key `key`, maps its source to `to`.
    pub(crate) fn add(&self, key: &Key, place: usize, to: End) {
        let s = source(&key.tuple, key.zone);
        self.shard(&s)
            .lock()
            .entry(s)
            .or_default()
            .push((place, to));
    }

    /// That entry is no more.
    pub(crate) fn forget(&self, key: &Key, place: usize) {
        let s = source(&key.tuple, key.zone);
        let mut shard = self.shard(&s).lock();
        if let Some(list) = shard.get_mut(&s) {
            list.retain(|(p, _)| *p != place);
            if list.is_empty() {
                shard.remove(&s);
            }
        }
    }

    /// The youngest mapping of the source of `tuple` that `fits` (`find_appropriate_src`).
    pub(crate) fn find(&self, tuple: &Tuple, zone: u16, fits: impl Fn(End) -> bool) -> Option<End> {
        let s = source(tuple, zone);
        let shard = self.shard(&s).lock();
        let list = shard.get(&s)?;
        list.iter().rev().map(|(_, to)| *to).find(|to| fits(*to))
    }
}
