//! Convolutions over three axes, made of convolutions over two.
//!
//! ```text
//! a volume is a batch of planes: x (N, C, D, H, W) as (N, D, C, H, W)
//! conv:        y = sum over the taps t of depth: conv2d(planes t dilation, t dilation + stride, ..; w[:, :, t])
//! transposed:  y = sum over t: conv_transpose2d(all planes; w[:, :, t]), laid stride apart from t dilation on
//! ```

use ocellus_graph::ops::{Binary, BinaryKind, Pad, PadMode, Transpose};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::{Padding, Rounding};

use super::arrange::part;
use super::convolve::taps;
use super::window::{Axis, output_size};
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::net::Net;

/// What is convolved, and the window along the depth.
pub(super) struct Volume {
    pub x: ValueId,
    pub weight: Item,
    pub bias: Option<ValueId>,
    pub deep: Axis,
}

/// y (N, O, D', H', W'); `plane` convolves planes.
pub(super) fn conv(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    Volume { x, weight, bias, deep }: Volume,
    mut plane: impl FnMut(&mut Net, &str, ValueId, &Item, Option<ValueId>) -> Result<ValueId, Fault>,
) -> Result<ValueId, Fault> {
    let [n, c, _, h, w] = five(call, &net.dims(x))?;
    let depth = output_size(call, &deep, Rounding::Floor)?;
    let planes = to_planes(net, call, x)?;
    let planes = padded(net, call, ".border", planes, (deep.before, deep.after))?;
    let mut sum = None;
    for (t, weight) in taps(net, call, &weight, deep.kernel)?.iter().enumerate() {
        let part =
            part(net, call, &format!(".tap{t}.planes"), planes, 1, (t * deep.dilation, deep.stride, depth))?;
        let part = net.fold(call, &format!(".tap{t}.batch"), part, &[n * depth, c, h, w])?;
        let y = plane(net, &format!(".tap{t}"), part, weight, bias.filter(|_| t == 0))?;
        sum = Some(added(net, call, &format!(".sum{t}"), sum, y)?);
    }
    let sum = sum.ok_or_else(|| call.fault("has a kernel without taps"))?;
    from_planes(net, call, suffix, sum, [n, depth])
}

/// y (N, O, D', H', W'), where `length` planes come before the depth's padding is cropped.
pub(super) fn conv_transpose(
    net: &mut Net,
    call: &Call,
    Volume { x, weight, bias, deep }: Volume,
    length: usize,
    mut plane: impl FnMut(&mut Net, &str, ValueId, &Item, Option<ValueId>) -> Result<ValueId, Fault>,
) -> Result<ValueId, Fault> {
    let [n, c, d, h, w] = five(call, &net.dims(x))?;
    let kept = length.checked_sub(deep.before + deep.after).filter(|&kept| kept > 0);
    let kept = kept.ok_or_else(|| call.fault(format!("its padding crops all {length} planes")))?;
    let planes = to_planes(net, call, x)?;
    let planes = net.fold(call, ".batch", planes, &[n * d, c, h, w])?;
    let mut sum = None;
    for (t, weight) in taps(net, call, &weight, deep.kernel)?.iter().enumerate() {
        let y = plane(net, &format!(".tap{t}"), planes, weight, None)?;
        let dims = net.dims(y);
        let (o, area) = (dims[1], dims[2] * dims[3]);
        // Each plane is followed by stride - 1 empty ones, the last by none.
        let y = net.fold(call, &format!(".tap{t}.single"), y, &[n * d, 1, o, area])?;
        let y = padded(net, call, &format!(".tap{t}.spread"), y, (0, deep.stride - 1))?;
        let y = net.fold(call, &format!(".tap{t}.column"), y, &[n, d * deep.stride, o, area])?;
        let used = (d - 1) * deep.stride + 1;
        let y = part(net, call, &format!(".tap{t}.used"), y, 1, (0, 1, used))?;
        let before = t * deep.dilation;
        let behind = length.saturating_sub(before + used);
        let y = padded(net, call, &format!(".tap{t}.placed"), y, (before, behind))?;
        let y = part(net, call, &format!(".tap{t}.cropped"), y, 1, (deep.before, 1, kept))?;
        let y = net.fold(call, &format!(".tap{t}.planes"), y, &[n * kept, o, dims[2], dims[3]])?;
        sum = Some(added(net, call, &format!(".sum{t}"), sum, y)?);
    }
    let mut sum = sum.ok_or_else(|| call.fault("has a kernel without taps"))?;
    if let Some(bias) = bias {
        let channels = net.shape(bias).elements();
        let bias = net.reshape(call, ".bias", bias, &[1, channels, 1, 1])?;
        sum = added(net, call, ".biased", Some(sum), bias)?;
    }
    from_planes(net, call, "", sum, [n, kept])
}

fn five(call: &Call, dims: &[usize]) -> Result<[usize; 5], Fault> {
    <[usize; 5]>::try_from(dims).map_err(|_| call.fault(format!("needs an input of 5 axes, got {dims:?}")))
}

/// (N, D, C, H W) of (N, C, D, H, W).
fn to_planes(net: &mut Net, call: &Call, x: ValueId) -> Result<ValueId, Fault> {
    let [n, c, d, h, w] = five(call, &net.dims(x))?;
    let flat = net.reshape(call, ".flat", x, &[n, c, d, h * w])?;
    net.add(call, ".by_depth", Op::Transpose(Transpose { order: vec![0, 2, 1, 3] }), &[flat])
}

/// (N, O, D, H, W) of N D planes (N D, O, H, W).
fn from_planes(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    y: ValueId,
    [n, d]: [usize; 2],
) -> Result<ValueId, Fault> {
    let dims = net.dims(y);
    let (o, h, w) = (dims[1], dims[2], dims[3]);
    let y = net.fold(call, ".volume", y, &[n, d, o, h * w])?;
    let y = net.add(call, ".by_channel", Op::Transpose(Transpose { order: vec![0, 2, 1, 3] }), &[y])?;
    net.reshape(call, suffix, y, &[n, o, d, h, w])
}

/// Zeros before and behind along axis 1.
fn padded(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    (before, after): (usize, usize),
) -> Result<ValueId, Fault> {
    if before + after == 0 {
        return Ok(x);
    }
    let pad = Pad { padding: Padding::all(0), channels: [before, after], mode: PadMode::Constant(0.0) };
    net.add(call, suffix, Op::Pad(pad), &[x])
}

fn added(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    sum: Option<ValueId>,
    y: ValueId,
) -> Result<ValueId, Fault> {
    match sum {
        None => Ok(y),
        Some(sum) => net.add(call, suffix, Op::Binary(Binary { kind: BinaryKind::Add }), &[sum, y]),
    }
}
