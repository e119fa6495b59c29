//! How does an operator's window move along each axis?
//!
//! `auto_pad`, explicit pads and rounding up all come out as a kernel, a stride, a dilation and a padding before and
//! behind, axis by axis.

use ocellus_tensor::Rounding;

use crate::onnx::call::Call;
use crate::onnx::fault::Fault;
pub(super) use crate::volume::{Axis, window};

/// The window along every axis of `sizes`.
pub(super) fn axes(call: &Call, sizes: &[usize], kernel: &[usize]) -> Result<Vec<Axis>, Fault> {
    let rank = sizes.len();
    let given = call.wholes("kernel_shape")?;
    if let Some(given) =
        given.filter(|given| call.sizes(given, "kernel_shape").ok().as_deref() != Some(kernel))
    {
        return Err(call.fault(format!("its kernel_shape is {given:?}, the weight's kernel is {kernel:?}")));
    }
    let strides = list(call, "strides", rank)?;
    let dilations = list(call, "dilations", rank)?;
    if kernel.len() != rank || kernel.contains(&0) {
        return Err(call.fault(format!("a kernel {kernel:?} does not fit {rank} axes")));
    }
    let mut axes: Vec<Axis> = (0..rank)
        .map(|i| Axis {
            size: sizes[i],
            kernel: kernel[i],
            stride: strides[i],
            dilation: dilations[i],
            before: 0,
            after: 0,
        })
        .collect();
    pad(call, &mut axes)?;
    Ok(axes)
}

/// An attribute with a number of at least 1 for each axis; 1 if it is absent.
pub(super) fn list(call: &Call, name: &str, rank: usize) -> Result<Vec<usize>, Fault> {
    let numbers = match call.wholes(name)? {
        None => return Ok(vec![1; rank]),
        Some(numbers) => call.sizes(&numbers, name)?,
    };
    if numbers.len() != rank || numbers.contains(&0) {
        return Err(call.fault(format!("its {name} {numbers:?} must be {rank} numbers of at least 1")));
    }
    Ok(numbers)
}

fn pad(call: &Call, axes: &mut [Axis]) -> Result<(), Fault> {
    match call.text("auto_pad", "NOTSET")? {
        "NOTSET" | "" => {
            let Some(pads) = explicit_pads(call, axes.len())? else { return Ok(()) };
            for (i, axis) in axes.iter_mut().enumerate() {
                (axis.before, axis.after) = pads[i];
            }
        }
        "VALID" => {}
        same @ ("SAME_UPPER" | "SAME_LOWER") => {
            for axis in axes {
                let output = axis.size.div_ceil(axis.stride);
                let covered =
                    (output.saturating_sub(1)).saturating_mul(axis.stride).saturating_add(axis.reach());
                let total = covered.saturating_sub(axis.size);
                let half = total / 2;
                (axis.before, axis.after) =
                    if same == "SAME_UPPER" { (half, total - half) } else { (total - half, half) };
            }
        }
        other => return Err(call.fault(format!("its auto_pad is {other:?}, which ONNX does not know"))),
    }
    Ok(())
}

/// The attribute `pads` as (before, after) for each axis.
pub(super) fn explicit_pads(call: &Call, rank: usize) -> Result<Option<Vec<(usize, usize)>>, Fault> {
    let Some(pads) = call.wholes("pads")? else { return Ok(None) };
    let pads = call.sizes(&pads, "pads")?;
    if pads.len() != 2 * rank {
        return Err(call.fault(format!("its pads {pads:?} must be {} numbers", 2 * rank)));
    }
    Ok(Some((0..rank).map(|i| (pads[i], pads[rank + i])).collect()))
}

/// How many places a window has along `axis`.
pub(super) fn output_size(call: &Call, axis: &Axis, rounding: Rounding) -> Result<usize, Fault> {
    axis.output_size(rounding).map_err(|what| call.fault(what))
}
