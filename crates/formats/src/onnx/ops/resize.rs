//! Resize and Upsample.
//!
//! Every mode makes each new pixel along an axis of a few old ones, whatever the other axes do. So an image is resized
//! axis by axis: as the graph's own enlargement where that is it, by picking pixels where each new one is an old one,
//! and otherwise by a linear layer along the axis, whose weight holds the shares.
//!
//! ```text
//! for each new pixel i:  p = where its centre lies among the old ones (coordinate_transformation_mode)
//!                        base = the last old pixel before p;  r = p - base, above 0 and at most 1
//!                        share of pixel base + t:  kernel(s (t - r)),  s = scale if antialiased and below 1, else 1
//!                        pixels beyond the edge are the edge's, or have no share (exclude_outside)
//! ```

use ocellus_graph::ops::{Interpolation, Linear, Transpose, Upsample};
use ocellus_graph::{Op, ValueId};

use super::arrange::chosen;
use crate::onnx::call::Call;
use crate::onnx::fault::Fault;
use crate::onnx::literal::Literal;
use crate::onnx::net::Net;

/// How one axis is resized.
struct Resized {
    axis: usize,
    from: usize,
    to: usize,
    scale: f64,
    /// First and last old position, as shares of the axis; only for cropping.
    region: [f64; 2],
}

/// What is the same for all axes.
struct Rule {
    mode: Mode,
    transform: String,
    nearest: String,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
    extrapolation: f32,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// A new pixel: shares of old pixels, and a number of its own beyond the image.
struct Pixel {
    shares: Vec<(usize, f64)>,
    own: f32,
}

pub(super) fn resize(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let rule = rule(call)?;
    let dims = net.dims(x);
    let resized = sizes(call, &dims)?;
    let mut pixels = Vec::new();
    for along in &resized {
        let reach = if rule.antialias { (4.0 / along.scale).min(1e9) as u64 } else { 4 };
        net.budget.work((along.to as u64).saturating_mul(reach + 4)).map_err(|what| call.fault(what))?;
        let row = row(call, &rule, along)?;
        let is_same = along.from == along.to
            && row
                .iter()
                .enumerate()
                .all(|(i, pixel)| pixel.shares.as_slice() == [(i, 1.0)] && pixel.own == 0.0);
        if !is_same {
            pixels.push((along, row));
        }
    }
    if pixels.is_empty() {
        return Ok(x);
    }
    if let Some(upsample) = enlargement(&rule, &dims, &pixels) {
        return net.add(call, "", Op::Upsample(upsample), &[x]);
    }
    let last = pixels.len() - 1;
    let mut y = x;
    for (i, (along, row)) in pixels.iter().enumerate() {
        let suffix = if i == last { String::new() } else { format!(".{}", along.axis) };
        y = resample(net, call, &suffix, y, (along.axis, row))?;
    }
    Ok(y)
}

fn rule(call: &Call) -> Result<Rule, Fault> {
    let mode = match call.text("mode", "nearest")? {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" => Mode::Cubic,
        mode => return Err(call.fault(format!("its mode is {mode:?}, which ONNX does not know"))),
    };
    // The older forms say neither where pixels lie nor which is the nearest.
    let old = call.op() == "Upsample" || call.opset < 11;
    let (transform, nearest) =
        if old { ("asymmetric", "floor") } else { ("half_pixel", "round_prefer_floor") };
    Ok(Rule {
        mode,
        transform: call.text("coordinate_transformation_mode", transform)?.to_string(),
        nearest: call.text("nearest_mode", nearest)?.to_string(),
        cubic: f64::from(call.float("cubic_coeff_a", -0.75)?),
        exclude_outside: call.flag("exclude_outside", false)?,
        antialias: call.flag("antialias", false)?,
        extrapolation: call.float("extrapolation_value", 0.0)?,
    })
}

/// Which axes become how long.
fn sizes(call: &Call, dims: &[usize]) -> Result<Vec<Resized>, Fault> {
    let rank = dims.len();
    let old = call.op() == "Upsample" || call.opset < 11;
    let floats = |i: usize, what: &str| -> Result<Option<Vec<f32>>, Fault> {
        let Some(literal) = call.constant(i, what)? else { return Ok(None) };
        if literal.len() > 2 * rank {
            return Err(call.fault(format!("its {what} are {} numbers for {rank} axes", literal.len())));
        }
        Ok(Some(literal.to_floats().into_owned()).filter(|numbers| !numbers.is_empty()))
    };
    let scales = match call.op() {
        "Upsample" if call.opset < 7 => {
            let (height, width) = (call.float("height_scale", 1.0)?, call.float("width_scale", 1.0)?);
            Some(vec![1.0, 1.0, height, width])
        }
        "Upsample" if call.opset < 9 => call.floats("scales")?,
        _ => floats(if old { 1 } else { 2 }, "scales")?,
    };
    let wanted = if old { None } else { call.list(3, "sizes")?.filter(|sizes| !sizes.is_empty()) };
    let axes = match call.wholes("axes")? {
        Some(axes) => axes.iter().map(|&axis| call.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let region = if old { None } else { floats(1, "roi")? };
    let count = axes.len();
    let region = region.filter(|region| region.len() == 2 * count);
    let region =
        |i: usize| region.as_ref().map_or([0.0, 1.0], |r| [f64::from(r[i]), f64::from(r[count + i])]);
    let wrong =
        |what: &str, length: usize| call.fault(format!("its {what} are {length} numbers for {count} axes"));
    let from = |i: usize| dims[axes[i]];
    let ends: Vec<(usize, f64)> = match (wanted, scales) {
        (Some(wanted), _) => {
            let wanted = call.sizes(&wanted, "sizes")?;
            if wanted.len() != count {
                return Err(wrong("sizes", wanted.len()));
            }
            let ratios = (0..count).map(|i| wanted[i] as f64 / from(i).max(1) as f64);
            let kept = match call.text("keep_aspect_ratio_policy", "stretch")? {
                "not_larger" => Some(ratios.clone().fold(f64::INFINITY, f64::min)),
                "not_smaller" => Some(ratios.clone().fold(0.0, f64::max)),
                _ => None,
            };
            match kept {
                Some(scale) => {
                    (0..count).map(|i| ((scale * from(i) as f64 + 0.5).floor() as usize, scale)).collect()
                }
                None => wanted.iter().copied().zip(ratios).collect(),
            }
        }
        (None, Some(scales)) => {
            if scales.len() != count {
                return Err(wrong("scales", scales.len()));
            }
            // The product in single precision is what other runtimes round down.
            let end = |i: usize| ((from(i) as f32 * scales[i]).floor() as usize, f64::from(scales[i]));
            (0..count).map(end).collect()
        }
        (None, None) => return Err(call.fault("has neither scales nor sizes")),
    };
    let resized = axes.iter().zip(ends).enumerate().map(|(i, (&axis, (to, scale)))| {
        if to == 0 || to > 1 << 20 || !(scale > 0.0 && scale.is_finite()) {
            return Err(call.fault(format!("makes axis {axis} of size {} one of size {to}", dims[axis])));
        }
        Ok(Resized { axis, from: dims[axis], to, scale, region: region(i) })
    });
    resized.collect()
}

/// Where the centre of new pixel `i` lies among the old ones; `None` if beyond the image that is cropped.
fn position(call: &Call, rule: &Rule, along: &Resized, i: usize) -> Result<Option<f64>, Fault> {
    let Resized { from, to, scale, region, .. } = *along;
    let (i, last) = (i as f64, from as f64 - 1.0);
    let exact = scale * from as f64; // the length before it was rounded
    let centred = (i + 0.5) / scale - 0.5;
    Ok(Some(match rule.transform.as_str() {
        "half_pixel" => centred,
        "pytorch_half_pixel" if exact == 1.0 => -0.5,
        "pytorch_half_pixel" => centred,
        "half_pixel_symmetric" => from as f64 / 2.0 * (1.0 - to as f64 / exact) + centred,
        "asymmetric" => i / scale,
        "align_corners" if exact == 1.0 => 0.0,
        "align_corners" => i * last / (exact - 1.0),
        "tf_half_pixel_for_nn" => (i + 0.5) / scale,
        "tf_crop_and_resize" => {
            let [start, end] = region;
            let inside = if exact == 1.0 {
                (end - start) * last / 2.0
            } else {
                i * (end - start) * last / (exact - 1.0)
            };
            let position = start * last + inside;
            if position < 0.0 || position > last {
                return Ok(None);
            }
            position
        }
        other => {
            return Err(call.fault(format!(
                "its coordinate_transformation_mode is {other:?}, which ONNX does not know"
            )));
        }
    }))
}

/// Every new pixel along an axis.
fn row(call: &Call, rule: &Rule, along: &Resized) -> Result<Vec<Pixel>, Fault> {
    let mut pixels = Vec::with_capacity(along.to);
    for i in 0..along.to {
        pixels.push(match position(call, rule, along, i)? {
            None => Pixel { shares: Vec::new(), own: rule.extrapolation },
            Some(position) => Pixel { shares: shares(call, rule, along, position)?, own: 0.0 },
        });
    }
    Ok(pixels)
}

/// The old pixels that make the one at `position`, and their shares.
fn shares(call: &Call, rule: &Rule, along: &Resized, position: f64) -> Result<Vec<(usize, f64)>, Fault> {
    let base = position.ceil() - 1.0;
    let ratio = position - base;
    let last = along.from as i64 - 1;
    let pixel = |t: i64| (base as i64).saturating_add(t);
    let scale = if rule.antialias { along.scale.min(1.0) } else { 1.0 };
    let reach = match rule.mode {
        Mode::Nearest => {
            let whole = ratio == 1.0;
            let up = match rule.nearest.as_str() {
                _ if whole => true,
                "round_prefer_floor" => ratio > 0.5,
                "round_prefer_ceil" => ratio >= 0.5,
                "floor" => false,
                "ceil" => true,
                other => {
                    return Err(
                        call.fault(format!("its nearest_mode is {other:?}, which ONNX does not know"))
                    );
                }
            };
            return Ok(vec![(pixel(i64::from(up)).clamp(0, last) as usize, 1.0)]);
        }
        Mode::Linear => 1.0,
        Mode::Cubic => 2.0,
    };
    let first = (-reach / scale).floor() as i64 + 1;
    if -first > 1 << 16 {
        return Err(call.fault(format!("makes one pixel of more than {} others", 1 << 16)));
    }
    let mut found: Vec<(i64, f64)> = (first..2 - first)
        .map(|t| (pixel(t), kernel(rule, scale * (t as f64 - ratio))))
        .filter(|(pixel, _)| !rule.exclude_outside || (0..=last).contains(pixel))
        .collect();
    let sum: f64 = found.iter().map(|(_, share)| share).sum();
    if rule.antialias || rule.exclude_outside {
        found.iter_mut().for_each(|(_, share)| *share /= sum);
    }
    let mut merged: Vec<(usize, f64)> = Vec::new();
    for (pixel, share) in found.into_iter().filter(|(_, share)| *share != 0.0) {
        let pixel = pixel.clamp(0, last) as usize;
        match merged.last_mut() {
            Some((known, sum)) if *known == pixel => *sum += share,
            _ => merged.push((pixel, share)),
        }
    }
    Ok(merged)
}

/// The share of a pixel at distance `t`: a triangle, or Keys' cubic convolution (1981) with its free coefficient.
fn kernel(rule: &Rule, t: f64) -> f64 {
    let (a, t) = (rule.cubic, t.abs());
    match rule.mode {
        Mode::Cubic if t <= 1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
        Mode::Cubic if t < 2.0 => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
        Mode::Cubic => 0.0,
        _ => (1.0 - t).max(0.0),
    }
}

/// The graph's own enlargement of an image by whole factors, if this is one.
fn enlargement(rule: &Rule, dims: &[usize], pixels: &[(&Resized, Vec<Pixel>)]) -> Option<Upsample> {
    let mut factor = [1; 2];
    if dims.len() != 4 {
        return None;
    }
    for (along, row) in pixels {
        let by = along.to / along.from;
        if along.axis < 2 || along.to != by * along.from || (along.scale - by as f64).abs() > 1e-6 {
            return None;
        }
        factor[along.axis - 2] = by;
        let repeats =
            |(i, pixel): (usize, &Pixel)| pixel.shares.as_slice() == [(i / by, 1.0)] && pixel.own == 0.0;
        match rule.mode {
            Mode::Nearest if row.iter().enumerate().all(repeats) => {}
            Mode::Linear
                if rule.transform.ends_with("half_pixel") && !rule.exclude_outside && along.to > 1 => {}
            _ => return None,
        }
    }
    let interpolation =
        if rule.mode == Mode::Nearest { Interpolation::Nearest } else { Interpolation::Bilinear };
    Some(Upsample { factor, interpolation })
}

/// One axis of x made of new pixels.
fn resample(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: ValueId,
    (axis, row): (usize, &[Pixel]),
) -> Result<ValueId, Fault> {
    /// More picked pieces than a product with a matrix is worth.
    const MOST_PARTS: usize = 32;
    let dims = net.dims(x);
    let (from, to) = (dims[axis], row.len());
    let single = |pixel: &Pixel| match *pixel.shares.as_slice() {
        [(at, 1.0)] if pixel.own == 0.0 => Some(at),
        _ => None,
    };
    if to <= MOST_PARTS
        && let Some(picked) = row.iter().map(single).collect::<Option<Vec<usize>>>()
    {
        return chosen(net, call, suffix, x, (axis, &picked));
    }
    net.budget.charge((from * to * 4) as u64).map_err(|what| call.fault(what))?;
    let mut shares = vec![0.0; from * to];
    for (i, pixel) in row.iter().enumerate() {
        for &(at, share) in &pixel.shares {
            shares[i * from + at] = share as f32;
        }
    }
    let weight = net.statistic(call, &Literal::floats(vec![to, from], shares))?;
    let mut inputs = vec![weight];
    if row.iter().any(|pixel| pixel.own != 0.0) {
        let own = row.iter().map(|pixel| pixel.own).collect();
        inputs.push(net.statistic(call, &Literal::floats(vec![to], own))?);
    }
    let (outer, inner): (usize, usize) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
    let part = |name: &str| format!("{suffix}.axis{axis}{name}");
    let last = |net: &mut Net, name: &str, x| {
        net.add(call, &part(name), Op::Transpose(Transpose { order: vec![0, 2, 1] }), &[x])
    };
    let mut y = x;
    if inner > 1 {
        y = net.fold(call, &part(".flat"), y, &[outer, from, inner])?;
        y = last(net, ".last", y)?;
    }
    y = net.fold(call, &part(".rows"), y, &[outer * inner, from])?;
    inputs.insert(0, y);
    y = net.add(call, &part(".linear"), Op::Linear(Linear), &inputs)?;
    if inner > 1 {
        y = net.fold(call, &part(".unfolded"), y, &[outer, inner, to])?;
        y = last(net, ".back", y)?;
    }
    let mut new = dims.clone();
    new[axis] = to;
    net.fold(call, suffix, y, &new)
}
