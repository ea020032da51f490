//! Waiting for another thread's few instructions: spin, then give the processor away, then sleep.

/// The state of one wait. Nothing may be held while waiting.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    step: u32,
}

impl Backoff {
    /// Doublings of the spin count before the processor is given away.
    const SPINS: u32 = 6;
    /// Steps before the thread sleeps: the other one was preempted, or there are more threads than processors.
    const YIELDS: u32 = 14;

    /// A wait that has not begun.
    #[inline]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Waits one step longer than before.
    #[cold]
    pub(crate) fn wait(&mut self) {
        if cfg!(nulls_loom) {
            super::yield_now();
        } else if self.step < Self::SPINS {
            (0..1u32 << self.step).for_each(|_| super::spin_hint());
        } else if self.step < Self::YIELDS {
            super::yield_now();
        } else {
            return super::sleep_briefly();
        }
        self.step += 1;
    }
}
