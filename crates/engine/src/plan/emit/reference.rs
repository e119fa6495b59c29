//! Any node, on its reference kernel, in plain order.

use ocellus_graph::{NodeId, Op};
use ocellus_tensor::Shape;

use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, MOST_OPERANDS, Reference, Step};
use crate::plan::{BufferId, Lifetime};

/// Lowers one node. What only renames a value takes no step.
pub fn emit(l: &mut Lowering, id: NodeId) {
    let node = l.graph.node(id);
    if is_renaming(&node.op) {
        let [from, to] = [node.inputs[0], node.outputs[0]];
        if l.lies_narrow(from) && l.graph.shape(from).nchw() == l.graph.shape(to).nchw() {
            // A vector, before and after: not even the order changes.
            return l.alias(to, from);
        }
        let buffer = l.plain(node.inputs[0]);
        l.alias_plain(node.outputs[0], buffer);
        return;
    }
    if matches!(node.op, Op::Concat(_)) && node.inputs.len() > MOST_OPERANDS {
        return emit_long_concat(l, id);
    }
    let (written, read) = node.inputs.split_at(node.op.writes());
    let reads: Vec<_> = read.iter().map(|&v| l.plain(v)).collect();
    let writes: Vec<_> = match written {
        [] => node.outputs.iter().map(|&v| l.define_plain(v)).collect(),
        params => params.iter().map(|&v| l.plain(v)).collect(),
    };
    let shape = |&v: &_| l.graph.shape(v).clone();
    let made = if written.is_empty() { &node.outputs[..] } else { written };
    let kernel = Kernel::Reference(Reference {
        op: node.op.clone(),
        inputs: read.iter().map(shape).collect(),
        outputs: made.iter().map(shape).collect(),
    });
    l.push(Step::new(&node.name, kernel).reading(reads).writing(writes));
}

/// Joins many tensors a few at a time: what is joined so far is the first part of the next step.
fn emit_long_concat(l: &mut Lowering, id: NodeId) {
    let node = l.graph.node(id);
    let Op::Concat(concat) = &node.op else { return };
    let result = l.graph.shape(node.outputs[0]).clone();
    let mut left = node.inputs.iter().copied().peekable();
    let mut joined: Option<(BufferId, Shape)> = None;
    while left.peek().is_some() {
        let mut reads: Vec<BufferId> = joined.iter().map(|(buffer, _)| *buffer).collect();
        let mut inputs: Vec<Shape> = joined.iter().map(|(_, shape)| shape.clone()).collect();
        for value in left.by_ref().take(MOST_OPERANDS - reads.len()) {
            reads.push(l.plain(value));
            inputs.push(l.graph.shape(value).clone());
        }
        let shape = result.with(concat.axis, inputs.iter().map(|s| s[concat.axis]).sum());
        let to = match left.peek() {
            Some(_) => l.buffer(format!("{} so far", node.name), shape.elements(), Lifetime::Steps),
            None => l.define_plain(node.outputs[0]),
        };
        let kernel =
            Kernel::Reference(Reference { op: node.op.clone(), inputs, outputs: vec![shape.clone()] });
        l.push(Step::new(&node.name, kernel).reading(reads).writing([to]));
        joined = Some((to, shape));
    }
}

/// Operations whose output is their input under another shape or name.
fn is_renaming(op: &Op) -> bool {
    match op {
        Op::Reshape(_) => true,
        Op::Dropout(dropout) => !dropout.active || dropout.rate == 0.0,
        _ => false,
    }
}
