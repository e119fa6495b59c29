//! Group, instance and layer normalisation and their gradient.

use ocellus_graph::ops::{Norm, NormAxes, NormGrad};
use ocellus_kernels::reference::batch_norm::{Affine, NormalizeGradOutputs};
use ocellus_kernels::reference::norm::{self, NormSizes, Sets};
use ocellus_tensor::{Element, Shape};

use super::{OpCall, channel_sizes};

/// The division of x into sets that share statistics.
fn sizes(axes: NormAxes, x: &Shape) -> NormSizes {
    let tensor = channel_sizes(x);
    let sets = match axes {
        NormAxes::Groups(groups) => Sets::Groups(groups),
        NormAxes::Instance => Sets::Groups(tensor.channels),
        NormAxes::Channels => Sets::Channels,
    };
    NormSizes { tensor, sets }
}

pub fn forward<T: Element>(op: &Norm, mut call: OpCall<'_, '_, T>) {
    let sizes = sizes(op.axes, call.inputs[0].shape);
    let affine = op.affine.then(|| Affine { gamma: call.input(1), beta: call.input(2) });
    norm::norm(sizes, f64::from(op.eps), affine, call.input(0), call.output(0));
}

pub fn grad<T: Element>(op: &NormGrad, mut call: OpCall<'_, '_, T>) {
    let sizes = sizes(op.norm.axes, call.inputs[0].shape);
    let gamma = op.norm.affine.then(|| call.input(2));
    let grad = norm::NormGrad { eps: f64::from(op.norm.eps), gamma, x: call.input(0), dy: call.input(1) };
    let [dx, dgamma, dbeta] = call.all_outputs();
    norm::norm_grad(sizes, grad, NormalizeGradOutputs { dx, dgamma: Some(dgamma), dbeta: Some(dbeta) });
}
