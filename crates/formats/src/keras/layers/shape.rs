//! Layers that move numbers: flattening, reshaping, borders.

use ocellus_graph::ops::{BroadcastTo, Pad, PadMode, Slice};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Shape};

use super::convolve::{Image, image};
use crate::keras::fault::Fault;
use crate::keras::layer::Layer;
use crate::keras::net::{Item, Net, Order};
use crate::keras::stored::Trouble;

pub(super) fn elements(layer: &Layer, dims: &[usize]) -> Result<usize, Fault> {
    let count = dims.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    count.ok_or_else(|| layer.fault(format!("reads a tensor of the impossible sizes {dims:?}")))
}

/// One vector for each image. Its numbers stay where they are; who reads them knows how they lie.
pub(super) fn flatten(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let batch = item.dims[0];
    let dims = vec![batch, elements(layer, &item.dims[1..])?];
    // Of channels first, Keras too flattens (H, W, C).
    let image = match &item.order {
        Order::Flat(_) => return Ok(item),
        Order::Turned => Some(item.dims[1..].to_vec()),
        Order::Plain if item.rank() > 2 && layer.is_channels_first()? => {
            Some([&item.dims[2..], &item.dims[1..2]].concat())
        }
        Order::Plain => None,
    };
    let value = net.reshape(layer, "", item.value, &dims)?;
    // A single pixel or a single channel lies in either order.
    let image = image.filter(|image| {
        let (channels, pixels) =
            (image.last().copied().unwrap_or(1), &image[..image.len().saturating_sub(1)]);
        channels > 1 && pixels.iter().any(|&size| size > 1)
    });
    Ok(Item { value, dims, order: image.map_or(Order::Plain, Order::Flat) })
}

pub(super) fn reshape(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let target = layer.get("target_shape").and_then(serde_json::Value::as_array);
    let target = target.ok_or_else(|| layer.fault("says no target_shape"))?;
    let all = elements(layer, &item.dims[1..])?;
    let (mut dims, mut open) = (vec![item.dims[0]], None);
    for (i, size) in target.iter().enumerate() {
        match size.as_i64() {
            Some(-1) if open.is_none() => {
                open = Some(i + 1);
                dims.push(1);
            }
            Some(size) if size > 0 => dims.push(size as usize),
            _ => return Err(layer.fault(format!("has the size {size} in its target_shape")).into()),
        }
    }
    let known = elements(layer, &dims[1..])?;
    if let Some(open) = open {
        dims[open] = all / known;
    }
    if elements(layer, &dims[1..])? != all {
        let what = format!("makes {target:?} of {:?}, which has {all} numbers", &item.dims[1..]);
        return Err(layer.fault(what).into());
    }
    let value = net.plain(layer, &item)?;
    let value = net.reshape(layer, "", value, &dims)?;
    Ok(Item::plain(value, dims))
}

pub(super) fn permute(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let list = layer.get("dims").and_then(serde_json::Value::as_array);
    let list = list.ok_or_else(|| layer.fault("says no dims"))?;
    let order: Option<Vec<usize>> = std::iter::once(Some(0))
        .chain(list.iter().map(|axis| axis.as_u64().and_then(|axis| usize::try_from(axis).ok())))
        .collect();
    let mut sorted = order.clone().unwrap_or_default();
    sorted.sort_unstable();
    let order = order.filter(|_| sorted.iter().copied().eq(0..item.rank()));
    let order = order.ok_or_else(|| layer.fault(format!("orders {} axes as {list:?}", item.rank() - 1)))?;
    let value = net.plain(layer, &item)?;
    let dims = order.iter().map(|&axis| item.dims[axis]).collect();
    let value = net.transpose(layer, "", value, order)?;
    Ok(Item::plain(value, dims))
}

/// A vector repeated along a new axis.
pub(super) fn repeat(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let count = layer.size("n")?;
    if item.rank() != 2 {
        return Err(layer.fault(format!("reads a tensor of {} axes, it takes 2", item.rank())).into());
    }
    let [batch, features] = [item.dims[0], item.dims[1]];
    let value = net.plain(layer, &item)?;
    let value = net.reshape(layer, ".row", value, &[batch, 1, features])?;
    let dims = vec![batch, count, features];
    let op = Op::BroadcastTo(BroadcastTo { shape: Shape::new(dims.clone()) });
    let value = net.add(layer, "", op, &[value])?;
    Ok(Item::plain(value, dims))
}

/// (before, after) along both axes of the layer's image.
fn borders(layer: &Layer, image: &Image, key: &str) -> Result<[[usize; 2]; 2], Fault> {
    Ok(match image.axes {
        1 => [[0; 2], layer.borders::<1>(key)?[0]],
        _ => layer.borders::<2>(key)?,
    })
}

pub(super) fn pad(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let [[top, bottom], [left, right]] = borders(layer, &image, "padding")?;
    let padding = Padding { top, left, bottom, right };
    let op = Op::Pad(Pad { padding, channels: [0; 2], mode: PadMode::Constant(0.0) });
    let value = net.add(layer, "", op, &[image.value])?;
    Ok(image.result(net, layer, value)?)
}

pub(super) fn crop(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let borders = borders(layer, &image, "cropping")?;
    let mut value = image.value;
    for (axis, [before, after]) in borders.into_iter().enumerate() {
        let count = image.size[axis].checked_sub(before).and_then(|rest| rest.checked_sub(after));
        let count = count.filter(|&count| count > 0).ok_or_else(|| {
            layer.fault(format!("cuts {before} and {after} from an axis of {}", image.size[axis]))
        })?;
        value = part(net, layer, value, [axis, before, count])?;
    }
    Ok(image.result(net, layer, value)?)
}

/// `count` rows or columns from `start` on.
fn part(
    net: &mut Net,
    layer: &Layer,
    value: ValueId,
    [axis, start, count]: [usize; 3],
) -> Result<ValueId, Fault> {
    let axis = axis + 2;
    if net.graph.shape(value)[axis] == count {
        return Ok(value);
    }
    net.add(
        layer,
        if axis == 2 { ".rows" } else { "" },
        Op::Slice(Slice { axis, start, step: 1, count }),
        &[value],
    )
}

/// The middle of the image; what a random crop takes when the network is used.
pub(super) fn center_crop(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let wanted = [layer.size("height")?, layer.size("width")?];
    let is_smaller = (0..2).any(|axis| image.size[axis] < wanted[axis]);
    if is_smaller && !wanted.contains(&0) && layer.spec.class == "CenterCrop" {
        return super::resize::fitted(net, layer, image, wanted);
    }
    let mut value = image.value;
    for (axis, count) in wanted.into_iter().enumerate() {
        let rest = image.size[axis].checked_sub(count).filter(|_| count > 0);
        let rest = rest.ok_or_else(|| {
            layer.fault(format!("cuts {wanted:?} from an image of {:?}, which is not supported", image.size))
        })?;
        if layer.spec.class == "RandomCrop" && rest > 0 {
            return Err(layer.fault("resizes pictures before it cuts them, which is not supported").into());
        }
        value = part(net, layer, value, [axis, rest / 2, count])?;
    }
    Ok(image.result(net, layer, value)?)
}
