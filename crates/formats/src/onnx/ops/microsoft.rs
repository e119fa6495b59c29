//! ONNX Runtime's own operators: what its tools write when they quantise or optimise a network.
//!
//! Source: docs/ContribOperators.md of microsoft/onnxruntime.

use ocellus_graph::ops::{Activation, AvgPool, BinaryKind, Concat, Transpose};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Rounding;

use super::activation::{affine, apply};
use super::quantize::{self, Grid, binary, dequantized, dequantized_weight, output_kind, quantized};
use super::{Made, convolve, pool, product, softmax};
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::Kind;
use crate::onnx::net::Net;

/// Adds an operator of the domain `com.microsoft`.
pub(super) fn add(net: &mut Net, call: &Call) -> Made {
    let unary = |net: &mut Net, function: &dyn Fn(&mut Net, ValueId) -> Result<ValueId, Fault>| -> Made {
        let grid = Grid::of(call, 1)?;
        let x = dequantized(net, call, ".x", &call.need(0)?.clone(), &grid)?;
        let y = function(net, x)?;
        let kind = call.need(0)?.kind();
        Ok(vec![Item::Value(quantized(net, call, "", y, (&Grid::of(call, 3)?, kind))?, kind)])
    };
    match call.op() {
        "QLinearAdd" | "QLinearMul" => {
            let kind = if call.op() == "QLinearAdd" { BinaryKind::Add } else { BinaryKind::Mul };
            let a = dequantized(net, call, ".a", &call.need(0)?.clone(), &Grid::of(call, 1)?)?;
            let b = dequantized(net, call, ".b", &call.need(3)?.clone(), &Grid::of(call, 4)?)?;
            let y = binary(net, call, ".result", kind, a, b)?;
            let kind = call.need(0)?.kind();
            Ok(vec![Item::Value(quantized(net, call, "", y, (&Grid::of(call, 6)?, kind))?, kind)])
        }
        "QLinearSigmoid" => unary(net, &|net, x| apply(net, call, ".result", x, &[&Activation::Sigmoid])),
        "QLinearLeakyRelu" => {
            let slope = call.float("alpha", 0.01)?;
            unary(net, &|net, x| apply(net, call, ".result", x, &[&Activation::LeakyRelu { slope }]))
        }
        "QLinearSoftmax" => {
            let old = call.whole("opset", 13)? < 13;
            unary(net, &|net, x| softmax::along(net, call, ".result", x, old))
        }
        "QLinearGlobalAveragePool" if call.whole("channels_last", 0)? == 0 => unary(net, &|net, x| {
            let pool = AvgPool { window: None, rounding: Rounding::Floor, count_include_pad: false };
            net.add(call, ".result", Op::AvgPool(pool), &[x])
        }),
        "QLinearAveragePool" if call.whole("channels_last", 0)? == 0 => {
            unary(net, &|net, x| pool::average(net, call, ".result", x))
        }
        "QLinearConcat" => {
            let mut parts = Vec::new();
            let count = call.inputs.len().saturating_sub(2) / 3;
            for i in 0..count {
                let at = 2 + 3 * i;
                let q = call.need(at)?.clone();
                parts.push(dequantized(net, call, &format!(".{i}"), &q, &Grid::of(call, at + 1)?)?);
            }
            let first = *parts.first().ok_or_else(|| call.fault("joins nothing"))?;
            let axis = call.axis(call.whole("axis", 0)?, net.shape(first).rank())?;
            let y = net.add(call, ".result", Op::Concat(Concat { axis }), &parts)?;
            let kind = call.need(2)?.kind();
            Ok(vec![Item::Value(quantized(net, call, "", y, (&Grid::of(call, 0)?, kind))?, kind)])
        }
        "QuantizeLinear" => quantize::quantize(net, call),
        "DequantizeLinear" => quantize::dequantize(net, call),
        "QGemm" => quantised_gemm(net, call),
        "FusedConv" => fused_convolution(net, call),
        "FusedGemm" => {
            let y = product::gemm(net, call)?;
            activated(net, call, y)
        }
        "FusedMatMul" | "TransposeMatMul" => fused_product(net, call),
        "Gelu" | "FastGelu" | "BiasGelu" | "QuickGelu" => gelu(net, call),
        _ => Err(call.fault_with(
            "is an operator of ONNX Runtime's own that is not supported",
            "export the network with ONNX's own operators",
        )),
    }
}

/// The attribute `activation` of x, under the node's own name.
fn activated(net: &mut Net, call: &Call, x: ValueId) -> Made {
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
fn fused_convolution(net: &mut Net, call: &Call) -> Made {
    let mut y = convolve::conv(net, call)?;
    if let Some(other) = net.optional(call, 3)? {
        y = binary(net, call, ".sum", BinaryKind::Add, y, other)?;
    }
    activated(net, call, y)
}

/// alpha A B, the last two axes of A and B swapped on request.
fn fused_product(net: &mut Net, call: &Call) -> Made {
    if call.flag("transBatchA", false)? || call.flag("transBatchB", false)? {
        return Err(call.fault("swaps axes of batches, which is not supported"));
    }
    let mut operands = Vec::new();
    for (i, flag, suffix) in [(0, "transA", ".a.turned"), (1, "transB", ".b.turned")] {
        let item = call.need(i)?.clone();
        let rank = net.dims_of(&item).len();
        operands.push(if call.flag(flag, false)? && rank > 1 {
            let x = net.item_value(call, &item)?;
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(rank - 1, rank - 2);
            Item::Value(net.add(call, suffix, Op::Transpose(Transpose { order }), &[x])?, item.kind())
        } else {
            item
        });
    }
    let alpha = call.float("alpha", 1.0)?;
    let y =
        product::product(net, call, if alpha == 1.0 { "" } else { ".product" }, &operands[0], &operands[1])?;
    let y = if alpha == 1.0 { y } else { apply(net, call, "", y, &[&affine(alpha, 0.0)])? };
    Ok(vec![Item::Value(y, Kind::F32)])
}

/// Gelu by the error function, FastGelu by tanh, QuickGelu by a sigmoid; BiasGelu and FastGelu add a bias first.
fn gelu(net: &mut Net, call: &Call) -> Made {
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

/// QGemm: alpha A B + C of dequantised matrices, C in steps of both scales; quantised if the result has a scale.
fn quantised_gemm(net: &mut Net, call: &Call) -> Made {
    let grid = Grid::of(call, 1)?;
    let mut a = dequantized(net, call, ".a", &call.need(0)?.clone(), &grid)?;
    let swap = || Op::Transpose(Transpose { order: vec![1, 0] });
    if call.flag("transA", false)? {
        a = net.add(call, ".a.turned", swap(), &[a])?;
    }
    // A scale for each column of the product: for each row of B's transpose.
    let columns = call.flag("transB", false)?;
    let b = match columns || Grid::of(call, 4)?.known().is_some() {
        true => dequantized_weight(net, call, 3)?,
        false => Item::Value(
            quantize::by_row(net, call, ".b", (&call.need(3)?.clone(), &Grid::of(call, 4)?, false))?,
            Kind::F32,
        ),
    };
    let b = match columns {
        true => {
            let b = net.item_value(call, &b)?;
            Item::Value(net.add(call, ".b.turned", swap(), &[b])?, Kind::F32)
        }
        false => b,
    };
    let a = Item::Value(a, Kind::F32);
    let alpha = call.float("alpha", 1.0)?;
    let mut y = product::product(net, call, ".product", &a, &b)?;
    if alpha != 1.0 {
        y = apply(net, call, ".alpha", y, &[&affine(alpha, 0.0)])?;
    }
    if let Some(c) = net.optional(call, 6)? {
        let a_scale = net.value(call, 1)?;
        let a_scale = net.reshape(call, ".a.one_scale", a_scale, &[1])?;
        let b_scale = net.value(call, 4)?;
        let scales = net.shape(b_scale).elements();
        let b_scale = net.reshape(call, ".b.scales", b_scale, &[scales])?;
        let step = binary(net, call, ".c.step", BinaryKind::Mul, a_scale, b_scale)?;
        let step = apply(net, call, ".c.alpha", step, &[&affine(alpha, 0.0)])?;
        let c = binary(net, call, ".c", BinaryKind::Mul, c, step)?;
        y = binary(net, call, ".sum", BinaryKind::Add, y, c)?;
    }
    if call.item(7).is_none() {
        return Ok(vec![Item::Value(y, Kind::F32)]);
    }
    let kind = output_kind(call, 8);
    Ok(vec![Item::Value(quantized(net, call, "", y, (&Grid::of(call, 7)?, kind))?, kind)])
}
