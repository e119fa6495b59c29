//! Pad: a border along any axis, of one number or of what lies inside.

use ocellus_graph::ops::{Binary, BinaryKind, Pad, PadMode};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Padding;

use super::arrange::{chosen, part};
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::Literal;
use crate::onnx::net::Net;

/// Numbers added (or, below zero, taken) on both sides of one axis.
#[derive(Clone, Copy)]
struct Border {
    axis: usize,
    before: i64,
    after: i64,
}

pub(super) fn pad(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let borders = borders(call, net.shape(x).rank())?;
    let mode = call.text("mode", "constant")?.to_string();
    let (fill, fill_value) = match call.item(2) {
        _ if call.opset < 11 => (call.float("value", 0.0)?, None),
        None => (0.0, None),
        Some(Item::Constant(_)) => (call.number(2, "constant_value")?.unwrap_or(0.0), None),
        Some(Item::Value(value, _)) => (0.0, Some(*value)),
    };
    let mut y = x;
    for border in borders.iter().filter(|border| border.before < 0 || border.after < 0) {
        let size = net.dims(y)[border.axis];
        let (start, end) =
            (border.before.min(0).unsigned_abs() as usize, border.after.min(0).unsigned_abs() as usize);
        let count = size.checked_sub(start.saturating_add(end)).filter(|&count| count > 0);
        let count = count
            .ok_or_else(|| call.fault(format!("takes {start} and {end} from an axis of size {size}")))?;
        y = part(net, call, &format!(".cut{}", border.axis), y, border.axis, (start, 1, count))?;
    }
    let cut = net.dims(y);
    let added: Vec<Border> = borders
        .into_iter()
        .map(|border| Border { before: border.before.max(0), after: border.after.max(0), ..border })
        .filter(|border| border.before + border.after > 0)
        .collect();
    let last = added.len().saturating_sub(1);
    for (i, &border) in added.iter().enumerate() {
        let suffix =
            if i == last && fill_value.is_none() { String::new() } else { format!(".{}", border.axis) };
        y = match mode.as_str() {
            "wrap" => wrapped(net, call, &suffix, y, border)?,
            "constant" => bordered(net, call, &suffix, y, (border, PadMode::Constant(fill)))?,
            "reflect" => bordered(net, call, &suffix, y, (border, PadMode::Reflect))?,
            "edge" => bordered(net, call, &suffix, y, (border, PadMode::Replicate))?,
            mode => return Err(call.fault(format!("its mode is {mode:?}, which ONNX does not know"))),
        };
    }
    match fill_value {
        Some(fill) if mode == "constant" && !added.is_empty() => filled(net, call, y, (fill, &cut, &added)),
        _ => Ok(y),
    }
}

/// The numbers added along each axis.
fn borders(call: &Call, rank: usize) -> Result<Vec<Border>, Fault> {
    let pads = match call.opset {
        1 => call.wholes("paddings")?.map_or_else(|| call.wholes("pads"), |pads| Ok(Some(pads)))?,
        2..11 => call.wholes("pads")?,
        _ => call.list(1, "pads")?,
    };
    let pads = pads.ok_or_else(|| call.fault("has no pads"))?;
    let axes = match call.list(3, "axes")? {
        Some(axes) => axes.iter().map(|&axis| call.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(call.fault(format!("its pads {pads:?} must be {} numbers", 2 * axes.len())));
    }
    if let Some(pad) = pads.iter().find(|pad| pad.unsigned_abs() > i32::MAX as u64) {
        return Err(call.fault(format!("a pad of {pad} is too large")));
    }
    let count = axes.len();
    let border = |(i, axis)| Border { axis, before: pads[i], after: pads[count + i] };
    Ok(axes.into_iter().enumerate().map(border).collect())
}

/// A border along one axis: of the whole image's height where the mode looks inside, of its channels for a constant.
fn bordered(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    (border, mode): (Border, PadMode),
) -> Result<ValueId, Fault> {
    let dims = net.dims(x);
    let Border { axis, before, after } = border;
    let (before, after) = (before as usize, after as usize);
    let (outer, inner): (usize, usize) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
    let mut to = dims.clone();
    to[axis] = dims[axis] + before + after;
    if dims.len() == 4 && axis > 0 {
        let mut pad = Pad { padding: Padding::all(0), channels: [0; 2], mode };
        match axis {
            1 if matches!(mode, PadMode::Constant(_)) => pad.channels = [before, after],
            2 => (pad.padding.top, pad.padding.bottom) = (before, after),
            3 => (pad.padding.left, pad.padding.right) = (before, after),
            _ => {
                return folded(
                    net,
                    call,
                    suffix,
                    x,
                    (mode, [outer, dims[axis], inner], [before, after], &to),
                );
            }
        }
        return net.add(call, suffix, Op::Pad(pad), &[x]);
    }
    folded(net, call, suffix, x, (mode, [outer, dims[axis], inner], [before, after], &to))
}

/// The axis as the height of an image (outer, 1, size, inner).
fn folded(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    (mode, [outer, size, inner], [top, bottom], to): (PadMode, [usize; 3], [usize; 2], &[usize]),
) -> Result<ValueId, Fault> {
    let image = net.fold(call, &format!("{suffix}.image"), x, &[outer, 1, size, inner])?;
    let padding = Padding { top, bottom, left: 0, right: 0 };
    let y =
        net.add(call, &format!("{suffix}.pad"), Op::Pad(Pad { padding, channels: [0; 2], mode }), &[image])?;
    net.fold(call, suffix, y, to)
}

/// A border of what lies at the other end.
fn wrapped(net: &mut Net, call: &Call, suffix: &str, x: ValueId, border: Border) -> Result<ValueId, Fault> {
    let size = net.dims(x)[border.axis] as i64;
    let count = (size + border.before + border.after) as u64;
    net.budget.charge(count.saturating_mul(16)).map_err(|what| call.fault(what))?;
    let indices: Vec<usize> =
        (-border.before..size + border.after).map(|i| i.rem_euclid(size) as usize).collect();
    chosen(net, call, suffix, x, (border.axis, &indices))
}

/// A border whose number is only known at run time: y plus it where the border is.
fn filled(
    net: &mut Net,
    call: &Call,
    y: ValueId,
    (fill, inside, borders): (ValueId, &[usize], &[Border]),
) -> Result<ValueId, Fault> {
    let dims = net.dims(y);
    let count: usize = dims.iter().product();
    net.budget.charge(count as u64 * 4).map_err(|what| call.fault(what))?;
    let starts: Vec<usize> = (0..dims.len())
        .map(|axis| {
            borders.iter().find(|border| border.axis == axis).map_or(0, |border| border.before as usize)
        })
        .collect();
    let mask = (0..count).map(|i| {
        let mut rest = i;
        let is_inside = (0..dims.len()).rev().all(|axis| {
            let at = rest % dims[axis];
            rest /= dims[axis];
            (starts[axis]..starts[axis] + inside[axis]).contains(&at)
        });
        if is_inside { 0.0 } else { 1.0 }
    });
    let mask = mask.collect();
    let mask = net.statistic(call, &Literal::floats(dims, mask))?;
    let fill = net.reshape(call, ".fill", fill, &[])?;
    let border = net.add(call, ".border", Op::Binary(Binary { kind: BinaryKind::Mul }), &[mask, fill])?;
    net.add(call, "", Op::Binary(Binary { kind: BinaryKind::Add }), &[y, border])
}

/// CenterCropPad: cut to the middle, or padded with zeros around it, along each axis.
pub(super) fn centred(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let mut y = net.value(call, 0)?;
    let rank = net.shape(y).rank();
    let wanted = call.list(1, "shape")?.ok_or_else(|| call.fault("has no shape"))?;
    let wanted = call.sizes(&wanted, "shape")?;
    let axes = match call.wholes("axes")? {
        Some(axes) => call.axes(&axes, rank)?,
        None => (0..rank).collect(),
    };
    if axes.len() != wanted.len() || wanted.iter().any(|&size| size == 0 || size > 1 << 20) {
        return Err(call.fault(format!("its shape {wanted:?} must be {} sizes", axes.len())));
    }
    for (i, (&axis, &to)) in axes.iter().zip(&wanted).enumerate() {
        let from = net.dims(y)[axis];
        let suffix = format!(".{i}");
        if to < from {
            y = part(net, call, &suffix, y, axis, ((from - to) / 2, 1, to))?;
        } else if to > from {
            let before = ((to - from) / 2) as i64;
            let border = Border { axis, before, after: (to - from) as i64 - before };
            y = bordered(net, call, &suffix, y, (border, PadMode::Constant(0.0)))?;
        }
    }
    Ok(y)
}
