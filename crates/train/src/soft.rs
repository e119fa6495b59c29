//! The loss of a classifier whose targets are shares of the classes, as mixed images and weighted classes have them.

use ocellus_graph::ops::{Accuracy, LossKind, LossOp, Reshape};
use ocellus_graph::{Graph, GraphError, Op, ValueId};

use crate::TrainError;
use crate::stepper::{LABEL, TARGET};
use crate::validate::OUTPUT;

/// As [`Graph::with_classifier_loss`], but every loss reads the input [`TARGET`] `(N, C)`; the accuracy still reads
/// [`LABEL`] `(N)`.
pub fn with_soft_loss(net: &Graph, smoothing: f32) -> Result<Graph, TrainError> {
    let mut graph = net.clone();
    let output = net
        .find_output(OUTPUT)
        .ok_or_else(|| TrainError::setting(format!("{} has no output of class scores", net.name)))?;
    let logits = as_rows(&mut graph, "logits", output)?;
    let shape = graph.shape(logits).clone();
    let label = graph.add_input(LABEL, [shape.first().copied().unwrap_or(1)])?;
    let target = graph.add_input(TARGET, shape)?;
    let cross_entropy = Op::Loss(LossOp { kind: LossKind::SoftmaxCrossEntropy { smoothing } });
    let loss = graph.add_node("loss", cross_entropy.clone(), vec![logits, target])?[0];
    graph.add_loss("loss", loss, 1.0)?;
    for output in net.outputs() {
        let Some(weight) = output.auxiliary else { continue };
        let scores = as_rows(&mut graph, &format!("logits.{}", output.name), output.value)?;
        let name = format!("loss.{}", output.name);
        let loss = graph.add_node(&name, cross_entropy.clone(), vec![scores, target])?[0];
        graph.add_loss(name, loss, weight)?;
    }
    let top1 = graph.add_node("top1", Op::Accuracy(Accuracy { top: 1 }), vec![logits, label])?[0];
    graph.add_output("top1", top1);
    Ok(graph)
}

/// Class scores `(N, C)` or `(N, C, 1, 1)` as `(N, C)`.
fn as_rows(graph: &mut Graph, name: &str, scores: ValueId) -> Result<ValueId, GraphError> {
    match graph.shape(scores).dims() {
        [_, _, 1, 1] => {
            let flat = Op::Reshape(Reshape { dims: vec![0, -1] });
            Ok(graph.add_node(name, flat, vec![scores])?[0])
        }
        _ => Ok(scores),
    }
}
