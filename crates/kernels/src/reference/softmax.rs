//! Softmax and its logarithm along the channels, and their gradients.
//!
//! ```text
//! y_c = e^(x_c - m) / sum e^(x_k - m),  m = max x;  log y_c = x_c - m - ln sum e^(x_k - m)
//! (so that nothing overflows, and m, however large, never meets the logarithm that it would swallow)
//! softmax: dx = y (dy - sum dy y);   log-softmax: dx = dy - e^y sum dy
//! ```
//!
//! Source: Goodfellow, Bengio and Courville 2016, section 4.1.

use ocellus_tensor::Element;

use super::ChannelSizes;

/// The largest of `values`, and the sum of e to the power of what each has less than it.
fn largest_and_sum(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let largest = values.clone().fold(f64::NEG_INFINITY, Element::maximum);
    (largest, values.map(|v| (v - largest).exp()).sum())
}

/// The logarithm of `sum e^x` over `values`.
pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    match largest_and_sum(values) {
        (f64::NEG_INFINITY, _) => f64::NEG_INFINITY, // throughout: nothing to sum
        (largest, sum) => largest + sum.ln(),
    }
}

/// Calls `visit(offsets)` with the flat offsets of the channels at each position of each image.
fn for_each_position(sizes: ChannelSizes, mut visit: impl FnMut(Offsets)) {
    for n in 0..sizes.batch {
        for i in 0..sizes.inner {
            visit(Offsets { first: sizes.offset(n, 0, i), step: sizes.inner, count: sizes.channels });
        }
    }
}

/// Evenly spaced flat offsets.
#[derive(Clone, Copy)]
struct Offsets {
    first: usize,
    step: usize,
    count: usize,
}

impl Offsets {
    fn iter(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.count).map(move |k| self.first + k * self.step)
    }
}

/// Softmax, or with `log` its logarithm. x and y `(N, C, inner)`.
pub fn softmax<T: Element>(sizes: ChannelSizes, log: bool, x: &[T], y: &mut [T]) {
    for_each_position(sizes, |at| {
        let (largest, sum) = largest_and_sum(at.iter().map(|i| x[i].to_f64()));
        for i in at.iter() {
            let below = x[i].to_f64() - largest;
            y[i] = T::from_f64(if log { below - sum.ln() } else { below.exp() / sum });
        }
    });
}

/// The gradient of [`softmax`] from its output y. y, dy and dx `(N, C, inner)`.
pub fn softmax_grad<T: Element>(sizes: ChannelSizes, log: bool, y: &[T], dy: &[T], dx: &mut [T]) {
    for_each_position(sizes, |at| {
        let weight = |i: usize| if log { 1.0 } else { y[i].to_f64() };
        let total: f64 = at.iter().map(|i| dy[i].to_f64() * weight(i)).sum();
        for i in at.iter() {
            let (y, dy) = (y[i].to_f64(), dy[i].to_f64());
            dx[i] = T::from_f64(if log { dy - y.exp() * total } else { y * (dy - total) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::check::close;
    use super::*;

    const SIZES: ChannelSizes = ChannelSizes { batch: 1, channels: 2, inner: 2 };

    #[test]
    fn values_by_hand_even_for_huge_inputs() {
        let mut y = [f32::NAN; 4];
        let x = [0.0, 1000.0, 3.0f32.ln(), 1000.0]; // channels are 2 apart
        softmax(SIZES, false, &x, &mut y);
        close(&y, &[0.25, 0.5, 0.75, 0.5]);
        softmax(SIZES, true, &x, &mut y);
        close(&y, &[0.25f64.ln(), 0.5f64.ln(), 0.75f64.ln(), 0.5f64.ln()]);
    }

    #[test]
    fn gradients_by_hand() {
        let sizes = ChannelSizes { batch: 1, channels: 2, inner: 1 };
        let mut dx = [f64::NAN; 2];
        softmax_grad(sizes, false, &[0.25, 0.75], &[1.0, 3.0], &mut dx);
        close(&dx, &[0.25 * (1. - 2.5), 0.75 * (3. - 2.5)]);
        softmax_grad(sizes, true, &[0.25f64.ln(), 0.75f64.ln()], &[1.0, 3.0], &mut dx);
        close(&dx, &[1. - 0.25 * 4., 3. - 0.75 * 4.]);
    }
}
