//! Which taps of which windows lie inside the image?

use std::ops::Range;

use ocellus_tensor::{Rounding, Window, WindowError};

use crate::elementwise::Blocked;
use crate::layout::BLOCK;

/// Sizes of a pooling over blocked tensors. Global pooling is a window as large as the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pooling {
    input: Blocked,
    /// Height and width of y.
    output: [usize; 2],
    window: Window,
}

impl Pooling {
    /// A window over images of size `input`; any padding, stride and dilation.
    pub fn new(input: Blocked, window: Window, rounding: Rounding) -> Result<Self, WindowError> {
        let output = window.output([input.height, input.width], rounding)?;
        Ok(Pooling { input, output, window })
    }

    /// Sizes of x.
    pub fn input(&self) -> Blocked {
        self.input
    }

    /// Sizes of y.
    pub fn output(&self) -> Blocked {
        Blocked { height: self.output[0], width: self.output[1], ..self.input }
    }

    fn input_size(&self, axis: usize) -> usize {
        [self.input.height, self.input.width][axis]
    }

    /// Taps of window number `position` along `axis` that lie inside the image.
    pub(super) fn taps(&self, position: usize, axis: usize) -> Range<usize> {
        let (before, _) = self.window.padding.along(axis);
        self.taps_within(position, axis, before..before + self.input_size(axis))
    }

    /// Taps that lie in a range of the padded image.
    fn taps_within(&self, position: usize, axis: usize, range: Range<usize>) -> Range<usize> {
        let (start, dilation) = (position * self.window.stride[axis], self.window.dilation[axis]);
        let tap_from = |at: usize| {
            let reach = at.saturating_sub(start);
            // A division takes longer than a small window.
            let taps = if dilation == 1 { reach } else { reach.div_ceil(dilation) };
            taps.min(self.window.kernel[axis])
        };
        tap_from(range.start)..tap_from(range.end)
    }

    /// The windows along the width all of whose taps lie inside the image.
    pub(super) fn whole_windows(&self) -> Range<usize> {
        let (left, stride) = (self.window.padding.left, self.window.stride[1]);
        let first = left.div_ceil(stride).min(self.output[1]);
        let room = (left + self.input.width).checked_sub(self.window.reach(1));
        let end = room.map_or(0, |room| room / stride + 1).min(self.output[1]);
        first..end.max(first)
    }

    /// Offset in x's plane of the first number of the row under tap `tap`, which must lie inside the image.
    pub(super) fn row(&self, position: usize, tap: usize) -> usize {
        let at = position * self.window.stride[0] + tap * self.window.dilation[0] - self.window.padding.top;
        at * self.input.width * BLOCK
    }

    /// Offset in x's row of the pixel under tap `tap`, which must lie inside the image.
    #[inline(always)]
    pub(super) fn column(&self, position: usize, tap: usize) -> usize {
        let at = position * self.window.stride[1] + tap * self.window.dilation[1] - self.window.padding.left;
        at * BLOCK
    }

    /// Numbers between the pixels under one tap of neighbouring windows.
    pub(super) fn column_step(&self) -> usize {
        self.window.stride[1] * BLOCK
    }

    /// Numbers between neighbouring taps of a window, along the width.
    pub(super) fn tap_step(&self) -> usize {
        self.window.dilation[1] * BLOCK
    }

    /// `(taps, step)` along the width of a square window without gaps between its taps.
    pub(super) fn dense(&self) -> Option<(usize, usize)> {
        let Window { kernel: [height, width], dilation, stride, .. } = self.window;
        (height == width && dilation == [1, 1]).then_some((width, stride[1]))
    }

    /// Fetches the pixels of `plane` that the `windows` windows below those at `[row, column]` are the first to read:
    /// left to itself the CPU follows only some of the rows. `last` is the last row of taps inside the image.
    #[inline(always)]
    pub(super) fn prefetch_below(
        &self,
        plane: &[f32],
        [row, column]: [usize; 2],
        last: usize,
        windows: usize,
    ) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let first = self.row(row, last) + self.column(column, 0);
            for below in 1..=self.window.stride[0] {
                let first = first + below * self.input.width * BLOCK;
                for at in (0..windows * self.column_step()).step_by(BLOCK) {
                    // SAFETY: part of every x86-64; a prefetch may name any address.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(plane.as_ptr().wrapping_add(first + at).cast()) }
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (plane, [row, column], last, windows);
    }

    /// Rows of x that no window from number `position` on touches: those before this one.
    pub(super) fn rows_done_after(&self, position: usize) -> usize {
        let end = position * self.window.stride[0] + self.window.reach(0);
        end.saturating_sub(self.window.padding.top).min(self.input.height)
    }

    /// Taps of window number `position` along `axis` by which a mean divides.
    pub(super) fn counted(&self, position: usize, axis: usize, include_padding: bool) -> usize {
        let (before, after) = self.window.padding.along(axis);
        let padded = 0..before + self.input_size(axis) + after;
        let taps = if include_padding {
            self.taps_within(position, axis, padded)
        } else {
            self.taps(position, axis)
        };
        taps.len()
    }
}
