//! All sizes of one 2-D convolution, shared by the forward pass and both gradients.

use crate::Window;

/// One convolution's sizes. The forward pass, the input gradient and the weight gradient all read this struct:
///
/// - `x`: `(batch, in_channels, input[0], input[1])`
/// - `w`: `(out_channels, in_channels / groups, kernel[0], kernel[1])`
/// - `y`: `(batch, out_channels, output[0], output[1])`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Images.
    pub batch: usize,
    /// Channels of `x`.
    pub in_channels: usize,
    /// Channels of `y`.
    pub out_channels: usize,
    /// Independent groups; divides both channel counts.
    pub groups: usize,
    /// Height and width of `x`.
    pub input: [usize; 2],
    /// Height and width of `y`.
    pub output: [usize; 2],
    /// Kernel, stride, padding, dilation.
    pub window: Window,
}

impl ConvGeometry {
    /// Channels of `x` in one group.
    pub fn group_in(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Channels of `y` in one group.
    pub fn group_out(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Multiply-accumulates of the forward pass; each gradient costs as many.
    pub fn macs(&self) -> u64 {
        [self.batch, self.out_channels, self.output[0], self.output[1], self.group_in(), self.window.taps()]
            .iter()
            .map(|&n| n as u64)
            .product()
    }
}
