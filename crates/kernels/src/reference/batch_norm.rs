//! Batch normalisation (Ioffe and Szegedy 2015, algorithm 1) and its gradient (section 3).
//!
//! ```text
//! mean = sum x / m;  var = sum (x - mean)^2 / m;  xhat = (x - mean) / sqrt(var + eps);  y = gamma xhat + beta
//! dbeta = sum dy;    dgamma = sum dy xhat
//! dx = gamma / sqrt(var + eps) (dy - dbeta / m - xhat dgamma / m)     if mean and var are the batch's
//! dx = gamma / sqrt(var + eps) dy                                     if they are constants
//! ```
//!
//! Sums run over the m = N H W elements of a channel. The running variance gathers the unbiased estimate
//! `var m / (m - 1)` (the paper's section 3.1).

use ocellus_tensor::Element;

use super::ChannelSizes;

/// One mean and one variance per channel.
#[derive(Clone, Copy, Debug)]
pub struct Moments<'a, T> {
    /// Means `(C)`.
    pub mean: &'a [T],
    /// Biased variances `(C)`.
    pub var: &'a [T],
}

/// Factor and offset of each channel.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a, T> {
    /// Factors `(C)`.
    pub gamma: &'a [T],
    /// Offsets `(C)`.
    pub beta: &'a [T],
}

/// The mean and biased variance of each channel of x `(N, C, inner)`. mean and var `(C)`.
pub fn batch_moments<T: Element>(sizes: ChannelSizes, x: &[T], mean: &mut [T], var: &mut [T]) {
    let count = sizes.per_channel() as f64;
    for c in 0..sizes.channels {
        let values = sizes.of_channel(c).map(|i| x[i].to_f64());
        let center = values.clone().sum::<f64>() / count;
        let spread = values.map(|v| (v - center) * (v - center)).sum::<f64>() / count;
        (mean[c], var[c]) = (T::from_f64(center), T::from_f64(spread));
    }
}

/// `y = gamma (x - mean) / sqrt(var + eps) + beta`. x and y `(N, C, inner)`.
pub fn normalize<T: Element>(
    sizes: ChannelSizes,
    eps: f64,
    moments: Moments<'_, T>,
    affine: Option<Affine<'_, T>>,
    x: &[T],
    y: &mut [T],
) {
    for c in 0..sizes.channels {
        let (mean, scale) = (moments.mean[c].to_f64(), 1.0 / (moments.var[c].to_f64() + eps).sqrt());
        let (gamma, beta) = affine.map_or((1.0, 0.0), |a| (a.gamma[c].to_f64(), a.beta[c].to_f64()));
        for i in sizes.of_channel(c) {
            y[i] = T::from_f64(gamma * ((x[i].to_f64() - mean) * scale) + beta);
        }
    }
}

/// What the gradient reads.
#[derive(Clone, Copy, Debug)]
pub struct NormalizeGrad<'a, T> {
    /// Added to the variance.
    pub eps: f64,
    /// Whether `moments` are those of x itself, so that the gradient flows through them, rather than constants.
    pub of_batch: bool,
    /// The statistics that normalised.
    pub moments: Moments<'a, T>,
    /// Factors `(C)`, if any.
    pub gamma: Option<&'a [T]>,
    /// The normalised input `(N, C, inner)`.
    pub x: &'a [T],
    /// The gradient of the output `(N, C, inner)`.
    pub dy: &'a [T],
}

/// Where the gradient goes.
#[derive(Debug)]
pub struct NormalizeGradOutputs<'a, T> {
    /// Gradient of x `(N, C, inner)`.
    pub dx: &'a mut [T],
    /// Gradient of gamma `(C)`, if wanted.
    pub dgamma: Option<&'a mut [T]>,
    /// Gradient of beta `(C)`, if wanted.
    pub dbeta: Option<&'a mut [T]>,
}

/// The gradients of [`normalize`].
pub fn normalize_grad<T: Element>(
    sizes: ChannelSizes,
    grad: NormalizeGrad<'_, T>,
    mut out: NormalizeGradOutputs<'_, T>,
) {
    let count = sizes.per_channel() as f64;
    for c in 0..sizes.channels {
        let mean = grad.moments.mean[c].to_f64();
        let scale = 1.0 / (grad.moments.var[c].to_f64() + grad.eps).sqrt();
        let gamma = grad.gamma.map_or(1.0, |gamma| gamma[c].to_f64());
        let xhat = |i: usize| (grad.x[i].to_f64() - mean) * scale;
        let dbeta: f64 = sizes.of_channel(c).map(|i| grad.dy[i].to_f64()).sum();
        let dgamma: f64 = sizes.of_channel(c).map(|i| grad.dy[i].to_f64() * xhat(i)).sum();
        for i in sizes.of_channel(c) {
            let through = if grad.of_batch { (dbeta + xhat(i) * dgamma) / count } else { 0.0 };
            out.dx[i] = T::from_f64(gamma * scale * (grad.dy[i].to_f64() - through));
        }
        if let Some(out) = &mut out.dgamma {
            out[c] = T::from_f64(dgamma);
        }
        if let Some(out) = &mut out.dbeta {
            out[c] = T::from_f64(dbeta);
        }
    }
}

/// `running = (1 - momentum) running + momentum batch`, the variance first times `count / (count - 1)` (1 if count is
/// 1, where no unbiased estimate exists). All `(C)`.
pub fn running_update<T: Element>(
    momentum: f64,
    count: usize,
    batch: Moments<'_, T>,
    running_mean: &mut [T],
    running_var: &mut [T],
) {
    let unbias = if count > 1 { count as f64 / (count - 1) as f64 } else { 1.0 };
    let blend = |old: T, new: f64| T::from_f64((1.0 - momentum) * old.to_f64() + momentum * new);
    for (running, mean) in running_mean.iter_mut().zip(batch.mean) {
        *running = blend(*running, mean.to_f64());
    }
    for (running, var) in running_var.iter_mut().zip(batch.var) {
        *running = blend(*running, unbias * var.to_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::close;
    use super::*;

    const SIZES: ChannelSizes = ChannelSizes { batch: 2, channels: 2, inner: 2 };
    // Channel 0 holds 1, 3, 5, 7 (mean 4, variance 5); channel 1 holds 2, 2, 4, 4 (mean 3, variance 1).
    const X: [f64; 8] = [1., 3., 2., 2., 5., 7., 4., 4.];

    #[test]
    fn moments_and_values_by_hand() {
        let (mut mean, mut var, mut y) = ([f64::NAN; 2], [f64::NAN; 2], [f64::NAN; 8]);
        batch_moments(SIZES, &X, &mut mean, &mut var);
        assert_eq!((mean, var), ([4., 3.], [5., 1.]));
        let moments = Moments { mean: &mean, var: &var };
        let affine = Affine { gamma: &[3., 2.], beta: &[0., 10.] };
        normalize(SIZES, 4.0, moments, Some(affine), &X, &mut y); // sqrt(5 + 4) = 3, sqrt(1 + 4) = sqrt 5
        let d = 2.0 / 5.0f64.sqrt();
        close(&y, &[-3., -1., 10. - d, 10. - d, 1., 3., 10. + d, 10. + d]);
    }

    #[test]
    fn gradients_by_hand() {
        let sizes = ChannelSizes { batch: 2, channels: 1, inner: 1 };
        // x = -1, 1: mean 0, var 1; eps 0: xhat = x. dy = 1, 3: dbeta 4, dgamma 2, dx = gamma (dy - 2 - xhat) = 0, 0.
        let moments = Moments { mean: &[0.0], var: &[1.0] };
        let (x, dy) = ([-1.0, 1.0], [1.0, 3.0]);
        let mut grad =
            NormalizeGrad { eps: 0.0, of_batch: true, moments, gamma: Some(&[5.0]), x: &x, dy: &dy };
        let (mut dx, mut dgamma, mut dbeta) = ([f64::NAN; 2], [f64::NAN], [f64::NAN]);
        let out = NormalizeGradOutputs { dx: &mut dx, dgamma: Some(&mut dgamma), dbeta: Some(&mut dbeta) };
        normalize_grad(sizes, grad, out);
        close(&dx, &[0., 0.]);
        close(&[dgamma[0], dbeta[0]], &[2., 4.]);
        grad.of_batch = false;
        normalize_grad(sizes, grad, NormalizeGradOutputs { dx: &mut dx, dgamma: None, dbeta: None });
        close(&dx, &[5., 15.]);
    }

    #[test]
    fn the_running_variance_is_unbiased() {
        let (mut mean, mut var) = ([1.0f32], [1.0f32]);
        running_update(0.1, 4, Moments { mean: &[11.0], var: &[3.0] }, &mut mean, &mut var);
        close(&[mean[0], var[0]], &[2.0, 0.9 + 0.1 * 4.0]);
    }
}
