//! The softmax function and its logarithm. (The *classifier* is a Linear followed by it; the *loss* on logits is
//! [`super::LossKind::SoftmaxCrossEntropy`].)

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

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

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let inputs = [context.output(0), context.dy()?];
        Ok(vec![Some(context.add("", Op::SoftmaxGrad(SoftmaxGrad { softmax: *self }), &inputs)?)])
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
