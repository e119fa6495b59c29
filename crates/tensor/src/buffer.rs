//! Memory aligned to a cache line, for arenas and packed weights. The only `unsafe` of this crate.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

/// A fixed number of `f32`, zeroed at first, aligned to 64 bytes (one cache line, one 512-bit vector).
pub struct AlignedBuffer {
    data: NonNull<f32>,
    len: usize,
    /// What the allocator handed out; `data` is its first aligned number.
    start: NonNull<u8>,
}

impl AlignedBuffer {
    /// The alignment, in bytes.
    pub const ALIGNMENT: usize = 64;

    /// `len` zeros. The operating system hands the pages out on first touch, so untouched parts cost no memory.
    pub fn zeroed(len: usize) -> Self {
        if len == 0 {
            return AlignedBuffer { data: NonNull::dangling(), len, start: NonNull::dangling() };
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a non-zero size, since len > 0.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        in_large_pages(start, layout.size());
        let aside = start.align_offset(Self::ALIGNMENT);
        // SAFETY: the layout has room for `len` floats after up to ALIGNMENT - 1 bytes.
        let data = unsafe { start.add(aside) }.cast::<f32>();
        AlignedBuffer { data, len, start }
    }

    /// Hands out several parts at once: `reads` shared, `writes` exclusive. Reads may overlap one another.
    ///
    /// # Panics
    /// If a part lies outside the buffer, or a write overlaps any other part.
    pub fn parts<const R: usize, const W: usize>(
        &mut self,
        reads: [Range<usize>; R],
        writes: [Range<usize>; W],
    ) -> ([&[f32]; R], [&mut [f32]; W]) {
        self.check_parts(&reads, &writes);
        let base = self.data.as_ptr();
        // SAFETY: `check_parts` has shown every range to lie inside the buffer and every written range to be disjoint
        // from all others, so no exclusive slice aliases another; all live at most as long as `&mut self`.
        unsafe {
            (
                reads.map(|r| std::slice::from_raw_parts(base.add(r.start), r.len())),
                writes.map(|w| std::slice::from_raw_parts_mut(base.add(w.start), w.len())),
            )
        }
    }

    fn check_parts(&self, reads: &[Range<usize>], writes: &[Range<usize>]) {
        let overlap = |a: &Range<usize>, b: &Range<usize>| {
            !a.is_empty() && !b.is_empty() && a.start < b.end && b.start < a.end
        };
        for part in reads.iter().chain(writes) {
            assert!(part.start <= part.end && part.end <= self.len, "{part:?} lies outside 0..{}", self.len);
        }
        for (i, write) in writes.iter().enumerate() {
            let others = reads.iter().chain(&writes[..i]);
            if let Some(other) = others.clone().find(|other| overlap(write, other)) {
                panic!("written part {write:?} overlaps {other:?}");
            }
        }
    }

    /// Room for `len` floats at an aligned place. The alignment is not asked of the allocator: for more than it gives by
    /// itself, it would write every zero, and touch every page, instead of asking the system for fresh ones.
    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<f32>()).and_then(|bytes| bytes.checked_add(Self::ALIGNMENT));
        let bytes = bytes.expect("buffer length fits the address space");
        Layout::from_size_align(bytes, align_of::<f32>()).expect("buffer length fits the address space")
    }
}

/// Bytes from which a buffer is worth large pages.
#[cfg(target_os = "linux")]
const LARGE: usize = 8 << 20;

/// Asks the system to back a large buffer by large pages: the first touch of 4 KiB pages is a good part of a cold start.
/// It is a hint; refusal costs nothing but time.
#[cfg(target_os = "linux")]
fn in_large_pages(start: NonNull<u8>, bytes: usize) {
    if bytes < LARGE {
        return;
    }
    // SAFETY: sysconf only reads a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Ok(page @ 1..) = usize::try_from(page) else { return };
    let aside = start.as_ptr().align_offset(page);
    // SAFETY: the whole pages inside the allocation; the advice changes how they are backed, never what they hold.
    unsafe {
        let first = start.add(aside).as_ptr().cast();
        libc::madvise(first, (bytes - aside) / page * page, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn in_large_pages(_start: NonNull<u8>, _bytes: usize) {}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
            unsafe { dealloc(self.start.as_ptr(), Self::layout(self.len)) }
        }
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `data` points to `len` initialised floats that live as long as `self` (dangling only for len 0).
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

// SAFETY: the buffer owns its memory alone, and `f32` may be sent and shared between threads.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above; shared access is read-only.
unsafe impl Sync for AlignedBuffer {}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // one range is what is meant
mod tests {
    use super::*;

    #[test]
    fn aligned_zeroed_and_writable() {
        let mut b = AlignedBuffer::zeroed(37);
        assert_eq!(b.as_ptr() as usize % AlignedBuffer::ALIGNMENT, 0);
        assert!(b.iter().all(|&x| x == 0.0));
        b[36] = 1.0;
        assert_eq!(b[36], 1.0);
        assert!(AlignedBuffer::zeroed(0).is_empty());
    }

    #[test]
    fn parts_are_the_ranges_asked_for() {
        let mut b = AlignedBuffer::zeroed(10);
        let ([r, again], [w]) = b.parts([0..4, 2..4], [4..10]);
        assert_eq!((r.len(), again.len(), w.len()), (4, 2, 6));
        w.fill(2.0);
        assert_eq!(b.iter().sum::<f32>(), 12.0);
    }

    #[test]
    #[should_panic(expected = "overlaps")]
    fn a_write_never_overlaps_a_read() {
        AlignedBuffer::zeroed(10).parts([0..5], [4..6]);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn a_part_never_leaves_the_buffer() {
        AlignedBuffer::zeroed(10).parts([], [4..11]);
    }
}
