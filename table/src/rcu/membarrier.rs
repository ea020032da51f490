//! The two sides of the asymmetric fence.
//!
//! A reader's announcement must come before the reads of its section ("light side", once per section, must cost
//! nothing), and a reclaimer's scan must come after the unlinking ("heavy side", once per batch, may cost microseconds).
//!
//! On Linux the heavy side is `membarrier(2)` with `MEMBARRIER_CMD_PRIVATE_EXPEDITED`: while the call runs, every
//! running thread of the process executes a full barrier at some point of its program, and a thread that is not running has
//! one behind it when it next runs. The light side is then an instruction to the compiler only. Elsewhere both sides
//! are sequentially consistent fences.
//!
//! Which of the two is decided at the first use, for the life of the process: readers that rely on the heavy side must never
//! meet a reclaimer that does not call it. A child of `fork` inherits the registration.

use core::sync::atomic::Ordering;

use crate::sync::{AtomicU32, check, compiler_fence, const_unless_loom, fence, order};

/// How readers and reclaimers order their accesses against each other.
///
/// ```
/// use nulls::rcu::{Flavour, flavour};
/// assert!(matches!(flavour(), Flavour::Membarrier | Flavour::Fence));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Flavour {
    /// `membarrier(2)` on the reclaimer's side, nothing on the reader's.
    Membarrier = 1,
    /// A sequentially consistent fence on both sides.
    Fence = 2,
}

/// The decision between the flavours, made once.
#[derive(Debug)]
pub(super) struct Asymmetric {
    /// 0 until decided, then the [`Flavour`].
    flavour: AtomicU32,
}

impl Asymmetric {
    const_unless_loom! {
        /// Not decided yet.
        pub(super) const fn undecided() -> Self {
            Self { flavour: AtomicU32::new(0) }
        }
    }

    /// Decided beforehand.
    #[cfg(test)]
    pub(super) fn decided(flavour: Flavour) -> Self {
        Self {
            flavour: AtomicU32::new(flavour as u32),
        }
    }

    /// The flavour, decided now if this is the first use.
    pub(super) fn flavour(&self) -> Flavour {
        if cfg!(nulls_loom) {
            return Flavour::Fence;
        }
        match self.flavour.load(order::rcu_flavour()) {
            0 => self.decide(),
            v => Self::from_word(v),
        }
    }

    #[cold]
    fn decide(&self) -> Flavour {
        let ours = if sys::register() {
            Flavour::Membarrier
        } else {
            Flavour::Fence
        };
        // Threads may come here together, and the kernel may in theory answer them differently: the first to say so wins.
        match self.flavour.compare_exchange(
            0,
            ours as u32,
            order::rcu_flavour_set(),
            order::rcu_flavour(),
        ) {
            Ok(_) => ours,
            Err(theirs) => Self::from_word(theirs),
        }
    }

    fn from_word(v: u32) -> Flavour {
        if v == Flavour::Membarrier as u32 {
            Flavour::Membarrier
        } else {
            Flavour::Fence
        }
    }

    /// The reclaimer's side. `false` when the kernel refused: nothing may then be concluded from a scan.
    #[must_use]
    pub(super) fn heavy(&self) -> bool {
        if check::mutant("rcu:no-heavy-fence") {
            return true;
        }
        match self.flavour() {
            Flavour::Fence => {
                fence(order::rcu_heavy());
                true
            }
            Flavour::Membarrier => sys::barrier(),
        }
    }
}

/// The reader's side. `full` is whether the flavour is [`Flavour::Fence`].
#[inline(always)]
pub(super) fn light(full: bool) {
    if check::mutant("rcu:no-light-fence") {
        return;
    }
    if full {
        light_full();
    } else {
        compiler_fence(Ordering::SeqCst);
    }
}

#[inline(always)]
fn light_full() {
    fence(order::rcu_light());
}

#[cfg(all(target_os = "linux", feature = "std", not(nulls_loom), not(miri)))]
mod sys {
    /// From the kernel's `include/uapi/linux/membarrier.h`.
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes three integers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Tells the kernel that this process will ask for barriers, and whether one can really be had.
    pub(super) fn register() -> bool {
        membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)
    }

    /// A full barrier on every thread of the process.
    pub(super) fn barrier() -> bool {
        // It can fail after a successful registration only by want of kernel memory, or by a filter on system calls
        // installed since: the first passes.
        (0..3).any(|_| membarrier(PRIVATE_EXPEDITED))
    }
}

#[cfg(not(all(target_os = "linux", feature = "std", not(nulls_loom), not(miri))))]
mod sys {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn barrier() -> bool {
        false
    }
}
