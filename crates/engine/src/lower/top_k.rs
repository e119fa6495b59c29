//! The largest numbers along an axis and their indices.

use ocellus_graph::ops::TopK;
use ocellus_kernels::reference::top_k as kernel;
use ocellus_tensor::Element;

use super::OpCall;

pub fn forward<T: Element>(op: &TopK, mut call: OpCall<'_, '_, T>) {
    let dims = call.inputs[0].shape;
    let (outer, inner) = (dims[..op.axis].iter().product(), dims[op.axis + 1..].iter().product());
    let x = call.input(0);
    kernel::top_k([outer, dims[op.axis], inner], (op.count, op.last), x, call.all_outputs());
}
