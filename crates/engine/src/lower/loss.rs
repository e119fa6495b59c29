//! Losses, their gradients with respect to the predictions, and the accuracy.

use ocellus_graph::ops::{Accuracy, LossGrad, LossKind, LossOp};
use ocellus_kernels::reference::loss::{self, Rows, Target, TripletPart, Triplets};
use ocellus_tensor::Element;

use super::{OpCall, View};

/// `(N, C)` as rows.
fn rows<'v, T>(view: View<'v, T>) -> Rows<'v, T> {
    Rows { columns: view.shape.last().copied().unwrap_or(1), data: view.data }
}

/// Labels `(N)` or probabilities `(N, C)`.
fn target<'v, T>(view: View<'v, T>) -> Target<'v, T> {
    if view.shape.rank() == 1 { Target::Labels(view.data) } else { Target::Probabilities(view.data) }
}

fn triplets<'v, T: Element>(call: &OpCall<'_, 'v, T>) -> Triplets<'v, T> {
    let [anchor, positive, negative] = [0, 1, 2].map(|i| rows(call.inputs[i]));
    Triplets { anchor, positive, negative }
}

pub fn forward<T: Element>(op: &LossOp, mut call: OpCall<'_, '_, T>) {
    let (a, b) = (call.inputs[0], call.inputs[1]);
    let value = match op.kind {
        LossKind::SoftmaxCrossEntropy { smoothing } => {
            loss::softmax_cross_entropy(rows(a), target(b), smoothing.into())
        }
        LossKind::SigmoidCrossEntropy => loss::sigmoid_cross_entropy(a.data, b.data),
        LossKind::MeanSquaredError => loss::mean_squared_error(a.data, b.data),
        LossKind::Hinge { squared } => loss::hinge(rows(a), b.data, squared),
        LossKind::Contrastive { margin } => loss::contrastive(rows(a), rows(b), call.input(2), margin.into()),
        LossKind::Triplet { margin } => loss::triplet(triplets(&call), margin.into()),
    };
    call.output(0)[0] = value;
}

pub fn grad<T: Element>(op: &LossGrad, mut call: OpCall<'_, '_, T>) {
    let (a, b) = (call.inputs[0], call.inputs[1]);
    let dloss = call.input(call.inputs.len() - 1)[0];
    match op.kind {
        LossKind::SoftmaxCrossEntropy { smoothing } => {
            let smoothing = smoothing.into();
            loss::softmax_cross_entropy_grad(rows(a), target(b), smoothing, dloss, call.output(0));
        }
        LossKind::SigmoidCrossEntropy => {
            loss::sigmoid_cross_entropy_grad(a.data, b.data, dloss, call.output(0));
        }
        LossKind::MeanSquaredError => {
            loss::mean_squared_error_grad(a.data, b.data, dloss, call.output(0));
            loss::mean_squared_error_grad(b.data, a.data, dloss, call.output(1));
        }
        LossKind::Hinge { squared } => loss::hinge_grad(rows(a), b.data, squared, dloss, call.output(0)),
        LossKind::Contrastive { margin } => {
            let (a, b, matching, margin) = (rows(a), rows(b), call.input(2), margin.into());
            loss::contrastive_grad(a, b, matching, margin, dloss, call.output(0));
            loss::contrastive_grad(b, a, matching, margin, dloss, call.output(1));
        }
        LossKind::Triplet { margin } => {
            let (all, margin) = (triplets(&call), margin.into());
            loss::triplet_grad(all, margin, TripletPart::Anchor, dloss, call.output(0));
            loss::triplet_grad(all, margin, TripletPart::Positive, dloss, call.output(1));
            loss::triplet_grad(all, margin, TripletPart::Negative, dloss, call.output(2));
        }
    }
}

pub fn accuracy<T: Element>(op: &Accuracy, mut call: OpCall<'_, '_, T>) {
    call.output(0)[0] = loss::accuracy(rows(call.inputs[0]), call.input(1), op.top);
}
