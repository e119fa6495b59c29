//! What steps do with narrow numbers besides convolutions, whose recipes know their numbers themselves.

use ocellus_kernels::conv::{Clamp, Quantise};
use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::format::Format;
use ocellus_kernels::narrow::Coding;
use ocellus_kernels::pooling::Pooling;

/// A kernel of narrow numbers; operands lie in channel blocks.
#[derive(Clone, Debug, PartialEq)]
pub enum Narrow {
    /// Reads: w, scale?, shift?. Writes: factors of the weights, worth of the sums, bias.
    Quantise(Quantise),
    /// Conversions, ReLU and sums: `clamp(a)` or `clamp(a + b)`. Reads: a, b?. Writes: y.
    Sum {
        /// Sizes of all three.
        size: Blocked,
        /// What the operands are.
        from: [Coding; 2],
        /// What y is.
        to: Coding,
        /// Bounds at the end.
        clamp: Option<Clamp>,
    },
    /// Images of few channels in plain order, pixel by pixel. Reads: x. Writes: y.
    ToPixels {
        /// N, C, H, W.
        dims: [usize; 4],
        /// What y is.
        to: Coding,
    },
    /// Reads: x. Writes: y.
    MaxPool {
        /// Sizes and window.
        pooling: Pooling,
        /// What x and y are.
        format: Format,
    },
    /// Reads: x. Writes: y.
    AvgPool {
        /// Sizes and window.
        pooling: Pooling,
        /// Whether padding counts.
        include_padding: bool,
        /// What x and y are.
        format: Format,
    },
    /// Reads: x. Writes: y, one pixel each.
    GlobalAvgPool {
        /// Sizes of x.
        size: Blocked,
        /// What x is, and y.
        codings: [Coding; 2],
    },
    /// The gradient of a ReLU. Reads: dy, y. Writes: dx.
    ReluGrad {
        /// Sizes of all three, each bf16 or `f32`.
        size: Blocked,
    },
    /// Images two by two, for weight gradients. Reads: x. Writes: y, a word for each number of each pair.
    PairImages {
        /// How many there are.
        images: usize,
        /// What x is.
        format: Format,
    },
    /// Channels one after another, each part but the last whole blocks of them. Reads: the parts. Writes: y.
    Join {
        /// Sizes of y.
        size: Blocked,
        /// Channels of each part.
        channels: Vec<usize>,
        /// What all of them are.
        format: Format,
    },
}

impl Narrow {
    /// What it is called in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Narrow::Sum { from: [a, _], to, .. } if a.format() != to.format() => "convert",
            Narrow::Sum { .. } => "sum",
            Narrow::Quantise(_) => "quantise",
            Narrow::ToPixels { .. } => "to pixels",
            Narrow::ReluGrad { .. } => "relu grad",
            Narrow::PairImages { .. } => "pair images",
            Narrow::MaxPool { .. } => "max pool",
            Narrow::AvgPool { .. } | Narrow::GlobalAvgPool { .. } => "avg pool",
            Narrow::Join { .. } => "shuffle",
        }
    }
}
