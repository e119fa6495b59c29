//! Losses and the accuracy. Each loss joins the total with its weight, under its full name.

use super::{Builder, joined};
use crate::ops::{Accuracy, LossKind, LossOp};
use crate::{Op, ValueId};

impl Builder {
    /// Softmax cross-entropy of logits `(N, C)` with class indices `(N)` or target probabilities `(N, C)`.
    pub fn softmax_cross_entropy(
        &mut self,
        name: &str,
        logits: ValueId,
        label: ValueId,
        smoothing: f32,
        weight: f32,
    ) -> ValueId {
        self.loss(name, LossKind::SoftmaxCrossEntropy { smoothing }, &[logits, label], weight)
    }

    /// Sigmoid cross-entropy of logits with targets of the same shape.
    pub fn sigmoid_cross_entropy(
        &mut self,
        name: &str,
        logits: ValueId,
        target: ValueId,
        weight: f32,
    ) -> ValueId {
        self.loss(name, LossKind::SigmoidCrossEntropy, &[logits, target], weight)
    }

    /// Mean squared error of two values of one shape.
    pub fn mse(&mut self, name: &str, a: ValueId, b: ValueId, weight: f32) -> ValueId {
        self.loss(name, LossKind::MeanSquaredError, &[a, b], weight)
    }

    /// One-versus-all hinge of scores `(N, C)` with class indices `(N)`; `squared` for L2.
    pub fn hinge(
        &mut self,
        name: &str,
        scores: ValueId,
        label: ValueId,
        squared: bool,
        weight: f32,
    ) -> ValueId {
        self.loss(name, LossKind::Hinge { squared }, &[scores, label], weight)
    }

    /// Contrastive loss of a pair `(N, F)`, where `matching` `(N)` is 1 for pairs that belong together.
    pub fn contrastive(
        &mut self,
        name: &str,
        pair: [ValueId; 2],
        matching: ValueId,
        margin: f32,
        weight: f32,
    ) -> ValueId {
        self.loss(name, LossKind::Contrastive { margin }, &[pair[0], pair[1], matching], weight)
    }

    /// Triplet loss of anchor, positive and negative, each `(N, F)`.
    pub fn triplet(&mut self, name: &str, triplet: [ValueId; 3], margin: f32, weight: f32) -> ValueId {
        self.loss(name, LossKind::Triplet { margin }, &triplet, weight)
    }

    /// Any loss, with its inputs as [`LossKind`] lists them.
    pub fn loss(&mut self, name: &str, kind: LossKind, inputs: &[ValueId], weight: f32) -> ValueId {
        let value = self.node(name, Op::Loss(LossOp { kind }), inputs);
        let full = joined(&self.node_prefix, name);
        self.attempt(|graph| graph.add_loss(full, value, weight).map(|()| value))
    }

    /// Share of rows whose label `(N)` is among the `top` highest scores `(N, C)`; hand it out with
    /// [`Builder::output`].
    pub fn accuracy(&mut self, name: &str, scores: ValueId, label: ValueId, top: usize) -> ValueId {
        self.node(name, Op::Accuracy(Accuracy { top }), &[scores, label])
    }
}
