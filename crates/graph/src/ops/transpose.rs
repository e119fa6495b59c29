//! Axes in another order.

use ocellus_tensor::Shape;

use super::{Refusal, expect};

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
}
