//! Images of another size.
//!
//! Each new pixel along an axis is made of one or two old ones, whatever the other axis does. Where that is the graph's
//! own enlargement, it is used; else each axis is a linear layer whose fixed weight holds the shares.
//!
//! ```text
//! new pixel i lies at p = (i + 1/2) from / to - 1/2 among the old ones
//! nearest    the old pixel floor(p + 1/2)
//! bilinear   1 - r of floor(p) and r of the next, r = p - floor(p); beyond the edge the edge's
//! ```
//!
//! Source: TensorFlow's `tf.image.resize` without antialiasing, which Keras's layers use.

use ocellus_graph::Op;
use ocellus_graph::ops::{Interpolation, Linear, Pad, PadMode, Slice, Transpose, Upsample};
use ocellus_tensor::{Padding, Tensor};

use super::convolve::{Image, image};
use crate::keras::fault::Fault;
use crate::keras::layer::Layer;
use crate::keras::net::{Item, Net};
use crate::keras::stored::Trouble;

/// Shares that one axis may take.
const MOST_SHARES: usize = 1 << 22;

/// No picture is longer along an axis.
const LARGEST: usize = 1 << 16;

pub(super) fn upsampling(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let image = image(net, layer)?;
    let factor = match (image.axes, layer.get("size").is_some()) {
        (1, true) => [1, layer.sizes::<1>("size", 2)?[0]],
        (1, false) => [1, 2],
        _ => layer.sizes::<2>("size", 2)?,
    };
    let interpolation = interpolation(layer, "nearest")?;
    let value = net.add(layer, "", Op::Upsample(Upsample { factor, interpolation }), &[image.value])?;
    Ok(image.result(net, layer, value)?)
}

fn interpolation(layer: &Layer, usual: &'static str) -> Result<Interpolation, Fault> {
    match layer.text("interpolation", usual)? {
        "nearest" => Ok(Interpolation::Nearest),
        "bilinear" => Ok(Interpolation::Bilinear),
        other => Err(layer.fault(format!("has interpolation = {other:?}, which is not supported"))),
    }
}

pub(super) fn resizing(net: &mut Net, layer: &Layer) -> Result<Item, Trouble> {
    let mut image = image(net, layer)?;
    layer.only("antialias", &[false.into()])?;
    let wanted = [layer.size("height")?, layer.size("width")?];
    let interpolation = interpolation(layer, "bilinear")?;
    if wanted.contains(&0) {
        return Err(layer.fault(format!("makes images of {wanted:?}")).into());
    }
    if layer.flag("crop_to_aspect_ratio", false)? {
        cut_to_shape(net, layer, &mut image, wanted)?;
    } else if layer.flag("pad_to_aspect_ratio", false)? {
        fill_to_shape(net, layer, &mut image, wanted)?;
    }
    resized(net, layer, image, wanted, interpolation)
}

/// The largest middle of the image that is of the wanted shape, sizes cut as Keras cuts them.
fn cut_to_shape(net: &mut Net, layer: &Layer, image: &mut Image, wanted: [usize; 2]) -> Result<(), Fault> {
    let [height, width] = image.size;
    let share = |a: usize, b: usize, c: usize| (a as u128 * b as u128 / c as u128) as usize;
    let cut = [
        height.min(share(width, wanted[0], wanted[1])).max(1),
        width.min(share(height, wanted[1], wanted[0])).max(1),
    ];
    for (axis, suffix) in [(0, ".cut_rows"), (1, ".cut_columns")] {
        let (from, count) = (image.size[axis], cut[axis]);
        if count < from {
            let op = Op::Slice(Slice { axis: axis + 2, start: (from - count) / 2, step: 1, count });
            image.value = net.add(layer, suffix, op, &[image.value])?;
            image.size[axis] = count;
        }
    }
    Ok(())
}

/// A border around the image that gives it the wanted shape.
fn fill_to_shape(net: &mut Net, layer: &Layer, image: &mut Image, wanted: [usize; 2]) -> Result<(), Fault> {
    let fill = layer.float("fill_value")?.unwrap_or(0.0);
    let [height, width] = image.size;
    let share = |a: usize, b: usize, c: usize| (a as u128 * b as u128 / c as u128) as usize;
    let whole =
        [height.max(share(width, wanted[0], wanted[1])), width.max(share(height, wanted[1], wanted[0]))];
    if whole.iter().any(|&size| size > LARGEST) {
        return Err(layer.fault(format!("makes images of {whole:?}")));
    }
    let [top, left] = [(whole[0] - height) / 2, (whole[1] - width) / 2];
    if whole != image.size {
        // Keras puts as much behind as before.
        let padding = Padding { top, left, bottom: top, right: left };
        let op = Op::Pad(Pad { padding, channels: [0; 2], mode: PadMode::Constant(fill) });
        image.value = net.add(layer, ".border", op, &[image.value])?;
        image.size = [height + 2 * top, width + 2 * left];
    }
    Ok(())
}

/// The middle of a picture that is smaller than what is cut from it: of the wanted shape, enlarged (CenterCrop).
pub(super) fn fitted(
    net: &mut Net,
    layer: &Layer,
    mut image: Image,
    wanted: [usize; 2],
) -> Result<Item, Trouble> {
    cut_to_shape(net, layer, &mut image, wanted)?;
    resized(net, layer, image, wanted, Interpolation::Bilinear)
}

fn resized(
    net: &mut Net,
    layer: &Layer,
    image: Image,
    wanted: [usize; 2],
    interpolation: Interpolation,
) -> Result<Item, Trouble> {
    if wanted == image.size {
        let value = image.value;
        return Ok(image.result(net, layer, value)?);
    }
    let is_whole = (0..2).all(|axis| wanted[axis].is_multiple_of(image.size[axis]));
    let mut value = image.value;
    if is_whole {
        let factor = [wanted[0] / image.size[0], wanted[1] / image.size[1]];
        value = net.add(layer, "", Op::Upsample(Upsample { factor, interpolation }), &[value])?;
        return Ok(image.result(net, layer, value)?);
    }
    for (axis, part) in [(1, "columns"), (0, "rows")] {
        let (from, to) = (image.size[axis], wanted[axis]);
        if from == to {
            continue;
        }
        let shares = shares(layer, [from, to], interpolation)?;
        let shares = net.constant(layer, part, shares)?;
        let turn = Op::Transpose(Transpose { order: vec![0, 1, 3, 2] });
        if axis == 0 {
            value = net.add(layer, ".turned", turn.clone(), &[value])?;
        }
        let mut dims = net.graph.shape(value).to_vec();
        let lines = net.fold(layer, &format!(".{part}.lines"), value, &[from])?;
        let lines = net.add(layer, &format!(".{part}.made"), Op::Linear(Linear), &[lines, shares])?;
        dims[3] = to;
        value = net.fold(layer, &format!(".{part}"), lines, &dims[1..])?;
        if axis == 0 {
            value = net.add(layer, "", turn, &[value])?;
        }
    }
    Ok(image.result(net, layer, value)?)
}

/// How much of each old pixel each new one has: (to, from).
fn shares(layer: &Layer, [from, to]: [usize; 2], interpolation: Interpolation) -> Result<Tensor, Fault> {
    if from.checked_mul(to).is_none_or(|count| count > MOST_SHARES) {
        return Err(layer.fault(format!("makes {to} pixels of {from}, more than are supported")));
    }
    let mut shares = Tensor::zeros([to, from]);
    let data = shares.data_mut();
    for i in 0..to {
        let at = (i as f64 + 0.5) * from as f64 / to as f64;
        let row = i * from;
        match interpolation {
            Interpolation::Nearest => data[row + (at as usize).min(from - 1)] = 1.0,
            Interpolation::Bilinear => {
                let at = (at - 0.5).max(0.0);
                let (first, share) = (at as usize, at.fract() as f32);
                data[row + first.min(from - 1)] += 1.0 - share;
                data[row + (first + 1).min(from - 1)] += share;
            }
        }
    }
    Ok(shares)
}
