//! The index of the largest number along an axis.

use ocellus_graph::ops::ArgMax;
use ocellus_kernels::reference::arg_max as kernel;
use ocellus_tensor::Element;

use super::OpCall;

pub fn forward<T: Element>(op: &ArgMax, mut call: OpCall<'_, '_, T>) {
    let dims = call.inputs[0].shape;
    let (outer, inner) = (dims[..op.axis].iter().product(), dims[op.axis + 1..].iter().product());
    kernel::arg_max([outer, dims[op.axis], inner], op.last, call.input(0), call.output(0));
}
