//! Convolution, Deconvolution and Pooling.

use ocellus_graph::ops::{AvgPool, Conv2d, ConvTranspose2d, MaxPool};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Rounding, Window};

use super::filler::filler;
use crate::caffe::layer::Layer;
use crate::caffe::message::{Fault, Message};
use crate::caffe::net::Net;

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

/// y (N, O, H', W') of x (N, C, H, W).
pub(super) fn convolution(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let (settings, x, [channels, out, groups]) = convolved(net, layer, bottoms)?;
    if channels % groups != 0 {
        return Err(layer.fault(format!("{channels} channels are no multiple of group {groups}")));
    }
    let window = window(layer, &settings)?;
    let [kh, kw] = window.kernel;
    let weight = net.param(
        layer,
        (0, "weight"),
        vec![out, channels / groups, kh, kw],
        filler(&settings, "weight_filler")?,
    )?;
    let mut inputs = vec![x, weight];
    inputs.extend(bias(net, layer, &settings, out)?);
    net.node(layer, "", Op::Conv2d(Conv2d { window, groups }), &inputs)
}

/// The input gradient of a convolution, run forwards: y (N, O, H', W') of x (N, C, H, W).
pub(super) fn deconvolution(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    let (settings, x, [channels, out, groups]) = convolved(net, layer, bottoms)?;
    if out % groups != 0 {
        return Err(layer.fault(format!("num_output {out} is no multiple of group {groups}")));
    }
    let window = window(layer, &settings)?;
    let [kh, kw] = window.kernel;
    let weight = net.param(
        layer,
        (0, "weight"),
        vec![channels, out / groups, kh, kw],
        filler(&settings, "weight_filler")?,
    )?;
    let mut inputs = vec![x, weight];
    inputs.extend(bias(net, layer, &settings, out)?);
    let op = ConvTranspose2d { window, groups, output_padding: [0; 2] };
    net.node(layer, "", Op::ConvTranspose2d(op), &inputs)
}

/// The settings of either convolution, its input, and its channels in, channels out and groups.
fn convolved<'a>(
    net: &Net,
    layer: &Layer<'a>,
    bottoms: &[ValueId],
) -> Result<(Message<'a>, ValueId, [usize; 3]), Fault> {
    if layer.bottoms.len() > 1 {
        let next = "write one layer for each, sharing parameters by param { name }";
        return Err(layer.fault_with("convolves several bottoms at once", next));
    }
    layer.expect_bottoms(1)?;
    let settings = layer.settings("convolution_param", &CONVOLUTION)?;
    if settings.i64("axis", 1)? != 1 {
        return Err(layer.fault("axis must be 1: only images (N, C, H, W) are convolved"));
    }
    let &[_, channels, _, _] = net.shape(bottoms[0]).dims() else {
        let shape = net.shape(bottoms[0]);
        return Err(
            layer.fault(format!("its bottom has shape {shape}; only images (N, C, H, W) are convolved"))
        );
    };
    let out = settings.usize("num_output", 0)?;
    let depthwise = layer.kind != "Convolution" && layer.kind != "Deconvolution";
    let groups = if depthwise { channels } else { settings.usize("group", 1)? };
    if out == 0 || groups == 0 {
        return Err(layer.fault(format!("num_output = {out} and group = {groups} must be at least 1")));
    }
    Ok((settings, bottoms[0], [channels, out, groups]))
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
    let window = if settings.bool("global_pooling", false)? { None } else { Some(window(layer, &settings)?) };
    let op = match settings.choice("pool", &["MAX", "AVE", "STOCHASTIC"])? {
        0 => Op::MaxPool(MaxPool { window, rounding }),
        1 => Op::AvgPool(AvgPool { window, rounding, count_include_pad: true }),
        _ => return Err(layer.fault_with("stochastic pooling is not supported", "use MAX or AVE")),
    };
    net.node(layer, "", op, bottoms)
}

/// Kernel, stride, padding and dilation, given once, for each axis, or by axis names.
fn window(layer: &Layer, settings: &Message) -> Result<Window, Fault> {
    let both = |name: &str, by_axis: [&str; 2], default: Option<usize>| -> Result<[usize; 2], Fault> {
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
