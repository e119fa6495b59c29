//! The fully connected layer and its gradients.

use ocellus_kernels::reference::linear::{self, LinearSizes};
use ocellus_tensor::{Element, Shape};

use super::OpCall;

/// Sizes from the shapes of x `(N, F)` (or dx) and y `(N, O)` (or dy).
fn sizes(x: &Shape, y: &Shape) -> LinearSizes {
    let size = |shape: &Shape, axis: usize| shape.get(axis).copied().unwrap_or(1);
    LinearSizes { rows: size(x, 0), inputs: size(x, 1), outputs: size(y, 1) }
}

pub fn forward<T: Element>(mut call: OpCall<'_, '_, T>) {
    let sizes = sizes(call.inputs[0].shape, call.outputs[0].shape);
    linear::linear(sizes, call.input(0), call.input(1), call.optional_input(2), call.output(0));
}

pub fn grad_input<T: Element>(mut call: OpCall<'_, '_, T>) {
    let sizes = sizes(call.outputs[0].shape, call.inputs[0].shape);
    linear::linear_grad_input(sizes, call.input(0), call.input(1), call.output(0));
}

pub fn grad_weight<T: Element>(mut call: OpCall<'_, '_, T>) {
    let sizes = sizes(call.inputs[0].shape, call.inputs[1].shape);
    linear::linear_grad_weight(sizes, call.input(0), call.input(1), call.output(0));
}
