//! Dropout by its counter-based mask; a copy while not active.

use ocellus_graph::ops::Dropout;
use ocellus_kernels::random::DropoutMask;
use ocellus_kernels::reference::dropout::dropout;
use ocellus_tensor::Element;

use super::OpCall;

pub fn forward<T: Element>(op: &Dropout, mut call: OpCall<'_, '_, T>) {
    let x = call.input(0);
    if op.active {
        let mask = DropoutMask::new(op.rate, call.random.seed, call.random.step, op.stream);
        dropout(op.rate, &mask, x, call.output(0));
    } else {
        call.output(0).copy_from_slice(x);
    }
}
