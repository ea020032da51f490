//! A session table: touched on every request, swept for expired sessions a slice at a time.
//!
//! `cargo run -p nulls --release --example sessions`

use nulls::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

struct Session {
    user: String,
    /// The time of the last request. An atomic, so that a touch replaces nothing.
    last_ms: AtomicU64,
}

struct Sessions {
    map: HashMap<u128, Session>,
    now_ms: AtomicU64,
    ttl_ms: u64,
}

impl Sessions {
    fn log_in(&self, id: u128, user: &str) {
        self.map.pin().insert(
            id,
            Session {
                user: user.into(),
                last_ms: AtomicU64::new(self.now_ms.load(Relaxed)),
            },
        );
    }

    /// The user of a session that has not expired, swept or not.
    fn touch(&self, id: u128) -> Option<String> {
        let map = self.map.pin();
        let session = map.get(&id)?;
        let now = self.now_ms.load(Relaxed);
        if now - session.last_ms.load(Relaxed) > self.ttl_ms {
            return None;
        }
        session.last_ms.fetch_max(now, Relaxed);
        Some(session.user.clone())
    }

    /// Looks at some 100 sessions from `cursor` on and removes those that have expired. Holds no lock and, between two calls,
    /// no guard: the cursor is a number.
    fn sweep(&self, cursor: u64) -> u64 {
        let map = self.map.pin();
        let oldest = self.now_ms.load(Relaxed).saturating_sub(self.ttl_ms);
        let mut expired = Vec::new();
        let next = map.scan(cursor, 100, |id, session| {
            if session.last_ms.load(Relaxed) < oldest {
                expired.push(id);
            }
        });
        for id in expired {
            // Asked again: it may have been touched, or replaced by a new log-in.
            map.remove_if(id, |_, s| s.last_ms.load(Relaxed) < oldest);
        }
        next.unwrap_or(0)
    }
}

fn main() {
    let sessions = Sessions {
        map: HashMap::new(),
        now_ms: AtomicU64::new(1),
        ttl_ms: 50,
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut cursor = 0;
            while !done.load(Relaxed) {
                cursor = sessions.sweep(cursor);
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        // Session 0 is used all the time and must never expire; the others are used once.
        sessions.log_in(0, "ada");
        for id in 1..20_000 {
            sessions.now_ms.fetch_add(u64::from(id % 20 == 0), Relaxed);
            sessions.log_in(id, "somebody");
            assert_eq!(sessions.touch(0).as_deref(), Some("ada"));
        }
        done.store(true, Relaxed);
    });
    let left = sessions.map.len();
    sessions.now_ms.fetch_add(51, Relaxed);
    assert_eq!(sessions.touch(0), None, "expired, swept or not");
    let mut cursor = sessions.sweep(0);
    while cursor != 0 {
        cursor = sessions.sweep(cursor);
    }
    println!(
        "{left} of 20000 sessions at the end of the rush, {} after it",
        sessions.map.len()
    );
    assert!(sessions.map.is_empty());
}
