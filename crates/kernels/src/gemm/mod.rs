//! Fully connected layers: forward, input gradient, weight gradient, all arrays plain row-major.
//!
//! A linear layer is a 1 x 1 convolution whose pixels are the batch's rows, so these recipes cut their work for the
//! convolution's own micro-kernels. As there, the order of every sum follows from the sizes alone.

mod product;
mod weight_grad;

pub use weight_grad::LinearWeightGrad;

use crate::conv::Epilogue;
use crate::conv::pack::WeightView;
use crate::isa::{Isa, LANES};
use crate::threads::ThreadPool;
use product::{Product, ProductRun};

/// How to compute `y = clamp(x w^T + bias + residual)`: `x` is (N, F), `w` (O, F), `y` (N, O).
#[derive(Clone, Debug, PartialEq)]
pub struct LinearForward {
    product: Product,
}

impl LinearForward {
    /// The recipe for `batch` rows of `in_features` numbers.
    pub fn new(batch: usize, in_features: usize, out_features: usize, isa: Isa) -> Self {
        LinearForward { product: Product::new(isa, batch, [in_features, out_features]) }
    }

    /// Numbers of packed weights.
    pub fn packed_len(&self) -> usize {
        self.product.packed_len()
    }

    /// Packs `weight` (O, F) into `packed_len()` numbers.
    pub fn pack(&self, pool: &ThreadPool, weight: &[f32], packed: &mut [f32]) {
        let [features, _] = self.product.features();
        self.product.pack(
            pool,
            WeightView { weight, lane_step: features, source_step: 1, inner: None },
            packed,
        );
    }

    /// Scratch numbers, for any number of threads.
    pub fn scratch_len(&self) -> usize {
        self.product.scratch_len()
    }

    /// Computes `y`. The epilogue's residual lies as `y` does. `scratch` has at least `scratch_len()` numbers of any
    /// value.
    pub fn run(
        &self,
        pool: &ThreadPool,
        x: &[f32],
        packed: &[f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [f32],
        y: &mut [f32],
    ) {
        self.product.run(pool, ProductRun { x, packed, epilogue, scratch, y });
    }
}

/// How to compute `dx = dy w + add`: `dy` is (N, O), `w` (O, F), `dx` (N, F).
#[derive(Clone, Debug, PartialEq)]
pub struct LinearInputGrad {
    product: Product,
}

impl LinearInputGrad {
    /// The recipe for a layer from `in_features` to `out_features` numbers.
    pub fn new(batch: usize, in_features: usize, out_features: usize, isa: Isa) -> Self {
        LinearInputGrad { product: Product::new(isa, batch, [out_features, in_features]) }
    }

    /// Numbers of packed weights.
    pub fn packed_len(&self) -> usize {
        self.product.packed_len()
    }

    /// Packs `weight` (O, F) into `packed_len()` numbers.
    pub fn pack(&self, pool: &ThreadPool, weight: &[f32], packed: &mut [f32]) {
        let [_, features] = self.product.features();
        self.product.pack(
            pool,
            WeightView { weight, lane_step: 1, source_step: features, inner: None },
            packed,
        );
    }

    /// Scratch numbers, for any number of threads.
    pub fn scratch_len(&self) -> usize {
        self.product.scratch_len()
    }

    /// Computes `dx`; `add`, if given, is added to it. `scratch` has at least `scratch_len()` numbers of any value.
    pub fn run(
        &self,
        pool: &ThreadPool,
        dy: &[f32],
        packed: &[f32],
        add: Option<&[f32]>,
        scratch: &mut [f32],
        dx: &mut [f32],
    ) {
        let epilogue = Epilogue { residual: add, ..Epilogue::default() };
        self.product.run(pool, ProductRun { x: dy, packed, epilogue, scratch, y: dx });
    }
}

/// Copies columns `block * 16..` of `rows` (N, C) to `blocked` (N, 16), zeros beyond the last column.
fn block_rows(rows: &[f32], columns: usize, block: usize, blocked: &mut [f32]) {
    let first = block * LANES;
    let width = (columns - first).min(LANES);
    for (to, row) in blocked.chunks_exact_mut(LANES).zip(rows.chunks_exact(columns)) {
        to[..width].copy_from_slice(&row[first..first + width]);
        to[width..].fill(0.0);
    }
}

#[cfg(test)]
mod tests;
