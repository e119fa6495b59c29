//! Fully connected layers and their gradients.

use ocellus_graph::{Op, ValueId};
use ocellus_kernels::gemm::{LinearForward, LinearInputGrad, LinearWeightGrad};

use super::conv::pack;
use crate::passes::Group;
use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, Step};

/// Batch, input features, output features.
fn sizes(l: &Lowering, rows: ValueId, w: ValueId) -> (usize, usize, usize) {
    let (out, features) = (l.graph.shape(w)[0], l.graph.shape(w)[1]);
    (l.graph.shape(rows)[0], features, out)
}

fn macs((batch, features, out): (usize, usize, usize)) -> u64 {
    batch as u64 * features as u64 * out as u64
}

/// `y = clamp(x w^T + b + other)`, of which everything after the product is optional.
pub fn forward(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Linear(_) = &node.op else { return false };
    let (x, w, bias) = (node.inputs[0], node.inputs[1], node.inputs.get(2).copied());
    let Some(result) = group.result(l.graph) else { return false };
    let size = sizes(l, x, w);
    let recipe = LinearForward::new(size.0, size.1, size.2, l.options.isa);
    let from = l.plain(x);
    let bias = bias.map(|b| l.plain(b));
    let other = group.add.map(|add| l.plain(add.other));
    let packed = pack(l, w, recipe.packed_len(), None, Kernel::PackLinear(recipe.clone()));
    let to = l.define_plain(result);
    let scratch = l.scratch(recipe.scratch_len());
    let kernel = Kernel::Linear { recipe, clamp: group.clamp(l.graph) };
    let step = Step::new(l.group_name(group), kernel).with_macs(macs(size));
    l.push(step.reading([Some(from), Some(packed), bias, other]).writing([to]).with_scratch(scratch));
    true
}

/// `dx = dy w (+ other)`.
pub fn input_gradient(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::LinearGradInput(_) = &node.op else { return false };
    let (dy, w) = (node.inputs[0], node.inputs[1]);
    let Some(result) = group.result(l.graph) else { return false };
    let size = sizes(l, dy, w);
    let recipe = LinearInputGrad::new(size.0, size.1, size.2, l.options.isa);
    let from = l.plain(dy);
    let other = group.add.map(|add| l.plain(add.other));
    let packed = pack(l, w, recipe.packed_len(), None, Kernel::PackLinearInputGrad(recipe.clone()));
    let to = l.define_plain(result);
    let scratch = l.scratch(recipe.scratch_len());
    let step = Step::new(l.group_name(group), Kernel::LinearInputGrad(recipe)).with_macs(macs(size));
    l.push(step.reading([Some(from), Some(packed), other]).writing([to]).with_scratch(scratch));
    true
}

/// `dw = dy^T x`.
pub fn weight_gradient(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::LinearGradWeight(_) = &node.op else { return false };
    let (x, dy) = (node.inputs[0], node.inputs[1]);
    let (shape_x, shape_dy) = (l.graph.shape(x), l.graph.shape(dy));
    let size = (shape_x[0], shape_x[1], shape_dy[1]);
    let recipe = LinearWeightGrad::new(size.0, size.1, size.2, l.options.isa);
    let (from, gradient) = (l.plain(x), l.plain(dy));
    let to = l.define_plain(node.outputs[0]);
    let scratch = l.scratch(recipe.scratch_len());
    let step = Step::new(l.group_name(group), Kernel::LinearWeightGrad(recipe)).with_macs(macs(size));
    l.push(step.reading([from, gradient]).writing([to]).with_scratch(scratch));
    true
}
