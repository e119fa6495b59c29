//! Pooling over windows and over whole images, of one to three axes.

use ocellus_graph::ops::{Activation, AvgPool, MaxPool, Reduce, ReduceKind};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Rounding;

use super::volume::Site;
use super::window::{Axis, axes, output_size, window};
use crate::onnx::call::Call;
use crate::onnx::fault::Fault;
use crate::onnx::net::Net;
use crate::volume;

/// MaxPool, AveragePool and LpPool.
pub(super) fn pool(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    if !(3..=5).contains(&dims.len()) {
        return Err(
            call.fault(format!("pools a tensor of shape {dims:?}; images of 1 to 3 axes are supported"))
        );
    }
    let kernel = call.wholes("kernel_shape")?.ok_or_else(|| call.fault("has no kernel_shape"))?;
    let kernel = call.sizes(&kernel, "kernel_shape")?;
    let axes = axes(call, &dims[2..], &kernel)?;
    let same = call.text("auto_pad", "NOTSET")?.starts_with("SAME");
    let ceil = call.flag("ceil_mode", false)? && !same;
    let rounding = if ceil { Rounding::Ceil } else { Rounding::Floor };
    match call.op() {
        "MaxPool" => {
            over(net, call, x, &axes, &|pair| Op::MaxPool(MaxPool { window: Some(window(pair)), rounding }))
        }
        "AveragePool" => {
            let count_include_pad = call.flag("count_include_pad", false)?;
            let op = |pair| Op::AvgPool(AvgPool { window: Some(window(pair)), rounding, count_include_pad });
            over(net, call, x, &axes, &op)
        }
        _ => lp(net, call, x, axes, rounding),
    }
}

/// (sum |x|^p)^(1/p) of each window: a mean times the number of taps in between.
fn lp(
    net: &mut Net,
    call: &Call,
    x: ValueId,
    mut axes: Vec<Axis>,
    rounding: Rounding,
) -> Result<ValueId, Fault> {
    for axis in &mut axes {
        // Taps beyond the padded image count, too, so the padding is made to reach them.
        let output = output_size(call, axis, rounding)?;
        let reached = (output - 1) * axis.stride + axis.reach();
        axis.after += reached.saturating_sub(axis.size + axis.before + axis.after);
    }
    let p = power(call)?;
    let taps: usize = axes.iter().map(|axis| axis.kernel).product();
    let absolute = net.add(call, ".abs", Op::Activation(Activation::Abs), &[x])?;
    let raised = raise(net, call, ".power", absolute, p)?;
    let op = |pair| {
        Op::AvgPool(AvgPool {
            window: Some(window(pair)),
            rounding: Rounding::Floor,
            count_include_pad: true,
        })
    };
    let mean = over(net, call, raised, &axes, &op)?;
    let scale = Activation::Affine { scale: taps as f32, shift: 0.0 };
    let sum = net.add(call, ".sum", Op::Activation(scale), &[mean])?;
    raise(net, call, ".root", sum, 1.0 / p)
}

/// The attribute p.
fn power(call: &Call) -> Result<f32, Fault> {
    let p = call.float("p", 2.0)?;
    if p >= 1.0 { Ok(p) } else { Err(call.fault(format!("its p must be at least 1, got {p}"))) }
}

fn raise(net: &mut Net, call: &Call, suffix: &str, x: ValueId, exponent: f32) -> Result<ValueId, Fault> {
    match exponent {
        1.0 => Ok(x),
        exponent => net.add(call, suffix, Op::Activation(Activation::Power { exponent }), &[x]),
    }
}

/// AveragePool of two axes of a value that is no input of the node.
pub(super) fn average(net: &mut Net, call: &Call, suffix: &str, x: ValueId) -> Result<ValueId, Fault> {
    let dims = net.dims(x);
    let kernel = call.wholes("kernel_shape")?.ok_or_else(|| call.fault("has no kernel_shape"))?;
    let kernel = call.sizes(&kernel, "kernel_shape")?;
    if dims.len() != 4 {
        return Err(
            call.fault(format!("pools a tensor of shape {dims:?}; images (N, C, H, W) are supported"))
        );
    }
    let axes = axes(call, &dims[2..], &kernel)?;
    let rounding = if call.flag("ceil_mode", false)? { Rounding::Ceil } else { Rounding::Floor };
    let count_include_pad = call.flag("count_include_pad", false)?;
    let pool = AvgPool { window: Some(window([axes[0], axes[1]])), rounding, count_include_pad };
    net.add(call, suffix, Op::AvgPool(pool), &[x])
}

/// Pools `x` over all its axes but the first two.
fn over(
    net: &mut Net,
    call: &Call,
    x: ValueId,
    axes: &[Axis],
    op: &dyn Fn([Axis; 2]) -> Op,
) -> Result<ValueId, Fault> {
    let dims = net.dims(x);
    match *axes {
        [along] => {
            let rows = net.reshape(call, ".rows", x, &[dims[0], dims[1], 1, dims[2]])?;
            let y = net.add(call, ".pool", op([Axis::still(), along]), &[rows])?;
            let length = net.dims(y)[3];
            net.reshape(call, "", y, &[dims[0], dims[1], length])
        }
        [down, across] => net.add(call, "", op([down, across]), &[x]),
        [deep, down, across] => volume::pool(&mut Site { net, call }, x, [deep, down, across], op),
        _ => Err(call.fault(format!("pools {} axes, at most 3 are supported", axes.len()))),
    }
}

/// Pooling of the whole image, whose axes stay, of size 1.
pub(super) fn global(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let dims = net.dims(x);
    if dims.len() < 3 {
        return Err(call.fault(format!("pools a tensor of shape {dims:?}, which is no image")));
    }
    let rounding = Rounding::Floor;
    let kind = match call.op() {
        "GlobalMaxPool" => ReduceKind::Max,
        "GlobalAveragePool" => ReduceKind::Mean,
        _ => {
            let p = power(call)?;
            let absolute = net.add(call, ".abs", Op::Activation(Activation::Abs), &[x])?;
            let raised = raise(net, call, ".power", absolute, p)?;
            let axes = (2..dims.len()).collect();
            let sum = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep: true });
            let sum = net.add(call, ".sum", sum, &[raised])?;
            return raise(net, call, ".root", sum, 1.0 / p);
        }
    };
    let op = match kind {
        _ if dims.len() != 4 => Op::Reduce(Reduce { kind, axes: (2..dims.len()).collect(), keep: true }),
        ReduceKind::Max => Op::MaxPool(MaxPool { window: None, rounding }),
        _ => Op::AvgPool(AvgPool { window: None, rounding, count_include_pad: false }),
    };
    net.add(call, "", op, &[x])
}
