//! What a convolution of bytes needs besides its weights: factors that make the weights fit -127 to 127, and what its
//! sums are worth.
//!
//! With x = sx (qx - zx), w = sw qw for each output channel, y = sy (qy - zy) and a residual r = sr (qr - zr):
//!
//! ```text
//! qy = (sx sw / sy) sum(qx qw) + (sr / sy) qr
//!    + zy + shift / sy - zx (sx sw / sy) sum(qw) - zr sr / sy
//! ```
//!
//! The second line is a constant of each channel: the bias. (B. Jacob et al., "Quantization and Training of Neural
//! Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 2.)

use crate::narrow::Coding;

/// How the operands of a convolution are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantise {
    /// The input: bytes.
    pub x: Coding,
    /// The output.
    pub y: Coding,
    /// What is added, bytes or the output's numbers.
    pub residual: Option<Coding>,
}

/// One number for each output channel.
pub struct Quantised<'a> {
    /// What the weights are multiplied with as they are packed.
    pub factor: &'a mut [f32],
    /// What a sum of products is worth: [`super::Worth::sum`].
    pub worth: &'a mut [f32],
    /// What is added: [`super::Epilogue::bias`].
    pub bias: &'a mut [f32],
}

impl Quantise {
    /// What one step of the residual is worth: [`super::Worth::residual`].
    pub fn residual_worth(&self) -> f32 {
        self.residual.map_or(1.0, |residual| residual.scale() / self.y.scale())
    }

    /// Computes the numbers of each output channel from its weights (OIHW), `scale`d and `shift`ed if given.
    pub fn run(&self, weight: &[f32], scale: Option<&[f32]>, shift: Option<&[f32]>, out: Quantised<'_>) {
        let Quantised { factor, worth, bias } = out;
        let row = weight.len() / factor.len().max(1);
        let residual = self.residual.map_or(0.0, |residual| residual.zero() * self.residual_worth());
        for (channel, weights) in weight.chunks_exact(row.max(1)).enumerate().take(factor.len()) {
            let scale = scale.map_or(1.0, |scale| scale[channel]);
            let most = weights.iter().fold(0.0f32, |most, w| most.max((w * scale).abs()));
            // Of one step of a weight; any will do where all are zero.
            let step = if most > 0.0 && most.is_finite() { most / 127.0 } else { 1.0 };
            factor[channel] = scale / step;
            // As they are packed.
            let sum: f64 = weights
                .iter()
                .map(|w| f64::from((w * factor[channel]).round_ties_even().clamp(-127.0, 127.0)))
                .sum();
            worth[channel] = self.x.scale() * step / self.y.scale();
            let offset = f64::from(self.x.zero()) * f64::from(worth[channel]) * sum;
            let shift = shift.map_or(0.0, |shift| shift[channel]) / self.y.scale();
            bias[channel] = (f64::from(shift + self.y.zero() - residual) - offset) as f32;
        }
    }
}
