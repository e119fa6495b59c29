//! Functions of single elements, in whichever order their operands lie; and sums over all but the channels.

use ocellus_graph::ops::{Activation, BinaryKind, ReduceKind};
use ocellus_graph::{Op, ValueId};
use ocellus_kernels::elementwise::{
    self as activation, channel_sum_plain_scratch_len, channel_sum_scratch_len,
};

use crate::passes::Group;
use crate::plan::lowering::{Lowering, Order};
use crate::plan::step::{Elementwise, Kernel, Step};

/// ReLU, its gradient, and sums, differences and products of equal shapes.
pub fn map(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (kernel, operands): (_, Vec<ValueId>) = match &node.op {
        Op::Activation(Activation::Relu) => (Kernel::Elementwise(Elementwise::Relu), node.inputs.clone()),
        // The gradient needs the ReLU's output, not its input.
        Op::ActivationGrad(g) if g.activation == Activation::Relu => {
            (Kernel::Elementwise(Elementwise::ReluGrad), vec![node.inputs[2], node.inputs[1]])
        }
        Op::Activation(function) => (Kernel::Activation(kernel_of(*function)), node.inputs.clone()),
        // Of some functions the graph keeps the output instead of the input; the fast kernels read the input.
        Op::ActivationGrad(grad) if node.inputs[0] != node.inputs[1] || reads_input(grad.activation) => {
            (Kernel::ActivationGrad(kernel_of(grad.activation)), vec![node.inputs[2], node.inputs[0]])
        }
        Op::Binary(binary) if l.graph.shape(node.inputs[0]) == l.graph.shape(node.inputs[1]) => {
            let function = match binary.kind {
                BinaryKind::Add => Elementwise::Add,
                BinaryKind::Sub => Elementwise::Sub,
                BinaryKind::Mul => Elementwise::Mul,
                BinaryKind::Div | BinaryKind::Maximum => return false,
            };
            (Kernel::Elementwise(function), node.inputs.clone())
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
    l.push(Step::new(&node.name, kernel).reading(reads).writing([y]).sharing(0));
    true
}

/// Whether the gradient is given the function's input twice (or may as well be: a leaky ReLU keeps signs).
fn reads_input(activation: Activation) -> bool {
    !matches!(activation, Activation::Sigmoid | Activation::Tanh | Activation::Exp | Activation::Sqrt)
}

/// The kernels' name for a function.
fn kernel_of(activation: Activation) -> activation::Activation {
    use activation::Activation as Kernel;
    match activation {
        Activation::Relu => Kernel::Relu,
        Activation::LeakyRelu { slope } => Kernel::LeakyRelu { slope },
        Activation::Clip { low, high } => Kernel::Clip { low, high },
        Activation::Elu { alpha } => Kernel::Elu { alpha },
        Activation::Sigmoid => Kernel::Sigmoid,
        Activation::Tanh => Kernel::Tanh,
        Activation::Gelu => Kernel::Gelu,
        Activation::GeluTanh => Kernel::GeluTanh,
        Activation::Silu => Kernel::Silu,
        Activation::HardSwish => Kernel::HardSwish,
        Activation::HardSigmoid { alpha, beta } => Kernel::HardSigmoid { alpha, beta },
        Activation::Softplus => Kernel::Softplus,
        Activation::Exp => Kernel::Exp,
        Activation::Log => Kernel::Log,
        Activation::Abs => Kernel::Abs,
        Activation::Sqrt => Kernel::Sqrt,
        Activation::Affine { scale, shift } => Kernel::Affine { scale, shift },
        Activation::Power { exponent } => Kernel::Power { exponent },
    }
}

/// Dropout while training; its gradient is the same operation.
pub fn dropout(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Dropout(dropout) = &node.op else { return false };
    if !dropout.active || dropout.rate == 0.0 {
        return false;
    }
    let (x, result) = (node.inputs[0], node.outputs[0]);
    let order = match l.graph.shape(x).rank() {
        4 => l.common_order(&[x]),
        _ => Order::Plain,
    };
    let size = (order == Order::Blocked).then(|| l.size(x));
    let kernel = Kernel::Dropout { rate: dropout.rate, stream: dropout.stream, size };
    let from = l.get(x, order);
    let to = l.define(result, order);
    l.push(Step::new(&node.name, kernel).reading([from]).writing([to]).sharing(0));
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
