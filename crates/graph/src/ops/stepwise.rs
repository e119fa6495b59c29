//! Functions of each element that are constant between steps, or are taken for constant.

use ocellus_tensor::Shape;

use super::{Refusal, expect};

/// A function that jumps, and is constant in between. Input: x of any shape. Output: y like x.
///
/// Its derivative is 0 wherever it has one, or is taken for 0, so nothing is learned through it: no gradient is passed on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stepwise {
    /// The largest whole number that is not above x.
    Floor,
    /// The nearest whole number, the even one of two that are as near (IEEE 754, roundTiesToEven).
    Round,
    /// x itself, as if it were a constant: what makes it learns nothing from what is behind (Caffe's
    /// `propagate_down: false`).
    Held,
    /// 1 where x > `threshold`, else 0; NaN is above nothing.
    Above {
        /// What x is compared with.
        threshold: f32,
    },
}

impl Stepwise {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        Ok(vec![x.clone()])
    }
}
