//! What training does to parameters. The outputs of these calls are the parameters that are written.

use ocellus_graph::ops::{Accumulate, AdamUpdate, MuonUpdate, SgdUpdate};
use ocellus_kernels::reference::update::{self, Adam, Muon, Sgd};
use ocellus_tensor::Element;

use super::OpCall;

/// Inputs: gradient. Written: sum.
pub fn accumulate<T: Element>(op: &Accumulate, mut call: OpCall<'_, '_, T>) {
    update::accumulate(f64::from(op.scale), call.input(0), call.output(0));
}

/// Inputs: gradient, lr. Written: w and, with momentum, velocity.
pub fn sgd<T: Element>(op: &SgdUpdate, mut call: OpCall<'_, '_, T>) {
    let step = Sgd {
        rate: call.number(1) * f64::from(op.lr_mult),
        momentum: f64::from(op.momentum),
        nesterov: op.nesterov,
        weight_decay: f64::from(op.weight_decay),
    };
    let gradient = call.input(0);
    if op.momentum == 0.0 {
        update::sgd(step, gradient, None, call.output(0));
    } else {
        let [w, velocity] = call.all_outputs();
        update::sgd(step, gradient, Some(velocity), w);
    }
}

/// Inputs: gradient, lr, t. Written: w, m, v.
pub fn adam<T: Element>(op: &AdamUpdate, mut call: OpCall<'_, '_, T>) {
    let step = Adam {
        rate: call.number(1) * f64::from(op.lr_mult),
        step: call.number(2),
        beta1: f64::from(op.beta1),
        beta2: f64::from(op.beta2),
        eps: f64::from(op.eps),
        weight_decay: f64::from(op.weight_decay),
    };
    let gradient = call.input(0);
    let [w, m, v] = call.all_outputs();
    update::adam(step, gradient, w, m, v);
}

/// Inputs: gradient, lr. Written: w, velocity.
pub fn muon<T: Element>(op: &MuonUpdate, mut call: OpCall<'_, '_, T>) {
    let step = Muon {
        rate: call.number(1) * f64::from(op.lr_mult),
        momentum: f64::from(op.momentum),
        weight_decay: f64::from(op.weight_decay),
    };
    let (gradient, rows) = (call.input(0), call.inputs[0].shape[0]);
    let [w, velocity] = call.all_outputs();
    update::muon(step, rows, gradient, w, velocity);
}
