//! Functions of each element alone.

use ocellus_graph::ops::{
    Activation, Binary, BinaryKind, Dropout, Norm, NormAxes, Prelu, Reduce, ReduceKind, Stepwise,
};
use ocellus_graph::{Init, Op, ValueId};

use super::filler::filler;
use crate::caffe::layer::Layer;
use crate::caffe::message::Fault;
use crate::caffe::net::Net;

/// Adds an elementwise layer; `None` if the layer is none.
pub(super) fn add(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<Option<ValueId>, Fault> {
    if matches!(layer.kind.as_str(), "PReLU" | "Dropout" | "MVN" | "Threshold") {
        layer.expect_bottoms(1)?;
    }
    match layer.kind.as_str() {
        "PReLU" => return prelu(net, layer, bottoms).map(Some),
        "Dropout" => return dropout(net, layer, bottoms).map(Some),
        "MVN" => return mvn(net, layer, bottoms).map(Some),
        "Threshold" => {
            let threshold = layer.settings("threshold_param", &["threshold"])?.f32("threshold", 0.0)?;
            return net.node(layer, "", Op::Stepwise(Stepwise::Above { threshold }), bottoms).map(Some);
        }
        _ => {}
    }
    let Some(chain) = chain(layer)? else { return Ok(None) };
    layer.expect_bottoms(1)?;
    let mut value = bottoms[0];
    let last = chain.len() - 1;
    for (i, function) in chain.into_iter().enumerate() {
        let suffix = if i == last { String::new() } else { format!(".{i}") };
        value = net.node(layer, &suffix, Op::Activation(function), &[value])?;
    }
    Ok(Some(value))
}

/// The functions that a layer applies one after the other, at least one.
fn chain(layer: &Layer) -> Result<Option<Vec<Activation>>, Fault> {
    let simple = |message: &str, known: &[&str], function| {
        layer.settings(message, known).map(|_| Some(vec![function]))
    };
    match layer.kind.as_str() {
        "ReLU" => {
            let slope =
                layer.settings("relu_param", &["negative_slope", "engine"])?.f32("negative_slope", 0.0)?;
            let function = if slope == 0.0 { Activation::Relu } else { Activation::LeakyRelu { slope } };
            Ok(Some(vec![function]))
        }
        "ReLU6" => simple("relu6_param", &[], Activation::Clip { low: 0.0, high: 6.0 }),
        "ELU" => {
            let alpha = layer.settings("elu_param", &["alpha"])?.f32("alpha", 1.0)?;
            Ok(Some(vec![Activation::Elu { alpha }]))
        }
        "Sigmoid" => simple("sigmoid_param", &["engine"], Activation::Sigmoid),
        "TanH" => simple("tanh_param", &["engine"], Activation::Tanh),
        "AbsVal" => simple("", &[], Activation::Abs),
        "BNLL" => simple("", &[], Activation::Softplus),
        "Clip" => {
            let settings = layer.settings("clip_param", &["min", "max"])?;
            let (low, high) = (settings.f32("min", f32::NEG_INFINITY)?, settings.f32("max", f32::INFINITY)?);
            Ok(Some(vec![Activation::Clip { low, high }]))
        }
        "Swish" => {
            let beta = layer.settings("swish_param", &["beta"])?.f32("beta", 1.0)?;
            Ok(Some(swish(beta)))
        }
        "Power" => {
            let settings = layer.settings("power_param", &["power", "scale", "shift"])?;
            let inner = affine(settings.f32("scale", 1.0)?, settings.f32("shift", 0.0)?);
            let exponent = settings.f32("power", 1.0)?;
            Ok(Some(if exponent == 1.0 { vec![inner] } else { vec![inner, Activation::Power { exponent }] }))
        }
        "Exp" => {
            let settings = layer.settings("exp_param", &["base", "scale", "shift"])?;
            let rate = log_of_base(layer, settings.f32("base", -1.0)?)?;
            let (scale, shift) = (settings.f32("scale", 1.0)?, settings.f32("shift", 0.0)?);
            Ok(Some(vec![affine(rate * scale, rate * shift), Activation::Exp]))
        }
        "Log" => {
            let settings = layer.settings("log_param", &["base", "scale", "shift"])?;
            let rate = log_of_base(layer, settings.f32("base", -1.0)?)?;
            let inner = affine(settings.f32("scale", 1.0)?, settings.f32("shift", 0.0)?);
            Ok(Some(vec![inner, Activation::Log, affine(1.0 / rate, 0.0)]))
        }
        _ => Ok(None),
    }
}

fn affine(scale: f32, shift: f32) -> Activation {
    Activation::Affine { scale, shift }
}

/// x sigmoid(beta x) = silu(beta x) / beta; the sigmoid of 0 is one half.
fn swish(beta: f32) -> Vec<Activation> {
    match beta {
        1.0 => vec![Activation::Silu],
        0.0 => vec![affine(0.5, 0.0)],
        beta => vec![affine(beta, 0.0), Activation::Silu, affine(1.0 / beta, 0.0)],
    }
}

/// The natural logarithm of a base, -1 standing for e.
fn log_of_base(layer: &Layer, base: f32) -> Result<f32, Fault> {
    match base {
        -1.0 => Ok(1.0),
        base if base > 0.0 && base != 1.0 => Ok(base.ln()),
        base => Err(layer.fault(format!("base must be positive and not 1, or -1 for e; got {base}"))),
    }
}

fn prelu(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let settings = layer.settings("prelu_param", &["filler", "channel_shared"])?;
    let shape = net.shape(bottoms[0]);
    let channels =
        shape.get(1).copied().ok_or_else(|| layer.fault(format!("its bottom {shape} has no channels")))?;
    let slopes = if settings.bool("channel_shared", false)? { 1 } else { channels };
    let init =
        if settings.get("filler").is_some() { filler(&settings, "filler")? } else { Init::Constant(0.25) };
    let slope = net.param(layer, (0, "weight"), vec![slopes], init)?;
    if settings.bool("channel_shared", false)? {
        net.store_as(layer, 0, Vec::new());
    }
    super::along_channels(net, layer, Op::Prelu(Prelu), &[bottoms[0], slope])
}

fn dropout(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let settings = layer.settings("dropout_param", &["dropout_ratio", "scale_train"])?;
    let rate = settings.f32("dropout_ratio", 0.5)?;
    let stream = net.next_stream();
    let op = Op::Dropout(Dropout { rate, active: false, stream });
    if settings.bool("scale_train", true)? {
        return net.node(layer, "", op, bottoms);
    }
    // What is kept stays as it is in training, and everything is made smaller in use.
    let kept = net.node(layer, ".kept", op, bottoms)?;
    net.node(layer, "", Op::Activation(affine(1.0 - rate, 0.0)), &[kept])
}

/// An eps below this only keeps a channel of one number throughout from a division by 0.
const LARGEST_GUARD: f32 = 1e-6;

/// Each image's channels brought to mean 0 and variance 1: (x - mean) / (deviation + eps).
fn mvn(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let settings = layer.settings("mvn_param", &["normalize_variance", "across_channels", "eps"])?;
    let across = settings.bool("across_channels", false)?;
    let (scales, eps) = (settings.bool("normalize_variance", true)?, settings.f32("eps", 1e-9)?);
    if scales && (0.0..LARGEST_GUARD).contains(&eps) {
        // One operation, which adds to the variance what Caffe adds to the deviation.
        let axes = if across { NormAxes::Groups(1) } else { NormAxes::Instance };
        let norm = Op::Norm(Norm { axes, eps: eps * eps, affine: false });
        return super::along_channels(net, layer, norm, bottoms);
    }
    let rank = net.shape(bottoms[0]).rank();
    let axes = (if across { 1 } else { 2 }..rank).collect();
    let mean = Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep: true });
    let binary = |kind| Op::Binary(Binary { kind });
    let centre = net.node(layer, ".mean", mean.clone(), bottoms)?;
    let last = if scales { ".centred" } else { "" };
    let centred = net.node(layer, last, binary(BinaryKind::Sub), &[bottoms[0], centre])?;
    if !scales {
        return Ok(centred);
    }
    let squares = net.node(layer, ".squares", binary(BinaryKind::Mul), &[centred, centred])?;
    let variance = net.node(layer, ".variance", mean, &[squares])?;
    let deviation = net.node(layer, ".deviation", Op::Activation(Activation::Sqrt), &[variance])?;
    let divisor = net.node(layer, ".divisor", Op::Activation(affine(1.0, eps)), &[deviation])?;
    net.node(layer, "", binary(BinaryKind::Div), &[centred, divisor])
}
