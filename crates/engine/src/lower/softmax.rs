//! Softmax or its logarithm along the channels, and the gradient.

use ocellus_graph::ops::{Softmax, SoftmaxGrad};
use ocellus_kernels::reference::softmax;
use ocellus_tensor::Element;

use super::{OpCall, channel_sizes};

pub fn forward<T: Element>(op: &Softmax, mut call: OpCall<'_, '_, T>) {
    let sizes = channel_sizes(call.inputs[0].shape);
    softmax::softmax(sizes, op.log, call.input(0), call.output(0));
}

pub fn grad<T: Element>(op: &SoftmaxGrad, mut call: OpCall<'_, '_, T>) {
    let sizes = channel_sizes(call.inputs[0].shape);
    softmax::softmax_grad(sizes, op.softmax.log, call.input(0), call.input(1), call.output(0));
}
