//! BatchNorm that is not folded into a convolution: training forward and backward, and constant statistics whose
//! neighbours cannot take them in.

use ocellus_graph::ops::{Activation, Statistics};
use ocellus_graph::{NodeId, Op, ValueId};
use ocellus_kernels::norm::{reduce_scratch_len, statistics_scratch_len};

use crate::passes::Group;
use crate::plan::BufferId;
use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, Mask, Step};

/// `y = relu(gamma (x - mean) / sqrt(var + eps) + beta + other)` in one pass, after a pass for batch statistics.
pub fn forward(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::BatchNorm(norm) = &node.op else { return false };
    let Some(result) = group.result(l.graph) else { return false };
    if !is_image_or_rows(l, node.inputs[0]) {
        return false;
    }
    let size = l.size(node.inputs[0]);
    let x = l.stored(node.inputs[0]);
    let (gamma, beta) = match norm.affine {
        true => (Some(l.plain(node.inputs[1])), Some(l.plain(node.inputs[2]))),
        false => (None, None),
    };
    let (mean, var) = match norm.statistics {
        Statistics::Batch => batch_statistics(l, group.main, x),
        Statistics::Running => {
            let at = if norm.affine { 3 } else { 1 };
            (l.plain(node.inputs[at]), l.plain(node.inputs[at + 1]))
        }
    };
    let other = group.add.map(|add| l.stored(add.other));
    let y = l.define_stored(result);
    let kernel = Kernel::Normalise { size, eps: norm.eps, relu: group.relu.is_some() };
    let reads = [Some(x), gamma, beta, Some(mean), Some(var), other];
    let step = Step::new(l.group_name(group), kernel).reading(reads).writing([y]);
    l.push(if l.same_format(x, y) { step.sharing(0) } else { step });
    true
}

/// `(N, C, H, W)` or `(N, C)`, which is an image of one pixel.
fn is_image_or_rows(l: &Lowering, x: ValueId) -> bool {
    matches!(l.graph.shape(x).rank(), 2 | 4)
}

fn batch_statistics(l: &mut Lowering, norm: NodeId, x: BufferId) -> (BufferId, BufferId) {
    let node = l.graph.node(norm);
    let size = l.size(node.inputs[0]);
    let (mean, var) = (l.define_plain(node.outputs[1]), l.define_plain(node.outputs[2]));
    let scratch = l.scratch(statistics_scratch_len(size));
    let step = Step::new(format!("{} statistics", node.name), Kernel::BatchStatistics { size });
    l.push(step.reading([x]).writing([mean, var]).with_scratch(scratch));
    (mean, var)
}

/// dx, dgamma and dbeta, with the gradient of a ReLU after the BatchNorm taken in on the way.
pub fn backward(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::BatchNormGrad(grad) = &node.op else { return false };
    if !is_image_or_rows(l, node.inputs[0]) {
        return false;
    }
    let size = l.size(node.inputs[0]);
    let x = l.stored(node.inputs[0]);
    let gamma = grad.norm.affine.then(|| l.plain(node.inputs[2]));
    let at = node.inputs.len() - 2;
    let (mean, var) = (l.plain(node.inputs[at]), l.plain(node.inputs[at + 1]));
    let Incoming { dy, mask, beta, y } = incoming(l, group);
    let dx = l.define_stored(node.outputs[0]);
    let (dgamma, dbeta) = (l.define_plain(node.outputs[1]), l.define_plain(node.outputs[2]));
    let scratch = l.scratch(reduce_scratch_len(size));
    let kernel = Kernel::BatchNormGrad { size, eps: grad.norm.eps, statistics: grad.norm.statistics, mask };
    let reads = [Some(dy), Some(x), y, gamma, beta, Some(mean), Some(var)];
    let step = Step::new(l.group_name(group), kernel).reading(reads).writing([dx, dgamma, dbeta]);
    let step = step.with_scratch(scratch);
    l.push(if l.same_format(dy, dx) { step.sharing(0) } else { step });
    true
}

/// What a BatchNorm gradient takes in: the gradient, and how to know what the ReLU let through.
struct Incoming {
    dy: BufferId,
    mask: Mask,
    beta: Option<BufferId>,
    y: Option<BufferId>,
}

fn incoming(l: &mut Lowering, group: &Group) -> Incoming {
    let Some(relu_grad) = group.mask else {
        let dy = l.stored(l.graph.node(group.main).inputs[1]);
        return Incoming { dy, mask: Mask::None, beta: None, y: None };
    };
    let inputs = &l.graph.node(relu_grad).inputs;
    let (y, dy) = (inputs[1], l.stored(inputs[2]));
    match normalised_directly(l, group.main, y) {
        // x is read anyway, so the mask costs nothing when it can be found from x alone.
        Some(beta) => Incoming { dy, mask: Mask::Recompute, beta: beta.map(|b| l.plain(b)), y: None },
        None => Incoming { dy, mask: Mask::Output, beta: None, y: Some(l.stored(y)) },
    }
}

/// If `y` is the ReLU of the very BatchNorm whose gradient `grad` is, with nothing added between: its beta, if any.
fn normalised_directly(l: &Lowering, grad: NodeId, y: ValueId) -> Option<Option<ValueId>> {
    let relu = l.graph.node(l.graph.producer(y)?);
    if !matches!(relu.op, Op::Activation(Activation::Relu)) {
        return None;
    }
    let norm = l.graph.node(l.graph.producer(relu.inputs[0])?);
    let Op::BatchNorm(attributes) = &norm.op else { return None };
    let grad = l.graph.node(grad);
    let same_x = norm.inputs[0] == grad.inputs[0];
    let mean = grad.inputs[grad.inputs.len() - 2];
    let same_mean = norm.outputs.get(1) == Some(&mean) || norm.inputs.contains(&mean);
    (same_x && same_mean).then(|| attributes.affine.then(|| norm.inputs[2]))
}
