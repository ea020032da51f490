//! Guards across `.await`, on tokio's threads.

use nulls::HashMap;
use nulls::rcu::OwnedGuard;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

/// One test at a time: a reader in the other would keep this one's garbage.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A value that says when it is read after its drop.
struct Alive(Box<u64>, Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        *self.0 = 0xdead;
        self.1.fetch_add(1, Relaxed);
    }
}

/// Tasks hold references over many suspensions, and wander between threads, while everything is removed and replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn references_live_across_awaits() {
    let _alone = ALONE.lock().await;
    let drops = Arc::new(AtomicUsize::new(0));
    let finished = Arc::new(AtomicUsize::new(0));
    let map = Arc::new(HashMap::new());
    for k in 0..64u64 {
        map.pin().insert(k, Alive(Box::new(k), drops.clone()));
    }
    let readers: Vec<_> = (0..16u64)
        .map(|t| {
            let (map, finished) = (map.clone(), finished.clone());
            tokio::spawn(async move {
                for round in 0..20 {
                    let mut view = map.pin_owned();
                    let k = (t * 4 + round) % 64;
                    if let Some(v) = view.get(&k) {
                        for _ in 0..5 {
                            tokio::task::yield_now().await;
                            assert_eq!(*v.0, k);
                        }
                        tokio::time::sleep(Duration::from_micros(100)).await;
                        assert_eq!(*v.0, k);
                    }
                    view.refresh();
                    assert!(view.get(&k).is_none_or(|v| *v.0 == k));
                }
                finished.fetch_add(1, Relaxed);
            })
        })
        .collect();
    let writer = {
        let (map, drops, finished) = (map.clone(), drops.clone(), finished.clone());
        // As long as somebody reads, and then until much of what it threw away was freed, the map alive. The readers
        // end whatever the writer does, and without them garbage is freed.
        let enough =
            move |drops: &AtomicUsize| finished.load(Relaxed) == 16 && drops.load(Relaxed) > 1000;
        tokio::spawn(async move {
            for i in (0..u64::MAX).take_while(|i| *i < 30_000 || !enough(&drops)) {
                let k = i % 64;
                match i % 3 {
                    0 => drop(map.pin().remove(&k)),
                    _ => drop(map.pin().insert(k, Alive(Box::new(k), drops.clone()))),
                }
                if i % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    for task in readers {
        task.await.unwrap();
    }
    writer.await.unwrap();
    assert!(drops.load(Relaxed) > 1000, "garbage was freed");
    map.maintain().unwrap();
    assert_eq!(map.garbage(), 0);
    let (held, before) = (map.len(), drops.load(Relaxed));
    drop(map);
    assert_eq!(drops.load(Relaxed) - before, held, "each value once");
}

/// One guard, shared by tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_is_shared_by_tasks() {
    let _alone = ALONE.lock().await;
    let map: Arc<HashMap<u64, String>> = Arc::new((0..100).map(|i| (i, i.to_string())).collect());
    let guard = Arc::new(OwnedGuard::new());
    let tasks: Vec<_> = (0..8)
        .map(|t| {
            let (map, guard) = (map.clone(), guard.clone());
            tokio::spawn(async move {
                let mut sum = 0;
                for i in 0..100 {
                    let seen = map.get_with(&i, &guard);
                    tokio::task::yield_now().await;
                    sum += seen.map_or(0, |s| s.parse::<u64>().unwrap());
                    if i % 8 == t {
                        map.remove_with(&i, &guard);
                    }
                }
                sum
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap() <= 4950);
    }
    assert!(map.is_empty(), "each key was removed by some task");
    // Nothing is freed while the guard is there, wherever it is.
    map.maintain().unwrap();
    assert_eq!(map.garbage(), 100);
    drop(guard);
    map.maintain().unwrap();
    assert_eq!(map.garbage(), 0);
}
