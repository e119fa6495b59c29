//! Where is the largest number?

use ocellus_tensor::Shape;

use super::{Refusal, expect};

/// The index of the largest number along an axis, as a number: the first of equal ones, or the last. A NaN is larger
/// than every number. Has no gradient.
///
/// Input: x. Output: y with the axis of size 1 (`keep`) or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArgMax {
    /// Which axis.
    pub axis: usize,
    /// Keep the axis, of size 1.
    pub keep: bool,
    /// Of equal numbers take the last.
    pub last: bool,
}

impl ArgMax {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        expect::axis(self.axis, x)?;
        let mut sizes = x.to_vec();
        if self.keep {
            sizes[self.axis] = 1;
        } else {
            sizes.remove(self.axis);
        }
        Ok(vec![Shape::new(sizes)])
    }
}
