//! Parts of the design against what could stand in their place. Variants are written here, for measuring only.

use super::access::Accesses;
use super::{Order, Presence3, Sample, Spec};
use crate::contender::{Nulls, hasher};
use crate::measure::{rounds_for, timed};
use crate::workload::{folded, permuted};
use core::hash::BuildHasher;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
};
use core::time::Duration;
use nulls::raw::{InsertError, Table};
use std::sync::Mutex;
use std::time::Instant;

/// The ways to read an address and a length together.
pub const GEOMETRIES: &[&str] = &[
    "seqcount",
    "latch",
    "seqlock-crate",
    "seqlock-crate-exclusive",
    "single-pointer",
];

/// The ways to protect a look-up.
pub const PINS: &[&str] = &[
    "no-pin",
    "membarrier",
    "fence",
    "refresh",
    "crossbeam-epoch",
    "seize",
];

/// Whether a move may use the fraction bytes.
pub const FRACTIONS: &[&str] = &["fractions", "no-fractions"];

/// An address and a length that belong together: here `(n, !n)`, so that a torn pair shows.
type Pair = (usize, usize);

trait Geometry: Sync {
    fn new(first: Pair) -> Self;
    fn read(&self) -> Pair;
    /// One thread at a time.
    fn publish(&self, pair: Pair);
}

/// One copy under a sequence count: readers repeat while a writer is at it.
struct Seqcount {
    count: AtomicUsize,
    pair: [AtomicUsize; 2],
}

impl Geometry for Seqcount {
    fn new(first: Pair) -> Self {
        Self {
            count: AtomicUsize::new(0),
            pair: [AtomicUsize::new(first.0), AtomicUsize::new(first.1)],
        }
    }

    #[inline(always)]
    fn read(&self) -> Pair {
        loop {
            // Acquire: the pair is loaded after. Even: no writer.
            let before = self.count.load(Ordering::Acquire);
            if before & 1 == 0 {
                let pair = (
                    self.pair[0].load(Ordering::Relaxed),
                    self.pair[1].load(Ordering::Relaxed),
                );
                // Pairs with the writer's fence: whoever saw new words sees the odd count.
                fence(Ordering::Acquire);
                if self.count.load(Ordering::Relaxed) == before {
                    return pair;
                }
            }
            spin_loop();
        }
    }

    fn publish(&self, pair: Pair) {
        let before = self.count.load(Ordering::Relaxed);
        self.count.store(before + 1, Ordering::Relaxed);
        // Release: the words below are not seen before the odd count.
        fence(Ordering::Release);
        self.pair[0].store(pair.0, Ordering::Relaxed);
        self.pair[1].store(pair.1, Ordering::Relaxed);
        // Release: the even count is not seen before the words.
        self.count.store(before + 2, Ordering::Release);
    }
}

/// Two copies; the count's parity names the one that is not being written.
struct Latch {
    count: AtomicUsize,
    pairs: [[AtomicUsize; 2]; 2],
}

impl Geometry for Latch {
    fn new(first: Pair) -> Self {
        let pair = || [AtomicUsize::new(first.0), AtomicUsize::new(first.1)];
        Self {
            count: AtomicUsize::new(0),
            pairs: [pair(), pair()],
        }
    }

    #[inline(always)]
    fn read(&self) -> Pair {
        loop {
            // Acquire: pairs with the writer's Release; the copy named is complete.
            let before = self.count.load(Ordering::Acquire);
            let words = &self.pairs[before & 1];
            let pair = (
                words[0].load(Ordering::Relaxed),
                words[1].load(Ordering::Relaxed),
            );
            fence(Ordering::Acquire);
            if self.count.load(Ordering::Relaxed) == before {
                return pair;
            }
        }
    }

    fn publish(&self, pair: Pair) {
        let before = self.count.load(Ordering::Relaxed);
        for step in 1..=2 {
            let words = &self.pairs[(before + step) & 1];
            fence(Ordering::Release);
            words[0].store(pair.0, Ordering::Relaxed);
            words[1].store(pair.1, Ordering::Relaxed);
            // Release: the copy it names is complete.
            self.count.store(before + step, Ordering::Release);
        }
    }
}

impl Geometry for seqlock::SeqLock<Pair> {
    fn new(first: Pair) -> Self {
        seqlock::SeqLock::new(first)
    }

    #[inline(always)]
    fn read(&self) -> Pair {
        seqlock::SeqLock::read(self)
    }

    fn publish(&self, pair: Pair) {
        *self.lock_write() = pair;
    }
}

/// The same crate with readers that take its lock, which is what a reader must do that may not repeat.
struct Exclusive(seqlock::SeqLock<Pair>);

impl Geometry for Exclusive {
    fn new(first: Pair) -> Self {
        Self(seqlock::SeqLock::new(first))
    }

    #[inline(always)]
    fn read(&self) -> Pair {
        *self.0.lock_write()
    }

    fn publish(&self, pair: Pair) {
        *self.0.lock_write() = pair;
    }
}

/// A pointer to both, which are never changed.
struct SinglePointer {
    pair: AtomicPtr<Pair>,
    /// Those that were published: freed with the whole.
    all: Mutex<Vec<*mut Pair>>,
}

// SAFETY: the pointers lead to pairs that nobody writes after publication and that live as long as this.
unsafe impl Sync for SinglePointer {}

impl Geometry for SinglePointer {
    fn new(first: Pair) -> Self {
        let p = Box::into_raw(Box::new(first));
        Self {
            pair: AtomicPtr::new(p),
            all: Mutex::new(vec![p]),
        }
    }

    #[inline(always)]
    fn read(&self) -> Pair {
        // SAFETY: from `new` or `publish`: a pair that lives as long as `self`. Acquire pairs with the publication.
        unsafe { *self.pair.load(Ordering::Acquire) }
    }

    fn publish(&self, pair: Pair) {
        let p = Box::into_raw(Box::new(pair));
        self.all.lock().expect("no panic under the lock").push(p);
        self.pair.store(p, Ordering::Release);
    }
}

impl Drop for SinglePointer {
    fn drop(&mut self) {
        for &p in self.all.get_mut().expect("no panic under the lock").iter() {
            // SAFETY: each came from a box and is here once; nobody reads any more.
            drop(unsafe { Box::from_raw(p) });
        }
    }
}

/// Reads of a pair, with or without another thread that publishes. `None`: no such way.
pub(super) fn geometry(spec: &Spec, every_us: u32) -> Option<Sample> {
    match spec.contender.as_str() {
        "seqcount" => Some(reads::<Seqcount>(spec, every_us)),
        "latch" => Some(reads::<Latch>(spec, every_us)),
        "seqlock-crate" => Some(reads::<seqlock::SeqLock<Pair>>(spec, every_us)),
        "seqlock-crate-exclusive" => Some(reads::<Exclusive>(spec, every_us)),
        "single-pointer" => Some(reads::<SinglePointer>(spec, every_us)),
        _ => None,
    }
}

fn reads<G: Geometry>(spec: &Spec, every_us: u32) -> Sample {
    const ROUND: u64 = 100_000;
    let pair = |n: usize| (n, !n);
    let geometry = G::new(pair(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        if every_us > 0 {
            s.spawn(|| {
                crate::measure::pin_thread(spec.threads);
                let every = Duration::from_micros(u64::from(every_us));
                let mut n = 0;
                let mut due = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    due += every;
                    while Instant::now() < due {
                        spin_loop();
                    }
                    n += 1;
                    geometry.publish(pair(n));
                }
            });
        }
        let round = |rounds: u64| {
            timed(spec.threads, |_| {
                let torn = (0..rounds * ROUND)
                    .filter(|_| {
                        let (a, b) = black_box(&geometry).read();
                        a != !b
                    })
                    .count();
                (torn, 0)
            })
        };
        let rounds = rounds_for(spec.ms, round(1));
        let time = round(rounds);
        stop.store(true, Ordering::Relaxed);
        Sample::one("ns", time.as_secs_f64() * 1e9 / (rounds * ROUND) as f64)
    })
}

/// A reader's record, one cache line.
#[repr(align(128))]
struct Record(AtomicU64);

/// Look-ups under a guard that is held throughout, each protected once more in the way that the contender names: the
/// difference from `no-pin` is what that way costs in its place. `None`: no such way.
pub(super) fn pin(spec: &Spec) -> Option<Sample> {
    let map: Nulls = super::lookup::loaded::<u64, Nulls>(spec.entries, spec.build);
    let map = map.map();
    let accesses = Accesses::<u64>::new(spec.entries, Presence3::Hit, Order::Uniform, 1);
    let collector = seize::Collector::new();
    let epoch = AtomicU64::new(1);

    /// One measurement: `$before` before each look-up, whatever it yields lives until after it.
    macro_rules! measured {
        ($state:ident = $new:expr, $before:expr) => {{
            let round = |rounds: u64| {
                timed(spec.threads, |t| {
                    let (front, back) = accesses.from(t, spec.threads);
                    let outer = map.guard();
                    #[allow(unused_mut, unused_variables)]
                    let mut $state = $new;
                    let mut sum = 0u64;
                    for _ in 0..rounds {
                        for keys in [front, back] {
                            for k in keys {
                                #[allow(clippy::let_unit_value, unused_variables)]
                                let held = $before;
                                sum = sum.wrapping_add(folded(map.get_with(k, &outer).copied()));
                            }
                        }
                    }
                    (sum, accesses.sum.wrapping_mul(rounds))
                })
            };
            let rounds = rounds_for(spec.ms, round(1));
            let time = round(rounds);
            let each = rounds * accesses.keys.len() as u64;
            Some(Sample::one("ns", time.as_secs_f64() * 1e9 / each as f64))
        }};
    }

    match spec.contender.as_str() {
        "no-pin" => measured!(nothing = (), ()),
        "membarrier" => {
            // Written out, because `rcu::pin` under an outer pin is a nested one, which costs less.
            measured!(record = Record(AtomicU64::new(0)), {
                record
                    .0
                    .store(epoch.load(Ordering::Relaxed), Ordering::Release);
                compiler_fence(Ordering::SeqCst);
                Unpin(&record)
            })
        }
        "fence" => measured!(record = Record(AtomicU64::new(0)), {
            record
                .0
                .store(epoch.load(Ordering::Relaxed), Ordering::Release);
            fence(Ordering::SeqCst);
            Unpin(&record)
        }),
        "refresh" => measured!(guard = map.guard(), guard.refresh()),
        "crossbeam-epoch" => measured!(nothing = (), crossbeam_epoch::pin()),
        "seize" => measured!(nothing = (), collector.enter()),
        _ => None,
    }
}

/// Unpins when it is dropped.
struct Unpin<'a>(&'a Record);

impl Drop for Unpin<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: what was read under the pin was read before.
        self.0.0.store(0, Ordering::Release);
    }
}

/// Grows the raw table by `factor` percent whenever its fill reaches `fill` percent. Fills above the table's own limit
/// (five in eight) are out of reach, because it then grows by itself.
pub(super) fn factor_fill(spec: &Spec, factor: u32, fill: u32) -> Sample {
    const SLOTS: usize = 8;
    grown(spec, &Table::new(), |i, table| {
        if i % 64 == 0 && !table.is_resizing() && i * 100 > table.buckets() * SLOTS * fill as usize
        {
            let buckets = (table.buckets() * factor as usize).div_ceil(100).max(2);
            table.resize(buckets).expect("memory");
        }
    })
}

/// Grows the raw table as it likes, with its fraction bytes or without: all else is the same. `None`: no such way.
pub(super) fn fractions(spec: &Spec) -> Option<Sample> {
    let mut table = Table::new();
    match spec.contender.as_str() {
        "fractions" => {}
        "no-fractions" => table.forget_fractions(),
        _ => return None,
    }
    Some(grown(spec, &table, |_, _| {}))
}

/// Fills the raw table with the numbers of keys, and looks at what that took; `after(i, table)` follows the `i`-th insertion.
fn grown(spec: &Spec, table: &Table, after: impl Fn(usize, &Table)) -> Sample {
    let keys = permuted(spec.entries, 1);
    let hasher = hasher();
    let hash = |k: u64| hasher.hash_one(k);
    let calls = AtomicU64::new(0);
    let rehash = |x: u32| {
        calls.fetch_add(1, Ordering::Relaxed);
        hash(keys[x as usize - 1])
    };
    let guard = nulls::rcu::pin();
    let start = Instant::now();
    for (i, &k) in keys.iter().enumerate() {
        let x = u32::try_from(i + 1).expect("fewer than 2^32 entries");
        loop {
            let probe = table.probe(&guard, hash(k), |y| keys[y as usize - 1] == k, &rehash);
            match probe.insert(x) {
                Ok(written) => {
                    written.assist(&guard, &rehash);
                    break;
                }
                Err(InsertError::Stale) => {}
                Err(e) => panic!("{e:?}"),
            }
        }
        after(i, table);
    }
    let grown = start.elapsed();
    drop(guard);
    table.maintain(&rehash).expect("memory");
    let calls = calls.load(Ordering::Relaxed);
    let look = super::memory::median_of_rest(|| {
        let guard = nulls::rcu::pin();
        let start = Instant::now();
        let found = keys
            .iter()
            .filter(|&&k| {
                table
                    .find(&guard, hash(k), |x| {
                        (keys[x as usize - 1] == k).then_some(())
                    })
                    .is_some()
            })
            .count();
        let time = start.elapsed();
        assert_eq!(found, keys.len(), "an entry was lost");
        time.as_secs_f64() * 1e9 / keys.len() as f64
    });
    let stats = table.stats();
    let n = spec.entries as f64;
    Sample::one("ns", grown.as_secs_f64() * 1e9 / n)
        .with("lookup_ns", look)
        .with("table_bytes_per_entry", stats.bytes as f64 / n)
        .with("hashes_per_insert", calls as f64 / n)
}
