//! ReLU with a learned slope below zero (He et al. 2015, "Delving deep into rectifiers", eq. 1).
//!
//! ```text
//! y = x if x > 0 else slope x;   dx = dy (1 or slope);   dslope = sum of dy x over x <= 0
//! ```

use ocellus_tensor::Element;

use super::ChannelSizes;

/// Which slope channel `channel` uses: its own, or the only one.
fn slope_of(slopes: usize, channel: usize) -> usize {
    if slopes == 1 { 0 } else { channel }
}

/// x and y `(N, C, inner)`, slope `(C)` or `(1)`.
pub fn prelu<T: Element>(sizes: ChannelSizes, x: &[T], slope: &[T], y: &mut [T]) {
    for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
        *y = if x > T::ZERO { x } else { slope[slope_of(slope.len(), sizes.channel(i))] * x };
    }
}

/// The gradient with respect to x. x, dy and dx `(N, C, inner)`, slope `(C)` or `(1)`.
pub fn prelu_grad_input<T: Element>(sizes: ChannelSizes, x: &[T], slope: &[T], dy: &[T], dx: &mut [T]) {
    for (i, ((dx, &x), &dy)) in dx.iter_mut().zip(x).zip(dy).enumerate() {
        *dx = if x > T::ZERO { dy } else { slope[slope_of(slope.len(), sizes.channel(i))] * dy };
    }
}

/// The gradient with respect to the slope. x and dy `(N, C, inner)`, dslope `(C)` or `(1)`.
pub fn prelu_grad_slope<T: Element>(sizes: ChannelSizes, x: &[T], dy: &[T], dslope: &mut [T]) {
    let sum = |channel: usize| -> f64 {
        let term = |i: usize| if x[i] > T::ZERO { 0.0 } else { dy[i].to_f64() * x[i].to_f64() };
        sizes.of_channel(channel).map(term).sum()
    };
    match dslope {
        [only] => *only = T::from_f64((0..sizes.channels).map(sum).sum()),
        each => each.iter_mut().enumerate().for_each(|(c, d)| *d = T::from_f64(sum(c))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slope_per_channel_or_one_for_all() {
        let sizes = ChannelSizes { batch: 1, channels: 2, inner: 2 };
        let (x, dy) = ([1., -2., -3., 4.], [1., 10., 100., 1000.]);
        let (mut y, mut dx, mut dslope) = ([f32::NAN; 4], [f32::NAN; 4], [f32::NAN; 2]);
        prelu(sizes, &x, &[0.5, 2.0], &mut y);
        assert_eq!(y, [1., -1., -6., 4.]);
        prelu_grad_input(sizes, &x, &[0.5, 2.0], &dy, &mut dx);
        assert_eq!(dx, [1., 5., 200., 1000.]);
        prelu_grad_slope(sizes, &x, &dy, &mut dslope);
        assert_eq!(dslope, [-20., -300.]);
        prelu(sizes, &x, &[0.5], &mut y);
        assert_eq!(y, [1., -1., -1.5, 4.]);
        prelu_grad_slope(sizes, &x, &dy, &mut dslope[..1]);
        assert_eq!(dslope[0], -320.);
    }
}
