//! Zones: several tables in one (`include/net/netfilter/nf_conntrack_zones.h`), and the key under which an entry is found.

use crate::tuple::{Direction, Tuple};

/// Number of a network namespace. Entries of different namespaces never meet, even in one shared table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetId(pub u32);

/// A zone: an id, and the directions in which it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone {
    /// The zone's number; 0 is the default zone.
    pub id: u16,
    /// Bit 0: applies to the original direction; bit 1: to the reply direction.
    pub dirs: u8,
    /// Take the id from the packet's mark instead (`NF_CT_FLAG_MARK`; templates only).
    pub from_mark: bool,
}

impl Zone {
    /// Zone 0 in both directions.
    pub const DEFAULT: Zone = Zone::both(0);

    /// `id` in both directions.
    #[must_use]
    pub const fn both(id: u16) -> Self {
        Self {
            id,
            dirs: 3,
            from_mark: false,
        }
    }

    /// `id` in one direction, zone 0 in the other.
    #[must_use]
    pub const fn one_way(id: u16, dir: Direction) -> Self {
        Self {
            id,
            dirs: 1 << dir.index(),
            from_mark: false,
        }
    }

    /// The id that counts for `dir` (`nf_ct_zone_id`).
    #[must_use]
    pub const fn id_for(self, dir: Direction) -> u16 {
        if self.dirs & (1 << dir.index()) != 0 {
            self.id
        } else {
            0
        }
    }

    pub(crate) const fn pack(self) -> u32 {
        self.id as u32 | (self.dirs as u32) << 16 | (self.from_mark as u32) << 24
    }

    pub(crate) const fn unpack(w: u32) -> Self {
        Self {
            id: w as u16,
            dirs: (w >> 16) as u8 & 3,
            from_mark: w >> 24 & 1 != 0,
        }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What an entry is looked up by: a tuple, the zone id of that tuple's direction, and the namespace. Two keys are the same connection's only if
/// each may be that of the other's link, see [`Key::links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The tuple.
    pub tuple: Tuple,
    /// The zone id for the tuple's direction.
    pub zone: u16,
    /// Which links of other entries it may be the key of: 1 original, 2 reply, 3 either. A zone that applies to one direction only separates an
    /// original tuple from an equal reply tuple.
    pub links: u8,
    /// The namespace.
    pub net: NetId,
}

impl Key {
    /// The key of `tuple` as direction `dir` of a connection in `zone` (`nf_ct_key_equal`).
    #[must_use]
    pub fn new(tuple: Tuple, zone: Zone, dir: Direction, net: NetId) -> Self {
        let id = zone.id_for(dir);
        let links = if id == zone.id_for(dir.other()) {
            3
        } else {
            1 << dir.index()
        };
        Self {
            tuple,
            zone: id,
            links,
            net,
        }
    }
}

/// A key with its hash: what one of an entry's two links needs.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The key's hash; see [`crate::hash`].
    pub hash: u64,
    /// The key.
    pub key: Key,
}
