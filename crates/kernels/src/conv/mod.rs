//! Convolution over the blocked layout: forward, input gradient, weight gradient.
//!
//! Each is a recipe: plain data made by rule from a [`ConvGeometry`](ocellus_tensor::ConvGeometry), which says how
//! many packed weights and how much scratch memory it needs and then runs without allocating. A recipe that cannot be made (`None`) is left to the reference.
//! Every element is summed in an order fixed by the geometry, so results are the same bits at any thread count.

mod depthwise;
mod depthwise_grad;
mod direct;
mod direct_grad;
mod forward;
mod input_grad;
pub(crate) mod pack;
pub(crate) mod panels;
mod pass;
mod source;
pub(crate) mod tile;
mod transpose;
mod weight_grad;
pub(crate) mod weight_tile;
mod winograd;

use crate::layout::BLOCK;
use crate::threads::ThreadPool;
pub use forward::ConvForward;
pub use input_grad::ConvInputGrad;
pub use weight_grad::ConvWeightGrad;
pub use winograd::{F2_ERROR, F4_ERROR};

/// How the input of a convolution lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLayout {
    /// `[N][ceil(C / 16)][H][W][16]`.
    Blocked,
    /// `[N][C][H][W]`, for up to 16 channels: images.
    Plain,
}

impl InputLayout {
    /// Channels that lie side by side at a pixel, and so floats from one pixel to the next.
    fn step(self) -> usize {
        match self {
            InputLayout::Blocked => BLOCK,
            InputLayout::Plain => 1,
        }
    }
}

/// The kernels behind a forward convolution or an input gradient.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Direct(direct::Direct),
    Depthwise(depthwise::Depthwise),
    Winograd(winograd::Winograd),
}

impl Kind {
    /// What it is called in tables.
    fn name(&self) -> &'static str {
        match self {
            Kind::Direct(_) => "direct",
            Kind::Depthwise(_) => "depthwise",
            Kind::Winograd(winograd) => match winograd.variant() {
                winograd::Variant::F2 => "winograd 2x2",
                winograd::Variant::F4 => "winograd 4x4",
            },
        }
    }

    fn packed_len(&self) -> usize {
        match self {
            Kind::Direct(direct) => direct.packed_len(),
            Kind::Depthwise(depthwise) => depthwise.packed_len(),
            Kind::Winograd(winograd) => winograd.packed_len(),
        }
    }

    fn scratch_len(&self, threads: usize) -> usize {
        match self {
            Kind::Direct(direct) => direct.scratch_len(threads),
            Kind::Depthwise(depthwise) => depthwise.scratch_len(threads),
            Kind::Winograd(winograd) => winograd.scratch_len(threads),
        }
    }

    fn run(&self, pool: &ThreadPool, run: direct::DirectRun<'_>) {
        match self {
            Kind::Direct(direct) => direct.run(pool, run),
            Kind::Depthwise(depthwise) => depthwise.run(pool, run),
            Kind::Winograd(winograd) => winograd.run(pool, run),
        }
    }
}

/// What a forward convolution does before it stores: `y = relu(conv + bias + residual)`, each part if given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One number per output channel.
    pub bias: Option<&'a [f32]>,
    /// Added element by element, in the layout and length of `y`.
    pub residual: Option<&'a [f32]>,
    /// Negative results become 0 (NaN stays).
    pub relu: bool,
}

#[cfg(test)]
mod tests;
