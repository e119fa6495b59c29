//! Sums, means and maxima over axes.

use ocellus_graph::ops::{Reduce, ReduceKind};
use ocellus_kernels::reference::reduce::{Reduction, reduce};
use ocellus_tensor::Element;

use super::OpCall;

pub fn forward<T: Element>(op: &Reduce, mut call: OpCall<'_, '_, T>) {
    let kind = match op.kind {
        ReduceKind::Sum => Reduction::Sum,
        ReduceKind::Mean => Reduction::Mean,
        ReduceKind::Max => Reduction::Max,
    };
    reduce(kind, &op.axes, call.inputs[0].shape.dims(), call.input(0), call.output(0));
}
