//! Max and average pooling and their gradients.
//!
//! ```text
//! max:  y[i,j] = max over the taps of window (i,j) that lie inside the image;  dx[first largest] += dy[i,j]
//! mean: y[i,j] = sum over those taps / count;                                  dx[each] += dy[i,j] / count
//! ```
//!
//! `count` is the number of taps inside the padded image, or (`count_include_pad` off) inside the image: a tap that
//! ceil rounding puts beyond the padded image never counts (PyTorch's `avg_pool2d`). A window wholly in the padding
//! gives minus infinity (max) or 0 (mean) and passes no gradient on.

use ocellus_tensor::{Element, Window};

/// Sizes of a pooling; every image and channel is one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolGeometry {
    /// Images times channels.
    pub planes: usize,
    /// Height and width of x.
    pub input: [usize; 2],
    /// Height and width of y.
    pub output: [usize; 2],
    /// Kernel, stride, padding, dilation. Global pooling is a kernel as large as the image.
    pub window: Window,
}

impl PoolGeometry {
    /// Calls `visit(y, [plane, i, j])` for each output, with its flat offset.
    pub(super) fn for_each_output(&self, mut visit: impl FnMut(usize, [usize; 3])) {
        let [height, width] = self.output;
        for plane in 0..self.planes {
            for i in 0..height {
                for j in 0..width {
                    visit((plane * height + i) * width + j, [plane, i, j]);
                }
            }
        }
    }

    /// Calls `visit(x)` with the flat offset of each pixel under window `[plane, i, j]`, row by row.
    pub(super) fn for_each_pixel(&self, [plane, i, j]: [usize; 3], mut visit: impl FnMut(usize)) {
        for p in 0..self.window.kernel[0] {
            let Some(row) = self.window.pixel(i, p, 0, self.input[0]) else { continue };
            for q in 0..self.window.kernel[1] {
                let Some(column) = self.window.pixel(j, q, 1, self.input[1]) else { continue };
                visit((plane * self.input[0] + row) * self.input[1] + column);
            }
        }
    }

    /// Taps along `axis` of window number `position` that count in a mean.
    fn counted(&self, position: usize, axis: usize, include_padding: bool) -> usize {
        let (before, after) = self.window.padding.along(axis);
        let size = self.input[axis];
        let inside = |&tap: &usize| {
            if include_padding {
                position * self.window.stride[axis] + tap * self.window.dilation[axis] < before + size + after
            } else {
                self.window.pixel(position, tap, axis, size).is_some()
            }
        };
        (0..self.window.kernel[axis]).filter(inside).count()
    }

    /// One over the number of taps that a mean divides by; 0 if there is none.
    fn share(&self, [_, i, j]: [usize; 3], include_padding: bool) -> f64 {
        let count = self.counted(i, 0, include_padding) * self.counted(j, 1, include_padding);
        if count == 0 { 0.0 } else { 1.0 / count as f64 }
    }

    /// The flat offset of the first largest pixel (row by row) under a window; the first NaN if there is one.
    fn first_largest<T: Element>(&self, at: [usize; 3], x: &[T]) -> Option<usize> {
        let mut best: Option<usize> = None;
        self.for_each_pixel(at, |pixel| {
            let wins = |best: usize| x[pixel] > x[best] || (is_nan(x[pixel]) && !is_nan(x[best]));
            if best.is_none_or(wins) {
                best = Some(pixel);
            }
        });
        best
    }
}

fn is_nan<T: Element>(x: T) -> bool {
    x.to_f64().is_nan()
}

/// The largest value under each window. x `(planes, H, W)`, y `(planes, H', W')`.
pub fn max_pool<T: Element>(g: &PoolGeometry, x: &[T], y: &mut [T]) {
    g.for_each_output(|yi, at| y[yi] = g.first_largest(at, x).map_or(T::LOWEST, |xi| x[xi]));
}

/// Where the largest value under each window lies in its plane, row by row; minus 1 where there is none. x
/// `(planes, H, W)`, y `(planes, H', W')`.
pub fn max_pool_places<T: Element>(g: &PoolGeometry, x: &[T], y: &mut [T]) {
    let plane = g.input[0] * g.input[1];
    g.for_each_output(|yi, at| {
        y[yi] = T::from_f64(g.first_largest(at, x).map_or(-1.0, |xi| (xi % plane) as f64));
    });
}

/// The gradient of [`max_pool`]. x `(planes, H, W)`, dy `(planes, H', W')`, dx like x.
pub fn max_pool_grad<T: Element>(g: &PoolGeometry, x: &[T], dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    g.for_each_output(|yi, at| {
        if let Some(xi) = g.first_largest(at, x) {
            dx[xi] += dy[yi];
        }
    });
}

/// The mean of each window. x `(planes, H, W)`, y `(planes, H', W')`.
pub fn avg_pool<T: Element>(g: &PoolGeometry, count_include_pad: bool, x: &[T], y: &mut [T]) {
    g.for_each_output(|yi, at| {
        let mut sum = 0.0;
        g.for_each_pixel(at, |xi| sum += x[xi].to_f64());
        y[yi] = T::from_f64(sum * g.share(at, count_include_pad));
    });
}

/// The gradient of [`avg_pool`]. dy `(planes, H', W')`, dx `(planes, H, W)`.
pub fn avg_pool_grad<T: Element>(g: &PoolGeometry, count_include_pad: bool, dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    g.for_each_output(|yi, at| {
        let part = T::from_f64(dy[yi].to_f64() * g.share(at, count_include_pad));
        g.for_each_pixel(at, |xi| dx[xi] += part);
    });
}

#[cfg(test)]
mod tests {
    use super::super::check::close;
    use super::*;
    use ocellus_tensor::Rounding;

    fn geometry(input: [usize; 2], window: Window, rounding: Rounding) -> PoolGeometry {
        PoolGeometry { planes: 1, input, output: window.output(input, rounding).unwrap(), window }
    }

    #[test]
    fn max_takes_the_first_of_equals_and_never_the_padding() {
        let g = geometry([2, 2], Window::square(2).padding(1).stride(2), Rounding::Floor);
        let mut y = [f32::NAN; 4];
        max_pool(&g, &[-1., -2., -3., -4.], &mut y);
        assert_eq!(y, [-1., -2., -3., -4.]);
        let g = geometry([2, 2], Window::square(2), Rounding::Floor);
        let mut dx = [f32::NAN; 4];
        max_pool_grad(&g, &[1., 5., 5., 5.], &[3.], &mut dx);
        assert_eq!(dx, [0., 3., 0., 0.]);
        max_pool(&g, &[1., f32::NAN, 5., 5.], &mut y[..1]);
        assert!(y[0].is_nan());
    }

    #[test]
    fn overlapping_windows_add_their_gradients() {
        let g = geometry([1, 3], Window { kernel: [1, 2], ..Window::square(1) }, Rounding::Floor);
        let mut dx = [f32::NAN; 3];
        max_pool_grad(&g, &[1., 7., 2.], &[10., 20.], &mut dx);
        assert_eq!(dx, [0., 30., 0.]);
    }

    #[test]
    fn the_mean_counts_as_documented() {
        // 1 x 4 image, kernel 3, stride 2, padding 1, ceil: windows start at -1, 1 and 3; the last reaches column 5,
        // one beyond the padded image, whose columns are -1 to 4.
        let window = Window { kernel: [1, 3], stride: [1, 2], ..Window::square(1) };
        let padding = ocellus_tensor::Padding { top: 0, left: 1, bottom: 0, right: 1 };
        let g = geometry([1, 4], Window { padding, ..window }, Rounding::Ceil);
        assert_eq!(g.output, [1, 3]);
        let x = [1., 2., 3., 4.];
        let mut y = [f64::NAN; 3];
        avg_pool(&g, true, &x, &mut y);
        close(&y, &[3. / 3., 9. / 3., 4. / 2.]);
        avg_pool(&g, false, &x, &mut y);
        close(&y, &[3. / 2., 9. / 3., 4. / 1.]);
        let mut dx = [f64::NAN; 4];
        avg_pool_grad(&g, true, &[3., 6., 8.], &mut dx);
        close(&dx, &[1., 3., 2., 6.]);
        avg_pool_grad(&g, false, &[3., 6., 8.], &mut dx);
        close(&dx, &[1.5, 3.5, 2., 10.]);
    }
}
