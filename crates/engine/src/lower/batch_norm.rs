//! Batch normalisation, its gradient, and the running statistics.

use ocellus_graph::ops::{BatchNorm, BatchNormGrad, RunningUpdate, Statistics};
use ocellus_kernels::reference::batch_norm::{
    self, Affine, Moments, NormalizeGrad, NormalizeGradOutputs, batch_moments, normalize, normalize_grad,
};
use ocellus_tensor::Element;

use super::{OpCall, channel_sizes};

pub fn forward<T: Element>(op: &BatchNorm, mut call: OpCall<'_, '_, T>) {
    let (sizes, eps, x) = (channel_sizes(call.inputs[0].shape), f64::from(op.eps), call.input(0));
    let affine = op.affine.then(|| Affine { gamma: call.input(1), beta: call.input(2) });
    match op.statistics {
        Statistics::Running => {
            let first = if op.affine { 3 } else { 1 };
            let moments = Moments { mean: call.input(first), var: call.input(first + 1) };
            normalize(sizes, eps, moments, affine, x, call.output(0));
        }
        Statistics::Batch => {
            let [y, mean, var] = call.all_outputs();
            batch_moments(sizes, x, mean, var);
            normalize(sizes, eps, Moments { mean, var }, affine, x, y);
        }
    }
}

pub fn grad<T: Element>(op: &BatchNormGrad, mut call: OpCall<'_, '_, T>) {
    let first = if op.norm.affine { 3 } else { 2 };
    let grad = NormalizeGrad {
        eps: f64::from(op.norm.eps),
        of_batch: op.norm.statistics == Statistics::Batch,
        moments: Moments { mean: call.input(first), var: call.input(first + 1) },
        gamma: op.norm.affine.then(|| call.input(2)),
        x: call.input(0),
        dy: call.input(1),
    };
    let sizes = channel_sizes(call.inputs[0].shape);
    let [dx, dgamma, dbeta] = call.all_outputs();
    normalize_grad(sizes, grad, NormalizeGradOutputs { dx, dgamma: Some(dgamma), dbeta: Some(dbeta) });
}

pub fn running_update<T: Element>(op: &RunningUpdate, mut call: OpCall<'_, '_, T>) {
    let batch = Moments { mean: call.input(0), var: call.input(1) };
    let [mean, var] = call.all_outputs();
    batch_norm::running_update(f64::from(op.momentum), op.count, batch, mean, var);
}
