//! Class indices as vectors.

use ocellus_tensor::Shape;

use super::{Refusal, expect};

/// Each number as a vector that is 1 at the place the number tells and 0 elsewhere; all 0 where there is no such place
/// (a negative number, a fraction, `classes` or more). Has no gradient.
///
/// Input: x of any shape (...). Output: y (..., classes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OneHot {
    /// Length of the vectors.
    pub classes: usize,
}

impl OneHot {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        if self.classes == 0 {
            return Err("classes must be at least 1, got 0".into());
        }
        let mut sizes = x.to_vec();
        sizes.push(self.classes);
        Ok(vec![Shape::new(sizes)])
    }
}
