//! What several test files share: objects that account for their own life, a watchdog, and weak hashers.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod bombs;

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Who was made and who was dropped: every [`Token`] of a ledger has a number and a count of its drops.
#[derive(Debug, Default)]
pub struct Ledger {
    drops: Mutex<Vec<u32>>,
}

impl Ledger {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn token(self: &Arc<Self>) -> Token {
        let mut drops = self.drops.lock().unwrap();
        drops.push(0);
        Token {
            ledger: self.clone(),
            number: drops.len() - 1,
            canary: AtomicU64::new(alive(drops.len() - 1)),
        }
    }

    pub fn made(&self) -> usize {
        self.drops.lock().unwrap().len()
    }

    pub fn dropped(&self) -> usize {
        self.drops
            .lock()
            .unwrap()
            .iter()
            .filter(|n| **n > 0)
            .count()
    }

    /// Whether object `number` was dropped.
    pub fn is_dropped(&self, number: usize) -> bool {
        self.drops.lock().unwrap()[number] > 0
    }

    pub fn assert_none_dropped_twice(&self) {
        let drops = self.drops.lock().unwrap();
        let twice: Vec<usize> = (0..drops.len()).filter(|i| drops[*i] > 1).collect();
        assert!(twice.is_empty(), "dropped twice: {twice:?}");
    }

    /// Everything was dropped, exactly once.
    pub fn assert_all_dropped_once(&self) {
        self.assert_none_dropped_twice();
        let drops = self.drops.lock().unwrap();
        let never: Vec<usize> = (0..drops.len()).filter(|i| drops[*i] == 0).collect();
        assert!(
            never.is_empty(),
            "{} of {} never dropped, such as {:?}",
            never.len(),
            drops.len(),
            never[0]
        );
    }
}

/// A part of a key or of a value that knows whether it is alive.
#[derive(Debug)]
pub struct Token {
    ledger: Arc<Ledger>,
    pub number: usize,
    canary: AtomicU64,
}

const fn alive(number: usize) -> u64 {
    0xa11e_a11e_0000_0000 ^ number as u64
}

impl Token {
    /// Panics if this memory does not hold a live object.
    pub fn check(&self) {
        assert_eq!(
            self.canary.load(Relaxed),
            alive(self.number),
            "read after its drop"
        );
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.canary.store(0xdead_dead_dead_dead, Relaxed);
        self.ledger.drops.lock().unwrap()[self.number] += 1;
    }
}

/// Runs `f` on another thread. A lock that nobody gives back shows as a wait without end: after ten minutes, hundreds of
/// times what any of these needs, that is taken for one.
pub fn in_time<R: Send>(what: &str, f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|s| {
        let (done, wait) = std::sync::mpsc::channel();
        let worker = s.spawn(move || {
            let r = f();
            let _ = done.send(());
            r
        });
        if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
            wait.recv_timeout(Duration::from_secs(600))
        {
            // The stuck thread cannot be joined: end the test process here.
            eprintln!("{what}: still running after ten minutes");
            std::process::abort();
        }
        worker
            .join()
            .unwrap_or_else(|e| std::panic::resume_unwind(e))
    })
}

/// A small random number generator.
#[derive(Clone, Debug)]
pub struct Xorshift(pub u64);

impl Xorshift {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 32) % n
    }
}

/// Hashers for `u64` keys that are bad in some way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Identity,
    Fx,
    Constant,
    /// Only the eight highest bits vary.
    Top,
    /// Only the eight lowest bits vary.
    Low,
    /// Another answer each time.
    Random,
    /// Another answer now and then.
    Flaky,
}

pub struct BadHasher(Bad, u64);

impl BuildHasher for Bad {
    type Hasher = BadHasher;
    fn build_hasher(&self) -> BadHasher {
        BadHasher(*self, 0)
    }
}

static NOISE: AtomicUsize = AtomicUsize::new(1);

fn noise() -> u64 {
    Xorshift((NOISE.fetch_add(1, Relaxed) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).next()
}

impl Hasher for BadHasher {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.1 = self.1.rotate_left(8) ^ *b as u64;
        }
    }
    fn write_u64(&mut self, k: u64) {
        self.1 = k;
    }
    fn finish(&self) -> u64 {
        match self.0 {
            Bad::Identity => self.1,
            Bad::Fx => self.1.wrapping_mul(0x517c_c1b7_2722_0a95),
            Bad::Constant => 0xdead_beef,
            Bad::Top => self.1 << 56,
            Bad::Low => self.1 & 0xff,
            Bad::Random => noise(),
            Bad::Flaky if noise().is_multiple_of(16) => noise(),
            Bad::Flaky => self.1,
        }
    }
}
