//! Depthwise convolution, forward and input gradient: each channel has its own filter, so 16 channels go through
//! each instruction side by side.
//!
//! ```text
//! for each pass, each (image, block of channels, strip of output rows) in parallel, each row:
//!     pixels whose taps all lie inside, eight at a time:   acc[pixel] += x[pixel + tap] * w[tap]  for the row's taps
//!     pixels at the left and right edge, one at a time:    the same, skipping taps outside
//!     y = relu(acc + bias + residual)
//! ```

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

use ocellus_tensor::ConvGeometry;

use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::{BLOCK, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::Epilogue;
use super::direct::DirectRun;
use super::pass::{Axis, Pass};

/// Output rows of a task.
const STRIP: usize = 8;
/// Pixels of a tile: enough chains of multiply-adds to hide their latency.
const PIXELS: usize = 8;

/// A depthwise convolution as passes: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Depthwise {
    isa: Isa,
    batch: usize,
    channels: usize,
    /// Pixels of the source and of the destination.
    from: [usize; 2],
    to: [usize; 2],
    kernel: [usize; 2],
    passes: Vec<Pass>,
}

/// Whether every channel is a group of its own.
pub(crate) fn is_depthwise(g: &ConvGeometry) -> bool {
    g.groups > 1 && g.groups == g.in_channels && g.groups == g.out_channels
}

impl Depthwise {
    /// The forward convolution.
    pub fn forward(g: &ConvGeometry, isa: Isa) -> Self {
        Self::new(g, isa, [g.input, g.output], vec![Pass::forward(g)])
    }

    /// The input gradient.
    pub fn gradient(g: &ConvGeometry, isa: Isa) -> Self {
        Self::new(g, isa, [g.output, g.input], Pass::gradient(g))
    }

    fn new(g: &ConvGeometry, isa: Isa, [from, to]: [[usize; 2]; 2], passes: Vec<Pass>) -> Self {
        let (batch, channels, kernel) = (g.batch, g.in_channels, g.window.kernel);
        Depthwise { isa, batch, channels, from, to, kernel, passes }
    }

    /// Numbers of packed weights.
    pub fn packed_len(&self) -> usize {
        self.passes.iter().map(Pass::taps).sum::<usize>() * blocks(self.channels) * LANES
    }

    /// Packs `weight` (C, 1, kernel) as `[pass][block][tap][16]`.
    pub fn pack(&self, weight: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(scale.is_none_or(|s| s.len() == self.channels), "one scale per output channel");
        let taps = self.kernel[0] * self.kernel[1];
        let mut vectors = packed.chunks_exact_mut(LANES);
        for Pass { rows, cols } in &self.passes {
            for block in 0..blocks(self.channels) {
                for (&ky, &kx) in rows.kernel.iter().flat_map(|ky| cols.kernel.iter().map(move |kx| (ky, kx)))
                {
                    let vector = vectors.next().expect("one vector per tap");
                    for (channel, w) in (block * BLOCK..).zip(vector) {
                        let real = channel < self.channels;
                        let factor = scale.filter(|_| real).map_or(1.0, |s| s[channel]);
                        *w = if real {
                            weight[channel * taps + ky * self.kernel[1] + kx] * factor
                        } else {
                            0.0
                        };
                    }
                }
            }
        }
    }

    /// Runs every pass.
    pub fn run(&self, pool: &ThreadPool, run: DirectRun<'_>) {
        let DirectRun { x, mut packed, epilogue, y, .. } = run;
        let image_len = |[h, w]: [usize; 2]| blocks(self.channels) * h * w * BLOCK;
        assert_eq!(x.len(), self.batch * image_len(self.from), "input length");
        assert_eq!(y.len(), self.batch * image_len(self.to), "output length");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(epilogue.residual.is_none_or(|r| r.len() == y.len()), "residual length");
        assert!(epilogue.bias.is_none_or(|b| b.len() == self.channels), "one bias per output channel");
        let y = SharedMut::new(y);
        for pass in &self.passes {
            let per_block = pass.taps() * LANES;
            let (weights, rest) = packed.split_at(blocks(self.channels) * per_block);
            packed = rest;
            let strips = pass.rows.count.div_ceil(STRIP);
            pool.run(self.batch * blocks(self.channels) * strips, &|task| {
                let (plane, strip) = (task / strips, task % strips);
                let block = plane % blocks(self.channels);
                let (from, to) = (self.from[0] * self.from[1] * BLOCK, self.to[0] * self.to[1] * BLOCK);
                self.isa.run(Strip {
                    pass,
                    x: &x[plane * from..][..from],
                    x_width: self.from[1],
                    weights: &weights[block * per_block..][..per_block],
                    bias: epilogue.bias.map_or(&[], |b| &b[block * BLOCK..]),
                    residual: epilogue.residual.map(|r| &r[plane * to..][..to]),
                    epilogue,
                    y,
                    y_start: plane * to,
                    y_width: self.to[1],
                    rows: [strip * STRIP, pass.rows.count.min((strip + 1) * STRIP)],
                });
            });
        }
    }
}

/// Some output rows of one block of channels of one image.
struct Strip<'a> {
    pass: &'a Pass,
    /// One block of channels of one image.
    x: &'a [f32],
    x_width: usize,
    weights: &'a [f32],
    /// From the block's first channel on; empty for none.
    bias: &'a [f32],
    residual: Option<&'a [f32]>,
    epilogue: Epilogue<'a>,
    y: SharedMut<'a, f32>,
    /// Where the block of channels starts in `y`.
    y_start: usize,
    y_width: usize,
    rows: [usize; 2],
}

impl VectorOp for Strip<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = &self.pass.cols;
        let (left, right) = all_inside(cols);
        for row in self.rows[0]..self.rows[1] {
            for col in (0..left).chain(right..cols.count) {
                self.pixels::<S, 1>(s, row, col);
            }
            let mut col = left;
            while col + PIXELS <= right {
                self.pixels::<S, PIXELS>(s, row, col);
                col += PIXELS;
            }
            for col in col..right {
                self.pixels::<S, 1>(s, row, col);
            }
        }
    }
}

impl Strip<'_> {
    /// Computes `P` neighbouring outputs. For `P` > 1 all their taps lie inside the columns of the source.
    #[inline(always)]
    fn pixels<S: Simd, const P: usize>(&self, s: S, row: usize, col: usize) {
        let Pass { rows, cols } = self.pass;
        let mut acc = [s.load_partial(self.bias, 0.0); P];
        for (i, &row_offset) in rows.offsets.iter().enumerate() {
            let Some(source_row) = source(rows, row, row_offset) else { continue };
            for (j, &col_offset) in cols.offsets.iter().enumerate() {
                let Some(source_col) = source(cols, col, col_offset) else { continue };
                let w = s.load(&self.weights[(i * cols.taps() + j) * LANES..]);
                let from = &self.x[(source_row * self.x_width + source_col) * BLOCK..];
                let from = &from[..((P - 1) * cols.stride + 1) * BLOCK];
                for p in 0..P {
                    acc[p] = s.fmadd(s.load(&from[p * cols.stride * BLOCK..]), w, acc[p]);
                }
            }
        }
        for p in 0..P {
            let pixel = (rows.start + row * rows.step) * self.y_width + cols.start + (col + p) * cols.step;
            let mut sum = acc[p];
            if let Some(residual) = self.residual {
                sum = s.add(sum, s.load(&residual[pixel * BLOCK..]));
            }
            if self.epilogue.relu {
                sum = s.max(s.zero(), sum);
            }
            // SAFETY: every output pixel belongs to one pass, strip and pixel alone.
            s.store(sum, unsafe { self.y.part(self.y_start + pixel * BLOCK, BLOCK) });
        }
    }
}

/// The source pixel of output `o` through the tap at `offset`, if inside.
#[inline(always)]
pub(crate) fn source(axis: &Axis, o: usize, offset: isize) -> Option<usize> {
    (o * axis.stride).checked_add_signed(offset).filter(|&at| at < axis.source)
}

/// The outputs all of whose taps lie inside the source.
fn all_inside(axis: &Axis) -> (usize, usize) {
    let ranges = axis.offsets.iter().map(|&offset| axis.inside(offset, 0, axis.count));
    let left = ranges.clone().map(|(from, _)| from).max().unwrap_or(0);
    let right = ranges.map(|(_, to)| to).min().unwrap_or(axis.count);
    (left, right.max(left))
}
