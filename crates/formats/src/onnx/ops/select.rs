//! Numbers chosen by their places: places that are known now, or the places of the largest.

use ocellus_graph::ops::{
    ArgMax, BinaryKind, Concat, Linear, OneHot, Reduce, ReduceKind, Stepwise, Transpose,
};
use ocellus_graph::{Op, ValueId};

use super::Made;
use super::activation::{affine, apply};
use super::arithmetic::binary;
use super::arrange::{chosen, part};
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::{Kind, Literal};
use crate::onnx::net::Net;

/// Largest numbers that TopK looks for, one after the other.
const MOST_LARGEST: usize = 128;

/// Further from zero than any score: what was found is moved so far away.
const AWAY: f32 = -3e38;

/// Indices of one axis that a product with their one-hot vectors looks up.
const MOST_LOOKED_UP: usize = 1 << 16;

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

/// TopK: the largest k numbers along an axis and where they stand, one after the other, each taken away when found.
pub(super) fn top(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let kind = call.need(0)?.kind();
    let dims = net.dims(x);
    let axis = call.axis(call.whole("axis", -1)?, dims.len())?;
    let count = match call.opset {
        ..10 => call.whole("k", 0)?,
        _ => call.number(1, "k")?.unwrap_or(0.0) as i64,
    };
    let count = call.size(count, "k")?;
    if count == 0 || count > dims[axis] || count > MOST_LARGEST {
        let what = format!(
            "looks for the {count} largest of {} numbers; 1 to {} are supported",
            dims[axis],
            dims[axis].min(MOST_LARGEST)
        );
        return Err(call.fault(what));
    }
    let sign = if call.flag("largest", true)? { 1.0 } else { -1.0 };
    let mut rows = last(net, call, ".last", x, axis)?;
    if sign < 0.0 {
        rows = apply(net, call, ".minus", rows, &[&affine(-1.0, 0.0)])?;
    }
    let rank = dims.len();
    let (mut values, mut places) = (Vec::new(), Vec::new());
    for i in 0..count {
        let largest = Op::Reduce(Reduce { kind: ReduceKind::Max, axes: vec![rank - 1], keep: true });
        values.push(net.add(call, &format!(".{i}.value"), largest, &[rows])?);
        let op = Op::ArgMax(ArgMax { axis: rank - 1, keep: true, last: false });
        let place = net.add(call, &format!(".{i}.place"), op, &[rows])?;
        places.push(place);
        if i + 1 < count {
            let flat: Vec<usize> = net.dims(place)[..rank - 1].to_vec();
            let place = net.reshape(call, &format!(".{i}.index"), place, &flat)?;
            let op = Op::OneHot(OneHot { classes: dims[axis] });
            let found = net.add(call, &format!(".{i}.found"), op, &[place])?;
            let found = apply(net, call, &format!(".{i}.away"), found, &[&affine(AWAY, 0.0)])?;
            rows = net.add(call, &format!(".{i}.rest"), binary(BinaryKind::Add), &[rows, found])?;
        }
    }
    let mut made = Vec::new();
    for (parts, name, kind, sign) in [(values, ".values", kind, sign), (places, ".places", Kind::I64, 1.0)] {
        let mut y = match *parts.as_slice() {
            [one] => one,
            _ => net.add(call, name, Op::Concat(Concat { axis: rank - 1 }), &parts)?,
        };
        if sign < 0.0 {
            y = apply(net, call, &format!("{name}.sign"), y, &[&affine(-1.0, 0.0)])?;
        }
        made.push(Item::Value(back(net, call, &format!("{name}.back"), y, axis)?, kind));
    }
    Ok(made)
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

/// `index` as a place of an axis of `size`.
fn place(call: &Call, index: i64, size: usize) -> Result<usize, Fault> {
    let from_first = if index < 0 { index.saturating_add(size as i64) } else { index };
    let found = usize::try_from(from_first).ok().filter(|&place| place < size);
    found.ok_or_else(|| call.fault(format!("index {index} is outside an axis of size {size}")))
}

/// For each number of `indices`, where along the flattened tensor of shape `dims` it points to, if it counts along `axis`
/// and stands where it stands along the others.
fn places_along(call: &Call, dims: &[usize], axis: usize, indices: &Literal) -> Result<Vec<usize>, Fault> {
    let fits = indices.rank() == dims.len()
        && indices.dims.iter().zip(dims).enumerate().all(|(i, (&own, &size))| i == axis || own <= size);
    if !fits {
        return Err(call.fault(format!("its indices of shape {:?} do not fit {dims:?}", indices.dims)));
    }
    let mut places = Vec::with_capacity(indices.len());
    for i in 0..indices.len() {
        let (mut rest, mut step, mut at) = (i, 1, 0);
        for other in (0..dims.len()).rev() {
            let own = rest % indices.dims[other];
            rest /= indices.dims[other];
            let own = if other == axis { place(call, indices.whole_at(i), dims[axis])? } else { own };
            at += own * step;
            step *= dims[other];
        }
        places.push(at);
    }
    Ok(places)
}

/// For each row of `indices`, which of the blocks of `dims` behind its first axes it points to; how many blocks there
/// are, and how many numbers are in each.
fn blocks_at(call: &Call, dims: &[usize], indices: &Literal) -> Result<(Vec<usize>, usize, usize), Fault> {
    let depth = indices.dims.last().copied().unwrap_or(0);
    if depth == 0 || depth > dims.len() {
        return Err(call.fault(format!("its indices of shape {:?} do not fit {dims:?}", indices.dims)));
    }
    let mut blocks = Vec::with_capacity(indices.len() / depth);
    for row in 0..indices.len() / depth {
        let mut at = 0;
        for (i, &size) in dims[..depth].iter().enumerate() {
            at = at * size + place(call, indices.whole_at(row * depth + i), size)?;
        }
        blocks.push(at);
    }
    Ok((blocks, dims[..depth].iter().product(), dims[depth..].iter().product()))
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
    let places = places_along(call, &dims, axis, indices)?;
    let flat = net.fold(call, ".flat", x, &[dims.iter().product()])?;
    let y = chosen(net, call, ".chosen", flat, (0, &places))?;
    net.fold(call, "", y, &indices.dims)
}

/// GatherND; the batches that `batch_dims` counts are blocks of their own.
pub(super) fn gather_blocks(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let indices = indices(net, call)?;
    let shared = call.size(call.whole("batch_dims", 0)?, "batch_dims")?;
    let depth = indices.dims.last().copied().unwrap_or(0);
    if shared >= indices.rank().max(1) || shared > dims.len() || dims[..shared] != indices.dims[..shared] {
        return Err(call.fault(format!("its indices of shape {:?} do not fit {dims:?}", indices.dims)));
    }
    let batches: usize = dims[..shared].iter().product();
    let (mut blocks, count, inner) = blocks_at(call, &dims[shared..], indices)?;
    let each = blocks.len() / batches.max(1);
    for (i, block) in blocks.iter_mut().enumerate() {
        *block += i / each.max(1) * count;
    }
    let rows = net.fold(call, ".blocks", x, &[batches * count, inner])?;
    let y = chosen(net, call, ".chosen", rows, (0, &blocks))?;
    let to = [&indices.dims[..indices.rank() - 1], &dims[shared + depth..]].concat();
    net.fold(call, "", y, &to)
}

/// ScatterElements (once Scatter) and ScatterND: x with some of its numbers replaced by updates, or added to.
pub(super) fn scatter(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let indices = indices(net, call)?;
    let (places, count, inner) = if call.op() == "ScatterND" {
        blocks_at(call, &dims, indices)?
    } else {
        let axis = call.axis(call.whole("axis", 0)?, dims.len())?;
        (places_along(call, &dims, axis, indices)?, dims.iter().product(), 1)
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
