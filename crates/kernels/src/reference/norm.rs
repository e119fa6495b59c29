//! Group, instance and layer normalisation: statistics of sets of elements of one image.
//!
//! ```text
//! y = gamma xhat + beta,  xhat = (x - mean) / sqrt(var + eps), mean and var over the element's set of m
//! dx = (h - mean(h) - xhat mean(h xhat)) / sqrt(var + eps),  h = gamma dy
//! dgamma = sum dy xhat, dbeta = sum dy, per channel over all images and positions
//! ```
//!
//! Sources: Wu and He 2018 (groups), Ulyanov et al. 2016 (instance), Ba et al. 2016 (layer).

use ocellus_tensor::Element;

use super::ChannelSizes;
use super::batch_norm::{Affine, NormalizeGradOutputs};

/// What one mean and variance are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sets {
    /// Each image's channels in this many groups, over all positions. As many groups as channels is instance
    /// normalisation.
    Groups(usize),
    /// All channels at each position of each image.
    Channels,
}

/// A tensor's sizes and its division into sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormSizes {
    /// Sizes of x.
    pub tensor: ChannelSizes,
    /// What one mean and variance are taken over.
    pub sets: Sets,
}

/// Mean and 1 / sqrt(variance + eps) of one set.
struct Moments {
    mean: f64,
    scale: f64,
}

impl NormSizes {
    /// Sets in the whole tensor.
    fn count(&self) -> usize {
        match self.sets {
            Sets::Groups(groups) => self.tensor.batch * groups,
            Sets::Channels => self.tensor.per_channel(),
        }
    }

    /// Elements of one set.
    fn members(&self) -> usize {
        self.tensor.elements() / self.count().max(1)
    }

    /// Flat offsets of the elements of set `set`.
    fn of_set(&self, set: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (norm, members) = (*self, self.members());
        let inner = norm.tensor.inner;
        (0..members).map(move |k| match norm.sets {
            Sets::Groups(_) => set * members + k,
            Sets::Channels => norm.tensor.offset(set / inner, k, set % inner),
        })
    }

    /// Mean and variance of set `set`.
    fn moments<T: Element>(&self, set: usize, eps: f64, x: &[T]) -> Moments {
        let count = self.members() as f64;
        let values = self.of_set(set).map(|i| x[i].to_f64());
        let mean = values.clone().sum::<f64>() / count;
        let var = values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
        Moments { mean, scale: 1.0 / (var + eps).sqrt() }
    }
}

/// x and y `(N, C, inner)`; gamma and beta `(C)`.
pub fn norm<T: Element>(sizes: NormSizes, eps: f64, affine: Option<Affine<'_, T>>, x: &[T], y: &mut [T]) {
    for set in 0..sizes.count() {
        let moments = sizes.moments(set, eps, x);
        for i in sizes.of_set(set) {
            let channel = sizes.tensor.channel(i);
            let (gamma, beta) =
                affine.map_or((1.0, 0.0), |a| (a.gamma[channel].to_f64(), a.beta[channel].to_f64()));
            y[i] = T::from_f64(gamma * ((x[i].to_f64() - moments.mean) * moments.scale) + beta);
        }
    }
}

/// What the gradient reads.
#[derive(Clone, Copy, Debug)]
pub struct NormGrad<'a, T> {
    /// Added to the variance.
    pub eps: f64,
    /// Factors `(C)`, if any.
    pub gamma: Option<&'a [T]>,
    /// The normalised input `(N, C, inner)`.
    pub x: &'a [T],
    /// The gradient of the output `(N, C, inner)`.
    pub dy: &'a [T],
}

/// The gradients of [`norm`].
pub fn norm_grad<T: Element>(sizes: NormSizes, grad: NormGrad<'_, T>, out: NormalizeGradOutputs<'_, T>) {
    let channels = sizes.tensor.channels;
    // Channels cut across sets, so their sums are gathered set by set.
    let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
    for set in 0..sizes.count() {
        let moments = sizes.moments(set, grad.eps, grad.x);
        let xhat = |i: usize| (grad.x[i].to_f64() - moments.mean) * moments.scale;
        let h = |i: usize| {
            let gamma = grad.gamma.map_or(1.0, |gamma| gamma[sizes.tensor.channel(i)].to_f64());
            gamma * grad.dy[i].to_f64()
        };
        let count = sizes.members() as f64;
        let mean_h = sizes.of_set(set).map(h).sum::<f64>() / count;
        let mean_h_xhat = sizes.of_set(set).map(|i| h(i) * xhat(i)).sum::<f64>() / count;
        for i in sizes.of_set(set) {
            out.dx[i] = T::from_f64(moments.scale * (h(i) - mean_h - xhat(i) * mean_h_xhat));
            dgamma[sizes.tensor.channel(i)] += grad.dy[i].to_f64() * xhat(i);
            dbeta[sizes.tensor.channel(i)] += grad.dy[i].to_f64();
        }
    }
    for (target, sums) in [(out.dgamma, dgamma), (out.dbeta, dbeta)] {
        let Some(target) = target else { continue };
        target.iter_mut().zip(sums).for_each(|(target, sum)| *target = T::from_f64(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::close;
    use super::*;

    const X: [f64; 8] = [1., 3., 5., 7., 2., 2., 4., 4.];
    const TENSOR: ChannelSizes = ChannelSizes { batch: 1, channels: 4, inner: 2 };

    fn normed(sets: Sets, affine: Option<Affine<'_, f64>>) -> [f64; 8] {
        let mut y = [f64::NAN; 8];
        norm(NormSizes { tensor: TENSOR, sets }, 4.0, affine, &X, &mut y);
        y
    }

    #[test]
    fn groups_instances_and_channels() {
        // Two groups: 1 3 5 7 (mean 4, variance 5, sqrt(9) = 3) and 2 2 4 4 (mean 3, variance 1, sqrt(5)).
        let r = 1.0 / 5.0f64.sqrt();
        close(&normed(Sets::Groups(2), None), &[-1., -1. / 3., 1. / 3., 1., -r, -r, r, r]);
        close(&normed(Sets::Groups(4), None), &[-r, r, -r, r, 0., 0., 0., 0.]);
        // Position 0: 1 5 2 4, mean 3, variance 2.5; position 1: 3 7 2 4, mean 4, variance 3.5.
        let (a, b) = (6.5f64.sqrt(), 7.5f64.sqrt());
        let expected = [-2. / a, -1. / b, 2. / a, 3. / b, -1. / a, -2. / b, 1. / a, 0.];
        close(&normed(Sets::Channels, None), &expected);
        let affine = Affine { gamma: &[3., 6., 0., 0.], beta: &[1., 1., 7., 7.] };
        close(&normed(Sets::Groups(2), Some(affine)), &[-2., 0., 3., 7., 7., 7., 7., 7.]);
    }

    #[test]
    fn gradients_by_hand() {
        // One image, two channels of one pixel, all in one set: x = -1, 1, eps 0, xhat = x. dy = 1, 3, gamma = 2, 4:
        // h = 2, 12, mean 7, mean of h xhat 5: dx = 2 - 7 + 5, 12 - 7 - 5 = 0, 0. dgamma = -1, 3; dbeta = 1, 3.
        let tensor = ChannelSizes { batch: 1, channels: 2, inner: 1 };
        let sizes = NormSizes { tensor, sets: Sets::Channels };
        let (mut dx, mut dgamma, mut dbeta) = ([f64::NAN; 2], [f64::NAN; 2], [f64::NAN; 2]);
        let grad = NormGrad { eps: 0.0, gamma: Some(&[2.0, 4.0]), x: &[-1.0, 1.0], dy: &[1.0, 3.0] };
        let out = NormalizeGradOutputs { dx: &mut dx, dgamma: Some(&mut dgamma), dbeta: Some(&mut dbeta) };
        norm_grad(sizes, grad, out);
        close(&dx, &[0., 0.]);
        close(&dgamma, &[-1., 3.]);
        close(&dbeta, &[1., 3.]);
    }
}
