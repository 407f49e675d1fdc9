//! An allocator that counts, for bytes per idle actor.
#![allow(unsafe_code, reason = "an allocator can't be written without; it hands every call on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Hands everything on to the system's allocator, and counts while [`watch`] runs.
pub struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicUsize = AtomicUsize::new(0);

fn count(change: impl FnOnce()) {
    if ON.load(Ordering::Relaxed) {
        change();
    }
}

// SAFETY: every call goes to `System` with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|| {
            LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        });
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(|| {
            LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        });
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(|| {
            LIVE.fetch_add(size, Ordering::Relaxed);
            LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        });
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

/// Begins to count.
pub fn watch() {
    LIVE.store(0, Ordering::SeqCst);
    ON.store(true, Ordering::SeqCst);
}

/// Bytes allocated and not freed since [`watch`].
#[must_use]
pub fn live() -> usize {
    LIVE.load(Ordering::SeqCst)
}

/// Ends the counting.
pub fn unwatch() {
    ON.store(false, Ordering::SeqCst);
}
