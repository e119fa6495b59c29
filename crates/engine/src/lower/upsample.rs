//! Enlarging an image by whole factors, and the gradient.

use ocellus_graph::ops::{Interpolation, Upsample, UpsampleGrad};
use ocellus_kernels::reference::upsample::{self, UpsampleGeometry};
use ocellus_tensor::{Element, Shape};

use super::{OpCall, image_sizes};

fn geometry(op: &Upsample, x: &Shape) -> UpsampleGeometry {
    let [batch, channels, height, width] = image_sizes(x);
    let bilinear = op.interpolation == Interpolation::Bilinear;
    UpsampleGeometry { planes: batch * channels, input: [height, width], factor: op.factor, bilinear }
}

pub fn forward<T: Element>(op: &Upsample, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op, call.inputs[0].shape);
    upsample::upsample(&geometry, call.input(0), call.output(0));
}

pub fn grad<T: Element>(op: &UpsampleGrad, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(&op.upsample, call.outputs[0].shape);
    upsample::upsample_grad(&geometry, call.input(0), call.output(0));
}
