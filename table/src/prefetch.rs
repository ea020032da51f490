//! A hint to the processor to bring a cache line near.

/// Asks for the cache line at `p`, which need not be a valid address. Does nothing where there is no such instruction
/// in stable Rust.
#[inline(always)]
pub(crate) fn read<T>(p: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch accesses nothing and never faults, whatever the address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = p;
}
