//! The softmax function and its logarithm. (The *classifier* is a Linear followed by it; the *loss* on logits is
//! [`super::LossKind::SoftmaxCrossEntropy`].)

/// `y = e^x / sum e^x` along axis 1 (channels), or its logarithm. Computed against overflow by subtracting the
/// maximum. Input: x `(N, C, ...)`. Output: y like x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Softmax {
    /// Give the logarithm.
    pub log: bool,
}

/// The gradient of [`Softmax`]. Inputs: y (its output), dy. Output: dx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftmaxGrad {
    /// The function this is a gradient of.
    pub softmax: Softmax,
}
