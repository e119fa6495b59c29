//! Tensors laid end to end.

use ocellus_graph::ops::Concat;
use ocellus_kernels::reference::concat::concat;
use ocellus_tensor::Element;

use super::OpCall;

pub fn forward<T: Element>(op: &Concat, mut call: OpCall<'_, '_, T>) {
    let inputs = call.inputs;
    let outer = inputs[0].shape.iter().take(op.axis).product();
    concat(outer, inputs.iter().map(|view| view.data), call.output(0));
}
