//! The gradient of batch normalisation, of the ReLU after it and of the addition between them, in two passes.
//!
//! ```text
//! reduce: g = dy where the ReLU let through, else 0;  xhat = (x - mean) / deviation
//!         dbeta = sum g;  dgamma = sum g xhat;  optionally g is written (it is the residual branch's gradient)
//! apply:  dx = gamma / deviation (g - mean(g) - xhat mean(g xhat))
//! ```
//!
//! Source: Ioffe and Szegedy 2015, section 3, gathered as sums over g. With running statistics, which are constants,
//! dx = gamma / deviation g.

use super::normalise::{Normalisation, normalised};
use crate::elementwise::operands::Read;
use crate::elementwise::plane::{self, PlaneFormula, of_block};
use crate::elementwise::sum::{self, PlaneSum};
use crate::elementwise::{Blocked, Source};
use crate::isa::{Isa, Simd};
use crate::threads::ThreadPool;

/// How it is known what the ReLU let through.
#[derive(Clone, Copy, Debug)]
pub enum ReluMask<'a> {
    /// There was no ReLU.
    None,
    /// Where the ReLU's output, like x, is positive.
    Output(&'a [f32]),
    /// Where the normalised x is: it is computed again, to the same bits, rather than read. Only without residual.
    Recompute,
}

/// The gradient of a [`super::Normalise`].
#[derive(Clone, Copy, Debug)]
pub struct NormaliseGrad<'a> {
    /// Sizes of x, dy and dx.
    pub size: Blocked,
    /// As in the forward pass.
    pub norm: Normalisation<'a>,
    /// The ReLU of the forward pass.
    pub mask: ReluMask<'a>,
}

/// The sums over each channel, both `(C)`.
#[derive(Debug)]
pub struct AffineGrads<'a> {
    /// Sum of g xhat.
    pub dgamma: &'a mut [f32],
    /// Sum of g.
    pub dbeta: &'a mut [f32],
}

/// Scratch numbers of [`NormaliseGrad::reduce`].
pub fn reduce_scratch_len(size: Blocked) -> usize {
    sum::scratch_len(size, 2)
}

impl<'a> NormaliseGrad<'a> {
    /// dgamma and dbeta. x and dy are blocked.
    pub fn reduce(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        x: &[f32],
        dy: &[f32],
        grads: AffineGrads<'_>,
        scratch: &mut [f32],
    ) {
        self.reduce_pass((pool, isa), (x, Read::Slice(dy)), [], grads, scratch);
    }

    /// As [`NormaliseGrad::reduce`], and writes g = dy under the ReLU's mask; dy may be g itself. Afterwards pass g
    /// for dy and [`ReluMask::None`] to [`NormaliseGrad::apply`].
    pub fn reduce_masking(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        x: &[f32],
        (dy, g): (Source<'_>, &mut [f32]),
        grads: AffineGrads<'_>,
        scratch: &mut [f32],
    ) {
        self.reduce_pass((pool, isa), (x, dy.read()), [g], grads, scratch);
    }

    fn reduce_pass<const W: usize>(
        &self,
        on: (&ThreadPool, Isa),
        (x, dy): (&[f32], Read<'_>),
        g: [&mut [f32]; W],
        grads: AffineGrads<'_>,
        scratch: &mut [f32],
    ) {
        let channels = self.size.channels;
        self.norm.check(channels);
        assert_eq!((grads.dgamma.len(), grads.dbeta.len()), (channels, channels), "dgamma and dbeta lengths");
        let finish = |channel: usize, [g, g_deviation]: [f64; 2]| {
            let deviation = (f64::from(self.norm.var[channel]) + f64::from(self.norm.eps)).sqrt();
            grads.dbeta[channel] = g as f32;
            grads.dgamma[channel] = (g_deviation / deviation) as f32;
        };
        let formula = Reduce(Masked { norm: self.norm, recompute: matches!(self.mask, ReluMask::Recompute) });
        if let ReluMask::Output(y) = self.mask {
            let reads = [Read::Slice(x), dy, Read::Slice(y)];
            sum::run(on, self.size, (reads, g), formula, scratch, finish);
        } else {
            sum::run(on, self.size, ([Read::Slice(x), dy], g), formula, scratch, finish);
        }
    }

    /// dx, from the sums that `reduce` took; dy may be dx itself.
    pub fn apply(
        &self,
        (pool, isa): (&ThreadPool, Isa),
        x: &[f32],
        dy: Source<'_>,
        (dgamma, dbeta): (&[f32], &[f32]),
        dx: &mut [f32],
    ) {
        let channels = self.size.channels;
        self.norm.check(channels);
        assert_eq!((dgamma.len(), dbeta.len()), (channels, channels), "dgamma and dbeta lengths");
        let masked = Masked { norm: self.norm, recompute: matches!(self.mask, ReluMask::Recompute) };
        let formula = Apply { masked, dgamma, dbeta, count: self.size.per_channel() as f32 };
        let reads = [Read::Slice(x), dy.read()];
        match self.mask {
            ReluMask::Output(y) => {
                let reads = [reads[0], reads[1], Read::Slice(y)];
                plane::map((pool, isa), self.size, reads, [dx], formula);
            }
            ReluMask::None | ReluMask::Recompute => {
                plane::map((pool, isa), self.size, reads, [dx], formula);
            }
        }
    }

    /// dx where the statistics are constants (the running ones); dy may be dx itself.
    pub fn apply_running(&self, (pool, isa): (&ThreadPool, Isa), x: &[f32], dy: Source<'_>, dx: &mut [f32]) {
        self.norm.check(self.size.channels);
        let formula =
            ApplyRunning(Masked { norm: self.norm, recompute: matches!(self.mask, ReluMask::Recompute) });
        match self.mask {
            ReluMask::None => {
                let formula = ScaleOnly(self.norm);
                plane::map((pool, isa), self.size, [dy.read()], [dx], formula);
            }
            ReluMask::Output(y) => {
                let reads = [Read::Slice(x), dy.read(), Read::Slice(y)];
                plane::map((pool, isa), self.size, reads, [dx], formula);
            }
            ReluMask::Recompute => {
                plane::map((pool, isa), self.size, [Read::Slice(x), dy.read()], [dx], formula);
            }
        }
    }
}

/// dy under the ReLU's mask, from inputs `[x, dy]` or `[x, dy, y]`.
#[derive(Clone, Copy)]
struct Masked<'a> {
    norm: Normalisation<'a>,
    recompute: bool,
}

impl Masked<'_> {
    #[inline(always)]
    fn g<S: Simd, const R: usize>(self, s: S, k: [S::F; 3], inputs: [S::F; R]) -> S::F {
        let dy = inputs[1];
        if R == 3 {
            s.select(s.gt(inputs[R - 1], s.zero()), dy, s.zero())
        } else if self.recompute {
            s.select(s.gt(normalised(s, k, inputs[0]), s.zero()), dy, s.zero())
        } else {
            dy
        }
    }
}

#[derive(Clone, Copy)]
struct Reduce<'a>(Masked<'a>);

impl<const R: usize, const W: usize> PlaneSum<3, R, 2, W> for Reduce<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 3] {
        self.0.norm.constants(s, block)
    }
    #[inline(always)]
    fn add<S: Simd>(self, s: S, k: [S::F; 3], inputs: [S::F; R], sums: &mut [S::F; 2]) -> [S::F; W] {
        let g = self.0.g(s, k, inputs);
        sums[0] = s.add(sums[0], g);
        sums[1] = s.fmadd(g, s.sub(inputs[0], k[0]), sums[1]);
        [g; W]
    }
}

#[derive(Clone, Copy)]
struct Apply<'a> {
    masked: Masked<'a>,
    dgamma: &'a [f32],
    dbeta: &'a [f32],
    /// Values per channel.
    count: f32,
}

impl<const R: usize> PlaneFormula<5, R, 1> for Apply<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 5] {
        let [mean, a, beta] = self.masked.norm.constants(s, block);
        let count = s.splat(self.count);
        let mean_g = s.div(of_block(s, self.dbeta, block), count);
        let mean_g_xhat = s.div(of_block(s, self.dgamma, block), count);
        [mean, a, beta, mean_g, s.mul(mean_g_xhat, self.masked.norm.inverse_deviation(s, block))]
    }
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [mean, a, beta, mean_g, slope]: [S::F; 5], inputs: [S::F; R]) -> [S::F; 1] {
        let g = self.masked.g(s, [mean, a, beta], inputs);
        let fitted = s.fmadd(s.sub(inputs[0], mean), slope, mean_g);
        [s.mul(a, s.sub(g, fitted))]
    }
}

#[derive(Clone, Copy)]
struct ApplyRunning<'a>(Masked<'a>);

impl<const R: usize> PlaneFormula<3, R, 1> for ApplyRunning<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 3] {
        self.0.norm.constants(s, block)
    }
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, k: [S::F; 3], inputs: [S::F; R]) -> [S::F; 1] {
        [s.mul(k[1], self.0.g(s, k, inputs))]
    }
}

/// [`ApplyRunning`] without a ReLU, which need not read x.
#[derive(Clone, Copy)]
struct ScaleOnly<'a>(Normalisation<'a>);

impl PlaneFormula<1, 1, 1> for ScaleOnly<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 1] {
        [self.0.constants(s, block)[1]]
    }
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [a]: [S::F; 1], [dy]: [S::F; 1]) -> [S::F; 1] {
        [s.mul(a, dy)]
    }
}
