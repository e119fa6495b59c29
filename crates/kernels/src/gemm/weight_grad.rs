//! The weight gradient of a fully connected layer: `dw = dy^T x`.
//!
//! ```text
//! rearrange x and dy to blocks of 16 columns
//! for each block of 16 outputs, panel of V * 16 inputs, in parallel:
//!     sums[output][input] = over the rows: dy (outer) x, with the convolution's weight micro-kernel
//!     write the sums to dw
//! ```

use crate::conv::panels::{Panel, Panels};
use crate::conv::weight_tile::{WeightTileArgs, weight_tiles};
use crate::format::Format;
use crate::isa::{Isa, LANES};
use crate::threads::{SharedMut, ThreadPool};

use super::block_rows;

/// Most vectors of a tile.
const VECTORS: usize = 2;

/// How to compute `dw = dy^T x`: `dy` is (N, O), `x` (N, F), `dw` (O, F).
#[derive(Clone, Debug, PartialEq)]
pub struct LinearWeightGrad {
    isa: Isa,
    batch: usize,
    in_features: usize,
    out_features: usize,
    panels: Panels,
}

impl LinearWeightGrad {
    /// The recipe for `batch` rows of a layer from `in_features` to `out_features` numbers.
    pub fn new(batch: usize, in_features: usize, out_features: usize, isa: Isa) -> Self {
        let vectors = if weight_tiles(isa, Format::F32, VECTORS).is_empty() { 1 } else { VECTORS };
        let panels = Panels { blocks: in_features.div_ceil(LANES), vectors };
        LinearWeightGrad { isa, batch, in_features, out_features, panels }
    }

    /// Scratch numbers, for any number of threads.
    pub fn scratch_len(&self) -> usize {
        let (x, dy) = self.blocked_lens();
        x + dy
    }

    fn blocked_lens(&self) -> (usize, usize) {
        let len = |columns: usize| columns.next_multiple_of(LANES) * self.batch;
        (len(self.in_features), len(self.out_features))
    }

    /// Computes `dw`, every element of it. `scratch` has at least `scratch_len()` numbers of any value.
    pub fn run(&self, pool: &ThreadPool, x: &[f32], dy: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
        assert_eq!(x.len(), self.batch * self.in_features, "input length");
        assert_eq!(dy.len(), self.batch * self.out_features, "output gradient length");
        assert_eq!(dw.len(), self.out_features * self.in_features, "weight gradient length");
        let (x_len, dy_len) = self.blocked_lens();
        let (blocked_x, blocked_dy) = scratch[..x_len + dy_len].split_at_mut(x_len);
        self.stage(pool, x, self.in_features, blocked_x);
        self.stage(pool, dy, self.out_features, blocked_dy);
        let (x, dy, dw) = (&*blocked_x, &*blocked_dy, SharedMut::new(dw));
        let panels = self.panels.count();
        pool.run(self.out_features.div_ceil(LANES) * panels, &|task| {
            self.run_pair(task / panels, self.panels.get(task % panels), [x, dy], dw);
        });
    }

    /// Rearranges `rows` (N, C) to `[ceil(C / 16)][N][16]`.
    fn stage(&self, pool: &ThreadPool, rows: &[f32], columns: usize, blocked: &mut [f32]) {
        let (len, out) = (self.batch * LANES, SharedMut::new(blocked));
        pool.run(columns.div_ceil(LANES), &|block| {
            // SAFETY: each block is a task's own.
            block_rows(rows, columns, block, unsafe { out.part(block * len, len) });
        });
    }

    /// Computes the weights of 16 outputs (`unit`) and a panel of inputs.
    fn run_pair(&self, unit: usize, panel: Panel, [x, dy]: [&[f32]; 2], dw: SharedMut<'_, f32>) {
        let (plane, width) = (self.batch * LANES, panel.vectors * LANES);
        let outputs = (self.out_features - unit * LANES).min(LANES);
        let tiles = weight_tiles(self.isa, Format::F32, panel.vectors);
        let count = outputs.div_ceil(tiles.len());
        let mut sums = [0.0; VECTORS * LANES * LANES];
        for i in 0..count {
            let (from, to) = (outputs * i / count, outputs * (i + 1) / count);
            let args = WeightTileArgs {
                x: dy[unit * plane + from..].as_ptr(),
                dy: x[panel.block * plane..][..panel.vectors * plane].as_ptr(),
                counts: [1, 1, self.batch],
                x_steps: [0, 0, LANES],
                dy_steps: [0; 2],
                dy_block_step: plane,
                sums: sums[from * width..to * width].as_mut_ptr(),
                first: true,
            };
            // SAFETY: both blocked arrays hold `batch` rows of these blocks; the sums are of this size; the
            // micro-kernel is that of `self.isa`.
            unsafe { tiles[to - from - 1](&args) };
        }
        let lane = panel.block * LANES;
        let lanes = (self.in_features - lane).min(width);
        for (output, sums) in (unit * LANES..).zip(sums.chunks_exact(width).take(outputs)) {
            // SAFETY: these weights are this task's own.
            let to = unsafe { dw.part(output * self.in_features + lane, lanes) };
            to.copy_from_slice(&sums[..lanes]);
        }
    }
}
