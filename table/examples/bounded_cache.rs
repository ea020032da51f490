//! A cache of bounded size: exact admission by the map, eviction by a second chance.
//!
//! `cargo run -p nulls --release --example bounded_cache`

use nulls::{HashMap, TryInsertError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A cached value, and whether somebody has looked at it since the hand of the clock passed.
struct Cached {
    value: String,
    used: AtomicBool,
}

/// At most so many values; computes what is missing.
struct Cache {
    map: HashMap<u64, Cached>,
    /// Where the hand stands: a cursor, which is a number.
    hand: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    fn new(capacity: usize) -> Self {
        Self {
            map: HashMap::builder().max_entries(capacity).build(),
            hand: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Calls `f` with the value of `key`.
    fn with<R>(&self, key: u64, compute: impl Fn(u64) -> String, f: impl Fn(&str) -> R) -> R {
        let view = self.map.pin();
        if let Some(hit) = view.get(&key) {
            // A plain look first: a flag that is set already stays in every core's cache.
            if !hit.used.load(Relaxed) {
                hit.used.store(true, Relaxed);
            }
            return f(&hit.value);
        }
        self.misses.fetch_add(1, Relaxed);
        let mut fresh = Cached {
            value: compute(key),
            used: AtomicBool::new(false),
        };
        loop {
            match view.try_insert(key, fresh) {
                Ok(new) => return f(&new.value),
                Err(TryInsertError::Occupied { current, .. }) => return f(&current.value),
                Err(full) => fresh = full.into_entry().1,
            }
            // A removal makes room at once, whoever still reads what was removed.
            self.evict();
        }
    }

    /// Moves the hand on until it has thrown something out.
    fn evict(&self) {
        let view = self.map.pin();
        let mut evicted = 0;
        // Twice round at most: the first time may only take flags back.
        for _ in 0..self.map.len() / 4 + 8 {
            let mut victims = Vec::new();
            let next = view.scan(self.hand.load(Relaxed), 8, |key, cached| {
                if !cached.used.swap(false, Relaxed) {
                    victims.push((key, cached));
                }
            });
            self.hand.store(next.unwrap_or(0), Relaxed);
            for (key, cached) in victims {
                // This very entry, not one that another thread has just inserted under the same key.
                evicted += usize::from(view.remove_same(key, cached).is_some());
            }
            if evicted > 0 {
                return;
            }
        }
    }
}

fn main() {
    const CAPACITY: usize = 1000;
    let cache = Cache::new(CAPACITY);
    std::thread::scope(|s| {
        for t in 0..4u64 {
            let cache = &cache;
            s.spawn(move || {
                let mut x = t + 1;
                for _ in 0..50_000 {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Small keys are wanted far more often.
                    let r = (x >> 33) % 4096;
                    let key = r * r / 4096;
                    let digits = cache.with(key, |k| k.to_string(), str::len);
                    assert_eq!(digits, key.to_string().len());
                    assert!(cache.map.len() <= CAPACITY);
                }
            });
        }
    });
    let misses = cache.misses.load(Relaxed);
    println!(
        "{} of 200000 look-ups missed; {} values cached, never more than {CAPACITY}",
        misses,
        cache.map.len()
    );
    assert!(misses < 150_000, "the cache is of use");
}
