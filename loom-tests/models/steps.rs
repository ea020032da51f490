//! What an iteration goes through: buckets of the root that are taken as they are, and the general step where that fails.
//!
//! Two threads in each model, the iterating one and a writer, at most two preemptions in the mode `fast` (one in the last model).
//! Proved: what stays is yielded exactly once, what was found before is yielded too, and what comes or goes meanwhile at most
//! once, though the bucket under the iteration moves or a line of it is recycled into the same chain.

use crate::harness::{Model, spawn};
use crate::table::{World, hash};
use crate::verdict::saw;
use nulls::rcu;
use std::sync::Arc;

pub const MODELS: &[Model] = &[
    Model {
        name: "steps/beside-growth",
        proves: "an iteration by buckets of the root yields what stays exactly once while those buckets move",
        floor: 100,
        outcomes: &["newcomer found", "newcomer missed"],
        kills: &["steps:skip-complete"],
        body: || beside_a_resize(2, 3),
        ..Model::DEFAULT
    },
    Model {
        name: "steps/beside-shrinking",
        proves: "an iteration by buckets of the root yields what stays exactly once while they move into fewer",
        floor: 100,
        outcomes: &["newcomer found", "newcomer missed"],
        kills: &["steps:skip-complete"],
        body: || beside_a_resize(2, 1),
        ..Model::DEFAULT
    },
    Model {
        name: "steps/on-a-recycled-line",
        fast_bound: 1,
        full_bound: 2,
        limit: 300,
        proves: "an iteration whose bucket is written to meanwhile begins it again, and yields no line of it twice",
        floor: 100,
        outcomes: &["before", "between", "after"],
        kills: &["steps:keep-a-disturbed-walk", "steps:keep-what-was-found"],
        body: on_a_recycled_line,
        ..Model::DEFAULT
    },
];

/// All that an iteration yields.
fn walk(w: &World, guard: &rcu::Guard) -> Vec<u32> {
    let (mut steps, mut all) = (w.table.steps(guard, ..), Vec::new());
    while steps.next(&|x| w.rehash(x), &mut all) {}
    all
}

fn beside_a_resize(from: usize, to: usize) {
    // Parts 0, 6 and 10 of twelve; the fourth comes meanwhile.
    fn spread(x: u32) -> u64 {
        hash([0, 6, 10, 9][x as usize - 1], u64::from(x))
    }
    let w = Arc::new(World::new(from, spread, &[1, 2, 3]));
    w.start_resize(to);
    let walker = {
        let w = w.clone();
        spawn(move || {
            let guard = rcu::pin();
            let early = w.find(&guard, 4);
            let mut all = walk(&w, &guard);
            all.sort_unstable();
            saw(match all[..] {
                [1, 2, 3] if !early => "newcomer missed",
                [1, 2, 3, 4] => "newcomer found",
                _ => panic!("what stays is yielded once: {all:?}"),
            });
        })
    };
    let guard = rcu::pin();
    w.move_bucket_of(&guard, 2);
    w.insert(&guard, 4);
    drop(guard);
    walker.join().unwrap();
}

fn on_a_recycled_line() {
    // [1 2] [3 4] [5 _]: the last line goes out, and comes back in front of the middle one with 6.
    let w = Arc::new(World::three_lines(|x| hash(0, u64::from(x))));
    let walker = {
        let w = w.clone();
        spawn(move || {
            let mut all = walk(&w, &rcu::pin());
            all.sort_unstable();
            saw(match all[..] {
                [1, 2, 3, 4, 5] => "before",
                [1, 2, 3, 4] => "between",
                [1, 2, 3, 4, 6] => "after",
                _ => panic!("what stays is yielded once: {all:?}"),
            });
        })
    };
    let guard = rcu::pin();
    w.remove(&guard, 5);
    w.insert(&guard, 6);
    drop(guard);
    walker.join().unwrap();
}
