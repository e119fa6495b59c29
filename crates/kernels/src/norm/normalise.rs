//! Normalising, adding a residual branch and taking the ReLU in one pass; and scaling and shifting likewise.
//!
//! ```text
//! Normalise:  y = act((x - mean) a + beta + residual),  a = gamma / sqrt(var + eps)
//! ScaleShift: y = act(a x + b + residual)
//! ```
//!
//! The mean is subtracted first, as `beta - mean a` would lose digits where |mean| is much larger than the deviation.

use crate::elementwise::operands::Read;
use crate::elementwise::plane::{self, PlaneFormula, of_block, of_block_or};
use crate::elementwise::{Blocked, Source};
use crate::isa::{Isa, Simd};
use crate::threads::ThreadPool;

/// What batch normalisation does to each channel; all slices are `(C)`.
#[derive(Clone, Copy, Debug)]
pub struct Normalisation<'a> {
    /// The means that normalise: the batch's or the running ones.
    pub mean: &'a [f32],
    /// The biased variances that normalise.
    pub var: &'a [f32],
    /// Scales; 1 if absent.
    pub gamma: Option<&'a [f32]>,
    /// Shifts; 0 if absent.
    pub beta: Option<&'a [f32]>,
    /// Added to the variance.
    pub eps: f32,
}

impl Normalisation<'_> {
    /// Panics unless every slice has a number per channel.
    #[track_caller]
    pub(super) fn check(&self, channels: usize) {
        assert_eq!((self.mean.len(), self.var.len()), (channels, channels), "mean and var lengths");
        for affine in [self.gamma, self.beta].into_iter().flatten() {
            assert_eq!(affine.len(), channels, "gamma or beta length");
        }
    }

    /// 1 / sqrt(var + eps), rounded as IEEE says at each step, so the same everywhere.
    #[inline(always)]
    pub(super) fn inverse_deviation<S: Simd>(&self, s: S, block: usize) -> S::F {
        s.div(s.splat(1.0), s.sqrt(s.add(of_block(s, self.var, block), s.splat(self.eps))))
    }

    /// `[mean, a, beta]` of a block of channels.
    #[inline(always)]
    pub(super) fn constants<S: Simd>(&self, s: S, block: usize) -> [S::F; 3] {
        let gamma = of_block_or(s, self.gamma, block, 1.0);
        let a = s.mul(gamma, self.inverse_deviation(s, block));
        [of_block(s, self.mean, block), a, of_block_or(s, self.beta, block, 0.0)]
    }
}

/// The normalised value before anything is added: the forward pass and the recomputed mask must agree to the bit.
#[inline(always)]
pub(super) fn normalised<S: Simd>(s: S, [mean, a, beta]: [S::F; 3], x: S::F) -> S::F {
    s.fmadd(s.sub(x, mean), a, beta)
}

/// `y = act(gamma (x - mean) / sqrt(var + eps) + beta + residual)`, blocked.
#[derive(Clone, Copy, Debug)]
pub struct Normalise<'a> {
    /// Sizes of x and y.
    pub size: Blocked,
    /// Statistics and affine numbers.
    pub norm: Normalisation<'a>,
    /// Added before the activation; like x.
    pub residual: Option<&'a [f32]>,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl Normalise<'_> {
    /// Runs the pass; x may be y itself.
    pub fn run(&self, pool: &ThreadPool, isa: Isa, x: Source<'_>, y: &mut [f32]) {
        self.norm.check(self.size.channels);
        let formula = NormaliseOp { norm: self.norm, relu: self.relu };
        match self.residual {
            None => plane::map((pool, isa), self.size, [x.read()], [y], formula),
            Some(r) => plane::map((pool, isa), self.size, [x.read(), Read::Slice(r)], [y], formula),
        }
    }
}

#[derive(Clone, Copy)]
struct NormaliseOp<'a> {
    norm: Normalisation<'a>,
    relu: bool,
}

impl<const R: usize> PlaneFormula<3, R, 1> for NormaliseOp<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 3] {
        self.norm.constants(s, block)
    }
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, k: [S::F; 3], inputs: [S::F; R]) -> [S::F; 1] {
        [finish(s, self.relu, normalised(s, k, inputs[0]), &inputs[1..])]
    }
}

/// `y = act(scale x + shift + residual)`, blocked: normalisation with all its numbers folded into two.
#[derive(Clone, Copy, Debug)]
pub struct ScaleShift<'a> {
    /// Sizes of x and y.
    pub size: Blocked,
    /// `(C)`.
    pub scale: &'a [f32],
    /// `(C)`.
    pub shift: &'a [f32],
    /// Added before the activation; like x.
    pub residual: Option<&'a [f32]>,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl ScaleShift<'_> {
    /// Runs the pass; x may be y itself.
    pub fn run(&self, pool: &ThreadPool, isa: Isa, x: Source<'_>, y: &mut [f32]) {
        let channels = self.size.channels;
        assert_eq!((self.scale.len(), self.shift.len()), (channels, channels), "scale and shift lengths");
        let formula = ScaleShiftOp { scale: self.scale, shift: self.shift, relu: self.relu };
        match self.residual {
            None => plane::map((pool, isa), self.size, [x.read()], [y], formula),
            Some(r) => plane::map((pool, isa), self.size, [x.read(), Read::Slice(r)], [y], formula),
        }
    }
}

#[derive(Clone, Copy)]
struct ScaleShiftOp<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    relu: bool,
}

impl<const R: usize> PlaneFormula<2, R, 1> for ScaleShiftOp<'_> {
    #[inline(always)]
    fn constants<S: Simd>(self, s: S, block: usize) -> [S::F; 2] {
        [of_block(s, self.scale, block), of_block(s, self.shift, block)]
    }
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [scale, shift]: [S::F; 2], inputs: [S::F; R]) -> [S::F; 1] {
        [finish(s, self.relu, s.fmadd(scale, inputs[0], shift), &inputs[1..])]
    }
}

/// Adds the residual, if there is one, and takes the ReLU.
#[inline(always)]
fn finish<S: Simd>(s: S, relu: bool, mut y: S::F, residual: &[S::F]) -> S::F {
    for &residual in residual {
        y = s.add(y, residual);
    }
    if relu { s.max(s.zero(), y) } else { y }
}
