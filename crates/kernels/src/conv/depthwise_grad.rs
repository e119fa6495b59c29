//! The weight gradient of a depthwise convolution.
//!
//! ```text
//! for each part of the (image, row) list, each block of 16 channels, in parallel: for each row of dy, each tap:
//!     sums[tap] += over the row's pixels at which the tap lies inside: x[pixel + tap] * dy[pixel]
//! dw = the parts' sums, added in order
//! ```
//!
//! A row's sum runs in four chains (every fourth pixel) that are added pairwise; the number of parts follows from the
//! geometry alone.

use ocellus_tensor::ConvGeometry;

use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::{BLOCK, blocked_len, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::pass::Pass;

/// Parts times blocks aimed for, so that a handful of threads finds work.
const TASKS: usize = 16;
/// Sums of independent pixels in flight.
const CHAINS: usize = 4;

/// A depthwise weight gradient: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DepthwiseGrad {
    geometry: ConvGeometry,
    isa: Isa,
    pass: Pass,
    parts: usize,
}

impl DepthwiseGrad {
    pub fn new(geometry: ConvGeometry, isa: Isa) -> Self {
        let rows = geometry.batch * geometry.output[0];
        let parts = TASKS.div_ceil(blocks(geometry.in_channels)).min(rows).max(1);
        DepthwiseGrad { geometry, isa, pass: Pass::forward(&geometry), parts }
    }

    /// Numbers of a part's sums.
    fn part_len(&self) -> usize {
        blocks(self.geometry.in_channels) * self.geometry.window.taps() * LANES
    }

    /// Scratch numbers.
    pub fn scratch_len(&self) -> usize {
        self.parts * self.part_len()
    }

    /// Computes `dw` (C, 1, kernel).
    pub fn run(&self, pool: &ThreadPool, x: &[f32], dy: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
        let g = &self.geometry;
        let len = |[h, w]: [usize; 2]| blocked_len(g.batch, g.in_channels, h, w);
        assert_eq!(x.len(), len(g.input), "input length");
        assert_eq!(dy.len(), len(g.output), "output gradient length");
        assert_eq!(dw.len(), g.out_channels * g.window.taps(), "weight gradient length");
        let per_block = g.window.taps() * LANES;
        let sums = SharedMut::new(&mut scratch[..self.scratch_len()]);
        let channel_blocks = blocks(g.in_channels);
        pool.run(self.parts * channel_blocks, &|task| {
            let (part, block) = (task / channel_blocks, task % channel_blocks);
            let rows = g.batch * g.output[0];
            // SAFETY: each task has its own sums.
            let sums = unsafe { sums.part(task * per_block, per_block) };
            sums.fill(0.0);
            let rows = part * rows / self.parts..(part + 1) * rows / self.parts;
            self.isa.run(Rows { recipe: self, x, dy, block, rows, sums });
        });
        let (first, others) = scratch[..self.scratch_len()].split_at_mut(self.part_len());
        for part in others.chunks_exact(self.part_len()) {
            first.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
        let taps = g.window.taps();
        for (channel, weights) in dw.chunks_exact_mut(taps).enumerate() {
            let vectors = &first[channel / BLOCK * per_block + channel % BLOCK..];
            weights.iter_mut().zip(vectors.iter().step_by(LANES)).for_each(|(w, &sum)| *w = sum);
        }
    }
}

/// One task: some rows of one block of channels.
struct Rows<'a> {
    recipe: &'a DepthwiseGrad,
    x: &'a [f32],
    dy: &'a [f32],
    block: usize,
    /// Of the list of all images' output rows.
    rows: std::ops::Range<usize>,
    /// `[tap][16]`.
    sums: &'a mut [f32],
}

impl VectorOp for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (g, Pass { rows, cols }) = (&self.recipe.geometry, &self.recipe.pass);
        let [height, width] = g.output;
        let x_plane = g.input[0] * g.input[1] * BLOCK;
        for row in self.rows {
            let (image, row) = (row / height, row % height);
            let plane = image * blocks(g.in_channels) + self.block;
            let dy = &self.dy[(plane * height + row) * width * BLOCK..][..width * BLOCK];
            let x = &self.x[plane * x_plane..][..x_plane];
            let mut sums = self.sums.chunks_exact_mut(LANES);
            for &row_offset in &rows.offsets {
                let source_row = rows.pixel(row, row_offset);
                for &col_offset in &cols.offsets {
                    let sum = sums.next().expect("one vector per tap");
                    let (from, to) = cols.inside(col_offset, 0, cols.count);
                    let Some(source_row) = source_row.filter(|_| from < to) else { continue };
                    let col = (from * cols.stride).strict_add_signed(col_offset);
                    let x = &x[(source_row * g.input[1] + col) * BLOCK..];
                    let row_sum = dot(s, x, cols.stride * BLOCK, &dy[from * BLOCK..to * BLOCK]);
                    s.store(s.add(s.load(sum), row_sum), sum);
                }
            }
        }
    }
}

/// The sum over pixels of `x` (pixels `step` apart) times `dy` (pixels 16 apart), per channel.
#[inline(always)]
fn dot<S: Simd>(s: S, x: &[f32], step: usize, dy: &[f32]) -> S::F {
    let mut chains = [s.zero(); CHAINS];
    let pixels = dy.len() / BLOCK;
    let mut pixel = 0;
    assert!(pixels == 0 || x.len() >= (pixels - 1) * step + BLOCK, "every pixel of x is there");
    while pixel + CHAINS <= pixels {
        for (i, chain) in chains.iter_mut().enumerate() {
            // SAFETY: pixel + i is below the number of pixels, which both slices hold.
            let (a, b) = unsafe {
                (
                    s.load_ptr(x.as_ptr().add((pixel + i) * step)),
                    s.load_ptr(dy.as_ptr().add((pixel + i) * BLOCK)),
                )
            };
            *chain = s.fmadd(a, b, *chain);
        }
        pixel += CHAINS;
    }
    for (chain, pixel) in chains.iter_mut().zip(pixel..pixels) {
        *chain = s.fmadd(s.load(&x[pixel * step..]), s.load(&dy[pixel * BLOCK..]), *chain);
    }
    s.add(s.add(chains[0], chains[1]), s.add(chains[2], chains[3]))
}
