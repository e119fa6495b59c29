//! Convolutions of one and two axes.
//!
//! ```text
//! Conv             kernel (kh, kw, C/groups, O)            -> (O, C/groups, kh, kw)
//! DepthwiseConv    kernel (kh, kw, C, M)                   -> (C M, 1, kh, kw), C groups
//! SeparableConv    both of them: depthwise, then 1x1
//! Conv..Transpose  kernel (kh, kw, O, C)                   -> (C, O, kh, kw)
//! padding "same"   ceil(size / stride) places; an odd row or column of padding is below and on the right
//! ```
//!
//! Source: `keras/src/layers/convolutional/`, and TensorFlow's `tf.nn.convolution` for the padding.

use ocellus_graph::ops::{Conv2d, ConvTranspose2d};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Tensor, Window};

use super::activation;
use crate::keras::fault::Fault;
use crate::keras::layer::Layer;
use crate::keras::net::{Item, Net, permuted};
use crate::keras::stored::Trouble;

/// No axis is longer, so that no product of two sizes overflows.
const LARGEST: usize = i32::MAX as usize;

/// An image (N, C, H, W) that a layer slides over, and what it was.
pub(super) struct Image {
    pub value: ValueId,
    /// How many of its axes are the layer's: 1 or 2.
    pub axes: usize,
    channels_first: bool,
    batch: usize,
    pub channels: usize,
    pub size: [usize; 2],
}

/// The tensor that a layer of images of one or two axes reads.
pub(super) fn image(net: &mut Net, layer: &Layer) -> Result<Image, Fault> {
    let item = layer.item()?;
    let axes = if layer.spec.class.contains("1D") { 1 } else { 2 };
    if item.rank() != axes + 2 {
        let what = format!("reads a tensor of {} axes, it takes {}", item.rank(), axes + 2);
        return Err(layer.fault(what));
    }
    let channels_first = layer.is_channels_first()?;
    let value = if channels_first { net.plain(layer, &item)? } else { net.turned(layer, &item)? };
    let dims = if channels_first { item.dims.clone() } else { item.turned_dims() };
    let size = if axes == 1 { [1, dims[2]] } else { [dims[2], dims[3]] };
    if let Some(size) = item.dims.iter().find(|&&size| size > LARGEST) {
        return Err(layer.fault(format!("reads a tensor of the impossible size {size}")));
    }
    let [batch, channels] = [dims[0], dims[1]];
    let value = net.reshape(layer, ".row", value, &[batch, channels, size[0], size[1]])?;
    Ok(Image { value, axes, channels_first, batch, channels, size })
}

impl Image {
    /// What came of it, (N, C', H', W'), as Keras's tensor.
    pub fn result(&self, net: &mut Net, layer: &Layer, value: ValueId) -> Result<Item, Fault> {
        let shape = net.graph.shape(value).to_vec();
        let (channels, size) = (shape[1], &shape[4 - self.axes..]);
        let mut first = vec![self.batch, channels];
        first.extend(size);
        let value = net.reshape(layer, ".line", value, &first)?;
        if self.channels_first {
            return Ok(Item::plain(value, first));
        }
        let mut dims = vec![self.batch];
        dims.extend(size);
        dims.push(channels);
        Ok(Item::turned(value, dims))
    }

    /// A setting for each of the layer's axes, as one for each of two.
    pub fn pair(&self, layer: &Layer, key: &str, usual: usize) -> Result<[usize; 2], Fault> {
        let pair = match self.axes {
            1 => [1, layer.sizes::<1>(key, usual)?[0]],
            _ => layer.sizes::<2>(key, usual)?,
        };
        if pair.contains(&0) {
            return Err(layer.fault(format!("has {key} = {pair:?}, which must be at least 1")));
        }
        Ok(pair)
    }

    /// The window that slides over it, padded as the layer says.
    pub fn window(
        &self,
        layer: &Layer,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> Result<Window, Fault> {
        let padding = layer.text("padding", "valid")?.to_lowercase();
        let mut sides = [(0, 0); 2];
        for axis in 0..2 {
            let reach = dilation[axis] * (kernel[axis] - 1) + 1;
            sides[axis] = match padding.as_str() {
                "valid" => (0, 0),
                "same" => {
                    let places = self.size[axis].div_ceil(stride[axis]);
                    let total = ((places - 1) * stride[axis] + reach).saturating_sub(self.size[axis]);
                    (total / 2, total - total / 2)
                }
                "causal" if self.axes == 1 => (reach - 1, 0),
                other => {
                    return Err(layer.fault(format!("has padding = {other:?}, which Keras does not know")));
                }
            };
        }
        let [(top, bottom), (left, right)] = sides;
        Ok(Window { kernel, stride, padding: Padding { top, left, bottom, right }, dilation })
    }

    fn kernel(&self, layer: &Layer) -> Result<[usize; 2], Fault> {
        layer.get("kernel_size").ok_or_else(|| layer.fault("says no kernel_size"))?;
        self.pair(layer, "kernel_size", 1)
    }

    /// Sizes of a kernel as the file has it.
    fn stored(&self, kernel: [usize; 2], channels: [usize; 2]) -> Vec<usize> {
        [&kernel[2 - self.axes..], &channels[..]].concat()
    }
}

/// A kernel of one axis as one of two.
fn of_two_axes(kernel: Tensor) -> Option<Tensor> {
    match *kernel.shape().dims() {
        [width, a, b] => kernel.reshape([1, width, a, b]).ok(),
        _ => Some(kernel),
    }
}

/// (kh, kw, C, O) as (O, C, kh, kw).
fn turned(kernel: Tensor) -> Option<Tensor> {
    of_two_axes(kernel).map(|kernel| permuted(&kernel, &[3, 2, 0, 1]))
}

/// The kernel and, if the layer uses one, the bias.
type Parts = (Option<Tensor>, Option<Tensor>);

fn parts(layer: &Layer, wanted: Vec<(&str, Vec<usize>)>) -> Result<Vec<Option<Tensor>>, Trouble> {
    let count = wanted.len();
    Ok(match layer.tensor_list(&wanted)? {
        Some(all) => all.into_iter().map(Some).collect(),
        None => vec![None; count],
    })
}

pub(super) fn conv(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let (kernel, filters) = (image.kernel(layer)?, layer.size("filters")?);
    let groups = if layer.get("groups").is_some() { layer.size("groups")? } else { 1 };
    if groups == 0 || !image.channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
        let what = format!(
            "has groups = {groups}, which does not divide {} channels and {filters} filters",
            image.channels
        );
        return Err(layer.fault(what).into());
    }
    let window = image.window(
        layer,
        kernel,
        image.pair(layer, "strides", 1)?,
        image.pair(layer, "dilation_rate", 1)?,
    )?;
    let inner = image.channels / groups;
    let mut wanted = vec![("kernel", image.stored(kernel, [inner, filters]))];
    let bias = layer.flag("use_bias", true)?;
    if bias {
        wanted.push(("bias", vec![filters]));
    }
    let mut numbers = parts(layer, wanted)?.into_iter();
    let weight = numbers.next().flatten().and_then(turned);
    let weight = net.weight(layer, "weight", &[filters, inner, kernel[0], kernel[1]], weight)?;
    let mut inputs = vec![image.value, weight];
    if bias {
        inputs.push(net.weight(layer, "bias", &[filters], numbers.next().flatten())?);
    }
    finish(net, layer, &image, Op::Conv2d(Conv2d { window, groups }), &inputs)
}

/// The last operation and the layer's activation.
fn finish(net: &mut Net, layer: &Layer, image: &Image, op: Op, inputs: &[ValueId]) -> Result<Item, Trouble> {
    let suffix = activation::suffix(layer, ".conv");
    let value = net.add(layer, suffix, op, inputs)?;
    let item = image.result(net, layer, value)?;
    Ok(activation::of_layer(net, layer, item)?)
}

/// (kh, kw, C, M) as (C M, 1, kh, kw).
fn depthwise_weight(kernel: Tensor) -> Option<Tensor> {
    let kernel = of_two_axes(kernel)?;
    let &[height, width, channels, times] = kernel.shape().dims() else { return None };
    permuted(&kernel, &[2, 3, 0, 1]).reshape([channels * times, 1, height, width]).ok()
}

/// Its channels, M times as many.
fn multiplied(layer: &Layer, image: &Image) -> Result<[usize; 2], Fault> {
    let times = if layer.get("depth_multiplier").is_some() { layer.size("depth_multiplier")? } else { 1 };
    let channels = image.channels.checked_mul(times).filter(|&channels| channels > 0);
    channels
        .map(|channels| [times, channels])
        .ok_or_else(|| layer.fault(format!("has depth_multiplier = {times} for {} channels", image.channels)))
}

pub(super) fn depthwise(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let kernel = image.kernel(layer)?;
    let [times, channels] = multiplied(layer, &image)?;
    let window = image.window(
        layer,
        kernel,
        image.pair(layer, "strides", 1)?,
        image.pair(layer, "dilation_rate", 1)?,
    )?;
    // Keras 3 calls it `kernel`, Keras 2 `depthwise_kernel`: layers of the former are found by order.
    let mut wanted = vec![("depthwise_kernel", image.stored(kernel, [image.channels, times]))];
    let bias = layer.flag("use_bias", true)?;
    if bias {
        wanted.push(("bias", vec![channels]));
    }
    let (weight, numbers): Parts = {
        let mut all = parts(layer, wanted)?.into_iter();
        (all.next().flatten().and_then(depthwise_weight), all.next().flatten())
    };
    let weight = net.weight(layer, "weight", &[channels, 1, kernel[0], kernel[1]], weight)?;
    let mut inputs = vec![image.value, weight];
    if bias {
        inputs.push(net.weight(layer, "bias", &[channels], numbers)?);
    }
    finish(net, layer, &image, Op::Conv2d(Conv2d { window, groups: image.channels }), &inputs)
}

pub(super) fn separable(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let (kernel, filters) = (image.kernel(layer)?, layer.size("filters")?);
    let [times, channels] = multiplied(layer, &image)?;
    let window = image.window(
        layer,
        kernel,
        image.pair(layer, "strides", 1)?,
        image.pair(layer, "dilation_rate", 1)?,
    )?;
    let mut wanted = vec![
        ("depthwise_kernel", image.stored(kernel, [image.channels, times])),
        ("pointwise_kernel", image.stored([1, 1], [channels, filters])),
    ];
    let bias = layer.flag("use_bias", true)?;
    if bias {
        wanted.push(("bias", vec![filters]));
    }
    let mut numbers = parts(layer, wanted)?.into_iter();
    let depthwise = numbers.next().flatten().and_then(depthwise_weight);
    let pointwise = numbers.next().flatten().and_then(turned);
    let depthwise = net.weight(layer, "depthwise.weight", &[channels, 1, kernel[0], kernel[1]], depthwise)?;
    let op = Op::Conv2d(Conv2d { window, groups: image.channels });
    let value = net.add(layer, ".depthwise", op, &[image.value, depthwise])?;
    let pointwise = net.weight(layer, "pointwise.weight", &[filters, channels, 1, 1], pointwise)?;
    let mut inputs = vec![value, pointwise];
    if bias {
        inputs.push(net.weight(layer, "pointwise.bias", &[filters], numbers.next().flatten())?);
    }
    finish(net, layer, &image, Op::Conv2d(Conv2d { window: Window::square(1), groups: 1 }), &inputs)
}

pub(super) fn transposed(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let (kernel, filters) = (image.kernel(layer)?, layer.size("filters")?);
    let (stride, dilation) = (image.pair(layer, "strides", 1)?, image.pair(layer, "dilation_rate", 1)?);
    let given = match (layer.get("output_padding").is_some(), image.axes) {
        (false, _) => [None; 2],
        (true, 1) => [None, Some(layer.sizes::<1>("output_padding", 0)?[0])],
        (true, _) => layer.sizes::<2>("output_padding", 0)?.map(Some),
    };
    let same = match layer.text("padding", "valid")?.to_lowercase().as_str() {
        "same" => true,
        "valid" => false,
        other => {
            return Err(layer.fault(format!("has padding = {other:?}, which Keras does not know")).into());
        }
    };
    let (mut sides, mut output_padding) = ([(0, 0); 2], [0; 2]);
    for axis in 0..2 {
        let is_used = axis + image.axes >= 2;
        let (step, reach) = (stride[axis], dilation[axis] * (kernel[axis] - 1) + 1);
        let full = (image.size[axis] - 1) * step + reach;
        let goal = match (same, given[axis]) {
            _ if !is_used => full,
            (true, None) => image.size[axis] * step,
            (false, None) => full + step.saturating_sub(reach),
            (true, Some(extra)) => (full + extra).saturating_sub(2 * (reach / 2)),
            (false, Some(extra)) => full + extra,
        };
        let cropped = full.saturating_sub(goal);
        output_padding[axis] = goal.saturating_sub(full);
        // As of the convolution whose gradient this is: the odd one is cut at the end.
        sides[axis] = (cropped / 2, cropped - cropped / 2);
    }
    let [(top, bottom), (left, right)] = sides;
    let window = Window { kernel, stride, padding: Padding { top, left, bottom, right }, dilation };
    let mut wanted = vec![("kernel", image.stored(kernel, [filters, image.channels]))];
    let bias = layer.flag("use_bias", true)?;
    if bias {
        wanted.push(("bias", vec![filters]));
    }
    let mut numbers = parts(layer, wanted)?.into_iter();
    let weight = numbers.next().flatten().and_then(turned);
    let weight = net.weight(layer, "weight", &[image.channels, filters, kernel[0], kernel[1]], weight)?;
    let mut inputs = vec![image.value, weight];
    if bias {
        inputs.push(net.weight(layer, "bias", &[filters], numbers.next().flatten())?);
    }
    finish(
        net,
        layer,
        &image,
        Op::ConvTranspose2d(ConvTranspose2d { window, groups: 1, output_padding }),
        &inputs,
    )
}
