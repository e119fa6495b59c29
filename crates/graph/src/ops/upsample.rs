//! Enlarging an image by a whole factor.

use ocellus_tensor::Shape;

/// How new pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The nearest pixel repeated.
    Nearest,
    /// Linear between pixel centres (half-pixel coordinates, edges clamped; `align_corners=False`).
    Bilinear,
}

/// Input: x `(N, C, H, W)`. Output: y `(N, C, factor[0] H, factor[1] W)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Upsample {
    /// Factors along height and width.
    pub factor: [usize; 2],
    /// How new pixels are made.
    pub interpolation: Interpolation,
}

/// The gradient of [`Upsample`]. Input: dy. Output: dx of shape `input`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpsampleGrad {
    /// The enlargement.
    pub upsample: Upsample,
    /// Shape of the enlarged x.
    pub input: Shape,
}
