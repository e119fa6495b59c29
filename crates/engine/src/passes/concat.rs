//! Which values can be made where they will be joined?
//!
//! One image's channel blocks lie one after another, so the parts of a concatenation of channels can be written by
//! those who make them straight to their place in the whole, if every part but the last fills its blocks. Several
//! images' parts alternate; they are copied.

use ocellus_graph::{Graph, NodeId, Op, ValueId};
use ocellus_kernels::layout::BLOCK;

/// A place inside a larger value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The concatenation's result.
    pub whole: ValueId,
    /// Channels before this one's.
    pub channel: usize,
}

/// Whether the parts of this node, a concatenation, may lie in place.
pub fn joins_in_place(graph: &Graph, node: NodeId) -> bool {
    let node = graph.node(node);
    let Op::Concat(concat) = &node.op else { return false };
    let shape = graph.shape(node.outputs[0]);
    let parts = &node.inputs[..node.inputs.len() - 1];
    concat.axis == 1
        && shape.rank() == 4
        && shape[0] == 1
        && parts.iter().all(|&part| graph.shape(part)[1].is_multiple_of(BLOCK))
}

/// For each value its home, if it has one: the first concatenation that reads it, unless it comes from outside.
pub fn homes(graph: &Graph) -> Vec<Option<Home>> {
    let mut homes = vec![None; graph.values().len()];
    for index in 0..graph.nodes().len() {
        let id = NodeId(index as u32);
        if !joins_in_place(graph, id) {
            continue;
        }
        let node = graph.node(id);
        for (value, channel) in parts(graph, id) {
            let made_here = graph.producer(value).is_some();
            if made_here && homes[value.index()].is_none() {
                homes[value.index()] = Some(Home { whole: node.outputs[0], channel });
            }
        }
    }
    homes
}

/// The parts of a concatenation, each with the channels before it.
pub fn parts(graph: &Graph, node: NodeId) -> impl Iterator<Item = (ValueId, usize)> {
    let mut before = 0;
    graph.node(node).inputs.iter().map(move |&value| {
        let channel = before;
        before += graph.shape(value)[1];
        (value, channel)
    })
}
