//! Functions without a layer that move numbers: other sizes, other orders of axes, parts.

use ocellus_graph::Op;
use ocellus_graph::ops::{Pad, PadMode, Slice};
use ocellus_tensor::Padding;
use serde_json::Value;

use super::operation::{first, plain, setting_or};
use super::shape::elements;
use crate::keras::fault::Fault;
use crate::keras::layer::{Given, Layer, number};
use crate::keras::net::{Item, Net, Order};

/// No border is wider.
const MOST_PADDING: usize = 1 << 16;

/// Names of Keras 3's operations and of TensorFlow's functions.
pub(super) const NAMES: [&str; 11] = [
    "Pad",
    "pad",
    "Reshape",
    "reshape",
    "Transpose",
    "transpose",
    "ExpandDims",
    "expand_dims",
    "Squeeze",
    "squeeze",
    "GetItem",
];

pub(super) fn add(net: &mut Net, layer: &Layer, name: &str) -> Result<Item, Fault> {
    match name {
        "Reshape" | "reshape" => reshape(net, layer),
        "Transpose" | "transpose" => transpose(net, layer),
        "ExpandDims" | "expand_dims" => expand(net, layer),
        "Squeeze" | "squeeze" => squeeze(net, layer),
        "GetItem" => get_item(net, layer),
        "Pad" | "pad" => pad(net, layer),
        name => Err(layer.fault(format!("calls the function {name:?}, which is not supported"))),
    }
}

/// A list of whole numbers that the function is called with.
fn wholes(layer: &Layer, keys: [&str; 2]) -> Result<Vec<i64>, Fault> {
    let given = setting_or(layer, keys, 1);
    let one = |value: &Value| if value.is_null() { Some(-1) } else { value.as_i64() };
    let list = match &given {
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        Some(value) => one(value).map(|one| vec![one]),
        None => None,
    };
    list.ok_or_else(|| layer.fault(format!("says no {}", keys[0])))
}

/// The items of a batch stay apart: the first size is the batch, and at most one other is open.
fn reshape(net: &mut Net, layer: &Layer) -> Result<Item, Fault> {
    let item = first(layer)?;
    let wanted = wholes(layer, ["newshape", "shape"])?;
    let refuse = || layer.fault(format!("makes {wanted:?} of {:?}, which is not supported", item.dims));
    let [batch, rest @ ..] = wanted.as_slice() else { return Err(refuse()) };
    if *batch != -1 && usize::try_from(*batch).ok() != Some(item.dims[0]) {
        return Err(refuse());
    }
    let all = elements(layer, &item.dims[1..])?;
    let known = rest.iter().filter(|&&size| size != -1).try_fold(1_usize, |count, &size| {
        usize::try_from(size).ok().filter(|&size| size > 0).and_then(|size| count.checked_mul(size))
    });
    let known = known.filter(|&known| all % known == 0).ok_or_else(refuse)?;
    let open = rest.iter().filter(|&&size| size == -1).count();
    if open > 1 || open == 0 && known != all {
        return Err(refuse());
    }
    let size = |&size: &i64| if size == -1 { all / known } else { size as usize };
    let dims: Vec<usize> = [item.dims[0]].into_iter().chain(rest.iter().map(size)).collect();
    let value = net.plain(layer, &item)?;
    Ok(Item::plain(net.reshape(layer, "", value, &dims)?, dims))
}

fn transpose(net: &mut Net, layer: &Layer) -> Result<Item, Fault> {
    let item = first(layer)?;
    let axes = wholes(layer, ["axes", "perm"])?;
    let order: Option<Vec<usize>> = axes.iter().map(|&axis| usize::try_from(axis).ok()).collect();
    let mut sorted = order.clone().unwrap_or_default();
    sorted.sort_unstable();
    let is_order = sorted.iter().copied().eq(0..item.rank()) && axes.first() == Some(&0);
    let order = order.filter(|_| is_order);
    let order = order.ok_or_else(|| layer.fault(format!("orders {} axes as {axes:?}", item.rank())))?;
    let value = net.plain(layer, &item)?;
    let dims = order.iter().map(|&axis| item.dims[axis]).collect();
    Ok(Item::plain(net.transpose(layer, "", value, order)?, dims))
}

/// Another axis of size 1.
fn expand(net: &mut Net, layer: &Layer) -> Result<Item, Fault> {
    let item = first(layer)?;
    let axis = setting_or(layer, ["axis", "axis"], 1).unwrap_or(Value::Null);
    let axis = layer.axes_of(&axis, "axis", item.rank() + 1)?;
    let mut dims = item.dims.clone();
    match axis.as_slice() {
        &[axis] if axis > 0 => dims.insert(axis, 1),
        _ => return Err(layer.fault("adds an axis before the batch, which is not supported")),
    }
    let value = net.plain(layer, &item)?;
    Ok(Item::plain(net.reshape(layer, "", value, &dims)?, dims))
}

/// Without axes of size 1: those that are named, or all behind the batch.
fn squeeze(net: &mut Net, layer: &Layer) -> Result<Item, Fault> {
    let item = first(layer)?;
    let axes = match setting_or(layer, ["axis", "axis"], 1).filter(|axis| !axis.is_null()) {
        Some(axis) => layer.axes_of(&axis, "axis", item.rank())?,
        None => (1..item.rank()).filter(|&axis| item.dims[axis] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| axis == 0 || item.dims[axis] != 1) {
        return Err(layer.fault(format!("takes away axis {axis} of {:?}", item.dims)));
    }
    let kept = (0..item.rank()).filter(|axis| !axes.contains(axis)).map(|axis| item.dims[axis]);
    let dims: Vec<usize> = kept.collect();
    let value = net.plain(layer, &item)?;
    Ok(Item::plain(net.reshape(layer, "", value, &dims)?, dims))
}

/// A border of one number around images, and around their channels.
fn pad(net: &mut Net, layer: &Layer) -> Result<Item, Fault> {
    let item = first(layer)?;
    let refuse =
        || layer.fault("pads in a way that is not supported: images by one number, their batch not at all");
    let widths = setting_or(layer, ["pad_width", "paddings"], 1);
    let pair = |value: &Value| -> Option<[usize; 2]> {
        let size = |value: &Value| usize::try_from(value.as_u64()?).ok().filter(|&size| size <= MOST_PADDING);
        let [before, after] = value.as_array()?.as_slice() else { return None };
        Some([size(before)?, size(after)?])
    };
    let widths: Option<Vec<[usize; 2]>> =
        widths.as_ref().and_then(Value::as_array).and_then(|list| list.iter().map(pair).collect());
    let mode = setting_or(layer, ["mode", "mode"], 2).unwrap_or(Value::Null);
    let is_constant =
        mode.is_null() || mode.as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("constant"));
    let (Some([[0, 0], rows, columns, channels]), true, 4) = (widths.as_deref(), is_constant, item.rank())
    else {
        return Err(refuse());
    };
    let filled = match setting_or(layer, ["constant_values", "constant_values"], 3) {
        None | Some(Value::Null) => 0.0,
        Some(value) => number(&value).ok_or_else(refuse)?,
    };
    let value = net.turned(layer, &item)?;
    let padding = Padding { top: rows[0], left: columns[0], bottom: rows[1], right: columns[1] };
    let op = Op::Pad(Pad { padding, channels: *channels, mode: PadMode::Constant(filled) });
    let value = net.add(layer, "", op, &[value])?;
    let wider = item.dims.iter().zip([&[0, 0], rows, columns, channels]);
    let dims = wider.map(|(size, [before, after])| size + before + after).collect();
    Ok(Item::turned(value, dims))
}

/// `x[:, 1:5, ::2]`: parts along axes, or single places, whose axes fall away.
fn get_item(net: &mut Net, layer: &Layer) -> Result<Item, Fault> {
    let item = first(layer)?;
    let mut keys = match layer.args.get(1) {
        Some(Given::List(list)) => list.iter().map(plain).collect::<Option<Vec<Value>>>().unwrap_or_default(),
        Some(Given::Value(Value::Array(list))) => list.clone(),
        Some(Given::Value(value)) => vec![value.clone()],
        _ => Vec::new(),
    };
    let refuse =
        || layer.fault("takes a part that is not supported: only [start:stop:step] and single places are");
    let class = |key: &Value| key.get("class_name").and_then(Value::as_str).unwrap_or("").to_string();
    if let Some(place) = keys.iter().position(|key| class(key) == "__ellipsis__") {
        let missing = (item.rank() + 1).checked_sub(keys.len()).ok_or_else(refuse)?;
        let all = serde_json::json!({"class_name": "__slice__", "config": {}});
        keys.splice(place..=place, std::iter::repeat_n(all, missing));
    }
    if keys.is_empty() || keys.len() > item.rank() {
        return Err(refuse());
    }
    let is_turned = item.order == Order::Turned;
    let mut value = if is_turned { item.value } else { net.plain(layer, &item)? };
    let (mut dims, mut single) = (item.dims.clone(), Vec::new());
    for (axis, key) in keys.iter().enumerate() {
        let size = dims[axis];
        let (start, step, count) = match key.as_i64() {
            Some(place) => {
                single.push(axis);
                let place = if place < 0 { place.saturating_add(size as i64) } else { place };
                (usize::try_from(place).ok().filter(|&place| place < size).ok_or_else(refuse)?, 1, 1)
            }
            None if class(key) == "__slice__" => part(key, size).ok_or_else(refuse)?,
            None => return Err(refuse()),
        };
        if (start, step, count) == (0, 1, size) && key.as_i64().is_none() {
            continue;
        }
        if axis == 0 {
            return Err(layer.fault("takes a part of the batch, which is not supported"));
        }
        let own = match is_turned {
            true if axis + 1 == item.rank() => 1,
            true => axis + 1,
            false => axis,
        };
        let slice = Op::Slice(Slice { axis: own, start, step, count });
        value = net.add(layer, &format!(".axis{axis}"), slice, &[value])?;
        dims[axis] = count;
    }
    let found = Item { value, dims, order: if is_turned { Order::Turned } else { Order::Plain } };
    if single.is_empty() {
        return Ok(found);
    }
    let kept = (0..found.rank()).filter(|axis| !single.contains(axis)).map(|axis| found.dims[axis]);
    let dims: Vec<usize> = kept.collect();
    let value = net.plain(layer, &found)?;
    Ok(Item::plain(net.reshape(layer, "", value, &dims)?, dims))
}

/// (start, step, count) of a slice along an axis; ends count from behind if they are negative.
fn part(key: &Value, size: usize) -> Option<(usize, usize, usize)> {
    let config = key.get("config")?;
    let end = |name: &str, usual: usize| match config.get(name) {
        None | Some(Value::Null) => Some(usual),
        Some(value) => {
            let end = value.as_i64()?;
            let end = if end < 0 { end.saturating_add(size as i64).max(0) } else { end };
            Some(usize::try_from(end).ok()?.min(size))
        }
    };
    let step = match config.get("step") {
        None | Some(Value::Null) => 1,
        Some(value) => usize::try_from(value.as_i64()?).ok().filter(|&step| step > 0)?,
    };
    let (start, stop) = (end("start", 0)?, end("stop", size)?);
    let count = stop.checked_sub(start)?.div_ceil(step);
    (count > 0).then_some((start, step, count))
}
