//! What training does to parameters, over flat slices: each a formula of [`crate::elementwise`].

mod muon;
#[cfg(test)]
mod tests;

pub use muon::{Muon, MuonStep};

use crate::elementwise::flat::{self, Formula};
use crate::elementwise::operands::Read;
use crate::isa::{Isa, Simd};
use crate::threads::ThreadPool;

/// `sum += scale * gradient`.
pub fn accumulate(pool: &ThreadPool, isa: Isa, scale: f32, gradient: &[f32], sum: &mut [f32]) {
    crate::elementwise::axpy(pool, isa, scale, gradient, sum);
}

/// A step of stochastic gradient descent (Sutskever et al. 2013, PyTorch's form):
/// `g = gradient + weight_decay w; v = momentum v + g; w -= rate (nesterov ? g + momentum v : v)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate, the parameter's own multiplier included.
    pub rate: f32,
    /// Share of the old velocity kept.
    pub momentum: f32,
    /// Look ahead.
    pub nesterov: bool,
    /// L2 penalty's factor.
    pub weight_decay: f32,
}

impl Sgd {
    /// Updates w and, if there is one, the velocity; without it v = g.
    pub fn run(
        &self,
        pool: &ThreadPool,
        isa: Isa,
        gradient: &[f32],
        velocity: Option<&mut [f32]>,
        w: &mut [f32],
    ) {
        match velocity {
            Some(v) => {
                let reads = [Read::Slice(gradient), Read::Output(0), Read::Output(1)];
                flat::run(pool, isa, reads, [w, v], *self);
            }
            None => flat::run(pool, isa, [Read::Slice(gradient), Read::Output(0)], [w], *self),
        }
    }

    #[inline(always)]
    fn decayed<S: Simd>(&self, s: S, gradient: S::F, w: S::F) -> S::F {
        s.fmadd(s.splat(self.weight_decay), w, gradient)
    }
}

impl Formula<3, 2> for Sgd {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [gradient, w, v]: [S::F; 3]) -> [S::F; 2] {
        let (momentum, g) = (s.splat(self.momentum), self.decayed(s, gradient, w));
        let v = s.fmadd(momentum, v, g);
        let step = if self.nesterov { s.fmadd(momentum, v, g) } else { v };
        [s.fmadd(s.splat(-self.rate), step, w), v]
    }
}

impl Formula<2, 1> for Sgd {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [gradient, w]: [S::F; 2]) -> [S::F; 1] {
        [s.fmadd(s.splat(-self.rate), self.decayed(s, gradient, w), w)]
    }
}

/// A step of AdamW (Kingma and Ba 2015; Loshchilov and Hutter 2019):
/// `m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= rate ((m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) + decay w)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate, the parameter's own multiplier included.
    pub rate: f32,
    /// Which step this is, from 1.
    pub step: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
}

impl Adam {
    /// Updates w and its two moments.
    pub fn run(&self, pool: &ThreadPool, isa: Isa, gradient: &[f32], [w, m, v]: [&mut [f32]; 3]) {
        // 1 - b^t in f64: in f32 it would lose its digits while t is small and b near 1.
        let [beta1, beta2, step] = [self.beta1, self.beta2, self.step].map(f64::from);
        let formula = AdamFormula {
            adam: *self,
            rest1: (1.0 - beta1) as f32,
            rest2: (1.0 - beta2) as f32,
            unbias1: (1.0 / (1.0 - beta1.powf(step))) as f32,
            unbias2: (1.0 / (1.0 - beta2.powf(step))) as f32,
        };
        let reads = [Read::Slice(gradient), Read::Output(0), Read::Output(1), Read::Output(2)];
        flat::run(pool, isa, reads, [w, m, v], formula);
    }
}

#[derive(Clone, Copy)]
struct AdamFormula {
    adam: Adam,
    rest1: f32,
    rest2: f32,
    unbias1: f32,
    unbias2: f32,
}

impl Formula<4, 3> for AdamFormula {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [g, w, m, v]: [S::F; 4]) -> [S::F; 3] {
        let Adam { rate, beta1, beta2, eps, weight_decay, .. } = self.adam;
        let m = s.fmadd(s.splat(beta1), m, s.mul(s.splat(self.rest1), g));
        let v = s.fmadd(s.splat(beta2), v, s.mul(s.splat(self.rest2), s.mul(g, g)));
        let deviation = s.add(s.sqrt(s.mul(v, s.splat(self.unbias2))), s.splat(eps));
        let direction = s.div(s.mul(m, s.splat(self.unbias1)), deviation);
        let step = s.fmadd(s.splat(weight_decay), w, direction);
        [s.fmadd(s.splat(-rate), step, w), m, v]
    }
}

/// What a batch gave to the running statistics of batch normalisation.
#[derive(Clone, Copy, Debug)]
pub struct RunningUpdate<'a> {
    /// Share of the new batch.
    pub momentum: f32,
    /// Values per channel in the batch: N H W.
    pub count: usize,
    /// Means of the batch `(C)`.
    pub mean: &'a [f32],
    /// Biased variances of the batch `(C)`.
    pub var: &'a [f32],
}

impl RunningUpdate<'_> {
    /// `running = (1 - momentum) running + momentum batch`, the variance first times `count / (count - 1)` (1 if
    /// count is 1).
    pub fn run(&self, running_mean: &mut [f32], running_var: &mut [f32]) {
        let lengths = [self.mean.len(), self.var.len(), running_mean.len(), running_var.len()];
        assert!(lengths.iter().all(|&len| len == lengths[0]), "lengths of the statistics: {lengths:?}");
        let unbias = if self.count > 1 { self.count as f64 / (self.count - 1) as f64 } else { 1.0 };
        // A few thousand numbers at most: no threads, and f64 as it costs nothing.
        let momentum = f64::from(self.momentum);
        let blend = |old: f32, new: f64| ((1.0 - momentum) * f64::from(old) + momentum * new) as f32;
        for (running, &mean) in running_mean.iter_mut().zip(self.mean) {
            *running = blend(*running, f64::from(mean));
        }
        for (running, &var) in running_var.iter_mut().zip(self.var) {
            *running = blend(*running, unbias * f64::from(var));
        }
    }
}
