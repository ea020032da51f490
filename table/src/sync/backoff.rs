//! How a writer waits for another writer in its bucket: spin, then yield, then sleep.

/// Exponential back-off that ends in short sleeps, because a lock holder may be preempted for a whole time slice.
#[derive(Debug)]
pub(crate) struct Backoff(#[cfg(not(nulls_loom))] crossbeam_utils::Backoff);

impl Backoff {
    #[inline]
    pub(crate) fn new() -> Self {
        Self(
            #[cfg(not(nulls_loom))]
            crossbeam_utils::Backoff::new(),
        )
    }

    /// Waits a little, longer each time.
    #[cold]
    pub(crate) fn wait(&mut self) {
        #[cfg(nulls_loom)]
        super::yield_now();
        #[cfg(not(nulls_loom))]
        if self.0.is_completed() {
            super::sleep_briefly();
        } else {
            self.0.snooze();
        }
    }
}
