//! Local response normalisation and its gradient.

use ocellus_graph::ops::{Lrn, LrnGrad, LrnRegion};
use ocellus_kernels::reference::lrn::{self, LrnGeometry};
use ocellus_tensor::{Element, Shape};

use super::{OpCall, image_sizes};

fn geometry(op: &Lrn, x: &Shape) -> LrnGeometry {
    LrnGeometry {
        dims: image_sizes(x),
        size: op.size,
        across_channels: op.region == LrnRegion::AcrossChannels,
        alpha: f64::from(op.alpha),
        beta: f64::from(op.beta),
        k: f64::from(op.k),
    }
}

pub fn forward<T: Element>(op: &Lrn, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op, call.inputs[0].shape);
    lrn::lrn(&geometry, call.input(0), call.output(0));
}

pub fn grad<T: Element>(op: &LrnGrad, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(&op.lrn, call.inputs[0].shape);
    lrn::lrn_grad(&geometry, call.input(0), call.input(1), call.output(0));
}
