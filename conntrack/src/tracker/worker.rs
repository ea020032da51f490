//! The garbage collector as a thread of its own.

use super::Tracker;
use crate::clock::Nanos;
use crate::store::Store;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that runs the collector whenever it is due. Dropping it stops the thread.
#[derive(Debug)]
pub struct GcWorker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// As long between two runs at least, however much there is to do.
const PAUSE: Duration = Duration::from_millis(4);

impl GcWorker {
    /// Starts collecting for `tracker`'s table, a second from now as the kernel does. `clock` must tell the time that packets have.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn<S: Store>(
        tracker: Arc<Tracker<S>>,
        clock: impl Fn() -> Nanos + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("nf_conntrack gc".into())
            .spawn(move || {
                let mut wait = Duration::from_secs(1);
                let (flag, wake) = &*stopped;
                loop {
                    let mut stop = flag.lock();
                    if !*stop {
                        wake.wait_for(&mut stop, wait);
                    }
                    if *stop {
                        return;
                    }
                    drop(stop);
                    wait = Duration::from_nanos(tracker.gc(clock()).next_in).max(PAUSE);
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for GcWorker {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the clock ended the thread; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Hook, Packet};
    use crate::store::NullsStore;
    use crate::tracker::Config;
    use crate::tuple::Family;

    #[test]
    fn a_worker_empties_the_table_and_stops() {
        let ct = Arc::new(Tracker::new(
            NullsStore::<()>::new(1000, 16).expect("memory"),
            Config::default(),
        ));
        let mut p = vec![
            0x45, 0, 0, 20, 0, 0, 0, 0, 64, 99, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        for n in 0..200 {
            p[19] = n;
            let mut pkt = Packet::new(&p, Family::Ipv4, 0);
            ct.track(&mut pkt, Hook::PreRouting);
            ct.confirm(&mut pkt, Hook::PostRouting);
        }
        let worker = GcWorker::spawn(Arc::clone(&ct), || 600_000_000_000).expect("a thread");
        while ct.net().count() != 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The next run would be a minute away.
        drop(worker);
        assert_eq!(Arc::strong_count(&ct), 1, "the thread has ended");
    }
}
