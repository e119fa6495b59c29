//! Which numbers are the largest?

use ocellus_tensor::Shape;

use super::{Refusal, expect};

/// The `count` largest numbers along an axis, the largest first, and their indices, as numbers: of equal ones the first
/// index first, or the last. A NaN is larger than every number. Has no gradient.
///
/// Input: x of any shape with that axis. Outputs: the numbers and the indices, like x with `count` on that axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopK {
    /// Along which axis.
    pub axis: usize,
    /// How many.
    pub count: usize,
    /// Of equal numbers take the last first.
    pub last: bool,
}

impl TopK {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        expect::axis(self.axis, x)?;
        let size = x[self.axis];
        if !(1..=size).contains(&self.count) {
            return Err(format!("the {} largest of {size} numbers; ask for 1 to {size}", self.count));
        }
        expect::countable(size, "indices")?;
        let y = x.with(self.axis, self.count);
        Ok(vec![y.clone(), y])
    }
}
