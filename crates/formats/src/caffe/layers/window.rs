//! Convolution and Deconvolution, and how windows are described.

use ocellus_graph::ops::{Conv2d, ConvTranspose2d, Reshape};
use ocellus_graph::{Init, Op, ValueId};
use ocellus_tensor::Shape;

use super::Tops;
use super::filler::filler;
use crate::caffe::layer::Layer;
use crate::caffe::message::{Fault, Message};
use crate::caffe::net::Net;
use crate::volume::{self, Axis, Site, Volume, window};

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

/// More taps along the depth of a volume than any network has; each is a convolution of its own.
const MOST_TAPS: usize = 64;

/// y (N, O, H', W') of x (N, C, H, W), or of lines (N, C, L) or volumes (N, C, D, H, W); several bottoms share the
/// parameters and give a top each.
pub(super) fn convolution(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    let (settings, [channels, out, groups]) = convolved(net, layer, bottoms)?;
    if channels % groups != 0 {
        return Err(layer.fault(format!("{channels} channels are no multiple of group {groups}")));
    }
    let op = |pair| Op::Conv2d(Conv2d { window: window(pair), groups });
    let init = filler(&settings, "weight_filler")?;
    let params = params(net, layer, &settings, (bottoms[0], init), ([out, channels / groups], out))?;
    bottoms.iter().map(|&x| convolve(net, layer, &settings, (x, &params), &op)).collect()
}

/// The input gradient of a convolution, run forwards: y (N, O, H', W') of x (N, C, H, W), or of lines or volumes.
pub(super) fn deconvolution(net: &mut Net, layer: &Layer, bottoms: &[ValueId]) -> Tops {
    let (settings, [channels, out, groups]) = convolved(net, layer, bottoms)?;
    if out % groups != 0 {
        return Err(layer.fault(format!("num_output {out} is no multiple of group {groups}")));
    }
    let op =
        |pair| Op::ConvTranspose2d(ConvTranspose2d { window: window(pair), groups, output_padding: [0; 2] });
    // Caffe counts the fans of any blob as if it were a convolution's.
    let init = filler(&settings, "weight_filler")?.with_fans_exchanged();
    let params = params(net, layer, &settings, (bottoms[0], init), ([channels, out / groups], out))?;
    bottoms.iter().map(|&x| convolve(net, layer, &settings, (x, &params), &op)).collect()
}

/// The weight, of these sizes and the kernel's, filled by `init`, and, unless told otherwise, a bias of so many numbers.
fn params(
    net: &mut Net,
    layer: &Layer,
    settings: &Message,
    (x, init): (ValueId, Init),
    (sizes, out): ([usize; 2], usize),
) -> Result<Vec<ValueId>, Fault> {
    let axes = axes(layer, settings, &net.shape(x)[2..])?;
    let mut sizes = sizes.to_vec();
    if axes.len() == 1 {
        sizes.push(1); // an image of one row
    }
    sizes.extend(axes.iter().map(|axis| axis.kernel));
    let mut stored = sizes.clone();
    if axes.len() == 3 && init == Init::Bilinear {
        return Err(layer.fault_with("its filler bilinear is for kernels of images", "choose another filler"));
    }
    let mut params = vec![net.param(layer, (0, "weight"), sizes, init)?];
    if axes.len() == 1 {
        stored.remove(2);
        net.store_as(layer, 0, stored);
    }
    params.extend(bias(net, layer, settings, out)?);
    Ok(params)
}

/// One bottom by an operation over two axes.
fn convolve(
    net: &mut Net,
    layer: &Layer,
    settings: &Message,
    (x, params): (ValueId, &[ValueId]),
    op: &dyn Fn([Axis; 2]) -> Op,
) -> Result<ValueId, Fault> {
    let axes = axes(layer, settings, &net.shape(x)[2..])?;
    let channels = net.shape(x)[1] as isize;
    let with_params = |x: ValueId| [x].into_iter().chain(params.iter().copied()).collect::<Vec<ValueId>>();
    match *axes.as_slice() {
        [along] => {
            let row = Op::Reshape(Reshape { dims: vec![0, channels, 1, -1] });
            let row = net.node(layer, ".row", row, &[x])?;
            let y = net.node(layer, ".conv", op([Axis::still(), along]), &with_params(row))?;
            let channels = net.shape(y)[1] as isize;
            net.node(layer, "", Op::Reshape(Reshape { dims: vec![0, channels, -1] }), &[y])
        }
        [down, across] => net.node(layer, "", op([down, across]), &with_params(x)),
        [deep, down, across] => {
            let mut site = Place { net, layer };
            let weights = taps(&mut site, params[0], deep.kernel)?;
            let volume = Volume { x, weights, bias: params.get(1).copied(), deep };
            let plane = |site: &mut Place, name: &str, x, weight, bias: Option<ValueId>| {
                let inputs: Vec<ValueId> = [x, weight].into_iter().chain(bias).collect();
                site.net.node(site.layer, name, op([down, across]), &inputs)
            };
            if matches!(op([down, across]), Op::Conv2d(_)) {
                return volume::conv(&mut site, "", volume, plane);
            }
            let length = (deep.size.max(1) - 1) * deep.stride + deep.reach();
            volume::conv_transpose(&mut site, "", volume, length, plane)
        }
        _ => Err(layer.fault(format!("moves over {} axes, at most 3 are supported", axes.len()))),
    }
}

/// The weight of each tap of depth of a weight (O, C, D, H, W).
fn taps(site: &mut Place, weight: ValueId, depth: usize) -> Result<Vec<ValueId>, Fault> {
    let sizes = site.net.shape(weight).to_vec();
    if depth > MOST_TAPS {
        return Err(site
            .layer
            .fault(format!("its kernel is {depth} deep, at most {MOST_TAPS} is supported")));
    }
    let flat = [sizes[0], sizes[1], sizes[3], sizes[4]];
    (0..depth)
        .map(|t| {
            let part = volume::part(site, &format!(".weight{t}.part"), weight, 2, (t, 1, 1))?;
            site.reshape(&format!(".weight{t}"), part, &flat)
        })
        .collect()
}

/// A layer's place in the graph.
pub(super) struct Place<'a, 'o, 'l> {
    pub net: &'a mut Net<'o>,
    pub layer: &'a Layer<'l>,
}

impl Site for Place<'_, '_, '_> {
    type Fault = Fault;

    fn shape(&self, value: ValueId) -> &Shape {
        self.net.shape(value)
    }

    fn add(&mut self, suffix: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, Fault> {
        self.net.node(self.layer, suffix, op, inputs)
    }

    fn fault(&self, what: String) -> Fault {
        self.layer.fault(what)
    }
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
    let (3..=5, Some(&channels)) = (shape.rank(), shape.get(1)) else {
        let what = format!(
            "its bottom has shape {shape}; lines (N, C, L), images (N, C, H, W) and volumes (N, C, D, H, W) are \
             convolved"
        );
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

/// Kernel, stride, padding and dilation along each axis of these sizes: given once for all, once for each, or, for
/// images, by the names of the axes.
pub(super) fn axes(layer: &Layer, settings: &Message, sizes: &[usize]) -> Result<Vec<Axis>, Fault> {
    let each = |name: &str, by_axis: [&str; 2], default: Option<usize>| -> Result<Vec<usize>, Fault> {
        if let Some(field) = by_axis.iter().find_map(|name| settings.get(name)) {
            if sizes.len() != 2 {
                let what = format!("{} is for images, its bottom has {} axes", field.name, sizes.len() + 2);
                return Err(layer.fault(what));
            }
            return by_axis.iter().map(|name| settings.usize(name, default.unwrap_or(0))).collect();
        }
        match (settings.usizes(name)?, default) {
            (given, Some(default)) if given.is_empty() => Ok(vec![default; sizes.len()]),
            (given, _) if given.len() == 1 => Ok(vec![given[0]; sizes.len()]),
            (given, _) if given.len() == sizes.len() => Ok(given),
            (given, _) => {
                let (stands, wanted) = (given.len(), sizes.len());
                Err(layer.fault(format!(
                    "{name} must be given once, or for {wanted} axes; it stands {stands} times"
                )))
            }
        }
    };
    if sizes.contains(&0) {
        return Err(layer.fault(format!("its bottom has an axis of size 0: {sizes:?}")));
    }
    let kernel = each("kernel_size", ["kernel_h", "kernel_w"], None)?;
    let pad = each("pad", ["pad_h", "pad_w"], Some(0))?;
    let stride = each("stride", ["stride_h", "stride_w"], Some(1))?;
    let dilation = each("dilation", ["dilation_h", "dilation_w"], Some(1))?;
    for (what, given) in [("kernel_size", &kernel), ("stride", &stride), ("dilation", &dilation)] {
        if given.contains(&0) {
            return Err(layer.fault(format!("its {what} must be at least 1, got 0")));
        }
    }
    let axis = |(i, &size): (usize, &usize)| Axis {
        size,
        kernel: kernel[i],
        stride: stride[i],
        dilation: dilation[i],
        before: pad[i],
        after: pad[i],
    };
    Ok(sizes.iter().enumerate().map(axis).collect())
}
