//! Which memory does a formula read and write, 16 numbers at a time?
//!
//! An operand may be read from the very slice that is written (in place). Rust's references cannot say that, so
//! inside a kernel operands are addresses; this file checks lengths and makes them.

use crate::isa::{LANES, Simd};
use crate::threads::{SharedMut, ThreadPool};

/// Where an operand is read.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// From a slice of its own.
    Slice(&'a [f32]),
    /// From the output, which is overwritten.
    InPlace,
}

impl<'a> From<&'a [f32]> for Source<'a> {
    fn from(slice: &'a [f32]) -> Self {
        Source::Slice(slice)
    }
}

impl<'a> From<&'a Vec<f32>> for Source<'a> {
    fn from(slice: &'a Vec<f32>) -> Self {
        Source::Slice(slice)
    }
}

impl<'a> Source<'a> {
    /// The operand of a formula whose first output it may share.
    pub(crate) fn read(self) -> Read<'a> {
        match self {
            Source::Slice(slice) => Read::Slice(slice),
            Source::InPlace => Read::Output(0),
        }
    }
}

/// Where one operand of a formula is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'a> {
    Slice(&'a [f32]),
    /// From output number so-and-so, before it is overwritten.
    Output(usize),
}

/// Bytes read and written by one pass from which on outputs are written around the caches: more than most last-level
/// caches hold, so the lines would be thrown out before anyone reads them. Writing around saves reading them first.
const STREAM_BYTES: usize = 48 << 20;

/// The operands of a formula with `R` inputs and `W` outputs.
pub(crate) struct Operands<'a, const R: usize, const W: usize> {
    reads: [Read<'a>; R],
    writes: [SharedMut<'a, f32>; W],
    /// Write around the caches.
    pub stream: bool,
}

impl<'a, const R: usize, const W: usize> Operands<'a, R, W> {
    /// Checks that every operand holds `len` numbers.
    #[track_caller]
    pub fn new(len: usize, reads: [Read<'a>; R], writes: [&'a mut [f32]; W]) -> Self {
        let mut own = W;
        let mut in_place = false;
        for read in &reads {
            match read {
                Read::Slice(slice) => {
                    assert_eq!(slice.len(), len, "input length");
                    own += 1;
                }
                Read::Output(output) => {
                    assert!(*output < W, "output {output} of {W}");
                    in_place = true;
                }
            }
        }
        let mut aligned = true;
        for write in &writes {
            assert_eq!(write.len(), len, "output length");
            aligned &= (write.as_ptr() as usize).is_multiple_of(LANES * size_of::<f32>());
        }
        // What is read first is in the cache anyway.
        let stream = aligned && !in_place && W > 0 && own * len * size_of::<f32>() >= STREAM_BYTES;
        Operands { reads, writes: writes.map(SharedMut::new), stream }
    }

    /// The operands' addresses from element `index` on.
    pub fn at(&self, index: usize) -> Addresses<R, W> {
        let reads = self.reads.map(|read| match read {
            Read::Slice(slice) => slice[index..].as_ptr(),
            Read::Output(output) => self.writes[output].as_ptr().wrapping_add(index).cast_const(),
        });
        let writes = self.writes.map(|write| write.as_ptr().wrapping_add(index));
        Addresses { reads, writes, stream: self.stream }
    }
}

/// Addresses of a run of numbers of each operand.
#[derive(Clone, Copy)]
pub(crate) struct Addresses<const R: usize, const W: usize> {
    reads: [*const f32; R],
    writes: [*mut f32; W],
    stream: bool,
}

impl<const R: usize, const W: usize> Addresses<R, W> {
    /// Sixteen numbers of each input, from `index` on.
    ///
    /// # Safety
    /// They lie in the operands, and nobody writes them at the same time.
    #[inline(always)]
    pub unsafe fn load<S: Simd>(&self, s: S, index: usize) -> [S::F; R] {
        let mut inputs = [s.zero(); R];
        for (input, from) in inputs.iter_mut().zip(self.reads) {
            // SAFETY: the caller's promise.
            *input = unsafe { s.load_ptr(from.add(index)) };
        }
        inputs
    }

    /// Writes sixteen numbers of each output, from `index` on.
    ///
    /// # Safety
    /// They lie in the operands, and nobody else reads or writes them at the same time.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(&self, s: S, index: usize, outputs: [S::F; W]) {
        for (output, to) in outputs.into_iter().zip(self.writes) {
            // SAFETY: the caller's promise; streamed outputs are aligned, and so is `index`, a multiple of 16.
            unsafe {
                if self.stream {
                    store_around_caches(s, output, to.add(index));
                } else {
                    s.store_ptr(output, to.add(index));
                }
            }
        }
    }

    /// The first `count` (below 16) numbers of each input from `index` on, then zeros.
    ///
    /// # Safety
    /// As [`Addresses::load`].
    #[inline(always)]
    pub unsafe fn load_partial<S: Simd>(&self, s: S, index: usize, count: usize) -> [S::F; R] {
        let mut inputs = [s.zero(); R];
        for (input, from) in inputs.iter_mut().zip(self.reads) {
            // SAFETY: the caller's promise; the slice ends before anything is written.
            *input = s.load_partial(unsafe { std::slice::from_raw_parts(from.add(index), count) }, 0.0);
        }
        inputs
    }

    /// Writes `count` (below 16) numbers of each output from `index` on.
    ///
    /// # Safety
    /// As [`Addresses::store`].
    #[inline(always)]
    pub unsafe fn store_partial<S: Simd>(&self, s: S, index: usize, count: usize, outputs: [S::F; W]) {
        for (output, to) in outputs.into_iter().zip(self.writes) {
            // SAFETY: the caller's promise.
            s.store_partial(output, unsafe { std::slice::from_raw_parts_mut(to.add(index), count) });
        }
    }

    /// Makes streamed numbers visible to other threads; to be called at the end of a task.
    #[inline(always)]
    pub fn finish(&self) {
        if self.stream {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: part of every x86-64.
            unsafe {
                std::arch::x86_64::_mm_sfence()
            }
        }
    }
}

/// Writes 16 numbers to memory without reading their cache line first.
///
/// # Safety
/// `to` points to 16 writable numbers and is aligned to 64 bytes.
#[inline(always)]
unsafe fn store_around_caches<S: Simd>(s: S, v: S::F, to: *mut f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_loadu_ps, _mm_stream_ps};
        // In quarters: part of every x86-64, and the CPU joins them to a line before it writes.
        let lanes = s.to_array(v);
        for quarter in (0..LANES).step_by(4) {
            // SAFETY: four numbers of the 16, read and written; aligned by the caller's promise.
            unsafe { _mm_stream_ps(to.add(quarter), _mm_loadu_ps(lanes.as_ptr().add(quarter))) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's promise.
    unsafe {
        s.store_ptr(v, to)
    }
}

/// Elements below which a pass is shorter than a fork and join.
const SERIAL: usize = 16 * 1024;

/// Runs `tasks` tasks over `elements` elements on the pool, or on this thread where they are few.
pub(crate) fn share(pool: &ThreadPool, elements: usize, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
    if elements <= SERIAL { (0..tasks).for_each(body) } else { pool.run(tasks, body) }
}
