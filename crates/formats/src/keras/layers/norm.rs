//! Normalisations, and fixed factors and offsets.
//!
//! ```text
//! BatchNormalization   gamma, beta, moving_mean, moving_variance of one axis; a factor or offset that is off is 1 or 0
//! LayerNormalization   over the last axis, or over all but the batch
//! GroupNormalization   groups of channels; -1 for as many as there are channels
//! Rescaling            scale x + offset
//! Normalization        (x - mean) / max(sqrt(variance), 1e-7), by the data that it was adapted to
//! ```

use ocellus_graph::ops::{
    Activation, BatchNorm, Binary, BinaryKind, Norm, NormAxes, Reduce, ReduceKind, Statistics,
};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Tensor;

use super::activation::first_channels;
use crate::keras::fault::Fault;
use crate::keras::layer::Layer;
use crate::keras::net::{Item, Net, Order};
use crate::keras::stored::Trouble;

/// What Normalization divides by at least.
const LEAST_DEVIATION: f32 = 1e-7;

/// What UnitNormalization divides by at least, squared.
const LEAST_SQUARE: f32 = 1e-12;

fn binary(kind: BinaryKind) -> Op {
    Op::Binary(Binary { kind })
}

/// gamma and beta for `channels`, as far as the layer has them; `more` comes behind them in the file.
fn affine(
    layer: &Layer,
    dims: &[usize],
    more: &[(&str, Vec<usize>)],
) -> Result<[Option<Vec<Tensor>>; 2], Trouble> {
    let mut wanted: Vec<(&str, Vec<usize>)> = Vec::new();
    for (flag, name) in [("scale", "gamma"), ("center", "beta")] {
        if layer.flag(flag, true)? {
            wanted.push((name, dims.to_vec()));
        }
    }
    let own = wanted.len();
    wanted.extend(more.iter().map(|(name, dims)| (*name, dims.clone())));
    let Some(mut all) = layer.tensor_list(&wanted)? else { return Ok([None, None]) };
    let more = all.split_off(own);
    Ok([Some(all), Some(more)])
}

/// gamma and beta as parameters `weight` and `bias`, constants where the layer has none; nothing if it has neither.
fn affine_values(
    net: &mut Net,
    layer: &Layer,
    dims: &[usize],
    numbers: Option<Vec<Tensor>>,
) -> Result<Vec<ValueId>, Fault> {
    let flags = [layer.flag("scale", true)?, layer.flag("center", true)?];
    if flags == [false, false] {
        return Ok(Vec::new());
    }
    let mut numbers = numbers.into_iter().flatten();
    let mut values = Vec::new();
    for (flag, part, usual) in [(flags[0], "weight", 1.0), (flags[1], "bias", 0.0)] {
        values.push(match flag {
            true => net.weight(layer, part, dims, numbers.next())?,
            false => {
                if dims.iter().product::<usize>() > 1 << 24 {
                    return Err(layer.fault(format!("normalises {dims:?} numbers at once")));
                }
                net.constant(layer, part, Tensor::full(dims.to_vec(), usual))?
            }
        });
    }
    Ok(values)
}

pub(super) fn batch(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let axis = layer.axis("axis", -1, item.rank())?;
    if axis == 0 || item.rank() > 4 {
        return Err(layer.fault(format!("normalises axis {axis} of {}", item.rank())).into());
    }
    for key in ["renorm", "virtual_batch_size"] {
        layer.only(key, &[false.into()])?;
    }
    let channels = item.dims[axis];
    let statistics = [("moving_mean", vec![channels]), ("moving_variance", vec![channels])];
    let [own, gathered] = affine(layer, &[channels], &statistics)?;
    // Behind a flattened image channels lie in another order: they are put back.
    let (value, order) = match item.order {
        Order::Flat(_) => (net.plain(layer, &item)?, Vec::new()),
        _ => net.axis_first(layer, &item, axis)?,
    };
    let mut inputs = vec![value];
    let own = affine_values(net, layer, &[channels], own)?;
    let is_affine = !own.is_empty();
    inputs.extend(own);
    let mut gathered = gathered.into_iter().flatten();
    for part in ["running_mean", "running_var"] {
        inputs.push(net.statistic(layer, part, &[channels], gathered.next())?);
    }
    let op = Op::BatchNorm(BatchNorm {
        eps: layer.float("epsilon")?.unwrap_or(1e-3),
        // Keras counts the share of the old statistics.
        momentum: 1.0 - layer.float("momentum")?.unwrap_or(0.99),
        affine: is_affine,
        statistics: Statistics::Running,
    });
    let value = net.add(layer, if order.is_empty() { "" } else { ".norm" }, op, &inputs)?;
    Ok(net.back(layer, &item, value, &order)?)
}

pub(super) fn layer(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let axes = layer.axes("axis", -1, item.rank())?;
    layer.only("rms_scaling", &[false.into()])?;
    let eps = layer.float("epsilon")?.unwrap_or(1e-3);
    let last = item.rank() - 1;
    if axes == [last] && last > 0 && item.rank() <= 4 {
        return normalised(net, layer, item, NormAxes::Channels, eps);
    }
    let is_all = axes.iter().copied().eq(1..=last) && item.rank() <= 4;
    if !is_all {
        return Err(layer.fault(format!("normalises the axes {axes:?} of {}", item.rank())).into());
    }
    let dims = item.dims[1..].to_vec();
    let [own, _] = affine(layer, &dims, &[])?;
    let value = net.turned(layer, &item)?;
    let norm = Norm { axes: NormAxes::Groups(1), eps, affine: false };
    let mut value = net.add(layer, ".norm", Op::Norm(norm), &[value])?;
    let own = own.map(|own| own.into_iter().map(first_channels).collect());
    let turned = item.turned_dims();
    if let [gamma, beta] = affine_values(net, layer, &turned[1..], own)?[..] {
        value = net.add(layer, ".mul", binary(BinaryKind::Mul), &[value, gamma])?;
        value = net.add(layer, "", binary(BinaryKind::Add), &[value, beta])?;
    }
    Ok(Item::turned(value, item.dims))
}

fn normalised(net: &mut Net, layer: &Layer, item: Item, axes: NormAxes, eps: f32) -> Result<Item, Trouble> {
    let channels = item.dims[item.rank() - 1];
    let [own, _] = affine(layer, &[channels], &[])?;
    let mut inputs = vec![net.turned(layer, &item)?];
    inputs.extend(affine_values(net, layer, &[channels], own)?);
    let op = Op::Norm(Norm { axes, eps, affine: inputs.len() > 1 });
    let value = net.add(layer, "", op, &inputs)?;
    Ok(Item::turned(value, item.dims))
}

pub(super) fn group(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    if layer.axis("axis", -1, item.rank())? != item.rank() - 1 || !matches!(item.rank(), 2..=4) {
        return Err(layer
            .fault(format!("normalises another axis than the last of 2 to 4: {} axes", item.rank()))
            .into());
    }
    let channels = item.dims[item.rank() - 1];
    let axes = match layer.get("groups").and_then(serde_json::Value::as_i64) {
        Some(-1) => NormAxes::Groups(channels),
        None => NormAxes::Groups(32),
        Some(_) => NormAxes::Groups(layer.size("groups")?),
    };
    let eps = layer.float("epsilon")?.unwrap_or(1e-3);
    normalised(net, layer, item, axes, eps)
}

/// x / sqrt(sum of squares along axes).
pub(super) fn unit(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let axes = layer.axes("axis", -1, item.rank())?;
    let is_last = axes == [item.rank() - 1] && item.rank() > 2;
    let value = if is_last { net.turned(layer, &item)? } else { net.plain(layer, &item)? };
    let axes = if is_last { vec![1] } else { axes };
    let square = net.add(layer, ".square", binary(BinaryKind::Mul), &[value, value])?;
    let sum =
        net.add(layer, ".sum", Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep: true }), &[square])?;
    let least = Op::Activation(Activation::Clip { low: LEAST_SQUARE, high: f32::MAX });
    let sum = net.add(layer, ".least", least, &[sum])?;
    let root = net.add(layer, ".root", Op::Activation(Activation::Sqrt), &[sum])?;
    let value = net.add(layer, "", binary(BinaryKind::Div), &[value, root])?;
    Ok(if is_last { Item::turned(value, item.dims) } else { Item::plain(value, item.dims) })
}

/// A learned factor for each channel (ConvNeXt's).
pub(super) fn layer_scale(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let channels = item.dims[item.rank() - 1];
    let gamma = layer.tensors([("gamma", vec![channels])])?.map(|[gamma]| gamma);
    let value = net.turned(layer, &item)?;
    let gamma = net.weight(layer, "weight", &for_channels(&item, channels), gamma)?;
    let value = net.add(layer, "", binary(BinaryKind::Mul), &[value, gamma])?;
    Ok(Item::turned(value, item.dims))
}

/// The shape (C, 1, ...) that numbers of channels have beside a turned image.
fn for_channels(item: &Item, channels: usize) -> Vec<usize> {
    let mut dims = vec![1; item.rank().saturating_sub(1).max(1)];
    dims[0] = channels;
    dims
}

pub(super) fn rescaling(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let scale = layer.floats("scale")?.unwrap_or_else(|| vec![1.0]);
    let offset = layer.floats("offset")?.unwrap_or_else(|| vec![0.0]);
    if net.weights.is_empty() {
        net.scales_pixels = true;
    }
    if let ([scale], [shift]) = (scale.as_slice(), offset.as_slice()) {
        let affine = Activation::Affine { scale: *scale, shift: *shift };
        let value = net.add(layer, "", Op::Activation(affine), &[item.value])?;
        return Ok(item.with(value));
    }
    scaled(net, layer, item, scale, offset)
}

/// `scale` x + `offset`, numbers for the channels or one for all.
fn scaled(
    net: &mut Net,
    layer: &Layer,
    item: Item,
    scale: Vec<f32>,
    offset: Vec<f32>,
) -> Result<Item, Trouble> {
    let channels = item.dims[item.rank() - 1];
    let mut value = net.turned(layer, &item)?;
    let steps = [(scale, "scale", BinaryKind::Mul, ".mul"), (offset, "offset", BinaryKind::Add, "")];
    for (numbers, part, kind, suffix) in steps {
        let numbers = match numbers.as_slice() {
            &[one] => vec![one; channels],
            all if all.len() == channels => numbers,
            all => {
                let what = format!("has {} numbers for its {part} of {channels} channels", all.len());
                return Err(layer.fault(what).into());
            }
        };
        let tensor = Tensor::new(for_channels(&item, channels), numbers);
        let tensor = tensor.map_err(|cause| layer.fault(cause.to_string()))?;
        let parameter = net.constant(layer, part, tensor)?;
        value = net.add(layer, suffix, binary(kind), &[value, parameter])?;
    }
    Ok(Item::turned(value, item.dims))
}

pub(super) fn normalization(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let last = item.rank() - 1;
    // `None` is one mean for all; `null` in a file that says `axis` at all.
    let is_scalar =
        layer.config().get("axis").is_some_and(|axis| axis.is_null() || *axis == serde_json::json!([]));
    if !is_scalar && layer.axis("axis", -1, item.rank())? != last {
        return Err(layer.fault("normalises another axis than the last").into());
    }
    let dims = if is_scalar { vec![] } else { vec![item.dims[last]] };
    let given = (layer.floats("mean")?, layer.floats("variance")?);
    let [mean, variance] = match given {
        (Some(mean), Some(variance)) => [mean, variance],
        _ => match layer.tensors([("mean", dims.clone()), ("variance", dims)])? {
            Some([mean, variance]) => [mean.into_data(), variance.into_data()],
            None => return Err(layer.fault("keeps its mean among the weights, which are not there").into()),
        },
    };
    if net.weights.is_empty() {
        net.scales_pixels = true;
    }
    let scale: Vec<f32> =
        variance.iter().map(|variance| 1.0 / variance.sqrt().max(LEAST_DEVIATION)).collect();
    let pick = |list: &[f32], i: usize| list.get(if list.len() == 1 { 0 } else { i }).copied().unwrap_or(0.0);
    let count = mean.len().max(scale.len());
    if layer.flag("invert", false)? {
        // The way back: x deviation + mean.
        let deviation = scale.iter().map(|scale| 1.0 / scale).collect();
        return scaled(net, layer, item, deviation, mean);
    }
    let offset = (0..count).map(|i| -pick(&mean, i) * pick(&scale, i)).collect();
    scaled(net, layer, item, scale, offset)
}
