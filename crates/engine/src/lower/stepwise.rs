//! Functions that are constant between steps.

use ocellus_graph::ops::Stepwise;
use ocellus_kernels::reference::activation::map;
use ocellus_kernels::reference::stepwise as f;
use ocellus_tensor::Element;

use super::OpCall;

pub fn forward<T: Element>(op: &Stepwise, mut call: OpCall<'_, '_, T>) {
    let x = call.input(0);
    let y = call.output(0);
    match *op {
        Stepwise::Floor => map(x, y, f::floor),
        Stepwise::Round => map(x, y, f::round),
        Stepwise::Held => map(x, y, |x| x),
        Stepwise::Above { threshold } => map(x, y, |x| f::above(x, threshold.into())),
    }
}
