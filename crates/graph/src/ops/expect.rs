//! Checks that the shape rules share. Every message quotes both numbers, and no arithmetic overflows.

use ocellus_tensor::{Padding, Rounding, Shape, Window};

use super::Refusal;

/// No size, stride, padding or dilation may be larger, so that products of two of them never overflow.
const LARGEST_SIZE: usize = i32::MAX as usize;

/// Exactly the inputs that `names` lists.
pub(super) fn inputs<'a, const N: usize>(
    inputs: &[&'a Shape],
    names: [&str; N],
) -> Result<[&'a Shape; N], Refusal> {
    <[&Shape; N]>::try_from(inputs).map_err(|_| wrong_count(&N.to_string(), &names.join(", "), inputs.len()))
}

/// The inputs that `names` lists, the last one optional.
pub(super) fn inputs_and_maybe<'a, const N: usize>(
    inputs: &[&'a Shape],
    names: [&str; N],
    last: &str,
) -> Result<([&'a Shape; N], Option<&'a Shape>), Refusal> {
    let first = inputs.get(..N).and_then(|first| <[&Shape; N]>::try_from(first).ok());
    match first {
        Some(first) if inputs.len() <= N + 1 => Ok((first, inputs.get(N).copied())),
        _ => {
            let names = format!("{} and optionally {last}", names.join(", "));
            Err(wrong_count(&format!("{N} or {}", N + 1), &names, inputs.len()))
        }
    }
}

fn wrong_count(needed: &str, names: &str, got: usize) -> Refusal {
    format!("needs {needed} inputs ({names}), got {got}")
}

/// Reads `shape` as (N, C, H, W); four axes are required.
pub(super) fn image(shape: &Shape, what: &str) -> Result<[usize; 4], Refusal> {
    <[usize; 4]>::try_from(shape.dims())
        .map_err(|_| format!("{what} must have 4 axes (N, C, H, W), got {} in {shape}", shape.rank()))
}

/// Reads `shape` as (rows, columns); two axes are required.
pub(super) fn matrix(shape: &Shape, what: &str) -> Result<[usize; 2], Refusal> {
    <[usize; 2]>::try_from(shape.dims())
        .map_err(|_| format!("{what} must have 2 axes (N, C), got {} in {shape}", shape.rank()))
}

/// Reads `shape` as (N, C, H, W) where H and W may be absent.
pub(super) fn channels(shape: &Shape, what: &str) -> Result<[usize; 4], Refusal> {
    shape.nchw().ok_or_else(|| {
        format!("{what} must have 2 to 4 axes (N, C[, H, W]), got {} in {shape}", shape.rank())
    })
}

/// A vector of `size` numbers.
pub(super) fn vector(shape: &Shape, what: &str, size: usize) -> Result<(), Refusal> {
    if shape.dims() == [size] {
        return Ok(());
    }
    Err(format!("{what} must have shape ({size}), got {shape}"))
}

/// One number.
pub(super) fn scalar(shape: &Shape, what: &str) -> Result<(), Refusal> {
    if shape.rank() == 0 {
        return Ok(());
    }
    Err(format!("{what} must be one number of shape (), got {shape}"))
}

/// Two inputs of one shape.
pub(super) fn same(a: &Shape, what_a: &str, b: &Shape, what_b: &str) -> Result<(), Refusal> {
    if a == b {
        return Ok(());
    }
    Err(format!("{what_a} has shape {a}, {what_b} has shape {b}; they must be the same"))
}

/// An input of a shape that the attributes fix.
pub(super) fn shape(actual: &Shape, what: &str, expected: &Shape) -> Result<(), Refusal> {
    if actual == expected {
        return Ok(());
    }
    Err(format!("{what} must have shape {expected}, got {actual}"))
}

/// An axis that exists.
pub(super) fn axis(axis: usize, shape: &Shape) -> Result<(), Refusal> {
    if axis < shape.rank() {
        return Ok(());
    }
    Err(format!("axis = {axis}, but the input {shape} has {} axes", shape.rank()))
}

/// A number of things that an `f32` counts exactly.
pub(super) fn countable(count: usize, what: &str) -> Result<(), Refusal> {
    if count <= 1 << f32::MANTISSA_DIGITS {
        return Ok(());
    }
    Err(format!("{count} {what}; numbers tell no more than {} apart", 1 << f32::MANTISSA_DIGITS))
}

/// `channels` in `groups` equal parts.
pub(super) fn divides(groups: usize, channels: usize, what: &str) -> Result<(), Refusal> {
    if groups == 0 {
        return Err(format!("groups must be at least 1, got 0 for {channels} channels"));
    }
    if !channels.is_multiple_of(groups) {
        return Err(format!("{what} has {channels} channels, groups = {groups} does not divide it"));
    }
    Ok(())
}

/// `low <= value < high`.
pub(super) fn within(value: f32, what: &str, low: f32, high: f32) -> Result<(), Refusal> {
    if value >= low && value < high {
        return Ok(());
    }
    Err(format!("{what} must be at least {low} and below {high}, got {value}"))
}

/// Kernel, stride and dilation are at least 1, and nothing is so large that sizes could overflow.
pub(super) fn window(window: &Window) -> Result<(), Refusal> {
    let Window { kernel, stride, padding, dilation } = window;
    for (what, [height, width]) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
        if *height == 0 || *width == 0 {
            return Err(format!("{what} must be at least 1, got {height}x{width}"));
        }
        sizes(what, &[*height, *width])?;
    }
    padding_sizes(padding)
}

/// No padding so large that sizes could overflow.
pub(super) fn padding_sizes(padding: &Padding) -> Result<(), Refusal> {
    sizes("padding", &[padding.top, padding.left, padding.bottom, padding.right])
}

/// No size above the largest that arithmetic is safe for.
pub(super) fn sizes(what: &str, sizes: &[usize]) -> Result<(), Refusal> {
    match sizes.iter().find(|&&size| size > LARGEST_SIZE) {
        Some(size) => Err(format!("{what} of {size} is above the largest size, {LARGEST_SIZE}")),
        None => Ok(()),
    }
}

/// Output height and width of a window moving over an image.
pub(super) fn window_output(
    moving: &Window,
    input: [usize; 2],
    rounding: Rounding,
) -> Result<[usize; 2], Refusal> {
    window(moving)?;
    sizes("input", &input)?;
    moving.output(input, rounding).map_err(|error| error.to_string())
}

/// Refuses a shape with an empty axis, or with more numbers than memory could ever hold.
pub(crate) fn representable(shape: &Shape) -> Result<(), Refusal> {
    if let Some(axis) = shape.iter().position(|&size| size == 0) {
        return Err(format!("shape {shape} has size 0 along axis {axis}; every size must be at least 1"));
    }
    sizes("axis", shape)?;
    let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    // A gradient check holds f64, the widest element, and a slice is at most isize::MAX bytes.
    let limit = isize::MAX as usize / size_of::<f64>();
    match elements {
        Some(elements) if elements <= limit => Ok(()),
        _ => Err(format!("shape {shape} has more than {limit} elements, which no memory holds")),
    }
}
