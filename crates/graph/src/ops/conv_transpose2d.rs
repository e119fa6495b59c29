//! Transposed 2-D convolution: the input gradient of a convolution, used forwards to enlarge.

use ocellus_tensor::Window;

/// Each input pixel adds its kernel, scaled, to the output: `H' = (H-1) stride - padding + reach + output_padding`.
///
/// Inputs: x `(N, C, H, W)`, w `(C, O/groups, kh, kw)`, optionally b `(O)`. Output: y `(N, O, H', W')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose2d {
    /// Kernel, stride, padding (which crops the output here), dilation.
    pub window: Window,
    /// Independent groups of channels.
    pub groups: usize,
    /// Extra rows and columns at the bottom and right; smaller than the stride.
    pub output_padding: [usize; 2],
}
