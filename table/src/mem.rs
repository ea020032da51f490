//! Large zeroed allocations: arrays of lines, segments of slots.
//!
//! A large one comes straight from the system, where zeroed pages cost nothing until they are touched, and goes back in
//! slices, because unmapping hundreds of megabytes at once stalls the caller (and everybody who faults a page
//! meanwhile). Every failure is an error value.

use core::ops::Deref;
use core::ptr::NonNull;

/// Memory that could not be had.
///
/// ```
/// let limited = nulls::HashMap::<u64, u64>::builder().memory_limit(1 << 20).build();
/// assert_eq!(limited.reserve(1 << 20), Err(nulls::AllocError::MemoryLimit));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocError {
    /// The system gave none.
    System,
    /// The map's own memory limit does not allow it.
    MemoryLimit,
    /// All handles are in use (about 800 million).
    Handles,
}

impl core::fmt::Display for AllocError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::System => "memory allocation failed",
            Self::MemoryLimit => "the map takes as much memory as its limit allows",
            Self::Handles => "all handles are in use",
        })
    }
}

impl core::error::Error for AllocError {}

/// Types whose all-zero bytes are a value.
///
/// # Safety
/// All-zero bytes are a valid value, equal to what `zeroed` returns (in models); and the type has no destructor.
pub unsafe trait Zeroable: Sized {
    /// The all-zero value. loom's atomics are not made of bytes, so that models call this for each element.
    #[cfg(nulls_loom)]
    fn zeroed() -> Self;
}

/// How an array will be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Filled bit by bit: small pages, since zeroing a huge one takes as long as a thousand insertions.
    #[default]
    Small,
    /// Sized once and filled: huge pages where the system has them, which save address translation in every look-up.
    Huge,
}

/// Bytes that all tables, maps and pools of this process have mapped from the system by themselves. What they take beyond
/// that, everything small, comes from the global allocator. For programs that account for their memory.
///
/// ```
/// let map = nulls::HashMap::<u64, u64>::with_capacity(1 << 20);
/// assert!(nulls::mapped_bytes() > 1 << 24); // 16 bytes for each entry, and what leads to them
/// # drop(map);
/// ```
#[must_use]
pub fn mapped_bytes() -> usize {
    #[cfg(not(nulls_loom))]
    return sys::mapped_bytes();
    #[cfg(nulls_loom)]
    0
}

/// Takes the memory of an array's first `count` elements from the system now, so that nobody who uses them waits for that. What is behind
/// them will come as it is touched, and in small pages.
///
/// Where the system cannot do that (Linux before 5.14, other systems), or has too little memory, all of it comes as it is touched.
pub(crate) fn populate<T: Zeroable>(array: &[T], count: usize) {
    #[cfg(not(nulls_loom))]
    sys::populate(
        array.as_ptr().cast(),
        size_of_val(array),
        count.min(array.len()) * size_of::<T>(),
    );
    #[cfg(nulls_loom)]
    let _ = (array, count);
}

/// The alignment of every array: a cache line.
#[cfg(not(nulls_loom))]
const ALIGN: usize = 64;

/// An array that was all zero when it was made.
#[derive(Debug)]
pub struct ZeroedArray<T: Zeroable> {
    start: NonNull<T>,
    len: usize,
    /// What is still to be freed, in the unit of the implementation.
    left: usize,
}

// SAFETY: the array owns its elements, as a boxed slice does.
unsafe impl<T: Zeroable + Send> Send for ZeroedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Zeroable + Sync> Sync for ZeroedArray<T> {}

impl<T: Zeroable> ZeroedArray<T> {
    /// Allocates `len` elements.
    ///
    /// # Errors
    /// When the system has no memory, or the size overflows.
    pub fn try_new(len: usize, pages: Pages) -> Result<Self, AllocError> {
        const { assert!(!core::mem::needs_drop::<T>() || cfg!(nulls_loom)) };
        if len == 0 {
            return Ok(Self {
                start: NonNull::dangling(),
                len,
                left: 0,
            });
        }
        let (start, left) = imp::alloc(len, pages)?;
        Ok(Self { start, len, left })
    }

    /// Frees some `max_bytes` from the end (whole pages; a small array all at once), and says whether nothing is left. From
    /// the first call on the array is empty.
    pub fn release_slice(&mut self, max_bytes: usize) -> bool {
        let len = core::mem::take(&mut self.len);
        if self.left > 0 {
            // SAFETY: `start` and `left` are from `alloc` or the last call; `len` is the full length in the first call, and
            // no reference to an element is alive, as `self` is borrowed exclusively.
            self.left = unsafe { imp::release(self.start, len, self.left, max_bytes) };
        }
        self.left == 0
    }

    /// Bytes taken from the system and not yet given back.
    pub fn bytes(&self) -> usize {
        if cfg!(nulls_loom) {
            self.left * size_of::<T>()
        } else {
            self.left
        }
    }

    /// Gives up ownership. To be undone by [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> NonNull<T> {
        core::mem::ManuallyDrop::new(self).start
    }

    /// Takes ownership again.
    ///
    /// # Safety
    /// `start` is from [`into_raw`](Self::into_raw) of an array of `len` elements, and this is called once for it.
    pub unsafe fn from_raw(start: NonNull<T>, len: usize) -> Self {
        Self {
            start,
            len,
            left: imp::footprint::<T>(len),
        }
    }
}

impl<T: Zeroable> Deref for ZeroedArray<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements from `start` are allocated and initialised; `len` is 0 once freeing began.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Zeroable> Drop for ZeroedArray<T> {
    fn drop(&mut self) {
        self.release_slice(usize::MAX);
    }
}

/// The model build: elements made one by one.
#[cfg(nulls_loom)]
mod imp {
    use super::{AllocError, NonNull, Pages, Zeroable};

    pub(super) fn footprint<T>(len: usize) -> usize {
        len
    }

    pub(super) fn alloc<T: Zeroable>(
        len: usize,
        _: Pages,
    ) -> Result<(NonNull<T>, usize), AllocError> {
        let all: Box<[T]> = (0..len).map(|_| T::zeroed()).collect();
        Ok((NonNull::from(Box::leak(all)).cast(), len))
    }

    /// # Safety
    /// As for the ordinary build.
    pub(super) unsafe fn release<T>(start: NonNull<T>, len: usize, left: usize, _: usize) -> usize {
        debug_assert_eq!(len, left);
        // SAFETY: from `alloc`, which leaked a box of this length.
        drop(unsafe { Box::from_raw(core::ptr::slice_from_raw_parts_mut(start.as_ptr(), left)) });
        0
    }
}

#[cfg(not(nulls_loom))]
mod imp {
    use core::alloc::Layout;

    use super::{ALIGN, AllocError, NonNull, Pages};

    fn layout<T>(len: usize) -> Result<Layout, AllocError> {
        let layout = Layout::array::<T>(len)
            .and_then(|l| l.align_to(ALIGN))
            .map_err(|_| AllocError::System)?;
        Ok(layout)
    }

    /// What an array takes from the system.
    pub(super) fn footprint<T>(len: usize) -> usize {
        let bytes = len * size_of::<T>();
        if super::sys::maps(bytes) {
            super::sys::whole_pages(bytes)
        } else {
            bytes
        }
    }

    pub(super) fn alloc<T>(len: usize, pages: Pages) -> Result<(NonNull<T>, usize), AllocError> {
        const { assert!(align_of::<T>() <= 4096 && size_of::<T>() > 0) };
        let layout = layout::<T>(len)?;
        let start = if super::sys::maps(layout.size()) {
            super::sys::map(layout.size(), pages).ok_or(AllocError::System)?
        } else {
            // SAFETY: neither `len` nor the element size is 0.
            NonNull::new(unsafe { alloc::alloc::alloc_zeroed(layout) }).ok_or(AllocError::System)?
        };
        Ok((start.cast(), footprint::<T>(len)))
    }

    /// Frees about `max` bytes of the `left` that remain, and returns what remains then.
    ///
    /// # Safety
    /// `start` is from `alloc`, `left` from it or from the last call, and nobody uses the elements. `len` is the array's
    /// length if it is freed at once.
    pub(super) unsafe fn release<T>(
        start: NonNull<T>,
        len: usize,
        left: usize,
        max: usize,
    ) -> usize {
        let start = start.cast::<u8>();
        if super::sys::maps(left) || len == 0 {
            // SAFETY: a mapping of ours; only the tail that is given back is touched.
            unsafe { super::sys::unmap_tail(start, left, max) }
        } else {
            let layout = layout::<T>(len).expect("it was allocated with this layout");
            // SAFETY: allocated by `alloc_zeroed` with this layout.
            unsafe { alloc::alloc::dealloc(start.as_ptr(), layout) };
            0
        }
    }
}

/// Mappings.
#[cfg(all(unix, feature = "std", not(nulls_loom), not(miri)))]
mod sys {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::{NonNull, Pages};

    /// From this size on an array is a mapping of its own. (The C library does as much, but with a moving threshold.)
    const MAP_FROM: usize = 1 << 20;
    /// The size of a huge page where they matter.
    const HUGE: usize = 2 << 20;

    pub(super) fn maps(bytes: usize) -> bool {
        bytes >= MAP_FROM
    }

    /// What all mappings of this process take together.
    static MAPPED: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn mapped_bytes() -> usize {
        // Relaxed: a statistic.
        MAPPED.load(Ordering::Relaxed)
    }

    fn page() -> usize {
        // SAFETY: asks for a constant.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).unwrap_or(4096)
    }

    pub(super) fn whole_pages(bytes: usize) -> usize {
        bytes.next_multiple_of(page())
    }

    fn map_raw(bytes: usize) -> Option<NonNull<u8>> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON,
        );
        // SAFETY: a new mapping at an address of the system's choice disturbs no other.
        let at = unsafe { libc::mmap(core::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            None
        } else {
            // Relaxed: see `mapped_bytes`.
            MAPPED.fetch_add(bytes, Ordering::Relaxed);
            NonNull::new(at.cast())
        }
    }

    /// Maps zeroed memory, in whole pages.
    pub(super) fn map(bytes: usize, pages: Pages) -> Option<NonNull<u8>> {
        let bytes = bytes.checked_next_multiple_of(page())?;
        if pages == Pages::Small || bytes < 2 * HUGE {
            return map_raw(bytes);
        }
        // A huge page begins at a multiple of its size: map one more than needed, and give back both ends.
        let raw = map_raw(bytes.checked_add(HUGE)?)?;
        let before = raw.as_ptr().align_offset(HUGE);
        // SAFETY: `before` is below `HUGE`, so this stays within the mapping.
        let start = unsafe { raw.add(before) };
        // SAFETY: both parts are ours and unused.
        unsafe {
            unmap(raw, before);
            unmap(start.add(bytes), HUGE - before);
        }
        #[cfg(target_os = "linux")]
        // SAFETY: advice on a mapping of ours; where it is refused pages stay small.
        unsafe {
            libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
        }
        Some(start)
    }

    /// Faults in the first `wanted` bytes of an array of `bytes`, in whole pages of the size that it may have.
    pub(super) fn populate(start: *const u8, bytes: usize, wanted: usize) {
        if !maps(bytes) {
            return;
        }
        let bytes = whole_pages(bytes);
        let unit = if bytes < 2 * HUGE { page() } else { HUGE };
        let wanted = wanted.next_multiple_of(unit).min(bytes);
        #[cfg(target_os = "linux")]
        // SAFETY: neither advice changes what is in the memory, and a refusal changes nothing at all.
        unsafe {
            let rest = start.wrapping_add(wanted).cast_mut().cast();
            libc::madvise(start.cast_mut().cast(), wanted, libc::MADV_POPULATE_WRITE);
            libc::madvise(rest, bytes - wanted, libc::MADV_NOHUGEPAGE);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, wanted);
    }

    /// # Safety
    /// The range consists of whole pages of a mapping of ours that nobody uses.
    unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        // Relaxed: see `mapped_bytes`.
        MAPPED.fetch_sub(bytes, Ordering::Relaxed);
        // SAFETY: the caller's.
        if unsafe { libc::munmap(start.as_ptr().cast(), bytes) } != 0 {
            // The kernel may have merged the mapping with a neighbour, and have no room to split it again: give back the
            // pages and keep the addresses.
            // SAFETY: the caller's.
            unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
        }
    }

    /// Gives back about `max` bytes from the end of a mapping of `left` bytes, and returns what is left.
    ///
    /// # Safety
    /// `start..start + left` is a mapping of ours, and nobody uses it.
    pub(super) unsafe fn unmap_tail(start: NonNull<u8>, left: usize, max: usize) -> usize {
        let unit = if left >= 2 * HUGE { HUGE } else { page() };
        // Cut where a huge page begins, for else the kernel would have to split it.
        let keep = left.saturating_sub(max.max(unit)).next_multiple_of(unit);
        // SAFETY: `keep` is at most `left - unit`, rounded up to a multiple of `unit`: below `left`.
        let tail = unsafe { start.add(keep) };
        // SAFETY: whole pages of the caller's mapping.
        unsafe { unmap(tail, left - keep) };
        keep
    }
}

/// Without mappings everything is one heap allocation.
#[cfg(all(any(not(unix), not(feature = "std"), miri), not(nulls_loom)))]
mod sys {
    use super::{NonNull, Pages};

    pub(super) fn mapped_bytes() -> usize {
        0
    }

    pub(super) fn maps(_: usize) -> bool {
        false
    }

    pub(super) fn whole_pages(bytes: usize) -> usize {
        bytes
    }

    pub(super) fn map(_: usize, _: Pages) -> Option<NonNull<u8>> {
        None
    }

    pub(super) fn populate(_: *const u8, _: usize, _: usize) {}

    /// # Safety
    /// Never called, as nothing is mapped.
    pub(super) unsafe fn unmap_tail(_: NonNull<u8>, _: usize, _: usize) -> usize {
        0
    }
}

#[cfg(all(test, not(nulls_loom)))]
mod tests {
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    // SAFETY: an atomic is zero when its bytes are.
    unsafe impl Zeroable for AtomicU64 {}

    const SIZES: [usize; 7] = [1, 7, 1000, (1 << 17) - 1, 1 << 17, 300_000, 3_000_000];

    #[test]
    fn arrays_are_zero_aligned_and_writable() {
        for pages in [Pages::Small, Pages::Huge] {
            for len in SIZES {
                let array = ZeroedArray::<AtomicU64>::try_new(len, pages).unwrap();
                assert_eq!(array.len(), len);
                assert!(array.bytes() >= 8 * len);
                assert_eq!(array.as_ptr().addr() % 64, 0);
                for (i, word) in array.iter().enumerate() {
                    assert_eq!(word.swap(i as u64, Relaxed), 0);
                }
                assert!(
                    array
                        .iter()
                        .enumerate()
                        .all(|(i, word)| word.load(Relaxed) == i as u64)
                );
            }
        }
    }

    #[test]
    fn an_empty_array_takes_nothing() {
        let mut array = ZeroedArray::<AtomicU64>::try_new(0, Pages::Huge).unwrap();
        assert_eq!((array.len(), array.bytes()), (0, 0));
        assert!(array.release_slice(1));
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        for len in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 8, 1 << 50] {
            for pages in [Pages::Small, Pages::Huge] {
                assert_eq!(
                    ZeroedArray::<AtomicU64>::try_new(len, pages).err(),
                    Some(AllocError::System)
                );
            }
        }
    }

    #[test]
    fn arrays_are_released_in_slices() {
        for pages in [Pages::Small, Pages::Huge] {
            for len in SIZES {
                for slice in [1, 4096, 100_000, 1 << 20, 3 << 20, usize::MAX] {
                    let mut array = ZeroedArray::<AtomicU64>::try_new(len, pages).unwrap();
                    array[0].store(1, Relaxed);
                    let mut before = array.bytes();
                    let mut calls = 0;
                    while !array.release_slice(slice) {
                        assert!(
                            array.is_empty(),
                            "no element can be reached from the first slice on"
                        );
                        let gone = before - array.bytes();
                        assert!(
                            gone > 0 && gone <= slice.max(4 << 20),
                            "{len} {slice}: {gone}"
                        );
                        before = array.bytes();
                        calls += 1;
                        if calls == 100 {
                            break;
                        }
                    }
                    if slice == usize::MAX {
                        assert_eq!((array.bytes(), calls), (0, 0));
                    }
                    assert!(array.bytes() == 0 || calls == 100);
                }
            }
        }
    }

    /// The memory really goes back to the system, slice by slice.
    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn released_slices_leave_the_process() {
        // In a process of its own: other tests may map something else in the gap.
        if std::env::var_os("NULLS_TEST_ALONE").is_none() {
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "mem::tests::released_slices_leave_the_process",
                    "--test-threads=1",
                ])
                .env("NULLS_TEST_ALONE", "1")
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        let mapped = |at: usize| {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().any(|line| {
                let range = line.split(' ').next().unwrap();
                let (from, to) = range.split_once('-').unwrap();
                let bound = |s| usize::from_str_radix(s, 16).unwrap();
                (bound(from)..bound(to)).contains(&at)
            })
        };
        for pages in [Pages::Small, Pages::Huge] {
            let mut array = ZeroedArray::<AtomicU64>::try_new(4 << 20, pages).unwrap();
            let (start, bytes) = (array.as_ptr().addr(), array.bytes());
            assert!(mapped(start) && mapped(start + bytes - 1));
            assert!(!array.release_slice(bytes / 2));
            let left = array.bytes();
            assert!((bytes / 4..=bytes / 2).contains(&left));
            assert!(mapped(start + left - 1));
            assert!(!mapped(start + left) && !mapped(start + bytes - 1));
        }
    }

    /// Resident bytes of this process, from `start` on.
    #[cfg(all(target_os = "linux", feature = "std", not(miri)))]
    fn resident(start: *const u8, bytes: usize) -> usize {
        let mut pages = vec![0u8; bytes / 4096];
        // SAFETY: asks about a mapping, and the list has room for each of its pages.
        let done = unsafe { libc::mincore(start.cast_mut().cast(), bytes, pages.as_mut_ptr()) };
        assert_eq!(done, 0);
        4096 * pages.iter().filter(|&&page| page & 1 != 0).count()
    }

    #[test]
    #[cfg(all(target_os = "linux", feature = "std", not(miri)))]
    fn what_is_populated_is_there_and_nothing_else() {
        const MIB: usize = 1 << 20;
        for (pages, mib, wanted, there) in [
            (Pages::Huge, 16, 5, 6),
            (Pages::Huge, 16, 16, 16),
            (Pages::Huge, 16, 0, 0),
            (Pages::Small, 3, 1, 1),
        ] {
            let array = ZeroedArray::<AtomicU64>::try_new(mib * MIB / 8, pages).unwrap();
            populate(&array, wanted * MIB / 8);
            let resident = resident(array.as_ptr().cast(), array.bytes());
            // A kernel without this advice leaves everything for later.
            assert!(resident == there * MIB || resident == 0, "{resident}");
            assert!(array.iter().all(|word| word.load(Relaxed) == 0));
        }
        populate(
            &ZeroedArray::<AtomicU64>::try_new(100, Pages::Huge).unwrap(),
            100,
        );
    }

    #[test]
    fn raw_arrays_come_back_whole() {
        for len in SIZES {
            let array = ZeroedArray::<AtomicU64>::try_new(len, Pages::Huge).unwrap();
            let bytes = array.bytes();
            array[len - 1].store(9, Relaxed);
            let start = array.into_raw();
            // SAFETY: from `into_raw` of an array of this length, once.
            let array = unsafe { ZeroedArray::from_raw(start, len) };
            assert_eq!(
                (array.len(), array.bytes(), array[len - 1].load(Relaxed)),
                (len, bytes, 9)
            );
        }
    }
}
