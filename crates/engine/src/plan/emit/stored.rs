//! Which values of a training step are stored in bf16?
//!
//! Those that every reader takes in bf16: convolutions and gradients that multiply bf16 numbers, and what passes over
//! memory once around them. Half of the bytes move then; a value with any other reader stays `f32`, and is converted for
//! those that want bf16.

use ocellus_graph::ops::{Activation, BinaryKind, Statistics};
use ocellus_graph::{Node, Op, ValueId};
use ocellus_kernels::format::Format;
use ocellus_kernels::layout::BLOCK;

use super::conv;
use crate::plan::lowering::Lowering;

/// By value: whether it is stored in bf16. Only whole blocks of channels are: products of bf16 numbers come in pairs, and
/// padding that is not finite would reach its neighbour.
pub fn stored_narrow(l: &Lowering) -> Vec<bool> {
    let graph = l.graph;
    let mut stored: Vec<bool> = (0..graph.values().len())
        .map(|index| {
            let value = ValueId(index as u32);
            let whole = matches!(graph.shape(value).dims(), [_, c, _, _] if c.is_multiple_of(BLOCK));
            whole && graph.producer(value).is_some_and(|maker| writes_bf16(&graph.node(maker).op))
        })
        .collect();
    for value in graph.outputs().iter().map(|o| o.value).chain(graph.losses().iter().map(|l| l.value)) {
        stored[value.index()] = false;
    }
    for node in graph.nodes() {
        for (operand, &value) in node.inputs.iter().enumerate() {
            if stored[value.index()] && !reads_bf16(l, node, operand) {
                stored[value.index()] = false;
            }
        }
    }
    stored
}

/// Whether operations of this kind may write bf16 numbers.
fn writes_bf16(op: &Op) -> bool {
    match op {
        Op::Conv2d(_) | Op::Conv2dGradInput(_) | Op::BatchNorm(_) | Op::BatchNormGrad(_) => true,
        Op::Activation(Activation::Relu) => true,
        Op::ActivationGrad(grad) => grad.activation == Activation::Relu,
        Op::Binary(binary) => binary.kind == BinaryKind::Add,
        _ => false,
    }
}

/// Whether the node takes this operand in bf16.
fn reads_bf16(l: &Lowering, node: &Node, operand: usize) -> bool {
    match &node.op {
        Op::Conv2d(_) | Op::Conv2dGradInput(_) => {
            operand == 0 && conv::format_of(l, node) == Some(Format::Bf16)
        }
        Op::Conv2dGradWeight(_) => conv::format_of(l, node) == Some(Format::Bf16),
        Op::BatchNorm(norm) => operand == 0 && norm.statistics == Statistics::Batch,
        Op::BatchNormGrad(_) => operand < 2,
        Op::Activation(Activation::Relu) => true,
        Op::ActivationGrad(grad) => grad.activation == Activation::Relu,
        Op::Binary(binary) => {
            let [a, b] = [0, 1].map(|i| l.graph.shape(node.inputs[i]));
            binary.kind == BinaryKind::Add && a == b
        }
        _ => false,
    }
}
