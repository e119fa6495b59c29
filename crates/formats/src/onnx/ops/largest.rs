//! Max pooling that remembers where its numbers come from, and its way back.
//!
//! A place is told as ONNX does: the number's index in the whole flattened tensor, exact up to 2^24.
//!
//! ```text
//! place = place in its plane + where that plane begins
//! ```

use ocellus_graph::ops::{
    Activation, Binary, BinaryKind, Interpolation, MaxPool, MaxPoolPlaces, Pad, PadMode, Reshape, Stepwise,
    Upsample,
};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Rounding};

use super::Made;
use super::activation::{affine, apply};
use super::arithmetic::binary;
use super::window::{Axis, axes, window};
use crate::numbers::checked_elements;
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::Kind;
use crate::onnx::net::Net;

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
    let [n, c, h, w] = dims;
    let pair = windows(call, dims, own.len() == 3)?;
    let ceil = call.flag("ceil_mode", false)? && !call.text("auto_pad", "NOTSET")?.starts_with("SAME");
    let rounding = if ceil { Rounding::Ceil } else { Rounding::Floor };
    let pool = MaxPool { window: Some(window(pair)), rounding };
    let y = net.add(call, ".pool", Op::MaxPool(pool), &[x])?;
    let mut place = net.add(call, ".plane_places", Op::MaxPoolPlaces(MaxPoolPlaces { pool }), &[x])?;
    if call.flag("storage_order", false)? {
        place = by_column(net, call, place, [h, w])?;
    }
    let first = net.table(call, vec![n, c, 1, 1], |plane| (plane * h * w) as f32)?;
    let place = net.add(call, ".all_places", binary(BinaryKind::Add), &[place, first])?;
    let mut pooled = net.dims(y);
    if own.len() == 3 {
        pooled.remove(2);
    }
    let y = net.reshape(call, "", y, &pooled)?;
    // Places count through the batch, so it stays as it is.
    let fixed = Reshape { dims: pooled.iter().map(|&size| size as isize).collect() };
    let place = net.add(call, ".places", Op::Reshape(fixed), &[place])?;
    Ok(vec![Item::Value(y, call.need(0)?.kind()), Item::Value(place, Kind::I64)])
}

/// Places of a plane counted row by row, as they are counted column by column: column * h + row.
fn by_column(net: &mut Net, call: &Call, place: ValueId, [h, w]: [usize; 2]) -> Result<ValueId, Fault> {
    let columns = w as f32;
    let row = apply(net, call, ".row", place, &[&affine(1.0 / columns, 0.5 / columns), &Stepwise::Floor])?;
    let further = apply(net, call, ".columns", place, &[&affine(h as f32, 0.0)])?;
    let back = apply(net, call, ".rows", row, &[&affine(1.0 - (h * w) as f32, 0.0)])?;
    net.add(call, ".by_column", binary(BinaryKind::Add), &[further, back])
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
