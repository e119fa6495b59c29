//! Pooling, and pyramids of it (SPP).

use ocellus_graph::ops::{
    AvgPool, Concat, MaxPool, MaxPoolPlaces, Reduce, ReduceKind, Reshape, StochasticPool,
};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Rounding, Window};

use super::Tops;
use super::window::{Place, axes};
use crate::caffe::layer::Layer;
use crate::caffe::message::{Fault, Message};
use crate::caffe::net::Net;
use crate::volume::{self, window};

/// In the order of the enumeration.
const METHODS: [&str; 3] = ["MAX", "AVE", "STOCHASTIC"];

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

/// Pooling over windows or the whole image; the output size is rounded up unless told otherwise. A second top of MAX
/// gives the place of each maximum in its plane, row by row.
pub(super) fn pooling(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("pooling_param", &POOLING)?;
    let floor = settings.choice("round_mode", &["CEIL", "FLOOR"])? == 1
        || !settings.bool("ceil_mode", true)?
        || settings.bool("torch_pooling", false)?;
    let rounding = if floor { Rounding::Floor } else { Rounding::Ceil };
    let method = settings.choice("pool", &METHODS)?;
    let rank = net.shape(bottoms[0]).rank();
    let is_global = settings.bool("global_pooling", false)?;
    if rank == 5 {
        let window = if is_global { None } else { Some((settings, rounding)) };
        return Ok(vec![of_volume(net, layer, bottoms[0], method, window)?]);
    }
    if rank != 4 {
        let shape = net.shape(bottoms[0]);
        return Err(layer.fault(format!("its bottom has shape {shape}; images (N, C, H, W) are pooled")));
    }
    let window = if is_global {
        None
    } else {
        let axes = axes(layer, &settings, &net.shape(bottoms[0])[2..])?;
        Some(window([axes[0], axes[1]]))
    };
    let op = pool(net, method, window, rounding);
    let mut values = vec![net.node(layer, "", op, bottoms)?];
    if layer.tops.len() > 1 {
        if method != 0 {
            let what = format!("pools by {}, whose numbers have no places for a second top", METHODS[method]);
            return Err(layer.fault_with(what, "leave the second top out, or use MAX"));
        }
        let places = MaxPoolPlaces { pool: MaxPool { window, rounding } };
        values.push(net.node(layer, ".places", Op::MaxPoolPlaces(places), bottoms)?);
    }
    Ok(values)
}

/// Pooling of (N, C, D, H, W) over windows of three axes, or wholly.
fn of_volume(
    net: &mut Net,
    layer: &Layer,
    x: ValueId,
    method: usize,
    window_and_rounding: Option<(Message, Rounding)>,
) -> Result<ValueId, Fault> {
    if method > 1 {
        return Err(layer.fault_with("volumes are pooled by MAX and AVE", "use one of these"));
    }
    let Some((settings, rounding)) = window_and_rounding else {
        let kind = if method == 0 { ReduceKind::Max } else { ReduceKind::Mean };
        return net.node(layer, "", Op::Reduce(Reduce { kind, axes: vec![2, 3, 4], keep: true }), &[x]);
    };
    let axes = axes(layer, &settings, &net.shape(x)[2..])?;
    let op = |pair| match method {
        0 => Op::MaxPool(MaxPool { window: Some(window(pair)), rounding }),
        _ => Op::AvgPool(AvgPool { window: Some(window(pair)), rounding, count_include_pad: true }),
    };
    volume::pool(&mut Place { net, layer }, x, [axes[0], axes[1], axes[2]], &op)
}

/// Pooling by a method of the enumeration.
fn pool(net: &mut Net, method: usize, window: Option<Window>, rounding: Rounding) -> Op {
    match method {
        0 => Op::MaxPool(MaxPool { window, rounding }),
        1 => Op::AvgPool(AvgPool { window, rounding, count_include_pad: true }),
        _ => {
            let stream = net.next_stream();
            Op::StochasticPool(StochasticPool { window, rounding, active: false, stream })
        }
    }
}

/// Spatial pyramid pooling (He et al. 2014): at level l the image is pooled into 2^l x 2^l bins; all bins in a row.
pub(super) fn pyramid(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Result<ValueId, Fault> {
    layer.expect_bottoms(1)?;
    let settings = layer.settings("spp_param", &["pyramid_height", "pool", "engine"])?;
    let &[_, _, height, width] = net.shape(bottoms[0]).dims() else {
        return Err(layer.fault(format!("its bottom has shape {}, no image", net.shape(bottoms[0]))));
    };
    let levels = settings.usize("pyramid_height", 0)?;
    let method = settings.choice("pool", &METHODS)?;
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
        let op = pool(net, method, window, Rounding::Ceil);
        let pooled = net.node(layer, &format!(".pool{level}"), op, bottoms)?;
        let flat = Op::Reshape(Reshape { dims: vec![0, -1] });
        let suffix = if levels == 1 { String::new() } else { format!(".flat{level}") };
        parts.push(net.node(layer, &suffix, flat, &[pooled])?);
    }
    if levels == 1 { Ok(parts[0]) } else { net.node(layer, "", Op::Concat(Concat { axis: 1 }), &parts) }
}
