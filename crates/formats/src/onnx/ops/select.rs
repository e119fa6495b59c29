//! Numbers chosen by their places: places that are known now, or the places of the largest.

use ocellus_graph::ops::{BinaryKind, Concat, Linear, OneHot, Stepwise, TopK, Transpose};
use ocellus_graph::{Op, ValueId};

use super::Made;
use super::activation::{affine, apply};
use super::arithmetic::binary;
use super::arrange::{chosen, part};
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::{Kind, Literal};
use crate::onnx::net::Net;
use crate::onnx::places;

/// Indices of one axis that a product with their one-hot vectors looks up.
pub(super) const MOST_LOOKED_UP: usize = 1 << 16;

/// x with `axis` last.
fn last(net: &mut Net, call: &Call, suffix: &str, x: ValueId, axis: usize) -> Result<ValueId, Fault> {
    let rank = net.shape(x).rank();
    let order: Vec<usize> = (0..rank).filter(|&other| other != axis).chain([axis]).collect();
    turned(net, call, suffix, x, order)
}

/// x with its last axis where `axis` was.
fn back(net: &mut Net, call: &Call, suffix: &str, x: ValueId, axis: usize) -> Result<ValueId, Fault> {
    let rank = net.shape(x).rank();
    let mut order: Vec<usize> = (0..rank - 1).collect();
    order.insert(axis, rank - 1);
    turned(net, call, suffix, x, order)
}

fn turned(net: &mut Net, call: &Call, suffix: &str, x: ValueId, order: Vec<usize>) -> Result<ValueId, Fault> {
    if order.is_sorted() {
        return Ok(x);
    }
    net.add(call, suffix, Op::Transpose(Transpose { order }), &[x])
}

/// TopK: the k largest numbers along an axis, or the k smallest, and where they stand.
pub(super) fn top(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let kind = call.need(0)?.kind();
    let dims = net.dims(x);
    let axis = call.axis(call.whole("axis", -1)?, dims.len())?;
    let count = match call.opset {
        ..10 => call.whole("k", 0)?,
        _ => call.number(1, "k")?.unwrap_or(0.0) as i64,
    };
    let op = Op::TopK(TopK { axis, count: call.size(count, "k")?, last: false });
    let smallest = !call.flag("largest", true)?;
    let minus = affine(-1.0, 0.0);
    let x = if smallest { apply(net, call, ".minus", x, &[&minus])? } else { x };
    let y = net.add(call, "", op, &[x])?;
    let both = net.graph.producer(y).map(|node| net.graph.node(node).outputs.clone()).unwrap_or_default();
    let places = both.get(1).copied().ok_or_else(|| call.fault("tells no places"))?;
    let y = if smallest { apply(net, call, ".plus", y, &[&minus])? } else { y };
    Ok(vec![Item::Value(y, kind), Item::Value(places, Kind::I64)])
}

/// A place below zero, counted from the end of an axis of this size: x + size where x < 0.
fn from_first(net: &mut Net, call: &Call, x: ValueId, size: usize) -> Result<ValueId, Fault> {
    let minus = apply(net, call, ".minus", x, &[&affine(-1.0, 0.0), &Stepwise::Above { threshold: 0.0 }])?;
    let shift = apply(net, call, ".shift", minus, &[&affine(size as f32, 0.0)])?;
    net.add(call, ".index", binary(BinaryKind::Add), &[x, shift])
}

/// OneHot: values[1] at the place that each index tells, values[0] elsewhere.
pub(super) fn one_hot(net: &mut Net, call: &Call) -> Made {
    let depth = call.number(1, "depth")?.ok_or_else(|| call.fault("has no depth"))?;
    let classes = call.size(depth as i64, "depth")?;
    let values = call.constant(2, "values")?.ok_or_else(|| call.fault("has no values"))?;
    if values.len() != 2 || classes == 0 || classes > MOST_LOOKED_UP {
        return Err(call.fault(format!("has {} values and the depth {classes}", values.len())));
    }
    let (off, on, kind) = (values.float_at(0), values.float_at(1), values.kind);
    let index = net.value(call, 0)?;
    let rank = net.shape(index).rank() + 1;
    let axis = call.axis(call.whole("axis", -1)?, rank)?;
    let index = from_first(net, call, index, classes)?;
    let y = net.add(call, ".one_hot", Op::OneHot(OneHot { classes }), &[index])?;
    let y = apply(net, call, ".values", y, &[&affine(on - off, off)])?;
    Ok(vec![Item::Value(back(net, call, ".back", y, axis)?, kind)])
}

/// Gather at indices that are only known at run time: their one-hot vectors times the axis.
pub(super) fn looked_up(net: &mut Net, call: &Call, axis: usize) -> Made {
    let x = net.value(call, 0)?;
    let kind = call.need(0)?.kind();
    let index = net.value(call, 1)?;
    let (from, index_dims) = (net.dims(x), net.dims(index));
    let (size, rest) = (from[axis], from.len() - 1);
    if size > MOST_LOOKED_UP {
        let what = format!("looks up places in an axis of {size}; at most {MOST_LOOKED_UP} are supported");
        return Err(call.fault(what));
    }
    let index = from_first(net, call, index, size)?;
    let hot = net.add(call, ".one_hot", Op::OneHot(OneHot { classes: size }), &[index])?;
    let rows = net.fold(call, ".hot", hot, &[index_dims.iter().product(), size])?;
    let x = last(net, call, ".last", x, axis)?;
    let others: Vec<usize> = from.iter().enumerate().filter(|&(i, _)| i != axis).map(|(_, &n)| n).collect();
    let weight = net.fold(call, ".weight", x, &[others.iter().product(), size])?;
    let y = net.add(call, ".product", Op::Linear(Linear), &[rows, weight])?;
    // (indices, axes before, axes behind) -> (axes before, indices, axes behind)
    let y = net.fold(call, ".unfolded", y, &[&index_dims[..], &others[..]].concat())?;
    let count = index_dims.len();
    let order: Vec<usize> = (count..count + axis).chain(0..count).chain(count + axis..count + rest).collect();
    Ok(vec![Item::Value(turned(net, call, ".order", y, order)?, kind)])
}

/// Trilu: the upper or the lower triangle of the last two axes, zeros elsewhere.
pub(super) fn triangle(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let &[.., rows, columns] = dims.as_slice() else {
        return Err(call.fault(format!("cuts a triangle from a tensor of shape {dims:?}")));
    };
    let shift = call.number(1, "k")?.unwrap_or(0.0) as i64;
    let upper = call.flag("upper", true)?;
    let inside = |i: usize| {
        let distance = (i % columns) as i64 - (i / columns) as i64;
        if upper { distance >= shift } else { distance <= shift }
    };
    let mask = net.table(call, vec![rows, columns], |i| if inside(i) { 1.0 } else { 0.0 })?;
    net.add(call, "", binary(BinaryKind::Mul), &[x, mask])
}

/// CumSum: a product with a triangle of ones along the axis.
pub(super) fn running_sum(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let axis = call.number(1, "axis")?.ok_or_else(|| call.fault("has no axis"))?;
    let axis = call.axis(axis as i64, dims.len())?;
    let size = dims[axis];
    let (exclusive, reverse) = (call.flag("exclusive", false)?, call.flag("reverse", false)?);
    let share = |i: usize| {
        let (to, from) = (i / size, i % size);
        let counts = if reverse { from > to } else { from < to };
        if counts || (from == to && !exclusive) { 1.0 } else { 0.0 }
    };
    let ones = net.table(call, vec![size, size], share)?;
    let x = last(net, call, ".last", x, axis)?;
    let turned_dims = net.dims(x);
    let rows = net.fold(call, ".rows", x, &[dims.iter().product::<usize>() / size.max(1), size])?;
    let y = net.add(call, ".sums", Op::Linear(Linear), &[rows, ones])?;
    let y = net.fold(call, ".unfolded", y, &turned_dims)?;
    back(net, call, "", y, axis)
}

fn indices<'c>(net: &Net, call: &'c Call) -> Result<&'c Literal, Fault> {
    let indices = call.constant(1, "indices")?.ok_or_else(|| call.fault("has no indices"))?;
    net.budget.charge((indices.len() as u64).saturating_mul(16)).map_err(|what| call.fault(what))?;
    Ok(indices)
}

/// GatherElements.
pub(super) fn gather_elements(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let axis = call.axis(call.whole("axis", 0)?, dims.len())?;
    let indices = indices(net, call)?;
    let places = places::along(call, &dims, axis, indices)?;
    let flat = net.fold(call, ".flat", x, &[dims.iter().product()])?;
    let y = chosen(net, call, ".chosen", flat, (0, &places))?;
    net.fold(call, "", y, &indices.dims)
}

/// GatherND.
pub(super) fn gather_blocks(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let found = places::gathered_blocks(call, &dims, indices(net, call)?)?;
    let rows = net.fold(call, ".blocks", x, &[found.count, found.size])?;
    let y = chosen(net, call, ".chosen", rows, (0, &found.blocks))?;
    net.fold(call, "", y, &found.dims)
}

/// ScatterElements (once Scatter) and ScatterND: x with some of its numbers replaced by updates, or added to.
pub(super) fn scatter(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let indices = indices(net, call)?;
    let (places, count, inner) = if call.op() == "ScatterND" {
        places::blocks(call, &dims, indices)?
    } else {
        let axis = call.axis(call.whole("axis", 0)?, dims.len())?;
        (places::along(call, &dims, axis, indices)?, dims.iter().product(), 1)
    };
    net.budget.charge((count as u64).saturating_mul(16)).map_err(|what| call.fault(what))?;
    let adds = match call.text("reduction", "none")? {
        "none" => false,
        "add" => true,
        other => return Err(call.fault(format!("its reduction is {other:?}, which is not supported"))),
    };
    let updates = net.value(call, 2)?;
    if net.shape(updates).elements() != places.len() * inner {
        let what = format!("has updates of shape {:?} for {} places", net.dims(updates), places.len());
        return Err(call.fault(what));
    }
    // Row r of the result is row r of x, or (behind all of those) the update that comes last for it.
    let mut source: Vec<usize> = (0..count).collect();
    for (i, &at) in places.iter().enumerate() {
        if adds && source[at] >= count {
            return Err(call.fault("adds to one place more than once, which is not supported"));
        }
        source[at] = count + i;
    }
    let rows = net.fold(call, ".rows", x, &[count, inner])?;
    let updates = net.fold(call, ".updates", updates, &[places.len(), inner])?;
    let first = if adds {
        let zeros = apply(net, call, ".zeros", rows, &[&affine(0.0, 0.0)])?;
        part(net, call, ".zeros.rows", zeros, 0, (0, 1, count))?
    } else {
        rows
    };
    let all = net.add(call, ".all", Op::Concat(Concat { axis: 0 }), &[first, updates])?;
    let mut y = chosen(net, call, ".chosen", all, (0, &source))?;
    if adds {
        y = net.add(call, ".sum", binary(BinaryKind::Add), &[rows, y])?;
    }
    net.fold(call, "", y, &dims)
}
