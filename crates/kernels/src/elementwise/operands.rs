//! Which memory does a formula read and write, 16 numbers at a time?
//!
//! An operand may be read from the very slice that is written (in place). Rust's references cannot say that, so
//! inside a kernel operands are addresses; this file checks lengths and makes them.
//!
//! An operand has a word for each number, which is `f32` then, or for two of them, which are bf16 ([`crate::format`]).
//! Its length tells which: formulas compute in `f32` in either case. Lengths that are not whole vectors are `f32`.

use crate::format::Format;
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
    /// Of the numbers of each.
    formats: ([Format; R], [Format; W]),
    /// Write around the caches.
    pub stream: bool,
}

/// What `len` numbers are that take so many words.
#[track_caller]
fn format_of(words: usize, len: usize, what: &str) -> Format {
    if len.is_multiple_of(LANES) && 2 * words == len && len > 0 {
        return Format::Bf16;
    }
    assert_eq!(words, len, "{what} length");
    Format::F32
}

impl<'a, const R: usize, const W: usize> Operands<'a, R, W> {
    /// Checks that every operand holds `len` numbers.
    #[track_caller]
    pub fn new(len: usize, reads: [Read<'a>; R], writes: [&'a mut [f32]; W]) -> Self {
        let (mut of_reads, mut of_writes) = ([Format::F32; R], [Format::F32; W]);
        let (mut words, mut aligned) = (0, true);
        for (format, write) in of_writes.iter_mut().zip(&writes) {
            *format = format_of(write.len(), len, "output");
            words += write.len();
            aligned &= (write.as_ptr() as usize).is_multiple_of(LANES * size_of::<f32>());
        }
        let mut in_place = false;
        for (format, read) in of_reads.iter_mut().zip(&reads) {
            *format = match read {
                Read::Slice(slice) => {
                    words += slice.len();
                    format_of(slice.len(), len, "input")
                }
                Read::Output(output) => {
                    in_place = true;
                    of_writes[*output]
                }
            };
        }
        // What is read first is in the cache anyway.
        let stream = aligned && !in_place && W > 0 && words * size_of::<f32>() >= STREAM_BYTES;
        Operands { reads, writes: writes.map(SharedMut::new), formats: (of_reads, of_writes), stream }
    }

    /// The operands' addresses from element `index` on, the first of a vector.
    pub fn at(&self, index: usize) -> Addresses<R, W> {
        let (of_reads, of_writes) = self.formats;
        let start =
            |output: usize| self.writes[output].as_ptr().wrapping_add(index / of_writes[output].per_word());
        let reads = std::array::from_fn(|i| match self.reads[i] {
            Read::Slice(slice) => slice[index / of_reads[i].per_word()..].as_ptr(),
            Read::Output(output) => start(output).cast_const(),
        });
        let narrow = (of_reads.map(|f| f == Format::Bf16), of_writes.map(|f| f == Format::Bf16));
        Addresses { reads, writes: std::array::from_fn(start), narrow, stream: self.stream }
    }
}

/// Addresses of a run of numbers of each operand.
#[derive(Clone, Copy)]
pub(crate) struct Addresses<const R: usize, const W: usize> {
    reads: [*const f32; R],
    writes: [*mut f32; W],
    /// Which of them hold bf16 numbers.
    narrow: ([bool; R], [bool; W]),
    stream: bool,
}

impl<const R: usize, const W: usize> Addresses<R, W> {
    /// Sixteen numbers of each input, from `index` on, the first of a vector.
    ///
    /// # Safety
    /// They lie in the operands, and nobody writes them at the same time.
    #[inline(always)]
    pub unsafe fn load<S: Simd>(&self, s: S, index: usize) -> [S::F; R] {
        let mut inputs = [s.zero(); R];
        for ((input, from), narrow) in inputs.iter_mut().zip(self.reads).zip(self.narrow.0) {
            // SAFETY: the caller's promise.
            *input = unsafe {
                if narrow { s.load_bf16(from.cast::<u16>().add(index)) } else { s.load_ptr(from.add(index)) }
            };
        }
        inputs
    }

    /// Writes sixteen numbers of each output, from `index` on, the first of a vector.
    ///
    /// # Safety
    /// They lie in the operands, and nobody else reads or writes them at the same time.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(&self, s: S, index: usize, outputs: [S::F; W]) {
        for ((output, to), narrow) in outputs.into_iter().zip(self.writes).zip(self.narrow.1) {
            // SAFETY: the caller's promise; streamed outputs are aligned, and so is `index`, a multiple of 16.
            unsafe {
                match (narrow, self.stream) {
                    (false, false) => s.store_ptr(output, to.add(index)),
                    (false, true) => around_caches(s.to_array(output), to.add(index)),
                    (true, false) => s.store_bf16(output, to.cast::<u16>().add(index)),
                    (true, true) => {
                        let mut halves = [0u16; LANES];
                        s.store_bf16(output, halves.as_mut_ptr());
                        around_caches(halves, to.cast::<u16>().add(index).cast());
                    }
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

/// Writes numbers to memory without reading their cache line first.
///
/// # Safety
/// `to` points to writable room for `values`, some times 16 bytes, and is aligned to 16 bytes.
#[inline(always)]
unsafe fn around_caches<T: Copy>(values: T, to: *mut f32) {
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

/// Elements below which a pass is shorter than a fork and join.
const SERIAL: usize = 16 * 1024;

/// Runs `tasks` tasks over `elements` elements on the pool, or on this thread where they are few.
pub(crate) fn share(pool: &ThreadPool, elements: usize, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
    if elements <= SERIAL { (0..tasks).for_each(body) } else { pool.run(tasks, body) }
}
