//! Local response normalisation (Krizhevsky et al. 2012, section 3.3).
//!
//! ```text
//! D_i = k + alpha / m * sum of x_j^2 over the neighbours j of i;   y_i = x_i D_i^-beta
//! dx_j = dy_j D_j^-beta - 2 alpha beta / m * x_j * sum of dy_i x_i D_i^(-beta-1) over the i that have j as neighbour
//! ```
//!
//! Neighbours are `size` channels at the same pixel (m = size) or a `size` x `size` square of the same channel
//! (m = size^2), clipped at the edges; m never shrinks. An even size, were it used, reaches one further after than
//! before (ONNX's rule).

use std::ops::Range;

use ocellus_tensor::Element;

/// Attributes and sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnGeometry {
    /// x is `(N, C, H, W)`.
    pub dims: [usize; 4],
    /// Neighbours along each summed axis, the element itself included.
    pub size: usize,
    /// Neighbouring channels at the same pixel, rather than pixels of the same channel.
    pub across_channels: bool,
    /// Scale of the sum.
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// Offset.
    pub k: f64,
}

impl LrnGeometry {
    /// alpha / m.
    fn factor(&self) -> f64 {
        let m = if self.across_channels { self.size } else { self.size * self.size };
        self.alpha / m as f64
    }

    /// Indices from `before` below `at` to `after` above it, clipped to the axis; only `at` if the axis is not summed.
    fn span(&self, at: [usize; 4], axis: usize, [before, after]: [usize; 2]) -> Range<usize> {
        let summed = if self.across_channels { axis == 1 } else { axis >= 2 };
        if summed {
            at[axis].saturating_sub(before)..(at[axis] + after + 1).min(self.dims[axis])
        } else {
            at[axis]..at[axis] + 1
        }
    }

    /// Sum of `term(flat offset)` over the elements around `at`.
    fn sum_around(&self, at: usize, reach: [usize; 2], term: impl Fn(usize) -> f64) -> f64 {
        let [_, channels, height, width] = self.dims;
        let plane = height * width;
        let at = [at / plane / channels, at / plane % channels, at / width % height, at % width];
        let mut sum = 0.0;
        for c in self.span(at, 1, reach) {
            for i in self.span(at, 2, reach) {
                for j in self.span(at, 3, reach) {
                    sum += term(((at[0] * channels + c) * height + i) * width + j);
                }
            }
        }
        sum
    }

    /// How far neighbours reach before and after.
    fn reach(&self) -> [usize; 2] {
        [self.size.saturating_sub(1) / 2, self.size / 2]
    }

    /// `D` at flat offset `i`.
    fn denominator<T: Element>(&self, x: &[T], i: usize) -> f64 {
        let squares = self.sum_around(i, self.reach(), |j| x[j].to_f64() * x[j].to_f64());
        self.k + self.factor() * squares
    }
}

/// x and y `(N, C, H, W)`.
pub fn lrn<T: Element>(g: &LrnGeometry, x: &[T], y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = T::from_f64(x[i].to_f64() * g.denominator(x, i).powf(-g.beta));
    }
}

/// The gradient of [`lrn`]. x, dy and dx `(N, C, H, W)`.
pub fn lrn_grad<T: Element>(g: &LrnGeometry, x: &[T], dy: &[T], dx: &mut [T]) {
    let [before, after] = g.reach();
    for (j, dx) in dx.iter_mut().enumerate() {
        // Those that have j as neighbour lie the other way around.
        let through = g.sum_around(j, [after, before], |i| {
            dy[i].to_f64() * x[i].to_f64() * g.denominator(x, i).powf(-g.beta - 1.0)
        });
        let direct = dy[j].to_f64() * g.denominator(x, j).powf(-g.beta);
        *dx = T::from_f64(direct - 2.0 * g.factor() * g.beta * x[j].to_f64() * through);
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::close;
    use super::*;

    #[test]
    fn across_channels_by_hand() {
        let g =
            LrnGeometry { dims: [1, 3, 1, 1], size: 3, across_channels: true, alpha: 3., beta: 1., k: 1. };
        let mut y = [f64::NAN; 3];
        lrn(&g, &[1., 2., 3.], &mut y); // D = 1 + 5, 1 + 14, 1 + 13
        close(&y, &[1. / 6., 2. / 15., 3. / 14.]);
    }

    #[test]
    fn within_a_channel_by_hand() {
        let g =
            LrnGeometry { dims: [1, 2, 2, 2], size: 3, across_channels: false, alpha: 9., beta: 0.5, k: 2. };
        let mut y = [f64::NAN; 8];
        lrn(&g, &[1., 2., 3., 4., 0., 1., 1., 0.], &mut y); // every square covers the whole 2 x 2 channel
        let (a, b) = (32.0f64.sqrt(), 2.0);
        close(&y, &[1. / a, 2. / a, 3. / a, 4. / a, 0., 1. / b, 1. / b, 0.]);
    }

    #[test]
    fn the_gradient_agrees_with_differences() {
        for (across_channels, size) in [(true, 3), (true, 2), (false, 3)] {
            let g = LrnGeometry { dims: [1, 4, 2, 3], size, across_channels, alpha: 0.7, beta: 0.75, k: 1.3 };
            let x: Vec<f64> = (0..24).map(|i| f64::from(i * 7 % 11) / 5.0 - 1.0).collect();
            let dy: Vec<f64> = (0..24).map(|i| f64::from(i * 5 % 13) / 6.0 - 1.0).collect();
            let value = |x: &[f64]| {
                let mut y = vec![f64::NAN; 24];
                lrn(&g, x, &mut y);
                y.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>()
            };
            let mut dx = vec![f64::NAN; 24];
            lrn_grad(&g, &x, &dy, &mut dx);
            for j in 0..24 {
                let (mut up, mut down) = (x.clone(), x.clone());
                up[j] += 1e-6;
                down[j] -= 1e-6;
                let difference = (value(&up) - value(&down)) / 2e-6;
                assert!((difference - dx[j]).abs() < 1e-7, "{difference} {}", dx[j]);
            }
        }
    }
}
