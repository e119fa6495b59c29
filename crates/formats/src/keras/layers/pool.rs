//! Pooling over windows and over whole images.

use ocellus_graph::Op;
use ocellus_graph::ops::{AvgPool, MaxPool};
use ocellus_tensor::Rounding;

use super::convolve::image;
use crate::keras::layer::Layer;
use crate::keras::net::{Item, Net};
use crate::keras::stored::Trouble;

pub(super) fn window(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let kernel = image.pair(layer, "pool_size", 2)?;
    let stride = if layer.get("strides").is_some() { image.pair(layer, "strides", 1)? } else { kernel };
    let window = Some(image.window(layer, kernel, stride, [1; 2])?);
    let rounding = Rounding::Floor;
    let op = match layer.spec.class.starts_with("Max") {
        true => Op::MaxPool(MaxPool { window, rounding }),
        // Keras divides by the pixels that are there.
        false => Op::AvgPool(AvgPool { window, rounding, count_include_pad: false }),
    };
    let value = net.add(layer, "", op, &[image.value])?;
    Ok(image.result(net, layer, value)?)
}

pub(super) fn global(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let (rounding, keeps) = (Rounding::Floor, layer.flag("keepdims", false)?);
    let op = match layer.spec.class.starts_with("GlobalMax") {
        true => Op::MaxPool(MaxPool { window: None, rounding }),
        false => Op::AvgPool(AvgPool { window: None, rounding, count_include_pad: false }),
    };
    let value = net.add(layer, if keeps { "" } else { ".pool" }, op, &[image.value])?;
    if keeps {
        return Ok(image.result(net, layer, value)?);
    }
    let dims = vec![net.graph.shape(value)[0], image.channels];
    let value = net.reshape(layer, "", value, &dims)?;
    Ok(Item::plain(value, dims))
}
