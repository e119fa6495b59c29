//! A border around the image, and its gradient.

use ocellus_graph::ops::{Pad, PadGrad, PadMode};
use ocellus_kernels::reference::pad::{self, Border, PadGeometry};
use ocellus_tensor::{Element, Shape};

use super::{OpCall, image_sizes};

fn geometry(op: &Pad, x: &Shape) -> PadGeometry {
    let border = match op.mode {
        PadMode::Constant(value) => Border::Constant(f64::from(value)),
        PadMode::Reflect => Border::Reflect,
        PadMode::Replicate => Border::Replicate,
    };
    PadGeometry { input: image_sizes(x), channels: op.channels, padding: op.padding, border }
}

pub fn forward<T: Element>(op: &Pad, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(op, call.inputs[0].shape);
    pad::pad(&geometry, call.input(0), call.output(0));
}

pub fn grad<T: Element>(op: &PadGrad, mut call: OpCall<'_, '_, T>) {
    let geometry = geometry(&op.pad, call.outputs[0].shape);
    pad::pad_grad(&geometry, call.input(0), call.output(0));
}
