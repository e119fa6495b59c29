//! Sums and means over axes.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::arithmetic::repeat_to;
use super::{Activation, Binary, BinaryKind, MaximumGrad, Op, Refusal, Reshape, expect};

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

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (x, shape) = (context.input(0), context.shape(0));
        let dy = context.dy()?;
        let dy = self.with_axes(context, "kept", dy)?; // axes of size 1 again
        let dx = match self.kind {
            ReduceKind::Sum => repeat_to(context, "", dy, &shape)?,
            ReduceKind::Mean => {
                let count: usize = self.axes.iter().map(|&axis| shape[axis]).product();
                let share = Activation::Affine { scale: 1.0 / count as f32, shift: 0.0 };
                let dy = context.add("share", Op::Activation(share), &[dy])?;
                repeat_to(context, "", dy, &shape)?
            }
            ReduceKind::Max => self.max_gradient(context, x, dy)?,
        };
        Ok(vec![Some(dx)])
    }

    /// The gradient of the maximum, dy having axes of size 1: equal shares for all largest elements.
    ///
    /// With the maximum repeated as m, [`MaximumGrad`] of (x, m, g) is g / 2 where x = m and 0 elsewhere. Of g = dy it
    /// is half the gradient to share, of g = 1 half the count of the largest; their quotient is the share.
    fn max_gradient(
        &self,
        context: &mut GradientContext,
        x: ValueId,
        dy: ValueId,
    ) -> Result<ValueId, GraphError> {
        let shape = context.shape_of(x);
        let largest = self.with_axes(context, "largest", context.output(0))?;
        let largest = repeat_to(context, "largest.all", largest, &shape)?;
        let dy = repeat_to(context, "all", dy, &shape)?;
        let half = context.add("half", Op::MaximumGrad(MaximumGrad), &[x, largest, dy])?;
        let one = Op::Activation(Activation::Affine { scale: 0.0, shift: 1.0 });
        let ones = context.add("ones", one, &[dy])?;
        let is_largest = context.add("is_largest", Op::MaximumGrad(MaximumGrad), &[x, largest, ones])?;
        let sum = Reduce { kind: ReduceKind::Sum, axes: self.axes.clone(), keep: true };
        let count = context.add("count", Op::Reduce(sum), &[is_largest])?;
        context.add("", Op::Binary(Binary { kind: BinaryKind::Div }), &[half, count])
    }

    /// A value shaped like the output, with the reduced axes as axes of size 1.
    fn with_axes(
        &self,
        context: &mut GradientContext,
        part: &str,
        value: ValueId,
    ) -> Result<ValueId, GraphError> {
        if self.keep {
            return Ok(value);
        }
        let mut kept = context.shape(0);
        for &axis in &self.axes {
            kept = kept.with(axis, 1);
        }
        context.add(part, Op::Reshape(Reshape::to(&kept)), &[value])
    }
}
