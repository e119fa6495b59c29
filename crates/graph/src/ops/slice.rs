//! A part of a tensor along one axis. Splitting is several slices.

use ocellus_tensor::Shape;

use crate::autodiff::GradientContext;
use crate::{GraphError, ValueId};

use super::{Op, Refusal, expect};

/// `y = x[start, start + step, ...]`, `count` of them, along `axis`. Input: x. Output: y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Which axis.
    pub axis: usize,
    /// First index.
    pub start: usize,
    /// Distance between indices, at least 1.
    pub step: usize,
    /// How many indices.
    pub count: usize,
}

impl Slice {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [x] = expect::inputs(inputs, ["x"])?;
        let Slice { axis, start, step, count } = *self;
        expect::axis(axis, x)?;
        if step == 0 || count == 0 {
            return Err(format!("step and count must be at least 1, got step {step} and count {count}"));
        }
        let last = (count - 1).checked_mul(step).and_then(|span| span.checked_add(start));
        match last {
            Some(last) if last < x[axis] => Ok(vec![x.with(axis, count)]),
            _ => Err(format!(
                "{count} indices from {start} in steps of {step} leave axis {axis} of size {}",
                x[axis]
            )),
        }
    }

    pub(super) fn gradient(&self, context: &mut GradientContext) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (input, dy) = (context.shape(0), context.dy()?);
        Ok(vec![Some(context.add("", Op::SliceGrad(SliceGrad { slice: *self, input }), &[dy])?)])
    }
}

/// The gradient of [`Slice`]: dy where the slice was, zeros elsewhere. Input: dy. Output: dx of shape `input`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SliceGrad {
    /// The slice.
    pub slice: Slice,
    /// Shape of the sliced x.
    pub input: Shape,
}

impl SliceGrad {
    pub(super) fn shape(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, Refusal> {
        let [dy] = expect::inputs(inputs, ["dy"])?;
        expect::shape(dy, "dy", &self.slice.shape(&[&self.input])?[0])?;
        Ok(vec![self.input.clone()])
    }
}
