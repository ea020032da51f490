//! One round: a fresh tracker, the warm-up, then the measured packets on all threads at once.
//!
//! All packets of a connection are on one thread, in order. The threads share the tracker and its virtual clock, which each packet carries. No
//! thread is more than [`LEAD`] ahead of the slowest: a connection never waits longer than 14 s and lives at least 30 s after each packet, so the
//! classification of every packet is the same however the threads are scheduled, and the counts of all rounds can be compared.
//!
//! The garbage collector is run by whichever thread first passes its due time, between two packets. It counts in the duration of the round but
//! not in the time of a packet; its own times are reported. Between warm-up and measured part it runs once, which counts nowhere.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;
use nulls_conntrack::tracker::GcReport;
use nulls_conntrack::{Family, Hook, Packet, PacketState, Store, Tracker, Verdict};

use super::burst::{self, Frames};
use super::stores::Job;
use crate::workload::stream::{EPOCH, Lane, View};

/// A second less than the shortest timeout of a live connection minus its longest wait, in nanoseconds.
const LEAD: u64 = 15_000_000_000;
/// Packets between two looks at the other threads, the stop flag and the collector's due time.
const BATCH: usize = 64;

/// How packets were classified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Tally {
    pub(crate) new: u64,
    pub(crate) established: u64,
    pub(crate) related: u64,
    pub(crate) invalid: u64,
    pub(crate) untracked: u64,
    /// Not let through by the tracker (the table is full).
    pub(crate) dropped: u64,
    /// Not a class of its own: UDP packets after which the entry's timeout was not the one that such a packet sets. In bursts only.
    pub(crate) stale: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.new += other.new;
        self.established += other.established;
        self.related += other.related;
        self.invalid += other.invalid;
        self.untracked += other.untracked;
        self.dropped += other.dropped;
        self.stale += other.stale;
    }

    /// Counts a packet by its state; `None`: it was not let through.
    pub(super) fn count(&mut self, state: Option<PacketState>) {
        let count = match state {
            None => &mut self.dropped,
            Some(PacketState::New) => &mut self.new,
            Some(PacketState::Established) => &mut self.established,
            Some(PacketState::Related) => &mut self.related,
            Some(PacketState::Invalid) => &mut self.invalid,
            Some(PacketState::Untracked) => &mut self.untracked,
        };
        *count += 1;
    }
}

/// Runs of the garbage collector within the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Collections {
    pub(crate) runs: u64,
    /// All runs together.
    pub(crate) nanoseconds: u64,
    pub(crate) longest_nanoseconds: u64,
    /// Entries that the collector removed.
    pub(crate) evicted: u64,
}

impl Collections {
    fn add(&mut self, other: &Collections) {
        self.runs += other.runs;
        self.nanoseconds += other.nanoseconds;
        self.longest_nanoseconds = self.longest_nanoseconds.max(other.longest_nanoseconds);
        self.evicted += other.evicted;
    }

    /// Counts a run, which `collect` makes.
    fn time(&mut self, collect: impl FnOnce() -> GcReport) -> GcReport {
        let start = Instant::now();
        let report = collect();
        let took = start.elapsed().as_nanos() as u64;
        self.add(&Collections {
            runs: 1,
            nanoseconds: took,
            longest_nanoseconds: took,
            evicted: report.evicted as u64,
        });
        report
    }
}

/// What a round gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// From the start of the first thread to the end of the last.
    pub(crate) elapsed: Duration,
    /// Time that the threads were really running, all together; `None` where the system does not tell.
    pub(crate) cpu: Option<Duration>,
    pub(crate) packets: u64,
    /// Measured packets only.
    pub(crate) tally: Tally,
    /// Nanoseconds of each packet; in bursts the burst's share.
    pub(crate) times: Histogram<u64>,
    /// Of those, packets whose state is NEW: all but repetitions are looked up in vain and link an entry. Not in bursts.
    pub(crate) openings: Histogram<u64>,
    /// In bursts: nanoseconds that the tracker took on all threads, from headers to updated entries.
    pub(crate) tracker: u64,
    pub(crate) collections: Collections,
    /// Before the measured part.
    pub(crate) tidying: Collections,
    /// Live entries at the end.
    pub(crate) entries: u64,
    pub(crate) buckets: u64,
}

/// The packet as the tracker wants it: whole. Payloads are zeros and always lie in this buffer already, so only headers are copied.
#[derive(Debug)]
struct Wire {
    bytes: Box<[u8; 1 << 16]>,
    /// Length of the headers that are in it.
    header: usize,
}

impl Wire {
    fn new() -> Wire {
        Wire {
            bytes: vec![0; 1 << 16]
                .into_boxed_slice()
                .try_into()
                .expect("the length is right"),
            header: 0,
        }
    }

    fn load(&mut self, packet: &View<'_>) -> &[u8] {
        let n = packet.bytes.len();
        self.bytes[..n].copy_from_slice(packet.bytes);
        if n < self.header {
            self.bytes[n..self.header].fill(0);
        }
        self.header = n;
        &self.bytes[..usize::from(packet.wire_len)]
    }
}

/// One packet through the tracker, as through a router: in at PRE_ROUTING, out at POST_ROUTING.
fn pass<S: Store>(tracker: &Tracker<S>, bytes: &[u8], time: u64, verify: bool, tally: &mut Tally) {
    let family = if bytes[0] >> 4 == 6 {
        Family::Ipv6
    } else {
        Family::Ipv4
    };
    let mut packet = Packet::new(bytes, family, time);
    packet.checksum_ok = !verify;
    let accepted = tracker.track(&mut packet, Hook::PreRouting) == Verdict::Accept
        && tracker.confirm(&mut packet, Hook::PostRouting) == Verdict::Accept;
    tally.count(accepted.then(|| packet.state()));
}

/// What the threads of a round share.
struct Shared<'a> {
    /// Virtual time that each thread has reached; `u64::MAX` when it is done, or gone.
    reached: Vec<CachePadded<AtomicU64>>,
    /// When the collector is due, on the virtual clock; `u64::MAX` while it runs.
    collect_at: CachePadded<AtomicU64>,
    /// How often a thread came to a meeting.
    ready: AtomicUsize,
    stop: &'a AtomicBool,
    /// A thread panicked.
    broken: AtomicBool,
}

impl Shared<'_> {
    /// Relaxed: nothing is published by it, and being late is harmless.
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.broken.load(Ordering::Relaxed)
    }

    /// Says where thread `me` is and waits until the others are near. False: stop.
    fn keep_pace(&self, me: usize, time: u64) -> bool {
        // Relaxed: only the number matters; the tracker orders its own memory.
        self.reached[me].store(time, Ordering::Relaxed);
        for other in &self.reached {
            while other.load(Ordering::Relaxed) < time.saturating_sub(LEAD) {
                if self.stopped() {
                    return false;
                }
                thread::yield_now();
            }
        }
        !self.stopped()
    }

    /// All threads leave the `nth` meeting together, counted from 1. False: stop.
    fn meet(&self, nth: usize) -> bool {
        // AcqRel and Acquire: the warm-up of all threads happens before the measured part of any.
        self.ready.fetch_add(1, Ordering::AcqRel);
        while self.ready.load(Ordering::Acquire) < nth * self.reached.len() {
            if self.stopped() {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    /// Runs the collector if it is due and nobody else does.
    fn collect<S: Store>(&self, tracker: &Tracker<S>, time: u64, stats: &mut Collections) {
        let due = self.collect_at.load(Ordering::Relaxed);
        // Relaxed: the exchange only elects one thread; the collector's memory is the tracker's business.
        if time < due
            || self
                .collect_at
                .compare_exchange(due, u64::MAX, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let report = stats.time(|| tracker.gc(time));
        self.collect_at
            .store(time + report.next_in, Ordering::Relaxed);
    }
}

impl Shared<'_> {
    /// Removes what has expired before measuring starts, so that the measured part collects what expires in it and not what the
    /// warm-up left: the collector may wait for a minute, and many a measured part is shorter.
    fn tidy<S: Store>(&self, tracker: &Tracker<S>, stats: &mut Collections) {
        let mut next = 0;
        // The first walk may be the rest of one that began earlier.
        for _ in 0..2 {
            next = loop {
                let report = stats.time(|| tracker.gc(EPOCH));
                if report.whole || self.stopped() {
                    break report.next_in;
                }
            };
        }
        self.collect_at.store(EPOCH + next, Ordering::Relaxed);
    }
}

/// Lets the other threads go on when this one ends, in whatever way.
struct Leaving<'a>(&'a Shared<'a>, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.reached[self.1].store(u64::MAX, Ordering::Relaxed);
        if thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}

struct Part {
    start: Instant,
    end: Instant,
    cpu: Option<Duration>,
    tally: Tally,
    times: Histogram<u64>,
    openings: Histogram<u64>,
    tracker: u64,
    collections: Collections,
    tidying: Collections,
}

/// Three digits, up to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds")
}

/// One thread's share of a round.
fn work<S: Store>(
    tracker: &Tracker<S>,
    lane: &Lane<'_>,
    me: usize,
    shared: &Shared<'_>,
    options: &Options,
) -> Option<Part> {
    let _leaving = Leaving(shared, me);
    pin(me);
    let clock = quanta::Clock::new();
    let mut wire = Wire::new();
    let mut ignored = (Tally::default(), Collections::default());
    let mut warm_up = lane.warm_up().peekable();
    while let Some(first) = warm_up.peek() {
        let time = first.time;
        if !shared.keep_pace(me, time) {
            return None;
        }
        for packet in warm_up.by_ref().take(BATCH) {
            pass(
                tracker,
                wire.load(&packet),
                packet.time,
                options.verify_checksums,
                &mut ignored.0,
            );
        }
        shared.collect(tracker, time, &mut ignored.1);
    }
    // Not yet in the measured part, but no reason for others to wait.
    shared.reached[me].store(EPOCH, Ordering::Relaxed);
    if !shared.meet(1) {
        return None;
    }
    let mut tidying = Collections::default();
    if me == 0 {
        shared.tidy(tracker, &mut tidying);
    }
    if !shared.meet(2) {
        return None;
    }
    let mut times = histogram();
    let mut openings = histogram();
    let mut tally = Tally::default();
    let mut collections = Collections::default();
    let mut spent = 0;
    let longest = lane.measured().map(|packet| packet.wire_len).max();
    let mut frames = Frames::new(options.burst.unwrap_or(0), longest.unwrap_or(0));
    let mut measured = lane.measured().peekable();
    let start = Instant::now();
    let cpu = thread_time();
    while let Some(first) = measured.peek() {
        let time = first.time;
        if !shared.keep_pace(me, time) {
            return None;
        }
        if options.burst.is_some() {
            let n = frames.load(&mut measured) as u64;
            let verify = options.verify_checksums;
            let took = burst::pass(tracker, &frames, verify, &clock, &mut tally);
            times.saturating_record_n(took / n, n);
            spent += took;
        } else {
            let mut last = clock.raw();
            for packet in measured.by_ref().take(BATCH) {
                let opened = tally.new;
                pass(
                    tracker,
                    wire.load(&packet),
                    packet.time,
                    options.verify_checksums,
                    &mut tally,
                );
                let now = clock.raw();
                let took = clock.delta_as_nanos(last, now);
                times.saturating_record(took);
                if tally.new > opened {
                    openings.saturating_record(took);
                }
                last = now;
            }
        }
        shared.collect(tracker, time, &mut collections);
    }
    let end = Instant::now();
    Some(Part {
        start,
        end,
        cpu: thread_time().zip(cpu).map(|(after, before)| after - before),
        tally,
        times,
        openings,
        tracker: spent,
        collections,
        tidying,
    })
}

/// Keeps the calling thread on one of the processors that the program may use: the `nth` from the last, going round. Where that cannot be, it moves about.
fn pin(nth: usize) {
    static ALL: OnceLock<Vec<core_affinity::CoreId>> = OnceLock::new();
    // Asked once: a thread that was pinned may only see its own.
    let all = ALL.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    if !all.is_empty() {
        core_affinity::set_for_current(all[all.len() - 1 - nth % all.len()]);
    }
}

/// How long this thread has been running.
#[cfg(unix)]
fn thread_time() -> Option<Duration> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
    Some(Duration::from(time))
}

#[cfg(not(unix))]
fn thread_time() -> Option<Duration> {
    None
}

/// How packets are passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Let the tracker verify transport checksums, payload included.
    pub(crate) verify_checksums: bool,
    /// Hand so many packets at once to the tracker, at most [`burst::MOST`], and time the tracker alone.
    pub(crate) burst: Option<usize>,
}

/// A round with one thread for each lane. `None` when it was stopped.
pub(crate) struct Round<'a> {
    pub(crate) lanes: &'a [Lane<'a>],
    /// Time of the last packet.
    pub(crate) end: u64,
    pub(crate) options: Options,
    pub(crate) stop: &'a AtomicBool,
}

impl Job for Round<'_> {
    type Output = Option<Outcome>;

    fn run<S: Store<User = ()>>(self, make: impl FnOnce() -> Tracker<S>) -> Option<Outcome> {
        let tracker = make();
        let shared = Shared {
            reached: self
                .lanes
                .iter()
                .map(|_| CachePadded::new(AtomicU64::new(0)))
                .collect(),
            collect_at: CachePadded::new(AtomicU64::new(0)),
            ready: AtomicUsize::new(0),
            stop: self.stop,
            broken: AtomicBool::new(false),
        };
        let parts: Vec<Option<Part>> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .lanes
                .iter()
                .enumerate()
                .map(|(me, lane)| {
                    let (tracker, shared, options) = (&tracker, &shared, &self.options);
                    scope.spawn(move || work(tracker, lane, me, shared, options))
                })
                .collect();
            threads
                .into_iter()
                .map(|t| {
                    t.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let parts: Vec<Part> = parts.into_iter().collect::<Option<_>>()?;
        let mut times = histogram();
        let mut openings = histogram();
        let mut tally = Tally::default();
        let mut collections = Collections::default();
        let mut tidying = Collections::default();
        for part in &parts {
            times.add(&part.times).expect("equal bounds");
            openings.add(&part.openings).expect("equal bounds");
            tally.add(&part.tally);
            collections.add(&part.collections);
            tidying.add(&part.tidying);
        }
        let start = parts.iter().map(|p| p.start).min()?;
        let end = parts.iter().map(|p| p.end).max()?;
        let mut entries = 0;
        tracker.for_each(self.end, |_| entries += 1);
        Some(Outcome {
            elapsed: end - start,
            cpu: parts.iter().map(|p| p.cpu).sum(),
            packets: self
                .lanes
                .iter()
                .map(|lane| lane.measured().len() as u64)
                .sum(),
            tally,
            times,
            openings,
            tracker: parts.iter().map(|p| p.tracker).sum(),
            collections,
            tidying,
            entries,
            buckets: tracker.store().buckets() as u64,
        })
    }
}

/// Passes the warm-up once, on one thread, and counts the memory it takes.
pub(crate) struct Memory<'a> {
    pub(crate) lane: &'a Lane<'a>,
    pub(crate) stop: &'a AtomicBool,
}

/// What a tracker with a table in the steady state takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Usage {
    /// Bytes allocated since before the tracker was made.
    pub(crate) bytes: u64,
    /// Entries in existence.
    pub(crate) entries: u64,
}

impl Job for Memory<'_> {
    type Output = Option<Usage>;

    fn run<S: Store<User = ()>>(self, make: impl FnOnce() -> Tracker<S>) -> Option<Usage> {
        let mut wire = Wire::new();
        let mut tally = Tally::default();
        let mut stats = Collections::default();
        let shared = Shared {
            reached: Vec::new(),
            collect_at: CachePadded::new(AtomicU64::new(0)),
            ready: AtomicUsize::new(0),
            stop: self.stop,
            broken: AtomicBool::new(false),
        };
        let (tracker, bytes) = super::alloc::measure(|| {
            let tracker = make();
            for (n, packet) in self.lane.warm_up().enumerate() {
                pass(&tracker, wire.load(&packet), packet.time, false, &mut tally);
                if n % BATCH == 0 {
                    shared.collect(&tracker, packet.time, &mut stats);
                    if shared.stopped() {
                        break;
                    }
                }
            }
            shared.tidy(&tracker, &mut stats);
            tracker
        });
        (!shared.stopped()).then(|| Usage {
            bytes: bytes.max(0) as u64,
            entries: tracker.net().count() as u64,
        })
    }
}

/// Nanoseconds that the harness itself takes for a packet: reading it, the clock and the histogram, everything but the tracker.
pub(crate) fn overhead(lane: &Lane<'_>) -> f64 {
    let clock = quanta::Clock::new();
    let mut wire = Wire::new();
    let mut times = histogram();
    let start = Instant::now();
    let mut last = clock.raw();
    let mut n = 0u32;
    for packet in lane.measured().take(200_000) {
        std::hint::black_box(wire.load(&packet));
        let now = clock.raw();
        times.saturating_record(clock.delta_as_nanos(last, now));
        last = now;
        n += 1;
    }
    start.elapsed().as_nanos() as f64 / f64::from(n.max(1))
}
