//! Max pooling that remembers where its numbers come from, and its way back.
//!
//! A place is told as ONNX does: the number's index in the whole flattened tensor, exact up to 2^24.
//!
//! ```text
//! every tap of the window as an image of its own (strided slices), behind one another; the largest and which tap it is
//! place = where the window begins + what that tap is further on
//! ```

use ocellus_graph::ops::{
    Activation, ArgMax, Binary, BinaryKind, Concat, Interpolation, Pad, PadMode, Reduce, ReduceKind,
    Stepwise, Upsample,
};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Rounding};

use super::Made;
use super::activation::{affine, apply};
use super::arrange::part;
use super::window::{Axis, axes, output_size};
use crate::numbers::checked_elements;
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::Kind;
use crate::onnx::net::Net;

/// Pixels of a window, each of which becomes an image.
const MOST_TAPS: usize = 64;

/// Numbers up to here are exact.
const EXACT: usize = 1 << 24;

/// x (N, C, H, W) of x (N, C, L) or (N, C, H, W).
fn image(net: &mut Net, call: &Call, suffix: &str, x: ValueId) -> Result<(ValueId, [usize; 4]), Fault> {
    let dims = match *net.dims(x).as_slice() {
        [n, c, length] => [n, c, 1, length],
        [n, c, h, w] => [n, c, h, w],
        ref dims => {
            return Err(call.fault(format!(
                "works with places in a tensor of shape {dims:?}; images of 1 or 2 axes are supported"
            )));
        }
    };
    if dims.iter().product::<usize>() > EXACT {
        return Err(call.fault(format!("tells places in a tensor of more than {EXACT} numbers")));
    }
    Ok((net.reshape(call, suffix, x, &dims)?, dims))
}

/// The windows along both axes of an image; a line moves along its second.
fn windows(call: &Call, [_, _, h, w]: [usize; 4], is_line: bool) -> Result<[Axis; 2], Fault> {
    let kernel = call.wholes("kernel_shape")?.ok_or_else(|| call.fault("has no kernel_shape"))?;
    let kernel = call.sizes(&kernel, "kernel_shape")?;
    let sizes: &[usize] = if is_line { &[w] } else { &[h, w] };
    Ok(match *axes(call, sizes, &kernel)?.as_slice() {
        [across] => [Axis::still(), across],
        [down, across] => [down, across],
        _ => return Err(call.fault(format!("a kernel {kernel:?} does not fit an image"))),
    })
}

/// MaxPool with its second output.
pub(super) fn with_places(net: &mut Net, call: &Call) -> Made {
    let x = net.value(call, 0)?;
    let own = net.dims(x);
    let (x, dims) = image(net, call, ".image", x)?;
    let [down, across] = windows(call, dims, own.len() == 3)?;
    let taps = down.kernel.saturating_mul(across.kernel);
    if taps > MOST_TAPS {
        return Err(call
            .fault(format!("tells places in windows of {taps} pixels, at most {MOST_TAPS} are supported")));
    }
    let ceil = call.flag("ceil_mode", false)? && !call.text("auto_pad", "NOTSET")?.starts_with("SAME");
    let rounding = if ceil { Rounding::Ceil } else { Rounding::Floor };
    let (height, width) = (output_size(call, &down, rounding)?, output_size(call, &across, rounding)?);
    let [n, c, ..] = dims;
    if checked_elements(&[n, c, height, width]).is_none_or(|count| count > EXACT) {
        return Err(call.fault(format!("tells {height}x{width} places of {n}x{c} images, more than {EXACT}")));
    }
    let behind = |axis: &Axis, count: usize| {
        ((count - 1) * axis.stride + axis.reach()).saturating_sub(axis.size + axis.before)
    };
    let padding = Padding {
        top: down.before,
        left: across.before,
        bottom: behind(&down, height),
        right: behind(&across, width),
    };
    let pad = Pad { padding, channels: [0; 2], mode: PadMode::Constant(f32::MIN) };
    let padded = net.add(call, ".padded", Op::Pad(pad), &[x])?;
    let mut images = Vec::with_capacity(taps);
    for tap in 0..taps {
        let (i, j) = (tap / across.kernel, tap % across.kernel);
        let rows = (i * down.dilation, down.stride, height);
        let rows = part(net, call, &format!(".tap{tap}.rows"), padded, 2, rows)?;
        let columns = (j * across.dilation, across.stride, width);
        let columns = part(net, call, &format!(".tap{tap}"), rows, 3, columns)?;
        images.push(net.reshape(call, &format!(".tap{tap}.image"), columns, &[n, 1, c * height * width])?);
    }
    let all = match *images.as_slice() {
        [one] => one,
        _ => net.add(call, ".taps", Op::Concat(Concat { axis: 1 }), &images)?,
    };
    let largest = Op::Reduce(Reduce { kind: ReduceKind::Max, axes: vec![1], keep: false });
    let largest = net.add(call, ".largest", largest, &[all])?;
    let tap = net.add(call, ".tap", Op::ArgMax(ArgMax { axis: 1, keep: false, last: false }), &[all])?;
    let pooled: Vec<usize> = if own.len() == 3 { vec![n, c, width] } else { vec![n, c, height, width] };
    let y = net.reshape(call, "", largest, &pooled)?;
    let tap = net.reshape(call, ".tap.image", tap, &[n, c, height, width])?;
    let place = place(net, call, tap, (dims, [down, across], [height, width]))?;
    let place = net.reshape(call, ".places", place, &pooled)?;
    Ok(vec![Item::Value(y, call.need(0)?.kind()), Item::Value(place, Kind::I64)])
}

/// The index of the pixel that each window's `tap` is.
fn place(
    net: &mut Net,
    call: &Call,
    tap: ValueId,
    ([n, c, h, w], [down, across], [height, width]): ([usize; 4], [Axis; 2], [usize; 2]),
) -> Result<ValueId, Fault> {
    let by_column = call.flag("storage_order", false)?;
    let (row_step, column_step) = if by_column { (1, h) } else { (w, 1) };
    let first = |i: usize| {
        let (plane, at) = (i / (height * width), i % (height * width));
        let row = (at / width * down.stride) as f32 - down.before as f32;
        let column = (at % width * across.stride) as f32 - across.before as f32;
        (plane * h * w) as f32 + row * row_step as f32 + column * column_step as f32
    };
    let first = net.table(call, vec![n, c, height, width], first)?;
    // row of the tap = floor((tap + 1/2) / kernel), its column the rest
    let kernel = across.kernel as f32;
    let row = apply(net, call, ".row", tap, &[&affine(1.0 / kernel, 0.5 / kernel), &Stepwise::Floor])?;
    let column_scale = (column_step * across.dilation) as f32;
    let row_scale = (row_step * down.dilation) as f32 - kernel * column_scale;
    let mut place = first;
    for (name, x, scale) in [(".rows", row, row_scale), (".columns", tap, column_scale)] {
        let further = net.add(call, name, Op::Activation(affine(scale, 0.0)), &[x])?;
        let sum = Op::Binary(Binary { kind: BinaryKind::Add });
        place = net.add(call, &format!("{name}.sum"), sum, &[place, further])?;
    }
    Ok(place)
}

/// MaxUnpool of windows that do not overlap: each number goes back to its place, zeros are everywhere else.
pub(super) fn unpool(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let own = net.dims(x);
    let is_line = own.len() == 3;
    let (x, dims) = image(net, call, ".image", x)?;
    let places = net.value(call, 1)?;
    let (places, place_dims) = image(net, call, ".places", places)?;
    let [down, across] = windows(call, dims, is_line)?;
    let [n, c, h, w] = dims;
    let apart =
        |axis: &Axis| axis.stride == axis.kernel && axis.before == 0 && axis.after == 0 && axis.dilation == 1;
    if place_dims != dims || !apart(&down) || !apart(&across) {
        return Err(call.fault("undoes windows that overlap or are padded, which is not supported"));
    }
    let (height, width) = (h * down.stride, w * across.stride);
    // Places count in the tensor that the windows make; pixels that are asked for beyond it stay zero.
    let (full_h, full_w) = match call.list(2, "output_shape")? {
        None => (height, width),
        Some(wanted) => match *call.sizes(&wanted, "output_shape")?.as_slice() {
            [_, _, length] if is_line => (1, length),
            [_, _, full_h, full_w] => (full_h, full_w),
            ref other => return Err(call.fault(format!("cannot make a tensor of shape {other:?}"))),
        },
    };
    let fits = checked_elements(&[n, c, full_h, full_w]).is_some_and(|count| count <= EXACT);
    if full_h < height || full_w < width || !fits {
        return Err(call.fault(format!("cannot make an image of {full_h}x{full_w} of {h}x{w} windows")));
    }
    let index = net.table(call, vec![n, c, height, width], |i| i as f32)?;
    let op = || {
        let factor = [down.stride, across.stride];
        Op::Upsample(Upsample { factor, interpolation: Interpolation::Nearest })
    };
    let large = net.add(call, ".large", op(), &[x])?;
    let there = net.add(call, ".large_places", op(), &[places])?;
    let distance =
        net.add(call, ".distance", Op::Binary(Binary { kind: BinaryKind::Sub }), &[index, there])?;
    let here =
        apply(net, call, ".here", distance, &[&Activation::Abs, &affine(-1.0, 1.0), &Activation::Relu])?;
    let y = net.add(call, ".back", Op::Binary(Binary { kind: BinaryKind::Mul }), &[large, here])?;
    let padding = Padding { top: 0, left: 0, bottom: full_h - height, right: full_w - width };
    let y = match (full_h - height, full_w - width) {
        (0, 0) => y,
        _ => net.add(
            call,
            ".border",
            Op::Pad(Pad { padding, channels: [0; 2], mode: PadMode::Constant(0.0) }),
            &[y],
        )?,
    };
    net.reshape(call, "", y, &if is_line { vec![n, c, full_w] } else { vec![n, c, full_h, full_w] })
}
