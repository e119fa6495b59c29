//! Convolution over the blocked layout: forward, input gradient, weight gradient.
//!
//! Each is a recipe: plain data made by rule from a [`ConvGeometry`](ocellus_tensor::ConvGeometry), which says how
//! many packed weights and how much scratch memory it needs and then runs without allocating. A recipe that cannot be made (`None`) is left to the reference.
//! Every element is summed in an order fixed by the geometry, so results are the same bits at any thread count.

mod direct;
mod forward;
mod input_grad;
mod pack;
mod panels;
mod pass;
mod source;
mod tile;
mod weight_grad;
mod weight_tile;

use crate::layout::BLOCK;
pub use forward::ConvForward;
pub use input_grad::ConvInputGrad;
pub use weight_grad::ConvWeightGrad;

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
