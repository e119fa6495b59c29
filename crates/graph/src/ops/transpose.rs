//! Axes in another order.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// Output axis i is input axis `order[i]`. Input: x. Output: y.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transpose {
    /// A permutation of the axes.
    pub order: Vec<usize>,
}

impl Transpose {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank()) {
            return Err(format!("order {:?} is no permutation of the {} axes of {x}", self.order, x.rank()));
        }
        Ok(vec![Shape::new(self.order.iter().map(|&axis| x[axis]).collect::<Vec<_>>())])
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let mut order = vec![0; self.order.len()];
        for (to, &from) in self.order.iter().enumerate() {
            order[from] = to;
        }
        let dy = context.dy()?;
        Ok(vec![Some(context.add("", Op::Transpose(Transpose { order }), &[dy])?)])
    }
}
