//! When and how are numbers written around the caches?
//!
//! A line that is written whole need not be read first, and one that nobody reads before the caches have filled with others
//! need not be kept. Both are saved by stores that go to memory.

use crate::isa::LANES;

/// Words that a pass moves from which on it writes around the caches: more than most last-level caches hold.
const LONG: usize = 12 << 20;

/// Whether a pass that moves so many words should write around the caches.
pub(crate) fn is_long(words: usize) -> bool {
    words >= LONG
}

/// Whether vectors from here on are whole cache lines.
pub(crate) fn is_aligned(to: *const f32) -> bool {
    (to as usize).is_multiple_of(LANES * size_of::<f32>())
}

/// Writes numbers to memory without reading their cache line first.
///
/// # Safety
/// `to` points to writable room for `values`, some times 16 bytes, and is aligned to 16 bytes.
#[inline(always)]
pub(crate) unsafe fn around_caches<T: Copy>(values: T, to: *mut f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_loadu_ps, _mm_stream_ps};
        // Four words at a time: part of every x86-64, and the CPU joins them to a line before it writes.
        let from = (&raw const values).cast::<f32>();
        for word in (0..size_of::<T>() / size_of::<f32>()).step_by(4) {
            // SAFETY: four words of the values, read and written; aligned by the caller's promise.
            unsafe { _mm_stream_ps(to.add(word), _mm_loadu_ps(from.add(word))) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's promise.
    unsafe {
        to.cast::<T>().write(values)
    }
}

/// Makes what was written around the caches visible to other threads; to be called at the end of a task.
#[inline(always)]
pub(crate) fn finish() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence()
    }
}
