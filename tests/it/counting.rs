//! The allocator of the test binary: the system's allocator, with a count for each thread of the bytes that Rust code
//! holds. Memory of C libraries (libjpeg-turbo, libwebp, libaom) is not counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call goes to the system's allocator as it came; what is counted changes no memory of the caller. The
// counters are plain cells without a destructor, which a thread may use as long as it lives.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps what the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps what the system asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps what the system asks for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps what the system asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The most bytes that `work` holds at a time on this thread, in addition to those that were held before, and its
/// result.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    ((PEAK.get() - before).max(0) as u64, result)
}

#[test]
fn what_is_held_at_a_time_is_counted() {
    let (peak, rest) = peak_bytes(|| {
        drop(vec![1u8; 3_000]);
        vec![0u16; 1_000]
    });
    assert_eq!((peak, rest.len()), (3_000, 1_000));
}
