//! Losses, each the mean over the batch, and the accuracy.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// Which loss. `label` inputs hold class indices as whole numbers `(N)`, or target probabilities `(N, C)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossKind {
    /// Softmax and cross-entropy in one, on *logits* `(N, C)`; refuses probabilities. Inputs: logits, label.
    /// `smoothing` s: target (1 - s) one-hot + s / C.
    SoftmaxCrossEntropy {
        /// Share of the target spread evenly over the classes.
        smoothing: f32,
    },
    /// Sigmoid and binary cross-entropy in one, on *logits*, mean over all elements. Inputs: logits, target (same shape).
    SigmoidCrossEntropy,
    /// Mean over all elements of (a - b)^2. Inputs: a, b (same shape).
    MeanSquaredError,
    /// One-versus-all hinge on scores `(N, C)`: mean over N of sum over classes of max(0, 1 - t s)^norm, t = +1 for
    /// the label's class, else -1 (Caffe's HingeLoss). Inputs: scores, label `(N)`.
    Hinge {
        /// L2 (squared) rather than L1.
        squared: bool,
    },
    /// Hadsell et al. 2006: mean over N of (y d^2 + (1-y) max(margin - d, 0)^2) / 2, d = |a - b|, y = 1 for a
    /// matching pair. Inputs: a `(N, F)`, b `(N, F)`, y `(N)`.
    Contrastive {
        /// Distance that differing pairs should keep.
        margin: f32,
    },
    /// Schroff et al. 2015: mean over N of max(|a-p|^2 - |a-n|^2 + margin, 0). Inputs: anchor, positive, negative `(N, F)`.
    Triplet {
        /// Gap that should remain.
        margin: f32,
    },
}

impl LossKind {
    /// How many of the inputs, counted from the first, are predictions and get a gradient.
    pub fn predictions(&self) -> usize {
        match self {
            LossKind::SoftmaxCrossEntropy { .. } | LossKind::SigmoidCrossEntropy | LossKind::Hinge { .. } => {
                1
            }
            LossKind::MeanSquaredError | LossKind::Contrastive { .. } => 2,
            LossKind::Triplet { .. } => 3,
        }
    }

    /// How many inputs there are, predictions and targets.
    pub fn inputs(&self) -> usize {
        match self {
            LossKind::Contrastive { .. } | LossKind::Triplet { .. } => 3,
            _ => 2,
        }
    }

    /// Refuses inputs that do not fit each other.
    fn check(&self, inputs: &[&Shape]) -> Result<(), Refusal> {
        match *self {
            LossKind::SoftmaxCrossEntropy { smoothing } => {
                let [logits, label] = expect::inputs(inputs, ["logits", "label"])?;
                // A smoothing of exactly 1 is allowed: the target is then even.
                if !(0.0..=1.0).contains(&smoothing) {
                    return Err(format!("smoothing must be from 0 to 1, got {smoothing}"));
                }
                labels_fit(logits, "logits", label, true)
            }
            LossKind::SigmoidCrossEntropy => {
                let [logits, target] = expect::inputs(inputs, ["logits", "target"])?;
                expect::same(logits, "logits", target, "target")
            }
            LossKind::MeanSquaredError => {
                let [a, b] = expect::inputs(inputs, ["a", "b"])?;
                expect::same(a, "a", b, "b")
            }
            LossKind::Hinge { .. } => {
                let [scores, label] = expect::inputs(inputs, ["scores", "label"])?;
                labels_fit(scores, "scores", label, false)
            }
            LossKind::Contrastive { .. } => {
                let [a, b, matching] = expect::inputs(inputs, ["a", "b", "y"])?;
                let [rows, _] = expect::matrix(a, "a")?;
                expect::same(a, "a", b, "b")?;
                expect::vector(matching, "y", rows)
            }
            LossKind::Triplet { .. } => {
                let [anchor, positive, negative] =
                    expect::inputs(inputs, ["anchor", "positive", "negative"])?;
                expect::matrix(anchor, "anchor")?;
                expect::same(anchor, "anchor", positive, "positive")?;
                expect::same(anchor, "anchor", negative, "negative")
            }
        }
    }
}

/// Labels are class indices `(N)` or, where allowed, probabilities `(N, C)`.
fn labels_fit(scores: &Shape, what: &str, label: &Shape, soft: bool) -> Result<(), Refusal> {
    let [rows, classes] = expect::matrix(scores, what)?;
    if label.dims() == [rows] || (soft && label == scores) {
        return Ok(());
    }
    let or_soft = if soft { format!(" or ({rows}, {classes})") } else { String::new() };
    Err(format!("{what} have shape {scores}, so label must have shape ({rows}){or_soft}, got {label}"))
}

/// A loss. Inputs: as [`LossKind`] says. Output: one number, shape `()`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossOp {
    /// Which loss.
    pub kind: LossKind,
}

impl LossOp {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        self.kind.check(inputs)?;
        Ok(vec![Shape::scalar()])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        // Labels and targets are given, not learned: they get no gradient.
        let predictions = self.kind.predictions();
        let mut inputs = context.inputs().to_vec();
        let mut gradients = vec![None; inputs.len()];
        if (0..predictions).any(|i| context.wants(i)) {
            inputs.push(context.dy()?);
            let grad = Op::LossGrad(LossGrad { kind: self.kind });
            let found = context.add_all("", grad, &inputs)?;
            gradients[..predictions].copy_from_slice(&found.into_iter().map(Some).collect::<Vec<_>>());
        }
        Ok(gradients)
    }
}

/// The gradient of a [`LossOp`] with respect to its predictions (never to labels or targets).
///
/// Inputs: those of the loss, then dloss `()`. Outputs: one gradient per prediction: logits/scores; a and b of
/// MeanSquaredError and Contrastive; anchor, positive, negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossGrad {
    /// Which loss.
    pub kind: LossKind,
}

impl LossGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let Some((dloss, own)) = inputs.split_last() else {
            return Err(format!("needs {} inputs, got 0", self.kind.inputs() + 1));
        };
        self.kind.check(own)?;
        expect::scalar(dloss, "dloss")?;
        Ok(own[..self.kind.predictions()].iter().map(|&shape| shape.clone()).collect())
    }
}

/// Share of rows whose label is among the `top` highest scores (a tie counts against). Has no gradient.
///
/// Inputs: scores `(N, C)`, label `(N)`. Output: one number, shape `()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accuracy {
    /// How many guesses are allowed.
    pub top: usize,
}

impl Accuracy {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [scores, label] = expect::inputs(inputs, ["scores", "label"])?;
        labels_fit(scores, "scores", label, false)?;
        if self.top == 0 || self.top > scores[1] {
            return Err(format!("top = {} of {} classes; it must be from 1 to {1}", self.top, scores[1]));
        }
        Ok(vec![Shape::scalar()])
    }
}
