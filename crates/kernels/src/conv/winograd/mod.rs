//! Winograd's minimal filtering for 3x3 convolutions of stride 1: fewer multiplications, a little more rounding.
//!
//! ```text
//! weights, once:  U[xi] = (G g G^T)[xi]                                   for each pair of channels
//! for each block of tiles of m x m outputs, in parallel:
//!     V[xi] = (B^T d B)[xi]      for each input channel, each tile of (m + 2)^2 inputs, (m + 2)^2 numbers xi
//!     for each panel of output channels:
//!         M[xi] = V[xi] U[xi]    one small matrix product per xi, by the direct kernels' micro-kernel
//!         y = A^T M A + bias + residual, bounded
//! ```
//!
//! V and M of a block lie in the thread's own scratch memory, so nothing between x and y leaves the second-level
//! cache. Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2015), section 4.
//!
//! Rounding: against the exact result, relative to the layer's largest number, F(2x2, 3x3) errs by up to
//! [`F2_ERROR`] and F(4x4, 3x3) by up to [`F4_ERROR`]; the direct kernels err by about 1e-6.

// Index loops over const-generic arrays unroll fully and mirror the pseudo-code.
#![allow(clippy::needless_range_loop)]

mod choice;
mod gradient;
mod run;
mod transform;

use crate::isa::{Isa, LANES, Simd, VectorOp};
use crate::layout::blocks;
use crate::threads::{SharedMut, ThreadPool};

use super::direct::{DirectRun, Side};
use super::pack::WeightView;
use super::panels::Panels;
use super::pass::Pass;
use super::tile::max_pixels;
use transform::{F2, F4, Minimal, kernel_2d};

pub(crate) use choice::{choose, choose_gradient};
pub(crate) use gradient::WinogradGrad;

/// Largest error of F(2x2, 3x3), relative to the largest output.
pub const F2_ERROR: f64 = 2e-5;
/// Largest error of F(4x4, 3x3), relative to the largest output.
pub const F4_ERROR: f64 = 2e-4;

/// Which of the algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// F(2x2, 3x3): 16 products for 4 outputs instead of 36.
    F2,
    /// F(4x4, 3x3): 36 products for 16 outputs instead of 144.
    F4,
}

impl Variant {
    /// Outputs of a tile along an axis.
    pub fn outputs(self) -> usize {
        match self {
            Variant::F2 => 2,
            Variant::F4 => 4,
        }
    }

    /// Inputs of a tile along an axis.
    pub fn inputs(self) -> usize {
        self.outputs() + 2
    }

    /// Products of a tile per pair of channels.
    pub fn products(self) -> usize {
        self.inputs() * self.inputs()
    }
}

/// A convolution by Winograd's algorithm: plain data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Winograd {
    isa: Isa,
    variant: Variant,
    batch: usize,
    from: Side,
    to: Side,
    /// Input pixel of output pixel 0's first tap, along each axis; negative in the padding.
    first: [isize; 2],
    /// Kernel index of each tap, row by row, in the order of the input pixels.
    taps: [usize; 9],
    panels: Panels,
}

/// What a [`Winograd`] is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WinogradSpec<'a> {
    pub isa: Isa,
    pub batch: usize,
    pub from: Side,
    pub to: Side,
    pub pass: &'a Pass,
    pub kernel_width: usize,
}

impl Winograd {
    /// `None` unless the pass is a dense 3x3 window of stride 1 that writes every pixel.
    pub fn new(spec: WinogradSpec<'_>, variant: Variant) -> Option<Self> {
        let WinogradSpec { isa, batch, from, to, pass, kernel_width } = spec;
        let (rows, cols) = (pass.rows.dense_three()?, pass.cols.dense_three()?);
        let taps = std::array::from_fn(|t| rows[t / 3] * kernel_width + cols[t % 3]);
        let vectors = if max_pixels(isa, 2) > 0 { 2 } else { 1 };
        let panels = Panels { blocks: blocks(to.channels), vectors };
        let first = [pass.rows.first(), pass.cols.first()];
        Some(Winograd { isa, variant, batch, from, to, first, taps, panels })
    }

    /// Which algorithm.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Numbers of packed weights: `[panel][xi][input channel][V * 16]`.
    pub fn packed_len(&self) -> usize {
        self.panels.blocks * LANES * self.panel_row()
    }

    /// Packed numbers of one lane: every product of every input channel.
    fn panel_row(&self) -> usize {
        self.variant.products() * self.from.channels
    }

    /// Tiles of one image along each axis.
    fn tiles(&self) -> [usize; 2] {
        self.to.size.map(|size| size.div_ceil(self.variant.outputs()))
    }

    /// Tiles of the batch.
    fn total_tiles(&self) -> usize {
        let [down, across] = self.tiles();
        self.batch * down * across
    }

    /// Transforms and packs the weights; `scale` has a factor per output channel.
    pub fn pack(&self, pool: &ThreadPool, view: WeightView<'_>, scale: Option<&[f32]>, packed: &mut [f32]) {
        assert_eq!(packed.len(), self.packed_len(), "packed length");
        let packed = SharedMut::new(packed);
        pool.run(self.panels.count(), &|task| {
            let panel = self.panels.get(task);
            let start = panel.block * LANES * self.panel_row();
            // SAFETY: panels are disjoint parts of the packed weights.
            let to = unsafe { packed.part(start, panel.vectors * LANES * self.panel_row()) };
            let (lane, lanes) = (panel.block * LANES, self.to.channels);
            let job = PackPanel { recipe: self, view, scale, lane, lanes, vectors: panel.vectors, to };
            match self.variant {
                Variant::F2 => self.isa.run(PackWith::<F2, 4, 2>(job, F2)),
                Variant::F4 => self.isa.run(PackWith::<F4, 6, 4>(job, F4)),
            }
        });
    }

    /// Scratch numbers for `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        let tiles = run::most_tiles(self);
        threads * (self.transformed_step(tiles) + self.product_step(tiles)) * self.variant.products()
    }

    /// Numbers of V per xi; one cache line more than needed, so that the xi of a tile do not share a cache set.
    fn transformed_step(&self, tiles: usize) -> usize {
        (blocks(self.from.channels) * tiles + 1) * LANES
    }

    /// Numbers of M per xi, likewise.
    fn product_step(&self, tiles: usize) -> usize {
        (self.panels.vectors * tiles + 1) * LANES
    }

    /// Computes the convolution with its epilogue.
    pub fn run(&self, pool: &ThreadPool, run: DirectRun<'_>) {
        run::run(self, pool, run);
    }
}

/// The packing of one panel.
struct PackPanel<'a> {
    recipe: &'a Winograd,
    view: WeightView<'a>,
    scale: Option<&'a [f32]>,
    /// First output channel of the panel, and output channels there are.
    lane: usize,
    lanes: usize,
    vectors: usize,
    to: &'a mut [f32],
}

struct PackWith<'a, M, const IN: usize, const OUT: usize>(PackPanel<'a>, M);

impl<M: Minimal<IN, OUT>, const IN: usize, const OUT: usize> VectorOp for PackWith<'_, M, IN, OUT> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PackPanel { recipe, view, scale, lane, lanes, vectors, to } = self.0;
        let channels = recipe.from.channels;
        for v in 0..vectors {
            let first = lane + v * LANES;
            let count = lanes.saturating_sub(first).min(LANES);
            for channel in 0..channels {
                let mut g = [[0.0; LANES]; 9];
                for l in 0..count {
                    let at = (first + l) * view.lane_step + channel * view.source_step;
                    let factor = scale.map_or(1.0, |s| s[first + l]);
                    let kernel = &view.weight[at..at + 9];
                    for t in 0..9 {
                        g[t][l] = kernel[recipe.taps[t]] * factor;
                    }
                }
                let g = [
                    [s.load(&g[0]), s.load(&g[1]), s.load(&g[2])],
                    [s.load(&g[3]), s.load(&g[4]), s.load(&g[5])],
                    [s.load(&g[6]), s.load(&g[7]), s.load(&g[8])],
                ];
                let u = kernel_2d::<S, M, IN, OUT>(s, g);
                for row in 0..IN {
                    for column in 0..IN {
                        let xi = row * IN + column;
                        let at = ((xi * channels + channel) * vectors + v) * LANES;
                        s.store(u[row][column], &mut to[at..]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
