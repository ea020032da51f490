//! The map without `std`: own allocator, own panic handler, threads by hand, readers that register.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use nulls::rcu::{self, OwnedGuard, Registration};
use nulls::{Entry, HashMap, HashSet};

/// What a hosted C library has; on bare metal the platform's.
mod c {
    use super::*;

    #[link(name = "c")]
    #[link(name = "gcc_s")]
    unsafe extern "C" {
        pub fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
        pub fn free(p: *mut c_void);
        pub fn abort() -> !;
        pub fn write(fd: c_int, text: *const c_void, len: usize) -> isize;
        pub fn pthread_create(
            thread: *mut usize,
            attributes: *const c_void,
            start: extern "C" fn(*mut c_void) -> *mut c_void,
            argument: *mut c_void,
        ) -> c_int;
        pub fn pthread_join(thread: usize, result: *mut *mut c_void) -> c_int;
    }
}

/// Counts what is allocated and not freed.
struct Allocator;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: `aligned_alloc` and `free` keep the contract; the size is rounded up to a multiple of the alignment.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align().max(16);
        // SAFETY: the alignment is a power of two, and the size a multiple of it.
        let p = unsafe { c::aligned_alloc(align, layout.size().next_multiple_of(align)) };
        if !p.is_null() {
            ALLOCATED.fetch_add(layout.size(), Relaxed);
        }
        p.cast()
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: from `alloc`.
        unsafe { c::free(p.cast()) };
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn say(text: &str) {
    // SAFETY: as many bytes as the text has.
    unsafe { c::write(2, text.as_ptr().cast(), text.len()) };
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(&format!("{info}\n"));
    // SAFETY: does not return.
    unsafe { c::abort() }
}

/// The prebuilt `alloc` refers to it; with `panic = "abort"` nobody calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

const THREADS: usize = 4;
const KEYS: usize = 5_000;

/// One thread's part: its own keys come and go, and those of all are looked up.
extern "C" fn worker(map: *mut c_void) -> *mut c_void {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let me = NEXT.fetch_add(1, Relaxed);
    // SAFETY: the map that `main` passes lives until the threads are joined.
    let map = unsafe { &*map.cast::<HashMap<usize, String>>() };
    let reader = Registration::new();
    for round in 0..3 {
        for i in 0..KEYS {
            let key = i * THREADS + me;
            let view = map.view(reader.pin());
            match round {
                0 => assert!(view.insert(key, format!("{key}")).is_none()),
                1 => assert_eq!(view.get(&key).map(String::as_str), Some(&*format!("{key}"))),
                _ if i % 2 == 0 => assert!(view.remove(&key).is_some()),
                _ => assert!(view.update(&key, |v| format!("{v}!")).is_some()),
            }
        }
    }
    ptr::null_mut()
}

#[unsafe(no_mangle)]
pub extern "C" fn main(_: c_int, _: *const *const u8) -> c_int {
    let map: HashMap<usize, String> = HashMap::new();
    let mut threads = [0; THREADS];
    for thread in &mut threads {
        // SAFETY: the map outlives the threads, which are joined below.
        let failed = unsafe {
            c::pthread_create(
                thread,
                ptr::null(),
                worker,
                ptr::from_ref(&map).cast_mut().cast(),
            )
        };
        assert_eq!(failed, 0);
    }
    for thread in threads {
        // SAFETY: each is joined once.
        unsafe { c::pthread_join(thread, ptr::null_mut()) };
    }
    assert_eq!(map.len(), THREADS * KEYS / 2);
    // Without registering, too.
    assert_eq!(
        map.pin().iter().filter(|(_, v)| v.ends_with('!')).count(),
        map.len()
    );
    assert!(map.maintain().unwrap());
    assert_eq!(map.garbage(), 0);

    let owned = OwnedGuard::new();
    assert!(map.get_with(&THREADS, &owned).is_some());
    drop(owned);
    assert!(rcu::synchronize().is_ok());
    assert!(rcu::oldest_reader().is_none());
    assert!(rcu::readers() <= 4 * THREADS, "places are used again");

    let set = HashSet::new();
    assert!(set.pin().insert("a") && !set.pin().insert("a"));
    let view = map.pin();
    assert!(matches!(
        view.entry(7),
        Entry::Occupied(_) | Entry::Vacant(_)
    ));
    drop(view);
    drop((map, set));
    // What is left are the readers' places.
    let left = ALLOCATED.load(Relaxed);
    assert!(left <= 256 * 4 * THREADS, "{left} bytes leaked");
    say("no_std: ok\n");
    0
}
