//! Operators that only move numbers.

use ocellus_graph::ops::{Concat, Dropout, Transpose};
use ocellus_graph::{Op, ValueId};

use super::Made;
use super::select::{MOST_LOOKED_UP, looked_up};
use super::volume::Site;
use crate::onnx::call::{Call, Item};
use crate::onnx::dims;
use crate::onnx::fault::Fault;
use crate::onnx::literal::{Kind, Literal, Numbers};
use crate::onnx::net::Net;
use crate::volume;

/// Pieces that one reordering may be made of.
const MOST_PIECES: usize = 1024;

/// Numbers of the one-hot vectors that choose what does not lie in so few pieces.
const MOST_HOT: usize = 1 << 24;

/// Identity, and Dropout as it predicts: the same value. The mask of a Dropout is ones.
pub(super) fn identity(net: &mut Net, call: &Call) -> Made {
    let mut ratio = None;
    if call.op() == "Dropout" {
        let trains = match call.opset {
            ..7 => call.attribute("is_test").is_some() && !call.flag("is_test", false)?,
            7..12 => false,
            _ => call.number(2, "training_mode")?.is_some_and(|mode| mode != 0.0),
        };
        ratio = match call.item(1) {
            _ if call.opset < 12 => Some(call.float("ratio", 0.5)?),
            // A share that is only known at run time means nothing to a network that predicts.
            Some(Item::Value(..)) if !trains => None,
            _ => call.number(1, "ratio")?,
        };
        if trains && ratio != Some(0.0) {
            return Err(
                call.fault_with("is in its training form", "export the network for inference (eval mode)")
            );
        }
    }
    let mut item = call.need(0)?.clone();
    if let (Item::Value(x, kind), "Dropout", Some(rate)) = (&item, call.op(), ratio)
        && (0.0..1.0).contains(&rate)
    {
        // It does nothing until the network is trained on.
        let dropout = Dropout { rate, active: false, stream: net.next_dropout() };
        item = Item::Value(net.add(call, "", Op::Dropout(dropout), &[*x])?, *kind);
    }
    let ones = Literal::new(Kind::Bool, net.dims_of(&item), Numbers::Same(1.0));
    Ok(if call.wanted() > 1 { vec![item, Item::Constant(ones)] } else { vec![item] })
}

/// Reshape, Flatten, Squeeze and Unsqueeze.
pub(super) fn reshape(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let from = net.dims(x);
    let to = dims::rearranged(call, &from)?;
    if call.op() == "Reshape" && to.first() != from.first() {
        // A first size that the model leaves open stays open.
        let target = if call.opset < 5 { call.wholes("shape")? } else { call.list(1, "shape")? };
        if target.is_some_and(|target| target.first() == Some(&-1)) {
            return net.fold(call, "", x, &to);
        }
    }
    if call.op() == "Flatten" && to.first() != from.first() {
        return net.fold(call, "", x, &to);
    }
    net.reshape(call, "", x, &to)
}

pub(super) fn transpose(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let order = dims::order(call, net.shape(x).rank())?;
    transposed(net, call, "", x, order)
}

fn transposed(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    order: Vec<usize>,
) -> Result<ValueId, Fault> {
    if order.is_sorted() {
        return Ok(x);
    }
    net.add(call, suffix, Op::Transpose(Transpose { order }), &[x])
}

pub(super) fn concat(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let default = if call.opset < 4 { 1 } else { 0 };
    let rank = net.dims_of(call.need(0)?).len();
    let axis = call.axis(call.whole("axis", default)?, rank)?;
    let mut inputs = Vec::with_capacity(call.inputs.len());
    for i in 0..call.inputs.len() {
        // Nothing joined to something is that thing.
        if !net.dims_of(call.need(i)?).contains(&0) {
            inputs.push(net.value(call, i)?);
        }
    }
    match *inputs.as_slice() {
        [] => Err(call.fault("joins only empty tensors")),
        [one] => Ok(one),
        _ => net.add(call, "", Op::Concat(Concat { axis }), &inputs),
    }
}

/// `count` indices of an axis, `step` apart, from `start` on.
pub(super) fn part(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    axis: usize,
    (start, step, count): (usize, usize, usize),
) -> Result<ValueId, Fault> {
    volume::part(&mut Site { net, call }, suffix, x, axis, (start, step, count))
}

pub(super) fn split(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let kind = call.need(0)?.kind();
    let dims = net.dims(x);
    let axis = call.axis(call.whole("axis", 0)?, dims.len())?;
    let sizes = dims::split(call, dims[axis])?;
    let (mut start, mut made) = (0, Vec::new());
    for (i, size) in sizes.into_iter().enumerate() {
        made.push(if size == 0 {
            let mut empty = dims.clone();
            empty[axis] = 0;
            Item::Constant(Literal::new(kind, empty, Numbers::Same(0.0)))
        } else {
            Item::Value(part(net, call, &format!(".{i}"), x, axis, (start, 1, size))?, kind)
        });
        start += size;
    }
    Ok(made)
}

pub(super) fn slice(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let mut x = net.value(call, 0)?;
    let parts = dims::sliced(call, &net.dims(x))?;
    let last = parts.len().saturating_sub(1);
    for (i, taken) in parts.into_iter().enumerate() {
        let suffix = if i == last { String::new() } else { format!(".{i}") };
        if taken.count == 0 {
            return Err(call.fault(format!("takes nothing from axis {}: its result is empty", taken.axis)));
        }
        x = match usize::try_from(taken.step) {
            Ok(step) => part(net, call, &suffix, x, taken.axis, (taken.start, step, taken.count))?,
            Err(_) => {
                let down = |i: usize| taken.start - i * taken.step.unsigned_abs() as usize;
                let indices: Vec<usize> = (0..taken.count).map(down).collect();
                chosen(net, call, &suffix, x, (taken.axis, &indices))?
            }
        };
    }
    Ok(x)
}

/// The numbers at `indices` of an axis, as parts that are evenly spaced, joined.
pub(super) fn chosen(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    (axis, indices): (usize, &[usize]),
) -> Result<ValueId, Fault> {
    let runs = runs(indices);
    if runs.len() > MOST_PIECES {
        let what = format!(
            "takes {} numbers in no order from an axis, in more than {MOST_PIECES} pieces",
            indices.len()
        );
        return Err(call.fault(what));
    }
    match *runs.as_slice() {
        [] => Err(call.fault("takes nothing: its result is empty")),
        [run] => part(net, call, suffix, x, axis, run),
        _ => {
            let mut parts = Vec::with_capacity(runs.len());
            for (i, &run) in runs.iter().enumerate() {
                parts.push(part(net, call, &format!("{suffix}.part{i}"), x, axis, run)?);
            }
            net.add(call, suffix, Op::Concat(Concat { axis }), &parts)
        }
    }
}

/// Evenly spaced, ascending runs (start, step, count) of a list of indices.
fn runs(indices: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for &index in indices {
        match runs.last_mut() {
            Some((start, step, count @ 1)) if index > *start => (*step, *count) = (index - *start, 2),
            Some((start, step, count)) if index == *start + *step * *count => *count += 1,
            _ => runs.push((index, 1, 1)),
        }
    }
    runs
}

pub(super) fn gather(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let kind = call.need(0)?.kind();
    let from = net.dims(x);
    let axis = call.axis(call.whole("axis", 0)?, from.len())?;
    if matches!(call.item(1), Some(Item::Value(..))) {
        return looked_up(net, call, axis);
    }
    let indices = call.constant(1, "indices")?.ok_or_else(|| call.fault("has no indices"))?;
    let size = from[axis] as i64;
    net.budget.charge((indices.len() as u64).saturating_mul(16)).map_err(|what| call.fault(what))?;
    let found = indices.to_wholes().into_iter().map(|index| {
        let from_first = if index < 0 { index.saturating_add(size) } else { index };
        let found = usize::try_from(from_first).ok().filter(|&index| index < from[axis]);
        found.ok_or_else(|| call.fault(format!("index {index} is outside an axis of size {size}")))
    });
    let found = found.collect::<Result<Vec<_>, _>>()?;
    let is_short = found.len().saturating_mul(from[axis]) <= MOST_HOT && from[axis] <= MOST_LOOKED_UP;
    if runs(&found).len() > MOST_PIECES && is_short {
        return looked_up(net, call, axis);
    }
    let y = chosen(net, call, ".part", x, (axis, &found))?;
    let to: Vec<usize> = from[..axis].iter().chain(&indices.dims).chain(&from[axis + 1..]).copied().collect();
    Ok(vec![Item::Value(net.reshape(call, "", y, &to)?, kind)])
}

pub(super) fn expand(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let target = call.list(1, "shape")?.ok_or_else(|| call.fault("has no shape to reach"))?;
    let target = call.sizes(&target, "shape")?;
    let to = dims::broadcast(call, &net.dims(x), &target)?;
    net.broadcast(call, "", x, &to)
}

/// Tile: each axis is repeated as a whole.
pub(super) fn tile(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let from = net.dims(x);
    let repeats = if call.opset < 6 {
        // The first version repeated one axis: inputs `tiles` and `axis`.
        let (tiles, axis) = (call.number(1, "tiles")?, call.number(2, "axis")?);
        let axis = call.axis(axis.unwrap_or(0.0) as i64, from.len())?;
        let tiles = call.size(tiles.unwrap_or(1.0) as i64, "tiles")?;
        (0..from.len()).map(|other| if other == axis { tiles } else { 1 }).collect()
    } else {
        let repeats = call.list(1, "repeats")?.ok_or_else(|| call.fault("has no repeats"))?;
        call.sizes(&repeats, "repeats")?
    };
    if repeats.len() != from.len() {
        return Err(call.fault(format!("{repeats:?} repeats for {} axes", from.len())));
    }
    if repeats.contains(&0) {
        return Err(call.fault(format!("repeats {repeats:?} times: its result is empty")));
    }
    let (mut ones, mut many, mut to) = (Vec::new(), Vec::new(), Vec::new());
    for (&size, &repeat) in from.iter().zip(&repeats) {
        ones.extend([1, size]);
        many.extend([repeat, size]);
        to.push(size.checked_mul(repeat).ok_or_else(|| call.fault("its result is too large"))?);
    }
    let x = net.reshape(call, ".axes", x, &ones)?;
    let x = net.broadcast(call, ".repeated", x, &many)?;
    net.reshape(call, "", x, &to)
}

fn block(call: &Call) -> Result<usize, Fault> {
    match call.size(call.whole("blocksize", 0)?, "blocksize")? {
        0 => Err(call.fault("its blocksize must be at least 1")),
        block => Ok(block),
    }
}

fn image(net: &Net, call: &Call, x: ValueId) -> Result<[usize; 4], Fault> {
    let dims = net.dims(x);
    <[usize; 4]>::try_from(dims.as_slice())
        .map_err(|_| call.fault(format!("needs an image (N, C, H, W), got the shape {dims:?}")))
}

pub(super) fn depth_to_space(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let [n, c, h, w] = image(net, call, x)?;
    let b = block(call)?;
    let channels = (b.checked_mul(b)).filter(|&area| c.is_multiple_of(area)).map(|area| c / area);
    let channels = channels.ok_or_else(|| call.fault(format!("{c} channels are no blocks of {b}x{b}")))?;
    let (parts, order) = match call.text("mode", "DCR")? {
        "DCR" => ([n, b, b, channels, h, w], vec![0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, channels, b, b, h, w], vec![0, 1, 4, 2, 5, 3]),
        mode => return Err(call.fault(format!("its mode is {mode:?}, which ONNX does not know"))),
    };
    let x = net.reshape(call, ".parts", x, &parts)?;
    let x = transposed(net, call, ".order", x, order)?;
    net.reshape(call, "", x, &[n, channels, h * b, w * b])
}

pub(super) fn space_to_depth(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let [n, c, h, w] = image(net, call, x)?;
    let b = block(call)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(call.fault(format!("{h}x{w} pixels are no blocks of {b}x{b}")));
    }
    let x = net.reshape(call, ".parts", x, &[n, c, h / b, b, w / b, b])?;
    let order = match call.text("mode", "DCR")? {
        "CRD" => vec![0, 1, 3, 5, 2, 4],
        _ => vec![0, 3, 5, 1, 2, 4],
    };
    let x = transposed(net, call, ".order", x, order)?;
    net.reshape(call, "", x, &[n, c * b * b, h / b, w / b])
}
