//! Functions of single elements, in whichever order their operands lie, and a few of rows and channels.

use ocellus_graph::ops::{Activation, BinaryKind};
use ocellus_graph::{Op, ValueId};
use ocellus_kernels::elementwise::{self as activation, ByOutput, prelu_grad_scratch_len};
use ocellus_kernels::softmax::Softmax;

use crate::passes::Group;
use crate::plan::Narrow;
use crate::plan::lowering::{Lowering, Order};
use crate::plan::step::{Elementwise, Kernel, Step};

/// ReLU, its gradient, and sums, differences and products of equal shapes.
pub fn map(l: &mut Lowering, group: &Group) -> bool {
    if relu_gradient_of_narrow(l, group) {
        return true;
    }
    let node = l.graph.node(group.main);
    let (kernel, operands): (_, Vec<ValueId>) = match &node.op {
        Op::Activation(Activation::Relu) => (Kernel::Elementwise(Elementwise::Relu), node.inputs.clone()),
        // The gradient needs the ReLU's output, not its input.
        Op::ActivationGrad(g) if g.activation == Activation::Relu => {
            (Kernel::Elementwise(Elementwise::ReluGrad), vec![node.inputs[2], node.inputs[1]])
        }
        Op::Activation(function) => (Kernel::Activation(kernel_of(*function)), node.inputs.clone()),
        Op::ActivationGrad(grad) => match by_output(grad.activation) {
            Some(function) => {
                (Kernel::ActivationGradByOutput(function), vec![node.inputs[2], node.inputs[1]])
            }
            None => {
                (Kernel::ActivationGrad(kernel_of(grad.activation)), vec![node.inputs[2], node.inputs[0]])
            }
        },
        Op::Binary(binary) if l.graph.shape(node.inputs[0]) == l.graph.shape(node.inputs[1]) => {
            let function = match binary.kind {
                BinaryKind::Add => Elementwise::Add,
                BinaryKind::Sub => Elementwise::Sub,
                BinaryKind::Mul => Elementwise::Mul,
                BinaryKind::Div => Elementwise::Div,
                BinaryKind::Maximum => Elementwise::Max,
            };
            (Kernel::Elementwise(function), node.inputs.clone())
        }
        Op::MaximumGrad(_) => {
            let operands = vec![node.inputs[2], node.inputs[0], node.inputs[1]];
            (Kernel::Elementwise(Elementwise::MaxGrad), operands)
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

/// The gradient of a ReLU where an operand or the result is stored in bf16.
fn relu_gradient_of_narrow(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (Op::ActivationGrad(grad), true) = (&node.op, l.trains_narrow()) else { return false };
    let (y, dy, result) = (node.inputs[1], node.inputs[2], node.outputs[0]);
    let some = l.stores_narrow(result) || l.lies_narrow(y) || l.lies_narrow(dy);
    if grad.activation != Activation::Relu || !some || l.graph.shape(result).rank() != 4 {
        return false;
    }
    let (from, mask) = (l.stored(dy), l.stored(y));
    let to = l.define_stored(result);
    let kernel = Kernel::Narrow(Narrow::ReluGrad { size: l.size(result) });
    let step = Step::new(&node.name, kernel).reading([from, mask]).writing([to]);
    l.push(if l.same_format(from, to) { step.sharing(0) } else { step });
    true
}

/// A function whose gradient the graph gives by the output, which is kept instead of the input.
fn by_output(activation: Activation) -> Option<ByOutput> {
    match activation {
        Activation::Sigmoid => Some(ByOutput::Sigmoid),
        Activation::Tanh => Some(ByOutput::Tanh),
        Activation::Exp => Some(ByOutput::Exp),
        Activation::Sqrt => Some(ByOutput::Sqrt),
        _ => None,
    }
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

/// Dropout, which is another name for its input unless it is active; its gradient is the same operation.
pub fn dropout(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let Op::Dropout(dropout) = &node.op else { return false };
    let (x, result) = (node.inputs[0], node.outputs[0]);
    if !dropout.active || dropout.rate == 0.0 {
        l.alias(result, x);
        return true;
    }
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

/// ReLU with a learned slope.
pub fn prelu(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let (x, result) = (node.inputs[0], node.outputs[0]);
    let size = l.size(x);
    let (from, slope) = (l.blocked(x), l.plain(node.inputs[1]));
    let y = l.define_blocked(result);
    l.push(Step::new(&node.name, Kernel::Prelu { size }).reading([from, slope]).writing([y]).sharing(0));
    true
}

/// Its gradient.
pub fn prelu_grad(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let size = l.size(node.inputs[0]);
    let (x, slope, dy) = (l.blocked(node.inputs[0]), l.plain(node.inputs[1]), l.blocked(node.inputs[2]));
    let (dx, dslope) = (l.define_blocked(node.outputs[0]), l.define_plain(node.outputs[1]));
    let scratch = l.scratch(prelu_grad_scratch_len(size));
    let step =
        Step::new(&node.name, Kernel::PreluGrad { size }).reading([dy, x, slope]).writing([dx, dslope]);
    l.push(step.with_scratch(scratch).sharing(0));
    true
}

/// Softmax of rows, and its gradient.
pub fn softmax(l: &mut Lowering, group: &Group) -> bool {
    let node = l.graph.node(group.main);
    let shape = l.graph.shape(node.inputs[0]);
    let columns = shape[1];
    if shape.iter().skip(2).any(|&size| size != 1) || columns == 0 {
        return false;
    }
    let kernel = match &node.op {
        Op::Softmax(softmax) => Kernel::Softmax(Softmax { columns, log: softmax.log }),
        Op::SoftmaxGrad(grad) => Kernel::SoftmaxGrad(Softmax { columns, log: grad.softmax.log }),
        _ => return false,
    };
    let reads: Vec<_> = node.inputs.iter().map(|&v| l.plain(v)).collect();
    let to = l.define_plain(node.outputs[0]);
    l.push(Step::new(&node.name, kernel).reading(reads).writing([to]));
    true
}
