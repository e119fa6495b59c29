//! BatchNorm, Scale, Bias and LRN.

use ocellus_graph::ops::{
    Activation, BatchNorm, Binary, BinaryKind, Lrn, LrnRegion, Reduce, ReduceKind, Reshape, Statistics,
};
use ocellus_graph::{Init, Op, ValueId};

use super::filler::filler;
use crate::caffe::layer::Layer;
use crate::caffe::message::{Fault, Message};
use crate::caffe::net::Net;
use crate::caffe::options::Phase;

const BATCH_NORM: [&str; 4] = ["use_global_stats", "moving_average_fraction", "eps", "engine"];
const SCALE: [&str; 5] = ["axis", "num_axes", "filler", "bias_term", "bias_filler"];
const BIAS: [&str; 3] = ["axis", "num_axes", "filler"];
const LRN: [&str; 6] = ["local_size", "alpha", "beta", "norm_region", "k", "engine"];

/// Whether `next` is the Scale that gives the BatchNorm `layer` its gamma and beta, and nobody else reads between.
pub(in crate::caffe) fn makes_affine(layer: &Layer, next: &Layer, after: &[Layer]) -> bool {
    let ([between], [scaled], [bottom]) = (&layer.tops[..], &next.tops[..], &next.bottoms[..]) else {
        return false;
    };
    let per_channel = || -> Result<bool, Fault> {
        let settings = next.settings("scale_param", &SCALE)?;
        Ok(axes_of(&settings)? == (1, 1) && settings.bool("bias_term", false)?)
    };
    let read_again = scaled != between && after.iter().any(|layer| layer.bottoms.contains(between));
    let weighed = !layer.loss_weights.is_empty() || !next.loss_weights.is_empty();
    layer.kind == "BatchNorm"
        && next.kind == "Scale"
        && bottom == between
        && !read_again
        && !weighed
        && per_channel().unwrap_or(false)
}

/// Normalisation by the running statistics, with the gamma and beta of a Scale if there is one.
///
/// Caffe keeps sums of statistics and a factor to divide them by; the weights' reader does that.
pub(in crate::caffe) fn batch_norm(
    net: &mut Net,
    layer: &Layer,
    bottoms: &[ValueId],
    scale: Option<&Layer>,
) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("batch_norm_param", &BATCH_NORM)?;
    let training = net.options.phase == Phase::Train;
    let keeps = settings.bool("use_global_stats", !training)?;
    let eps = settings.f32("eps", 1e-5)?;
    let momentum = 1.0 - settings.f32("moving_average_fraction", 0.999)?;
    let channels = channels(net, layer, bottoms[0])?;
    if !training && !keeps {
        return by_batch(net, layer, bottoms[0], eps, scale);
    }
    let mut inputs = vec![bottoms[0]];
    if let Some(scale) = scale {
        let settings = scale.settings("scale_param", &SCALE)?;
        inputs.push(net.param(scale, (0, "weight"), vec![channels], gamma_filler(&settings)?)?);
        inputs.push(net.param(scale, (1, "bias"), vec![channels], filler(&settings, "bias_filler")?)?);
        // A rate of 0 for the Scale alone does not keep the statistics of the BatchNorm.
        if training && !keeps {
            inputs[1..].iter().for_each(|&value| net.thaw(value));
        }
    }
    let statistics = [((0, "running_mean"), 0.0), ((1, "running_var"), 1.0)]
        .map(|(part, init)| net.statistic(layer, part, channels, init));
    for value in statistics {
        let value = value?;
        if training && keeps {
            net.freeze(value);
        }
        inputs.push(value);
    }
    let affine = scale.is_some();
    let op = Op::BatchNorm(BatchNorm { eps, momentum, affine, statistics: Statistics::Running });
    super::along_channels(net, layer, op, &inputs)
}

/// Normalisation by the statistics of the very batch that is tested: `use_global_stats: false`, said for the phase TEST.
fn by_batch(
    net: &mut Net,
    layer: &Layer,
    x: ValueId,
    eps: f32,
    scale: Option<&Layer>,
) -> Result<ValueId, Fault> {
    let axes: Vec<usize> = (0..net.shape(x).rank()).filter(|&axis| axis != 1).collect();
    let mean = Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep: true });
    let binary = |kind| Op::Binary(Binary { kind });
    let center = net.node(layer, ".mean", mean.clone(), &[x])?;
    let centred = net.node(layer, ".centred", binary(BinaryKind::Sub), &[x, center])?;
    let squares = net.node(layer, ".squares", binary(BinaryKind::Mul), &[centred, centred])?;
    let var = net.node(layer, ".var", mean, &[squares])?;
    let above = Op::Activation(Activation::Affine { scale: 1.0, shift: eps });
    let above = net.node(layer, ".above", above, &[var])?;
    let std = net.node(layer, ".std", Op::Activation(Activation::Sqrt), &[above])?;
    let y = net.node(layer, "", binary(BinaryKind::Div), &[centred, std])?;
    scale.map_or(Ok(y), |scale_layer| self::scale(net, scale_layer, &[y]))
}

/// A factor, and perhaps an offset, per channel; or, with two bottoms, their product.
pub(super) fn scale(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let settings = layer.settings("scale_param", &SCALE)?;
    let with_bias = settings.bool("bias_term", false)?;
    let last = if with_bias { ".mul" } else { "" };
    let (x, factor) = match *bottoms {
        [x, factor] => (x, aligned(net, layer, &settings, [x, factor])?),
        [x] => {
            let axes = axes_of(&settings)?;
            (x, repeated(net, layer, x, ((0, "weight"), axes), gamma_filler(&settings)?)?)
        }
        _ => return Err(layer.fault(format!("needs 1 or 2 bottoms, has {}", bottoms.len()))),
    };
    let product = net.node(layer, last, Op::Binary(Binary { kind: BinaryKind::Mul }), &[x, factor])?;
    if !with_bias {
        return Ok(product);
    }
    // An offset has the axes of the factor, wherever that comes from.
    let (axis, count) = axes_of(&settings)?;
    let (index, count) = bottoms.get(1).map_or((1, count), |&factor| (0, net.shape(factor).rank() as i64));
    let init = filler(&settings, "bias_filler")?;
    let offset = repeated(net, layer, x, ((index, "bias"), (axis, count)), init)?;
    net.node(layer, "", Op::Binary(Binary { kind: BinaryKind::Add }), &[product, offset])
}

/// An offset per channel; or, with two bottoms, their sum.
pub(super) fn bias(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let settings = layer.settings("bias_param", &BIAS)?;
    let (x, offset) = match *bottoms {
        [x, offset] => (x, aligned(net, layer, &settings, [x, offset])?),
        [x] => {
            let axes = axes_of(&settings)?;
            (x, repeated(net, layer, x, ((0, "bias"), axes), filler(&settings, "filler")?)?)
        }
        _ => return Err(layer.fault(format!("needs 1 or 2 bottoms, has {}", bottoms.len()))),
    };
    net.node(layer, "", Op::Binary(Binary { kind: BinaryKind::Add }), &[x, offset])
}

/// Local response normalisation; within a channel Caffe's k is always 1.
pub(super) fn lrn(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("lrn_param", &LRN)?;
    let within = settings.choice("norm_region", &["ACROSS_CHANNELS", "WITHIN_CHANNEL"])? == 1;
    let lrn = Lrn {
        size: settings.usize("local_size", 5)?,
        alpha: settings.f32("alpha", 1.0)?,
        beta: settings.f32("beta", 0.75)?,
        k: if within { 1.0 } else { settings.f32("k", 1.0)? },
        region: if within { LrnRegion::WithinChannel } else { LrnRegion::AcrossChannels },
    };
    net.node(layer, "", Op::Lrn(lrn), bottoms)
}

/// A Scale's filler, which fills with ones unless told otherwise.
fn gamma_filler(settings: &Message) -> Result<Init, Fault> {
    if settings.get("filler").is_none() { Ok(Init::Constant(1.0)) } else { filler(settings, "filler") }
}

fn channels(net: &Net, layer: &Layer, x: ValueId) -> Result<usize, Fault> {
    let shape = net.shape(x);
    shape.get(1).copied().ok_or_else(|| layer.fault(format!("its bottom {shape} has no channels")))
}

/// A Scale's or a Bias's `axis` and `num_axes`.
fn axes_of(settings: &Message) -> Result<(i64, i64), Fault> {
    Ok((settings.i64("axis", 1)?, settings.i64("num_axes", 1)?))
}

/// A parameter over `given` axes of x (-1: all) from `axis` on, with axes of size 1 for those behind: (C, 1, 1) for the
/// channels of images. Caffe stores it without those.
fn repeated(
    net: &mut Net,
    layer: &Layer,
    x: ValueId,
    ((index, part), (axis, given)): ((usize, &str), (i64, i64)),
    init: Init,
) -> Result<ValueId, Fault> {
    let shape = net.shape(x).clone();
    let rank = shape.rank();
    let axis = super::axis_of(layer, axis, rank)?;
    let count = match given {
        -1 => Some(rank - axis),
        count => usize::try_from(count).ok().filter(|&count| count <= rank - axis),
    };
    let Some(count) = count else {
        return Err(
            layer.fault(format!("num_axes = {given} from axis {axis} leaves a bottom of {rank} axes"))
        );
    };
    let stored = shape[axis..axis + count].to_vec();
    let mut sizes = stored.clone();
    sizes.resize(rank - axis, 1);
    let value = net.param(layer, (index, part), sizes, init)?;
    net.store_as(layer, index, stored);
    Ok(value)
}

/// The second operand with axes of size 1 where the first has more, so that it repeats along them.
fn aligned(net: &mut Net, layer: &Layer, settings: &Message, [x, y]: [ValueId; 2]) -> Result<ValueId, Fault> {
    let (x_shape, y_shape) = (net.shape(x).clone(), net.shape(y).clone());
    let axis = super::axis_of(layer, settings.i64("axis", 1)?, x_shape.rank())?;
    if x_shape.get(axis..axis + y_shape.rank()) != Some(y_shape.dims()) {
        return Err(
            layer.fault(format!("a bottom of shape {y_shape} does not fit {x_shape} from axis {axis}"))
        );
    }
    let mut dims = vec![1; x_shape.rank()];
    dims[axis..axis + y_shape.rank()].copy_from_slice(y_shape.dims());
    if dims == y_shape.dims() {
        return Ok(y);
    }
    let mut dims: Vec<isize> = dims.into_iter().map(|size| size as isize).collect();
    if axis == 0 && y_shape.rank() > 0 {
        dims[0] = 0; // whatever the batch
    }
    net.node(layer, ".reshape", Op::Reshape(Reshape { dims }), &[y])
}
