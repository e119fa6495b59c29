//! Operators on small integers, as ONNX Runtime's quantiser writes them.

use ocellus_graph::ops::{Activation, AvgPool, BinaryKind, Concat, Transpose};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Rounding;

use super::super::activation::{affine, apply};
use super::super::product::product;
use super::super::quantize::{Grid, binary, by_row, dequantized, dequantized_weight, output_kind, quantized};
use super::super::{Made, pool, softmax};
use super::{standard, unsupported};
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::Kind;
use crate::onnx::net::Net;

/// Adds an operator that dequantises what comes in and quantises its result.
pub(super) fn add(net: &mut Net, call: &Call) -> Made {
    match call.op() {
        "QLinearAdd" | "QLinearMul" => {
            let kind = if call.op() == "QLinearAdd" { BinaryKind::Add } else { BinaryKind::Mul };
            let a = input(net, call, ".a", 0)?;
            let b = input(net, call, ".b", 3)?;
            let y = binary(net, call, ".result", kind, a, b)?;
            result(net, call, y, 6, call.need(0)?.kind())
        }
        "QLinearSigmoid" => unary(net, call, &|net, x| activation(net, call, x, Activation::Sigmoid)),
        "QLinearLeakyRelu" => {
            let slope = call.float("alpha", 0.01)?;
            unary(net, call, &|net, x| activation(net, call, x, Activation::LeakyRelu { slope }))
        }
        "QLinearSoftmax" => {
            let old = call.whole("opset", 13)? < 13;
            unary(net, call, &|net, x| softmax::along(net, call, ".result", x, old))
        }
        "QLinearGlobalAveragePool" => unary(net, call, &|net, x| {
            let pool = AvgPool { window: None, rounding: Rounding::Floor, count_include_pad: false };
            net.add(call, ".result", Op::AvgPool(pool), &[x])
        }),
        "QLinearAveragePool" => unary(net, call, &|net, x| pool::average(net, call, ".result", x)),
        "QLinearReduceMean" => unary(net, call, &|net, x| {
            let made = standard(net, call, "ReduceMean", ".result", vec![Some(Item::Value(x, Kind::F32))])?;
            first(net, call, &made)
        }),
        "QLinearWhere" => {
            let a = input(net, call, ".a", 1)?;
            let b = input(net, call, ".b", 4)?;
            let [a, b] = [a, b].map(|value| Some(Item::Value(value, Kind::F32)));
            let made = standard(net, call, "Where", ".result", vec![call.item(0).cloned(), a, b])?;
            let y = first(net, call, &made)?;
            result(net, call, y, 7, call.need(1)?.kind())
        }
        "QLinearConcat" => {
            let count = call.inputs.len().saturating_sub(2) / 3;
            let parts = (0..count).map(|i| input(net, call, &format!(".{i}"), 2 + 3 * i));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            let first = *parts.first().ok_or_else(|| call.fault("joins nothing"))?;
            let axis = call.axis(call.whole("axis", 0)?, net.shape(first).rank())?;
            let y = net.add(call, ".result", Op::Concat(Concat { axis }), &parts)?;
            result(net, call, y, 0, call.need(2)?.kind())
        }
        _ => Err(unsupported(call)),
    }
}

/// Input `i` by its scale and zero point, which stand behind it.
fn input(net: &mut Net, call: &Call, suffix: &str, i: usize) -> Result<ValueId, Fault> {
    dequantized(net, call, suffix, &call.need(i)?.clone(), &Grid::of(call, i + 1)?)
}

/// y by the scale and zero point of inputs number `grid` and `grid + 1`.
fn result(net: &mut Net, call: &Call, y: ValueId, grid: usize, kind: Kind) -> Made {
    Ok(vec![Item::Value(quantized(net, call, "", y, (&Grid::of(call, grid)?, kind))?, kind)])
}

/// A function of input 0 alone.
fn unary(net: &mut Net, call: &Call, function: &dyn Fn(&mut Net, ValueId) -> Result<ValueId, Fault>) -> Made {
    let x = input(net, call, ".x", 0)?;
    let y = function(net, x)?;
    result(net, call, y, 3, call.need(0)?.kind())
}

fn activation(net: &mut Net, call: &Call, x: ValueId, function: Activation) -> Result<ValueId, Fault> {
    apply(net, call, ".result", x, &[&function])
}

/// The first output of a node that was made.
fn first(net: &mut Net, call: &Call, made: &[Item]) -> Result<ValueId, Fault> {
    let item = made.first().ok_or_else(|| call.fault("gives nothing"))?;
    net.item_value(call, item)
}

/// DynamicQuantizeMatMul: A quantised by its own range, B (1) by its grid (2, 3), a bias (4).
pub(super) fn dynamic_product(net: &mut Net, call: &Call) -> Made {
    let inputs = vec![call.item(0).cloned()];
    let made = standard(net, call, "DynamicQuantizeLinear", ".a", inputs)?;
    let [q, scale, zero] = made.try_into().map_err(|_| call.fault("gives no quantised numbers"))?;
    let a = dequantized(net, call, ".a.number", &q, &Grid::new(scale, Some(zero)))?;
    let grid = Grid::of(call, 2)?;
    biased_product(net, call, a, &grid, 4)
}

/// MatMulIntegerToFloat: A (0) by its grid (2, 4), B (1) by its own (3, 5), a bias (6).
pub(super) fn integer_product(net: &mut Net, call: &Call) -> Made {
    let grid = Grid::new(call.need(2)?.clone(), call.item(4).cloned());
    let a = matrix(net, call, ".a", (&call.need(0)?.clone(), &grid, true))?;
    let grid = Grid::new(call.need(3)?.clone(), call.item(5).cloned());
    biased_product(net, call, a, &grid, 6)
}

/// Input `q` as numbers, with one scale or with one for each row (of the left matrix) or column (of the right one).
fn matrix(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    (q, grid, left): (&Item, &Grid, bool),
) -> Result<ValueId, Fault> {
    match grid.is_single(net) {
        true => dequantized(net, call, suffix, q, grid),
        false => by_row(net, call, suffix, (q, grid, left)),
    }
}

fn biased_product(net: &mut Net, call: &Call, a: ValueId, grid: &Grid, bias: usize) -> Made {
    let b = matrix(net, call, ".b", (&call.need(1)?.clone(), grid, false))?;
    let [a, b] = [a, b].map(|value| Item::Value(value, Kind::F32));
    let y = match net.optional(call, bias)? {
        None => product(net, call, "", &a, &b)?,
        Some(bias) => {
            let y = product(net, call, ".product", &a, &b)?;
            binary(net, call, "", BinaryKind::Add, y, bias)?
        }
    };
    Ok(vec![Item::Value(y, Kind::F32)])
}

/// QGemm: alpha A B + C of dequantised matrices, C in steps of both scales; quantised if the result has a scale.
pub(super) fn gemm(net: &mut Net, call: &Call) -> Made {
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
            by_row(net, call, ".b", (&call.need(3)?.clone(), &Grid::of(call, 4)?, false))?,
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
    let mut y = product(net, call, ".product", &a, &b)?;
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
