//! The user's own operations: they run in `f32` on owned tensors, whatever the element type around them.
//!
//! An operation that gives another number of tensors, or other sizes, than it promised gets NaN in the outputs it
//! failed: noticed at once downstream, and no panic in the middle of a run.

use ocellus_graph::ops::{Custom, CustomGrad};
use ocellus_tensor::{Element, Tensor};

use super::{OpCall, View, ViewMut};

pub fn forward<T: Element>(op: &Custom, call: OpCall<'_, '_, T>) {
    let inputs: Vec<Tensor> = call.inputs.iter().map(to_tensor).collect();
    let made = op.op.forward(&inputs.iter().collect::<Vec<_>>());
    store(&made, call.outputs);
}

pub fn grad<T: Element>(op: &CustomGrad, call: OpCall<'_, '_, T>) {
    let inputs: Vec<Tensor> = call.inputs.iter().map(to_tensor).collect();
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let (own, gradients) = inputs.split_at(op.inputs.min(inputs.len()));
    store(&op.op.backward(own, gradients), call.outputs);
}

fn to_tensor<T: Element>(view: &View<'_, T>) -> Tensor {
    Tensor::from_fn(view.shape.clone(), |i| view.data[i].to_f64() as f32)
}

fn store<T: Element>(made: &[Tensor], outputs: &mut [ViewMut<'_, T>]) {
    for (i, output) in outputs.iter_mut().enumerate() {
        match made.get(i).filter(|tensor| tensor.shape() == output.shape) {
            Some(tensor) => {
                for (to, from) in output.data.iter_mut().zip(tensor.data()) {
                    *to = T::from_f64(f64::from(*from));
                }
            }
            None => output.data.fill(T::from_f64(f64::NAN)),
        }
    }
}
