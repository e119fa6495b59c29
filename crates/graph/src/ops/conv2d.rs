//! 2-D convolution (cross-correlation, as every framework means it) and its two gradients: a closed triangle, since
//! the derivative of each of the three is made of the other two.

use ocellus_tensor::{ConvGeometry, Window};

/// `y[n,o,i,j] = sum over c,p,q of x[n, c, i sh + p dh - top, j sw + q dw - left] w[o,c,p,q] (+ b[o])`, zeros
/// outside the image. (Reflect and replicate padding are a [`super::Pad`] before it.)
///
/// Inputs: x `(N, C, H, W)`, w `(O, C/groups, kh, kw)`, optionally b `(O)`. Output: y `(N, O, H', W')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Kernel, stride, padding, dilation.
    pub window: Window,
    /// Independent groups of channels; `C` for a depthwise convolution.
    pub groups: usize,
}

/// The gradient of [`Conv2d`] with respect to x; also, read forwards, a transposed convolution.
///
/// Inputs: dy `(N, O, H', W')`, w `(O, C/groups, kh, kw)`. Output: dx `(N, C, H, W)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGradInput {
    /// All sizes of the convolution this is a gradient of.
    pub geometry: ConvGeometry,
}

/// The gradient of [`Conv2d`] with respect to w.
///
/// Inputs: x `(N, C, H, W)`, dy `(N, O, H', W')`. Output: dw `(O, C/groups, kh, kw)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGradWeight {
    /// All sizes of the convolution this is a gradient of.
    pub geometry: ConvGeometry,
}
