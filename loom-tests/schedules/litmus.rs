//! The self-test of the schedules: a bug that they have to meet.

use crate::scenario::Scenario;
use crate::verdict::Expect;
use shuttle::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "litmus/lost-update",
    proves: "load + store in two threads loses an increment: caught",
    threads: 2,
    expect: Expect::Caught,
    body: lost_update,
    ..Scenario::DEFAULT
}];

fn lost_update() {
    let x = Arc::new(AtomicU64::new(0));
    let threads = [(); 2].map(|()| {
        let x = x.clone();
        shuttle::thread::spawn(move || x.store(x.load(SeqCst) + 1, SeqCst))
    });
    for t in threads {
        t.join().expect("nothing panics");
    }
    assert_eq!(x.load(SeqCst), 2, "an increment is lost");
}
