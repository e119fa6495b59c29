//! Operations that move numbers, and sums over axes.

use ocellus_graph::ops::{Interpolation, Pad, PadMode, ReduceKind};
use ocellus_graph::{Node, Op};
use ocellus_tensor::Shape;

use super::graph::Writer;

fn sizes(shape: &Shape) -> Vec<i64> {
    shape.iter().map(|&size| size as i64).collect()
}

/// Writes one of these operations; `false` if it is another.
pub(super) fn write(writer: &mut Writer, node: &Node) -> Result<bool, String> {
    let x = match node.inputs.first() {
        Some(&x) => writer.name(x),
        None => return Ok(false),
    };
    match &node.op {
        Op::Concat(concat) => {
            let inputs: Vec<String> = node.inputs.iter().map(|&input| writer.name(input)).collect();
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            writer.last(node, "Concat", &inputs, &[("axis", concat.axis.into())]);
        }
        Op::Slice(slice) => {
            let end = slice.start + (slice.count - 1) * slice.step + 1;
            let lists = [("starts", slice.start), ("ends", end), ("axes", slice.axis), ("steps", slice.step)];
            let lists = lists.map(|(name, number)| writer.wholes(name, vec![number as i64]));
            let [starts, ends, axes, steps] = &lists;
            writer.last(node, "Slice", &[&x, starts, ends, axes, steps], &[]);
        }
        Op::Reshape(reshape) => {
            let dims = reshape.dims.iter().map(|&size| size as i64).collect();
            let dims = writer.wholes("shape", dims);
            writer.last(node, "Reshape", &[&x, &dims], &[]);
        }
        Op::Transpose(transpose) => {
            let order: Vec<i64> = transpose.order.iter().map(|&axis| axis as i64).collect();
            writer.last(node, "Transpose", &[&x], &[("perm", order.into())]);
        }
        Op::BroadcastTo(broadcast) => {
            let shape = writer.wholes("shape", sizes(&broadcast.shape));
            writer.last(node, "Expand", &[&x, &shape], &[]);
        }
        Op::SumTo(sum) => {
            let from = writer.shape(node.inputs[0]).clone();
            let missing = from.rank() - sum.shape.rank();
            let repeated = |axis: &usize| match axis.checked_sub(missing) {
                None => true,
                Some(own) => sum.shape[own] != from[*axis],
            };
            let axes = (0..from.rank()).filter(repeated).map(|axis| axis as i64).collect();
            let axes = writer.wholes("axes", axes);
            let summed =
                writer.inner("sum", "ReduceSum", &[&x, &axes], &[("noop_with_empty_axes", true.into())]);
            let shape = writer.wholes("shape", sizes(&sum.shape));
            writer.last(node, "Reshape", &[&summed, &shape], &[]);
        }
        Op::Pad(pad) => write_pad(writer, node, &x, pad),
        Op::Upsample(upsample) => {
            let [down, across] = upsample.factor.map(|factor| factor as f32);
            let scales = writer.floats("scales", vec![4], vec![1.0, 1.0, down, across]);
            let (mode, transform, nearest) = match upsample.interpolation {
                Interpolation::Nearest => ("nearest", "asymmetric", "floor"),
                Interpolation::Bilinear => ("linear", "half_pixel", "round_prefer_floor"),
            };
            let attributes = [
                ("mode", mode.into()),
                ("coordinate_transformation_mode", transform.into()),
                ("nearest_mode", nearest.into()),
            ];
            writer.last(node, "Resize", &[&x, "", &scales], &attributes);
        }
        Op::Reduce(reduce) => {
            let axes: Vec<i64> = reduce.axes.iter().map(|&axis| axis as i64).collect();
            let keep = ("keepdims", reduce.keep.into());
            if axes.is_empty() {
                writer.last(node, "Identity", &[&x], &[]);
                return Ok(true);
            }
            match reduce.kind {
                ReduceKind::Sum => {
                    let axes = writer.wholes("axes", axes);
                    writer.last(node, "ReduceSum", &[&x, &axes], &[keep]);
                }
                ReduceKind::Mean => writer.last(node, "ReduceMean", &[&x], &[("axes", axes.into()), keep]),
                ReduceKind::Max => writer.last(node, "ReduceMax", &[&x], &[("axes", axes.into()), keep]),
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn write_pad(writer: &mut Writer, node: &Node, x: &str, pad: &Pad) {
    let padding = pad.padding;
    let [first, last] = pad.channels;
    let pads = [0, first, padding.top, padding.left, 0, last, padding.bottom, padding.right];
    let pads = writer.wholes("pads", pads.map(|pad| pad as i64).to_vec());
    match pad.mode {
        PadMode::Constant(number) => {
            let number = writer.number("value", number);
            writer.last(node, "Pad", &[x, &pads, &number], &[]);
        }
        PadMode::Reflect => writer.last(node, "Pad", &[x, &pads], &[("mode", "reflect".into())]),
        PadMode::Replicate => writer.last(node, "Pad", &[x, &pads], &[("mode", "edge".into())]),
    }
}
