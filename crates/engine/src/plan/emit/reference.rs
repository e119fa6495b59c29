//! Any node, on its reference kernel, in plain order.

use ocellus_graph::{NodeId, Op};

use crate::plan::lowering::Lowering;
use crate::plan::step::{Kernel, Reference, Step};

/// Lowers one node. What only renames a value takes no step.
pub fn emit(l: &mut Lowering, id: NodeId) {
    let node = l.graph.node(id);
    if is_renaming(&node.op) {
        let buffer = l.plain(node.inputs[0]);
        l.alias_plain(node.outputs[0], buffer);
        return;
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

/// Operations whose output is their input under another shape or name.
fn is_renaming(op: &Op) -> bool {
    match op {
        Op::Reshape(_) => true,
        Op::Dropout(dropout) => !dropout.active || dropout.rate == 0.0,
        _ => false,
    }
}
