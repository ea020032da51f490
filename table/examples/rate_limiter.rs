//! A rate limiter: a token bucket per client, clients that are idle forgotten.
//!
//! `cargo run -p nulls --release --example rate_limiter`

use nulls::{Compute, HashMap, Operation};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Tokens that a client has, and when they were counted. Small and `Copy`: replacing it is as good as changing it.
#[derive(Clone, Copy)]
struct Bucket {
    tokens: u32,
    at_ms: u64,
}

struct Limiter {
    buckets: HashMap<Ipv4Addr, Bucket>,
    burst: u32,
    per_second: u64,
}

impl Limiter {
    fn new(burst: u32, per_second: u64, most_clients: usize) -> Self {
        Self {
            // A flood of forged addresses must not take all memory.
            buckets: HashMap::builder().max_entries(most_clients).build(),
            burst,
            per_second,
        }
    }

    /// Whether a request of `client` may pass at this time. Takes a token if so: decided and taken in one step.
    fn admit(&self, client: Ipv4Addr, now_ms: u64) -> bool {
        let buckets = self.buckets.pin();
        let done = buckets.try_compute(client, |seen| {
            let Some((_, old)) = seen else {
                return Operation::Insert(Bucket {
                    tokens: self.burst - 1,
                    at_ms: now_ms,
                });
            };
            let earned = now_ms.saturating_sub(old.at_ms) * self.per_second / 1000;
            let tokens = (old.tokens as u64 + earned).min(self.burst as u64) as u32;
            if tokens == 0 {
                return Operation::Abort(());
            }
            Operation::Insert(Bucket {
                tokens: tokens - 1,
                at_ms: if earned > 0 { now_ms } else { old.at_ms },
            })
        });
        // No room for another client: refused.
        matches!(done, Ok(Compute::Inserted(..) | Compute::Updated { .. }))
    }

    /// Forgets clients whose buckets must be full again.
    fn sweep(&self, now_ms: u64) {
        let idle_ms = self.burst as u64 * 1000 / self.per_second;
        self.buckets
            .pin()
            .retain(|_, bucket| now_ms.saturating_sub(bucket.at_ms) < idle_ms);
    }
}

fn main() {
    let limiter = Limiter::new(10, 100, 1000);
    let admitted = AtomicU64::new(0);
    // One second of a clock of our own; four threads let 50 clients ask 100 times a millisecond.
    for now_ms in 0..1000 {
        std::thread::scope(|s| {
            for t in 0..4 {
                let (limiter, admitted) = (&limiter, &admitted);
                s.spawn(move || {
                    for i in 0..25u8 {
                        let client = Ipv4Addr::new(10, 0, 0, (t * 25 + i) % 50);
                        admitted.fetch_add(u64::from(limiter.admit(client, now_ms)), Relaxed);
                    }
                });
            }
        });
    }
    let admitted = admitted.load(Relaxed);
    println!(
        "{admitted} of 100000 requests admitted, {} clients known",
        limiter.buckets.len()
    );
    // 50 clients, a burst of 10 and 100 a second each; a fraction of a token may be lost at each refill.
    assert!((2500..=50 * (10 + 100)).contains(&admitted));
    limiter.sweep(2000);
    assert!(limiter.buckets.is_empty());
}
