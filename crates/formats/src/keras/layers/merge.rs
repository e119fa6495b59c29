//! Several tensors become one.

use ocellus_graph::ops::{Activation, Binary, BinaryKind};
use ocellus_graph::{Op, ValueId};

use crate::keras::fault::Fault;
use crate::keras::layer::Layer;
use crate::keras::net::{Item, Net, Order};
use crate::keras::stored::Trouble;

/// Add, Subtract, Multiply, Average, Maximum, Minimum.
pub(super) fn elementwise(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let mut items = layer.items()?;
    let rank = items.iter().map(Item::rank).max().unwrap_or(0);
    // Keras puts the missing axes of smaller tensors behind the batch.
    for item in items.iter_mut().filter(|item| item.rank() < rank) {
        let mut dims = item.dims.clone();
        let missing = rank - dims.len();
        dims.splice(1..1, std::iter::repeat_n(1, missing));
        let value = net.plain(layer, item)?;
        let value = net.reshape(layer, ".axes", value, &dims)?;
        *item = Item::plain(value, dims);
    }
    let (values, order) = aligned(net, layer, &items)?;
    let dims = broadcast(&items).ok_or_else(|| {
        let shapes: Vec<&[usize]> = items.iter().map(|item| item.dims.as_slice()).collect();
        layer.fault(format!("reads tensors of the shapes {shapes:?}, which do not go together"))
    })?;
    let value = combined(net, layer, &values)?;
    Ok(Item { value, dims, order })
}

/// a + scale b: the one layer of its own that Keras Applications have, in Inception-ResNet-v2.
pub(super) fn scaled_sum(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let items = layer.items()?;
    let (Some(scale), [a, b]) = (layer.float("scale")?, items.as_slice()) else {
        return Err(layer.fault("is of a class that is not supported").into());
    };
    if a.dims != b.dims {
        let what = format!("reads tensors of the shapes {:?} and {:?}, which differ", a.dims, b.dims);
        return Err(layer.fault(what).into());
    }
    let (values, order) = aligned(net, layer, &items)?;
    let scale = Op::Activation(Activation::Affine { scale, shift: 0.0 });
    let scaled = net.add(layer, ".scaled", scale, &values[1..])?;
    let value = net.add(layer, "", Op::Binary(Binary { kind: BinaryKind::Add }), &[values[0], scaled])?;
    Ok(Item { value, dims: a.dims.clone(), order })
}

fn combined(net: &mut Net, layer: &Layer, values: &[ValueId]) -> Result<ValueId, Fault> {
    let affine = |scale| Op::Activation(Activation::Affine { scale, shift: 0.0 });
    let (kind, class) = match layer.spec.class.as_str() {
        "Subtract" => (BinaryKind::Sub, "Subtract"),
        "Multiply" => (BinaryKind::Mul, "Multiply"),
        "Maximum" => (BinaryKind::Maximum, "Maximum"),
        // The least is the largest of the negatives, negated.
        "Minimum" => (BinaryKind::Maximum, "Minimum"),
        "Average" => (BinaryKind::Add, "Average"),
        _ => (BinaryKind::Add, "Add"),
    };
    let mut values = values.to_vec();
    if class == "Minimum" {
        for (i, value) in values.iter_mut().enumerate() {
            *value = net.add(layer, &format!(".minus{i}"), affine(-1.0), &[*value])?;
        }
    }
    let count = values.len();
    let has_more = matches!(class, "Average" | "Minimum");
    let mut all = values.into_iter();
    let mut value = all.next().ok_or_else(|| layer.fault("is called with no tensor"))?;
    for (i, other) in all.enumerate() {
        let is_last = i + 2 == count && !has_more;
        let suffix = if is_last { String::new() } else { format!(".{}", i + 1) };
        value = net.add(layer, &suffix, Op::Binary(Binary { kind }), &[value, other])?;
    }
    match class {
        "Average" => net.add(layer, "", affine(1.0 / count as f32), &[value]),
        "Minimum" => net.add(layer, "", affine(-1.0), &[value]),
        _ => Ok(value),
    }
}

/// All values in one order of axes: the graph's if any of them lies so.
pub(super) fn aligned(net: &mut Net, layer: &Layer, items: &[Item]) -> Result<(Vec<ValueId>, Order), Fault> {
    if let Some(first) = items.first()
        && items.iter().all(|item| item.order == first.order)
    {
        return Ok((items.iter().map(|item| item.value).collect(), first.order.clone()));
    }
    let is_turned = items.iter().any(|item| item.order == Order::Turned);
    let order = if is_turned { Order::Turned } else { Order::Plain };
    let values =
        items.iter().map(|item| if is_turned { net.turned(layer, item) } else { net.plain(layer, item) });
    Ok((values.collect::<Result<_, _>>()?, order))
}

/// Sizes of tensors of one rank together.
fn broadcast(items: &[Item]) -> Option<Vec<usize>> {
    let mut all = items.iter().map(|item| item.dims.as_slice());
    let first = all.next()?.to_vec();
    all.try_fold(first, |known, dims| {
        let pair = |(&a, &b): (&usize, &usize)| match (a, b) {
            (1, size) | (size, 1) => Some(size),
            (a, b) => (a == b).then_some(a),
        };
        if known.len() == dims.len() { known.iter().zip(dims).map(pair).collect() } else { None }
    })
}

pub(super) fn concatenate(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let items = layer.items()?;
    let rank = items[0].rank();
    let axis = layer.axis("axis", -1, rank)?;
    if axis == 0 {
        return Err(layer.fault("joins tensors along the batch").into());
    }
    let mut dims = items[0].dims.clone();
    for item in &items[1..] {
        let agrees = item.rank() == rank && (0..rank).all(|i| i == axis || item.dims[i] == dims[i]);
        let size = dims[axis].checked_add(item.dims.get(axis).copied().unwrap_or(0));
        dims[axis] = size.filter(|_| agrees).ok_or_else(|| {
            let what = format!(
                "joins tensors of the shapes {:?} and {:?} along axis {axis}",
                items[0].dims, item.dims
            );
            layer.fault(what)
        })?;
    }
    if items.len() == 1 {
        return Ok(items[0].clone());
    }
    let flat = |item: &Item| matches!(item.order, Order::Flat(_));
    let (values, order) = match items.iter().any(flat) {
        true => (items.iter().map(|item| net.plain(layer, item)).collect::<Result<_, _>>()?, Order::Plain),
        false => aligned(net, layer, &items)?,
    };
    let axis = match (&order, axis) {
        (Order::Turned, axis) if axis == rank - 1 => 1,
        (Order::Turned, axis) => axis + 1,
        (_, axis) => axis,
    };
    let value = net.concat(layer, axis, &values)?;
    Ok(Item { value, dims, order })
}
