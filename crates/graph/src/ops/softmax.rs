//! The softmax function and its logarithm. (The *classifier* is a Linear followed by it; the *loss* on logits is
//! [`super::LossKind::SoftmaxCrossEntropy`].)

use ocellus_tensor::Shape;

use super::{Refusal, expect};

/// `y = e^x / sum e^x` along axis 1 (channels), or its logarithm. Computed against overflow by subtracting the
/// maximum. Input: x `(N, C, ...)`. Output: y like x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Softmax {
    /// Give the logarithm.
    pub log: bool,
}

impl Softmax {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        if x.rank() < 2 {
            return Err(format!("x must have at least 2 axes (N, C, ...), got {} in {x}", x.rank()));
        }
        Ok(vec![x.clone()])
    }
}

/// The gradient of [`Softmax`]. Inputs: y (its output), dy. Output: dx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftmaxGrad {
    /// The function this is a gradient of.
    pub softmax: Softmax,
}

impl SoftmaxGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [y, dy] = expect::inputs(inputs, ["y", "dy"])?;
        expect::same(y, "y", dy, "dy")?;
        self.softmax.shape(&[y])
    }
}
