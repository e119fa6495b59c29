//! Operations that tell places, or are told them. A place is a number here, an integer in ONNX.

use ocellus_graph::ops::{ArgMax, MaxPool, OneHot, TopK};
use ocellus_graph::{Node, Op};
use ocellus_tensor::Window;

use super::attribute::Attribute;
use super::graph::Writer;
use super::layers::{reaching, window_attributes};

/// Cast's attribute that asks for numbers in single precision.
const TO_FLOAT: (&str, Attribute<'static>) = ("to", Attribute::Whole(1));

/// Writes one of these operations; `false` if it is another.
pub(super) fn write(writer: &mut Writer, node: &Node) -> Result<bool, String> {
    let Some(&x) = node.inputs.first() else { return Ok(false) };
    let x = writer.name(x);
    match &node.op {
        Op::ArgMax(place) => arg_max(writer, node, &x, place),
        Op::TopK(top) => top_k(writer, node, &x, top),
        Op::OneHot(hot) => one_hot(writer, node, &x, hot),
        Op::MaxPoolPlaces(places) => max_pool_places(writer, node, &x, places.pool)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn arg_max(writer: &mut Writer, node: &Node, x: &str, place: &ArgMax) {
    let attributes = [
        ("axis", place.axis.into()),
        ("keepdims", place.keep.into()),
        ("select_last_index", place.last.into()),
    ];
    let index = writer.inner("index", "ArgMax", &[x], &attributes);
    writer.last(node, "Cast", &[&index], &[TO_FLOAT]);
}

/// Of equal numbers ONNX takes the first; the last are the first of the reversed axis.
fn top_k(writer: &mut Writer, node: &Node, x: &str, top: &TopK) {
    let size = writer.shape(node.inputs[0])[top.axis];
    let turned = top.last.then(|| {
        let lists = [("starts", -1), ("ends", i64::MIN), ("axes", top.axis as i64), ("steps", -1)];
        let [starts, ends, axes, steps] = &lists.map(|(name, number)| writer.wholes(name, vec![number]));
        writer.inner("reversed", "Slice", &[x, starts, ends, axes, steps], &[])
    });
    let count = writer.wholes("count", vec![top.count as i64]);
    let x = turned.as_deref().unwrap_or(x);
    let [values, index] =
        writer.inner_pair(["values", "index"], "TopK", &[x, &count], &[("axis", top.axis.into())]);
    writer.last(node, "Identity", &[&values], &[]);
    if turned.is_none() {
        return writer.output(node, 1, "Cast", &[&index], &[TO_FLOAT]);
    }
    let index = writer.inner("index.number", "Cast", &[&index], &[TO_FLOAT]);
    let end = writer.number("end", (size - 1) as f32);
    writer.output(node, 1, "Sub", &[&end, &index], &[]);
}

/// x as often as there are classes, each compared with its number: ONNX's own OneHot takes negative places, too.
fn one_hot(writer: &mut Writer, node: &Node, x: &str, hot: &OneHot) {
    let axes = writer.wholes("axes", vec![-1]);
    let column = writer.inner("column", "Unsqueeze", &[x, &axes], &[]);
    let classes = (0..hot.classes).map(|class| class as f32).collect();
    let classes = writer.floats("classes", vec![hot.classes as i64], classes);
    let equal = writer.inner("equal", "Equal", &[&column, &classes], &[]);
    writer.last(node, "Cast", &[&equal], &[TO_FLOAT]);
}

/// ONNX's places count through all planes: what remains of them by the size of one.
fn max_pool_places(writer: &mut Writer, node: &Node, x: &str, pool: MaxPool) -> Result<(), String> {
    let shape = writer.shape(node.inputs[0]);
    let (height, width) = (shape[2], shape[3]);
    let window = match pool.window {
        Some(window) => reaching(writer, node, window, pool.rounding)?,
        None => Window { kernel: [height, width], ..Window::square(1) },
    };
    let [_, index] = writer.inner_pair(["largest", "index"], "MaxPool", &[x], &window_attributes(&window));
    let plane = writer.wholes("plane", vec![(height * width) as i64]);
    let index = writer.inner("index.plane", "Mod", &[&index, &plane], &[]);
    writer.last(node, "Cast", &[&index], &[TO_FLOAT]);
    Ok(())
}
