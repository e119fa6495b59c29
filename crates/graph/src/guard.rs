//! Does a value hold probabilities where a loss expects logits?
//!
//! Softmax cross-entropy and sigmoid cross-entropy apply their function themselves. Given probabilities they would
//! apply it twice, train slowly and never say why; so a value that is made of probabilities is refused. What counts:
//! the output of a softmax or sigmoid, and mixes of such values that stay between 0 and 1. A sigmoid that gates logits
//! does not: the product is no probability.

use crate::ops::{Activation, Binary, BinaryKind, LossKind, ReduceKind, Refusal};
use crate::{Graph, Node, Op, Source, ValueId};

/// What is known about a value without running anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// Depends on parameters alone, such as a learned mixing weight.
    Weight,
    /// Between 0 and 1.
    Probability,
    /// Anything.
    Free,
}

/// Refuses a loss on logits whose first input holds probabilities.
pub(crate) fn refuse_probabilities(graph: &Graph, op: &Op, inputs: &[ValueId]) -> Result<(), Refusal> {
    let function = match op {
        Op::Loss(loss) => match loss.kind {
            LossKind::SoftmaxCrossEntropy { .. } => "softmax",
            LossKind::SigmoidCrossEntropy => "sigmoid",
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    match inputs.first() {
        Some(&value) if holds_probabilities(graph, value) => Err(format!(
            "this loss applies the {function} itself and expects logits, but {} already holds {}",
            graph.value(value).name,
            cure(graph, value)
        )),
        _ => Ok(()),
    }
}

/// What `value` holds, and what to hand over instead.
fn cure(graph: &Graph, value: ValueId) -> &'static str {
    match graph.producer(value).map(|node| &graph.node(node).op) {
        Some(Op::Binary(_)) => {
            "a mix of probabilities; mix the values before each softmax or sigmoid, and give it that"
        }
        _ => "probabilities; give it the value before the softmax or sigmoid",
    }
}

/// Whether `value` is the output of a softmax or sigmoid, or a mix of such values that stays between 0 and 1.
///
/// ```
/// use ocellus_graph::{Builder, holds_probabilities};
///
/// let mut b = Builder::new("two heads");
/// let x = b.input("x", [1, 10]);
/// let p = b.softmax("p", x);
/// let graph = b.finish()?;
/// assert!(holds_probabilities(&graph, p));
/// assert!(!holds_probabilities(&graph, x));
/// # Ok::<(), ocellus_graph::GraphError>(())
/// ```
pub fn holds_probabilities(graph: &Graph, value: ValueId) -> bool {
    let mut natures: Vec<Nature> = graph
        .values()
        .iter()
        .map(|value| if let Source::Param(_) = value.source { Nature::Weight } else { Nature::Free })
        .collect();
    for node in graph.nodes() {
        let inputs: Vec<Nature> = node.inputs.iter().map(|input| natures[input.index()]).collect();
        let nature = output_nature(node, &inputs);
        for output in &node.outputs {
            natures[output.index()] = nature;
        }
    }
    natures[value.index()] == Nature::Probability
}

fn output_nature(node: &Node, inputs: &[Nature]) -> Nature {
    match &node.op {
        Op::Softmax(softmax) if !softmax.log => Nature::Probability,
        Op::Activation(Activation::Sigmoid | Activation::HardSigmoid { .. }) => Nature::Probability,
        _ if !inputs.is_empty() && inputs.iter().all(|&nature| nature == Nature::Weight) => Nature::Weight,
        Op::Activation(Activation::Affine { scale, shift }) if stays_probability(*scale, *shift) => inputs[0],
        Op::Binary(Binary { kind }) => mixed(*kind, inputs),
        op if moves_numbers(op) && inputs.iter().all(|&nature| nature == Nature::Probability) => {
            Nature::Probability
        }
        _ => Nature::Free,
    }
}

/// `scale p + shift` stays between 0 and 1 for every p that does (1 - p among them).
fn stays_probability(scale: f32, shift: f32) -> bool {
    let between = |x: f32| (0.0..=1.0).contains(&x);
    between(shift) && between(scale + shift)
}

fn mixed(kind: BinaryKind, inputs: &[Nature]) -> Nature {
    let both = inputs.iter().all(|&nature| nature == Nature::Probability);
    let none_free = inputs.iter().all(|&nature| nature != Nature::Free);
    match kind {
        BinaryKind::Add | BinaryKind::Maximum if both => Nature::Probability,
        // A probability times a learned share is still one.
        BinaryKind::Mul if none_free => Nature::Probability,
        _ => Nature::Free,
    }
}

/// Operations whose outputs are some of the inputs' numbers, or means of them.
fn moves_numbers(op: &Op) -> bool {
    match op {
        Op::Reduce(reduce) => reduce.kind != ReduceKind::Sum,
        Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Concat(_) | Op::BroadcastTo(_) => true,
        Op::Dropout(_) | Op::MaxPool(_) | Op::AvgPool(_) | Op::StochasticPool(_) | Op::Upsample(_) => true,
        _ => false,
    }
}
