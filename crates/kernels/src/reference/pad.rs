//! A border around the image, and its gradient: every border pixel that is a copy gives its gradient to its source.
//!
//! ```text
//! y[n, c, i, j] = x[n, source(c), source(i), source(j)], or the constant where there is no source
//! reflect: ... x2 x1 | x0 x1 x2 ... (period 2 (size - 1));   replicate: ... x0 x0 | x0 x1 x2 ...
//! ```

use ocellus_tensor::{Element, Padding};

/// What fills the border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Border {
    /// One value.
    Constant(f64),
    /// The image mirrored, the edge pixel not repeated.
    Reflect,
    /// The edge pixel repeated.
    Replicate,
}

/// Sizes of a padding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PadGeometry {
    /// x is `(N, C, H, W)`.
    pub input: [usize; 4],
    /// Channels before and after.
    pub channels: [usize; 2],
    /// Rows and columns.
    pub padding: Padding,
    /// What fills them.
    pub border: Border,
}

impl PadGeometry {
    /// Sizes of y: `(N, C + channels, H + top + bottom, W + left + right)`.
    pub fn output(&self) -> [usize; 4] {
        let [n, c, h, w] = self.input;
        let Padding { top, left, bottom, right } = self.padding;
        [n, c + self.channels[0] + self.channels[1], h + top + bottom, w + left + right]
    }

    /// Index in an axis of `size` that index `at` of the padded axis copies, if any.
    fn source(&self, at: usize, before: usize, size: usize) -> Option<usize> {
        if at >= before && at - before < size {
            return Some(at - before);
        }
        match self.border {
            Border::Constant(_) => None,
            Border::Replicate => size.checked_sub(1).map(|last| at.saturating_sub(before).min(last)),
            Border::Reflect => {
                let last = size.checked_sub(1)?;
                let distance = at.abs_diff(before); // from the first pixel
                let period = (2 * last).max(1);
                let phase = distance % period;
                Some(phase.min(period - phase).min(last))
            }
        }
    }

    /// Calls `visit(y, x)` with the flat offset of each element of y and of its source, if it has one.
    fn for_each(&self, mut visit: impl FnMut(usize, Option<usize>)) {
        let [batch, channels, height, width] = self.output();
        let [_, in_channels, in_height, in_width] = self.input;
        let mut y = 0;
        for n in 0..batch {
            for c in 0..channels {
                let c = self.source(c, self.channels[0], in_channels);
                for i in 0..height {
                    let i = self.source(i, self.padding.top, in_height);
                    for j in 0..width {
                        let j = self.source(j, self.padding.left, in_width);
                        let at = |((c, i), j)| ((n * in_channels + c) * in_height + i) * in_width + j;
                        visit(y, c.zip(i).zip(j).map(at));
                        y += 1;
                    }
                }
            }
        }
    }
}

/// x `(N, C, H, W)`, y of sizes [`PadGeometry::output`].
pub fn pad<T: Element>(g: &PadGeometry, x: &[T], y: &mut [T]) {
    let constant = match g.border {
        Border::Constant(value) => T::from_f64(value),
        Border::Reflect | Border::Replicate => T::ZERO,
    };
    g.for_each(|yi, xi| y[yi] = xi.map_or(constant, |xi| x[xi]));
}

/// The gradient of [`pad`]. dy of sizes [`PadGeometry::output`], dx `(N, C, H, W)`.
pub fn pad_grad<T: Element>(g: &PadGeometry, dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    g.for_each(|yi, xi| {
        if let Some(xi) = xi {
            dx[xi] += dy[yi];
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(border: Border) -> PadGeometry {
        let padding = Padding { top: 0, left: 2, bottom: 0, right: 1 };
        PadGeometry { input: [1, 1, 1, 3], channels: [0, 0], padding, border }
    }

    #[test]
    fn three_borders_by_hand() {
        let mut y = [f32::NAN; 6];
        let cases = [
            (Border::Constant(9.0), [9., 9., 1., 2., 3., 9.], [3., 4., 5.]),
            (Border::Reflect, [3., 2., 1., 2., 3., 2.], [3., 4. + 2. + 6., 5. + 1.]),
            (Border::Replicate, [1., 1., 1., 2., 3., 3.], [1. + 2. + 3., 4., 5. + 6.]),
        ];
        for (border, expected, gradient) in cases {
            pad(&row(border), &[1., 2., 3.], &mut y);
            assert_eq!(y, expected, "{border:?}");
            let mut dx = [f32::NAN; 3];
            pad_grad(&row(border), &[1., 2., 3., 4., 5., 6.], &mut dx);
            assert_eq!(dx, gradient, "{border:?}");
        }
    }

    #[test]
    fn channels_and_rows() {
        let padding = Padding { top: 1, ..Padding::default() };
        let g = PadGeometry { input: [1, 1, 1, 1], channels: [1, 0], padding, border: Border::Constant(0.5) };
        let mut y = [f32::NAN; 4];
        pad(&g, &[7.0], &mut y);
        assert_eq!(y, [0.5, 0.5, 0.5, 7.0]);
    }
}
