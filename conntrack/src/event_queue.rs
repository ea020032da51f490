//! A bounded queue of events between the packet path and whoever reads them.
//!
//! Writers never wait: a full queue refuses the event and counts it. Each event has a sequence number; numbers that a reader does not see are events that
//! were refused, so it knows when and how many, and may read the whole table again ([`crate::Tracker::dump`]).
//!
//! # How it works
//!
//! A ring of slots. One atomic word holds the next position and the number of losses (32 bits each, modulo 2³²): a writer takes a position, or adds a loss,
//! by one compare-and-swap, so that positions and losses have one order. A slot's turn says whose it is: `p`: empty, to be written by the taker of
//! position `p`; `p + 1`: full, to be read. The value itself is behind a lock that nobody ever waits for, because turns exclude each other.
//!
//! A refused bit is not forgotten by the connection (see [`Listener`]): what happened is told with its next event. Only the end has no next event: who
//! sees a gap must not wait for it.

use crate::clock::Nanos;
use crate::conn::Conn;
use crate::ctnetlink::{Message, Record};
use crate::events::{Event, ExpectEvent, Kind, Listener};
use crate::snapshot::Snapshot;
use crossbeam_utils::CachePadded;
use crossbeam_utils::sync::{Parker, Unparker};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// To a connection.
    Connection {
        /// All that happened, see [`crate::events::mask`].
        mask: u32,
        /// The connection then. The number of references is not known here and is 0.
        snapshot: Box<Snapshot>,
        /// The application's own text, if the queue was given a formatter.
        extra: Option<String>,
    },
    /// To an expectation.
    Expectation(Box<ExpectEvent>),
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Its number, from 0. Numbers rise by one, and by one more for each event that was refused in between.
    pub seq: u64,
    /// When it happened.
    pub now: Nanos,
    /// What happened.
    pub body: Body,
}

impl Queued {
    /// The event's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.body {
            Body::Connection { mask, .. } => Kind::of(*mask),
            Body::Expectation(e) => e.kind,
        }
    }

    /// What a message about it tells; `None` for expectations.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        match &self.body {
            Body::Connection { mask, snapshot, .. } => {
                Some(Record::event(Kind::of(*mask), *mask, snapshot))
            }
            Body::Expectation(_) => None,
        }
    }

    /// The ctnetlink message about it; `None` for expectations.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        Some(Message::event(self.kind(), self.record()?))
    }
}

struct Slot {
    turn: AtomicU32,
    value: Mutex<Option<Entry>>,
}

/// What is in a slot: the losses before it, modulo 2³², and the event.
type Entry = (u32, Nanos, Body);

struct Ring {
    slots: Box<[Slot]>,
    /// Next position in the lower half, losses in the upper.
    tail: CachePadded<AtomicU64>,
}

impl Ring {
    fn slot(&self, pos: u32) -> &Slot {
        // The number of slots is a power of two: positions stay in step when they wrap.
        &self.slots[pos as usize & (self.slots.len() - 1)]
    }

    /// Appends, or counts a loss. The value is made only if there is room.
    fn push(&self, now: Nanos, body: impl FnOnce() -> Body) -> bool {
        // Relaxed: the CAS below decides; the slot's turn carries all else.
        let mut word = self.tail.load(Ordering::Relaxed);
        loop {
            let (pos, lost) = (word as u32, (word >> 32) as u32);
            // Acquire: pairs with the reader's Release of the turn: its taking out is over.
            let free = self.slot(pos).turn.load(Ordering::Acquire) == pos;
            let next = if free {
                u64::from(pos.wrapping_add(1)) | u64::from(lost) << 32
            } else {
                u64::from(pos) | u64::from(lost.wrapping_add(1)) << 32
            };
            // Relaxed: only who gets the position matters.
            match self
                .tail
                .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) if free => {
                    let slot = self.slot(pos);
                    *slot.value.lock() = Some((lost, now, body()));
                    // Release: pairs with the reader's Acquire of the turn.
                    slot.turn.store(pos.wrapping_add(1), Ordering::Release);
                    return true;
                }
                Ok(_) => return false,
                Err(seen) => word = seen,
            }
        }
    }
}

/// The application's text for a connection.
type Formatter<U> = Box<dyn Fn(&Conn<U>) -> Option<String> + Send + Sync>;

/// The writing end: give it to [`crate::Tracker::set_listener`].
pub struct EventQueue<U = ()> {
    ring: Arc<Ring>,
    wake: Unparker,
    /// Kinds that are queued.
    kinds: [bool; 3],
    formatter: Option<Formatter<U>>,
}

impl<U> EventQueue<U> {
    /// A queue of at least `capacity` events (rounded up to a power of two, at most 2³⁰), and its reading end. Its memory is taken at once for the slots (less than
    /// 100 bytes each), and for the events in it as they come (less than 500 bytes each).
    #[must_use]
    pub fn new(capacity: usize) -> (Self, EventReader) {
        let n = capacity.clamp(1, 1 << 30).next_power_of_two() as u32;
        let slots = (0..n).map(|p| Slot {
            turn: AtomicU32::new(p),
            value: Mutex::new(None),
        });
        let ring = Arc::new(Ring {
            slots: slots.collect(),
            tail: CachePadded::new(AtomicU64::new(0)),
        });
        let parker = Parker::new();
        let queue = Self {
            ring: Arc::clone(&ring),
            wake: parker.unparker().clone(),
            kinds: [true; 3],
            formatter: None,
        };
        let reader = EventReader {
            ring,
            parker,
            pos: 0,
            read: 0,
            lost: 0,
        };
        (queue, reader)
    }

    /// Only events of these kinds (the mask of `conntrack -E -e`). The others neither take room nor numbers.
    #[must_use]
    pub fn only(mut self, kinds: &[Kind]) -> Self {
        self.kinds = [Kind::New, Kind::Update, Kind::Destroy].map(|k| kinds.contains(&k));
        self
    }

    /// Adds a text of the application's to each event of a connection.
    #[must_use]
    pub fn with_formatter(
        mut self,
        f: impl Fn(&Conn<U>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.formatter = Some(Box::new(f));
        self
    }

    fn push(&self, kind: Kind, now: Nanos, body: impl FnOnce() -> Body) -> bool {
        if !self.kinds[kind as usize] {
            return true;
        }
        let done = self.ring.push(now, body);
        if done {
            self.wake.unpark();
        }
        done
    }
}

impl<U: Send + Sync> Listener<U> for EventQueue<U> {
    fn connection(&self, event: &Event<'_, U>) -> bool {
        self.push(event.kind(), event.now, || Body::Connection {
            mask: event.mask,
            snapshot: Box::new(Snapshot::of(event.conn, 0, event.now)),
            extra: self.formatter.as_ref().and_then(|f| f(event.conn)),
        })
    }

    fn expectation(&self, event: &ExpectEvent) {
        self.push(event.kind, event.now, || {
            Body::Expectation(Box::new(event.clone()))
        });
    }
}

impl<U> fmt::Debug for EventQueue<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue")
            .field("slots", &self.ring.slots.len())
            .finish_non_exhaustive()
    }
}

/// The reading end.
pub struct EventReader {
    ring: Arc<Ring>,
    parker: Parker,
    pos: u32,
    read: u64,
    lost: u64,
}

impl EventReader {
    /// The next event, if there is one.
    pub fn try_next(&mut self) -> Option<Queued> {
        let slot = self.ring.slot(self.pos);
        // Acquire: pairs with the writer's Release of the turn.
        if slot.turn.load(Ordering::Acquire) != self.pos.wrapping_add(1) {
            return None;
        }
        let (lost, now, body) = slot.value.lock().take()?;
        let free_for = self.pos.wrapping_add(self.ring.slots.len() as u32);
        // Release: pairs with the next writer's Acquire.
        slot.turn.store(free_for, Ordering::Release);
        self.pos = self.pos.wrapping_add(1);
        // The event tells the lower half of the losses; the upper half is counted here.
        self.lost += u64::from(lost.wrapping_sub(self.lost as u32));
        let seq = self.read + self.lost;
        self.read += 1;
        Some(Queued { seq, now, body })
    }

    /// Waits for the next event, at most so long.
    pub fn next_timeout(&mut self, limit: Duration) -> Option<Queued> {
        let deadline = Instant::now().checked_add(limit);
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            match deadline {
                Some(d) if Instant::now() >= d => return None,
                Some(d) => self.parker.park_deadline(d),
                None => self.parker.park(),
            }
        }
    }

    /// Events that were refused up to now, those after the last one read included.
    #[must_use]
    pub fn lost(&self) -> u64 {
        // Relaxed: a number on its own.
        let now = (self.ring.tail.load(Ordering::Relaxed) >> 32) as u32;
        self.lost + u64::from(now.wrapping_sub(self.lost as u32))
    }

    /// Events read.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }
}

impl Iterator for EventReader {
    type Item = Queued;

    /// As [`EventReader::try_next`]: ends when the queue is empty, and goes on when something came.
    fn next(&mut self) -> Option<Queued> {
        self.try_next()
    }
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader")
            .field("read", &self.read)
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn body(n: u32) -> Body {
        Body::Connection {
            mask: n,
            snapshot: Box::new(Snapshot::of(&Conn::<()>::blank(), 0, 0)),
            extra: None,
        }
    }

    fn mask(q: &Queued) -> u32 {
        let Body::Connection { mask, .. } = &q.body else {
            panic!("a connection's event")
        };
        *mask
    }

    #[test]
    fn what_does_not_fit_is_a_gap_in_the_numbers() {
        let (q, mut r) = EventQueue::<()>::new(3);
        let took: Vec<bool> = (0..6).map(|n| q.ring.push(0, || body(n))).collect();
        assert_eq!(
            took,
            [true, true, true, true, false, false],
            "rounded up to four"
        );
        assert_eq!((r.lost(), r.read()), (2, 0));
        assert_eq!(r.try_next().map(|e| e.seq), Some(0));
        assert!(q.ring.push(0, || body(6)));
        let rest: Vec<(u64, u32)> = r.by_ref().map(|e| (e.seq, mask(&e))).collect();
        assert_eq!(rest, [(1, 1), (2, 2), (3, 3), (6, 6)]);
        assert_eq!((r.lost(), r.read()), (2, 5));
        assert!(r.next_timeout(Duration::from_millis(1)).is_none());
    }

    #[test]
    fn positions_and_losses_wrap() {
        let (q, mut r) = EventQueue::<()>::new(2);
        // As if four thousand million events and losses had gone by.
        let start = u32::MAX - 1;
        q.ring.tail.store(
            u64::from(start) | u64::from(u32::MAX) << 32,
            Ordering::Relaxed,
        );
        for p in 0..2u32 {
            let p = start.wrapping_add(p);
            q.ring.slot(p).turn.store(p, Ordering::Relaxed);
        }
        (r.pos, r.read, r.lost) = (start, u64::from(start), u64::from(u32::MAX));
        let first = u64::from(start) + u64::from(u32::MAX);
        for round in 0..4 {
            assert!(q.ring.push(0, || body(1)) && q.ring.push(0, || body(2)));
            assert!(!q.ring.push(0, || body(3)));
            let got: Vec<u64> = r.by_ref().map(|e| e.seq).collect();
            assert_eq!(got, [first + round * 3, first + round * 3 + 1]);
        }
        assert_eq!(r.lost(), u64::from(u32::MAX) + 4);
    }

    #[test]
    fn each_writers_events_come_in_order_and_every_missing_number_was_refused() {
        const WRITERS: u32 = 4;
        const EACH: u32 = 20_000;
        let (q, mut r) = EventQueue::<()>::new(64);
        let q = &q;
        let refused = thread::scope(|s| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|w| {
                    s.spawn(move || {
                        let mut refused = 0;
                        for n in 0..EACH {
                            let done = q.push(Kind::Update, 0, || body(w << 24 | n));
                            refused += u64::from(!done);
                            if !done {
                                thread::yield_now();
                            }
                        }
                        refused
                    })
                })
                .collect();
            let mut last = [None; WRITERS as usize];
            let mut numbers = 0;
            let mut expect = 0;
            loop {
                let done = writers.iter().all(|w| w.is_finished());
                match r.next_timeout(Duration::from_millis(5)) {
                    Some(e) => {
                        assert!(e.seq >= expect, "numbers rise");
                        numbers += e.seq - expect;
                        expect = e.seq + 1;
                        let (w, n) = ((mask(&e) >> 24) as usize, mask(&e) & 0xff_ffff);
                        assert!(last[w] < Some(n), "a writer's order stays");
                        last[w] = Some(n);
                    }
                    None if done => break,
                    None => {}
                }
            }
            let refused: u64 = writers
                .into_iter()
                .map(|w| w.join().expect("no panic"))
                .sum();
            assert!(numbers <= refused, "no more gaps than refusals");
            refused
        });
        assert_eq!(r.lost(), refused);
        assert_eq!(r.read() + refused, u64::from(WRITERS * EACH));
        assert!(r.read() >= 64);
    }
}
