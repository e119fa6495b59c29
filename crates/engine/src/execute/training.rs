//! Losses on logits, accuracy, and what training does to parameters.

use ocellus_graph::ops;
use ocellus_kernels::loss::{self, SoftmaxCrossEntropy, Target};
use ocellus_kernels::update::{self, Adam, Muon, MuonStep, RunningUpdate, Sgd};

use super::Call;
use crate::plan::LossSizes;

fn function(sizes: LossSizes, target: &[f32]) -> SoftmaxCrossEntropy<'_> {
    let LossSizes { classes, labels, smoothing } = sizes;
    let target = if labels { Target::Labels(target) } else { Target::Probabilities(target) };
    SoftmaxCrossEntropy { classes, target, smoothing }
}

pub fn softmax_cross_entropy(mut call: Call<'_>, sizes: LossSizes) {
    let (pool, isa) = call.tools();
    let ([logits, target], [loss, scratch]) = call.parts();
    loss[0] = function(sizes, target).loss(pool, isa, logits, scratch);
}

pub fn softmax_cross_entropy_grad(mut call: Call<'_>, sizes: LossSizes) {
    let (pool, isa) = call.tools();
    let ([logits, target, dloss], [dx, _]) = call.parts();
    function(sizes, target).gradient(pool, isa, logits, dloss[0], dx);
}

pub fn accuracy(mut call: Call<'_>, top: usize) {
    let (pool, _) = call.tools();
    let ([scores, label], [share, _]) = call.parts();
    share[0] = loss::accuracy(pool, scores, label, top);
}

pub fn sgd(mut call: Call<'_>, update: &ops::SgdUpdate) {
    let (pool, isa) = call.tools();
    let ops::SgdUpdate { momentum, nesterov, weight_decay, lr_mult } = *update;
    let sgd = |lr: &[f32]| Sgd { rate: lr[0] * lr_mult, momentum, nesterov, weight_decay };
    if momentum == 0.0 {
        let ([gradient, lr], [w, _]) = call.parts();
        return sgd(lr).run(pool, isa, gradient, None, w);
    }
    let ([gradient, lr], [w, velocity, _]) = call.parts();
    sgd(lr).run(pool, isa, gradient, Some(velocity), w);
}

pub fn adam(mut call: Call<'_>, update: &ops::AdamUpdate) {
    let (pool, isa) = call.tools();
    let ops::AdamUpdate { beta1, beta2, eps, weight_decay, lr_mult } = *update;
    let ([gradient, lr, t], [w, m, v, _]) = call.parts();
    let adam = Adam { rate: lr[0] * lr_mult, step: t[0], beta1, beta2, eps, weight_decay };
    adam.run(pool, isa, gradient, [w, m, v]);
}

pub fn muon(mut call: Call<'_>, recipe: &Muon, update: &ops::MuonUpdate) {
    let (pool, _) = call.tools();
    let ops::MuonUpdate { momentum, weight_decay, lr_mult } = *update;
    let ([gradient, lr], [w, velocity, scratch]) = call.parts();
    let step = MuonStep { rate: lr[0] * lr_mult, momentum, weight_decay };
    recipe.run(pool, step, gradient, [w, velocity], scratch);
}

pub fn accumulate(mut call: Call<'_>, scale: f32) {
    let (pool, isa) = call.tools();
    let ([gradient], [sum, _]) = call.parts();
    update::accumulate(pool, isa, scale, gradient, sum);
}

pub fn running_update(mut call: Call<'_>, update: &ops::RunningUpdate) {
    let ops::RunningUpdate { momentum, count } = *update;
    let ([mean, var], [running_mean, running_var, _]) = call.parts();
    RunningUpdate { momentum, count, mean, var }.run(running_mean, running_var);
}
