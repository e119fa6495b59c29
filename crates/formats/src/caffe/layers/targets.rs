//! Losses and accuracies that count only some of the answers (`ignore_label`), or weigh them by a matrix (InfogainLoss).
//!
//! Labels become rows that are 1 at their class, and all 0 for what is not counted; everything else is sums over them.

use ocellus_graph::ops::{
    Activation, Binary, BinaryKind, Concat, Linear, OneHot, Reduce, ReduceKind, Reshape, Slice, Softmax,
    Stepwise, Transpose,
};
use ocellus_graph::{Op, ValueId};

use super::Tops;
use super::loss::{answers, labels, rows, shaped};
use crate::caffe::layer::Layer;
use crate::caffe::message::Fault;
use crate::caffe::net::Net;

/// Caffe takes the logarithm of no smaller probability: log(1e-20).
const LEAST_LOG: f32 = -46.051_7;

/// What a sum over the answers is divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Divisor {
    /// Answers that count, or 1 if none does.
    Counted,
    /// A number that the shapes tell.
    Fixed(f32),
}

/// Scores (M, C), and the labels as rows (M, C) of which those with the label `ignored` are 0.
struct Targets {
    scores: ValueId,
    rows: ValueId,
    classes: usize,
}

impl Targets {
    fn new(
        net: &mut Net,
        layer: &Layer,
        bottoms: (&[ValueId], usize),
        ignored: Option<i64>,
    ) -> Result<Self, Fault> {
        let (scores, labels) = answers(net, layer, bottoms)?;
        let classes = net.shape(scores)[1];
        let mut rows = net.node(layer, ".classes", Op::OneHot(OneHot { classes }), &[labels])?;
        // A label that is no class gives a row of zeros already.
        if let Some(column) = ignored.and_then(|label| usize::try_from(label).ok()).filter(|&c| c < classes) {
            rows = without(net, layer, rows, column, classes)?;
        }
        Ok(Targets { scores, rows, classes })
    }

    /// How many answers count, at least 1.
    fn counted(&self, net: &mut Net, layer: &Layer) -> Result<ValueId, Fault> {
        let sum = total(net, layer, ".counted", self.rows)?;
        let least = Activation::Clip { low: 1.0, high: f32::INFINITY };
        net.node(layer, ".divisor", Op::Activation(least), &[sum])
    }
}

/// The rows with one column set to 0.
fn without(
    net: &mut Net,
    layer: &Layer,
    rows: ValueId,
    column: usize,
    classes: usize,
) -> Result<ValueId, Fault> {
    let mut parts = Vec::new();
    for (name, start, count) in
        [("before", 0, column), ("ignored", column, 1), ("after", column + 1, classes - column - 1)]
    {
        if count == 0 {
            continue;
        }
        let slice = Op::Slice(Slice { axis: 1, start, step: 1, count });
        let mut part = net.node(layer, &format!(".{name}"), slice, &[rows])?;
        if name == "ignored" {
            let zero = Op::Activation(Activation::Affine { scale: 0.0, shift: 0.0 });
            part = net.node(layer, ".zero", zero, &[part])?;
        }
        parts.push(part);
    }
    net.node(layer, ".kept", Op::Concat(Concat { axis: 1 }), &parts)
}

/// Softmax and cross-entropy over the answers that count.
pub(super) fn softmax(
    net: &mut Net,
    layer: &Layer,
    bottoms: (&[ValueId], usize),
    ignored: Option<i64>,
    divisor: Divisor,
) -> Result<ValueId, Fault> {
    let targets = Targets::new(net, layer, bottoms, ignored)?;
    let logs = net.node(layer, ".log", Op::Softmax(Softmax { log: true }), &[targets.scores])?;
    cross_entropy(net, layer, &targets, [targets.rows, logs], divisor)
}

/// Softmax and cross-entropy with rows of a matrix (C, C) for targets: those of the answers' classes.
pub(super) fn infogain(
    net: &mut Net,
    layer: &Layer,
    (bottoms, axis): (&[ValueId], usize),
    ignored: Option<i64>,
    divisor: Divisor,
) -> Result<ValueId, Fault> {
    let targets = Targets::new(net, layer, (bottoms, axis), ignored)?;
    let (classes, shape) = (targets.classes, net.shape(bottoms[2]).clone());
    if shape.elements() != classes * classes {
        let what =
            format!("its matrix has shape {shape}, {classes} classes need {classes} x {classes} numbers");
        return Err(layer.fault(what));
    }
    let square = Op::Reshape(Reshape { dims: vec![classes as isize; 2] });
    let matrix = net.node(layer, ".matrix", square, &[bottoms[2]])?;
    let turn = Op::Transpose(Transpose { order: vec![1, 0] });
    let matrix = net.node(layer, ".turned", turn, &[matrix])?;
    let weights = net.node(layer, ".weights", Op::Linear(Linear), &[targets.rows, matrix])?;
    let logs = net.node(layer, ".log", Op::Softmax(Softmax { log: true }), &[targets.scores])?;
    let least = Activation::Clip { low: LEAST_LOG, high: 0.0 };
    let logs = net.node(layer, ".least", Op::Activation(least), &[logs])?;
    cross_entropy(net, layer, &targets, [weights, logs], divisor)
}

/// Cross-entropy of probabilities (N, C), whatever makes them, divided by the batch.
pub(super) fn multinomial(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let scores = rows(net, layer, ".rows", bottoms[0])?;
    let labels = labels(net, layer, bottoms[1])?;
    let &[batch, classes] = net.shape(scores).dims() else { return Err(layer.fault("has no rows")) };
    let rows = net.node(layer, ".classes", Op::OneHot(OneHot { classes }), &[labels])?;
    let above = Activation::Clip { low: 1e-20, high: f32::INFINITY };
    let above = net.node(layer, ".above", Op::Activation(above), &[scores])?;
    let logs = net.node(layer, ".log", Op::Activation(Activation::Log), &[above])?;
    let targets = Targets { scores, rows, classes };
    cross_entropy(net, layer, &targets, [rows, logs], Divisor::Fixed(batch as f32))
}

/// Sigmoid and cross-entropy, log(1 + e^x) - x t, over the numbers whose target is not `ignored`.
pub(super) fn sigmoid(
    net: &mut Net,
    layer: &Layer,
    bottoms: &[ValueId],
    ignored: i64,
    divisor: Divisor,
) -> Result<ValueId, Fault> {
    let (x, t) = (bottoms[0], shaped(net, layer, bottoms)?);
    // Caffe compares what is left of the target without its fraction.
    let label = ignored as f32;
    let (low, high) = match ignored {
        1.. => (label.next_down(), (label + 1.0).next_down()),
        0 => (-1.0, 1.0_f32.next_down()),
        _ => (label - 1.0, label),
    };
    let above = |threshold| Op::Stepwise(Stepwise::Above { threshold });
    let from = net.node(layer, ".from", above(low), &[t])?;
    let behind = net.node(layer, ".behind", above(high), &[t])?;
    let dropped = net.node(layer, ".ignored", binary(BinaryKind::Sub), &[from, behind])?;
    let not = Op::Activation(Activation::Affine { scale: -1.0, shift: 1.0 });
    let kept = net.node(layer, ".kept", not, &[dropped])?;
    let soft = net.node(layer, ".soft", Op::Activation(Activation::Softplus), &[x])?;
    let product = net.node(layer, ".product", binary(BinaryKind::Mul), &[x, t])?;
    let each = net.node(layer, ".each", binary(BinaryKind::Sub), &[soft, product])?;
    let each = net.node(layer, ".counting", binary(BinaryKind::Mul), &[each, kept])?;
    let sum = total(net, layer, ".sum", each)?;
    match divisor {
        Divisor::Fixed(by) => {
            net.node(layer, "", Op::Activation(Activation::Affine { scale: 1.0 / by, shift: 0.0 }), &[sum])
        }
        Divisor::Counted => {
            let counted = total(net, layer, ".counted", kept)?;
            let least = Activation::Clip { low: 1.0, high: f32::INFINITY };
            let counted = net.node(layer, ".divisor", Op::Activation(least), &[counted])?;
            net.node(layer, "", binary(BinaryKind::Div), &[sum, counted])
        }
    }
}

/// Caffe's older contrastive loss, which holds the square of the distance against the margin:
/// (y d^2 + (1 - y) max(margin - d^2, 0)) / 2, a mean over the pairs.
pub(super) fn contrastive_of_squares(
    net: &mut Net,
    layer: &Layer,
    [a, b, similar]: [ValueId; 3],
    margin: f32,
) -> Result<ValueId, Fault> {
    let batch = net.shape(a)[0] as f32;
    let apart = net.node(layer, ".apart", binary(BinaryKind::Sub), &[a, b])?;
    let squares = net.node(layer, ".squares", binary(BinaryKind::Mul), &[apart, apart])?;
    let near = net.node(layer, ".near", over_classes(false), &[squares])?;
    let short = Op::Activation(Activation::Affine { scale: -1.0, shift: margin });
    let far = net.node(layer, ".short", short, &[near])?;
    let far = net.node(layer, ".far", Op::Activation(Activation::Relu), &[far])?;
    let more = net.node(layer, ".more", binary(BinaryKind::Sub), &[near, far])?;
    let more = net.node(layer, ".similar", binary(BinaryKind::Mul), &[similar, more])?;
    let each = net.node(layer, ".each", binary(BinaryKind::Add), &[far, more])?;
    let sum = total(net, layer, ".total", each)?;
    let half = Activation::Affine { scale: 0.5 / batch, shift: 0.0 };
    net.node(layer, "", Op::Activation(half), &[sum])
}

/// -(sum of weights times logarithms) / divisor.
fn cross_entropy(
    net: &mut Net,
    layer: &Layer,
    targets: &Targets,
    weights_and_logs: [ValueId; 2],
    divisor: Divisor,
) -> Result<ValueId, Fault> {
    let products = net.node(layer, ".products", binary(BinaryKind::Mul), &weights_and_logs)?;
    let sum = total(net, layer, ".sum", products)?;
    let scale = |by: f32| Op::Activation(Activation::Affine { scale: -1.0 / by, shift: 0.0 });
    match divisor {
        Divisor::Fixed(by) => net.node(layer, "", scale(by), &[sum]),
        Divisor::Counted => {
            let sum = net.node(layer, ".negative", scale(1.0), &[sum])?;
            let counted = targets.counted(net, layer)?;
            net.node(layer, "", binary(BinaryKind::Div), &[sum, counted])
        }
    }
}

/// Share of the answers that count whose label is among the `top` highest scores, and the same among the answers of
/// each class, 0 for a class without any; a tie counts against.
pub(super) fn accuracy(
    net: &mut Net,
    layer: &Layer,
    bottoms: (&[ValueId], usize),
    top: usize,
    ignored: Option<i64>,
) -> Tops {
    let targets = Targets::new(net, layer, bottoms, ignored)?;
    let classes = targets.classes;
    if top == 0 || top > classes {
        return Err(layer.fault(format!("top_k = {top} of {classes} classes")));
    }
    let own = net.node(layer, ".own", binary(BinaryKind::Mul), &[targets.rows, targets.scores])?;
    let own = net.node(layer, ".score", over_classes(true), &[own])?;
    let ahead = net.node(layer, ".ahead", binary(BinaryKind::Sub), &[own, targets.scores])?;
    let above = |threshold| Op::Stepwise(Stepwise::Above { threshold });
    let beaten = net.node(layer, ".beaten", above(0.0), &[ahead])?;
    let beaten = net.node(layer, ".beaten.count", over_classes(false), &[beaten])?;
    // The label itself is not beaten; up to top - 1 others may be as good or better.
    let hit = net.node(layer, ".hit", above((classes - top) as f32 - 0.5), &[beaten])?;
    let counts = net.node(layer, ".counts", over_classes(false), &[targets.rows])?;
    let hits = net.node(layer, ".hits", binary(BinaryKind::Mul), &[hit, counts])?;
    let sum = total(net, layer, ".hits.sum", hits)?;
    let counted = targets.counted(net, layer)?;
    let mut values = vec![net.node(layer, "", binary(BinaryKind::Div), &[sum, counted])?];
    if layer.tops.len() > 1 {
        let hit = net.node(layer, ".hit.column", Op::Reshape(Reshape { dims: vec![-1, 1] }), &[hit])?;
        let of_class = net.node(layer, ".class.hits", binary(BinaryKind::Mul), &[targets.rows, hit])?;
        let over_answers = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: vec![0], keep: false });
        let of_class = net.node(layer, ".class.sum", over_answers.clone(), &[of_class])?;
        let answers = net.node(layer, ".class.answers", over_answers, &[targets.rows])?;
        let least = Op::Activation(Activation::Clip { low: 1.0, high: f32::INFINITY });
        let answers = net.node(layer, ".class.divisor", least, &[answers])?;
        values.push(net.node(layer, ".class", binary(BinaryKind::Div), &[of_class, answers])?);
    }
    Ok(values)
}

/// The sum over each row.
fn over_classes(keep: bool) -> Op {
    Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: vec![1], keep })
}

fn binary(kind: BinaryKind) -> Op {
    Op::Binary(Binary { kind })
}

/// The sum of everything.
fn total(net: &mut Net, layer: &Layer, suffix: &str, value: ValueId) -> Result<ValueId, Fault> {
    let axes = (0..net.shape(value).rank()).collect();
    net.node(layer, suffix, Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep: false }), &[value])
}
