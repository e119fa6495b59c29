//! Softmax, its logarithm, and which number is the largest.

use ocellus_graph::ops::{Activation, ArgMax, Binary, BinaryKind, Softmax};
use ocellus_graph::{Op, ValueId};

use super::Made;
use super::activation::apply;
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::{Kind, Literal};
use crate::onnx::net::Net;

/// Softmax, LogSoftmax and Hardmax. Before operator set 13 all axes from the given one on are one.
pub(super) fn softmax(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    along(net, call, "", x, call.opset < 13)
}

/// The same of any value, `old` as before operator set 13.
pub(super) fn along(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    old: bool,
) -> Result<ValueId, Fault> {
    let dims = net.dims(x);
    let axis = match dims.len() {
        0 => return Err(call.fault("works on one number, which has no axis")),
        rank => call.axis(call.whole("axis", if old { 1.min(rank as i64 - 1) } else { -1 })?, rank)?,
    };
    let outer: usize = dims[..axis].iter().product();
    let inner: usize = if old { 1 } else { dims[axis + 1..].iter().product() };
    let size = dims.iter().product::<usize>() / (outer * inner).max(1);
    if call.op() == "Hardmax" {
        let rows = net.fold(call, ".rows", x, &[outer, size, inner])?;
        let y = hardmax(net, call, rows, size)?;
        return net.fold(call, suffix, y, &dims);
    }
    let op = Op::Softmax(Softmax { log: call.op() == "LogSoftmax" });
    if axis == 1 && (inner == dims[2.min(dims.len())..].iter().product::<usize>()) {
        return net.add(call, suffix, op, &[x]);
    }
    let rows: &[usize] = if inner == 1 { &[outer, size] } else { &[outer, size, inner] };
    let rows = net.fold(call, ".rows", x, rows)?;
    let is_whole = net.dims(rows) == dims;
    let y = net.add(call, if is_whole { suffix } else { ".softmax" }, op, &[rows])?;
    net.fold(call, suffix, y, &dims)
}

/// 1 where the first largest number along axis 1 of (outer, size, inner) stands, else 0: relu(1 - |i - arg max|).
fn hardmax(net: &mut Net, call: &Call, x: ValueId, size: usize) -> Result<ValueId, Fault> {
    let place = net.add(call, ".place", Op::ArgMax(ArgMax { axis: 1, keep: true, last: false }), &[x])?;
    let numbers = (0..size).map(|i| i as f32).collect();
    let numbers = net.statistic(call, &Literal::floats(vec![1, size, 1], numbers))?;
    let distance =
        net.add(call, ".distance", Op::Binary(Binary { kind: BinaryKind::Sub }), &[numbers, place])?;
    let near = Activation::Affine { scale: -1.0, shift: 1.0 };
    apply(net, call, ".one_hot", distance, &[&Activation::Abs, &near, &Activation::Relu])
}

/// ArgMax and ArgMin.
pub(super) fn arg_max(net: &mut Net, call: &Call) -> Made {
    let mut x = net.value(call, 0)?;
    let axis = call.axis(call.whole("axis", 0)?, net.shape(x).rank())?;
    let (keep, last) = (call.flag("keepdims", true)?, call.flag("select_last_index", false)?);
    if call.op() == "ArgMin" {
        x = apply(net, call, ".minus", x, &[&Activation::Affine { scale: -1.0, shift: 0.0 }])?;
    }
    let place = net.add(call, "", Op::ArgMax(ArgMax { axis, keep, last }), &[x])?;
    Ok(vec![Item::Value(place, Kind::I64)])
}
