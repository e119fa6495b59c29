//! Functions that a model calls without a layer: arithmetic on tensors, means, activations.
//!
//! Keras 3 keeps them as operations (`keras.src.ops.numpy`, class `Add`), Keras 2 as `TFOpLambda` layers with the name of
//! a function of TensorFlow (`math.add`). Both come out as one of the few below; anything else is refused by name.

use ocellus_graph::Op;
use ocellus_graph::ops::{Activation, Binary, BinaryKind, Reduce, ReduceKind};
use serde_json::Value;

use super::{activation, merge, rearrange, shape};
use crate::keras::fault::Fault;
use crate::keras::layer::{Given, Layer, number};
use crate::keras::net::{Item, Net, Order};
use crate::keras::stored::Trouble;

/// Layers of Keras 2 that are functions of TensorFlow.
pub(super) const CLASSES: [&str; 3] = ["TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"];

/// Operations of Keras 3 with two operands.
pub(super) const BINARY: [&str; 6] = ["Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum"];

/// Operations of Keras 3 that no layer is called like.
pub(super) const FUNCTIONS: [&str; 28] = [
    "Pad",
    "Power",
    "Transpose",
    "ExpandDims",
    "Squeeze",
    "GetItem",
    "TrueDivide",
    "Mean",
    "Max",
    "Sum",
    "Relu",
    "Relu6",
    "Sigmoid",
    "Tanh",
    "Silu",
    "Softplus",
    "Softsign",
    "Elu",
    "Selu",
    "Exp",
    "HardSigmoid",
    "HardSilu",
    "Gelu",
    "Negative",
    "Absolute",
    "Sqrt",
    "Square",
    "Clip",
];

pub(super) fn add(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let name = match layer.spec.class.as_str() {
        "TFOpLambda" => layer.text("function", "")?,
        class if CLASSES.contains(&class) => "",
        class => class,
    };
    let short = name.rsplit('.').next().unwrap_or(name);
    let binary = |kind| move |net: &mut Net| arithmetic(net, layer, kind);
    match short {
        "add" | "Add" => Ok(binary(BinaryKind::Add)(net)?),
        "subtract" | "sub" | "Subtract" => Ok(binary(BinaryKind::Sub)(net)?),
        "multiply" | "mul" | "Multiply" => Ok(binary(BinaryKind::Mul)(net)?),
        "truediv" | "divide" | "div" | "TrueDivide" | "Divide" => Ok(binary(BinaryKind::Div)(net)?),
        "maximum" | "Maximum" => Ok(binary(BinaryKind::Maximum)(net)?),
        "reduce_mean" | "Mean" => Ok(reduce(net, layer, ReduceKind::Mean)?),
        "reduce_max" | "Max" => Ok(reduce(net, layer, ReduceKind::Max)?),
        "reduce_sum" | "Sum" => Ok(reduce(net, layer, ReduceKind::Sum)?),
        "concat" | "Concatenate" => merge::concatenate(net, layer),
        "Flatten" => shape::flatten(net, layer),
        "minimum" | "Minimum" => Ok(least(net, layer)?),
        name if rearrange::NAMES.contains(&name) => Ok(rearrange::add(net, layer, name)?),
        _ => Ok(function(net, layer, short)?),
    }
}

/// Functions of each element.
fn function(net: &mut Net, layer: &Layer, short: &str) -> Result<Item, Fault> {
    let refuse = || layer.fault(format!("calls the function {short:?}, which is not supported"));
    let named = match short {
        "relu" | "Relu" | "ReLU" => "relu",
        "relu6" | "Relu6" => "relu6",
        "sigmoid" | "Sigmoid" => "sigmoid",
        "tanh" | "Tanh" => "tanh",
        "silu" | "swish" | "Silu" => "silu",
        "softplus" | "Softplus" => "softplus",
        "softsign" | "Softsign" => "softsign",
        "elu" | "Elu" => "elu",
        "selu" | "Selu" => "selu",
        "exp" | "Exp" => "exponential",
        "HardSigmoid" => "hard_sigmoid",
        "HardSilu" => "hard_silu",
        "Softmax" | "softmax" => "softmax",
        "gelu" | "Gelu" => match setting(layer, "approximate") {
            Some(Value::Bool(false)) => "gelu",
            // TensorFlow's function is exact unless told otherwise, Keras's own is not.
            None if short == "gelu" => "gelu",
            _ => {
                let item = first(layer)?;
                let value = net.add(layer, "", Op::Activation(Activation::GeluTanh), &[item.value])?;
                return Ok(item.with(value));
            }
        },
        _ => "",
    };
    let item = first(layer)?;
    if !named.is_empty() {
        if named == "softmax"
            && !matches!(setting(layer, "axis"), None | Some(Value::Null))
            && setting(layer, "axis") != Some((-1).into())
        {
            return Err(refuse());
        }
        return activation::named(net, layer, item, named);
    }
    let affine = |scale, shift| Activation::Affine { scale, shift };
    let one = match short {
        "negative" | "neg" | "Negative" => affine(-1.0, 0.0),
        "abs" | "Absolute" | "Abs" => Activation::Abs,
        "sqrt" | "Sqrt" => Activation::Sqrt,
        "log" | "Log" => Activation::Log,
        "square" | "Square" => {
            let op = Op::Binary(Binary { kind: BinaryKind::Mul });
            let value = net.add(layer, "", op, &[item.value, item.value])?;
            return Ok(item.with(value));
        }
        "pow" | "Power" => {
            let exponent = setting_or(layer, ["y", "x2"], 1).as_ref().and_then(number).ok_or_else(refuse)?;
            if exponent == 2.0 {
                let op = Op::Binary(Binary { kind: BinaryKind::Mul });
                let value = net.add(layer, "", op, &[item.value, item.value])?;
                return Ok(item.with(value));
            }
            Activation::Power { exponent }
        }
        "clip_by_value" | "Clip" => {
            let bound = |keys: [&str; 2], i: usize| setting_or(layer, keys, i).as_ref().and_then(number);
            let low = bound(["clip_value_min", "x_min"], 1);
            let (low, high) = low.zip(bound(["clip_value_max", "x_max"], 2)).ok_or_else(refuse)?;
            Activation::Clip { low, high }
        }
        _ => return Err(refuse()),
    };
    let value = net.add(layer, "", Op::Activation(one), &[item.value])?;
    Ok(item.with(value))
}

/// The smaller of a tensor and a number, or of two tensors: the larger of the negatives, negated.
fn least(net: &mut Net, layer: &Layer) -> Result<Item, Fault> {
    let item = first(layer)?;
    if let Some(high) = setting_or(layer, ["y", "x2"], 1).as_ref().and_then(number) {
        let clip = Op::Activation(Activation::Clip { low: f32::MIN, high });
        let value = net.add(layer, "", clip, &[item.value])?;
        return Ok(item.with(value));
    }
    let [Given::Item(a), Given::Item(b)] = layer.args.as_slice() else {
        return Err(layer.fault("is called with something that is neither a tensor nor a number"));
    };
    if a.dims != b.dims {
        return Err(layer.fault(format!("reads tensors of the shapes {:?} and {:?}", a.dims, b.dims)));
    }
    let (values, order) = merge::aligned(net, layer, &[a.clone(), b.clone()])?;
    let minus = || Op::Activation(Activation::Affine { scale: -1.0, shift: 0.0 });
    let below = [
        net.add(layer, ".minus0", minus(), &values[..1])?,
        net.add(layer, ".minus1", minus(), &values[1..])?,
    ];
    let largest = net.add(layer, ".largest", Op::Binary(Binary { kind: BinaryKind::Maximum }), &below)?;
    let value = net.add(layer, "", minus(), &[largest])?;
    Ok(Item { value, dims: a.dims.clone(), order })
}

/// The tensor that a function of one is called with.
pub(super) fn first(layer: &Layer) -> Result<Item, Fault> {
    let items: Vec<&Given> = layer.args.iter().chain(layer.kwargs.iter().map(|(_, given)| given)).collect();
    let found = items.iter().find_map(|given| match given {
        Given::Item(item) => Some(item.clone()),
        _ => None,
    });
    found.ok_or_else(|| layer.fault("is called with no tensor"))
}

/// An argument by name, or a setting of the operation.
fn setting(layer: &Layer, name: &str) -> Option<Value> {
    let given = layer.kwargs.iter().find(|(key, _)| key == name).map(|(_, given)| given);
    match given {
        Some(given) => plain(given),
        None => layer.get(name).cloned(),
    }
}

/// An argument by one of two names, or the one in this place.
pub(super) fn setting_or(layer: &Layer, names: [&str; 2], place: usize) -> Option<Value> {
    names.iter().find_map(|name| setting(layer, name)).or_else(|| positional(layer, place))
}

fn positional(layer: &Layer, i: usize) -> Option<Value> {
    layer.args.get(i).and_then(plain)
}

/// An argument that is no tensor, as JSON.
pub(super) fn plain(given: &Given) -> Option<Value> {
    match given {
        Given::Value(value) => Some(value.clone()),
        Given::List(list) => list.iter().map(plain).collect::<Option<Vec<_>>>().map(Value::Array),
        Given::Item(_) => None,
    }
}

/// Two tensors, or a tensor and a number on either side.
fn arithmetic(net: &mut Net, layer: &Layer, kind: BinaryKind) -> Result<Item, Fault> {
    let by_name = |names: [&str; 3]| layer.kwargs.iter().find(|(key, _)| names.contains(&key.as_str()));
    let by_name = |names| by_name(names).map(|(_, given)| given);
    let a = layer.args.first().or_else(|| by_name(["x", "x1", "a"]));
    let b = layer.args.get(1).or_else(|| by_name(["y", "x2", "b"]));
    let (Some(a), Some(b)) = (a, b) else {
        return Err(layer.fault("is called with fewer than two operands"));
    };
    let constant = |given: &Given| match given {
        Given::Value(value) => number(value),
        _ => None,
    };
    match (a, b) {
        (Given::Item(a), Given::Item(b)) => {
            let (mut values, mut order) = merge::aligned(net, layer, &[a.clone(), b.clone()])?;
            let is_same_rank = a.rank() == b.rank();
            if !is_same_rank {
                values = vec![net.plain(layer, a)?, net.plain(layer, b)?];
                order = Order::Plain;
            }
            let value = net.add(layer, "", Op::Binary(Binary { kind }), &values)?;
            let shape = net.graph.shape(value).to_vec();
            let dims = match order {
                Order::Turned => [&shape[..1], &shape[2..], &shape[1..2]].concat(),
                _ => shape,
            };
            Ok(Item { value, dims, order })
        }
        (Given::Item(item), other) | (other, Given::Item(item)) => {
            let c = constant(other).ok_or_else(|| {
                layer.fault("is called with something that is neither a tensor nor a number")
            })?;
            let first = matches!(a, Given::Item(_));
            let affine = |scale, shift| Activation::Affine { scale, shift };
            let chain = match (kind, first) {
                (BinaryKind::Add, _) => vec![affine(1.0, c)],
                (BinaryKind::Sub, true) => vec![affine(1.0, -c)],
                (BinaryKind::Sub, false) => vec![affine(-1.0, c)],
                (BinaryKind::Mul, _) => vec![affine(c, 0.0)],
                (BinaryKind::Div, true) => vec![affine(1.0 / c, 0.0)],
                (BinaryKind::Div, false) => vec![Activation::Power { exponent: -1.0 }, affine(c, 0.0)],
                (BinaryKind::Maximum, _) => vec![Activation::Clip { low: c, high: f32::MAX }],
            };
            let mut value = item.value;
            for (i, function) in chain.iter().enumerate() {
                let suffix = if i + 1 == chain.len() { "" } else { ".inverse" };
                value = net.add(layer, suffix, Op::Activation(*function), &[value])?;
            }
            Ok(item.with(value))
        }
        _ => Err(layer.fault("is called with no tensor")),
    }
}

/// Means and the like along axes of Keras's.
fn reduce(net: &mut Net, layer: &Layer, kind: ReduceKind) -> Result<Item, Fault> {
    let item = first(layer)?;
    let axis = setting(layer, "axis").or_else(|| positional(layer, 1)).filter(|axis| !axis.is_null());
    let axis = axis.ok_or_else(|| layer.fault("takes all images of a batch together"))?;
    let axes = layer.axes_of(&axis, "axis", item.rank())?;
    if axes.contains(&0) {
        return Err(layer.fault("takes all images of a batch together"));
    }
    let keep = matches!(setting(layer, "keepdims"), Some(Value::Bool(true)));
    let last = item.rank() - 1;
    let is_turned = item.order == Order::Turned;
    let value = if is_turned { item.value } else { net.plain(layer, &item)? };
    let mut own: Vec<usize> = axes
        .iter()
        .map(|&axis| match (is_turned, axis == last) {
            (false, _) => axis,
            (true, true) => 1,
            (true, false) => axis + 1,
        })
        .collect();
    own.sort_unstable();
    let value = net.add(layer, "", Op::Reduce(Reduce { kind, axes: own, keep }), &[value])?;
    let mut dims = item.dims.clone();
    axes.iter().for_each(|&axis| dims[axis] = 1);
    if !keep {
        dims = (0..dims.len()).filter(|axis| !axes.contains(axis)).map(|axis| dims[axis]).collect();
    }
    // Without the last axis, what is left lies as Keras has it.
    let stays = is_turned && (keep || !axes.contains(&last));
    Ok(if stays { Item::turned(value, dims) } else { Item::plain(value, dims) })
}
