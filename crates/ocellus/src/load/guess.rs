//! Which network of the zoo do these tensors belong to?
//!
//! A network is built for as many classes and channels as the tensors show, and compared name by name: it is the one
//! if every parameter finds its tensor and no tensor is left over.

use ocellus_formats::{Fate, match_report};
use ocellus_graph::{Graph, Op};
use ocellus_tensor::{Shape, Weights};
use ocellus_zoo as zoo;

/// The network whose parameters these tensors are, all of them.
pub(super) fn network(weights: &Weights) -> Option<(&'static str, zoo::Options)> {
    zoo::names().into_iter().find_map(|name| {
        let options = options_for(name, weights, None)?;
        let report = match_report(&zoo::build(name, &options).ok()?, weights);
        let is_it = report.is_complete() && report.count(Fate::Unused) == 0;
        is_it.then_some((name, options))
    })
}

/// Classes and channels of the network `name` that these tensors show; `None` if the zoo has no such network.
pub(super) fn options_for(name: &str, weights: &Weights, input: Option<[usize; 4]>) -> Option<zoo::Options> {
    let usual = zoo::Options::default();
    let graph = zoo::build(name, &usual).ok()?;
    let mut options = usual;
    let report = match_report(&graph, weights);
    let shape_of = |param: &str| {
        report.tensors.iter().find_map(|line| match (&line.parameter, &line.tensor) {
            (Some((name, _)), Some((_, shape))) if name == param => Some(shape.clone()),
            _ => None,
        })
    };
    if let Some(shape) = head(&graph).and_then(|name| shape_of(&name)) {
        options.classes = shape.first().copied();
    }
    if let Some(shape) = stem(&graph).and_then(|name| shape_of(&name)) {
        options.channels = shape.get(1).copied();
    }
    match input {
        Some([_, channels, height, width]) => Some(options.with_input([channels, height, width])),
        None => Some(options),
    }
}

/// The weight of the first convolution, (O, C, ...).
fn stem(graph: &Graph) -> Option<String> {
    let first = graph.nodes().iter().find(|node| matches!(node.op, Op::Conv2d(_)))?;
    weight(graph, first)
}

/// The weight of the last layer that gives class scores, (classes, ...).
fn head(graph: &Graph) -> Option<String> {
    let classes = graph.find_output("output").map(|output| graph.shape(output).get(1).copied())?;
    let scores = |shape: &Shape| shape.first().copied() == classes;
    let last = graph.nodes().iter().rev().find(|node| {
        let weight = node.inputs.get(1).and_then(|&value| graph.param_of(value));
        matches!(node.op, Op::Linear(_) | Op::Conv2d(_))
            && weight.is_some_and(|id| scores(&graph.param(id).shape))
    })?;
    weight(graph, last)
}

fn weight(graph: &Graph, node: &ocellus_graph::Node) -> Option<String> {
    let id = node.inputs.get(1).and_then(|&value| graph.param_of(value))?;
    Some(graph.param(id).name.clone())
}
