//! How long single insertions take while a map grows from empty, one after the other as fast as they go.
//!
//! The machine stalls too (interrupts, the host), so beside each growth runs a loop that does nothing but read the clock, for as long and on as many
//! threads: the longest gap between two of its readings is the floor below which no longest insertion can be told from the machine's own doing.

use super::times::Times;
use super::{Sample, Spec};
use crate::contender::{Map, Session};
use crate::measure::{nothing_is_lost, share, timed};
use crate::workload::{permuted, value_of};
use core::time::Duration;
use std::sync::Mutex;
use std::time::Instant;

/// What one thread noted, or all of them.
#[derive(Debug)]
struct Notes {
    times: Times,
    /// Keys that the thread had inserted before its longest insertion.
    longest_at: usize,
    /// The most buckets that one insertion moved; of maps that count them.
    most_moved: Option<u64>,
}

impl Notes {
    fn new() -> Self {
        Self {
            times: Times::new(),
            longest_at: 0,
            most_moved: None,
        }
    }

    #[inline]
    fn note(&mut self, time: Duration, at: usize) {
        if self.times.note(time) {
            self.longest_at = at;
        }
    }

    fn add(mut self, other: &Self) -> Self {
        if other.times.longest > self.times.longest {
            self.longest_at = other.longest_at;
        }
        self.times.add(&other.times);
        self.most_moved = self.most_moved.max(other.most_moved);
        self
    }
}

/// Runs `work` on as many threads and adds up their notes.
fn noted(threads: usize, work: impl Fn(usize, &mut Notes) + Sync) -> (Duration, Notes) {
    let all = Mutex::new(Vec::new());
    let time = timed(threads, |t| {
        let mut notes = Notes::new();
        work(t, &mut notes);
        all.lock().expect("no thread failed").push(notes);
    });
    let all = all.into_inner().expect("no thread failed");
    (time, all.iter().fold(Notes::new(), Notes::add))
}

/// A map that grows as fast as it can.
pub(super) fn run<M: Map>(spec: &Spec) -> Sample {
    let map = M::empty();
    let keys = permuted(spec.entries, 1);
    let (time, notes) = noted(spec.threads, |t, notes| {
        let session = map.session();
        for (i, &k) in share(&keys, t, spec.threads).iter().enumerate() {
            let before = M::moved();
            let start = Instant::now();
            let old = session.insert(k, value_of(k));
            notes.note(start.elapsed(), i);
            assert_eq!(old, None, "{}: a key twice", M::NAME);
            let moved = M::moved().zip(before).map(|(after, before)| after - before);
            notes.most_moved = notes.most_moved.max(moved);
        }
    });
    nothing_is_lost(&map, &keys, 0);
    super::lookup::spent(map);
    let (_, floor) = noted(spec.threads, |_, notes| {
        let begin = Instant::now();
        let mut last = begin;
        while last - begin < time {
            let now = Instant::now();
            notes.note(now - last, 0);
            last = now;
        }
    });
    let mut sample = Sample::one("seconds", time.as_secs_f64());
    notes.times.tell("insert", &mut sample);
    floor.times.tell("floor", &mut sample);
    sample
        .values
        .insert("longest_at".into(), notes.longest_at as f64);
    if let Some(moved) = notes.most_moved {
        sample.values.insert("most_moved".into(), moved as f64);
    }
    sample
}
