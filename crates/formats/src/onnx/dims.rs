//! Which shape does a rearranged tensor have?
//!
//! The same rules serve constants, which are rearranged at once, and values, whose graph is told the result.

use super::call::Call;
use super::fault::Fault;
use crate::numbers::checked_elements;

/// The shape that broadcasting gives (NumPy's rule); sizes of 0 stay.
pub(in crate::onnx) fn broadcast(call: &Call, a: &[usize], b: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = a.len().max(b.len());
    let size = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |own| dims[own]);
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            (x, y) => {
                Err(call.fault(format!("shapes {a:?} and {b:?} do not agree: {x} and {y} on axis {axis}")))
            }
        })
        .collect()
}

/// The shape that Reshape gives: 0 keeps a size (unless `allow_zero`), -1 is whatever remains.
pub(in crate::onnx) fn reshaped(
    call: &Call,
    from: &[usize],
    target: &[i64],
    allow_zero: bool,
) -> Result<Vec<usize>, Fault> {
    let refuse = || call.fault(format!("{from:?} cannot be reshaped to {target:?}"));
    if target.len() > 32 || target.iter().filter(|&&size| size == -1).count() > 1 {
        return Err(refuse());
    }
    let mut sizes = Vec::with_capacity(target.len());
    for (axis, &size) in target.iter().enumerate() {
        sizes.push(match size {
            0 if !allow_zero => *from.get(axis).ok_or_else(refuse)?,
            -1 => 1,
            size => call.size(size, "shape")?,
        });
    }
    let elements = checked_elements(from).ok_or_else(refuse)?;
    let known = checked_elements(&sizes).ok_or_else(refuse)?;
    if let Some(open) = target.iter().position(|&size| size == -1) {
        if known == 0 || !elements.is_multiple_of(known) {
            return Err(refuse());
        }
        sizes[open] = elements / known;
        return Ok(sizes);
    }
    if known == elements { Ok(sizes) } else { Err(refuse()) }
}

/// The shape without the axes of size 1 that `axes` name, all of them if it names none.
pub(in crate::onnx) fn squeezed(
    call: &Call,
    from: &[usize],
    axes: Option<&[i64]>,
) -> Result<Vec<usize>, Fault> {
    let axes = match axes {
        Some(axes) => call.axes(axes, from.len())?,
        None => (0..from.len()).filter(|&axis| from[axis] == 1).collect(),
    };
    if let Some(&axis) = axes.iter().find(|&&axis| from[axis] != 1) {
        return Err(
            call.fault(format!("axis {axis} of {from:?} cannot be left out, its size is {}", from[axis]))
        );
    }
    Ok(from.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, &size)| size).collect())
}

/// The shape with axes of size 1 where `axes` says.
pub(in crate::onnx) fn unsqueezed(call: &Call, from: &[usize], axes: &[i64]) -> Result<Vec<usize>, Fault> {
    let axes = call.axes(axes, from.len() + axes.len())?;
    let mut sizes = from.iter();
    let rank = from.len() + axes.len();
    Ok((0..rank)
        .map(|axis| if axes.contains(&axis) { 1 } else { sizes.next().copied().unwrap_or(1) })
        .collect())
}

/// The two sizes that Flatten gives.
pub(in crate::onnx) fn flattened(call: &Call, from: &[usize]) -> Result<Vec<usize>, Fault> {
    let axis = call.whole("axis", 1)?;
    let rank = from.len() as i64;
    let axis = if axis < 0 { axis + rank } else { axis };
    if !(0..=rank).contains(&axis) {
        return Err(call.fault(format!("its axis is {axis}, but the tensor has {rank} axes")));
    }
    let (first, rest) = from.split_at(axis as usize);
    Ok(vec![first.iter().product(), rest.iter().product()])
}

/// The shape that Reshape, Flatten, Squeeze and Unsqueeze give.
pub(in crate::onnx) fn rearranged(call: &Call, from: &[usize]) -> Result<Vec<usize>, Fault> {
    match call.op() {
        "Flatten" => flattened(call, from),
        "Reshape" => {
            let target = if call.opset < 5 { call.wholes("shape")? } else { call.list(1, "shape")? };
            let target = target.ok_or_else(|| call.fault("has no shape to reach"))?;
            reshaped(call, from, &target, call.flag("allowzero", false)?)
        }
        op => {
            let axes = if call.opset < 13 { call.wholes("axes")? } else { call.list(1, "axes")? };
            match (op, axes) {
                ("Squeeze", axes) => squeezed(call, from, axes.as_deref()),
                (_, Some(axes)) => unsqueezed(call, from, &axes),
                (_, None) => Err(call.fault("has no axes to add")),
            }
        }
    }
}

/// A part of one axis: `count` indices from `start`, `step` apart (it may go down).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::onnx) struct Part {
    pub axis: usize,
    pub start: usize,
    pub step: i64,
    pub count: usize,
}

/// What Slice takes along each axis that it names.
pub(in crate::onnx) fn sliced(call: &Call, from: &[usize]) -> Result<Vec<Part>, Fault> {
    let given = |i: usize, name: &str| if call.opset < 10 { call.wholes(name) } else { call.list(i, name) };
    let starts = given(1, "starts")?.ok_or_else(|| call.fault("has no starts"))?;
    let ends = given(2, "ends")?.ok_or_else(|| call.fault("has no ends"))?;
    let axes = given(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if call.opset < 10 { None } else { call.list(4, "steps")? };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&length| length != starts.len()) {
        let lengths = [starts.len(), ends.len(), axes.len(), steps.len()];
        return Err(call.fault(format!("starts, ends, axes and steps differ in length: {lengths:?}")));
    }
    call.axes(&axes, from.len())?;
    let mut parts = Vec::with_capacity(starts.len());
    for i in 0..starts.len() {
        let axis = call.axis(axes[i], from.len())?;
        let size = i64::try_from(from[axis]).map_err(|_| call.fault("an axis is too long"))?;
        let step = steps[i];
        if step == 0 {
            return Err(call.fault("a step is 0"));
        }
        let from_end = |index: i64| if index < 0 { index.saturating_add(size) } else { index };
        let (start, end) = (from_end(starts[i]), from_end(ends[i]));
        // An end before the first index of a downward slice is meant by very negative numbers.
        let (start, end) = match step > 0 {
            true => (start.clamp(0, size), end.clamp(0, size)),
            false => (start.clamp(-1, size - 1), end.clamp(-1, size - 1)),
        };
        let span = if step > 0 { end - start } else { start - end };
        let count = if span <= 0 { 0 } else { (span - 1) / step.saturating_abs() + 1 };
        parts.push(Part { axis, start: start.max(0) as usize, step, count: count as usize });
    }
    Ok(parts)
}

/// The sizes of the parts that Split gives.
pub(in crate::onnx) fn split(call: &Call, size: usize) -> Result<Vec<usize>, Fault> {
    let given = match call.opset {
        // Operator set 1 could have the sizes as an input, too.
        1..13 => call.wholes("split")?.map_or_else(|| call.list(1, "split"), |sizes| Ok(Some(sizes)))?,
        _ => call.list(1, "split")?,
    };
    let sizes = match given {
        Some(sizes) => call.sizes(&sizes, "split")?,
        None => {
            let outputs =
                call.size(call.whole("num_outputs", call.node.outputs.len() as i64)?, "num_outputs")?;
            if outputs == 0 || outputs != call.node.outputs.len() {
                return Err(call.fault(format!("{outputs} parts are {} outputs", call.node.outputs.len())));
            }
            // The last part is smaller where it does not come out even.
            let part = size.div_ceil(outputs);
            (0..outputs).map(|i| part.min(size.saturating_sub(i * part))).collect()
        }
    };
    let sum = sizes.iter().try_fold(0_usize, |sum, &part| sum.checked_add(part));
    if sum != Some(size) {
        return Err(call.fault(format!("parts of sizes {sizes:?} do not make an axis of size {size}")));
    }
    Ok(sizes)
}

/// The order of axes that Transpose gives.
pub(in crate::onnx) fn order(call: &Call, rank: usize) -> Result<Vec<usize>, Fault> {
    let Some(order) = call.wholes("perm")? else { return Ok((0..rank).rev().collect()) };
    let axes = call.axes(&order, rank)?;
    if axes.len() != rank {
        return Err(call.fault(format!("its order {order:?} is not that of {rank} axes")));
    }
    order.iter().map(|&axis| call.axis(axis, rank)).collect()
}
