//! Counts what the current thread allocates: tests run side by side and must not see each other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

pub struct Counting;

fn add(bytes: isize) {
    let held = HELD.with(|held| {
        held.set(held.get() + bytes);
        held.get()
    });
    PEAK.with(|peak| peak.set(peak.get().max(held)));
}

// SAFETY: everything is the system allocator's; only counters are kept beside it, and they allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may exist for a moment.
        add(size as isize);
        add(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs `act` and gives the most bytes it held at once, beyond what was held before.
pub fn peak<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let value = act();
    (value, PEAK.with(Cell::get).saturating_sub(before).max(0) as usize)
}

/// Bytes this thread holds now, relative to the start of the test.
pub fn held() -> isize {
    HELD.with(Cell::get)
}
