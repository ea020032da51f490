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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::ipproto;
    use Direction::{Original, Reply};

    #[test]
    fn a_zone_counts_in_its_directions() {
        let ids = |z: Zone| [z.id_for(Original), z.id_for(Reply)];
        assert_eq!(ids(Zone::both(7)), [7, 7]);
        assert_eq!(ids(Zone::one_way(7, Original)), [7, 0]);
        assert_eq!(ids(Zone::one_way(7, Reply)), [0, 7]);
        let default = Zone {
            id: 0,
            dirs: 3,
            from_mark: false,
        };
        assert_eq!((Zone::default(), Zone::DEFAULT), (default, default));
    }

    #[test]
    fn a_word_holds_a_zone() {
        let a = Zone {
            id: 0x1234,
            dirs: 2,
            from_mark: true,
        };
        assert_eq!(a.pack(), 0x0102_1234);
        assert_eq!(Zone::unpack(0x0102_1234), a);
        let b = Zone {
            id: 0xffff,
            dirs: 1,
            from_mark: false,
        };
        assert_eq!(b.pack(), 0x0001_ffff);
        // Bits without a meaning have none.
        assert_eq!(Zone::unpack(0xfefd_ffff), b);
    }

    #[test]
    fn a_zone_of_one_direction_separates_the_links() {
        let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::UDP, 1000, 53);
        let keys = |zone| {
            [Original, Reply].map(|dir| {
                let key = Key::new(tuple, zone, dir, NetId(4));
                assert_eq!((key.tuple, key.net), (tuple, NetId(4)));
                (key.zone, key.links)
            })
        };
        assert_eq!(keys(Zone::both(7)), [(7, 3), (7, 3)]);
        assert_eq!(keys(Zone::one_way(7, Original)), [(7, 1), (0, 2)]);
        assert_eq!(keys(Zone::one_way(7, Reply)), [(0, 1), (7, 2)]);
        // Zone 0 is what the other direction has anyway.
        assert_eq!(keys(Zone::one_way(0, Reply)), [(0, 3), (0, 3)]);
    }
}
