//! Convolutions of narrow numbers, computed the slow and obvious way.
//!
//! - bf16: operands rounded to bf16, products summed in f64, one rounding to bf16 at the end.
//! - 8 bits: exact integers, one multiplication by the worth of a step at the end, rounded to the nearest.

use ocellus_tensor::ConvGeometry;

use super::conv2d::conv2d;
use crate::isa::{bf16_to_f32, f32_to_bf16};

/// The nearest bf16 number, ties to even.
pub fn round_to_bf16(x: f32) -> f32 {
    bf16_to_f32(f32_to_bf16(x))
}

/// What is added to a convolution, and its lower bound.
#[derive(Clone, Copy, Debug)]
pub struct After<'a> {
    /// Per output channel.
    pub bias: &'a [f32],
    /// In the shape of the output; of 8 bits each stands for `residual_worth` steps of the output.
    pub residual: &'a [f32],
    /// See above; 1 for bf16.
    pub residual_worth: f32,
    /// The smallest result.
    pub low: f32,
}

/// `y = max(low, x * w + bias + residual)` with x, w, residual and y in bf16. x `(N, C, H, W)`, w `(O, C, kh, kw)`, y
/// `(N, O, H', W')`.
pub fn conv2d_bf16(g: &ConvGeometry, x: &[f32], w: &[f32], after: After<'_>, y: &mut [f32]) {
    let rounded = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(round_to_bf16(x))).collect() };
    let mut sums = vec![0.0; y.len()];
    conv2d(g, &rounded(x), &rounded(w), None, &mut sums);
    let plane = g.output[0] * g.output[1];
    for (i, (y, sum)) in y.iter_mut().zip(sums).enumerate() {
        let bias = f64::from(after.bias[i / plane % g.out_channels]);
        let sum = sum + bias + f64::from(round_to_bf16(after.residual[i]));
        *y = round_to_bf16(sum.max(f64::from(after.low)) as f32);
    }
}

/// Bytes from bytes x (N, C, H, W) and weights w of -127 to 127 (O, C, kh, kw): the sum of `(x - zero) w`, an exact
/// integer, times `worth` of its channel, plus bias and residual, bounded below and within 0 to 255, rounded.
pub fn conv2d_u8(
    g: &ConvGeometry,
    (x, zero): (&[u8], u8),
    (w, worth): (&[i8], &[f32]),
    after: After<'_>,
    y: &mut [u8],
) {
    // Integers of this size are exact in f64.
    let x: Vec<f64> = x.iter().map(|&x| f64::from(x) - f64::from(zero)).collect();
    let w: Vec<f64> = w.iter().copied().map(f64::from).collect();
    let mut sums = vec![0.0; y.len()];
    conv2d(g, &x, &w, None, &mut sums);
    let plane = g.output[0] * g.output[1];
    for (i, (y, sum)) in y.iter_mut().zip(sums).enumerate() {
        let channel = i / plane % g.out_channels;
        let residual = f64::from(after.residual[i]) * f64::from(after.residual_worth);
        let sum = sum * f64::from(worth[channel]) + f64::from(after.bias[channel]) + residual;
        *y = sum.max(f64::from(after.low)).clamp(0.0, 255.0).round_ties_even() as u8;
    }
}
