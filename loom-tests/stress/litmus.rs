//! The self-test of the stress harness: bugs that it has to notice.

use crate::harness::Run;
use crate::scenario::Scenario;
use crate::verdict::Expect;
use std::sync::atomic::{AtomicU64, Ordering::*};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "litmus/lost-update",
        proves: "load + store in two threads loses an increment: caught",
        threads: 2,
        expect: Expect::Caught,
        body: lost_update,
        ..Scenario::DEFAULT
    },
    Scenario {
        name: "litmus/atomic-update",
        proves: "read-modify-writes lose none",
        threads: 2,
        body: atomic_update,
        ..Scenario::DEFAULT
    },
];

/// Increments by both threads, then compares with what they have done.
fn updates(run: &Run, add: impl Fn(&AtomicU64) + Sync) {
    let (x, done) = (AtomicU64::new(0), AtomicU64::new(0));
    run.threads(2, |_| {
        while run.go_on() {
            add(&x);
            done.fetch_add(1, Relaxed);
        }
    });
    assert_eq!(x.into_inner(), done.into_inner(), "an increment is lost");
}

fn lost_update(run: &Run) {
    updates(run, |x| {
        let v = x.load(SeqCst);
        if v.is_multiple_of(64) {
            // As an injected pause does: the machine may be too busy to run two threads at once.
            std::thread::yield_now();
        }
        x.store(v + 1, SeqCst);
    });
}

fn atomic_update(run: &Run) {
    updates(run, |x| {
        x.fetch_add(1, Relaxed);
    });
}
