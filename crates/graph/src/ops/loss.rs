//! Losses, each the mean over the batch, and the accuracy.

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

/// A loss. Inputs: as [`LossKind`] says. Output: one number, shape `()`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossOp {
    /// Which loss.
    pub kind: LossKind,
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

/// Share of rows whose label is among the `top` highest scores (a tie counts against). Has no gradient.
///
/// Inputs: scores `(N, C)`, label `(N)`. Output: one number, shape `()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accuracy {
    /// How many guesses are allowed.
    pub top: usize,
}
