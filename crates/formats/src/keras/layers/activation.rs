//! Functions of each element, by the names that Keras has for them, and softmax.
//!
//! Source: `keras/src/activations/activations.py` of Keras 2.15 and 3. `hard_sigmoid` is clip(x/5 + 1/2, 0, 1) in Keras 2
//! and clip(x/6 + 1/2, 0, 1) in Keras 3.

use ocellus_graph::ops::{Activation, Binary, BinaryKind, Prelu, Softmax, Stepwise};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Tensor;
use serde_json::Value;

use crate::keras::fault::Fault;
use crate::keras::layer::{Layer, number};
use crate::keras::net::{Item, Net, Order, permuted, turned};
use crate::keras::stored::Trouble;

const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_SCALE: f32 = 1.050_701;

/// What the last operation before a layer's activation is called behind the layer's name: nothing if there is none.
pub(super) fn suffix(layer: &Layer, usual: &'static str) -> &'static str {
    match layer.get("activation") {
        None => "",
        Some(Value::String(name)) if name == "linear" => "",
        Some(_) => usual,
    }
}

/// The activation that a layer has beside its own work.
pub(super) fn of_layer(net: &mut Net, layer: &Layer, item: Item) -> Result<Item, Fault> {
    match layer.get("activation") {
        None => Ok(item),
        Some(value) => of_value(net, layer, item, value),
    }
}

/// A name, a function that Keras wrote down, or a layer.
fn of_value(net: &mut Net, layer: &Layer, item: Item, value: &Value) -> Result<Item, Fault> {
    let refuse = || layer.fault(format!("has the activation {value}, which is not supported"));
    match value {
        Value::String(name) => named(net, layer, item, name),
        Value::Object(map) => {
            let class = map.get("class_name").and_then(Value::as_str).ok_or_else(refuse)?;
            match map.get("config") {
                Some(Value::String(name)) if class == "function" => named(net, layer, item, name),
                Some(Value::Object(config)) if class != "function" => {
                    let setting = |key: &str| config.get(key).and_then(number);
                    match class {
                        "Softmax" => named(net, layer, item, "softmax"),
                        "Activation" => match config.get("activation") {
                            Some(Value::String(name)) => named(net, layer, item, name),
                            _ => Err(refuse()),
                        },
                        class => {
                            let chain = of_class(class, &setting).ok_or_else(refuse)?;
                            apply(net, layer, item, &chain)
                        }
                    }
                }
                _ => Err(refuse()),
            }
        }
        _ => Err(refuse()),
    }
}

/// Activation, ReLU, LeakyReLU, ELU, ThresholdedReLU.
pub(super) fn layer(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    if layer.spec.class == "Activation" {
        let value = layer.get("activation").ok_or_else(|| layer.fault("names no activation"))?;
        return Ok(of_value(net, layer, item, value)?);
    }
    let threshold = match layer.spec.class.as_str() {
        "ReLU" => layer.float("threshold")?.unwrap_or(0.0),
        "ThresholdedReLU" => layer.float("theta")?.unwrap_or(1.0),
        _ => 0.0,
    };
    if threshold != 0.0 || layer.spec.class == "ThresholdedReLU" {
        return Ok(beyond(net, layer, item, threshold)?);
    }
    for key in ["alpha", "negative_slope", "max_value"] {
        layer.float(key)?;
    }
    let setting = |key: &str| layer.get(key).and_then(number);
    let chain = of_class(&layer.spec.class, &setting)
        .ok_or_else(|| layer.fault("has settings that are not supported"))?;
    Ok(apply(net, layer, item, &chain)?)
}

/// ReLU with a threshold t: clip(x where x > t, 0, max) - slope max(t - x, 0).
fn beyond(net: &mut Net, layer: &Layer, item: Item, threshold: f32) -> Result<Item, Fault> {
    let slope = layer.float("negative_slope")?.unwrap_or(0.0);
    let x = item.value;
    let above = net.add(layer, ".above", Op::Stepwise(Stepwise::Above { threshold }), &[x])?;
    let last = if slope == 0.0 && layer.float("max_value")?.is_none() { "" } else { ".kept" };
    let mut y = net.add(layer, last, binary(BinaryKind::Mul), &[x, above])?;
    if let Some(high) = layer.float("max_value")? {
        let last = if slope == 0.0 { "" } else { ".clipped" };
        y = net.add(layer, last, Op::Activation(Activation::Clip { low: 0.0, high }), &[y])?;
    }
    if slope != 0.0 {
        let below = Op::Activation(Activation::Affine { scale: -1.0, shift: threshold });
        let below = net.add(layer, ".below", below, &[x])?;
        let below = net.add(layer, ".below.relu", Op::Activation(Activation::Relu), &[below])?;
        let scaled = Op::Activation(Activation::Affine { scale: slope, shift: 0.0 });
        let below = net.add(layer, ".below.scaled", scaled, &[below])?;
        y = net.add(layer, "", binary(BinaryKind::Sub), &[y, below])?;
    }
    Ok(item.with(y))
}

fn binary(kind: BinaryKind) -> Op {
    Op::Binary(Binary { kind })
}

/// Layers that are functions; `None` for settings that are none.
fn of_class(class: &str, setting: &dyn Fn(&str) -> Option<f32>) -> Option<Vec<Activation>> {
    let slope = || setting("negative_slope").or_else(|| setting("alpha"));
    Some(match class {
        "LeakyReLU" => vec![Activation::LeakyRelu { slope: slope().unwrap_or(0.3) }],
        "ELU" => vec![Activation::Elu { alpha: setting("alpha").unwrap_or(1.0) }],
        "ReLU" => {
            let (slope, high) = (slope().unwrap_or(0.0), setting("max_value"));
            match (slope, high) {
                (0.0, None) => vec![Activation::Relu],
                (0.0, Some(high)) => vec![Activation::Clip { low: 0.0, high }],
                (slope, None) => vec![Activation::LeakyRelu { slope }],
                (slope, Some(high)) => {
                    vec![Activation::LeakyRelu { slope }, Activation::Clip { low: f32::MIN, high }]
                }
            }
        }
        _ => return None,
    })
}

/// Functions one after the other.
fn apply(net: &mut Net, layer: &Layer, item: Item, chain: &[Activation]) -> Result<Item, Fault> {
    let mut value = item.value;
    for (i, function) in chain.iter().enumerate() {
        let suffix = if i + 1 == chain.len() { String::new() } else { format!(".{i}") };
        value = net.add(layer, &suffix, Op::Activation(*function), &[value])?;
    }
    Ok(item.with(value))
}

/// The function of this name.
pub(super) fn named(net: &mut Net, layer: &Layer, item: Item, name: &str) -> Result<Item, Fault> {
    let affine = |scale, shift| Activation::Affine { scale, shift };
    let chain = match name {
        "linear" => return Ok(item),
        "softmax" => return softmax(net, layer, item, None, false),
        "log_softmax" => return softmax(net, layer, item, None, true),
        "relu" => vec![Activation::Relu],
        "relu6" => vec![Activation::Clip { low: 0.0, high: 6.0 }],
        "leaky_relu" => vec![Activation::LeakyRelu { slope: 0.2 }],
        "elu" | "celu" => vec![Activation::Elu { alpha: 1.0 }],
        "selu" => {
            // scale x above zero, scale alpha (e^x - 1) below.
            vec![Activation::Elu { alpha: SELU_ALPHA }, affine(SELU_SCALE, 0.0)]
        }
        "softplus" => vec![Activation::Softplus],
        "tanh" => vec![Activation::Tanh],
        "sigmoid" => vec![Activation::Sigmoid],
        "exponential" => vec![Activation::Exp],
        "hard_sigmoid" if layer.version < 3 => vec![Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }],
        "hard_sigmoid" => vec![Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }],
        "hard_silu" | "hard_swish" => vec![Activation::HardSwish],
        "hard_tanh" => vec![Activation::Clip { low: -1.0, high: 1.0 }],
        "silu" | "swish" => vec![Activation::Silu],
        "gelu" => vec![Activation::Gelu],
        "log_sigmoid" => vec![affine(-1.0, 0.0), Activation::Softplus, affine(-1.0, 0.0)],
        "mish" => {
            let gate = chain(net, layer, item.value, &[Activation::Softplus, Activation::Tanh])?;
            return with(net, layer, item, BinaryKind::Mul, gate);
        }
        "softsign" => {
            let below = chain(net, layer, item.value, &[Activation::Abs, affine(1.0, 1.0)])?;
            return with(net, layer, item, BinaryKind::Div, below);
        }
        "tanh_shrink" => {
            let tanh = chain(net, layer, item.value, &[Activation::Tanh])?;
            return with(net, layer, item, BinaryKind::Sub, tanh);
        }
        "soft_shrink" => {
            let middle = chain(net, layer, item.value, &[Activation::Clip { low: -0.5, high: 0.5 }])?;
            return with(net, layer, item, BinaryKind::Sub, middle);
        }
        "hard_shrink" => {
            let size = chain(net, layer, item.value, &[Activation::Abs])?;
            let above =
                net.add(layer, ".above", Op::Stepwise(Stepwise::Above { threshold: 0.5 }), &[size])?;
            return with(net, layer, item, BinaryKind::Mul, above);
        }
        name => return Err(layer.fault(format!("has the activation {name:?}, which is not supported"))),
    };
    apply(net, layer, item, &chain)
}

/// Functions one after the other, none of which is the layer's last node.
fn chain(net: &mut Net, layer: &Layer, x: ValueId, functions: &[Activation]) -> Result<ValueId, Fault> {
    let mut value = x;
    for (i, function) in functions.iter().enumerate() {
        value = net.add(layer, &format!(".{i}"), Op::Activation(*function), &[value])?;
    }
    Ok(value)
}

fn with(net: &mut Net, layer: &Layer, item: Item, kind: BinaryKind, other: ValueId) -> Result<Item, Fault> {
    let value = net.add(layer, "", binary(kind), &[item.value, other])?;
    Ok(item.with(value))
}

pub(super) fn softmax_layer(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let axis = layer.axis("axis", -1, item.rank())?;
    Ok(softmax(net, layer, item, Some(axis), false)?)
}

/// Softmax along an axis of Keras's, the last unless told.
fn softmax(net: &mut Net, layer: &Layer, item: Item, axis: Option<usize>, log: bool) -> Result<Item, Fault> {
    let axis = axis.unwrap_or(item.rank().saturating_sub(1));
    if axis == 0 {
        return Err(layer.fault("is a softmax along the batch"));
    }
    let (value, order) = match &item.order {
        // Of a flattened image the order does not matter.
        Order::Flat(_) => (item.value, Vec::new()),
        _ => net.axis_first(layer, &item, axis)?,
    };
    let suffix = if order.is_empty() { "" } else { ".softmax" };
    let value = net.add(layer, suffix, Op::Softmax(Softmax { log }), &[value])?;
    match item.order {
        Order::Flat(_) => Ok(item.with(value)),
        _ => net.back(layer, &item, value, &order),
    }
}

/// max(x, 0) + alpha min(x, 0), alpha learned for each element, or shared along axes.
pub(super) fn prelu(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let item = layer.item()?;
    let rank = item.rank();
    let mut dims = item.dims[1..].to_vec();
    if layer.get("shared_axes").is_some() {
        for axis in layer.axes("shared_axes", 1, rank)? {
            if axis == 0 {
                return Err(layer.fault("shares its slopes along the batch").into());
            }
            dims[axis - 1] = 1;
        }
    }
    let alpha = layer.tensors([("alpha", dims.clone())])?.map(|[alpha]| alpha);
    let channels = dims.last().copied().unwrap_or(1);
    let is_turned = rank > 2 && item.order == Order::Turned;
    let each_channel = dims[..dims.len().saturating_sub(1)].iter().all(|&size| size == 1)
        && channels == *item.dims.last().unwrap_or(&1);
    if each_channel && matches!(rank, 2..=4) && !matches!(item.order, Order::Flat(_)) {
        let value = net.turned(layer, &item)?;
        let slope = net.weight(layer, "weight", &[channels], alpha)?;
        let value = net.add(layer, "", Op::Prelu(Prelu), &[value, slope])?;
        return Ok(Item::turned(value, item.dims));
    }
    let value = if is_turned { item.value } else { net.plain(layer, &item)? };
    let (dims, alpha) = match is_turned {
        true => (turned(&[&[1], &dims[..]].concat())[1..].to_vec(), alpha.map(first_channels)),
        false => (dims, alpha),
    };
    let slope = net.weight(layer, "slope", &dims, alpha)?;
    let positive = net.add(layer, ".positive", Op::Activation(Activation::Relu), &[value])?;
    let negative = net.add(layer, ".negative", binary(BinaryKind::Sub), &[value, positive])?;
    let negative = net.add(layer, ".scaled", binary(BinaryKind::Mul), &[negative, slope])?;
    let value = net.add(layer, "", binary(BinaryKind::Add), &[positive, negative])?;
    let order = if is_turned { Order::Turned } else { Order::Plain };
    Ok(Item { value, order, dims: item.dims })
}

/// (H, W, C) as (C, H, W).
pub(super) fn first_channels(tensor: Tensor) -> Tensor {
    let rank = tensor.shape().rank();
    if rank < 2 {
        return tensor;
    }
    let order: Vec<usize> = std::iter::once(rank - 1).chain(0..rank - 1).collect();
    permuted(&tensor, &order)
}
