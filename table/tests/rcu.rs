//! Readers of the whole process: these tests look at the registry that all threads share, so they take turns.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

use nulls::rcu::{self, OwnedGuard, SynchronizeError};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

/// Waits for threads that were joined but whose thread-locals are still being destroyed.
fn nobody_reads() {
    while rcu::oldest_reader().is_some() {
        thread::yield_now();
    }
}

#[test]
fn a_hundred_thousand_threads_share_a_few_records() {
    let _turn = turn();
    let before = rcu::readers();
    for _ in 0..12_500 {
        // A scope may end before the thread-locals of its threads are destroyed; joining waits for that.
        let threads = [(); 8].map(|()| thread::spawn(|| drop(rcu::pin())));
        threads.into_iter().for_each(|t| t.join().unwrap());
    }
    let made = rcu::readers() - before;
    assert!(made <= 8, "{made} records for 8 threads at a time");
}

#[test]
fn running_threads_have_different_small_numbers() {
    let _turn = turn();
    let barrier = std::sync::Barrier::new(10);
    let mut numbers: Vec<usize> = thread::scope(|s| {
        let all: Vec<_> = (0..10)
            .map(|_| {
                s.spawn(|| {
                    let number = rcu::thread_index();
                    barrier.wait();
                    assert_eq!(rcu::thread_index(), number);
                    number
                })
            })
            .collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 10);
    assert!(numbers[9] < rcu::readers());
}

#[test]
fn synchronize_under_a_guard_is_an_error() {
    let _turn = turn();
    let guard = rcu::pin();
    assert!(rcu::is_pinned());
    assert_eq!(rcu::synchronize(), Err(SynchronizeError::Pinned));
    {
        let _nested = rcu::pin();
        assert_eq!(rcu::synchronize(), Err(SynchronizeError::Pinned));
    }
    drop(guard);
    assert!(!rcu::is_pinned());
    assert_eq!(rcu::synchronize(), Ok(()));
}

#[test]
fn synchronize_waits_for_a_guard_in_another_thread() {
    let _turn = turn();
    let (pinned, is_pinned) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let _guard = rcu::pin();
        pinned.send(()).unwrap();
        released.recv().unwrap();
    });
    is_pinned.recv().unwrap();
    let (done, is_done) = mpsc::channel();
    let waiter = thread::spawn(move || done.send(rcu::synchronize()).unwrap());
    // The waiter has begun.
    while rcu::oldest_reader().unwrap().behind == 0 {
        thread::yield_now();
    }
    assert!(
        is_done.recv_timeout(Duration::from_millis(50)).is_err(),
        "a reader is in its section"
    );
    release.send(()).unwrap();
    assert_eq!(is_done.recv(), Ok(Ok(())));
    reader.join().unwrap();
    waiter.join().unwrap();
}

#[test]
fn an_owned_guard_travels_and_protects_wherever_it_is() {
    let _turn = turn();
    let guard = OwnedGuard::new();
    assert!(!rcu::is_pinned(), "it pins nobody's thread");
    let guard = thread::spawn(move || {
        thread::scope(|s| {
            let shared = &guard;
            s.spawn(move || assert!(format!("{shared:?}").contains("OwnedGuard")));
        });
        guard
    })
    .join()
    .unwrap();
    let (done, is_done) = mpsc::channel();
    let waiter = thread::spawn(move || done.send(rcu::synchronize()).unwrap());
    assert!(
        is_done.recv_timeout(Duration::from_millis(50)).is_err(),
        "its maker's thread is long gone"
    );
    thread::spawn(move || drop(guard)).join().unwrap();
    assert_eq!(is_done.recv(), Ok(Ok(())));
    waiter.join().unwrap();
}

/// A future that holds a guard across an await point may be polled by any thread.
#[test]
fn an_owned_guard_may_be_held_across_an_await() {
    fn must_be_send<F: Future + Send>(f: F) -> F {
        f
    }
    let _turn = turn();
    let task = must_be_send(async {
        let guard = OwnedGuard::new();
        std::future::ready(()).await;
        drop(guard);
        7
    });
    let mut task = Box::pin(task);
    let polled = thread::spawn(move || {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        task.as_mut().poll(&mut context)
    });
    assert_eq!(polled.join().unwrap(), std::task::Poll::Ready(7));
}

/// What the destructor of a thread-local does when the thread's record is gone already, or still in use.
#[test]
fn pinning_works_while_a_thread_is_torn_down() {
    struct Late(mpsc::Sender<(bool, bool, Result<(), SynchronizeError>)>);
    impl Drop for Late {
        fn drop(&mut self) {
            let outer = rcu::pin();
            let inner = rcu::pin();
            drop(outer);
            let (pinned, refused) = (rcu::is_pinned(), rcu::synchronize());
            drop(inner);
            let _ = rcu::thread_index();
            self.0.send((pinned, rcu::is_pinned(), refused)).unwrap();
        }
    }
    thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
    let _turn = turn();
    let before = rcu::readers();
    let (tell, told) = mpsc::channel();
    for order in 0..200 {
        let tell = tell.clone();
        thread::spawn(move || {
            // Thread-locals are destroyed in the reverse order of their first use, or in any: try both.
            if order % 2 == 0 {
                drop(rcu::pin());
            }
            LATE.with(|late| *late.borrow_mut() = Some(Late(tell)));
            drop(rcu::pin());
        })
        .join()
        .unwrap();
    }
    drop(tell);
    let seen: Vec<_> = told.into_iter().collect();
    assert_eq!(seen.len(), 200);
    assert!(
        seen.iter()
            .all(|s| *s == (true, false, Err(SynchronizeError::Pinned)))
    );
    nobody_reads();
    assert!(rcu::readers() - before <= 4, "temporary records go back");
}

/// A guard in a thread-local that is destroyed after the thread's record was due back.
#[test]
fn a_guard_may_outlive_its_threads_other_thread_locals() {
    thread_local!(static KEPT: RefCell<Vec<rcu::Guard>> = const { RefCell::new(Vec::new()) });
    let _turn = turn();
    let before = rcu::readers();
    for order in 0..100 {
        thread::spawn(move || {
            if order % 2 == 0 {
                drop(rcu::pin());
            }
            KEPT.with(|kept| kept.borrow_mut().extend([rcu::pin(), rcu::pin()]));
        })
        .join()
        .unwrap();
    }
    nobody_reads();
    assert_eq!(rcu::synchronize(), Ok(()));
    assert!(rcu::readers() - before <= 4);
}

/// Runs last in its own process, because what it forgets stays forgotten.
#[test]
fn a_forgotten_guard_leaks_and_does_no_other_harm() {
    if std::env::var_os("NULLS_TEST_FORGET").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_forgotten_guard_leaks_and_does_no_other_harm"])
            .env("NULLS_TEST_FORGET", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    thread::spawn(|| std::mem::forget(rcu::pin()))
        .join()
        .unwrap();
    let oldest = rcu::oldest_reader().expect("it reads for ever");
    drop(rcu::pin());
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(rcu::synchronize()));
    assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err());
    assert_eq!(rcu::oldest_reader().map(|r| r.index), Some(oldest.index));
    // The kernel takes a joined thread off its lists in its own time.
    while oldest.thread_name().is_some() {
        thread::yield_now();
    }
}
