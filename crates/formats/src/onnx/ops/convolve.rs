//! Conv and ConvTranspose, over one, two or three axes.

use ocellus_graph::ops::{Binary, BinaryKind, Conv2d, ConvTranspose2d, Pad, PadMode};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Padding;

use super::volume::{Site, taps};
use super::window::{Axis, axes, explicit_pads, list, window};
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::net::Net;
use crate::volume::{self, Volume};

/// What is convolved with what.
pub(super) struct Operands {
    pub x: ValueId,
    pub weight: Item,
    pub bias: Option<ValueId>,
}

/// y (N, O, ...) of x (N, C, ...).
pub(super) fn conv(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let weight = call.need(1)?.clone();
    let bias = net.optional(call, 2)?;
    convolve(net, call, "", Operands { x, weight, bias })
}

/// The convolution of these operands by the attributes of `call`.
pub(super) fn convolve(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    operands: Operands,
) -> Result<ValueId, Fault> {
    let Operands { x, weight, bias } = operands;
    let (x_dims, w_dims) = (net.dims(x), net.dims_of(&weight));
    let rank = check_ranks(call, &x_dims, &w_dims)?;
    let axes = axes(call, &x_dims[2..], &w_dims[2..])?;
    let groups = call.size(call.whole("group", 1)?, "group")?;
    let node = |net: &mut Net, suffix: &str, x, weight, bias: Option<ValueId>, pair| {
        let op = Op::Conv2d(Conv2d { window: window(pair), groups });
        net.add(call, suffix, op, &[x, weight].into_iter().chain(bias).collect::<Vec<_>>())
    };
    match rank {
        1 => {
            let x = net.reshape(call, ".rows", x, &[x_dims[0], x_dims[1], 1, x_dims[2]])?;
            let weight = reshaped_weight(net, call, &weight, &[w_dims[0], w_dims[1], 1, w_dims[2]])?;
            let y = node(net, ".conv", x, weight, bias, [Axis::still(), axes[0]])?;
            let dims = net.dims(y);
            net.reshape(call, suffix, y, &[dims[0], dims[1], dims[3]])
        }
        2 => {
            let weight = net.item_value(call, &weight)?;
            node(net, suffix, x, weight, bias, [axes[0], axes[1]])
        }
        _ => {
            let plane = |site: &mut Site, name: &str, x, weight, bias| {
                node(site.net, name, x, weight, bias, [axes[1], axes[2]])
            };
            let weights = taps(net, call, &weight, axes[0].kernel)?;
            let volume = Volume { x, weights, bias, deep: axes[0] };
            volume::conv(&mut Site { net, call }, suffix, volume, plane)
        }
    }
}

/// How many axes the image has.
fn check_ranks(call: &Call, x: &[usize], w: &[usize]) -> Result<usize, Fault> {
    if x.len() != w.len() || !(3..=5).contains(&x.len()) {
        let what =
            format!("convolves x of shape {x:?} with w of shape {w:?}; images of 1 to 3 axes are supported");
        return Err(call.fault(what));
    }
    Ok(x.len() - 2)
}

/// A weight in another shape: still a parameter if it was one.
pub(super) fn reshaped_weight(
    net: &mut Net,
    call: &Call,
    weight: &Item,
    dims: &[usize],
) -> Result<ValueId, Fault> {
    match weight {
        Item::Constant(literal) => net.parameter(call, &literal.with_dims(dims.to_vec())),
        Item::Value(value, _) => net.fold(call, ".weight", *value, dims),
    }
}

/// A transposed convolution along one axis.
struct Enlarged {
    axis: Axis,
    /// Rows added behind the output that is computed.
    extra: usize,
}

/// y (N, O, ...) of x (N, C, ...), each pixel of which adds its kernel to y.
pub(super) fn conv_transpose(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let weight = call.need(1)?.clone();
    let bias = net.optional(call, 2)?;
    let (x_dims, w_dims) = (net.dims(x), net.dims_of(&weight));
    let rank = check_ranks(call, &x_dims, &w_dims)?;
    let enlarged = enlarged(call, &x_dims[2..], &w_dims[2..])?;
    let groups = call.size(call.whole("group", 1)?, "group")?;
    let node =
        |net: &mut Net, suffix: &str, x, weight, bias: Option<ValueId>, [down, across]: [&Enlarged; 2]| {
            // What the operation's own output padding cannot add is zeros beyond every kernel.
            let own = [down, across].map(|along| along.extra.min(along.axis.stride - 1));
            let rest = [down.extra - own[0], across.extra - own[1]];
            let op =
                ConvTranspose2d { window: window([down.axis, across.axis]), groups, output_padding: own };
            let is_whole = rest == [0, 0];
            let inputs: Vec<ValueId> = [x, weight].into_iter().chain(bias.filter(|_| is_whole)).collect();
            if is_whole {
                return net.add(call, suffix, Op::ConvTranspose2d(op), &inputs);
            }
            let y = net.add(call, &format!("{suffix}.conv"), Op::ConvTranspose2d(op), &inputs)?;
            let padding = Padding { top: 0, left: 0, bottom: rest[0], right: rest[1] };
            let border = Op::Pad(Pad { padding, channels: [0; 2], mode: PadMode::Constant(0.0) });
            let Some(bias) = bias else { return net.add(call, suffix, border, &[y]) };
            let y = net.add(call, &format!("{suffix}.border"), border, &[y])?;
            let channels = net.shape(bias).elements();
            let bias = net.reshape(call, ".bias", bias, &[1, channels, 1, 1])?;
            net.add(call, suffix, Op::Binary(Binary { kind: BinaryKind::Add }), &[y, bias])
        };
    let still = Enlarged { axis: Axis::still(), extra: 0 };
    match rank {
        1 => {
            let x = net.reshape(call, ".rows", x, &[x_dims[0], x_dims[1], 1, x_dims[2]])?;
            let weight = reshaped_weight(net, call, &weight, &[w_dims[0], w_dims[1], 1, w_dims[2]])?;
            let y = node(net, ".conv", x, weight, bias, [&still, &enlarged[0]])?;
            let dims = net.dims(y);
            net.reshape(call, "", y, &[dims[0], dims[1], dims[3]])
        }
        2 => {
            let weight = net.item_value(call, &weight)?;
            node(net, "", x, weight, bias, [&enlarged[0], &enlarged[1]])
        }
        _ => {
            let plane = |site: &mut Site, name: &str, x, weight, bias| {
                node(site.net, name, x, weight, bias, [&enlarged[1], &enlarged[2]])
            };
            let deep = enlarged[0].axis;
            let length = (deep.size - 1) * deep.stride + deep.reach() + enlarged[0].extra;
            let volume = Volume { x, weights: taps(net, call, &weight, deep.kernel)?, bias, deep };
            volume::conv_transpose(&mut Site { net, call }, "", volume, length, plane)
        }
    }
}

/// Col2Im: columns (N, C x kernel, places) summed into the image they were taken from, a transposed convolution whose
/// kernels each set one pixel.
pub(super) fn columns_to_image(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let list = |i: usize, what: &str| {
        let numbers = call.list(i, what)?.ok_or_else(|| call.fault(format!("has no {what}")))?;
        call.sizes(&numbers, what)
    };
    let (image, kernel) = (list(1, "image_shape")?, list(2, "block_shape")?);
    let (&[height, width], &[kh, kw], &[n, columns, count]) =
        (image.as_slice(), kernel.as_slice(), net.dims(x).as_slice())
    else {
        return Err(call.fault(format!("makes an image {image:?}; images of two axes are supported")));
    };
    if kh == 0 || kw == 0 || kh.checked_mul(kw).is_none_or(|taps| columns % taps != 0) {
        return Err(call.fault(format!("{columns} channels are no kernels {kernel:?}")));
    }
    let axes = axes(call, &image, &kernel)?;
    let places = |axis: &Axis| super::window::output_size(call, axis, ocellus_tensor::Rounding::Floor);
    let (down, across) = (places(&axes[0])?, places(&axes[1])?);
    if down.checked_mul(across) != Some(count) {
        return Err(call.fault(format!("{count} columns are not the {down}x{across} places of its kernel")));
    }
    let (taps, channels) = (kh * kw, columns / (kh * kw));
    let is_own = |i: usize| i / taps % taps == i % taps;
    let weight = net.table(call, vec![columns, 1, kh, kw], |i| if is_own(i) { 1.0 } else { 0.0 })?;
    let maps = net.reshape(call, ".maps", x, &[n, columns, down, across])?;
    // What the last window does not reach is added behind.
    let left = |axis: &Axis, places: usize, size: usize| {
        (size + axis.before + axis.after).saturating_sub((places - 1) * axis.stride + axis.reach())
    };
    let extra = [left(&axes[0], down, height), left(&axes[1], across, width)];
    let op = ConvTranspose2d { window: window([axes[0], axes[1]]), groups: channels, output_padding: extra };
    net.add(call, "", Op::ConvTranspose2d(op), &[maps, weight])
}

/// The window, and what is added behind the output, along every axis.
fn enlarged(call: &Call, sizes: &[usize], kernel: &[usize]) -> Result<Vec<Enlarged>, Fault> {
    let rank = sizes.len();
    if kernel.contains(&0) || sizes.contains(&0) {
        return Err(call.fault(format!("a kernel {kernel:?} does not fit {sizes:?}")));
    }
    let (strides, dilations) = (list(call, "strides", rank)?, list(call, "dilations", rank)?);
    let per_axis = |name: &str| match call.wholes(name)? {
        None => Ok(None),
        Some(numbers) if numbers.len() == rank => call.sizes(&numbers, name).map(Some),
        // Some writers count the batch and the channels too.
        Some(numbers) if numbers.len() == rank + 2 => call.sizes(&numbers[2..], name).map(Some),
        Some(numbers) => Err(call.fault(format!("its {name} {numbers:?} must be {rank} numbers"))),
    };
    let extra = per_axis("output_padding")?.unwrap_or_else(|| vec![0; rank]);
    let wanted = per_axis("output_shape")?;
    let auto_pad = call.text("auto_pad", "NOTSET")?;
    let pads = explicit_pads(call, rank)?.unwrap_or_else(|| vec![(0, 0); rank]);
    let mut all = Vec::with_capacity(rank);
    for i in 0..rank {
        let mut axis = Axis {
            size: sizes[i],
            kernel: kernel[i],
            stride: strides[i],
            dilation: dilations[i],
            before: 0,
            after: 0,
        };
        // No overflow: every factor is at most i32::MAX.
        let full = (axis.size - 1) * axis.stride + axis.reach() + extra[i];
        let goal = match (&wanted, auto_pad) {
            (Some(wanted), _) => Some(wanted[i]),
            (None, "SAME_UPPER" | "SAME_LOWER") => Some(axis.size * axis.stride),
            (None, "NOTSET" | "" | "VALID") => None,
            (None, other) => {
                return Err(call.fault(format!("its auto_pad is {other:?}, which ONNX does not know")));
            }
        };
        let mut added = extra[i];
        match goal {
            None if auto_pad == "VALID" => {}
            None => (axis.before, axis.after) = pads[i],
            Some(goal) => {
                let cropped = full.saturating_sub(goal);
                added += goal.saturating_sub(full);
                let half = cropped / 2;
                (axis.before, axis.after) =
                    if auto_pad == "SAME_UPPER" { (half, cropped - half) } else { (cropped - half, half) };
            }
        }
        all.push(Enlarged { axis, extra: added });
    }
    Ok(all)
}
