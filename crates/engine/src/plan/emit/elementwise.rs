//! Functions of single elements, in whichever order their operands lie; and sums over all but the channels.

use ocellus_graph::ops::{Activation, BinaryKind, ReduceKind};
use ocellus_graph::{Op, ValueId};
use ocellus_kernels::elementwise::{channel_sum_plain_scratch_len, channel_sum_scratch_len};

use crate::passes::Group;
use crate::plan::lowering::{Lowering, Order};
use crate::plan::step::{Elementwise, Kernel, Step};

/// ReLU, its gradient, and sums, differences and products of equal shapes.
pub fn map(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (function, operands): (_, Vec<ValueId>) = match &node.op {
        Op::Activation(Activation::Relu) => (Elementwise::Relu, node.inputs.clone()),
        // The gradient needs the ReLU's output, not its input.
        Op::ActivationGrad(g) if g.activation == Activation::Relu => {
            (Elementwise::ReluGrad, vec![node.inputs[2], node.inputs[1]])
        }
        Op::Binary(binary) if l.graph.shape(node.inputs[0]) == l.graph.shape(node.inputs[1]) => {
            let function = match binary.kind {
                BinaryKind::Add => Elementwise::Add,
                BinaryKind::Sub => Elementwise::Sub,
                BinaryKind::Mul => Elementwise::Mul,
                BinaryKind::Div | BinaryKind::Maximum => return false,
            };
            (function, node.inputs.clone())
        }
        _ => return false,
    };
    let result = node.outputs[0];
    let order = match l.graph.shape(result).rank() {
        4 => l.common_order(&operands),
        _ => Order::Plain,
    };
    let reads: Vec<_> = operands.iter().map(|&v| l.get(v, order)).collect();
    let y = l.define(result, order);
    l.push(Step::new(&node.name, Kernel::Elementwise(function)).reading(reads).writing([y]).sharing(0));
    true
}

/// The gradient of a bias: the sum over N, H and W.
pub fn channel_sum(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Reduce(reduce) = &node.op else { return false };
    let x = node.inputs[0];
    let rank = l.graph.shape(x).rank();
    let all_but_channels = match rank {
        4 => reduce.axes == [0, 2, 3],
        2 => reduce.axes == [0],
        _ => false,
    };
    if reduce.kind != ReduceKind::Sum || !all_but_channels {
        return false;
    }
    let [rows, columns, ..] = l.dims(x);
    let (kernel, from, scratch) = match rank {
        4 if !l.lies_plain(x) => {
            let size = l.size(x);
            (Kernel::ChannelSum { size }, l.blocked(x), channel_sum_scratch_len(size))
        }
        2 => (Kernel::ColumnSum, l.plain(x), channel_sum_plain_scratch_len(rows, columns)),
        _ => return false,
    };
    let to = l.define_plain(node.outputs[0]);
    let scratch = l.scratch(scratch);
    l.push(Step::new(&node.name, kernel).reading([from]).writing([to]).with_scratch(scratch));
    true
}
