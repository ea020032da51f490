//! The same tracker on dashmap: as good a [`Store`] as dashmap 6 allows.
//!
//! * The tracker's hash is used as it is: the map's hasher passes it through, growth never hashes a tuple again.
//! * A slot of the map is 16 bytes: the hash (one bit of it says which direction of the entry is linked here) and the entry's [`Arc`].
//!   The key is not stored a second time, it is compared in the entry, which the tracker is about to touch anyway.
//! * `insert` and `remove` change two keys in one step. dashmap's own methods lock one shard at a time, so this uses its `raw-api`: both shards are
//!   locked, in the order of their numbers, and no allocation but the table's own growth happens under the locks.
//! * An entry is one allocation, made before and freed after the locks are held.
//!
//! What dashmap cannot give: chains (there is no chain limit), and a walk in small steps during which every link is seen exactly once. A walk goes
//! shard by shard. Only the search for a victim when the table is full looks at a few slots.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use dashmap::{DashMap, RwLockWriteGuard, SharedValue};
use hashbrown::raw::RawTable;
use nulls_conntrack::conn::Conn;
use nulls_conntrack::status::{DYING, NAT_CLASH};
use nulls_conntrack::store::{InsertError, Peek, Store};
use nulls_conntrack::tuple::Direction;
use nulls_conntrack::zone::{Key, Link};

/// The bit of a slot's hash that holds the direction. dashmap takes the tag from the top seven bits, the shard from those below, and the place from
/// the lowest: this one is left for tables of fewer than 2^40 slots.
const DIRECTION: u64 = 1 << 40;

/// A hash as it is.
#[derive(Debug, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u64` keys are hashed here; anything else is folded in so that the result is still a function of the bytes.
        for &b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(b);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type Map<U> = DashMap<u64, Arc<Conn<U>>, BuildHasherDefault<Identity>>;
type Slot<U> = (u64, SharedValue<Arc<Conn<U>>>);

/// A counted reference, or a fresh entry.
pub(crate) type DashRef<U> = Arc<Conn<U>>;

/// See the module's comment.
pub(crate) struct DashStore<U = ()> {
    map: Map<U>,
}

impl<U> std::fmt::Debug for DashStore<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DashStore")
            .field("shards", &self.map.shards().len())
            .finish_non_exhaustive()
    }
}

fn plain(hash: u64) -> u64 {
    hash & !DIRECTION
}

fn slot_hash<U>(slot: &Slot<U>) -> u64 {
    plain(slot.0)
}

fn direction(word: u64) -> Direction {
    if word & DIRECTION == 0 {
        Direction::Original
    } else {
        Direction::Reply
    }
}

fn word(hash: u64, dir: Direction) -> u64 {
    plain(hash)
        | if dir == Direction::Reply {
            DIRECTION
        } else {
            0
        }
}

/// Slots that stand for a bucket when an entry is to be evicted: a line of the table this is compared with has as many.
const BUCKET: usize = 8;

impl<U: Default + Send + Sync + 'static> DashStore<U> {
    /// A store with room for `entries` entries (each takes two slots); `shards` must be a power of two above 1, `None` is dashmap's default.
    pub(crate) fn with_capacity(entries: usize, shards: Option<usize>) -> Self {
        let links = entries.saturating_mul(2);
        let hasher = BuildHasherDefault::default();
        let map = match shards {
            None => DashMap::with_capacity_and_hasher(links, hasher),
            Some(shards) => {
                DashMap::with_capacity_and_hasher_and_shard_amount(links, hasher, shards)
            }
        };
        DashStore { map }
    }

    fn shard_of(&self, hash: u64) -> usize {
        self.map.determine_shard(plain(hash) as usize)
    }

    /// Write locks of the shards of two hashes, taken in the order of their numbers; the second is `None` if they are the same.
    #[allow(clippy::type_complexity)] // two guards, spelt out
    fn lock_two(
        &self,
        a: usize,
        b: usize,
    ) -> (
        RwLockWriteGuard<'_, RawTable<Slot<U>>>,
        Option<RwLockWriteGuard<'_, RawTable<Slot<U>>>>,
    ) {
        let shards = self.map.shards();
        if a == b {
            return (shards[a].write(), None);
        }
        if a < b {
            let first = shards[a].write();
            return (first, Some(shards[b].write()));
        }
        let second = shards[b].write();
        (shards[a].write(), Some(second))
    }
}

/// Whoever is linked in `table` under `link`'s key, confirmed or not.
fn holder<U>(table: &RawTable<Slot<U>>, link: &Link) -> Option<Arc<Conn<U>>> {
    let hash = plain(link.hash);
    let slot = table.get(hash, |slot| {
        slot_hash(slot) == hash && slot.1.get().matches(direction(slot.0), &link.key)
    })?;
    Some(Arc::clone(slot.1.get()))
}

fn link_in<U>(table: &mut RawTable<Slot<U>>, link: &Link, dir: Direction, entry: &Arc<Conn<U>>) {
    let slot = (word(link.hash, dir), SharedValue::new(Arc::clone(entry)));
    table.insert(plain(link.hash), slot, slot_hash);
}

/// Takes `entry`'s link out; dropping the result may free the entry, which is left to the caller, after the locks.
fn unlink<U>(
    table: &mut RawTable<Slot<U>>,
    link: &Link,
    dir: Direction,
    entry: &Arc<Conn<U>>,
) -> Option<Slot<U>> {
    let wanted = word(link.hash, dir);
    table.remove_entry(plain(link.hash), |slot| {
        slot.0 == wanted && Arc::ptr_eq(slot.1.get(), entry)
    })
}

/// Appends the slot's entry to `out` if it is wanted.
fn show<U>(
    slot: &Slot<U>,
    wanted: &mut dyn FnMut(Peek, Direction) -> bool,
    out: &mut Vec<(DashRef<U>, Direction)>,
) {
    let (entry, dir) = (slot.1.get(), direction(slot.0));
    if wanted(entry.peek(), dir) {
        out.push((Arc::clone(entry), dir));
    }
}

// SAFETY: words are made and read by `arc_entries`.
unsafe impl<U: Default + Send + Sync + 'static> Store for DashStore<U> {
    nulls_conntrack::arc_entries!(U);

    fn count(r: &DashRef<U>) -> u32 {
        // Each link holds an `Arc`, but all links together count as one reference of the table.
        let linked_twice = r.is_confirmed() && !r.has(DYING | NAT_CLASH);
        let count = Arc::strong_count(r) - usize::from(linked_twice);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn find(&self, hash: u64, key: &Key) -> Option<(DashRef<U>, Direction)> {
        let hash = plain(hash);
        let shard = self.map.shards()[self.shard_of(hash)].read();
        let slot = shard.get(hash, |slot| {
            slot_hash(slot) == hash && slot.1.get().matches(direction(slot.0), key)
        })?;
        let (entry, dir) = (slot.1.get(), direction(slot.0));
        if !entry.is_confirmed() {
            return None;
        }
        // A flow to itself has the same key twice; the kernel meets the reply link first.
        let twice = dir == Direction::Original
            && key.tuple.is_to_itself()
            && entry.matches(Direction::Reply, key);
        Some((
            Arc::clone(entry),
            if twice { Direction::Reply } else { dir },
        ))
    }

    fn insert(
        &self,
        r: &DashRef<U>,
        original: &Link,
        reply: &Link,
        _chain_limit: usize,
    ) -> Result<(), InsertError<DashRef<U>>> {
        let (a, b) = (self.shard_of(original.hash), self.shard_of(reply.hash));
        let (mut first, mut second) = self.lock_two(a, b);
        if let Some(winner) = holder(&first, original) {
            return Err(InsertError::Clash {
                winner,
                at: Direction::Original,
            });
        }
        if let Some(winner) = holder(second.as_ref().unwrap_or(&first), reply) {
            return Err(InsertError::Clash {
                winner,
                at: Direction::Reply,
            });
        }
        link_in(&mut first, original, Direction::Original, r);
        link_in(
            second.as_mut().unwrap_or(&mut first),
            reply,
            Direction::Reply,
            r,
        );
        Ok(())
    }

    fn insert_reply(&self, r: &DashRef<U>, reply: &Link) -> Result<(), InsertError<DashRef<U>>> {
        let mut shard = self.map.shards()[self.shard_of(reply.hash)].write();
        if let Some(winner) = holder(&shard, reply) {
            return Err(InsertError::Clash {
                winner,
                at: Direction::Reply,
            });
        }
        link_in(&mut shard, reply, Direction::Reply, r);
        Ok(())
    }

    fn remove(&self, r: &DashRef<U>, original: Option<&Link>, reply: &Link) {
        let b = self.shard_of(reply.hash);
        let Some(original) = original else {
            let gone = unlink(
                &mut self.map.shards()[b].write(),
                reply,
                Direction::Reply,
                r,
            );
            drop(gone);
            return;
        };
        let (mut first, mut second) = self.lock_two(self.shard_of(original.hash), b);
        let gone = unlink(&mut first, original, Direction::Original, r);
        let gone_too = unlink(
            second.as_mut().unwrap_or(&mut first),
            reply,
            Direction::Reply,
            r,
        );
        drop((first, second));
        drop((gone, gone_too));
    }

    fn step(
        &self,
        cursor: u64,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(DashRef<U>, Direction)>,
    ) -> Option<u64> {
        let shards = self.map.shards();
        let n = usize::try_from(cursor).ok().filter(|&n| n < shards.len())?;
        let shard = shards[n].read();
        // SAFETY: the iterator does not outlive `shard`, whose read lock keeps writers out.
        for bucket in unsafe { shard.iter() } {
            // SAFETY: as above; the iterator yields initialised slots only.
            show(unsafe { bucket.as_ref() }, wanted, out);
        }
        (n + 1 < shards.len()).then_some(cursor + 1)
    }

    fn cursor_at(&self, hash: u64) -> u64 {
        self.shard_of(hash) as u64
    }

    fn bucket(
        &self,
        hash: u64,
        n: usize,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(DashRef<U>, Direction)>,
    ) {
        let shard = self.map.shards()[self.shard_of(hash)].read();
        let slots = shard.buckets();
        // Where a look-up of `hash` begins, and so many slots further on; the number of slots is a power of two.
        let first = (plain(hash) as usize).wrapping_add(n.wrapping_mul(BUCKET));
        for at in (0..BUCKET.min(slots)).map(|i| first.wrapping_add(i) & (slots - 1)) {
            // SAFETY: `at` is below the number of slots, and the read lock keeps the table as it is.
            if unsafe { shard.is_bucket_full(at) } {
                // SAFETY: as above, and the slot is full.
                show(unsafe { shard.bucket(at).as_ref() }, wanted, out);
            }
        }
    }

    fn len(&self) -> usize {
        self.map.len()
    }

    fn buckets(&self) -> usize {
        self.map
            .shards()
            .iter()
            .map(|shard| shard.read().buckets())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Barrier;

    use nulls_conntrack::{
        Config, Family, Hook, NullsStore, Packet, PacketState, Tracker, Verdict,
    };

    use super::*;
    use crate::workload::packet::{Ends, Layer4, Segment, Side, write};

    fn datagram(client: u32, from: Side) -> Vec<u8> {
        let ends = Ends {
            client,
            server: 0xc612_0001,
            client_port: 5000,
            server_port: 53,
            v6: false,
        };
        let segment = Segment {
            from,
            layer4: Layer4::Udp,
            payload: 0,
        };
        let mut bytes = Vec::new();
        write(&ends, &segment, &mut bytes);
        bytes
    }

    fn pass<S: Store>(tracker: &Tracker<S>, bytes: &[u8], time: u64) -> PacketState {
        let mut packet = Packet::new(bytes, Family::Ipv4, time);
        assert_eq!(
            tracker.track(&mut packet, Hook::PreRouting),
            Verdict::Accept
        );
        assert_eq!(
            tracker.confirm(&mut packet, Hook::PostRouting),
            Verdict::Accept
        );
        packet.state()
    }

    fn tracker() -> Tracker<DashStore> {
        let config = Config {
            max: 0,
            ..Config::default()
        };
        Tracker::new(DashStore::with_capacity(0, None), config)
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn entries_are_found_by_both_keys_and_go_away_entirely() {
        let tracker = tracker();
        for client in 1..=5_000 {
            assert_eq!(
                pass(&tracker, &datagram(client, Side::Client), SECOND),
                PacketState::New
            );
            assert_eq!(
                pass(&tracker, &datagram(client, Side::Server), SECOND),
                PacketState::Established
            );
        }
        assert_eq!(tracker.store().len(), 10_000);
        assert_eq!(tracker.net().count(), 5_000);
        let mut held = Vec::new();
        tracker.for_each(SECOND, |entry| held.push(entry.clone()));
        assert_eq!(held.len(), 5_000);
        assert!(held.iter().all(|entry| DashStore::count(entry) == 2));
        assert_eq!(tracker.delete_if(SECOND, |_| true), 5_000);
        assert_eq!(tracker.store().len(), 0);
        // References outlive the links.
        assert!(held.iter().all(|entry| DashStore::count(entry) == 1));
        assert_eq!(tracker.net().count(), 5_000);
        drop(held);
        assert_eq!(tracker.net().count(), 0);
    }

    #[test]
    fn a_walk_shows_every_link_once() {
        let tracker = tracker();
        for client in 1..=3_000 {
            pass(&tracker, &datagram(client, Side::Client), SECOND);
        }
        let (mut cursor, mut out) = (Some(0), Vec::new());
        let mut steps = 0;
        while let Some(at) = cursor {
            cursor = tracker.store().step(at, &mut |_, _| true, &mut out);
            steps += 1;
        }
        assert!(steps > 1);
        let mut seen: HashMap<(u32, bool), u32> = HashMap::new();
        for (entry, dir) in &out {
            *seen
                .entry((entry.id(), *dir == Direction::Reply))
                .or_default() += 1;
        }
        assert_eq!(out.len(), 6_000);
        assert!(seen.values().all(|&n| n == 1));
        assert_eq!(
            tracker.store().step(u64::MAX, &mut |_, _| true, &mut out),
            None
        );
    }

    #[test]
    fn buckets_are_small_and_wrap() {
        let tracker = tracker();
        let mut out = Vec::new();
        tracker
            .store()
            .bucket(u64::MAX, usize::MAX, &mut |_, _| true, &mut out);
        assert!(out.is_empty());
        for client in 1..=2_000 {
            pass(&tracker, &datagram(client, Side::Client), SECOND);
        }
        let mut shown = 0;
        for n in 0..10_000 {
            out.clear();
            tracker
                .store()
                .bucket(u64::MAX / 3, n, &mut |_, _| true, &mut out);
            assert!(out.len() <= BUCKET);
            shown += out.len();
        }
        assert!(shown > 0);
    }

    #[test]
    fn of_equal_flows_that_begin_at_once_one_is_linked() {
        const THREADS: usize = 4;
        let tracker = tracker();
        let barrier = Barrier::new(THREADS);
        for client in 1..=500u32 {
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        let bytes = datagram(client, Side::Client);
                        let mut packet = Packet::new(&bytes, Family::Ipv4, SECOND);
                        assert_eq!(
                            tracker.track(&mut packet, Hook::PreRouting),
                            Verdict::Accept
                        );
                        // All have seen a miss, now all of them confirm.
                        barrier.wait();
                        assert_eq!(
                            tracker.confirm(&mut packet, Hook::PostRouting),
                            Verdict::Accept
                        );
                    });
                }
            });
        }
        assert_eq!(tracker.store().len(), 1_000);
        assert_eq!(tracker.net().count(), 500);
        assert_eq!(tracker.stats().clash_resolve, 500 * (THREADS as u64 - 1));
    }

    #[test]
    fn a_flow_to_itself_is_answered_as_the_other_store_does() {
        let ends = Ends {
            client: 7,
            server: 7,
            client_port: 9,
            server_port: 9,
            v6: false,
        };
        let mut bytes = Vec::new();
        let segment = Segment {
            from: Side::Client,
            layer4: Layer4::Udp,
            payload: 0,
        };
        write(&ends, &segment, &mut bytes);
        let nulls: Tracker<NullsStore> =
            Tracker::new(NullsStore::new(100, 1).unwrap(), Config::default());
        let dashmap = tracker();
        for _ in 0..3 {
            assert_eq!(pass(&nulls, &bytes, SECOND), pass(&dashmap, &bytes, SECOND));
        }
        assert_eq!(
            dashmap.delete_if(SECOND, |_| true),
            nulls.delete_if(SECOND, |_| true)
        );
        assert_eq!(dashmap.store().len(), 0);
    }
}
