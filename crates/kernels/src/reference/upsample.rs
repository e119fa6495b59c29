//! Enlarging an image by whole factors, by nearest pixel or bilinearly, and the gradients.
//!
//! ```text
//! nearest:  y[i] = x[i / f]
//! bilinear: s = max((i + 1/2) / f - 1/2, 0);  y[i] = (1 - t) x[a] + t x[b],  a = floor s, t = s - a, b = min(a + 1, last)
//! ```
//!
//! Along height and width alike; the gradient sends each dy back with the same weights. Half-pixel centres, edges
//! clamped: PyTorch's `interpolate(align_corners=False)`, ONNX's `half_pixel`.

use ocellus_tensor::Element;

/// Sizes of an enlargement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpsampleGeometry {
    /// Images times channels.
    pub planes: usize,
    /// Height and width of x.
    pub input: [usize; 2],
    /// Factors along height and width.
    pub factor: [usize; 2],
    /// Linear between pixel centres, rather than the nearest pixel.
    pub bilinear: bool,
}

impl UpsampleGeometry {
    /// The two pixels, with their weights, that make output index `at` along `axis`.
    fn taps(&self, at: usize, axis: usize) -> [(usize, f64); 2] {
        let factor = self.factor[axis];
        if !self.bilinear {
            return [(at / factor, 1.0), (at / factor, 0.0)];
        }
        let source = ((at as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
        let first = source.floor();
        let second = (first as usize + 1).min(self.input[axis] - 1);
        [(first as usize, 1.0 - (source - first)), (second, source - first)]
    }

    /// Calls `visit(x, y, weight)` for each pixel with a weight above zero in each output.
    fn for_each(&self, mut visit: impl FnMut(usize, usize, f64)) {
        let [height, width] = self.input;
        let output = [height * self.factor[0], width * self.factor[1]];
        for plane in 0..self.planes {
            for i in 0..output[0] {
                for j in 0..output[1] {
                    let y = (plane * output[0] + i) * output[1] + j;
                    for (row, row_weight) in self.taps(i, 0) {
                        for (column, weight) in self.taps(j, 1) {
                            if row_weight * weight > 0.0 {
                                visit((plane * height + row) * width + column, y, row_weight * weight);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// x `(planes, H, W)`, y `(planes, factor[0] H, factor[1] W)`.
pub fn upsample<T: Element>(g: &UpsampleGeometry, x: &[T], y: &mut [T]) {
    y.fill(T::ZERO);
    g.for_each(|xi, yi, weight| y[yi] += T::from_f64(weight) * x[xi]);
}

/// The gradient of [`upsample`]. dy `(planes, factor[0] H, factor[1] W)`, dx `(planes, H, W)`.
pub fn upsample_grad<T: Element>(g: &UpsampleGeometry, dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    g.for_each(|xi, yi, weight| dx[xi] += T::from_f64(weight) * dy[yi]);
}

#[cfg(test)]
mod tests {
    use super::super::check::close;
    use super::*;

    #[test]
    fn nearest_repeats() {
        let g = UpsampleGeometry { planes: 1, input: [1, 2], factor: [2, 3], bilinear: false };
        let mut y = [f32::NAN; 12];
        upsample(&g, &[1., 2.], &mut y);
        assert_eq!(y, [1., 1., 1., 2., 2., 2., 1., 1., 1., 2., 2., 2.]);
        let mut dx = [f32::NAN; 2];
        upsample_grad(&g, &[1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.], &mut dx);
        assert_eq!(dx, [30., 48.]);
    }

    #[test]
    fn bilinear_by_hand() {
        // Centres of four pixels over two: -1/4 (clamped to 0), 1/4, 3/4, 5/4 (clamped to the last).
        let g = UpsampleGeometry { planes: 1, input: [1, 2], factor: [1, 2], bilinear: true };
        let mut y = [f64::NAN; 4];
        upsample(&g, &[0., 4.], &mut y);
        close(&y, &[0., 1., 3., 4.]);
        let mut dx = [f64::NAN; 2];
        upsample_grad(&g, &[1., 10., 100., 1000.], &mut dx);
        close(&dx, &[1. + 7.5 + 25., 2.5 + 75. + 1000.]);
    }
}
