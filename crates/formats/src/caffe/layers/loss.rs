//! Losses and Accuracy, with Caffe's ways of counting: sums over all but the batch, means over the batch.

use ocellus_graph::ops::{Accuracy, Activation, LossKind, LossOp, Reshape, Transpose};
use ocellus_graph::{Op, ValueId};

use super::targets::{self, Divisor};
use super::{Tops, axis_of, combine};
use crate::caffe::layer::Layer;
use crate::caffe::message::Fault;
use crate::caffe::net::Net;

const SOFTMAX: [&str; 2] = ["axis", "engine"];
/// In the order of the enumeration.
const NORMALIZATIONS: [&str; 4] = ["FULL", "VALID", "BATCH_SIZE", "NONE"];
const LOSS: [&str; 3] = ["ignore_label", "normalization", "normalize"];

/// Softmax and cross-entropy of scores, (N, C, ...) or with the classes along another axis, and labels, one for each
/// place; a second top gives the probabilities.
pub(super) fn softmax(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    layer.expect_bottoms(2)?;
    let settings = layer.settings("softmax_param", &SOFTMAX)?;
    let axis = axis_of(layer, settings.i64("axis", 1)?, net.shape(bottoms[0]).rank())?;
    let [outer, all] = outer_and_places(net, bottoms[0], axis);
    let mut values = vec![match ignored(layer)? {
        Some(label) => {
            let divisor = divisor(layer, outer, all, Divisor::Counted)?;
            targets::softmax(net, layer, (bottoms, axis), Some(label), divisor)?
        }
        None => {
            let (scores, labels) = answers(net, layer, (bottoms, axis))?;
            let kind = LossKind::SoftmaxCrossEntropy { smoothing: 0.0 };
            let factor = normalization(layer, outer, all)?;
            scaled_loss(net, layer, kind, &[scores, labels], factor)?
        }
    }];
    if layer.tops.len() > 1 {
        values.push(combine::probabilities(net, layer, ".probabilities", (bottoms[0], axis))?);
    }
    Ok(values)
}

/// Cross-entropy whose targets are rows of a matrix, the third bottom.
pub(super) fn infogain(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    let settings = layer.settings("infogain_loss_param", &["axis", "source"])?;
    if !(2..=3).contains(&bottoms.len()) {
        return Err(layer.fault(format!("needs 2 or 3 bottoms, has {}", bottoms.len())));
    }
    let axis = axis_of(layer, settings.i64("axis", 1)?, net.shape(bottoms[0]).rank())?;
    let [outer, all] = outer_and_places(net, bottoms[0], axis);
    let divisor = divisor(layer, outer, all, Divisor::Counted)?;
    let matrix = match (bottoms.get(2), settings.text("source")?) {
        (Some(&matrix), _) => matrix,
        (None, Some(source)) => {
            let classes = net.shape(bottoms[0])[axis];
            net.constant(layer, "matrix", vec![classes, classes], source)?
        }
        (None, None) => {
            let what = "has no matrix";
            return Err(layer
                .fault_with(what, "name a file by infogain_loss_param { source }, or add a third bottom"));
        }
    };
    let bottoms = [bottoms[0], bottoms[1], matrix];
    let mut values = vec![targets::infogain(net, layer, (&bottoms, axis), ignored(layer)?, divisor)?];
    if layer.tops.len() > 1 {
        values.push(combine::probabilities(net, layer, ".probabilities", (bottoms[0], axis))?);
    }
    Ok(values)
}

/// The label whose answers do not count.
fn ignored(layer: &Layer) -> Result<Option<i64>, Fault> {
    let Some(settings) = layer.body.message("loss_param")? else { return Ok(None) };
    settings.only("loss_param", &LOSS)?;
    settings.get("ignore_label").map(|_| settings.i64("ignore_label", 0)).transpose()
}

/// What a sum over answers, `all` of a whole batch, is divided by, where not all of them count. What Caffe calls the
/// batch are all axes before that of the classes.
fn divisor(layer: &Layer, batch: usize, all: usize, usual: Divisor) -> Result<Divisor, Fault> {
    let Some(settings) = layer.body.message("loss_param")? else { return Ok(usual) };
    settings.only("loss_param", &LOSS)?;
    let (batch, all) = (Divisor::Fixed(batch as f32), Divisor::Fixed(all as f32));
    if settings.get("normalization").is_none() {
        let is_said = settings.get("normalize").is_some();
        let counted = settings.bool("normalize", true)?;
        return Ok(if !is_said {
            usual
        } else if counted {
            Divisor::Counted
        } else {
            batch
        });
    }
    Ok(match settings.choice("normalization", &NORMALIZATIONS)? {
        0 => all,
        1 => Divisor::Counted,
        2 => batch,
        _ => Divisor::Fixed(1.0),
    })
}

/// How many items there are before the axis of the classes, and answers in all.
fn outer_and_places(net: &Net, value: ValueId, axis: usize) -> [usize; 2] {
    let shape = net.shape(value);
    let outer = shape[..axis].iter().product::<usize>();
    [outer, outer * shape[axis + 1..].iter().product::<usize>()]
}

/// Scores, whose classes lie along `axis`, as rows (M, C), and labels as (M).
pub(super) fn answers(
    net: &mut Net,
    layer: &Layer,
    (bottoms, axis): (&[ValueId], usize),
) -> Result<(ValueId, ValueId), Fault> {
    let (shape, labels_shape) = (net.shape(bottoms[0]).clone(), net.shape(bottoms[1]).clone());
    let [_, all] = outer_and_places(net, bottoms[0], axis);
    let is_last = shape[axis + 1..].iter().all(|&size| size == 1);
    if is_last && axis == 1 {
        let scores = rows(net, layer, ".rows", bottoms[0])?;
        return Ok((scores, labels(net, layer, bottoms[1])?));
    }
    if labels_shape.elements() != all {
        let what = format!(
            "scores of shape {shape} with the classes along axis {axis} need {all} labels, labels have shape \
             {labels_shape}"
        );
        return Err(layer.fault(what));
    }
    // As (N, C, H, W) -> (N, H, W, C) -> (N H W, C).
    let mut scores = bottoms[0];
    if !is_last {
        let order = (0..shape.rank()).filter(|&other| other != axis).chain([axis]).collect();
        scores = net.node(layer, ".last", Op::Transpose(Transpose { order }), &[scores])?;
    }
    let dims = vec![-1, shape[axis] as isize];
    let scores = net.node(layer, ".rows", Op::Reshape(Reshape { dims }), &[scores])?;
    let labels = net.node(layer, ".labels", Op::Reshape(Reshape { dims: vec![-1] }), &[bottoms[1]])?;
    Ok((scores, labels))
}

/// Cross-entropy of probabilities (N, C).
pub(super) fn multinomial(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(2)?;
    layer.settings("", &[])?;
    if !net.is_softmax(bottoms[0]) {
        return targets::multinomial(net, layer, bottoms);
    }
    // Where a Softmax gives them, their logarithms are its logits, up to a constant. As Caffe, which takes the logarithm of nothing smaller than this.
    let above = Activation::Clip { low: 1e-20, high: f32::INFINITY };
    let above = net.node(layer, ".above", Op::Activation(above), &[bottoms[0]])?;
    let logits = net.node(layer, ".log", Op::Activation(Activation::Log), &[above])?;
    let inputs = [rows(net, layer, ".rows", logits)?, labels(net, layer, bottoms[1])?];
    scaled_loss(net, layer, LossKind::SoftmaxCrossEntropy { smoothing: 0.0 }, &inputs, 1.0)
}

/// Sigmoid and cross-entropy of scores and targets of one shape, summed over each item.
pub(super) fn sigmoid(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(2)?;
    layer.settings("sigmoid_param", &["engine"])?;
    // Unlike the softmax's, its usual normalization is by the batch.
    let batch = net.shape(bottoms[0]).first().copied().unwrap_or(1);
    let all = net.shape(bottoms[0]).elements();
    let said = layer.body.message("loss_param")?;
    if let Some(label) = ignored(layer)? {
        let divisor = divisor(layer, batch, all, Divisor::Fixed(batch as f32))?;
        return targets::sigmoid(net, layer, bottoms, label, divisor);
    }
    let factor = if said.is_some_and(|loss| loss.get("normalization").or(loss.get("normalize")).is_some()) {
        normalization(layer, batch, all)?
    } else {
        all as f32 / batch.max(1) as f32
    };
    let targets = shaped(net, layer, bottoms)?;
    scaled_loss(net, layer, LossKind::SigmoidCrossEntropy, &[bottoms[0], targets], factor)
}

/// Half the squared distance of each item, (a - b)^2 / 2 summed.
pub(super) fn euclidean(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(2)?;
    layer.settings("euclidean_loss_param", &[])?;
    let factor = per_item(net, bottoms[0]) as f32 / 2.0;
    let targets = shaped(net, layer, bottoms)?;
    scaled_loss(net, layer, LossKind::MeanSquaredError, &[bottoms[0], targets], factor)
}

/// One-versus-all hinge of scores (N, C) and labels (N).
pub(super) fn hinge(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(2)?;
    let squared = layer.settings("hinge_loss_param", &["norm"])?.word("norm")?;
    let squared = matches!(squared, Some("L2" | "2"));
    let inputs = [rows(net, layer, ".rows", bottoms[0])?, labels(net, layer, bottoms[1])?];
    scaled_loss(net, layer, LossKind::Hinge { squared }, &inputs, 1.0)
}

/// Distances of pairs (N, F), small for similar ones, at least `margin` for others.
pub(super) fn contrastive(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(3)?;
    let settings = layer.settings("contrastive_loss_param", &["margin", "legacy_version"])?;
    let margin = settings.f32("margin", 1.0)?;
    let a = rows(net, layer, ".a", bottoms[0])?;
    let b = rows(net, layer, ".b", bottoms[1])?;
    let similar = labels(net, layer, bottoms[2])?;
    if settings.bool("legacy_version", false)? {
        return targets::contrastive_of_squares(net, layer, [a, b, similar], margin);
    }
    scaled_loss(net, layer, LossKind::Contrastive { margin }, &[a, b, similar], 1.0)
}

/// Share of items whose label is among the `top_k` highest scores; a second top gives it for each class.
pub(super) fn accuracy(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    layer.expect_bottoms(2)?;
    let settings = layer.settings("accuracy_param", &["top_k", "axis", "ignore_label"])?;
    let axis = axis_of(layer, settings.i64("axis", 1)?, net.shape(bottoms[0]).rank())?;
    let top = settings.usize("top_k", 1)?;
    let ignored = settings.get("ignore_label").map(|_| settings.i64("ignore_label", 0)).transpose()?;
    if ignored.is_some() || layer.tops.len() > 1 {
        return targets::accuracy(net, layer, (bottoms, axis), top, ignored);
    }
    let (scores, labels) = answers(net, layer, (bottoms, axis))?;
    Ok(vec![net.node(layer, "", Op::Accuracy(Accuracy { top }), &[scores, labels])?])
}

/// What the mean over `all` answers is multiplied by: 1 for FULL and VALID, `all` / batch for BATCH_SIZE, `all` for NONE.
fn normalization(layer: &Layer, batch: usize, all: usize) -> Result<f32, Fault> {
    let Some(settings) = layer.body.message("loss_param")? else { return Ok(1.0) };
    settings.only("loss_param", &LOSS)?;
    if settings.get("ignore_label").is_some() {
        return Err(
            layer.fault_with("ignore_label is not supported here", "leave those items out of the data")
        );
    }
    let per_batch = all as f32 / batch.max(1) as f32;
    if settings.get("normalization").is_none() {
        // The older field: normalize: false divides by the batch.
        return Ok(if settings.bool("normalize", true)? { 1.0 } else { per_batch });
    }
    Ok(match settings.choice("normalization", &NORMALIZATIONS)? {
        0 | 1 => 1.0,
        2 => per_batch,
        _ => all as f32,
    })
}

/// The loss times `factor`; then the last node has the layer's name.
fn scaled_loss(
    net: &mut Net,
    layer: &Layer,
    kind: LossKind,
    inputs: &[ValueId],
    factor: f32,
) -> Result<ValueId, Fault> {
    let op = Op::Loss(LossOp { kind });
    if factor == 1.0 {
        return net.node(layer, "", op, inputs);
    }
    let mean = net.node(layer, ".mean", op, inputs)?;
    net.node(layer, "", Op::Activation(Activation::Affine { scale: factor, shift: 0.0 }), &[mean])
}

/// The second bottom in the shape of the first: Caffe asks only for as many numbers in each item.
pub(super) fn shaped(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let (x, t) = (net.shape(bottoms[0]).clone(), net.shape(bottoms[1]).clone());
    if x == t {
        return Ok(bottoms[1]);
    }
    if x.first() != t.first() || x.elements() != t.elements() {
        return Err(layer.fault(format!("its bottoms have shapes {x} and {t}, of different numbers")));
    }
    let dims = [0].into_iter().chain(x.iter().skip(1).map(|&size| size as isize)).collect();
    net.node(layer, ".targets", Op::Reshape(Reshape { dims }), &[bottoms[1]])
}

/// Numbers of one item.
fn per_item(net: &Net, value: ValueId) -> usize {
    let shape = net.shape(value);
    shape.elements() / shape.first().copied().unwrap_or(1).max(1)
}

/// Scores as (N, C): all numbers of an item are its scores.
pub(super) fn rows(net: &mut Net, layer: &Layer, suffix: &str, value: ValueId) -> Result<ValueId, Fault> {
    if net.shape(value).rank() == 2 {
        return Ok(value);
    }
    net.node(layer, suffix, Op::Reshape(Reshape { dims: vec![0, -1] }), &[value])
}

/// Labels as (N).
pub(super) fn labels(net: &mut Net, layer: &Layer, value: ValueId) -> Result<ValueId, Fault> {
    let shape = net.shape(value).clone();
    match shape.dims() {
        [_] => Ok(value),
        [_, rest @ ..] if rest.iter().all(|&size| size == 1) => {
            net.node(layer, ".labels", Op::Reshape(Reshape { dims: vec![0] }), &[value])
        }
        _ => Err(layer.fault(format!("its labels have shape {shape}; one number per item is supported"))),
    }
}
