//! From a graph to its text form.

use super::attribute::Word;
use super::operations::attributes;
use super::scan::quoted;
use crate::graph::Entry;
use crate::{Graph, GraphError, NodeId, ParamId};

/// The text form of a graph; [`super::from_text`] gives back an equal one.
///
/// Refused: custom operations, which are code.
///
/// ```
/// use ocellus_graph::{Builder, from_text, to_text};
///
/// let mut b = Builder::new("tiny");
/// let x = b.input("x", [1, 4]);
/// let y = b.relu("y", x);
/// b.output("output", y);
/// let graph = b.finish()?;
/// let text = to_text(&graph)?;
/// assert_eq!(text, "network tiny\ninput x (1, 4)\ny = relu(x)\noutput output = y\n");
/// assert_eq!(from_text(&text)?, graph);
/// # Ok::<(), ocellus_graph::GraphError>(())
/// ```
pub fn to_text(graph: &Graph) -> Result<String, GraphError> {
    let mut lines = vec![format!("network {}", quoted(&graph.name))];
    for entry in graph.entries() {
        lines.push(match entry {
            Entry::Input(value) => {
                let value = graph.value(value);
                format!("input {} {}", quoted(&value.name), value.shape)
            }
            Entry::Param(id) => param(graph, id),
            Entry::Node(id) => node(graph, id)?,
        });
    }
    for output in graph.outputs() {
        let (name, value) = (quoted(&output.name), quoted(&graph.value(output.value).name));
        let auxiliary = output.auxiliary.map(|weight| format!(" auxiliary={}", weight.word()));
        lines.push(format!("output {name} = {value}{}", auxiliary.unwrap_or_default()));
    }
    for loss in graph.losses() {
        let (name, value) = (quoted(&loss.name), quoted(&graph.value(loss.value).name));
        lines.push(format!("loss {name} = {value} weight={}", loss.weight.word()));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

fn param(graph: &Graph, id: ParamId) -> String {
    let param = graph.param(id);
    format!(
        "param {} {} init={} role={} lr_mult={} decay_mult={} frozen={}",
        quoted(&param.name),
        param.shape,
        param.init.word(),
        param.role.word(),
        param.lr_mult.word(),
        param.decay_mult.word(),
        param.frozen.word(),
    )
}

fn node(graph: &Graph, id: NodeId) -> Result<String, GraphError> {
    let node = graph.node(id);
    let attributes = attributes(&node.op).map_err(|message| GraphError::node(&node.name, message))?;
    let inputs: Vec<String> = node.inputs.iter().map(|&input| quoted(&graph.value(input).name)).collect();
    let mut inside = inputs.join(", ");
    if !attributes.is_empty() {
        inside.push(';');
        for (key, value) in attributes {
            inside.push_str(&format!(" {key}={value}"));
        }
    }
    Ok(format!("{} = {}({inside})", quoted(&node.name), node.op.name()))
}
