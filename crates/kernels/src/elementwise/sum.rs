//! How are sums per channel taken over a blocked tensor, to the same bits on any number of threads?
//!
//! ```text
//! for each part (parallel): for each 256 pixels: add in f32; add that to the part's f64 sums
//! for each channel: add its parts' sums in order, in f64
//! ```
//!
//! Four neighbouring pixels go to four accumulators, as an addition takes four cycles and one can start in each.

use super::blocked::{Blocked, PART_BLOCKS, Part, Parts};
use super::operands::{Addresses, Operands, Read, share};
use crate::isa::{Isa, Simd, VectorOp};
use crate::layout::BLOCK;
use crate::threads::{SharedMut, ThreadPool};

/// `T` sums per channel over functions of `R` inputs, and `W` outputs along the way.
pub(crate) trait PlaneSum<const K: usize, const R: usize, const T: usize, const W: usize>:
    Copy + Sync
{
    /// The constants of a block of channels; must be `#[inline(always)]`.
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; K];
    /// Adds a pixel's terms to `sums` and returns its outputs; must be `#[inline(always)]`.
    fn add<S: Simd>(self, s: S, k: [S::F; K], inputs: [S::F; R], sums: &mut [S::F; T]) -> [S::F; W];
}

/// Pixels summed in f32 before the sum goes to f64: 64 additions in a row on each accumulator.
pub(crate) const GROUP: usize = 256;

/// Numbers that [`store_wide`] takes for a block of channels.
pub(crate) const WIDE: usize = 2 * BLOCK;

/// Scratch numbers that [`run`] needs for sums of `terms` terms.
pub(crate) fn scratch_len(size: Blocked, terms: usize) -> usize {
    Parts::new(size).slots() * terms * WIDE
}

/// Stores f64 numbers as pairs of f32, the rounded number and what was lost: 48 bits of 53, in an f32 arena.
#[inline(always)]
pub(crate) fn store_wide(values: &[f64; BLOCK], to: &mut [f32]) {
    let (high, low) = to[..WIDE].split_at_mut(BLOCK);
    for lane in 0..BLOCK {
        high[lane] = values[lane] as f32;
        low[lane] = (values[lane] - f64::from(high[lane])) as f32;
    }
}

/// What [`store_wide`] stored for one lane.
#[inline(always)]
pub(crate) fn load_wide(from: &[f32], lane: usize) -> f64 {
    f64::from(from[lane]) + f64::from(from[BLOCK + lane])
}

/// Sums over blocked tensors of one size and hands each channel's sums to `finish(channel, sums)`.
#[track_caller]
pub(crate) fn run<const K: usize, const R: usize, const T: usize, const W: usize>(
    (pool, isa): (&ThreadPool, Isa),
    size: Blocked,
    (reads, writes): ([Read<'_>; R], [&mut [f32]; W]),
    formula: impl PlaneSum<K, R, T, W>,
    scratch: &mut [f32],
    mut finish: impl FnMut(usize, [f64; T]),
) {
    let operands = Operands::new(size.elements(), reads, writes);
    let parts = Parts::new(size);
    let scratch = &mut scratch[..parts.slots() * T * WIDE];
    let partial = SharedMut::new(scratch);
    share(pool, size.elements(), parts.count(), &|task| {
        let (slot, count) = parts.slots_of(task);
        // SAFETY: each task has its own places.
        let to = unsafe { partial.part(slot * T * WIDE, count * T * WIDE) };
        isa.run(SumPart { operands: &operands, parts, part: parts.get(task), formula, to });
    });
    for block in 0..size.blocks() {
        let mut sums = [[0.0; BLOCK]; T];
        for index in 0..parts.per_block() {
            let (slot, _) = parts.slot(block, index);
            let from = &scratch[slot * T * WIDE..];
            for (sums, from) in sums.iter_mut().zip(from.chunks_exact(WIDE)) {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    *sum += load_wide(from, lane);
                }
            }
        }
        for channel in block * BLOCK..((block + 1) * BLOCK).min(size.channels) {
            finish(channel, sums.map(|sums| sums[channel % BLOCK]));
        }
    }
}

struct SumPart<'a, F, const K: usize, const R: usize, const T: usize, const W: usize> {
    operands: &'a Operands<'a, R, W>,
    parts: Parts,
    part: Part,
    formula: F,
    /// Where each block's sums go.
    to: &'a mut [f32],
}

impl<F: PlaneSum<K, R, T, W>, const K: usize, const R: usize, const T: usize, const W: usize> VectorOp
    for SumPart<'_, F, K, R, T, W>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Few registers: fewer accumulators, each two registers wide and so as good as two.
        if S::REGISTERS >= 16 { self.sums::<S, 4>(s) } else { self.sums::<S, 2>(s) }
    }
}

/// The sums of one block so far.
#[derive(Clone, Copy)]
struct Sums<S: Simd, const K: usize, const T: usize, const U: usize> {
    constants: [S::F; K],
    /// Of whole groups.
    total: [[f64; BLOCK]; T],
    /// Of the present one, in `U` accumulators, and its pixels.
    group: [[S::F; T]; U],
    filled: usize,
}

impl<F: PlaneSum<K, R, T, W>, const K: usize, const R: usize, const T: usize, const W: usize>
    SumPart<'_, F, K, R, T, W>
{
    /// The part's sums, with `U` accumulators.
    #[inline(always)]
    fn sums<S: Simd, const U: usize>(self, s: S) {
        let SumPart { operands, parts, part, formula, to } = self;
        let none = Sums::<S, K, T, U> {
            constants: [s.zero(); K],
            total: [[0.0; BLOCK]; T],
            group: [[s.zero(); T]; U],
            filled: 0,
        };
        let mut blocks = [none; PART_BLOCKS];
        for (block, sums) in blocks.iter_mut().enumerate().take(part.blocks) {
            sums.constants = formula.constants(s, part.first_block + block);
        }
        for image in 0..part.images {
            for (block, sums) in blocks.iter_mut().enumerate().take(part.blocks) {
                let at = operands.at(parts.run_start(&part, image, block));
                sums.add_pixels(s, at, part.pixels, formula);
                at.finish();
            }
        }
        for (sums, to) in blocks.iter_mut().zip(to.chunks_exact_mut(T * WIDE)) {
            sums.flush(s);
            for (total, to) in sums.total.iter().zip(to.chunks_exact_mut(WIDE)) {
                store_wide(total, to);
            }
        }
    }
}

impl<S: Simd, const K: usize, const T: usize, const U: usize> Sums<S, K, T, U> {
    #[inline(always)]
    fn add_pixels<F: PlaneSum<K, R, T, W>, const R: usize, const W: usize>(
        &mut self,
        s: S,
        at: Addresses<R, W>,
        pixels: usize,
        formula: F,
    ) {
        let mut pixel = 0;
        while pixel < pixels {
            let count = (pixels - pixel).min(GROUP - self.filled);
            Run { at, first: pixel, count }.add(s, formula, self.constants, &mut self.group);
            pixel += count;
            self.filled += count;
            if self.filled == GROUP {
                self.flush(s);
            }
        }
    }

    /// Moves the group's sums to f64.
    #[inline(always)]
    fn flush(&mut self, s: S) {
        for (term, total) in self.total.iter_mut().enumerate() {
            let mut sum = self.group[0][term];
            for sums in self.group.iter().skip(1) {
                sum = s.add(sum, sums[term]);
            }
            for (total, lane) in total.iter_mut().zip(s.to_array(sum)) {
                *total += f64::from(lane);
            }
        }
        self.group = [[s.zero(); T]; U];
        self.filled = 0;
    }
}

/// Some pixels in a row.
struct Run<const R: usize, const W: usize> {
    at: Addresses<R, W>,
    first: usize,
    count: usize,
}

impl<const R: usize, const W: usize> Run<R, W> {
    /// Adds the pixels' terms to the accumulators.
    #[inline(always)]
    fn add<S: Simd, F: PlaneSum<K, R, T, W>, const K: usize, const T: usize, const U: usize>(
        &self,
        s: S,
        formula: F,
        constants: [S::F; K],
        group: &mut [[S::F; T]; U],
    ) {
        let whole = self.count - self.count % U;
        let mut sums = *group;
        for pixel in (0..whole).step_by(U) {
            for (u, sums) in sums.iter_mut().enumerate() {
                self.add_pixel(s, pixel + u, formula, constants, sums);
            }
        }
        for pixel in whole..self.count {
            self.add_pixel(s, pixel, formula, constants, &mut sums[0]);
        }
        *group = sums;
    }

    #[inline(always)]
    fn add_pixel<S: Simd, F: PlaneSum<K, R, T, W>, const K: usize, const T: usize>(
        &self,
        s: S,
        pixel: usize,
        formula: F,
        constants: [S::F; K],
        sums: &mut [S::F; T],
    ) {
        let i = (self.first + pixel) * BLOCK;
        // SAFETY: inside the part, which is one task's alone.
        unsafe {
            let outputs = formula.add(s, constants, self.at.load(s, i), sums);
            self.at.store(s, i, outputs);
        }
    }
}
