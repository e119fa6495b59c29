//! Convolution, Deconvolution and Pooling.

use ocellus_graph::ops::{
    Activation, AvgPool, Binary, BinaryKind, Concat, Conv2d, ConvTranspose2d, MaxPool, Reshape,
};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Rounding, Window};

use super::Tops;
use super::filler::filler;
use crate::caffe::layer::Layer;
use crate::caffe::message::{Fault, Message};
use crate::caffe::net::Net;
use crate::caffe::options::Phase;

const CONVOLUTION: [&str; 18] = [
    "num_output",
    "bias_term",
    "pad",
    "kernel_size",
    "stride",
    "dilation",
    "pad_h",
    "pad_w",
    "kernel_h",
    "kernel_w",
    "stride_h",
    "stride_w",
    "group",
    "weight_filler",
    "bias_filler",
    "engine",
    "axis",
    "force_nd_im2col",
];

const POOLING: [&str; 15] = [
    "pool",
    "pad",
    "pad_h",
    "pad_w",
    "kernel_size",
    "kernel_h",
    "kernel_w",
    "stride",
    "stride_h",
    "stride_w",
    "engine",
    "global_pooling",
    "round_mode",
    "ceil_mode",
    "torch_pooling",
];

/// y (N, O, H', W') of x (N, C, H, W), or (N, O, L') of (N, C, L), which are images of one row; several bottoms share
/// the parameters and give a top each.
pub(super) fn convolution(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    let (settings, [channels, out, groups]) = convolved(net, layer, bottoms)?;
    if channels % groups != 0 {
        return Err(layer.fault(format!("{channels} channels are no multiple of group {groups}")));
    }
    let window = window(layer, &settings, net.shape(bottoms[0]).rank() - 2)?;
    let [kh, kw] = window.kernel;
    let sizes = vec![out, channels / groups, kh, kw];
    let params = params(net, layer, &settings, (sizes, out))?;
    each(net, layer, bottoms, &params, &Op::Conv2d(Conv2d { window, groups }))
}

/// The input gradient of a convolution, run forwards: y (N, O, H', W') of x (N, C, H, W).
pub(super) fn deconvolution(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    let (settings, [channels, out, groups]) = convolved(net, layer, bottoms)?;
    if out % groups != 0 {
        return Err(layer.fault(format!("num_output {out} is no multiple of group {groups}")));
    }
    let window = window(layer, &settings, net.shape(bottoms[0]).rank() - 2)?;
    let [kh, kw] = window.kernel;
    let sizes = vec![channels, out / groups, kh, kw];
    let params = params(net, layer, &settings, (sizes, out))?;
    let op = ConvTranspose2d { window, groups, output_padding: [0; 2] };
    each(net, layer, bottoms, &params, &Op::ConvTranspose2d(op))
}

/// The weight of these sizes and, unless told otherwise, a bias of so many numbers.
fn params(
    net: &mut Net,
    layer: &Layer,
    settings: &Message,
    (sizes, out): (Vec<usize>, usize),
) -> Result<Vec<ValueId>, Fault> {
    let mut params = vec![net.param(layer, (0, "weight"), sizes, filler(settings, "weight_filler")?)?];
    params.extend(bias(net, layer, settings, out)?);
    Ok(params)
}

/// The same operation with the same parameters on each bottom.
fn each(net: &mut Net, layer: &Layer, bottoms: &[ValueId], params: &[ValueId], op: &Op) -> Tops {
    let apply = |&x: &ValueId| {
        let is_line = net.shape(x).rank() == 3;
        let channels = net.shape(x)[1] as isize;
        let row = Op::Reshape(Reshape { dims: vec![0, channels, 1, -1] });
        let x = if is_line { net.node(layer, ".row", row, &[x])? } else { x };
        let inputs: Vec<ValueId> = [x].into_iter().chain(params.iter().copied()).collect();
        let y = net.node(layer, if is_line { ".conv" } else { "" }, op.clone(), &inputs)?;
        if !is_line {
            return Ok(y);
        }
        let channels = net.shape(y)[1] as isize;
        net.node(layer, "", Op::Reshape(Reshape { dims: vec![0, channels, -1] }), &[y])
    };
    bottoms.iter().map(apply).collect()
}

/// The settings of either convolution, and its channels in, channels out and groups.
fn convolved<'a>(
    net: &Net,
    layer: &Layer<'a>,
    bottoms: &[ValueId],
) -> Result<(Message<'a>, [usize; 3]), Fault> {
    if bottoms.is_empty() || layer.tops.len() != bottoms.len() {
        let (bottoms, tops) = (bottoms.len(), layer.tops.len());
        return Err(layer.fault(format!("has {bottoms} bottoms and {tops} tops; every bottom gives one top")));
    }
    let settings = layer.settings("convolution_param", &CONVOLUTION)?;
    let shape = net.shape(bottoms[0]);
    if super::axis_of(layer, settings.i64("axis", 1)?, shape.rank())? != 1 {
        return Err(layer.fault("axis must be 1: the channels are the second of the axes"));
    }
    let (&[_, channels, _] | &[_, channels, _, _]) = shape.dims() else {
        let what =
            format!("its bottom has shape {shape}; images (N, C, H, W) and lines (N, C, L) are convolved");
        return Err(layer.fault(what));
    };
    if let Some(&other) = bottoms.iter().find(|&&other| net.shape(other).rank() != shape.rank()) {
        let other = net.shape(other);
        return Err(layer.fault(format!("its bottoms have shapes {shape} and {other}, which differ in axes")));
    }
    let out = settings.usize("num_output", 0)?;
    let depthwise = layer.kind != "Convolution" && layer.kind != "Deconvolution";
    let groups = if depthwise { channels } else { settings.usize("group", 1)? };
    if out == 0 || groups == 0 {
        return Err(layer.fault(format!("num_output = {out} and group = {groups} must be at least 1")));
    }
    Ok((settings, [channels, out, groups]))
}

fn bias(net: &mut Net, layer: &Layer, settings: &Message, out: usize) -> Result<Option<ValueId>, Fault> {
    if !settings.bool("bias_term", true)? {
        return Ok(None);
    }
    net.param(layer, (1, "bias"), vec![out], filler(settings, "bias_filler")?).map(Some)
}

/// Largest pooling over windows or the whole image; the output size is rounded up unless told otherwise.
pub(super) fn pooling(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    if layer.tops.len() > 1 {
        return Err(layer.fault("its second top, the places of the maxima, is not supported"));
    }
    let settings = layer.settings("pooling_param", &POOLING)?;
    let floor = settings.choice("round_mode", &["CEIL", "FLOOR"])? == 1
        || !settings.bool("ceil_mode", true)?
        || settings.bool("torch_pooling", false)?;
    let rounding = if floor { Rounding::Floor } else { Rounding::Ceil };
    let window =
        if settings.bool("global_pooling", false)? { None } else { Some(window(layer, &settings, 2)?) };
    let op = match settings.choice("pool", &["MAX", "AVE", "STOCHASTIC"])? {
        0 => Op::MaxPool(MaxPool { window, rounding }),
        1 => Op::AvgPool(AvgPool { window, rounding, count_include_pad: true }),
        _ => {
            return stochastic(net, layer, bottoms[0], AvgPool { window, rounding, count_include_pad: true });
        }
    };
    net.node(layer, "", op, bottoms)
}

/// What stochastic pooling gives when it is used (Zeiler and Fergus 2013, eq. 6): each value weighted by itself, the sum
/// of squares over the sum. Training with it draws at random, which is not done here.
fn stochastic(net: &mut Net, layer: &Layer, x: ValueId, mean: AvgPool) -> Result<ValueId, Fault> {
    if net.options.phase == Phase::Train {
        return Err(layer
            .fault_with("stochastic pooling is not trained", "use MAX or AVE, or ask for the phase TEST"));
    }
    let square = net.node(layer, ".square", Op::Binary(Binary { kind: BinaryKind::Mul }), &[x, x])?;
    let squares = net.node(layer, ".squares", Op::AvgPool(mean), &[square])?;
    let sum = net.node(layer, ".sum", Op::AvgPool(mean), &[x])?;
    // Caffe begins the sum at the smallest number, so that nothing is divided by 0.
    let above = Activation::Affine { scale: 1.0, shift: f32::MIN_POSITIVE };
    let sum = net.node(layer, ".above", Op::Activation(above), &[sum])?;
    net.node(layer, "", Op::Binary(Binary { kind: BinaryKind::Div }), &[squares, sum])
}

/// Spatial pyramid pooling (He et al. 2014): at level l the image is pooled into 2^l x 2^l bins; all bins in a row.
pub(super) fn pyramid(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("spp_param", &["pyramid_height", "pool", "engine"])?;
    let &[_, _, height, width] = net.shape(bottoms[0]).dims() else {
        return Err(layer.fault(format!("its bottom has shape {}, no image", net.shape(bottoms[0]))));
    };
    let levels = settings.usize("pyramid_height", 0)?;
    let is_max = match settings.choice("pool", &["MAX", "AVE", "STOCHASTIC"])? {
        0 => true,
        1 => false,
        _ => return Err(layer.fault("stochastic pooling in pyramids is not supported")),
    };
    if !(1..=16).contains(&levels) || 1 << (levels - 1) > height.min(width) {
        let what = format!("pyramid_height = {levels} does not fit an image of {height}x{width}");
        return Err(layer.fault(what));
    }
    let mut parts = Vec::new();
    for level in 0..levels {
        let bins = 1_usize << level;
        let along = |size: usize| {
            let kernel = size.div_ceil(bins);
            (kernel, (kernel * bins - size).div_ceil(2))
        };
        let ([kh, top], [kw, left]) = (<[usize; 2]>::from(along(height)), <[usize; 2]>::from(along(width)));
        let padding = Padding { top, left, bottom: top, right: left };
        let window = Some(Window { kernel: [kh, kw], stride: [kh, kw], padding, dilation: [1, 1] });
        let rounding = Rounding::Ceil;
        let op = match is_max {
            true => Op::MaxPool(MaxPool { window, rounding }),
            false => Op::AvgPool(AvgPool { window, rounding, count_include_pad: true }),
        };
        let pooled = net.node(layer, &format!(".pool{level}"), op, bottoms)?;
        let flat = Op::Reshape(Reshape { dims: vec![0, -1] });
        let suffix = if levels == 1 { String::new() } else { format!(".flat{level}") };
        parts.push(net.node(layer, &suffix, flat, &[pooled])?);
    }
    if levels == 1 { Ok(parts[0]) } else { net.node(layer, "", Op::Concat(Concat { axis: 1 }), &parts) }
}

/// Kernel, stride, padding and dilation, given once, for each of 1 or 2 axes, or by axis names.
fn window(layer: &Layer, settings: &Message, axes: usize) -> Result<Window, Fault> {
    let both = |name: &str, by_axis: [&str; 2], default: Option<usize>| -> Result<[usize; 2], Fault> {
        if axes == 1 {
            // Along the only axis; across the row nothing is padded, and the window is as high as it.
            let across = if name == "pad" { 0 } else { 1 };
            if let Some(field) = by_axis.iter().find_map(|name| settings.get(name)) {
                return Err(layer.fault(format!("{} is for images, its bottom is (N, C, L)", field.name)));
            }
            return match (settings.usizes(name)?.as_slice(), default) {
                (&[], Some(default)) => Ok([across, default]),
                (&[one], _) => Ok([across, one]),
                (given, _) => Err(layer
                    .fault(format!("{name} must be given once for (N, C, L), stands {} times", given.len()))),
            };
        }
        if settings.get(by_axis[0]).is_some() || settings.get(by_axis[1]).is_some() {
            let fallback = default.unwrap_or(0);
            return Ok([settings.usize(by_axis[0], fallback)?, settings.usize(by_axis[1], fallback)?]);
        }
        match (settings.usizes(name)?.as_slice(), default) {
            (&[], Some(default)) => Ok([default; 2]),
            (&[one], _) => Ok([one; 2]),
            (&[height, width], _) => Ok([height, width]),
            (given, _) => {
                let what = format!(
                    "{name} must be given once, or for height and width; it stands {} times",
                    given.len()
                );
                Err(layer.fault(what))
            }
        }
    };
    let kernel = both("kernel_size", ["kernel_h", "kernel_w"], None)?;
    let [top, left] = both("pad", ["pad_h", "pad_w"], Some(0))?;
    Ok(Window {
        kernel,
        stride: both("stride", ["stride_h", "stride_w"], Some(1))?,
        padding: Padding { top, left, bottom: top, right: left },
        dilation: both("dilation", ["dilation_h", "dilation_w"], Some(1))?,
    })
}
