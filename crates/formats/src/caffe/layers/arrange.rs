//! Layers that only move numbers.

use ocellus_graph::ops::{
    Activation, ArgMax, Binary, BinaryKind, Concat, Reduce, ReduceKind, Reshape, Slice, TopK, Transpose,
};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Shape;

use super::{Tops, axis_of};
use crate::caffe::layer::Layer;
use crate::caffe::message::{Fault, Message};
use crate::caffe::net::Net;

/// More copies than any network makes of one value.
const MOST_TILES: usize = 4096;

/// Bottoms end to end along an axis, the channels unless told otherwise.
pub(super) fn concat(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let settings = layer.settings("concat_param", &["axis", "concat_dim"])?;
    let &[first, ..] = bottoms else { return Err(layer.fault("needs at least 1 bottom, has 0")) };
    let axis = axis(net, layer, &settings, ("concat_dim", first))?;
    net.node(layer, "", Op::Concat(Concat { axis }), bottoms)
}

/// One bottom cut into as many parts as there are tops, at the given points or evenly.
pub(super) fn slice(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("slice_param", &["axis", "slice_dim", "slice_point"])?;
    let axis = axis(net, layer, &settings, ("slice_dim", bottoms[0]))?;
    let (size, parts) = (net.shape(bottoms[0])[axis], layer.tops.len());
    let mut points = settings.usizes("slice_point")?;
    if points.is_empty() && parts > 0 {
        if size % parts != 0 {
            return Err(
                layer.fault(format!("axis {axis} of size {size} cannot be cut into {parts} equal parts"))
            );
        }
        points = (1..parts).map(|part| part * (size / parts)).collect();
    }
    if points.len() + 1 != parts {
        return Err(layer.fault(format!(
            "{} slice points make {} parts, it has {parts} tops",
            points.len(),
            points.len() + 1
        )));
    }
    let bounds: Vec<usize> = [0].into_iter().chain(points).chain([size]).collect();
    let mut values = Vec::with_capacity(parts);
    for (i, pair) in bounds.windows(2).enumerate() {
        let Some(count) = pair[1].checked_sub(pair[0]) else {
            return Err(layer.fault(format!("slice points must ascend below {size}, got {pair:?}")));
        };
        let part = Slice { axis, start: pair[0], step: 1, count };
        values.push(net.node(layer, &format!(".{i}"), Op::Slice(part), bottoms)?);
    }
    Ok(values)
}

/// The same value under several names; an input gets a node, so that it can be handed out.
pub(super) fn split(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    layer.expect_bottoms(1)?;
    layer.settings("", &[])?;
    let mut value = bottoms[0];
    if net.is_input(value) {
        let shape = net.shape(value).clone();
        value = net.node(layer, "", Op::Reshape(Reshape { dims: kept(&shape, shape.rank()) }), bottoms)?;
    }
    Ok(vec![value; layer.tops.len()])
}

/// The axes from `axis` to `end_axis` as one.
pub(super) fn flatten(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("flatten_param", &["axis", "end_axis"])?;
    let shape = net.shape(bottoms[0]).clone();
    let first = axis_of(layer, settings.i64("axis", 1)?, shape.rank())?;
    let last = axis_of(layer, settings.i64("end_axis", -1)?, shape.rank())?;
    if last < first {
        return Err(layer.fault(format!("end_axis {last} is before axis {first}")));
    }
    let mut dims = kept(&shape, first);
    dims.push(-1);
    dims.extend(shape[last + 1..].iter().map(|&size| size as isize));
    net.node(layer, "", Op::Reshape(Reshape { dims }), bottoms)
}

/// Other sizes for the axes from `axis` on, `num_axes` of them; 0 keeps a size, -1 stands for what remains.
pub(super) fn reshape(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("reshape_param", &["shape", "axis", "num_axes"])?;
    let shape = net.shape(bottoms[0]).clone();
    let rank = shape.rank();
    // Here an axis may stand behind the last one, to add axes of size 1.
    let start = settings.i64("axis", 0)?;
    let start = if start < 0 { start.saturating_add(rank as i64 + 1) } else { start };
    let start = usize::try_from(start).ok().filter(|&start| start <= rank);
    let start = start.ok_or_else(|| layer.fault(format!("its axis is outside a bottom of {rank} axes")))?;
    let end = match settings.i64("num_axes", -1)? {
        -1 => rank,
        count => usize::try_from(count)
            .ok()
            .and_then(|count| start.checked_add(count))
            .filter(|&end| end <= rank)
            .ok_or_else(|| layer.fault(format!("num_axes = {count} leaves a bottom of {rank} axes")))?,
    };
    let mut dims = kept(&shape, start);
    if let Some(message) = settings.message("shape")? {
        for (i, field) in message.all("dim").enumerate() {
            dims.push(match field.as_i64()? {
                0 if start + i == 0 => 0,
                0 => match shape.get(start + i) {
                    Some(&size) => size as isize,
                    None => return Err(layer.fault(format!("dim 0 keeps a size, but axis {} is none", start + i))),
                },
                -1 => -1,
                size if (1..=i64::from(i32::MAX)).contains(&size) => size as isize,
                size => return Err(layer.fault(format!("a dim must be -1, 0 or a size, got {size}"))),
            });
        }
    }
    dims.extend(shape[end..].iter().map(|&size| size as isize));
    net.node(layer, "", Op::Reshape(Reshape { dims }), bottoms)
}

/// Axes in another order; those not named follow in theirs.
pub(super) fn permute(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let mut order = layer.settings("permute_param", &["order"])?.usizes("order")?;
    let rank = net.shape(bottoms[0]).rank();
    for axis in 0..rank {
        if !order.contains(&axis) {
            order.push(axis);
        }
    }
    net.node(layer, "", Op::Transpose(Transpose { order }), bottoms)
}

/// A value several times end to end.
pub(super) fn tile(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("tile_param", &["axis", "tiles"])?;
    let axis = axis_of(layer, settings.i64("axis", 1)?, net.shape(bottoms[0]).rank())?;
    let tiles = settings.usize("tiles", 0)?;
    if !(1..=MOST_TILES).contains(&tiles) {
        return Err(layer.fault(format!("tiles = {tiles}; it must be 1 to {MOST_TILES}")));
    }
    net.node(layer, "", Op::Concat(Concat { axis }), &vec![bottoms[0]; tiles])
}

/// The first bottom cut to the sizes of the second from `axis` on, at the given offsets.
pub(super) fn crop(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(2)?;
    let settings = layer.settings("crop_param", &["axis", "offset"])?;
    let (shape, wanted) = (net.shape(bottoms[0]).clone(), net.shape(bottoms[1]).clone());
    let first = axis_of(layer, settings.i64("axis", 2)?, shape.rank())?;
    let offsets = settings.usizes("offset")?;
    let axes: Vec<usize> = (first..shape.rank()).collect();
    if wanted.rank() != shape.rank() || !(offsets.len() <= 1 || offsets.len() == axes.len()) {
        let what = format!("{} offsets for {} axes of {shape}, cut to {wanted}", offsets.len(), axes.len());
        return Err(layer.fault(what));
    }
    let mut value = bottoms[0];
    for (i, &axis) in axes.iter().enumerate() {
        let start = offsets.get(i).or(offsets.first()).copied().unwrap_or(0);
        let cut = Slice { axis, start, step: 1, count: wanted[axis] };
        let suffix = if i + 1 == axes.len() { String::new() } else { format!(".{i}") };
        value = net.node(layer, &suffix, Op::Slice(cut), &[value])?;
    }
    Ok(value)
}

/// Sums or means over all axes from `axis` on.
pub(super) fn reduction(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("reduction_param", &["operation", "axis", "coeff"])?;
    let rank = net.shape(bottoms[0]).rank();
    let first = axis_of(layer, settings.i64("axis", 0)?, rank)?;
    // The enumeration begins at 1.
    let operation = match settings.choice("operation", &["", "SUM", "ASUM", "SUMSQ", "MEAN"])? {
        0 => 1,
        operation => operation,
    };
    let mut x = bottoms[0];
    match operation {
        2 => x = net.node(layer, ".abs", Op::Activation(Activation::Abs), &[x])?,
        3 => x = net.node(layer, ".square", Op::Binary(Binary { kind: BinaryKind::Mul }), &[x, x])?,
        _ => {}
    }
    let kind = if operation == 4 { ReduceKind::Mean } else { ReduceKind::Sum };
    let op = Op::Reduce(Reduce { kind, axes: (first..rank).collect(), keep: false });
    let coefficient = settings.f32("coeff", 1.0)?;
    if coefficient == 1.0 {
        return net.node(layer, "", op, &[x]);
    }
    let reduced = net.node(layer, ".sum", op, &[x])?;
    net.node(layer, "", Op::Activation(Activation::Affine { scale: coefficient, shift: 0.0 }), &[reduced])
}

/// Where the `top_k` largest numbers are, or those numbers: along an axis, or among all numbers of an item, with both
/// if they are wanted: (N, 1, K, 1) or (N, 2, K, 1). Of equal numbers Caffe takes the last.
pub(super) fn arg_max(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("argmax_param", &["out_max_val", "top_k", "axis"])?;
    let (count, with_value) = (settings.usize("top_k", 1)?, settings.bool("out_max_val", false)?);
    let rank = net.shape(bottoms[0]).rank();
    if settings.get("axis").is_some() {
        let axis = axis_of(layer, settings.i64("axis", 1)?, rank)?;
        return largest(net, layer, ("", bottoms[0]), (axis, count), with_value);
    }
    let row = net.node(layer, ".flatten", Op::Reshape(Reshape { dims: vec![0, -1] }), bottoms)?;
    let mut found = largest(net, layer, (".index", row), (1, count), false)?;
    if with_value {
        let value = largest(net, layer, (".value", row), (1, count), true)?;
        found = net.node(layer, ".both", Op::Concat(Concat { axis: 1 }), &[found, value])?;
    }
    let mut dims = vec![1; rank.max(3)];
    (dims[0], dims[1], dims[2]) = (0, if with_value { 2 } else { 1 }, count as isize);
    net.node(layer, "", Op::Reshape(Reshape { dims }), &[found])
}

/// The `count` largest numbers along an axis, or their indices.
fn largest(
    net: &mut Net,
    layer: &Layer,
    (suffix, x): (&str, ValueId),
    (axis, count): (usize, usize),
    values: bool,
) -> Result<ValueId, Fault> {
    let op = match (count, values) {
        (1, true) => Op::Reduce(Reduce { kind: ReduceKind::Max, axes: vec![axis], keep: true }),
        (1, false) => Op::ArgMax(ArgMax { axis, keep: true, last: true }),
        _ => Op::TopK(TopK { axis, count, last: true }),
    };
    // Where there are two outputs the numbers come first.
    let found = net.nodes(layer, suffix, op, &[x])?;
    let wanted = if values { found.first() } else { found.last() };
    wanted.copied().ok_or_else(|| layer.fault("gives no value"))
}

/// The axis that a layer works along, which has an older name too.
fn axis(net: &Net, layer: &Layer, settings: &Message, (old, x): (&str, ValueId)) -> Result<usize, Fault> {
    let axis =
        if settings.get("axis").is_some() { settings.i64("axis", 1)? } else { settings.i64(old, 1)? };
    axis_of(layer, axis, net.shape(x).rank())
}

/// The first `count` axes as they are, whatever the batch.
fn kept(shape: &Shape, count: usize) -> Vec<isize> {
    shape[..count].iter().enumerate().map(|(axis, &size)| if axis == 0 { 0 } else { size as isize }).collect()
}
