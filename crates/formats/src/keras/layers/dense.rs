//! The fully connected layer: along the last axis, whatever the others are.

use ocellus_graph::Op;
use ocellus_graph::ops::{Conv2d, Linear};
use ocellus_tensor::{Tensor, Window};

use super::activation;
use crate::keras::layer::Layer;
use crate::keras::net::{Item, Net, Order, permuted};
use crate::keras::stored::Trouble;

pub(super) fn dense(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let units = layer.size("units")?;
    let features = *item
        .dims
        .last()
        .filter(|_| item.rank() > 1)
        .ok_or_else(|| layer.fault("reads a tensor without features"))?;
    let bias = layer.flag("use_bias", true)?;
    let mut wanted = vec![("kernel", vec![features, units])];
    if bias {
        wanted.push(("bias", vec![units]));
    }
    let mut numbers = layer.tensor_list(&wanted)?.into_iter().flatten();
    let kernel = numbers.next();
    // Images stay as they are: a 1x1 convolution. Weights that other calls share stay matrices.
    let is_image = item.order == Order::Turned && item.rank() == 4 && !layer.is_shared;
    let kept = match &item.order {
        Order::Flat(image) if !layer.is_shared => Some(image.clone()),
        _ => None,
    };
    let kernel = kernel.and_then(|kernel| weight(kernel, kept.as_deref()));
    let dims = if is_image { vec![units, features, 1, 1] } else { vec![units, features] };
    let weight = net.weight(layer, "weight", &dims, kernel)?;
    let value = match (is_image || kept.is_some(), item.rank()) {
        (true, _) => item.value,
        (false, 2) => net.plain(layer, &item)?,
        (false, _) => {
            let value = net.plain(layer, &item)?;
            net.fold(layer, ".rows", value, &[features])?
        }
    };
    let mut inputs = vec![value, weight];
    if bias {
        inputs.push(net.weight(layer, "bias", &[units], numbers.next())?);
    }
    let suffix = activation::suffix(layer, ".linear");
    let (op, is_rows) = match is_image {
        true => (Op::Conv2d(Conv2d { window: Window::square(1), groups: 1 }), false),
        false => (Op::Linear(Linear), item.rank() > 2),
    };
    let mut value = net.add(layer, if is_rows { ".product" } else { suffix }, op, &inputs)?;
    let mut made = item.dims.clone();
    if let Some(last) = made.last_mut() {
        *last = units;
    }
    if is_rows {
        value = net.fold(layer, suffix, value, &made[1..])?;
    }
    let item = if is_image { Item::turned(value, made) } else { Item::plain(value, made) };
    Ok(activation::of_layer(net, layer, item)?)
}

/// (features, units) as (units, features); behind an image (H, W, C) that lies as (C, H, W), the features in that order.
fn weight(kernel: Tensor, image: Option<&[usize]>) -> Option<Tensor> {
    let &[features, units] = kernel.shape().dims() else { return None };
    let Some(image) = image else { return Some(permuted(&kernel, &[1, 0])) };
    let axes = image.len();
    let dims: Vec<usize> = image.iter().copied().chain([units]).collect();
    let order: Vec<usize> = [axes, axes - 1].into_iter().chain(0..axes - 1).collect();
    permuted(&kernel.reshape(dims).ok()?, &order).reshape([units, features]).ok()
}
