//! How does a window (kernel, stride, padding, dilation) move over an image?
//!
//! This file holds the one formula for output sizes; nothing else in Ocellus computes one.
//! Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), relationships 5-6
//! and 13 (with dilation).

/// Rows or columns added on each side of an image before a window moves over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same padding on all four sides.
    pub const fn all(p: usize) -> Self {
        Padding { top: p, left: p, bottom: p, right: p }
    }

    /// `(before, after)` along axis 0 (height) or 1 (width).
    pub fn along(&self, axis: usize) -> (usize, usize) {
        if axis == 0 { (self.top, self.bottom) } else { (self.left, self.right) }
    }
}

/// Which way an output size that does not come out even is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// Windows that would leave the padded image are dropped (PyTorch's and ONNX's default).
    #[default]
    Floor,
    /// A last partial window is kept if it starts inside the image or its leading padding (Caffe's pooling).
    Ceil,
}

/// Kernel, stride, padding and dilation along height (index 0) and width (index 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Height and width of the kernel, in taps.
    pub kernel: [usize; 2],
    /// Step between neighbouring windows, in pixels.
    pub stride: [usize; 2],
    /// Rows and columns added around the image.
    pub padding: Padding,
    /// Distance between neighbouring taps, in pixels (1 = dense).
    pub dilation: [usize; 2],
}

/// A window cannot move over an image of this size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Kernel, stride or dilation of zero.
    #[error("{what} must be at least 1, got {value}")]
    Zero {
        /// "kernel", "stride" or "dilation".
        what: &'static str,
        /// The value given.
        value: usize,
    },
    /// The dilated kernel is larger than the padded image.
    #[error(
        "a kernel reaching over {reach} pixels does not fit an image of {input} with padding {before} + {after}"
    )]
    TooLarge {
        /// Pixels the dilated kernel spans.
        reach: usize,
        /// Image size along the axis.
        input: usize,
        /// Padding before the image.
        before: usize,
        /// Padding after the image.
        after: usize,
    },
}

impl Window {
    /// A square window of `kernel` taps, stride 1, no padding, no dilation.
    pub const fn square(kernel: usize) -> Self {
        Window { kernel: [kernel; 2], stride: [1; 2], padding: Padding::all(0), dilation: [1; 2] }
    }

    /// The same window with another stride on both axes.
    pub const fn stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// The same window with the same padding on all sides.
    pub const fn padding(mut self, padding: usize) -> Self {
        self.padding = Padding::all(padding);
        self
    }

    /// The same window with another dilation on both axes.
    pub const fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = [dilation; 2];
        self
    }

    /// How many taps the kernel has.
    pub const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Pixels the dilated kernel spans along an axis: `dilation (kernel - 1) + 1`.
    pub const fn reach(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// The output size along `axis` for an image of `input` pixels: `(input + padding - reach) / stride + 1`.
    ///
    /// With [`Rounding::Ceil`] the division rounds up, except that a last window which would start beyond the image
    /// and its leading padding is dropped (Caffe's and PyTorch's rule).
    pub fn output_size(&self, input: usize, axis: usize, rounding: Rounding) -> Result<usize, WindowError> {
        let (kernel, stride, dilation) = (self.kernel[axis], self.stride[axis], self.dilation[axis]);
        for (what, value) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
            if value == 0 {
                return Err(WindowError::Zero { what, value });
            }
        }
        let (before, after) = self.padding.along(axis);
        let reach = self.reach(axis);
        let padded = input + before + after;
        if padded < reach {
            return Err(WindowError::TooLarge { reach, input, before, after });
        }
        let room = padded - reach;
        match rounding {
            Rounding::Floor => Ok(room / stride + 1),
            Rounding::Ceil => {
                let mut size = room.div_ceil(stride) + 1;
                if (size - 1) * stride >= input + before {
                    size -= 1;
                }
                Ok(size)
            }
        }
    }

    /// Output height and width for an image of `input` height and width.
    pub fn output(&self, input: [usize; 2], rounding: Rounding) -> Result<[usize; 2], WindowError> {
        Ok([self.output_size(input[0], 0, rounding)?, self.output_size(input[1], 1, rounding)?])
    }

    /// The pixel under tap `tap` of window number `position` along `axis`; `None` in the padding.
    pub fn pixel(&self, position: usize, tap: usize, axis: usize, input: usize) -> Option<usize> {
        let (before, _) = self.padding.along(axis);
        let at = position * self.stride[axis] + tap * self.dilation[axis];
        (at >= before && at - before < input).then(|| at - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes_follow_the_published_examples() {
        let conv1 = Window::square(7).stride(2).padding(3);
        assert_eq!(conv1.output([224, 224], Rounding::Floor), Ok([112, 112]));
        let pool = Window::square(3).stride(2);
        assert_eq!(pool.output([112, 113], Rounding::Floor), Ok([55, 56]));
        assert_eq!(pool.output([112, 113], Rounding::Ceil), Ok([56, 56]));
        let dilated = Window::square(3).dilation(4);
        assert_eq!(dilated.output([9, 10], Rounding::Floor), Ok([1, 2]));
    }

    #[test]
    fn ceil_drops_a_window_that_starts_in_the_trailing_padding() {
        let pool = Window::square(2).stride(2).padding(1);
        assert_eq!(pool.output_size(3, 0, Rounding::Ceil), Ok(2));
        let strided = Window::square(1).stride(2);
        assert_eq!(strided.output_size(2, 0, Rounding::Ceil), Ok(1));
    }

    #[test]
    fn errors_quote_both_numbers() {
        let error = Window::square(5).output_size(3, 0, Rounding::Floor).unwrap_err().to_string();
        assert!(error.contains('5') && error.contains('3'), "{error}");
        assert!(Window::square(3).stride(0).output_size(8, 0, Rounding::Floor).is_err());
    }
}
