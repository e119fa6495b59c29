//! Operators that ONNX Runtime's optimiser makes of several of ONNX's own.

use ocellus_graph::ValueId;
use ocellus_graph::ops::{Activation, BinaryKind};

use super::super::activation::{affine, apply};
use super::super::quantize::binary;
use super::super::{Made, convolve, product as matrices};
use super::{OPSET, turned};
use crate::onnx::call::{Call, Item};
use crate::onnx::literal::Kind;
use crate::onnx::net::Net;
use crate::onnx::proto::{Attribute, AttributeValue, NodeProto};

/// The epsilon of SkipLayerNormalization, unless told otherwise.
const SKIP_EPSILON: f32 = 1e-12;

/// The attribute `activation` of x, under the node's own name.
pub(super) fn activated(net: &mut Net, call: &Call, x: ValueId) -> Made {
    let params = call.floats("activation_params")?;
    // FusedGemm has its parameters one by one.
    let param = |i: usize, name: &str, default: f32| match &params {
        Some(params) => Ok(params.get(i).copied().unwrap_or(default)),
        None => call.float(name, default),
    };
    let (alpha, beta) = ("activation_alpha", "activation_beta");
    let function = match call.text("activation", "")? {
        "" => None,
        "Relu" => Some(Activation::Relu),
        "Sigmoid" => Some(Activation::Sigmoid),
        "Tanh" => Some(Activation::Tanh),
        "LeakyRelu" => Some(Activation::LeakyRelu { slope: param(0, alpha, 0.01)? }),
        "Clip" => Some(Activation::Clip { low: param(0, alpha, f32::MIN)?, high: param(1, beta, f32::MAX)? }),
        "HardSigmoid" => {
            Some(Activation::HardSigmoid { alpha: param(0, alpha, 0.2)?, beta: param(1, beta, 0.5)? })
        }
        other => return Err(call.fault(format!("its activation is {other:?}, which is not supported"))),
    };
    let y = match function {
        Some(Activation::Clip { low, high }) if low > high => {
            return Err(call.fault(format!("clips between {low} and {high}")));
        }
        Some(function) => apply(net, call, ".activation", x, &[&function])?,
        None => x,
    };
    Ok(vec![Item::Value(y, Kind::F32)])
}

/// FusedConv: a convolution, a sum with input 3 if it is there, a function of each element.
pub(super) fn convolution(net: &mut Net, call: &Call) -> Made {
    let mut y = convolve::conv(net, call)?;
    if let Some(other) = net.optional(call, 3)? {
        y = binary(net, call, ".sum", BinaryKind::Add, y, other)?;
    }
    activated(net, call, y)
}

/// alpha A B. On request the last two axes of A and B are swapped, and before that their first axis, which is rows, goes
/// behind the batches.
pub(super) fn product(net: &mut Net, call: &Call) -> Made {
    let mut operands = Vec::new();
    for (i, side) in ["A", "B"].into_iter().enumerate() {
        let item = call.need(i)?.clone();
        let rank = net.dims_of(&item).len();
        let mut order: Vec<usize> = (0..rank).collect();
        if rank > 1 && call.flag(&format!("transBatch{side}"), false)? {
            order[..rank - 1].rotate_left(1);
        }
        if rank > 1 && call.flag(&format!("trans{side}"), false)? {
            order.swap(rank - 1, rank - 2);
        }
        operands.push(if order.is_sorted() {
            item
        } else {
            let x = net.item_value(call, &item)?;
            Item::Value(turned(net, call, &format!(".{side}.turned"), x, order)?, item.kind())
        });
    }
    let alpha = call.float("alpha", 1.0)?;
    let suffix = if alpha == 1.0 { "" } else { ".product" };
    let y = matrices::product(net, call, suffix, &operands[0], &operands[1])?;
    let y = if alpha == 1.0 { y } else { apply(net, call, "", y, &[&affine(alpha, 0.0)])? };
    Ok(vec![Item::Value(y, Kind::F32)])
}

/// SkipLayerNormalization: x, another input and (its last) a bias summed, then normalised over the last axis; the sum is
/// output 3. The simplified form takes no mean off.
pub(super) fn norm_of_sum(net: &mut Net, call: &Call) -> Made {
    let is_simple = call.op() == "SkipSimplifiedLayerNormalization";
    let (op, bias) = if is_simple { ("RMSNormalization", 3) } else { ("LayerNormalization", 4) };
    let (x, skip) = (net.value(call, 0)?, net.value(call, 1)?);
    let mut sum = binary(net, call, ".sum", BinaryKind::Add, x, skip)?;
    if let Some(bias) = net.optional(call, bias)? {
        sum = binary(net, call, ".biased", BinaryKind::Add, sum, bias)?;
    }
    let mut node = NodeProto { op: op.into(), domain: String::new(), ..call.node.clone() };
    node.outputs.truncate(3);
    if call.attribute("epsilon").is_none() {
        let (name, value) = ("epsilon".into(), AttributeValue::Float(SKIP_EPSILON));
        node.attributes.push(Attribute { name, value, ..Attribute::default() });
    }
    let scale = call.need(2)?.clone();
    let shift = call.item(3).filter(|_| !is_simple).cloned();
    let kind = call.need(0)?.kind();
    let inputs = vec![Some(Item::Value(sum, kind)), Some(scale), shift];
    let mut made =
        super::super::add(net, &Call { node: &node, label: call.label.clone(), opset: OPSET, inputs })?;
    // Nobody who asks for the sum alone looks at the outputs in between.
    made.resize(3, Item::Value(sum, kind));
    made.push(Item::Value(sum, kind));
    Ok(made)
}

/// Gelu by the error function, FastGelu by tanh, QuickGelu by a sigmoid; BiasGelu and FastGelu add a bias first.
pub(super) fn gelu(net: &mut Net, call: &Call) -> Made {
    let mut x = net.value(call, 0)?;
    if matches!(call.op(), "FastGelu" | "BiasGelu")
        && let Some(bias) = net.optional(call, 1)?
    {
        x = binary(net, call, ".biased", BinaryKind::Add, x, bias)?;
    }
    let y = match call.op() {
        "FastGelu" => apply(net, call, "", x, &[&Activation::GeluTanh])?,
        "QuickGelu" => {
            let alpha = call.float("alpha", 1.702)?;
            if alpha == 0.0 {
                return Err(call.fault("its alpha must not be 0"));
            }
            apply(net, call, "", x, &[&affine(alpha, 0.0), &Activation::Silu, &affine(1.0 / alpha, 0.0)])?
        }
        _ => apply(net, call, "", x, &[&Activation::Gelu])?,
    };
    Ok(vec![Item::Value(y, Kind::F32)])
}
