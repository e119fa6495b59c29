//! Normalisation: by the batch, by groups, by pixels, by neighbours.

use ocellus_graph::ops::Statistics;
use ocellus_kernels::elementwise::Blocked;
use ocellus_kernels::norm::{
    self, AffineGrads, GroupNorm, LayerNorm, Lrn, Moments, Normalisation, Normalise, NormaliseGrad, ReluMask,
};

use super::{Call, optional, shared};
use crate::plan::Mask;

pub fn batch_statistics(mut call: Call<'_>, size: Blocked) {
    let (pool, isa) = call.tools();
    let ([x], [mean, var, scratch]) = call.parts();
    norm::statistics(pool, isa, size, x, Moments { mean, var }, scratch);
}

pub fn normalise(mut call: Call<'_>, size: Blocked, eps: f32, relu: bool) {
    let (pool, isa) = call.tools();
    let ([x, gamma, beta, mean, var, residual], [y, _]) = call.parts();
    let norm = Normalisation { mean, var, gamma: optional(gamma), beta: optional(beta), eps };
    Normalise { size, norm, residual: optional(residual), relu }.run(pool, isa, shared(x), y);
}

pub fn batch_norm_grad(mut call: Call<'_>, size: Blocked, eps: f32, (statistics, mask): (Statistics, Mask)) {
    let tools = call.tools();
    let ([dy, x, y, gamma, beta, mean, var], [dx, dgamma, dbeta, scratch]) = call.parts();
    let norm = Normalisation { mean, var, gamma: optional(gamma), beta: optional(beta), eps };
    let mask = match mask {
        Mask::None => ReluMask::None,
        Mask::Output => ReluMask::Output(y),
        Mask::Recompute => ReluMask::Recompute,
    };
    let grad = NormaliseGrad { size, norm, mask };
    let incoming = if dy.is_empty() { &*dx } else { dy };
    let sums = AffineGrads { dgamma: &mut *dgamma, dbeta: &mut *dbeta };
    grad.reduce(tools, x, incoming, sums, scratch);
    match statistics {
        Statistics::Batch => grad.apply(tools, x, shared(dy), (dgamma, dbeta), dx),
        Statistics::Running => grad.apply_running(tools, x, shared(dy), dx),
    }
}

pub fn group(mut call: Call<'_>, norm: &GroupNorm) {
    let tools = call.tools();
    let ([x, gamma, beta], [y, scratch]) = call.parts();
    norm.run(tools, (optional(gamma), optional(beta)), x, (y, scratch));
}

pub fn group_grad(mut call: Call<'_>, norm: &GroupNorm) {
    let tools = call.tools();
    let ([dy, x, gamma], [dx, dgamma, dbeta, scratch]) = call.parts();
    norm.gradient(tools, optional(gamma), (x, dy), (dx, AffineGrads { dgamma, dbeta }), scratch);
}

pub fn layer(mut call: Call<'_>, norm: &LayerNorm) {
    let tools = call.tools();
    let ([x, gamma, beta], [y, _]) = call.parts();
    norm.run(tools, (optional(gamma), optional(beta)), x, y);
}

pub fn layer_grad(mut call: Call<'_>, norm: &LayerNorm) {
    let tools = call.tools();
    let ([dy, x, gamma], [dx, dgamma, dbeta, scratch]) = call.parts();
    norm.gradient(tools, optional(gamma), (x, dy), (dx, AffineGrads { dgamma, dbeta }), scratch);
}

pub fn response(mut call: Call<'_>, lrn: &Lrn) {
    let tools = call.tools();
    let ([x], [y, scratch]) = call.parts();
    lrn.run(tools, x, y, scratch);
}

pub fn response_grad(mut call: Call<'_>, lrn: &Lrn) {
    let tools = call.tools();
    let ([x, dy], [dx, scratch]) = call.parts();
    lrn.gradient(tools, (x, dy), dx, scratch);
}
