//! Convolution over the blocked layout: forward, input gradient, weight gradient.
//!
//! Each is a recipe: plain data made by rule from a [`ConvGeometry`](ocellus_tensor::ConvGeometry), which says how
//! many packed weights and how much scratch memory it needs and then runs without allocating. A recipe that cannot be made (`None`) is left to the reference.
//! Every element is summed in an order fixed by the geometry, so results are the same bits at any thread count.

mod chain;
mod depthwise;
mod direct;
mod direct_grad;
mod forward;
mod grouped;
mod grouped_grad;
mod input_grad;
mod merged;
mod narrow;
pub(crate) mod pack;
pub(crate) mod panels;
mod pass;
mod quantise;
mod scatter;
mod source;
pub(crate) mod tile;
mod transpose;
mod weight_grad;
pub(crate) mod weight_tile;
mod winograd;

use crate::format::Format;
use crate::threads::ThreadPool;
pub use chain::ConvChain;
pub use forward::ConvForward;
pub use input_grad::ConvInputGrad;
pub use quantise::{Quantise, Quantised};
pub use weight_grad::ConvWeightGrad;
pub use winograd::{F2_ERROR, F4_ERROR};

/// How the input of a convolution lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLayout {
    /// `[N][ceil(C / 16)][H][W][16]`.
    Blocked,
    /// `[N][C][H][W]` of `f32`, for up to 16 channels: images.
    Plain,
    /// `[N][H][W][C]`, the channels of a pixel filled up to [`pixel_words`] words: images of narrow numbers.
    Pixels,
}

impl InputLayout {
    /// Channels of `f32` that lie side by side at a pixel, and so floats from one pixel to the next.
    fn step(self) -> usize {
        self.words(Format::F32, 1)
    }

    /// Words that lie side by side at a pixel, and so words from one pixel to the next.
    fn words(self, format: Format, channels: usize) -> usize {
        match self {
            InputLayout::Blocked => format.block(),
            InputLayout::Plain => 1,
            InputLayout::Pixels => pixel_words(format, channels),
        }
    }
}

/// Words of a pixel of few channels in [`InputLayout::Pixels`]: a power of two.
pub const fn pixel_words(format: Format, channels: usize) -> usize {
    channels.div_ceil(format.per_word()).next_power_of_two()
}

/// The kernels behind a forward convolution or an input gradient.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Direct(direct::Direct),
    Depthwise(depthwise::Depthwise),
    Grouped(grouped::Grouped),
    Winograd(winograd::Winograd),
    Scatter(scatter::Scatter),
}

impl Kind {
    /// What it is called in tables.
    fn name(&self) -> &'static str {
        match self {
            Kind::Direct(_) => "direct",
            Kind::Depthwise(_) => "depthwise",
            Kind::Grouped(_) => "grouped",
            Kind::Scatter(_) => "scatter",
            Kind::Winograd(winograd) => match winograd.variant() {
                winograd::Variant::F2 => "winograd 2x2",
                winograd::Variant::F4 => "winograd 4x4",
            },
        }
    }

    /// The format of the input and the weights.
    fn format(&self) -> Format {
        match self {
            Kind::Direct(direct) => direct.format(),
            _ => Format::F32,
        }
    }

    fn packed_len(&self) -> usize {
        match self {
            Kind::Direct(direct) => direct.packed_len(),
            Kind::Depthwise(depthwise) => depthwise.packed_len(),
            Kind::Grouped(grouped) => grouped.packed_len(),
            Kind::Winograd(winograd) => winograd.packed_len(),
            Kind::Scatter(scatter) => scatter.packed_len(),
        }
    }

    fn scratch_len(&self, threads: usize) -> usize {
        match self {
            Kind::Direct(direct) => direct.scratch_len(threads),
            Kind::Depthwise(_) => 0,
            Kind::Grouped(grouped) => grouped.scratch_len(threads),
            Kind::Winograd(winograd) => winograd.scratch_len(threads),
            Kind::Scatter(scatter) => scatter.scratch_len(threads),
        }
    }

    fn run(&self, pool: &ThreadPool, run: direct::DirectRun<'_>) {
        match self {
            Kind::Direct(direct) => direct.run(pool, run),
            Kind::Depthwise(depthwise) => depthwise.run(pool, run),
            Kind::Grouped(grouped) => grouped.run(pool, run),
            Kind::Winograd(winograd) => winograd.run(pool, run),
            Kind::Scatter(scatter) => scatter.run(pool, run),
        }
    }
}

/// Bounds that a result is kept within; NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Lower bound.
    pub low: f32,
    /// Upper bound, not below the lower.
    pub high: f32,
}

impl Clamp {
    /// `max(x, 0)`.
    pub const RELU: Clamp = Clamp { low: 0.0, high: f32::INFINITY };

    /// The bounded value.
    #[inline(always)]
    pub(crate) fn apply<S: crate::isa::Simd>(self, s: S, v: S::F) -> S::F {
        s.min(s.splat(self.high), s.max(s.splat(self.low), v))
    }
}

/// What a forward convolution does before it stores: `y = clamp(conv + bias + residual)`, each part if given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One number per output channel.
    pub bias: Option<&'a [f32]>,
    /// Added element by element, in the layout and length of `y`.
    pub residual: Option<&'a [f32]>,
    /// ReLU, ReLU6 and the like.
    pub clamp: Option<Clamp>,
    /// What the sums of 8-bit products and an 8-bit residual are worth; none for other formats.
    pub worth: Option<Worth<'a>>,
}

/// The worth of 8-bit numbers in a convolution's epilogue, in steps of its output.
#[derive(Clone, Copy, Debug)]
pub struct Worth<'a> {
    /// Of a sum of products, for each output channel.
    pub sum: &'a [f32],
    /// Of one step of the residual.
    pub residual: f32,
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_chain;
#[cfg(test)]
mod tests_narrow;
#[cfg(test)]
mod tests_narrow_grad;
