//! The same tracker on papaya, for measuring: as good a [`Store`] as papaya 0.2 allows.
//!
//! * The tracker's hash is used as it is. A key of the map is the hash, the direction and the entry's [`Arc`]; the tuple is compared in the entry,
//!   which the tracker is about to touch anyway.
//! * papaya changes one key at a time. An entry's two links are inserted one after the other, and the first is taken back if the second clashes:
//!   nobody finds an entry before it is confirmed, which the tracker does when both are there. Two flows whose links cross may both be refused then.
//!
//! What papaya cannot give: chains (there is no chain limit), and walks in steps: one step shows everything. The search for a victim when the table
//! is full looks at the first few entries of the map, whatever the hash. Entries that were removed are freed in batches, so that the number of
//! entries falls a little late.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use nulls_conntrack::conn::Conn;
use nulls_conntrack::status::{DYING, NAT_CLASH};
use nulls_conntrack::store::{InsertError, Peek, Store};
use nulls_conntrack::tuple::Direction;
use nulls_conntrack::zone::{Key, Link};
use papaya::{Compute, Equivalent, HashMap, Operation};

use crate::store_dashmap::Identity;

/// A counted reference, or a fresh entry.
pub(crate) type PapayaRef<U> = Arc<Conn<U>>;

/// One link of an entry.
struct Slot<U> {
    hash: u64,
    dir: Direction,
    entry: Arc<Conn<U>>,
}

impl<U> Slot<U> {
    /// A flow to itself has one key for both of its links, and one slot.
    fn stands_for_both(&self) -> bool {
        let key = self.entry.key(self.dir);
        self.dir == Direction::Original
            && key.tuple.is_to_itself()
            && self.entry.matches(Direction::Reply, &key)
    }
}

impl<U> Hash for Slot<U> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<U> PartialEq for Slot<U> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && other.entry.matches(other.dir, &self.entry.key(self.dir))
    }
}

impl<U> Eq for Slot<U> {}

/// A link that is looked for.
struct Wanted<'a> {
    hash: u64,
    key: &'a Key,
}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<U> Equivalent<Slot<U>> for Wanted<'_> {
    fn equivalent(&self, slot: &Slot<U>) -> bool {
        self.hash == slot.hash && slot.entry.matches(slot.dir, self.key)
    }
}

impl<'a> From<&'a Link> for Wanted<'a> {
    fn from(link: &'a Link) -> Self {
        Wanted {
            hash: link.hash,
            key: &link.key,
        }
    }
}

/// See the module's comment.
pub(crate) struct PapayaStore<U = ()> {
    map: HashMap<Slot<U>, (), BuildHasherDefault<Identity>>,
}

impl<U> std::fmt::Debug for PapayaStore<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PapayaStore").finish_non_exhaustive()
    }
}

/// Entries that stand for a bucket when one is to be evicted: a line of the table this is compared with has as many.
const BUCKET: usize = 8;

impl<U: Default + Send + Sync + 'static> PapayaStore<U> {
    /// A store with room for `entries` entries, each of which has two links.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        let links = entries.saturating_mul(2);
        PapayaStore {
            map: HashMap::with_capacity_and_hasher(links, BuildHasherDefault::default()),
        }
    }

    /// Links `r` in direction `dir`, unless another entry has the key.
    fn link_in(
        &self,
        r: &PapayaRef<U>,
        link: &Link,
        dir: Direction,
    ) -> Result<(), InsertError<PapayaRef<U>>> {
        let slot = Slot {
            hash: link.hash,
            dir,
            entry: Arc::clone(r),
        };
        let map = self.map.pin();
        let done = map.compute(slot, |seen| match seen {
            None => Operation::Insert(()),
            Some((slot, ())) => Operation::Abort(Arc::clone(&slot.entry)),
        });
        match done {
            // A flow to itself.
            Compute::Aborted(winner) if !Arc::ptr_eq(&winner, r) => {
                Err(InsertError::Clash { winner, at: dir })
            }
            _ => Ok(()),
        }
    }

    fn unlink(&self, r: &PapayaRef<U>, link: &Link) {
        let mine = |slot: &Slot<U>, (): &()| Arc::ptr_eq(&slot.entry, r);
        // Whether it was there does not matter; what was removed is freed later.
        let _ = self.map.pin().remove_if(&Wanted::from(link), mine);
    }
}

/// Appends the slot's entry to `out` if it is wanted.
fn show<U>(
    slot: &Slot<U>,
    wanted: &mut dyn FnMut(Peek, Direction) -> bool,
    out: &mut Vec<(PapayaRef<U>, Direction)>,
) {
    let mut show = |dir| {
        if wanted(slot.entry.peek(), dir) {
            out.push((Arc::clone(&slot.entry), dir));
        }
    };
    show(slot.dir);
    if slot.stands_for_both() {
        show(Direction::Reply);
    }
}

// SAFETY: words are made and read by `arc_entries`.
unsafe impl<U: Default + Send + Sync + 'static> Store for PapayaStore<U> {
    nulls_conntrack::arc_entries!(U);

    fn count(r: &PapayaRef<U>) -> u32 {
        // Each link holds an `Arc`, but all links together count as one reference of the table.
        let linked_twice = r.is_confirmed()
            && !r.has(DYING | NAT_CLASH)
            && r.key(Direction::Original).tuple != r.key(Direction::Reply).tuple;
        let count = Arc::strong_count(r) - usize::from(linked_twice);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn find(&self, hash: u64, key: &Key) -> Option<(PapayaRef<U>, Direction)> {
        let map = self.map.pin();
        let (slot, ()) = map.get_key_value(&Wanted { hash, key })?;
        if !slot.entry.is_confirmed() {
            return None;
        }
        // The kernel meets the reply link first.
        let dir = match slot.stands_for_both() {
            true => Direction::Reply,
            false => slot.dir,
        };
        Some((Arc::clone(&slot.entry), dir))
    }

    fn insert(
        &self,
        r: &PapayaRef<U>,
        original: &Link,
        reply: &Link,
        _chain_limit: usize,
    ) -> Result<(), InsertError<PapayaRef<U>>> {
        self.link_in(r, original, Direction::Original)?;
        self.link_in(r, reply, Direction::Reply)
            .inspect_err(|_| self.unlink(r, original))
    }

    fn insert_reply(
        &self,
        r: &PapayaRef<U>,
        reply: &Link,
    ) -> Result<(), InsertError<PapayaRef<U>>> {
        self.link_in(r, reply, Direction::Reply)
    }

    fn remove(&self, r: &PapayaRef<U>, original: Option<&Link>, reply: &Link) {
        if let Some(original) = original {
            self.unlink(r, original);
        }
        self.unlink(r, reply);
    }

    fn step(
        &self,
        cursor: u64,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(PapayaRef<U>, Direction)>,
    ) -> Option<u64> {
        if cursor == 0 {
            for (slot, ()) in &self.map.pin() {
                show(slot, wanted, out);
            }
        }
        None
    }

    fn cursor_at(&self, _hash: u64) -> u64 {
        0
    }

    fn bucket(
        &self,
        _hash: u64,
        n: usize,
        wanted: &mut dyn FnMut(Peek, Direction) -> bool,
        out: &mut Vec<(PapayaRef<U>, Direction)>,
    ) {
        let first = n.saturating_mul(BUCKET);
        for (slot, ()) in self.map.pin().iter().skip(first).take(BUCKET) {
            show(slot, wanted, out);
        }
    }

    fn len(&self) -> usize {
        self.map.len()
    }

    fn buckets(&self) -> usize {
        self.map.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use nulls_conntrack::{
        Config, Family, Hook, NullsStore, Packet, PacketState, Tracker, Verdict,
    };

    use super::*;
    use crate::workload::packet::{Ends, Layer4, Segment, Side, write};

    fn datagram(client: u32, server: u32, ports: [u16; 2], from: Side) -> Vec<u8> {
        let ends = Ends {
            client,
            server,
            client_port: ports[0],
            server_port: ports[1],
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

    const SECOND: u64 = 1_000_000_000;

    fn pass<S: Store>(tracker: &Tracker<S>, bytes: &[u8]) -> PacketState {
        let mut packet = Packet::new(bytes, Family::Ipv4, SECOND);
        for verdict in [
            tracker.track(&mut packet, Hook::PreRouting),
            tracker.confirm(&mut packet, Hook::PostRouting),
        ] {
            assert_eq!(verdict, Verdict::Accept);
        }
        packet.state()
    }

    fn tracker() -> Tracker<PapayaStore> {
        let config = Config {
            max: 0,
            ..Config::default()
        };
        Tracker::new(PapayaStore::with_capacity(0), config)
    }

    #[test]
    fn entries_are_found_by_both_keys_shown_once_and_go_away() {
        let tracker = tracker();
        for client in 1..=5_000 {
            for (from, state) in [
                (Side::Client, PacketState::New),
                (Side::Server, PacketState::Established),
            ] {
                let bytes = datagram(client, 0xc612_0001, [5000, 53], from);
                assert_eq!(pass(&tracker, &bytes), state);
            }
        }
        assert_eq!(tracker.store().len(), 10_000);
        let mut held = Vec::new();
        tracker.for_each(SECOND, |entry| held.push(entry.clone()));
        assert_eq!(held.len(), 5_000);
        assert!(held.iter().all(|entry| PapayaStore::count(entry) == 2));
        let mut shown = Vec::new();
        tracker.store().bucket(0, 3, &mut |_, _| true, &mut shown);
        assert_eq!(shown.len(), BUCKET);
        assert_eq!(tracker.delete_if(SECOND, |_| true), 5_000);
        assert_eq!(tracker.store().len(), 0);
    }

    #[test]
    fn of_equal_flows_that_begin_at_once_one_is_linked() {
        const THREADS: usize = 4;
        let tracker = tracker();
        let barrier = std::sync::Barrier::new(THREADS);
        for client in 1..=300u32 {
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        let bytes = datagram(client, 0xc612_0001, [5000, 53], Side::Client);
                        let mut packet = Packet::new(&bytes, Family::Ipv4, SECOND);
                        let seen = tracker.track(&mut packet, Hook::PreRouting);
                        // All have seen a miss, now all of them confirm.
                        barrier.wait();
                        let done = tracker.confirm(&mut packet, Hook::PostRouting);
                        assert_eq!((seen, done), (Verdict::Accept, Verdict::Accept));
                    });
                }
            });
        }
        assert_eq!(tracker.store().len(), 600);
        assert_eq!(tracker.stats().clash_resolve, 300 * (THREADS as u64 - 1));
    }

    #[test]
    fn a_flow_to_itself_is_answered_as_the_other_store_does() {
        let bytes = datagram(7, 7, [9, 9], Side::Client);
        let nulls: Tracker<NullsStore> =
            Tracker::new(NullsStore::new(100, 1).unwrap(), Config::default());
        let papaya = tracker();
        for _ in 0..3 {
            assert_eq!(pass(&nulls, &bytes), pass(&papaya, &bytes));
        }
        assert_eq!(
            papaya.delete_if(SECOND, |_| true),
            nulls.delete_if(SECOND, |_| true)
        );
        assert_eq!(papaya.store().len(), 0);
    }
}
