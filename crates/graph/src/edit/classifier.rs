//! Making a classifier trainable, and making it classify something else.

use std::collections::HashMap;

use super::rebuild::Changes;
use crate::ops::{Accuracy, LossKind, LossOp, Reshape};
use crate::{Graph, GraphError, Node, NodeId, Op, Output, ParamId, ValueId};

impl Graph {
    /// Adds what training a classifier needs to the logits that the output `output` gives: an input `label` `(N)` of
    /// class indices, the loss `loss` (softmax cross-entropy), and the output `top1` (accuracy). Each auxiliary output
    /// gets a loss `loss.NAME` of its own, with its weight.
    ///
    /// Refused: an output of probabilities, since the loss applies the softmax itself; an output that is not
    /// `(N, C)` or `(N, C, 1, 1)`.
    pub fn with_classifier_loss(&self, smoothing: f32) -> Result<Graph, GraphError> {
        let mut graph = self.clone();
        let output = self.find_output("output").ok_or_else(|| self.missing("output", "output"))?;
        let logits = as_rows(&mut graph, "logits", output)?;
        let batch = graph.shape(logits).first().copied().unwrap_or(1);
        let label = graph.add_input("label", [batch])?;
        let cross_entropy = Op::Loss(LossOp { kind: LossKind::SoftmaxCrossEntropy { smoothing } });
        let loss = graph.add_node("loss", cross_entropy.clone(), vec![logits, label])?[0];
        graph.add_loss("loss", loss, 1.0)?;
        for Output { name, value, auxiliary } in self.outputs() {
            let Some(weight) = *auxiliary else { continue };
            let scores = as_rows(&mut graph, &format!("logits.{name}"), *value)?;
            let name = format!("loss.{name}");
            let loss = graph.add_node(&name, cross_entropy.clone(), vec![scores, label])?[0];
            graph.add_loss(name, loss, weight)?;
        }
        let top1 = graph.add_node("top1", Op::Accuracy(Accuracy { top: 1 }), vec![logits, label])?[0];
        graph.add_output("top1", top1);
        Ok(graph)
    }

    /// The network with heads for `classes` classes: the last linear layer or 1x1 convolution before each output, and
    /// before each loss on class scores, that now gives as many numbers as the first output. Their parameters keep
    /// name and initialiser; labels and the rest of the network stay.
    ///
    /// Refused: an output without such a layer before it, and a head whose parameters are shared.
    pub fn replace_head(&self, classes: usize) -> Result<Graph, GraphError> {
        let mut param_shapes = HashMap::new();
        for head in self.heads()? {
            for (id, shape) in self.head_params(head)? {
                param_shapes.insert(id, shape.with(0, classes));
            }
        }
        let mut changes = Changes::none(self);
        changes.param_shapes = param_shapes;
        changes.apply()
    }

    /// The last weighted layer before each value that holds class scores.
    fn heads(&self) -> Result<Vec<NodeId>, GraphError> {
        let outputs = self.outputs().iter().map(|output| output.value);
        let scored = self.nodes().iter().filter(|node| scores_classes(node)).map(|node| node.inputs[0]);
        let scores: Vec<ValueId> =
            outputs.chain(scored).filter(|&value| self.shape(value).rank() >= 2).collect();
        let Some(&first) = scores.first() else {
            let message = "there is no output of class scores".to_string();
            return Err(GraphError::Name { name: self.name.clone(), message });
        };
        let mut heads = Vec::new();
        for value in scores.into_iter().filter(|&value| self.shape(value)[1] == self.shape(first)[1]) {
            let head = self.last_weighted(value)?;
            if !heads.contains(&head) {
                heads.push(head);
            }
        }
        Ok(heads)
    }

    /// The last linear layer or convolution that `value` depends on.
    fn last_weighted(&self, value: ValueId) -> Result<NodeId, GraphError> {
        let needed = self.needed_by(&[value]);
        let last = self.nodes().iter().rposition(|node| {
            let weighted = matches!(node.op, Op::Linear(_) | Op::Conv2d(_) | Op::ConvTranspose2d(_));
            weighted && node.outputs.iter().any(|output| needed[output.index()])
        });
        let name = &self.value(value).name;
        last.map(|index| NodeId(index as u32)).ok_or_else(|| {
            GraphError::node(name, "has no linear layer or 1x1 convolution before it to replace")
        })
    }

    /// Weight and bias of a head, whose axis 0 is the classes.
    fn head_params(&self, head: NodeId) -> Result<Vec<(ParamId, ocellus_tensor::Shape)>, GraphError> {
        let node = self.node(head);
        let replaceable = match &node.op {
            Op::Linear(_) => true,
            Op::Conv2d(conv) => conv.window.taps() == 1 && conv.groups == 1,
            _ => false,
        };
        if !replaceable {
            let message = "is the last weighted layer, but neither linear nor a 1x1 convolution";
            return Err(GraphError::node(&node.name, message));
        }
        let readers = self.readers();
        let params = node.inputs[1..].iter().map(|&input| match self.param_of(input) {
            Some(id) if readers[input.index()].len() == 1 => Ok((id, self.shape(input).clone())),
            Some(_) => {
                let message =
                    format!("its {} is shared, so it cannot be replaced here", self.value(input).name);
                Err(GraphError::node(&node.name, message))
            }
            None => Err(GraphError::node(&node.name, "its weight is no parameter")),
        });
        params.collect()
    }
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

/// Whether a node is a loss whose first input is one score per class.
fn scores_classes(node: &Node) -> bool {
    match &node.op {
        Op::Loss(loss) => {
            matches!(loss.kind, LossKind::SoftmaxCrossEntropy { .. } | LossKind::Hinge { .. })
        }
        _ => false,
    }
}
