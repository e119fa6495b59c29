//! Stochastic pooling (Zeiler and Fergus, "Stochastic pooling for regularization of deep convolutional neural networks",
//! 2013).

use ocellus_tensor::{Rounding, Shape, Window};

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::pool::pooled;
use super::{Op, Refusal, expect};

/// While `active`, one pixel under each window, drawn with a probability in proportion to its value (section 3.1); the
/// draw is a pure function of (seed, step, `stream`, place in y), as a dropout's mask is. Not active, the mean of the
/// pixels, each weighted by its own value: the sum of their squares over their sum, and 0 where the sum is not above 0
/// (section 3.2). Values are meant to be at least 0, as behind a ReLU; of a window of zeros the first pixel is drawn.
///
/// Input: x `(N, C, H, W)`. Output: y `(N, C, H', W')`. `window: None` is global: y is `(N, C, 1, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StochasticPool {
    /// Kernel, stride, padding, dilation; `None` for the whole image.
    pub window: Option<Window>,
    /// How the output size is rounded.
    pub rounding: Rounding,
    /// Training.
    pub active: bool,
    /// Tells the network's random operations apart.
    pub stream: u64,
}

impl StochasticPool {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        Ok(vec![pooled(x, self.window.as_ref(), self.rounding)?])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let inputs = [context.input(0), context.dy()?];
        let op = Op::StochasticPoolGrad(StochasticPoolGrad { pool: *self });
        Ok(vec![Some(context.add("", op, &inputs)?)])
    }
}

/// The gradient of [`StochasticPool`]: each dy goes to the pixel that was drawn; or, not active, to all of its window.
///
/// Inputs: x, dy. Output: dx like x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StochasticPoolGrad {
    /// The pooling this is a gradient of.
    pub pool: StochasticPool,
}

impl StochasticPoolGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x, dy] = expect::inputs(inputs, ["x", "dy"])?;
        expect::shape(dy, "dy", &self.pool.shape(&[x])?[0])?;
        Ok(vec![x.clone()])
    }
}
