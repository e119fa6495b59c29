//! Which network of the zoo do these tensors belong to?
//!
//! A network is built for as many classes and channels as the tensors show, and compared name by name: it is the one
//! if every parameter finds its tensor and no tensor is left over.

use ocellus_formats::{Fate, match_report};
use ocellus_graph::{Graph, Op};
use ocellus_tensor::{Shape, Weights};
use ocellus_zoo as zoo;

/// The network whose parameters these tensors are, all of them; those that only training needs (auxiliary heads) may be
/// missing.
pub(super) fn network(weights: &Weights) -> Option<(&'static str, zoo::Options)> {
    let is_it = |graph: &Graph| {
        let report = match_report(graph, weights);
        report.is_complete() && report.count(Fate::Unused) == 0
    };
    zoo::names().into_iter().find_map(|name| {
        let options = options_for(name, weights, None)?;
        let graph = zoo::build(name, &options).ok()?;
        let without_heads = || {
            let inference = graph.for_inference().ok()?;
            (inference.params().len() < graph.params().len()).then_some(inference)
        };
        let found = is_it(&graph) || without_heads().is_some_and(|inference| is_it(&inference));
        found.then_some((name, options))
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

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_tensor::Tensor;

    #[test]
    fn heads_that_only_training_needs_may_be_missing() {
        let options = zoo::Options { classes: Some(7), ..zoo::Options::default() };
        let whole = zoo::build("googlenet", &options).unwrap();
        let zeros = |graph: &Graph| -> Weights {
            let params = graph.params().iter();
            params.map(|param| (param.name.clone(), Tensor::zeros(param.shape.clone()))).collect()
        };
        let inference = whole.for_inference().unwrap();
        for graph in [&whole, &inference] {
            let (name, found) = network(&zeros(graph)).unwrap();
            assert_eq!((name, found.classes), ("googlenet", Some(7)));
        }
        let mut lacking = zeros(&inference);
        lacking.remove("fc.bias");
        assert!(network(&lacking).is_none());
    }
}
