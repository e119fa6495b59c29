//! Elementwise arithmetic with broadcasting, and the sums and copies of its gradient.

use ocellus_graph::ops::{Binary, BinaryKind};
use ocellus_kernels::reference::arithmetic::{self, Operand};
use ocellus_tensor::Element;

use super::{OpCall, View};

fn operand<'v, T>(view: View<'v, T>) -> Operand<'v, T> {
    Operand { dims: view.shape.dims(), data: view.data }
}

pub fn binary<T: Element>(op: &Binary, call: OpCall<'_, '_, T>) {
    let (a, b, dims) = (operand(call.inputs[0]), operand(call.inputs[1]), call.outputs[0].shape.dims());
    let y = &mut *call.outputs[0].data;
    match op.kind {
        BinaryKind::Add => arithmetic::binary(a, b, dims, y, |a, b| a + b),
        BinaryKind::Sub => arithmetic::binary(a, b, dims, y, |a, b| a - b),
        BinaryKind::Mul => arithmetic::binary(a, b, dims, y, |a, b| a * b),
        BinaryKind::Div => arithmetic::binary(a, b, dims, y, |a, b| a / b),
        BinaryKind::Maximum => arithmetic::binary(a, b, dims, y, T::maximum),
    }
}

pub fn maximum_grad<T: Element>(mut call: OpCall<'_, '_, T>) {
    arithmetic::maximum_grad(call.input(0), call.input(1), call.input(2), call.output(0));
}

pub fn sum_to<T: Element>(call: OpCall<'_, '_, T>) {
    let dims = call.outputs[0].shape.dims();
    arithmetic::sum_to(operand(call.inputs[0]), dims, call.outputs[0].data);
}

pub fn broadcast_to<T: Element>(call: OpCall<'_, '_, T>) {
    let dims = call.outputs[0].shape.dims();
    arithmetic::broadcast_to(operand(call.inputs[0]), dims, call.outputs[0].data);
}
