//! A part of a tensor along one axis, and its gradient.

use ocellus_graph::ops::{Slice, SliceGrad};
use ocellus_kernels::reference::slice::{self, SliceGeometry};
use ocellus_tensor::{Element, Shape};

use super::OpCall;

fn geometry(op: &Slice, x: &Shape) -> SliceGeometry {
    SliceGeometry {
        outer: x.iter().take(op.axis).product(),
        size: x[op.axis],
        inner: x.iter().skip(op.axis + 1).product(),
        start: op.start,
        step: op.step,
        count: op.count,
    }
}

pub fn forward<T: Element>(op: &Slice, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op, call.inputs[0].shape);
    slice::slice(&geometry, call.input(0), call.output(0));
}

pub fn grad<T: Element>(op: &SliceGrad, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(&op.slice, call.outputs[0].shape);
    slice::slice_grad(&geometry, call.input(0), call.output(0));
}
