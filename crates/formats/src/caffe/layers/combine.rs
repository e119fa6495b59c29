//! Several values into one: Eltwise, Axpy; and Softmax.

use ocellus_graph::ops::{Activation, Binary, BinaryKind, Reshape, Softmax, Transpose};
use ocellus_graph::{Op, ValueId};

use super::axis_of;
use crate::caffe::layer::Layer;
use crate::caffe::message::Fault;
use crate::caffe::net::Net;

/// Sum with coefficients, product or maximum, element by element.
pub(super) fn eltwise(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let settings = layer.settings("eltwise_param", &["operation", "coeff", "stable_prod_grad"])?;
    // PROD is the enumeration's 0, SUM the default.
    let operation = if settings.get("operation").is_some() {
        settings.choice("operation", &["PROD", "SUM", "MAX"])?
    } else {
        1
    };
    let coefficients = settings.f32s("coeff")?;
    if !coefficients.is_empty() && (operation != 1 || coefficients.len() != bottoms.len()) {
        let what = format!(
            "{} coefficients for {} bottoms of a {}",
            coefficients.len(),
            bottoms.len(),
            ["PROD", "SUM", "MAX"][operation]
        );
        return Err(layer.fault(what));
    }
    let &[first, _, ..] = bottoms else {
        return Err(layer.fault(format!("needs at least 2 bottoms, has {}", bottoms.len())));
    };
    if let Some(&other) = bottoms.iter().find(|&&other| net.shape(other) != net.shape(first)) {
        let what = format!(
            "its bottoms have shapes {} and {}; they must be the same",
            net.shape(first),
            net.shape(other)
        );
        return Err(layer.fault(what));
    }
    let kind = [BinaryKind::Mul, BinaryKind::Add, BinaryKind::Maximum][operation];
    let mut terms = Vec::with_capacity(bottoms.len());
    for (i, &bottom) in bottoms.iter().enumerate() {
        terms.push(match coefficients.get(i) {
            None | Some(1.0) => bottom,
            Some(&scale) => {
                let times = Op::Activation(Activation::Affine { scale, shift: 0.0 });
                net.node(layer, &format!(".coeff{i}"), times, &[bottom])?
            }
        });
    }
    let mut value = terms[0];
    for (i, &term) in terms.iter().enumerate().skip(1) {
        let suffix = if i + 1 == terms.len() { String::new() } else { format!(".{i}") };
        value = net.node(layer, &suffix, Op::Binary(Binary { kind }), &[value, term])?;
    }
    Ok(value)
}

/// a x + y, a (N, C) or (N, C, 1, 1) one factor per channel (SENet's layer).
pub(super) fn axpy(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(3)?;
    layer.settings("", &[])?;
    let mut factor = bottoms[0];
    if net.shape(factor).rank() == 2 {
        factor = net.node(layer, ".reshape", Op::Reshape(Reshape { dims: vec![0, -1, 1, 1] }), &[factor])?;
    }
    let product =
        net.node(layer, ".mul", Op::Binary(Binary { kind: BinaryKind::Mul }), &[bottoms[1], factor])?;
    net.node(layer, "", Op::Binary(Binary { kind: BinaryKind::Add }), &[product, bottoms[2]])
}

/// Probabilities over the channels, or along another axis.
pub(super) fn softmax(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("softmax_param", &["axis", "engine"])?;
    let axis = axis_of(layer, settings.i64("axis", 1)?, net.shape(bottoms[0]).rank())?;
    probabilities(net, layer, "", (bottoms[0], axis))
}

/// Softmax along any axis.
pub(super) fn probabilities(
    net: &mut Net,
    layer: &Layer,
    suffix: &str,
    (scores, axis): (ValueId, usize),
) -> Result<ValueId, Fault> {
    let softmax = Op::Softmax(Softmax { log: false });
    if axis == 1 {
        return net.node(layer, suffix, softmax, &[scores]);
    }
    let rank = net.shape(scores).rank();
    if rank == 1 {
        let row = Op::Reshape(Reshape { dims: vec![1, -1] });
        let row = net.node(layer, &format!("{suffix}.row"), row, &[scores])?;
        let row = net.node(layer, &format!("{suffix}.softmax"), softmax, &[row])?;
        return net.node(layer, suffix, Op::Reshape(Reshape { dims: vec![-1] }), &[row]);
    }
    // The axis changes places with the channels, and back.
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(1, axis);
    let swap = Op::Transpose(Transpose { order });
    let turned = net.node(layer, &format!("{suffix}.turned"), swap.clone(), &[scores])?;
    let probabilities = net.node(layer, &format!("{suffix}.softmax"), softmax, &[turned])?;
    net.node(layer, suffix, swap, &[probabilities])
}
