//! How are sums per channel taken over a blocked tensor, to the same bits on any number of threads?
//!
//! ```text
//! for each part (parallel): for each 256 pixels: add in f32; add that to the part's f64 sums
//! for each channel: add its parts' sums in order, in f64
//! ```
//!
//! Four neighbouring pixels go to four accumulators, as an addition takes four cycles and one can start in each.

use super::blocked::{Blocked, Part, Parts};
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
    Parts::new(size).count() * terms * WIDE
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
    let scratch = &mut scratch[..parts.count() * T * WIDE];
    let partial = SharedMut::new(scratch);
    share(pool, size.elements(), parts.count(), &|task| {
        let sums = isa.run(SumPart { operands: &operands, parts, part: parts.get(task), formula });
        // SAFETY: each task has its own place.
        let to = unsafe { partial.part(task * T * WIDE, T * WIDE) };
        for (sum, to) in sums.iter().zip(to.chunks_exact_mut(WIDE)) {
            store_wide(sum, to);
        }
    });
    for channel in 0..size.channels {
        let (block, lane) = (channel / BLOCK, channel % BLOCK);
        let mut sums = [0.0; T];
        for index in 0..parts.per_block() {
            let from = &scratch[parts.number(block, index) * T * WIDE..];
            for (sum, from) in sums.iter_mut().zip(from.chunks_exact(WIDE)) {
                *sum += load_wide(from, lane);
            }
        }
        finish(channel, sums);
    }
}

struct SumPart<'a, F, const K: usize, const R: usize, const T: usize, const W: usize> {
    operands: &'a Operands<'a, R, W>,
    parts: Parts,
    part: Part,
    formula: F,
}

impl<F: PlaneSum<K, R, T, W>, const K: usize, const R: usize, const T: usize, const W: usize> VectorOp
    for SumPart<'_, F, K, R, T, W>
{
    type Output = [[f64; BLOCK]; T];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        // Few registers: fewer accumulators, each two registers wide and so as good as two.
        if S::REGISTERS >= 16 { self.sums::<S, 4>(s) } else { self.sums::<S, 2>(s) }
    }
}

impl<F: PlaneSum<K, R, T, W>, const K: usize, const R: usize, const T: usize, const W: usize>
    SumPart<'_, F, K, R, T, W>
{
    /// The part's sums, with `U` accumulators.
    #[inline(always)]
    fn sums<S: Simd, const U: usize>(self, s: S) -> [[f64; BLOCK]; T] {
        let SumPart { operands, parts, part, formula } = self;
        let constants = formula.constants(s, part.block);
        let mut total = [[0.0; BLOCK]; T];
        let mut group = [[s.zero(); T]; U];
        let mut filled = 0;
        for image in 0..part.images {
            let at = operands.at(parts.run_start(&part, image));
            let mut pixel = 0;
            while pixel < part.pixels {
                let count = (part.pixels - pixel).min(GROUP - filled);
                let run = Run { at, first: pixel, count };
                run.add(s, formula, constants, &mut group);
                pixel += count;
                filled += count;
                if filled == GROUP {
                    flush(s, &mut group, &mut total);
                    filled = 0;
                }
            }
            at.finish();
        }
        flush(s, &mut group, &mut total);
        total
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

/// Moves the accumulators' sums to f64.
#[inline(always)]
fn flush<S: Simd, const T: usize, const U: usize>(
    s: S,
    group: &mut [[S::F; T]; U],
    total: &mut [[f64; BLOCK]; T],
) {
    for (term, total) in total.iter_mut().enumerate() {
        let mut sum = group[0][term];
        for sums in group.iter().skip(1) {
            sum = s.add(sum, sums[term]);
        }
        for (total, lane) in total.iter_mut().zip(s.to_array(sum)) {
            *total += f64::from(lane);
        }
    }
    *group = [[s.zero(); T]; U];
}
