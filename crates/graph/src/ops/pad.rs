//! A border around the image.

use ocellus_tensor::{Padding, Shape};

/// What fills the border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// One value.
    Constant(f32),
    /// The image mirrored, the edge pixel not repeated.
    Reflect,
    /// The edge pixel repeated.
    Replicate,
}

/// Adds rows and columns (and, with constants, channels).
///
/// Input: x `(N, C, H, W)`. Output: y `(N, C + channels, H + top + bottom, W + left + right)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad {
    /// Rows and columns.
    pub padding: Padding,
    /// Channels before and after; only with [`PadMode::Constant`].
    pub channels: [usize; 2],
    /// What fills them.
    pub mode: PadMode,
}

/// The gradient of [`Pad`]: dy of the image itself, plus (reflect, replicate) that of the border pixels it made.
///
/// Input: dy. Output: dx of shape `input`.
#[derive(Clone, Debug, PartialEq)]
pub struct PadGrad {
    /// The padding.
    pub pad: Pad,
    /// Shape of the padded x.
    pub input: Shape,
}
