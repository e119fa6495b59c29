//! Max and average pooling, over windows or the whole image.

use ocellus_tensor::{Rounding, Shape, Window};

/// The largest value under each window; padding never wins.
///
/// Input: x `(N, C, H, W)`. Output: y `(N, C, H', W')`. `window: None` is global: y is `(N, C, 1, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPool {
    /// Kernel, stride, padding, dilation; `None` for the whole image.
    pub window: Option<Window>,
    /// How the output size is rounded.
    pub rounding: Rounding,
}

/// The gradient of [`MaxPool`]: each dy goes to the first largest pixel (row by row) under its window.
///
/// Inputs: x, dy. Output: dx like x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPoolGrad {
    /// The pooling this is a gradient of.
    pub pool: MaxPool,
}

/// The mean of each window.
///
/// Input: x `(N, C, H, W)`. Output: y `(N, C, H', W')`. `window: None` is global: y is `(N, C, 1, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvgPool {
    /// Kernel, stride, padding, dilation; `None` for the whole image.
    pub window: Option<Window>,
    /// How the output size is rounded.
    pub rounding: Rounding,
    /// Divide by all taps inside the padded image (PyTorch's and Caffe's default) rather than only those inside the
    /// image. Taps that ceil rounding puts beyond the padded image never count.
    pub count_include_pad: bool,
}

/// The gradient of [`AvgPool`]. Input: dy. Output: dx of shape `input`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AvgPoolGrad {
    /// The pooling this is a gradient of.
    pub pool: AvgPool,
    /// Shape of the pooled x.
    pub input: Shape,
}
