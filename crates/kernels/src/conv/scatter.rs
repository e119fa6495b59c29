//! The input gradient of a convolution with few input channels, as one product whose results are scattered.
//!
//! The direct way gives each input pixel the taps that reach it: towards the border more and more of them lie outside
//! the output's gradient and multiply zeros, and a few input channels fill a vector of 16 lanes badly. Here
//!
//! ```text
//! for each image, in parallel: dx = residual + bias
//!     for each chunk of the pixels of dy:
//!         columns[pixel][(tap, input channel)] = dy[pixel] w          no zeros, lanes filled across taps
//!         for each pixel, tap: dx[pixel of the tap] += columns[pixel][tap]
//!     dx = clamp(dx)
//! ```
//!
//! A chunk's columns stay in the second-level cache. Chunks follow from the geometry alone, so the order of every sum
//! is fixed. Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document
//! processing" (2006), whose unrolling this is the transpose of.

use std::ops::Range;

use ocellus_tensor::ConvGeometry;

use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::{BLOCK, blocked_len, blocks};
use crate::threads::{SharedMut, ThreadPool};

use super::Epilogue;
use super::direct::DirectRun;
use super::panels::Panels;
use super::tile::{TileArgs, max_pixels, tile};

/// Numbers of columns in a chunk at most: a share of a second-level cache.
const CHUNK: usize = 48 * 1024;
/// Images worth sharing out: a task is an image.
const LEAST_IMAGES: usize = 8;
/// Share of the peak that the direct kernels and the product reach.
const DIRECT_SHARE: f64 = 0.93;
const PRODUCT_SHARE: f64 = 0.85;
/// Cycles per vector added to dx.
const ADD_COST: f64 = 6.0;
/// How much faster it must promise to be.
const MARGIN: f64 = 0.85;
/// Most vectors of a panel.
const VECTORS: usize = 2;

/// An input gradient by scattering: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scatter {
    geometry: ConvGeometry,
    isa: Isa,
    /// Blocks of 16 columns.
    panels: Panels,
}

impl Scatter {
    /// `None` for groups.
    pub fn new(geometry: &ConvGeometry, isa: Isa) -> Option<Self> {
        let vectors = if max_pixels(isa, VECTORS) > 0 { VECTORS } else { 1 };
        let panels = Panels { blocks: blocks(geometry.in_channels * geometry.window.taps()), vectors };
        (geometry.groups == 1).then_some(Scatter { geometry: *geometry, isa, panels })
    }

    /// The recipe if it is expected to be faster than the direct kernels.
    pub fn choose(geometry: &ConvGeometry, isa: Isa) -> Option<Self> {
        let g = geometry;
        let [stride_y, stride_x] = g.window.stride;
        let (taps, to) = (g.window.taps() as f64, blocks(g.in_channels) as f64);
        let [inputs, outputs] = [g.input, g.output].map(|[h, w]| (h * w) as f64);
        let direct = inputs * taps / (stride_y * stride_x) as f64 * g.out_channels as f64 * to / DIRECT_SHARE;
        let recipe = Scatter::new(g, isa)?;
        let products = outputs * g.out_channels as f64 * recipe.panels.blocks as f64 / PRODUCT_SHARE;
        let scattered = products + outputs * taps * to * ADD_COST;
        (g.batch >= LEAST_IMAGES && scattered < MARGIN * direct).then_some(recipe)
    }

    /// Numbers of packed weights: `[panel][output channel][V * 16]`.
    pub fn packed_len(&self) -> usize {
        self.columns() * self.geometry.out_channels
    }

    /// Packs OIHW weights, of which a column is a tap of an input channel.
    pub fn pack(&self, weight: &[f32], packed: &mut [f32]) {
        let g = &self.geometry;
        let (taps, channels) = (g.window.taps(), g.in_channels);
        assert_eq!(weight.len(), g.out_channels * channels * taps, "weight length");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        for panel in (0..self.panels.count()).map(|index| self.panels.get(index)) {
            let (first, width) = (panel.block * LANES, panel.vectors * LANES);
            let to = &mut packed[first * g.out_channels..][..width * g.out_channels];
            let rows = weight.chunks_exact(channels * taps);
            for (to, from) in to.chunks_exact_mut(width).zip(rows) {
                let (mut tap, mut channel) = (first / channels, first % channels);
                for to in to {
                    *to = if tap < taps { from[channel * taps + tap] } else { 0.0 };
                    channel += 1;
                    if channel == channels {
                        (tap, channel) = (tap + 1, 0);
                    }
                }
            }
        }
    }

    /// Scratch numbers for `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.own_len()
    }

    fn columns(&self) -> usize {
        self.panels.blocks * LANES
    }

    fn pixels(&self) -> usize {
        self.geometry.output[0] * self.geometry.output[1]
    }

    /// Most pixels of a chunk.
    fn chunk(&self) -> usize {
        (CHUNK / self.columns()).max(max_pixels(self.isa, self.panels.vectors)).min(self.pixels())
    }

    fn own_len(&self) -> usize {
        self.chunk() * self.columns()
    }

    /// Computes `dx` with its epilogue.
    pub fn run(&self, pool: &ThreadPool, run: DirectRun<'_>) {
        let DirectRun { x: dy, packed, epilogue, scratch, y: dx } = run;
        let g = &self.geometry;
        let len = |channels: usize, [h, w]: [usize; 2]| blocked_len(g.batch, channels, h, w);
        assert_eq!(dy.len(), len(g.out_channels, g.output), "output gradient length");
        assert_eq!(dx.len(), len(g.in_channels, g.input), "input gradient length");
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        assert!(epilogue.residual.is_none_or(|r| r.len() == dx.len()), "residual length");
        assert!(epilogue.bias.is_none_or(|b| b.len() == g.in_channels), "one bias per input channel");
        assert!(scratch.len() >= self.scratch_len(pool.threads()), "scratch length");
        let (from_len, to_len, own) = (dy.len() / g.batch, dx.len() / g.batch, self.own_len());
        let (scratch, dx) = (SharedMut::new(scratch), SharedMut::new(dx));
        pool.run_with_thread(g.batch, &|thread, image| {
            // SAFETY: each thread has its own part of the scratch memory, each task its own image.
            let (columns, dx) = unsafe { (scratch.part(thread * own, own), dx.part(image * to_len, to_len)) };
            let residual = epilogue.residual.map(|r| &r[image * to_len..][..to_len]);
            self.isa.run(Start { recipe: self, bias: epilogue.bias, residual, dx });
            let dy = &dy[image * from_len..][..from_len];
            let count = self.pixels().div_ceil(self.chunk());
            for chunk in 0..count {
                let pixels = self.pixels() * chunk / count..self.pixels() * (chunk + 1) / count;
                self.multiply(dy, packed, pixels.clone(), columns);
                self.isa.run(Add { recipe: self, columns, pixels, dx });
            }
            if epilogue.clamp.is_some() {
                self.isa.run(Bound { epilogue, dx });
            }
        });
    }

    /// `columns[pixel] = dy[pixel] w`.
    fn multiply(&self, dy: &[f32], packed: &[f32], pixels: Range<usize>, columns: &mut [f32]) {
        let (outputs, width) = (self.geometry.out_channels, self.columns());
        let count = pixels.len().div_ceil(max_pixels(self.isa, self.panels.vectors));
        let bias = [0.0; VECTORS * LANES];
        for panel in (0..self.panels.count()).map(|index| self.panels.get(index)) {
            let lane = panel.block * LANES;
            let weights = &packed[lane * outputs..][..panel.vectors * LANES * outputs];
            for part in 0..count {
                let (from, to) = (pixels.len() * part / count, pixels.len() * (part + 1) / count);
                let to_columns = &mut columns[from * width..to * width];
                let args = TileArgs {
                    x: dy[(pixels.start + from) * BLOCK..].as_ptr(),
                    x_block_step: self.pixels() * BLOCK,
                    x_row_step: 0,
                    ahead: 0,
                    taps: &[0],
                    channels: outputs,
                    block: LANES,
                    weights: weights.as_ptr(),
                    y: to_columns[lane..].as_mut_ptr(),
                    residual: std::ptr::null(),
                    y_step: width,
                    y_row_step: 0,
                    y_block_step: LANES,
                    bias: bias.as_ptr(),
                    scale: std::ptr::null(),
                    residual_scale: 1.0,
                    clamp: None,
                    wide: false,
                };
                // SAFETY: the image holds these pixels in every block, the panel a row per output channel, and each
                // pixel's columns reach beyond the panel's; the tile function is one of `isa`.
                unsafe { tile(self.isa, LANES, panel.vectors, [1, to - from])(&args) }
            }
        }
    }
}

/// What dx holds before anything is added.
struct Start<'a> {
    recipe: &'a Scatter,
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    dx: &'a mut [f32],
}

impl VectorOp for Start<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [height, width] = self.recipe.geometry.input;
        let plane = height * width * BLOCK;
        for (block, dx) in self.dx.chunks_exact_mut(plane).enumerate() {
            let bias = match self.bias {
                Some(bias) => s.load_partial(&bias[block * BLOCK..], 0.0),
                None => s.zero(),
            };
            match self.residual {
                Some(residual) => {
                    let from = residual[block * plane..][..plane].chunks_exact(BLOCK);
                    for (to, from) in dx.chunks_exact_mut(BLOCK).zip(from) {
                        s.store(s.add(s.load(from), bias), to);
                    }
                }
                None => {
                    for to in dx.chunks_exact_mut(BLOCK) {
                        s.store(bias, to);
                    }
                }
            }
        }
    }
}

/// Adds the columns of some pixels to dx.
struct Add<'a> {
    recipe: &'a Scatter,
    columns: &'a [f32],
    pixels: Range<usize>,
    dx: &'a mut [f32],
}

impl VectorOp for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Add { recipe, columns, pixels, dx } = self;
        let g = &recipe.geometry;
        let ([height, width], channels, [kernel_rows, kernel_columns]) =
            (g.input, g.in_channels, g.window.kernel);
        let plane = height * width * BLOCK;
        let columns = columns.chunks_exact(recipe.columns());
        for (pixel, columns) in pixels.zip(columns) {
            let (y, x) = (pixel / g.output[1], pixel % g.output[1]);
            for row_tap in 0..kernel_rows {
                let Some(row) = g.window.pixel(y, row_tap, 0, height) else { continue };
                for column_tap in 0..kernel_columns {
                    let Some(column) = g.window.pixel(x, column_tap, 1, width) else { continue };
                    let at = (row * width + column) * BLOCK;
                    let tap = row_tap * kernel_columns + column_tap;
                    let from = &columns[tap * channels..][..channels];
                    for (block, from) in from.chunks(BLOCK).enumerate() {
                        let to = &mut dx[block * plane + at..][..BLOCK];
                        let part = if from.len() == BLOCK { s.load(from) } else { s.load_partial(from, 0.0) };
                        s.store(s.add(s.load(to), part), to);
                    }
                }
            }
        }
    }
}

/// Keeps dx within bounds.
struct Bound<'a> {
    epilogue: Epilogue<'a>,
    dx: &'a mut [f32],
}

impl VectorOp for Bound<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Some(clamp) = self.epilogue.clamp else { return };
        for to in self.dx.chunks_exact_mut(BLOCK) {
            s.store(clamp.apply(s, s.load(to)), to);
        }
    }
}
