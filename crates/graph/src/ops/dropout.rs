//! Dropout (Srivastava et al. 2014), inverted: kept elements are divided by the share kept.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// While `active`, each element is zeroed with probability `rate`; the mask is a pure function of (seed, step,
/// `stream`, element index) by a counter-based generator, so it is recomputed and never stored, and the gradient
/// is the same operation applied to dy. Not active, y = x.
///
/// Input: x. Output: y like x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Share of elements zeroed, 0 up to but not 1.
    pub rate: f32,
    /// Training.
    pub active: bool,
    /// Tells the network's dropouts apart.
    pub stream: u64,
}

impl Dropout {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        expect::within(self.rate, "the dropout rate", 0.0, 1.0)?;
        Ok(vec![x.clone()])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        // The same stream at the same step draws the same mask.
        let dy = context.dy()?;
        let dx = if self.active { context.add("", Op::Dropout(*self), &[dy])? } else { dy };
        Ok(vec![Some(dx)])
    }
}
