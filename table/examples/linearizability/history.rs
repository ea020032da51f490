//! Recording what concurrent threads did to a map, and deciding whether some order explains it.
//!
//! Copy this file to check a map of your own: it knows nothing of this crate. A [`Recorder`] belongs to a thread and notes
//! each operation with the times at which it began and ended; [`check`] then looks, key by key, for an order of the
//! operations that (a) keeps every operation that ended before another began in front of it, and (b) gives each operation the
//! result that it had. Operations on different keys are independent, so a map's history is linearizable exactly if
//! each key's is (Herlihy and Wing 1990), and each of those is short.
//!
//! The search is that of Wing and Gong (1993) with the memory of Lowe (2017): a set of operations done together with the
//! state they lead to is tried once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// What was done to one key, with what it returned. Values are numbers; `None` is absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A look-up.
    Get(Option<u64>),
    /// An insertion or replacement by the first, which returned the second.
    Insert(u64, Option<u64>),
    /// An insertion of the first that must not replace: `None` if done, or the value that was there.
    TryInsert(u64, Option<u64>),
    /// A removal.
    Remove(Option<u64>),
    /// A look-up that inserts the first if there is nothing, and returned the second.
    GetOrInsert(u64, u64),
    /// An increment of what is there; what it became.
    Update(Option<u64>),
    /// A decision by what is there, which was the result: nothing becomes the number, an even value goes, an odd one is incremented.
    Decide(u64, Option<u64>),
    /// A removal of the value if it is even; what was removed.
    RemoveIfEven(Option<u64>),
}

impl Op {
    /// The state after this operation in state `s`, if it returns there what it returned.
    fn apply(self, s: Option<u64>) -> Option<Option<u64>> {
        let (result_fits, next) = match self {
            Op::Get(r) => (r == s, s),
            Op::Insert(v, r) => (r == s, Some(v)),
            Op::TryInsert(v, r) => (r == s, s.or(Some(v))),
            Op::Remove(r) => (r == s, None),
            Op::GetOrInsert(v, r) => (r == s.unwrap_or(v), s.or(Some(v))),
            Op::Update(r) => (r == s.map(|v| v + 1), s.map(|v| v + 1)),
            Op::Decide(v, r) => {
                let next = match s {
                    None => Some(v),
                    Some(s) if s % 2 == 0 => None,
                    Some(s) => Some(s + 1),
                };
                (r == s, next)
            }
            Op::RemoveIfEven(r) => {
                let even = s.filter(|v| v % 2 == 0);
                (r == even, if even.is_some() { None } else { s })
            }
        };
        result_fits.then_some(next)
    }
}

/// An operation with the times of its call and its return.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The key.
    pub key: u64,
    /// What was done.
    pub op: Op,
    /// The clock before it began.
    pub called: u64,
    /// The clock after it ended.
    pub returned: u64,
}

/// A clock that all threads share. It is exact: two readings by whatever threads are in order.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// The time, later than every time read before.
    fn now(&self) -> u64 {
        // Without fences an operation could take effect outside of its two times, in the processor's store buffer, and right
        // code would look wrong.
        fence(Ordering::SeqCst);
        let t = self.0.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        t
    }
}

/// One thread's notes.
#[derive(Debug)]
pub struct Recorder<'c> {
    clock: &'c Clock,
    events: Vec<Event>,
}

impl<'c> Recorder<'c> {
    /// No notes yet.
    pub fn new(clock: &'c Clock) -> Self {
        Self {
            clock,
            events: Vec::new(),
        }
    }

    /// Does `operation` to `key` and notes it.
    pub fn run(&mut self, key: u64, operation: impl FnOnce() -> Op) {
        let called = self.clock.now();
        let op = operation();
        let returned = self.clock.now();
        self.events.push(Event {
            key,
            op,
            called,
            returned,
        });
    }

    /// The notes.
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}

/// A key whose operations no order explains.
#[derive(Debug)]
pub struct Violation {
    /// The key.
    pub key: u64,
    /// The operations around the one that cannot be placed, by the time of their call.
    pub events: Vec<Event>,
}

/// Looks for an order of each key's operations, from absence on.
///
/// # Errors
/// The first key that has none.
pub fn check(events: impl IntoIterator<Item = Event>) -> Result<(), Violation> {
    let mut keys: HashMap<u64, Vec<Event>> = HashMap::new();
    for e in events {
        keys.entry(e.key).or_default().push(e);
    }
    for (key, mut events) in keys {
        events.sort_unstable_by_key(|e| e.called);
        let mut states = HashSet::from([None]);
        // Where no operation is under way the history falls apart: each part begins in a state that the one before can
        // end in.
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(first_gap(rest));
            let ends = explore(part, &states);
            if ends.is_empty() {
                return Err(Violation {
                    key,
                    events: part.to_vec(),
                });
            }
            (states, rest) = (ends, after);
        }
    }
    Ok(())
}

/// How many of the first events overlap in one stretch.
fn first_gap(events: &[Event]) -> usize {
    let mut busy_until = 0;
    for (i, e) in events.iter().enumerate() {
        if i > 0 && e.called > busy_until {
            return i;
        }
        busy_until = busy_until.max(e.returned);
    }
    events.len()
}

/// The states in which an order of all `events` can end, from any of `begin`.
fn explore(events: &[Event], begin: &HashSet<Option<u64>>) -> HashSet<Option<u64>> {
    let mut ends = HashSet::new();
    // What is done: everything before the first number, and those in the list, which is short.
    let mut seen: HashSet<(usize, Vec<usize>, Option<u64>)> = HashSet::new();
    let mut stack: Vec<(usize, Vec<usize>, Option<u64>)> =
        begin.iter().map(|&s| (0, Vec::new(), s)).collect();
    while let Some((low, done, state)) = stack.pop() {
        if low == events.len() {
            ends.insert(state);
            continue;
        }
        // The next one must have been called before any of the others returned.
        let mut earliest = u64::MAX;
        for (i, e) in events.iter().enumerate().skip(low) {
            if done.contains(&i) {
                continue;
            }
            if e.called > earliest {
                break;
            }
            earliest = earliest.min(e.returned);
            let Some(next) = e.op.apply(state) else {
                continue;
            };
            let (mut low, mut done) = (low, done.clone());
            done.push(i);
            done.sort_unstable();
            while let Some(at) = done.iter().position(|&d| d == low) {
                done.remove(at);
                low += 1;
            }
            if seen.insert((low, done.clone(), next)) {
                stack.push((low, done, next));
            }
        }
    }
    ends
}
