//! Sums, means and extremes over axes.

use ocellus_graph::ops::{Activation, AvgPool, Binary, BinaryKind, Reduce, ReduceKind};
use ocellus_graph::{Op, ValueId};
use ocellus_tensor::Rounding;

use super::activation::apply;
use super::arrange::part;
use crate::onnx::call::Call;
use crate::onnx::fault::Fault;
use crate::onnx::net::Net;

/// Factors that ReduceProd multiplies.
const MOST_FACTORS: usize = 256;

/// ReduceSum and all its relatives.
pub(super) fn reduce(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let x = net.value(call, 0)?;
    let rank = net.shape(x).rank();
    let listed = call.inputs.len() > 1;
    let given = if listed { call.list(1, "axes")? } else { call.wholes("axes")? };
    let axes = match given {
        Some(axes) if !axes.is_empty() => call.axes(&axes, rank)?,
        // Nothing is reduced, but squares and logarithms are still taken.
        _ if call.flag("noop_with_empty_axes", false)? => Vec::new(),
        _ => (0..rank).collect(),
    };
    let over = Over { axes, keep: call.flag("keepdims", true)? };
    let minus = Activation::Affine { scale: -1.0, shift: 0.0 };
    match call.op() {
        "ReduceSum" => over.reduce(net, call, "", ReduceKind::Sum, x),
        "ReduceMean" => over.reduce(net, call, "", ReduceKind::Mean, x),
        "ReduceMax" => over.reduce(net, call, "", ReduceKind::Max, x),
        "ReduceMin" => {
            let x = apply(net, call, ".minus", x, &[&minus])?;
            let y = over.reduce(net, call, ".max", ReduceKind::Max, x)?;
            apply(net, call, "", y, &[&minus])
        }
        "ReduceL1" => {
            let x = apply(net, call, ".abs", x, &[&Activation::Abs])?;
            over.reduce(net, call, "", ReduceKind::Sum, x)
        }
        "ReduceSumSquare" => {
            let x = net.add(call, ".square", Op::Binary(Binary { kind: BinaryKind::Mul }), &[x, x])?;
            over.reduce(net, call, "", ReduceKind::Sum, x)
        }
        "ReduceL2" => {
            let x = net.add(call, ".square", Op::Binary(Binary { kind: BinaryKind::Mul }), &[x, x])?;
            let y = over.reduce(net, call, ".sum", ReduceKind::Sum, x)?;
            apply(net, call, "", y, &[&Activation::Sqrt])
        }
        "ReduceLogSum" => {
            let y = over.reduce(net, call, ".sum", ReduceKind::Sum, x)?;
            apply(net, call, "", y, &[&Activation::Log])
        }
        "ReduceLogSumExp" => over.log_sum_exp(net, call, x),
        "ReduceProd" => over.product(net, call, x),
        _ => Err(call.fault("is of an operator that is not supported")),
    }
}

/// Which axes, and whether they stay.
struct Over {
    axes: Vec<usize>,
    keep: bool,
}

impl Over {
    fn reduce(
        &self,
        net: &mut Net,
        call: &Call,
        suffix: &str,
        kind: ReduceKind,
        x: ValueId,
    ) -> Result<ValueId, Fault> {
        if self.axes.is_empty() {
            return Ok(x);
        }
        let dims = net.dims(x);
        if kind == ReduceKind::Mean && dims.len() == 4 && self.axes == [2, 3] {
            // The mean of an image has a kernel of its own.
            let pool =
                Op::AvgPool(AvgPool { window: None, rounding: Rounding::Floor, count_include_pad: false });
            if self.keep {
                return net.add(call, suffix, pool, &[x]);
            }
            let y = net.add(call, &format!("{suffix}.pool"), pool, &[x])?;
            return net.reshape(call, suffix, y, &dims[..2]);
        }
        let op = Reduce { kind, axes: self.axes.clone(), keep: self.keep };
        net.add(call, suffix, Op::Reduce(op), &[x])
    }

    /// m + ln sum e^(x - m), m the largest.
    fn log_sum_exp(&self, net: &mut Net, call: &Call, x: ValueId) -> Result<ValueId, Fault> {
        let kept = Over { axes: self.axes.clone(), keep: true };
        let largest = kept.reduce(net, call, ".largest", ReduceKind::Max, x)?;
        let below = net.add(call, ".below", Op::Binary(Binary { kind: BinaryKind::Sub }), &[x, largest])?;
        let powers = apply(net, call, ".exp", below, &[&Activation::Exp])?;
        let sum = kept.reduce(net, call, ".sum", ReduceKind::Sum, powers)?;
        let log = apply(net, call, ".log", sum, &[&Activation::Log])?;
        let y = net.add(call, ".total", Op::Binary(Binary { kind: BinaryKind::Add }), &[log, largest])?;
        let dims = net.dims(y);
        let left =
            (0..dims.len()).filter(|axis| self.keep || !self.axes.contains(axis)).map(|axis| dims[axis]);
        let left: Vec<usize> = left.collect();
        net.reshape(call, "", y, &left)
    }

    /// Factors one by one.
    fn product(&self, net: &mut Net, call: &Call, x: ValueId) -> Result<ValueId, Fault> {
        let mut value = x;
        for &axis in &self.axes {
            let size = net.dims(value)[axis];
            if size > MOST_FACTORS {
                return Err(
                    call.fault(format!("multiplies {size} numbers, at most {MOST_FACTORS} are supported"))
                );
            }
            let whole = value;
            value = part(net, call, &format!(".{axis}.0"), whole, axis, (0, 1, 1))?;
            for i in 1..size {
                let factor = part(net, call, &format!(".{axis}.{i}"), whole, axis, (i, 1, 1))?;
                let op = Op::Binary(Binary { kind: BinaryKind::Mul });
                value = net.add(call, &format!(".{axis}.{i}.product"), op, &[value, factor])?;
            }
        }
        let dims = net.dims(value);
        let left: Vec<usize> = (0..dims.len())
            .filter(|axis| self.keep || !self.axes.contains(axis))
            .map(|axis| dims[axis])
            .collect();
        net.reshape(call, "", value, &left)
    }
}
