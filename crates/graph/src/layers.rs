//! How many layers does a network have?
//!
//! The number in a network's name counts the weighted layers (convolutions, transposed ones, linear layers) that a
//! signal passes on the longest way from input to output. Found on the graph alone:
//!
//! ```text
//! longest[value] = most weighted layers on any path to it        main path = follow it back from the output
//! cut the main path where paths part or meet; the counts between cuts are the reckoning: 1 + 16x3 + 1
//! a weighted layer off the main path joins it somewhere: at an addition it is a shortcut projection, at a product
//! with a gate it is a gate's, elsewhere it is a parallel branch's
//! ```
//!
//! The small factor of a broadcast product (squeeze and excitation) is a gate: paths do not lead through it.

use std::collections::HashSet;
use std::fmt;

use crate::ops::{Binary, BinaryKind};
use crate::{Graph, Node, NodeId, Op, ValueId};

/// The layers of a network, by each convention.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Layers {
    /// Weighted layers on the longest path from input to output: the number in the network's name.
    pub weighted: usize,
    /// Weighted layers between the points where paths part or meet, along the longest path; runs of equal ones as
    /// (how many, layers in each).
    pub reckoning: Vec<(usize, usize)>,
    /// Convolutions that only fit a shortcut to the sum it joins; not counted in `weighted`.
    pub shortcut_projections: usize,
    /// Weighted layers of gates (squeeze and excitation); not counted in `weighted`.
    pub gate_layers: usize,
    /// Weighted layers of branches beside the longest path; not counted in `weighted`.
    pub parallel_layers: usize,
    /// Weighted layers that the first output does not need (auxiliary heads); not counted in `weighted`.
    pub auxiliary_layers: usize,
    /// Batch normalisations; not counted in `weighted`.
    pub batch_norms: usize,
    /// Distinct convolutions and linear layers, wherever they stand; shared ones count once.
    pub weighted_modules: usize,
    /// All operations.
    pub operations: usize,
}

impl Layers {
    /// Counts the layers of a network; its first output that is no loss or accuracy is where its longest path ends.
    pub fn of(graph: &Graph) -> Layers {
        let mut layers = Layers {
            batch_norms: graph.nodes().iter().filter(|node| matches!(node.op, Op::BatchNorm(_))).count(),
            weighted_modules: distinct_weights(graph, graph.nodes().iter()).len(),
            operations: graph.nodes().len(),
            ..Layers::default()
        };
        if let Some(end) = main_output(graph) {
            let path = longest_path(graph, end);
            layers.reckoning = reckoning(graph, &path, end);
            layers.weighted = layers.reckoning.iter().map(|(times, each)| times * each).sum();
            layers.count_beside(graph, &path, end);
        }
        layers
    }

    /// Sorts the weighted layers off the main path by where they join it.
    fn count_beside(&mut self, graph: &Graph, path: &[NodeId], end: ValueId) {
        let needed = graph.needed_by(&[end]);
        let mut counted = distinct_weights(graph, path.iter().map(|&id| graph.node(id)));
        let joins = joins(graph, path, &needed);
        for (index, node) in graph.nodes().iter().enumerate() {
            let Some(weight) = weight_of(graph, node) else { continue };
            if !counted.insert(weight) {
                continue;
            }
            match joins[index].map(|join| &graph.node(join).op) {
                None => self.auxiliary_layers += 1,
                Some(Op::Binary(Binary { kind: BinaryKind::Add })) => self.shortcut_projections += 1,
                Some(Op::Binary(Binary { kind: BinaryKind::Mul })) => self.gate_layers += 1,
                Some(_) => self.parallel_layers += 1,
            }
        }
    }

    /// The reckoning as a sum: `1 + 16x3 + 1 = 50`.
    pub fn sum(&self) -> String {
        let terms = self.reckoning.iter().map(|&(times, each)| match times {
            1 => each.to_string(),
            times => format!("{times}x{each}"),
        });
        match self.reckoning.len() {
            0 => "0".to_string(),
            1 if self.reckoning[0].0 == 1 => self.weighted.to_string(),
            _ => format!("{} = {}", terms.collect::<Vec<_>>().join(" + "), self.weighted),
        }
    }
}

impl fmt::Display for Layers {
    /// The reckoning in sentences: what is counted, what is not, and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "weighted layers on the longest path: {}", self.sum())?;
        let beside = [
            (self.shortcut_projections, "shortcut projection", SHORTCUT_REASON),
            (self.gate_layers, "gate layer", GATE_REASON),
            (self.parallel_layers, "layer of parallel branches", PARALLEL_REASON),
            (self.auxiliary_layers, "auxiliary layer", AUXILIARY_REASON),
            (self.batch_norms, "BatchNorm", BATCH_NORM_REASON),
        ];
        for (count, what, reason) in beside.into_iter().filter(|(count, ..)| *count > 0) {
            let plural = what.replacen("layer of", "layers of", 1);
            let plural = if plural == what { format!("{what}s") } else { plural };
            let what = if count == 1 { what } else { &plural };
            writeln!(f, "  not counted: {count} {what}, {reason}")?;
        }
        let (modules, operations) = (self.weighted_modules, self.operations);
        write!(f, "weighted modules: {modules}; all operations: {operations}")
    }
}

const SHORTCUT_REASON: &str = "beside a longer path from the same fork to the same sum: they add no depth";
const GATE_REASON: &str = "which only compute factors for the channels of the path";
const PARALLEL_REASON: &str = "beside a longer or equally long path that is counted";
const AUXILIARY_REASON: &str = "which the output does not need";
const BATCH_NORM_REASON: &str = "which scale and shift channels and fold into the convolution beside them";

/// The output where the network ends: the first that is an image or a vector per image.
fn main_output(graph: &Graph) -> Option<ValueId> {
    let outputs = graph.outputs().iter().map(|output| output.value);
    let losses = graph.losses().iter().map(|loss| loss.value);
    let first_of_rank = outputs.clone().find(|&value| graph.shape(value).rank() >= 2);
    first_of_rank.or_else(|| outputs.chain(losses).next())
}

/// The weight of a weighted layer, as a value.
fn weight_of(graph: &Graph, node: &Node) -> Option<ValueId> {
    let weighted = matches!(node.op, Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::Linear(_));
    let weight = *node.inputs.get(1)?;
    (weighted && graph.param_of(weight).is_some()).then_some(weight)
}

fn distinct_weights<'g>(graph: &Graph, nodes: impl Iterator<Item = &'g Node>) -> HashSet<ValueId> {
    nodes.filter_map(|node| weight_of(graph, node)).collect()
}

/// The inputs of a node through which paths lead: no parameters, and no gates.
fn path_inputs<'g>(graph: &'g Graph, node: &'g Node) -> impl Iterator<Item = ValueId> + 'g {
    let gated = matches!(node.op, Op::Binary(Binary { kind: BinaryKind::Mul }));
    let leads = move |value: &ValueId| {
        let full_size =
            node.outputs.first().is_some_and(|&output| graph.shape(output) == graph.shape(*value));
        graph.param_of(*value).is_none() && (!gated || full_size)
    };
    node.inputs.iter().copied().filter(leads)
}

/// The nodes of the path to `end` with the most weighted layers, first node first.
fn longest_path(graph: &Graph, end: ValueId) -> Vec<NodeId> {
    let mut longest = vec![0usize; graph.values().len()];
    let mut before: Vec<Option<ValueId>> = vec![None; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate() {
        // Of equally long ways the first input's is taken.
        let best = path_inputs(graph, node)
            .reduce(|best, value| if longest[value.index()] > longest[best.index()] { value } else { best });
        before[index] = best;
        let layers =
            best.map_or(0, |value| longest[value.index()]) + usize::from(weight_of(graph, node).is_some());
        node.outputs.iter().for_each(|output| longest[output.index()] = layers);
    }
    let mut path = Vec::new();
    let mut at = graph.producer(end);
    while let Some(id) = at {
        path.push(id);
        at = before[id.index()].and_then(|value| graph.producer(value));
    }
    path.reverse();
    path
}

/// Weighted layers of `path` between the points where paths part or meet, runs of equal counts together.
fn reckoning(graph: &Graph, path: &[NodeId], end: ValueId) -> Vec<(usize, usize)> {
    let ways_out = ways_out(graph, end);
    let (mut counts, mut count) = (Vec::new(), 0);
    for &id in path {
        let node = graph.node(id);
        if path_inputs(graph, node).count() > 1 {
            counts.push(std::mem::take(&mut count)); // ways meet
        }
        count += usize::from(weight_of(graph, node).is_some());
        if node.outputs.iter().any(|output| ways_out[output.index()] > 1) {
            counts.push(std::mem::take(&mut count)); // ways part
        }
    }
    counts.push(count);
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for count in counts.into_iter().filter(|&count| count > 0) {
        match runs.last_mut() {
            Some((times, each)) if *each == count => *times += 1,
            _ => runs.push((1, count)),
        }
    }
    runs
}

/// By value: through how many nodes paths lead on from it to `end`.
fn ways_out(graph: &Graph, end: ValueId) -> Vec<usize> {
    let needed = graph.needed_by(&[end]);
    let mut ways = vec![0; graph.values().len()];
    for node in graph.nodes().iter().filter(|node| node.outputs.iter().any(|output| needed[output.index()])) {
        path_inputs(graph, node).for_each(|value| ways[value.index()] += 1);
    }
    ways
}

/// By node: the first node of `path` that depends on it, among nodes that are needed.
fn joins(graph: &Graph, path: &[NodeId], needed: &[bool]) -> Vec<Option<NodeId>> {
    let on_path: HashSet<NodeId> = path.iter().copied().collect();
    let mut value_joins: Vec<Option<NodeId>> = vec![None; graph.values().len()];
    let mut joins = vec![None; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        let id = NodeId(index as u32);
        if !node.outputs.iter().any(|output| needed[output.index()]) {
            continue;
        }
        let later = node.outputs.iter().filter_map(|output| value_joins[output.index()]).min();
        let join = if on_path.contains(&id) { Some(id) } else { later };
        joins[index] = later;
        for input in &node.inputs {
            let known = value_joins[input.index()];
            value_joins[input.index()] = known.into_iter().chain(join).min();
        }
    }
    joins
}
