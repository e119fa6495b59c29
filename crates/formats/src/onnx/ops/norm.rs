//! Normalisations.

use ocellus_graph::ops::{
    Activation, AvgPool, BatchNorm, BinaryKind, Lrn, LrnRegion, Norm, NormAxes, Reduce, ReduceKind,
    Statistics,
};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Rounding, Window};

use super::Made;
use super::arithmetic::binary;
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::{Kind, Literal};
use crate::onnx::net::Net;

fn affine(scale: f32, shift: f32) -> Op {
    Op::Activation(Activation::Affine { scale, shift })
}

/// x as (N, C, ...) of at most four axes, as the graph's normalisations by channel take it.
fn by_channel(net: &mut Net, call: &Call, x: ValueId) -> Result<ValueId, Fault> {
    let dims = net.dims(x);
    match *dims.as_slice() {
        [n] => net.reshape(call, ".column", x, &[n, 1]),
        [] => Err(call.fault("normalises one number, which has no channels")),
        [n, c, ..] if dims.len() > 4 => net.reshape(call, ".flat", x, &[n, c, 1, dims[2..].iter().product()]),
        _ => Ok(x),
    }
}

/// BatchNormalization by gathered statistics, or (from version 14 on) by those of the batch.
pub(super) fn batch(net: &mut Net, call: &Call) -> Made {
    let training = call.flag("training_mode", false)?;
    if training && call.opset >= 14 {
        return batch_statistics(net, call);
    }
    // Before version 7 is_test told it, and exporters left it out as often as not.
    if training || (1..5).any(|i| call.wants(i)) {
        return Err(
            call.fault_with("is in its training form", "export the network for inference (eval mode)")
        );
    }
    if call.opset < 9 && call.whole("spatial", 1)? != 1 {
        return Err(call.fault("has statistics for each pixel (spatial = 0), which is not supported"));
    }
    let eps = call.float("epsilon", 1e-5)?;
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let mut inputs = vec![by_channel(net, call, x)?, net.value(call, 1)?, net.value(call, 2)?];
    for i in 3..5 {
        inputs.push(match call.need(i)? {
            Item::Constant(literal) => net.statistic(call, &literal.clone())?,
            Item::Value(value, _) => *value,
        });
    }
    let norm = BatchNorm { eps, momentum: 0.1, affine: true, statistics: Statistics::Running };
    let is_whole = dims.len() <= 4 && dims.len() > 1;
    let y = net.add(call, if is_whole { "" } else { ".norm" }, Op::BatchNorm(norm), &inputs)?;
    Ok(vec![Item::Value(net.reshape(call, "", y, &dims)?, call.need(0)?.kind())])
}

/// y by the batch's mean and variance, and both running statistics drawn towards them.
fn batch_statistics(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    if dims.len() < 2 {
        return Err(call.fault(format!("normalises a tensor of shape {dims:?}, which has no channels")));
    }
    let axes: Vec<usize> = (0..dims.len()).filter(|&axis| axis != 1).collect();
    let column: Vec<usize> = (0..dims.len()).map(|axis| if axis == 1 { dims[1] } else { 1 }).collect();
    let (centred, variance) = centred(net, call, x, &axes)?;
    let inverse = inverse_deviation(net, call, ".scale", variance, call.float("epsilon", 1e-5)?)?;
    let mut y = net.add(call, ".normal", binary(BinaryKind::Mul), &[centred, inverse])?;
    for (i, kind, suffix) in [(1, BinaryKind::Mul, ".scaled"), (2, BinaryKind::Add, "")] {
        let operand = net.value(call, i)?;
        let operand = net.reshape(call, &format!(".column{i}"), operand, &column)?;
        y = net.add(call, suffix, binary(kind), &[y, operand])?;
    }
    let mut made = vec![Item::Value(y, call.need(0)?.kind())];
    if call.wanted() > 1 {
        let momentum = call.float("momentum", 0.9)?;
        let mean = reduced(net, call, ".batch_mean", ReduceKind::Mean, (x, &axes))?;
        for (i, (name, current)) in
            [(".mean_output", mean), (".variance_output", variance)].into_iter().enumerate()
        {
            let current = net.reshape(call, &format!("{name}.list"), current, &dims[1..2])?;
            let share = net.add(call, &format!("{name}.share"), affine(1.0 - momentum, 0.0), &[current])?;
            let kept = net.value(call, 3 + i)?;
            let kept = net.add(call, &format!("{name}.kept"), affine(momentum, 0.0), &[kept])?;
            let next = net.add(call, name, binary(BinaryKind::Add), &[kept, share])?;
            made.push(Item::Value(next, Kind::F32));
        }
    }
    Ok(made)
}

/// InstanceNormalization.
pub(super) fn instance(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    normalise(net, call, NormAxes::Instance, call.float("epsilon", 1e-5)?, true)
}

/// One of the graph's normalisations of x, with scale and bias by channel if they are there.
fn normalise(net: &mut Net, call: &Call, axes: NormAxes, eps: f32, affine: bool) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let mut inputs = vec![by_channel(net, call, x)?];
    if affine {
        let channels = dims.get(1).copied().unwrap_or(1);
        inputs.extend([per_channel(net, call, 1, channels)?, per_channel(net, call, 2, channels)?]);
    }
    let is_whole = net.dims(inputs[0]) == dims;
    let y =
        net.add(call, if is_whole { "" } else { ".norm" }, Op::Norm(Norm { axes, eps, affine }), &inputs)?;
    net.reshape(call, "", y, &dims)
}

/// Input `i`, a number per channel or (GroupNormalization's first version) per group.
fn per_channel(net: &mut Net, call: &Call, i: usize, channels: usize) -> Result<ValueId, Fault> {
    let value = net.value(call, i)?;
    let groups = net.shape(value).elements();
    if groups == channels || groups == 0 || !channels.is_multiple_of(groups) {
        return Ok(value);
    }
    let column = net.reshape(call, &format!(".group{i}"), value, &[groups, 1])?;
    let rows = net.broadcast(call, &format!(".group{i}.repeated"), column, &[groups, channels / groups])?;
    net.reshape(call, &format!(".channel{i}"), rows, &[channels])
}

/// GroupNormalization.
pub(super) fn group(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let groups = call.size(call.whole("num_groups", 0)?, "num_groups")?;
    normalise(net, call, NormAxes::Groups(groups), call.float("epsilon", 1e-5)?, true)
}

/// MeanVarianceNormalization: over the batch, too, unless its axes say otherwise.
pub(super) fn mean_variance(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let axes = call.wholes("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = call.axes(&axes, net.shape(x).rank())?;
    let (centred, variance) = centred(net, call, x, &axes)?;
    let deviation = net.add(call, ".deviation", Op::Activation(Activation::Sqrt), &[variance])?;
    let deviation = net.add(call, ".above_zero", affine(1.0, 1e-9), &[deviation])?;
    net.add(call, "", binary(BinaryKind::Div), &[centred, deviation])
}

fn reduced(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    kind: ReduceKind,
    (x, axes): (ValueId, &[usize]),
) -> Result<ValueId, Fault> {
    net.add(call, suffix, Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep: true }), &[x])
}

/// x less its mean over `axes`, and its variance over them.
fn centred(net: &mut Net, call: &Call, x: ValueId, axes: &[usize]) -> Result<(ValueId, ValueId), Fault> {
    let mean = reduced(net, call, ".mean", ReduceKind::Mean, (x, axes))?;
    let centred = net.add(call, ".centred", binary(BinaryKind::Sub), &[x, mean])?;
    let square = net.add(call, ".square", binary(BinaryKind::Mul), &[centred, centred])?;
    let variance = reduced(net, call, ".variance", ReduceKind::Mean, (square, axes))?;
    Ok((centred, variance))
}

/// LayerNormalization over the last axes; on request also the mean and the inverse deviation.
pub(super) fn layer(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let axis = call.axis(call.whole("axis", -1)?, dims.len())?;
    let eps = call.float("epsilon", 1e-5)?;
    let (outer, inner): (usize, usize) = (dims[..axis].iter().product(), dims[axis..].iter().product());
    let whole = |net: &Net, i: usize| call.item(i).is_none_or(|item| net.dims_of(item) == dims[axis..]);
    let kind = call.need(0)?.kind();
    let y = if whole(net, 1) && whole(net, 2) && call.item(1).is_some() {
        let rows = net.fold(call, ".rows", x, &[outer, inner])?;
        let scale = flat(net, call, 1, inner)?;
        let bias = match call.item(2) {
            Some(_) => flat(net, call, 2, inner)?,
            None => net.statistic(call, &Literal::floats(vec![inner], vec![0.0; inner]))?,
        };
        let norm = Op::Norm(Norm { axes: NormAxes::Channels, eps, affine: true });
        let y = net.add(call, ".norm", norm, &[rows, scale, bias])?;
        net.fold(call, "", y, &dims)?
    } else {
        let axes: Vec<usize> = (axis..dims.len()).collect();
        let (centred, variance) = centred(net, call, x, &axes)?;
        let inverse = inverse_deviation(net, call, ".scale", variance, eps)?;
        let mut y = net.add(call, ".normal", binary(BinaryKind::Mul), &[centred, inverse])?;
        for (i, kind) in [(1, BinaryKind::Mul), (2, BinaryKind::Add)] {
            if let Some(operand) = net.optional(call, i)? {
                y = net.add(call, &format!(".affine{i}"), binary(kind), &[y, operand])?;
            }
        }
        y
    };
    let mut made = vec![Item::Value(y, kind)];
    if call.wanted() > 1 {
        let axes: Vec<usize> = (axis..dims.len()).collect();
        let mean = reduced(net, call, ".mean_output", ReduceKind::Mean, (x, &axes))?;
        let (_, variance) = centred(net, call, x, &axes)?;
        let inverse = inverse_deviation(net, call, ".inverse_output", variance, eps)?;
        made.extend([Item::Value(mean, Kind::F32), Item::Value(inverse, Kind::F32)]);
    }
    Ok(made)
}

/// Input `i` as a list of `count` numbers.
fn flat(net: &mut Net, call: &Call, i: usize, count: usize) -> Result<ValueId, Fault> {
    match call.need(i)? {
        Item::Constant(literal) => net.parameter(call, &literal.with_dims(vec![count])),
        Item::Value(value, _) => net.fold(call, &format!(".flat{i}"), *value, &[count]),
    }
}

fn inverse_deviation(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    variance: ValueId,
    eps: f32,
) -> Result<ValueId, Fault> {
    let variance = net.add(call, &format!("{suffix}.eps"), affine(1.0, eps), &[variance])?;
    net.add(call, suffix, Op::Activation(Activation::Power { exponent: -0.5 }), &[variance])
}

/// RMSNormalization: by the root of the mean square over the last axes, no mean taken off.
pub(super) fn root_mean_square(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let rank = net.shape(x).rank();
    let axes: Vec<usize> = (call.axis(call.whole("axis", -1)?, rank)?..rank).collect();
    let square = net.add(call, ".square", binary(BinaryKind::Mul), &[x, x])?;
    let mean = reduced(net, call, ".mean", ReduceKind::Mean, (square, &axes))?;
    let inverse = inverse_deviation(net, call, ".scale", mean, call.float("epsilon", 1e-5)?)?;
    let y = net.add(call, ".normal", binary(BinaryKind::Mul), &[x, inverse])?;
    let scale = net.value(call, 1)?;
    net.add(call, "", binary(BinaryKind::Mul), &[y, scale])
}

/// LpNormalization: by the sum of absolutes or the root of the sum of squares along an axis.
pub(super) fn lp(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let axes = [call.axis(call.whole("axis", -1)?, net.shape(x).rank())?];
    let length = match call.whole("p", 2)? {
        1 => {
            let absolute = net.add(call, ".abs", Op::Activation(Activation::Abs), &[x])?;
            reduced(net, call, ".sum", ReduceKind::Sum, (absolute, &axes))?
        }
        2 => {
            let square = net.add(call, ".square", binary(BinaryKind::Mul), &[x, x])?;
            let sum = reduced(net, call, ".sum", ReduceKind::Sum, (square, &axes))?;
            net.add(call, ".root", Op::Activation(Activation::Sqrt), &[sum])?
        }
        p => return Err(call.fault(format!("its p must be 1 or 2, got {p}"))),
    };
    // A row of zeros stays one.
    let clip = Activation::Clip { low: f32::MIN_POSITIVE, high: f32::INFINITY };
    let length = net.add(call, ".length", Op::Activation(clip), &[length])?;
    net.add(call, "", binary(BinaryKind::Div), &[x, length])
}

/// LRN across channels. An even number of neighbours has one more behind than before.
pub(super) fn local_response(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let size = call.size(call.whole("size", 0)?, "size")?;
    let (alpha, beta) = (call.float("alpha", 1e-4)?, call.float("beta", 0.75)?);
    let k = call.float("bias", 1.0)?;
    if size == 0 || dims.len() < 2 {
        return Err(call.fault(format!("sums {size} neighbours in a tensor of shape {dims:?}")));
    }
    if size % 2 == 1 {
        let images = match dims.len() {
            4 => x,
            _ => net.reshape(call, ".flat", x, &[dims[0], dims[1], 1, dims[2..].iter().product()])?,
        };
        let op = Op::Lrn(Lrn { size, alpha, beta, k, region: LrnRegion::AcrossChannels });
        let y = net.add(call, if dims.len() == 4 { "" } else { ".lrn" }, op, &[images])?;
        return net.reshape(call, "", y, &dims);
    }
    let square = net.add(call, ".square", binary(BinaryKind::Mul), &[x, x])?;
    let plane = net.reshape(call, ".plane", square, &[dims[0], 1, dims[1], dims[2..].iter().product()])?;
    let padding = Padding { top: (size - 1) / 2, bottom: size / 2, left: 0, right: 0 };
    let window = Window { kernel: [size, 1], stride: [1; 2], padding, dilation: [1; 2] };
    let pool = AvgPool { window: Some(window), rounding: Rounding::Floor, count_include_pad: true };
    let mean = net.add(call, ".mean", Op::AvgPool(pool), &[plane])?;
    let base = net.add(call, ".base", affine(alpha, k), &[mean])?;
    let scale = net.add(call, ".scale", Op::Activation(Activation::Power { exponent: -beta }), &[base])?;
    let scale = net.reshape(call, ".unfolded", scale, &dims)?;
    net.add(call, "", binary(BinaryKind::Mul), &[x, scale])
}

/// ImageScaler, which old converters wrote: scale x, and a bias for each channel.
pub(super) fn image_scaler(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    let bias = call.floats("bias")?.unwrap_or_default();
    if dims.len() < 2 || bias.len() != dims[1] {
        return Err(call.fault(format!("has {} biases for a tensor of shape {dims:?}", bias.len())));
    }
    let column: Vec<usize> = (1..dims.len()).map(|axis| if axis == 1 { bias.len() } else { 1 }).collect();
    let bias = net.statistic(call, &Literal::floats(column, bias))?;
    let scaled = net.add(call, ".scaled", affine(call.float("scale", 1.0)?, 0.0), &[x])?;
    net.add(call, "", binary(BinaryKind::Add), &[scaled, bias])
}
