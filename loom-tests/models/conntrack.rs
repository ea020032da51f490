//! The connection tracker as shipped, on the table: what becomes of an entry that several threads confirm, find, refresh and delete.
//!
//! Each entry carries a payload in the application's slot, a loom cell that names its flow: whoever is given an entry of another life, or
//! one that is not complete, shows as a race or as a wrong name.

use crate::harness::{Model, spawn};
use crate::verdict::saw;
use loom::cell::UnsafeCell;
use nulls_conntrack::status::{CONFIRMED, DYING};
use nulls_conntrack::{
    Config, Conn, Family, Hook, NullsStore, Packet, Store, Tracker, Tuple, Verdict, Zone,
};

pub const MODELS: &[Model] = &[
    Model {
        name: "conntrack/delete-beside-confirm",
        proves: "an entry that is confirmed is in the table, for a deleter who did not come through the table",
        floor: 20,
        outcomes: &["deleted", "not yet"],
        kills: &[
            "ct:confirmed-before-linked",
            "ct:delete-unlinked",
            "order:conn_status_set",
            "order:conn_status_read",
        ],
        body: delete_beside_confirm,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/find-beside-confirm",
        proves: "a look-up yields a confirmed entry with a deadline to come, or none, and expires nothing that begins",
        floor: 20,
        outcomes: &["found", "not yet"],
        kills: &["ct:deadline-after-confirmed", "ct:unconfirmed-is-visible"],
        body: find_beside_confirm,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/two-begin-one-flow",
        proves: "of two entries of one flow one is linked, and both packets go on with that one",
        floor: 100,
        outcomes: &["first", "second"],
        kills: &["ct:clash-with-confirmed-only", "ct:keep-handle-after-clash"],
        body: two_begin_one_flow,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/two-copies-of-a-packet",
        proves: "an entry that two copies of a packet confirm is linked once and stays as the first left it",
        fast_bound: 1,
        full_bound: 2,
        floor: 50,
        outcomes: &["one goes on", "both go on"],
        kills: &["ct:own-copy-is-a-clash"],
        body: two_copies,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/delete-beside-the-collector",
        proves: "of a deleter and the collector one removes an expired entry, and it is given back once",
        floor: 20,
        outcomes: &["deleter", "collector"],
        kills: &["ct:dying-looked-at"],
        body: delete_beside_collector,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/late-packet-beside-the-collector",
        proves: "a packet that is late for an expired entry gets a new one, or merges with the old one while that is dying",
        fast_bound: 1,
        full_bound: 2,
        floor: 10,
        outcomes: &["collector", "packet", "merged with the dying one"],
        kills: &["ct:dying-looked-at"],
        body: late_packet_beside_collector,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/refresh-beside-the-collector",
        proves: "an entry whose deadline is moved while it passes is linked with the new one, or dying and gone",
        floor: 20,
        outcomes: &["kept", "collected"],
        kills: &["ct:unlink-without-dying"],
        body: refresh_beside_collector,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/reuse-beside-the-collector",
        proves: "the collector that saw an expired entry does not take the living one that its memory became",
        // Its mutant shows late in the search.
        limit: 600,
        fast_bound: 1,
        full_bound: 2,
        floor: 50,
        outcomes: &["by hand", "by the collector"],
        kills: &["ct:gc-trusts-its-first-look"],
        body: reuse_beside_collector,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/find-beside-reuse",
        proves: "a look-up yields an entry of its key though the entry's memory becomes another flow's",
        floor: 500,
        outcomes: &["found", "gone"],
        kills: &["pool:key-not-compared-again"],
        body: find_beside_reuse,
        ..Model::DEFAULT
    },
    Model {
        name: "conntrack/user-slot",
        proves: "of two who fill an entry's slot one does, and both see its value whole",
        floor: 5,
        outcomes: &["mine", "the other's"],
        kills: &["order:conn_slot_get", "order:conn_slot_set"],
        body: user_slot,
        ..Model::DEFAULT
    },
];

/// What the application keeps with an entry.
struct Name(UnsafeCell<u8>);

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Name {}
// SAFETY: as above.
unsafe impl Send for Name {}

impl Name {
    fn new(flow: u8) -> Self {
        Self(UnsafeCell::new(flow))
    }

    fn get(&self) -> u8 {
        // SAFETY: the entry is held, so its slot is; loom checks it.
        self.0.with(|p| unsafe { *p })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // SAFETY: `&mut self`; loom checks it.
        self.0.with_mut(|p| unsafe { *p = 0 });
    }
}

type Shop = NullsStore<Name>;
type Entry = <Shop as Store>::Ref<'static>;
type Pkt = Packet<'static, 'static, Shop>;

const SECOND: u64 = 1_000_000_000;
/// When everything begins.
const START: u64 = 1_000 * SECOND;
/// When what began then has expired: an unanswered datagram is remembered for 30 seconds.
const LATE: u64 = START + 40 * SECOND;

/// A datagram of flow 1 or 2.
static DATAGRAMS: [[u8; 28]; 2] = [datagram(1), datagram(2)];

const fn datagram(flow: u8) -> [u8; 28] {
    [
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, flow, 10, 0, 0, 99, 0, 9, 0, 53, 0, 8,
        0, 0,
    ]
}

fn tuple(flow: u8) -> Tuple {
    Tuple::v4([10, 0, 0, flow], [10, 0, 0, 99], 17, 9, 53)
}

/// A tracker that outlives the packets and entries of one execution.
#[derive(Clone, Copy)]
struct World(&'static Tracker<Shop>);

impl World {
    fn new(entries: u32) -> Self {
        let config = Config {
            seed: Some((1, 2)),
            chain_limit: usize::MAX,
            ..Config::default()
        };
        // The two links of a flow in buckets of their own.
        let store = Shop::new(entries, 4).expect("memory");
        Self(Box::leak(Box::new(Tracker::new(store, config))))
    }

    /// A packet of `flow`, tracked; `None` if there is no memory for its entry.
    fn track(self, flow: u8, now: u64) -> Option<Pkt> {
        let mut pkt = Packet::new(&DATAGRAMS[flow as usize - 1], Family::Ipv4, now);
        pkt.checksum_ok = true;
        if self.0.track(&mut pkt, Hook::PreRouting) == Verdict::Drop {
            return None;
        }
        let conn = pkt.conn().expect("a datagram has an entry");
        conn.user().get_or_set_with(|| Name::new(flow));
        Some(pkt)
    }

    fn confirm(self, pkt: &mut Pkt) -> bool {
        self.0.confirm(pkt, Hook::PostRouting) == Verdict::Accept
    }

    /// A flow in the table, and a reference to its entry.
    fn confirmed(self, flow: u8) -> Entry {
        let mut pkt = self.track(flow, START).expect("room");
        assert!(self.confirm(&mut pkt));
        held(&pkt)
    }

    /// Looks a flow up and checks what is found.
    fn find(self, flow: u8, now: u64) -> Option<Entry> {
        let (entry, _) = self.0.find(&tuple(flow), Zone::DEFAULT, now)?;
        check(&entry, flow, now);
        Some(entry)
    }

    /// The end of an execution: nobody holds anything, `links` are linked.
    fn end(self, links: usize) {
        assert_eq!(self.0.store().len(), links, "links in the table");
        assert_eq!(self.0.net().count(), links / 2, "entries that exist");
        let tracker = std::ptr::from_ref(self.0).cast_mut();
        // SAFETY: made by `Box::leak` in `new`; all threads have ended, and their packets and entries are gone.
        drop(unsafe { Box::from_raw(tracker) });
    }
}

/// A reference of one's own to a packet's entry.
fn held(pkt: &Pkt) -> Entry {
    pkt.nfct().to_ref().expect("an entry")
}

fn is_linked_and_alive(entry: &Entry) -> bool {
    entry.status() & (CONFIRMED | DYING) == CONFIRMED
}

/// What a look-up may yield.
fn check(entry: &Conn<Name>, flow: u8, now: u64) {
    assert!(
        entry.is_confirmed(),
        "an entry that its maker still thinks private"
    );
    assert_eq!(
        entry.tuple(nulls_conntrack::Direction::Original),
        tuple(flow),
        "another flow's entry"
    );
    assert_eq!(
        entry.user().get().map(Name::get),
        Some(flow),
        "another flow's name"
    );
    assert!(!entry.is_expired(now), "found though expired");
}

fn delete_beside_confirm() {
    let w = World::new(2);
    let mut pkt = w.track(1, START).expect("room");
    let copy = held(&pkt);
    let other = spawn(move || {
        if copy.is_confirmed() {
            assert!(
                !copy.is_expired(START),
                "confirmed with a span for a deadline"
            );
        }
        let deleted = w.0.delete(&copy, START);
        saw(if deleted { "deleted" } else { "not yet" });
        deleted
    });
    assert!(w.confirm(&mut pkt));
    drop(pkt);
    let deleted = other.join().unwrap();
    w.end(if deleted { 0 } else { 2 });
}

fn find_beside_confirm() {
    let w = World::new(2);
    let mut pkt = w.track(1, START).expect("room");
    let other = spawn(move || {
        let found = w.find(1, START);
        saw(if found.is_some() { "found" } else { "not yet" });
    });
    assert!(w.confirm(&mut pkt));
    other.join().unwrap();
    assert!(is_linked_and_alive(&held(&pkt)), "expired while it began");
    drop(pkt);
    w.end(2);
}

fn two_begin_one_flow() {
    let w = World::new(2);
    let mut one = w.track(1, START).expect("room");
    let mut two = w.track(1, START).expect("room");
    let (first, second) = (held(&one), held(&two));
    assert!(!Shop::same(&first, &second));
    let other = spawn(move || {
        assert!(w.confirm(&mut two), "a clash between datagrams is resolved");
        two
    });
    assert!(w.confirm(&mut one), "a clash between datagrams is resolved");
    let two = other.join().unwrap();
    let winner = held(&one);
    assert!(Shop::same(&winner, &held(&two)), "two entries of one flow");
    assert!(is_linked_and_alive(&winner));
    saw(if Shop::same(&winner, &first) {
        "first"
    } else {
        "second"
    });
    drop((one, two, first, second, winner));
    w.end(2);
}

fn two_copies() {
    let w = World::new(2);
    let mut one = w.track(1, START).expect("room");
    let mut two = Packet::new(&DATAGRAMS[0], Family::Ipv4, START);
    two.set_nfct(nulls_conntrack::SkbNfct::new(
        w.0.store(),
        held(&one),
        one.nfct().info().expect("tracked"),
    ));
    let other = spawn(move || w.confirm(&mut two));
    let accepted = [w.confirm(&mut one), other.join().unwrap()];
    saw(match accepted {
        [true, true] => "both go on",
        [false, false] => panic!("both copies are dropped"),
        _ => "one goes on",
    });
    let entry = held(&one);
    assert!(is_linked_and_alive(&entry));
    assert!(
        !entry.is_expired(START + SECOND),
        "its deadline is a span again"
    );
    drop((one, entry));
    w.end(2);
}

fn delete_beside_collector() {
    let w = World::new(2);
    let entry = w.confirmed(1);
    let other = spawn(move || w.0.gc(LATE).evicted);
    let deleted = w.0.delete(&entry, LATE);
    let collected = other.join().unwrap();
    assert_eq!(
        usize::from(deleted) + collected,
        1,
        "one of the two deletes it"
    );
    saw(if deleted { "deleter" } else { "collector" });
    drop(entry);
    w.end(0);
}

fn late_packet_beside_collector() {
    let w = World::new(2);
    let old = w.confirmed(1);
    let other = spawn(move || w.0.gc(LATE).evicted);
    let mut pkt = w.track(1, LATE).expect("room");
    assert!(w.confirm(&mut pkt));
    let new = held(&pkt);
    let collected = other.join().unwrap() == 1;
    // As in the kernel: confirmation asks for the key, not for DYING, and datagrams of one flow merge.
    let merged = Shop::same(&old, &new);
    assert!(old.has(DYING), "the packet goes on with an expired entry");
    assert!(merged || is_linked_and_alive(&new));
    saw(match (merged, collected) {
        (true, _) => "merged with the dying one",
        (false, true) => "collector",
        (false, false) => "packet",
    });
    drop((old, pkt, new));
    w.end(if merged { 0 } else { 2 });
}

fn refresh_beside_collector() {
    // The packet's clock is behind the collector's, as clocks of two processors are.
    let early = START + 29 * SECOND;
    let w = World::new(2);
    let entry = w.confirmed(1);
    let other = spawn(move || w.0.gc(LATE).evicted);
    let pkt = w.track(1, early).expect("room");
    let new = held(&pkt);
    let collected = other.join().unwrap() == 1;
    if collected {
        assert!(entry.has(DYING));
        saw("collected");
    } else {
        assert!(Shop::same(&entry, &new), "a living entry is missed");
        assert!(is_linked_and_alive(&entry));
        assert!(!entry.is_expired(LATE), "its deadline was not moved");
        saw("kept");
    }
    drop((entry, pkt, new));
    w.end(if collected { 0 } else { 2 });
}

fn reuse_beside_collector() {
    // One slot: the next entry is the old one's memory.
    let w = World::new(1);
    let old = w.confirmed(1);
    let other = spawn(move || {
        let by_hand = w.0.delete(&old, LATE);
        drop(old);
        // No room as long as the collector still looks at the old one.
        let new = w.track(1, LATE).map(|mut pkt| {
            assert!(w.confirm(&mut pkt));
            held(&pkt)
        });
        (by_hand, new)
    });
    let collected = w.0.gc(LATE).evicted == 1;
    let (by_hand, new) = other.join().unwrap();
    assert_ne!(
        by_hand, collected,
        "the old one is deleted once, the new one never"
    );
    saw(if by_hand {
        "by hand"
    } else {
        "by the collector"
    });
    let links = if let Some(new) = new {
        assert!(is_linked_and_alive(&new), "a living entry is collected");
        2
    } else {
        0
    };
    w.end(links);
}

fn find_beside_reuse() {
    let w = World::new(1);
    let old = w.confirmed(1);
    let other = spawn(move || {
        assert!(w.0.delete(&old, START));
        drop(old);
        // No room as long as the other still looks at the old one.
        w.track(2, START).map(|mut pkt| {
            assert!(w.confirm(&mut pkt));
        })
    });
    let found = w.find(1, START);
    saw(if found.is_some() { "found" } else { "gone" });
    drop(found);
    let new = other.join().unwrap();
    w.end(if new.is_some() { 2 } else { 0 });
}

fn user_slot() {
    let w = World::new(1);
    let mut pkt: Pkt = Packet::new(&DATAGRAMS[0], Family::Ipv4, START);
    assert_eq!(w.0.track(&mut pkt, Hook::PreRouting), Verdict::Accept);
    let entry = held(&pkt);
    let other = spawn(move || entry.user().get_or_set_with(|| Name::new(2)).get());
    let mine = pkt
        .conn()
        .expect("an entry")
        .user()
        .get_or_set_with(|| Name::new(1))
        .get();
    assert_eq!(other.join().unwrap(), mine, "two values in one slot");
    saw(if mine == 1 { "mine" } else { "the other's" });
    drop(pkt);
    w.end(0);
}
