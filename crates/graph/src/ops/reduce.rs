//! Sums and means over axes.

use ocellus_tensor::Shape;

use super::{Refusal, expect};

/// What is made of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ReduceKind {
    Sum,
    Mean,
    Max,
}

/// Input: x. Output: y with `axes` of size 1 (`keep`) or gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// Sum, mean or maximum. (The gradient of Max goes to all largest elements in equal shares.)
    pub kind: ReduceKind,
    /// Which axes, ascending.
    pub axes: Vec<usize>,
    /// Keep the axes, of size 1.
    pub keep: bool,
}

impl Reduce {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        if !self.axes.is_sorted_by(|a, b| a < b) {
            return Err(format!("axes must ascend without repeats, got {:?}", self.axes));
        }
        for &axis in &self.axes {
            expect::axis(axis, x)?;
        }
        let kept = x.iter().enumerate().filter_map(|(axis, &size)| match self.axes.contains(&axis) {
            true => self.keep.then_some(1),
            false => Some(size),
        });
        Ok(vec![Shape::new(kept.collect::<Vec<_>>())])
    }
}
