//! Axes in another order.

use ocellus_graph::ops::Transpose;
use ocellus_kernels::reference::transpose::transpose;
use ocellus_tensor::Element;

use super::OpCall;

pub fn forward<T: Element>(op: &Transpose, mut call: OpCall<'_, '_, T>) {
    transpose(call.inputs[0].shape.dims(), &op.order, call.input(0), call.output(0));
}
