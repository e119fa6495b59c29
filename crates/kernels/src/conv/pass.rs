//! Which input pixels does an output pixel read?
//!
//! A *pass* is a set of output pixels that all read the same taps: along each axis, output `o` of `count` lands on
//! pixel `start + o * step` of the destination and reads the source pixels `o * stride + offset` for a list of
//! offsets, those outside the source being zero.
//!
//! - The forward convolution is one pass: offset `tap * dilation - padding`.
//! - The input gradient with stride `s` is `s * s` passes, one per phase of the input pixel: pixel `i = s t + a` was
//!   read through tap `k` by output `(i + padding - k dilation) / s` where that divides, so phase `a` is a convolution
//!   of stride 1 with those taps. (Dumoulin and Visin, "A guide to convolution arithmetic", section 4.)

use ocellus_tensor::ConvGeometry;

/// One axis of a pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    /// Source pixels of output 0, one per tap.
    pub offsets: Vec<isize>,
    /// Index of each tap in the kernel.
    pub kernel: Vec<usize>,
    /// Source pixels from one output to the next.
    pub stride: usize,
    /// Outputs.
    pub count: usize,
    /// Destination pixel of output 0.
    pub start: usize,
    /// Destination pixels from one output to the next.
    pub step: usize,
    /// Pixels of the source.
    pub source: usize,
}

/// A pass along height and width.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pass {
    pub rows: Axis,
    pub cols: Axis,
}

impl Axis {
    /// The axis of a forward convolution.
    fn forward(g: &ConvGeometry, axis: usize) -> Self {
        let (before, _) = g.window.padding.along(axis);
        let kernel: Vec<usize> = (0..g.window.kernel[axis]).collect();
        let offset = |&tap: &usize| (tap * g.window.dilation[axis]) as isize - before as isize;
        Axis {
            offsets: kernel.iter().map(offset).collect(),
            kernel,
            stride: g.window.stride[axis],
            count: g.output[axis],
            start: 0,
            step: 1,
            source: g.input[axis],
        }
    }

    /// The axis of an input gradient, for the input pixels `phase + stride * o`.
    fn gradient(g: &ConvGeometry, axis: usize, phase: usize) -> Self {
        let (before, _) = g.window.padding.along(axis);
        let stride = g.window.stride[axis] as isize;
        let reach = |tap: usize| (phase + before) as isize - (tap * g.window.dilation[axis]) as isize;
        let kernel: Vec<usize> = (0..g.window.kernel[axis]).filter(|&tap| reach(tap) % stride == 0).collect();
        Axis {
            offsets: kernel.iter().map(|&tap| reach(tap) / stride).collect(),
            kernel,
            stride: 1,
            count: g.input[axis].saturating_sub(phase).div_ceil(g.window.stride[axis]),
            start: phase,
            step: g.window.stride[axis],
            source: g.output[axis],
        }
    }

    /// Taps along this axis.
    pub fn taps(&self) -> usize {
        self.offsets.len()
    }

    /// If the taps are three neighbouring pixels and outputs lie one pixel apart on both sides: the kernel index of
    /// each tap, in the order of the pixels.
    pub fn dense_three(&self) -> Option<[usize; 3]> {
        let plain = self.stride == 1 && self.step == 1 && self.start == 0 && self.taps() == 3;
        let index = |place: isize| {
            let tap = self.offsets.iter().position(|&o| o == self.first() + place)?;
            Some(self.kernel[tap])
        };
        if plain { Some([index(0)?, index(1)?, index(2)?]) } else { None }
    }

    /// The smallest offset (0 without taps).
    pub fn first(&self) -> isize {
        self.offsets.iter().copied().min().unwrap_or(0)
    }

    /// The largest offset (0 without taps).
    fn last(&self) -> isize {
        self.offsets.iter().copied().max().unwrap_or(0)
    }

    /// The outputs among `from..to` for which the tap at `offset` lies inside the source; an empty range starts
    /// inside `from..=to`.
    pub fn inside(&self, offset: isize, from: usize, to: usize) -> (usize, usize) {
        let lowest = offset.min(0).unsigned_abs().div_ceil(self.stride);
        let room = self.source as isize - offset;
        let highest = if room > 0 { (room as usize).div_ceil(self.stride) } else { 0 };
        let start = lowest.clamp(from, to);
        (start, highest.clamp(start, to))
    }

    /// The source pixel of output `o` through the tap at `offset`, if inside.
    pub fn pixel(&self, o: usize, offset: isize) -> Option<usize> {
        (o * self.stride).checked_add_signed(offset).filter(|&at| at < self.source)
    }

    /// Whether every output reads only real source pixels.
    pub fn is_inside(&self) -> bool {
        self.first() >= 0 && (self.count.max(1) - 1) * self.stride + (self.last() as usize) < self.source
    }
}

impl Pass {
    /// The forward convolution.
    pub fn forward(g: &ConvGeometry) -> Self {
        Pass { rows: Axis::forward(g, 0), cols: Axis::forward(g, 1) }
    }

    /// The passes of the input gradient, which together write every pixel of the input once.
    pub fn gradient(g: &ConvGeometry) -> Vec<Self> {
        // A stride beyond the input has phases without a pixel; they are left out before rows and columns are paired.
        let along = |axis: usize| -> Vec<Axis> {
            let phases = (0..g.window.stride[axis]).map(|phase| Axis::gradient(g, axis, phase));
            phases.filter(|axis| axis.count > 0).collect()
        };
        let (rows, cols) = (along(0), along(1));
        let pair = |rows: &Axis| {
            cols.iter().map(|cols| Pass { rows: rows.clone(), cols: cols.clone() }).collect::<Vec<_>>()
        };
        rows.iter().flat_map(pair).collect()
    }

    /// Taps of the window.
    pub fn taps(&self) -> usize {
        self.rows.taps() * self.cols.taps()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_tensor::{Padding, Window};

    #[test]
    fn a_strided_gradient_splits_the_taps_over_its_phases() {
        let window = Window::square(3).stride(2).padding(1);
        let g = ConvGeometry {
            batch: 1,
            in_channels: 1,
            out_channels: 1,
            groups: 1,
            input: [7, 8],
            output: [4, 4],
            window,
        };
        let passes = Pass::gradient(&g);
        let taps: Vec<usize> = passes.iter().map(Pass::taps).collect();
        assert_eq!(taps, [1, 2, 2, 4]);
        assert_eq!(passes[0].rows.kernel, [1]);
        assert_eq!(passes[3].cols.kernel, [0, 2]);
        assert_eq!(passes[3].cols.offsets, [1, 0]);
        let pixels: usize = passes.iter().map(|p| p.rows.count * p.cols.count).sum();
        assert_eq!(pixels, 7 * 8);
    }

    #[test]
    fn padding_reaches_outside() {
        let mut g = ConvGeometry {
            batch: 1,
            in_channels: 1,
            out_channels: 1,
            groups: 1,
            input: [5, 5],
            output: [3, 3],
            window: Window::square(3),
        };
        assert!(Pass::forward(&g).rows.is_inside());
        g.window.padding = Padding { bottom: 1, ..Padding::default() };
        g.output[0] = 4;
        let pass = Pass::forward(&g);
        assert!(!pass.rows.is_inside() && pass.cols.is_inside());
    }
}
