//! Hooks of the checking builds: seeded bugs chosen at run time, and pauses injected between loads.
//!
//! In an ordinary build both are empty inline functions that vanish.

#[cfg(not(any(nulls_loom, nulls_check)))]
mod imp {
    /// Whether the named bug is switched on: never, in an ordinary build.
    #[inline(always)]
    pub(crate) fn mutant(_: &'static str) -> bool {
        false
    }

    /// A place where the stress tests may stop a thread.
    #[inline(always)]
    pub(crate) fn pause() {}
}

#[cfg(any(nulls_loom, nulls_check))]
mod imp {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

    // Plain `std` atomics even under loom: the choice of mutant is no part of the model.
    static NAME: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
    static LEN: AtomicUsize = AtomicUsize::new(0);
    static HITS: AtomicUsize = AtomicUsize::new(0);
    static RECORDING: AtomicBool = AtomicBool::new(false);
    static ASKED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    /// Switches the named bug on, or all of them off. Not to be called while the code under test runs.
    pub fn set_mutant(name: Option<&'static str>) {
        HITS.store(0, Ordering::SeqCst);
        LEN.store(name.map_or(0, str::len), Ordering::SeqCst);
        let p = name.map_or(core::ptr::null_mut(), |n| n.as_ptr().cast_mut());
        NAME.store(p, Ordering::SeqCst);
    }

    /// How often the active bug was met: a mutant that no model reaches says nothing.
    pub fn mutant_hits() -> usize {
        HITS.load(Ordering::SeqCst)
    }

    /// Begins or ends to note which bugs the code asks for.
    pub fn record_mutants(on: bool) {
        RECORDING.store(on, Ordering::SeqCst);
    }

    /// The bugs asked for while that was noted: switching on any other changes nothing in the same runs.
    pub fn recorded_mutants() -> Vec<&'static str> {
        let asked = ASKED.lock().unwrap_or_else(|e| e.into_inner());
        asked.iter().copied().collect()
    }

    /// Whether the named bug is switched on.
    pub fn mutant(name: &'static str) -> bool {
        if RECORDING.load(Ordering::Relaxed) {
            let mut asked = ASKED.lock().unwrap_or_else(|e| e.into_inner());
            asked.insert(name);
        }
        let p = NAME.load(Ordering::Relaxed);
        if p.is_null() {
            return false;
        }
        // SAFETY: `set_mutant` stores the address and length of a `&'static str`.
        let active = unsafe { core::slice::from_raw_parts(p, LEN.load(Ordering::Relaxed)) };
        let on = active == name.as_bytes();
        if on {
            HITS.fetch_add(1, Ordering::Relaxed);
        }
        on
    }

    /// A place where the stress tests may stop a thread: now and then it yields or spins.
    #[cfg(nulls_loom)]
    pub(crate) fn pause() {}

    /// A place where the stress tests may stop a thread: now and then it yields or spins.
    #[cfg(not(nulls_loom))]
    pub(crate) fn pause() {
        use std::cell::Cell;
        std::thread_local!(static SEED: Cell<u64> = const { Cell::new(0) });
        let _ = SEED.try_with(|s| {
            let mut x = s.get();
            if x == 0 {
                x = core::ptr::from_ref(s) as u64 | 1;
            }
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            s.set(x);
            match x >> 55 {
                0..4 => std::thread::yield_now(),
                4..12 => (0..(x & 0xfff)).for_each(|_| core::hint::spin_loop()),
                _ => {}
            }
        });
    }
}

#[cfg(not(any(nulls_loom, nulls_check)))]
pub(crate) use imp::mutant;
pub(crate) use imp::pause;
#[cfg(any(nulls_loom, nulls_check))]
pub use imp::{mutant, mutant_hits, record_mutants, recorded_mutants, set_mutant};
