//! Class indices as vectors.

use ocellus_graph::ops::OneHot;
use ocellus_kernels::reference::one_hot as kernel;
use ocellus_tensor::Element;

use super::OpCall;

pub fn forward<T: Element>(op: &OneHot, mut call: OpCall<'_, '_, T>) {
    kernel::one_hot(op.classes, call.input(0), call.output(0));
}
